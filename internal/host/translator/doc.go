// Package translator finds out whether an uplink's network, which has IPv6 alone,
// has a translator to IPv4 (NAT64, RFC 6146), and by which prefix it is reached:
// from the configuration, from router advertisements (RFC 8781), or from the
// network's name servers (RFC 7050).
//
// What must not go in here: the sockets that use it (package sock), and which
// uplinks need it.
package translator
