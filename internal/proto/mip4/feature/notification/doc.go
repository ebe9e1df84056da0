// Package notification is the generic notification of RFC 6098: home agent,
// foreign agent and mobile node tell each other something outside of a
// registration, signed, dated and acknowledged.
//
//	section 3.2       who tells whom, and through whom    home.go, foreign.go, mobile.go
//	sections 4.1, 4.2 messages and extensions             message.go, wire/mip4
//	section 4.3       retransmission                      courier.go
//	section 4.6       the foreign agent on the way        relay.go
//	section 7.1.1     timestamps                          replay.go
//
// What is told is a text for people (RFC 4917), which "has no effect on the state
// of a mobile node's existing registration" (section 1). No other extension is
// permitted (section 6), so that what a home agent asks of its nodes when it is
// drained stays a message of the suite's own: see package assignment.
//
// Timestamps date all of them, also where a registration's replay protection is
// by nonces, which are optional here (section 7.1). The replay mark of a
// direction is apart from the registrations', and never goes back: who accepts
// stores it before it acknowledges.
//
// A node that does not know these messages ignores them. Who is not known, or
// cannot prove it, gets no answer and leaves no trace: the codes for failed
// authentication are optional.
package notification
