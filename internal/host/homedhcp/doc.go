// Package homedhcp carries what a DHCP client for the home address of a mobile node that is
// away says and hears (RFC 2131): package lease has the client. Its messages go through the
// tunnel and the home agent's relay (package relay).
//
//	Conn     the client's port at the home address: what comes in beside the tunnel is not heard
//	a file   the lease, for the next process
//
// What must not go in here: leases of uplinks, which are package dhcp's.
package homedhcp
