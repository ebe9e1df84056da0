package mn

import (
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/wire/mip4"
)

// A validation asks the home agent over a path for an authentic answer that
// changes nothing: a request to deregister a care-of address that is not
// registered. A caller's extension sees to it that nobody does even that.
type validation struct {
	sent        Sent
	link        string
	association *assoc.Association
	within      time.Duration // how long it may be answered
	aside       bool          // from a port beside the registration's
	fresh       bool          // ... and a new one
	done        func(Validation)
}

// A Validation is the answer over a path.
type Validation struct {
	Took    time.Duration
	Message *mip4.Message // authentic
	Reply   mip4.RegistrationReply
}

// nowhere is the dummy address, which is nobody's (RFC 7600): the
// care-of address of a question over a path whose own is registered over
// another.
var nowhere = netip.AddrFrom4([4]byte{192, 0, 0, 8})

const (
	// maxValidations bounds those that are unanswered.
	maxValidations = 16
	// validFor is how long one may be answered.
	validFor = 10 * time.Second
)

// Validate asks the home agent whether the path of a candidate is good, with
// extensions of the caller's, and calls done with an authentic answer. When
// none comes nobody is told. It says whether a message was sent: not over a
// path that something is registered over or being registered, since a
// deregistration could overtake that; not while any request is under way,
// which a home agent that counts this one would find to be old; not with
// nonces, of which each is good for one request.
//
// Two modems may give the same address. Then the question names [nowhere] in
// place of the care-of address that is registered over the other one.
func (n *Node) Validate(c Candidate, done func(Validation), extensions ...mip4.Payload) bool {
	agent, ok := n.roster.current()
	if !ok || agent.discover || !unicast(agent.address) || agent.association == nil || agent.association == unkeyed || agent.association.Replay() == assoc.Nonces ||
		!n.address.IsValid() || !c.coLocates() || c.Agent.IsValid() || c.Unusable != "" || n.home != nil || n.stopped {
		return false
	}
	named := c.CareOf
	for _, r := range n.links {
		own := r.live && r.of(c)
		// A home agent that knows of redundant packets knows the question, too, and
		// does not count it.
		known := n.redundancy.Agreed && r.Key.HomeAgent == agent.address
		if (r.try != nil || own) && !known {
			return false
		}
		if r.live && !own && r.Key.CareOf == c.CareOf {
			named = nowhere
		}
	}
	return n.ask(validation{link: c.Link.Name, within: validFor, done: done}, c.CareOf, named, agent, extensions)
}

// Confirm sends the same over the path of a live registration, with an
// extension that its home agent is known to understand: another one would end
// the registration. Not through a foreign agent, and not with nonces.
func (n *Node) Confirm(r *Registration, done func(Validation), extensions ...mip4.Payload) bool {
	if !r.live || r.Key.Agent.IsValid() || r.association == unkeyed || r.association.Replay() == assoc.Nonces || !n.address.IsValid() || n.home != nil || n.stopped {
		return false
	}
	return n.ask(validation{link: r.Key.Link, within: validFor, done: done}, r.Key.CareOf, r.Key.CareOf,
		candidateAgent{address: r.Key.HomeAgent, association: r.association}, extensions)
}

// Inquire asks a home agent over the path of a live registration with another one
// or with itself. The question names a care-of address that is nobody's, so that
// it ends nothing, whoever gets it. Not through a foreign agent, and not with
// nonces.
func (n *Node) Inquire(r *Registration, at netip.Addr, done func(Validation), extensions ...mip4.Payload) bool {
	agent := candidateAgent{address: at, association: n.roster.keyed(at, n.associationWith(at))}
	if at == r.Key.HomeAgent {
		agent.association = r.association
	}
	if !r.live || r.Key.Agent.IsValid() || agent.association == nil || agent.association == unkeyed || agent.association.Replay() == assoc.Nonces ||
		!n.address.IsValid() || n.home != nil || n.stopped {
		return false
	}
	return n.ask(validation{link: r.Key.Link, within: validFor, done: done}, r.Key.CareOf, nowhere, agent, extensions)
}

// Linger asks the home agent of a live registration over its path, but from a
// port beside its own, which the answer comes to: a NAT has another mapping for
// that. With fresh it is a new port. The answer may come so late as within. It
// ends nothing, and nothing is learnt from it of where the node is seen. Not
// through a foreign agent, and not with nonces.
func (n *Node) Linger(r *Registration, fresh bool, within time.Duration, done func(Validation), extensions ...mip4.Payload) bool {
	if !r.live || r.Key.Agent.IsValid() || r.association == unkeyed || r.association.Replay() == assoc.Nonces || !n.address.IsValid() || n.home != nil || n.stopped {
		return false
	}
	return n.ask(validation{link: r.Key.Link, within: within, aside: true, fresh: fresh, done: done}, r.Key.CareOf, nowhere,
		candidateAgent{address: r.Key.HomeAgent, association: r.association}, extensions)
}

// Renew registers again what is registered, now, unless its address is gone: such a
// request reaches nobody, and while it is waited for an answer to another one counts
// for less.
func (n *Node) Renew(r *Registration) {
	if r.live && r.try == nil && n.canRenew(r) && !n.stopped {
		n.begin(r, Register)
	}
}

