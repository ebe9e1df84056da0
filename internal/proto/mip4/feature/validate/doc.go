// Package validate makes sure that who a mobile node says is at its outer
// address is there and wants its packets, before many are sent there. RFC 5944
// leaves that to the authenticator of the request, and RFC 3519 says of the
// source address behind a NAT what comes of it: "it is possible for an attacker
// ... to redirect" (section 6). Another protocols' answer is return routability:
// MOBIKE (RFC 4555 section 3.7) and QUIC (RFC 9000 section 8).
//
// By extensions of this suite's vendor number, which others skip:
//
//   - A mobile node says in its requests that it answers challenges ([Ask]),
//     and a home agent tells in its authentic reply the outer address that it
//     saw, whether that is validated, and where it is not, a challenge ([Seen]).
//   - The reply goes where the request came from. So whoever can give the
//     challenge back has received something there. The node does that at once
//     with a question over the path (package path), which binds nothing, and
//     through a foreign agent or with nonces with another registration.
//   - Until then the binding has a budget ([forward.Tunnel]): no data, and three
//     octets for each that comes from there through the tunnel; requests get
//     their replies, which are about as long. What is beyond it goes to the address before,
//     for as long as that one drains, or is dropped. What comes from the node is
//     forwarded from the start.
//   - An address is remembered for a while. Nodes with several uplinks answer
//     challenges over the others too, so that the next move costs nothing.
//
// A challenge is a keyed hash of node, outer address and minute: nothing is
// kept for one that is not answered.
//
// With a node that knows nothing of this there is no challenge and no limit.
// What protects then is that the request is authentic, that its source is the
// care-of address or a NAT, that no address is taken that could be no host's, or
// is a home network's, and the lifetime; a node with a valid key that lies about
// its source is not found out. A home agent that is configured to require
// validation refuses such nodes (129). Foreign agents that the home agent shares
// a key with, or has configured, are not challenged.
//
//	home.go     challenges, what is known, the budget
//	mobile.go   answers, and what the home agent has seen
package validate
