// Package tun is the data plane in user space: it reads what the kernel routes
// to a TUN device, encapsulates and sends it, and writes to the device what it
// has decapsulated. It works wherever there is a TUN device.
//
// One goroutine reads the device, so a flow is never reordered; one reads each
// raw socket. Nothing on the way of a packet takes a lock or allocates: the
// tables are replaced piece by piece under atomic pointers.
//
// A packet from the network is taken only when it matches a tunnel of a live
// entry in every respect ([forward.Tunnel]). All else is dropped and counted,
// without a log line and without an answer.
//
// What must not go in here: routes, addresses and ARP. Packets reach the device
// because of package route.
package tun
