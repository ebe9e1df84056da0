// Package kernel is a data plane of the kernel's own tunnel devices: ipip and
// gre, which most distributions have and some kernels have not. It wraps a
// [tun.Plane], like package bpf, and is for home agents.
//
// A home agent's IP-in-IP and GRE tunnels become devices, one for each pair of
// ends and key, and its home addresses routes to these, in a table of their
// own that a rule consults before the main one. UDP and minimal encapsulation,
// for which there are no such devices, stay user space's, and so do broadcasts
// and what routers say about tunnels.
//
// What a device cannot do is refused or missing:
//
//   - simultaneous bindings (no device sends copies): the entry is refused
//   - a tunnel that only drains after a move takes nothing any more
//   - counters are the device's; entries that share one have none
//   - a packet that has been in the tunnel is not recognised when it comes back
//     (RFC 5944 section 4.2.3)
//   - while no daemon runs, nothing ends a tunnel whose time is over
//
// That a packet from the tunnel has the home address of one of its bindings is
// the strict reverse path filter's to tell (RFC 3704 section 2.2): a device
// takes a source only if the route back leads into it.
package kernel
