// Package bench measures what tunnels cost on this machine: the data planes
// beside plain forwarding, the kernel's VXLAN and wireguard-go, in network
// namespaces and in one process.
//
// A round measures every way once, in turn, and the next round goes backwards,
// so that whatever else the machine does meets all of them. Ratios are taken round by
// round. Processor time is all that the process and the kernel's threads for
// received packets have used: sender, forwarding, planes, receiver.
//
// What must not go in here: the control plane, and anything that the machine's
// own network could notice.
package bench
