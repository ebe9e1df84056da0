package revoke

import (
	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// mobile is revocation at a mobile node that registers directly.
type mobile struct {
	node *mn.Node
	// agreed are the registrations whose home agent will tell of an end.
	agreed map[mn.RegistrationKey]*support
}

// addMobile adds revocation to a mobile node. It "MUST NOT send a revocation
// message as de-registration messages ... are sufficient" (RFC 3543 section 4).
func addMobile(n *mn.Node) error {
	m := &mobile{node: n, agreed: make(map[mn.RegistrationKey]*support)}
	n.Claim(mn.Claim{Feature: Name, Type: mip4.ExtRevocationSupport, Max: 1})
	n.Request.Add(Name, "support", m.request)
	n.Accepted.Add(Name, "support", m.accepted)
	n.Handle(Name, mip4.TypeRevocation, m.revoked)
	return nil
}

// direct tells whether the node registers straight with its home agent.
func direct(k mn.RegistrationKey) bool { return !k.Agent.IsValid() }

// request: "If a 'direct' co-located mobile node wishes to be informed of a
// released binding by its home agent, it MUST insert a revocation support
// extension into the registration request" (RFC 3543 section 4.2.1); "A mobile
// node which is not co-located MUST NOT" (section 3.2).
//
//rfc:3543#4.2.1
//rfc:3543#3.2
func (m *mobile) request(x *mn.Attempt) engine.Verdict {
	if x.Purpose == mn.Register && x.Request.Flags.Has(mip4.FlagD) && direct(x.Registration.Key) {
		x.Add(mip4.ZoneHome, &mip4.RevocationSupport{Timestamp: stamp(x.Now.Wall)})
	}
	return engine.Next()
}

// accepted notes whether the home agent agreed.
//
//rfc:3543#4.2.1
func (m *mobile) accepted(x *mn.Response) engine.Verdict {
	key := x.Registration.Key
	delete(m.agreed, key)
	for old := range m.agreed {
		if m.node.Registration(old) == nil {
			delete(m.agreed, old)
		}
	}
	e, n := x.Message.Find(mip4.ExtRevocationSupport)
	if n == 0 || !x.Authentic || x.Sent.Purpose != mn.Register || !direct(key) {
		return engine.Next()
	}
	if answer, err := mip4.Decode[mip4.RevocationSupport](e); err == nil {
		m.agreed[key] = &support{peer: answer.Timestamp, heard: x.Now.Mono}
	}
	return engine.Next()
}

// revoked takes the home agent's revocation of a direct registration: the
// node acknowledges it, and then finds out anew what it gets (RFC 3543 section
// 4.2.2.3).
//
//rfc:3543#4.2.2.3
//rfc:3543#3.5
func (m *mobile) revoked(p engine.Packet, msg *mip4.Message) {
	r, err := msg.Revocation()
	if err != nil || !r.FromHomeAgent || r.HomeAddress != m.node.HomeAddress() {
		return
	}
	for key, s := range m.agreed {
		if p.Link != "" && key.Link != p.Link || key.CareOf != r.ForeignDomainAddress || key.HomeAgent != r.HomeDomainAddress {
			continue
		}
		reg := m.node.Registration(key)
		if reg == nil || !s.acceptable(r.Identifier, m.node.Now().Mono) {
			continue
		}
		keys := []*assoc.Association{reg.Association()}
		if !signed(msg, mip4.ExtMobileHome, keys) {
			continue
		}
		ack, err := acknowledge(p, r, true, mip4.ExtMobileHome, newest(keys))
		if err != nil {
			return
		}
		m.node.Emit(ack)
		if !reg.Live() {
			return // it has said so before
		}
		m.node.Tell(note.Note{Kind: Revoked, Level: note.Warn, HomeAgent: key.HomeAgent, CareOfAddress: key.CareOf, Link: key.Link})
		m.node.Lose(reg, "revoked by the home agent")
		return
	}
}
