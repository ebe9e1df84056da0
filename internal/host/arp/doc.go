// Package arp does what Mobile IP asks of ARP on a home link (RFC 5944 section
// 4.6): gratuitous ARP when a node leaves and when it returns, and proxy ARP,
// by the kernel, while it is away. It also tells link-layer addresses that the
// kernel has resolved.
//
// What must not go in here: when to do which. That is the plane's order.
package arp
