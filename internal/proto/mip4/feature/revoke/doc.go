// Package revoke adds registration revocation (RFC 3543): home agent and
// foreign agent end a binding at both ends at once, and a mobile node that
// registered directly hears of it.
//
//	section 3.1, 4.2.1  home.go, foreign.go, mobile.go  the X bit, and the
//	                    extension by which two ends agree, for one binding
//	section 3.3, 3.4    message.go  revocation and acknowledgment
//	section 3.5         support.go  replays and reflections
//	section 4.1         foreign.go  the visitor is told by an advertisement
//	section 4.2.2       home.go     the home agent revokes, and releases an
//	                    agent that the node has left
//	section 4.2.3       foreign.go  the foreign agent revokes
//	retransmission      courier.go
//
// What the text leaves open: the clock is NTP seconds; an Identifier may be
// half a minute ahead of what the peer's clock should say by now. A repeated
// revocation whose binding is gone already is acknowledged again. A mobile
// node behind a NAT is sent its revocation to where its request came from,
// because port 434 leads nowhere there; a direct one without a NAT is tried
// at both in turn.
//
// Left out: what was agreed is lost with a foreign agent's or mobile node's
// process, until the next registration. A home agent keeps it.
//
// Beyond the text, a home agent can keep a node out until the operator lets
// it in again (block.go).
//
// What must not go in here: why somebody revokes.
package revoke
