// Package relay is a DHCP relay agent for mobile nodes that are away (RFC 2131, RFC 3046):
// a home agent's. What a bound node says to DHCP servers comes out of its tunnel; the relay
// tells the servers where it was heard and of whom, and takes their answers back to the
// tunnel of the node that asked.
//
//	message.go  the fixed fields and the options, octet by octet: what a relay agent does
//	            not have to change stays as it is
//	rules.go    what is relayed, both ways, told the time: pure
//	relay.go    the sockets
//
// Who has no binding reaches nothing here: the one socket is bound to the tunnel device,
// on which packets appear only after the data plane has found their binding, the other one
// takes answers of the configured servers alone.
//
// What must not go in here: leases. The servers have them, and the nodes (package homedhcp).
package relay
