// Package dhcp is a DHCPv4 client (RFC 2131) for uplinks that nobody else
// configures. It is made for links that come and go: a network where the link
// has been before is known again by its gateway within one round trip (RFC
// 4436), while the server is asked whether the lease still holds.
//
//	Machine   one link's client as a pure state machine: told of the link, of
//	          messages and of time, it says what to send and what the link has
//	Client    runs machines on the kernel: sockets, addresses, default routes
//	memory    the leases of past networks, bounded, over restarts
//
// What a network says is not trusted with the host's routes: no classless
// route but the default one is taken, and no directly connected network that
// would draw public addresses out of the tunnel (CVE-2024-3661, CVE-2023-36672).
//
// The address carries the lease's lifetime in the kernel, so that it ends with
// the lease also when no daemon is there. It stays while the daemon is away.
package dhcp
