// Package lease is the DHCPv4 client that careof has (RFC 2131 section 4.4, figure
// 5) as one pure state machine: told of places, of messages and of time, it says
// what to send, and what there is a lease of. It is made for what comes and goes.
//
//	ForLink   an uplink's lease: a network where the link has been before is known
//	          again by its gateway within one round trip (RFC 4436), while the
//	          server is asked whether the lease still holds; addresses are probed
//	ForHome   that of the home address of a node that is away, through the tunnel:
//	          the address is the home agent's to give, so a server that offers
//	          another one gives no lease, and is asked for the rest
//
// What a network says is not trusted: of classless routes a link takes the default
// one, and of a home network they lead into the tunnel (CVE-2024-3661).
//
// How messages go, and what becomes of a host that has a lease, is in package dhcp
// for links, and in package homedhcp and the daemon for home addresses.
package lease
