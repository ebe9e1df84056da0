package notification

import (
	"net/netip"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/proto/mip4/fa"
	"careof/wire/mip4"
)

// relayed is when messages of a visit were relayed that nobody on this hop
// had proved: one a second each way, so that a link is no target.
type relayed struct{ up, down time.Time }

func (f *foreign) allow(last *time.Time) bool {
	now := f.agent.Now().Mono
	if !last.IsZero() && now.Sub(*last) < between {
		return false
	}
	*last = now
	return true
}

// down relays what the home agent has for the visitor: "If the FA-HA AE is invalid,
// then all extensions between the HA-MN AE and the HA-FA AE MUST be removed, the FA
// SHOULD relay the GNM to the MN's home address"; "the FA MUST process and remove
// any extensions following the MN-HA AE" (RFC 6098 section 4.6.1).
//
//rfc:6098#4.6.1
//rfc:6098#7.2
func (f *foreign) down(m *mip4.Message, v *fa.Visitor) {
	proved := signed(m, mip4.ExtForeignHome, f.agent.HomeAgentKeys(v.HomeAgent)...) != nil
	if !proved && !f.allow(&f.relayed.Of(v).down) {
		return
	}
	if data := onward(m, mip4.ExtMobileForeign, v.Association); data != nil {
		f.agent.Do(f.agent.ToVisitor(v, data))
	}
}

// up relays what the visitor has for its home agent: with an association, "If no
// MN-FA AE is found, or if more than one MN-FA AE is found, or if the Authenticator
// is invalid, the FA MUST silently discard" it; "it MUST append the FA-HA AE if the
// FA shares a mobility security association with the HA" (RFC 6098 sections 4.6.1
// and 4.6.4).
//
//rfc:6098#4.6.1
//rfc:6098#4.6.4
//rfc:6098#7.2
func (f *foreign) up(m *mip4.Message, v *fa.Visitor) {
	if v.Association != nil {
		if signed(m, mip4.ExtMobileForeign, v.Association) == nil {
			return
		}
	} else if !f.allow(&f.relayed.Of(v).up) {
		return
	}
	var hop *assoc.Association
	if keys := f.agent.HomeAgentKeys(v.HomeAgent); len(keys) > 0 {
		hop = newest(keys)
	}
	if data := onward(m, mip4.ExtForeignHome, hop); data != nil {
		at := f.agent.Config().Port
		f.agent.Do(engine.Send{Src: netip.AddrPortFrom(v.CareOf, at), Dst: netip.AddrPortFrom(v.HomeAgent, at), Data: data})
	}
}

// onward is the message up to and with the authenticator of its two ends, and the
// one of the next hop; nil for one without the former.
func onward(m *mip4.Message, by mip4.ExtType, hop *assoc.Association) []byte {
	if _, n := m.Find(mip4.ExtMobileHome); n != 1 {
		return nil
	}
	d := mip4.RelayDraft(m.Head())
	if hop != nil {
		d.Authenticate(by, hop.Outbound())
	}
	data, err := d.Seal()
	if err != nil {
		return nil
	}
	return data
}
