// Package homedhcp is a DHCP client for the home address of a mobile node that is away (RFC
// 2131): it takes the lease for the address that the node has, through the tunnel and the
// home agent's relay (package relay), keeps it across moves, and hears what the server tells
// the hosts of the home network: name servers, domain, router, classless routes (RFC 3442).
//
//	Machine  the client as a pure state machine: told of places, of messages and of time
//	Conn     the client's port at the home address: what comes in beside the tunnel is not heard
//
// The address is the home agent's to give. A server that offers another one gives no lease,
// and is asked for the rest (package inform).
//
// What must not go in here: leases of uplinks, which are package dhcp's.
package homedhcp
