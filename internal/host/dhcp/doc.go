// Package dhcp is a DHCPv4 client for uplinks that nobody else configures: it runs
// the machines of package lease on the kernel.
//
//	Client   runs machines on the kernel: sockets, addresses, default routes
//	book     the leases of past networks, bounded, over restarts
//
// What a network says is not trusted with the host's routes: no classless route
// but the default one is taken, and no directly connected network that would draw
// public addresses out of the tunnel (CVE-2024-3661, CVE-2023-36672).
//
// The address carries the lease's lifetime in the kernel, so that it ends with
// the lease also when no daemon is there. It stays while the daemon is away.
package dhcp
