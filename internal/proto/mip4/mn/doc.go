// Package mn is the mobile node of RFC 5944 sections 2.4 and 3.6, with a
// co-located care-of address or a foreign agent's, network access identifiers
// (RFC 2794) and reverse tunnelling (RFC 3024): a pure machine that is told what the node's links
// are and what its home agent answers, and says what to send and which
// tunnels the node's home address uses.
//
// The node holds several registrations at a time, keyed by uplink, care-of
// address and home agent. A move to a living uplink is made before it breaks:
// the new care-of address is registered without the S bit while the old
// tunnel still works, and the replaced tunnel stays receive-only for two
// seconds. When the uplink is lost, every live uplink registers at once, the
// preferred one last, so that it is the one that the home agent keeps; data
// go through the preferred one together with its request.
//
// Foreign agents are used as the configuration lets: where an interface has no
// address of its own, where its own address gets no answer, or where an agent
// requires it (R bit). Nobody vouches for their advertisements, so an agent
// that is heard interrupts nothing: a registration that works is kept until
// another one is accepted. Through a foreign agent's care-of address packets
// come and go plain, by the agent's link-layer address.
//
// One file per concern:
//
//	config.go          what the node is told at its start
//	node.go            the machine: events in, actions out
//	flush.go           the order of a step's actions
//	exchange.go        what hooks see: Hearing, Choice, Attempt, Response, Movement, Probe
//	tables.go          claims, message handlers, encapsulations, timers, commands of features
//	link.go            uplinks and their limits (Heard)
//	discovery.go       agent advertisements and who is heard (Advertised)
//	solicit.go         solicitations
//	movement.go        move detection, and which agent of a link is the best
//	foreign.go         registration through a foreign agent
//	choose.go          which uplink registers when (Choose)
//	agents.go          home agents: lists, names, discovery
//	assigned.go        home agents that another one names
//	keys.go            nodes that share no key with their home agent, or not yet
//	registration.go    a registration and its deadlines
//	request.go         requests and their retransmission (Request)
//	identification.go  replay protection, seen from the mobile node
//	reply.go           checks of replies (Reply)
//	accept.go, deny.go what an answer leads to (Accepted, Denied)
//	disown.go          what was accepted and cannot be used
//	reclaim.go         a preferred path that answers no request
//	home.go            returning home and leaving it (Home)
//	validate.go        is a path good that nothing is registered over?
//	redundant.go       which packets go over two uplinks
//	networks.go        what is behind a mobile router
//	standstill.go      a host that has stood still
//	decision.go        why an uplink is used or not, in words
//	forwarding.go      the forwarding entry that all this amounts to
//	records.go         what outlives the process
//	commands.go        what the operator sees and orders
//	config.go, reconfigure.go
//	                   the configuration, and another one
//
// What must not go in here: sockets, clocks, and anything that an optional
// RFC adds.
package mn
