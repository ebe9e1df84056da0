// Package bpf is the fast data plane: eBPF programs that encapsulate and
// decapsulate in the kernel what package tun would do in user space. It wraps
// a [tun.Plane]: the same device, routes, MTU and entries. One program sits on
// the tunnel device and sees what the kernel routes there before the daemon
// can read it; another sits on each underlay. What a program does not handle
// it passes on, and the user-space plane takes it:
//
//   - a foreign agent's visitors, packets for no entry, of minimal encapsulation, of half-bound tunnels, of
//     entries that share an address or have more than four tunnels
//   - packets longer than a tunnel's MTU, and fragments of outer packets
//   - tunnels in tunnels, and packets from this host's own outer addresses
//   - IP options, GRE checksums and sequence numbers in outer headers
//   - answers to keepalives, packets from endpoints that do not match, and
//     packets that RFC 6040 wants dropped
//
// So every rule has one home in package tun, and the programs know only the
// common case. They check as much: outer source and destination, protocol,
// ports, key, form, the entry's end and the inner address.
//
// With a BPF file system, maps and links are pinned, and forwarding goes on
// while the daemon is dead: until each tunnel's end, which the programs
// enforce themselves on the boot-time clock.
//
// Where a tunnel's packets leave, and their next hop, is remembered for ten
// milliseconds: between those the programs need no route look-up. About as often
// a packet to each neighbour goes the kernel's own way, which keeps it fresh.
//
// A datagram whose outer UDP checksum is not 0 is the programs' where the network
// device has verified or summed it, or where it was never filled in because it
// comes from this machine; else the kernel verifies it for user space's socket.
//
// Two differences from the user-space path: outer UDP checksums are sent as 0
// (RFC 3519 section 4 asks for none; the inner packet has its own), and
// netfilter does not see outer packets.
package bpf

//go:generate sh prog/build.sh
