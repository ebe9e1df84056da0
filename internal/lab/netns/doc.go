// Package netns is the laboratory's network on the real kernel: namespaces as nodes, TAP devices as their interfaces,
// and a user-space wire between them that delays, loses, duplicates, reorders and cuts.
//
// It starts no external program and needs no root: [Enter] runs the calling program again in fresh user, network and
// mount namespaces. Nothing has a name in the file system; a [Node] is a file descriptor on a network namespace, so all
// of it vanishes with the process, however the process ends.
//
//	Network   owns everything below; Close stops it all
//	Node      a network namespace: sockets, sysctls, addresses, routes, processes
//	Segment   an Ethernet segment (a learning switch) with conditions: delay, jitter, loss, rate, MTU, partition
//	Port      where a node or a router is plugged into a segment: own conditions per direction, carrier
//	Router    an IPv4 router without a node behind it, with or without the NAT model of package nat
//	Transfer  the TCP probe; Stream, the UDP probe in both directions
//
// A laboratory that outlives one command is a process that holds the descriptors: see [Control].
package netns
