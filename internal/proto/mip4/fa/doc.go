// Package fa is the Mobile IPv4 foreign agent: RFC 5944 sections 2.3 and 3.7,
// with the network access identifier of RFC 2794 and the reverse tunnelling of
// RFC 3024.
//
// An [Agent] is a pure machine (package engine). What it does passes stages:
//
//	Advertise   agent advertisements (package advertise)      2.3
//	Request     may this visitor register through us?         3.7.2.1, RFC 3024
//	Relay       the request to the home agent                 3.7.2.2
//	Reply       does a pending request fit the reply?         3.7.3.1
//	Deliver     the reply to the mobile node, and the visit   3.7.3.2
//
// after which a visit that the home agent accepted is committed: the data
// plane forwards, and then the reply leaves. [Agent.OnArrived] and
// [Agent.OnDeparted] tell features of visits.
//
// What a mobile node has authenticated is relayed octet by octet. Until its
// home agent has accepted a request, nothing about a mobile node is known to be
// true: a pending request lives apart from the visitor list, in a bounded
// table, for seven seconds at most, and never touches an accepted visit.
//
// A visitor is a home address at a home agent, with the link and the
// link-layer address that its last accepted request came from: home addresses
// of different home agents may be equal (RFC 3024 appendix A.4).
//
// Visits do not outlive the process. The first advertisement of a new one has
// sequence number 0, from which mobile nodes see that they must register again
// (RFC 5944 sections 2.3.2 and 2.4.4).
//
// One file per concern:
//
//	config.go     what the agent is told at its start
//	agent.go      the machine: events in, actions out
//	exchange.go   what hooks see: Exchange, Return
//	claims.go     the extensions that are for the foreign agent
//	request.go    checks of requests (Request)
//	relay.go      to the home agent (Relay)
//	pending.go    requests that wait for a reply
//	reply.go      checks of replies (Reply)
//	deliver.go    to the mobile node (Deliver)
//	visitor.go    the visitor list and its forwarding entries
//	deny.go       denials and their rate
//	bounce.go     ICMP errors
//	commands.go   what the operator sees and orders
//
// What must not go in here: sockets, clocks, and any RFC beyond those three;
// those are feature packages.
package fa
