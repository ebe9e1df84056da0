// Package natt is NAT traversal for Mobile IP: data in UDP port 434, as RFC
// 3519 adds it to RFC 5944.
//
// A mobile node with a co-located care-of address puts the UDP Tunnel Request
// (144) into its requests. A home agent that sees another source address than
// the care-of address knows of a NAT between, and answers with the UDP Tunnel
// Reply (44): from then on the data of that binding go through UDP, between
// the home agent's port 434 and the port that the request came from. The
// mobile node keeps the NAT's mapping alive with ICMP echo requests.
//
//	section 3.1, 3.2   the extensions                 wire/mip4
//	section 3.3, 4.2   tunnel data                    wire/encap and the planes
//	section 3.1.4, 3.5 encapsulation, code 142        mobile.go request, denied; home.go
//	section 4.4        the mobile node's duties       mobile.go
//	section 3.4, 4.5   the foreign agent's duties     foreign.go
//	section 4.6        the home agent's duties        home.go
//	section 4.9        keepalive                      keepalive.go
//	section 4.10       loss of the mapping            keepalive.go, search.go, learn.go
//	section 5.1        equal private networks         mobile.go heard
//	section 5.2        short lifetime                 home.go
//
// A foreign agent behind a NAT adds the UDP Tunnel Request behind what the
// mobile node has signed, takes the answer off again, and keeps the mapping
// alive for all its visitors of one home agent (foreign.go, section 4.5).
//
// Left out: section 4.5 lets an operator who knows that the NAT leaves public
// addresses alone forward requests without the T bit; here they are refused with
// code 75 as soon as a NAT is known.
package natt
