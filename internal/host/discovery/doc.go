// Package discovery is what an agent or a mobile node hears and says on a link
// below IP: agent advertisements and solicitations (ICMP types 9 and 10), and
// for a foreign agent the registration messages of its visitors.
//
// Why not ordinary sockets: a visitor's request comes from a home address that
// does not belong on the link, or from 0.0.0.0, and the kernel drops both as
// "martian"; the agent must know its link-layer source, and must answer to it
// without ARP (RFC 5944 sections 3.7.1 and 4.2.2). So there is one packet
// socket for each link, with a filter in the kernel that lets nothing else up.
// The kernel goes on seeing the same packets: somebody must hold UDP port 434
// on the link's address, or it would answer "port unreachable".
//
// ICMP errors about registration messages come by a [Bouncer].
//
// What must not go in here: what the messages say.
package discovery