// PortAt is when the node last took another port of its own on a link; zero: it
// never has.
func (n *Node) PortAt(link string) time.Time {
	if u := n.uplinks[link]; u != nil {
		return u.portAt
	}
	return time.Time{}
}

// OnAside adds to the questions over paths: ask gives extensions for one over
// a link with a care-of address, heard is given each authentic answer.
func (n *Node) OnAside(ask func(link string, careOf netip.Addr) []mip4.Payload, heard func(link string, careOf netip.Addr, m *mip4.Message)) {
	n.aside = append(n.aside, aside{ask, heard})
}

type aside struct {
	ask   func(link string, careOf netip.Addr) []mip4.Payload
	heard func(link string, careOf netip.Addr, m *mip4.Message)
}

// ask sends a question over a path, from careOf, about the care-of address named.
func (n *Node) ask(v validation, careOf, named netip.Addr, agent candidateAgent, extensions []mip4.Payload) bool {
	n.validations = slices.DeleteFunc(n.validations, func(v validation) bool { return n.now.Mono.Sub(v.sent.At) > v.within })
	if len(n.validations) >= maxValidations {
		n.validations = n.validations[1:]
	}
	q := mip4.RegistrationRequest{
		Flags: mip4.FlagD, HomeAddress: n.address, HomeAgent: agent.address, CareOfAddress: named,
	}
	// It is none of the registration's requests: what of those the home agent
	// has overtaken stays what it is.
	seq := n.clock(agent.address)
	latest := seq.latest
	q.Identification = seq.next(agent.association.Replay(), n.now, n.rng, n.taken)
	seq.latest = latest
	d := mip4.NewRequest(q)
	if n.cfg.NAI != "" {
		d.Add(mip4.ZoneHome, &mip4.NAI{Value: string(n.cfg.NAI)})
	}
	if !v.aside {
		for _, a := range n.aside {
			extensions = append(extensions, a.ask(v.link, careOf)...)
		}
	}
	for _, e := range extensions {
		d.Add(mip4.ZoneHome, e)
	}
	if agent.association.Authenticated() {
		d.Authenticate(mip4.ExtMobileHome, agent.association.Outbound())
	}
	octets, err := d.Seal()
	if err != nil {
		n.Tell(note.Note{Kind: note.Failed, Level: note.Error, Link: v.link, Why: err.Error()})
		return false
	}
	sent := Sent{
		Identification: q.Identification, At: n.now.Mono, Purpose: DeregisterOne, Request: q,
		Src: netip.AddrPortFrom(careOf, 0), Dst: n.AtHomeAgent(agent.address),
	}
	v.sent, v.association = sent, agent.association
	n.validations = append(n.validations, v)
	n.sends = append(n.sends, engine.Send{Link: v.link, Src: sent.Src, Dst: sent.Dst, Data: octets, Aside: v.aside, Fresh: v.fresh})
	return true
}

// validating finds the validation whose Identification has this low half; -1
// when there is none.
func (n *Node) validating(low uint32) int {
	return slices.IndexFunc(n.validations, func(v validation) bool { return uint32(v.sent.Identification) == low })
}

// validated takes a reply that may answer a validation. One that is not
// authentic, or came over another link, is nothing.
func (n *Node) validated(p engine.Packet, m *mip4.Message, reply mip4.RegistrationReply) bool {
	i := n.validating(uint32(reply.Identification))
	if i < 0 {
		return false
	}
	v := n.validations[i]
	if p.Link != v.link && p.Link != "" || n.now.Mono.Sub(v.sent.At) > v.within {
		return false
	}
	if v.association.Authenticated() {
		e, count := m.Find(mip4.ExtMobileHome)
		if count != 1 {
			return false
		}
		auth, err := m.Authentication(e)
		if err != nil || auth.SPI != v.association.SPI() || !v.association.Verify(m.Covered(e), auth.Authenticator) {
			return false
		}
	}
	n.validations = slices.Delete(n.validations, i, i+1)
	if !v.aside {
		for _, a := range n.aside {
			a.heard(v.link, v.sent.Src.Addr(), m)
		}
	}
	v.done(Validation{Took: n.now.Mono.Sub(v.sent.At), Message: m, Reply: reply})
	return true
}

// Candidates are the usable ones of the last choice, the preferred first.
func (n *Node) Candidates() []Candidate { return n.choice }

// Rechoose makes the node choose anew at the end of this step.
func (n *Node) Rechoose() { n.rechoose = true }

// AtHome says that the node is at home, or on its way to being so.
func (n *Node) AtHome() bool { return n.home != nil }

// Of says whether the registration is one of the candidate.
func (r *Registration) Of(c Candidate) bool { return r.of(c) }

// Forsake says that nothing comes back over a registration's path although its
// link is there. The registration stays until another is accepted, and packets
// go over the next uplink together with the request, as when a link is lost.
func (n *Node) Forsake(r *Registration) {
	if r.live {
		r.forsaken, n.rechoose = true, true
	}
}

// Trust ends that.
func (n *Node) Trust(r *Registration) {
	if r.forsaken {
		r.forsaken, n.rechoose = false, true
	}
}

// forsakenCap bounds the time between retransmissions while it is.
const forsakenCap = 4 * time.Second

// forsaken says that the active registration is.
func (n *Node) forsaken() bool { return n.active != nil && n.active.live && n.active.forsaken }
