package mn

import (
	"slices"

	"careof/internal/core/note"
	"careof/wire/mip4"
)

// disown ends a registration that the home agent has accepted and that cannot
// be used all the same: the foreign agent does not honour the reply, or the
// reply says something critical that is not understood. The home agent is told
// so, once: its lifetime does the rest.
//
// "A mobile node that cannot correctly interpret the contents of the FA Error
// Extension MUST NOT use the care-of address provided in the Registration Reply
// message, until another Registration Request message has been sent and a
// successful Registration Reply message received" (RFC 4636 section 4), and it
// "SHOULD then send a deregistration message to the home agent" (section 5).
//
//rfc:4636#4
//rfc:4636#5
//rfc:3115#2.3
//rfc:4636#4-1
//rfc:4636#5-1
func (n *Node) disown(x *Response, code mip4.Code, why string) {
	r := x.Registration
	n.complain(r, code, x.Authentic)
	n.Tell(n.noteOf(r, note.Note{
		Kind: note.Refused, Level: note.Warn, Code: uint8(code), Identification: x.Sent.Identification, Why: why,
	}))
	if r.live {
		r.end()
		n.saveRegistration(r)
		n.succeed(r)
	}
	again, u := r.try, n.uplinks[r.Key.Link]
	r.giveUp()
	if u == nil {
		return
	}
	n.begin(r, DeregisterOne)
	if again == nil {
		again = &try{purpose: Register, timeout: u.firstTimeout()}
	}
	r.try = again
	x.Reply.Code = code
	n.refused(x)
}

// succeed finds another live registration to send through, when r was the one
// (S bit).
func (n *Node) succeed(r *Registration) {
	if n.active == r {
		n.active = nil
		for _, o := range n.registrations() {
			if o.live && slices.ContainsFunc(n.choice, o.of) {
				n.active = o
				break
			}
		}
	}
	n.rechoose = true
}
