package notification

import (
	"net/netip"
	"strings"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/proto/mip4/feature/message"
	"careof/wire/mip4"
)

// A fixed is what a notification and an acknowledgement have in common.
type fixed struct {
	direction           mip4.Direction
	ack                 bool // it is an acknowledgement
	wants               bool // it is a notification that wants one: the A bit
	code                mip4.NotificationCode
	home, agent, careOf netip.Addr
	id                  uint64
}

// read reads message 22 or 23. One with an extension that is "not permitted for use
// with the GNM" is to be silently discarded (RFC 6098 sections 4.5.1, 4.6.1 and 4.7.3).
//
//rfc:6098#4.5.1
//rfc:6098#4.6.1
//rfc:6098#4.7.3
func read(m *mip4.Message) (fixed, bool) {
	for _, e := range m.Exts {
		switch e.Type {
		case mip4.ExtMobileHome, mip4.ExtMobileForeign, mip4.ExtForeignHome, mip4.ExtMessageString:
		default:
			return fixed{}, false
		}
	}
	if a, err := m.NotificationAck(); err == nil {
		return fixed{a.Direction, true, false, a.Code, a.HomeAddress, a.HomeAgent, a.CareOfAddress, a.Identification}, true
	}
	g, err := m.Notification()
	return fixed{g.Direction, false, g.Acknowledge, 0, g.HomeAddress, g.HomeAgent, g.CareOfAddress, g.Identification}, err == nil
}

// back is the direction of an answer: "MD = direction of this very message" in
// an acknowledgement too (RFC 6098 section 4.2).
var back = [...]mip4.Direction{
	mip4.HomeAgentToMobileNode:    mip4.MobileNodeToHomeAgent,
	mip4.HomeAgentToForeignAgent:  mip4.ForeignAgentToHomeAgent,
	mip4.MobileNodeToHomeAgent:    mip4.HomeAgentToMobileNode,
	mip4.MobileNodeToForeignAgent: mip4.ForeignAgentToMobileNode,
	mip4.ForeignAgentToMobileNode: mip4.MobileNodeToForeignAgent,
	mip4.ForeignAgentToHomeAgent:  mip4.HomeAgentToForeignAgent,
}

// A seal is the authenticator of a message, and of the hop on the way, if any.
type seal struct {
	by    mip4.ExtType
	key   *assoc.Association
	hop   mip4.ExtType       // 33 or 34 behind 32
	hopBy *assoc.Association // nil for none
}

// close signs a draft: "This document requires the MN-HA Authentication Extension
// (AE) to be used when this message is sent between the MN and the HA; MN-FA AE
// and FA-HA AE are OPTIONAL", and so on for the others (RFC 6098 section 4.1).
//
//rfc:6098#4.1
//rfc:6098#4.2
//rfc:6098#7
func (s seal) close(d *mip4.Draft) ([]byte, error) {
	d.Authenticate(s.by, s.key.Outbound())
	if s.hopBy != nil {
		d.Authenticate(s.hop, s.hopBy.Outbound())
	}
	return d.Seal()
}

// write lays a notification out. The text stands before the authenticator of
// the end that it is for.
//
//rfc:6098#4.1
//rfc:6098#4.5.3
//rfc:6098#4.6.3
//rfc:6098#4.7.1
func write(f fixed, text string, s seal) ([]byte, error) {
	d := mip4.NewMessage(&mip4.Notification{
		Direction: f.direction, Acknowledge: true, HomeAddress: f.home, HomeAgent: f.agent, CareOfAddress: f.careOf, Identification: f.id,
	})
	zone, from := mip4.ZoneForeign, mip4.MessageFromHomeAgent
	if s.by == mip4.ExtMobileHome {
		zone = mip4.ZoneHome
	}
	if f.direction == mip4.ForeignAgentToMobileNode || f.direction == mip4.ForeignAgentToHomeAgent {
		from = mip4.MessageFromForeignAgent
	}
	// RFC 4917 has no subtype for a mobile node; its text goes under the first.
	return s.close(d.Add(zone, &mip4.MessageString{From: from, Text: text}))
}

// answer acknowledges f: addresses and ports are exchanged (RFC 6098 section
// 4.2).
//
//rfc:6098#4.2
//rfc:6098#4.5.2
//rfc:6098#4.6.2
//rfc:6098#4.7.4
func answer(p engine.Packet, f fixed, code mip4.NotificationCode, id uint64, s seal) (engine.Send, error) {
	data, err := s.close(mip4.NewMessage(&mip4.NotificationAck{
		Direction: back[f.direction], Code: code, HomeAddress: f.home, HomeAgent: f.agent, CareOfAddress: f.careOf, Identification: id,
	}))
	return engine.Send{Link: p.Link, Src: p.Dst, Dst: p.Src, HW: p.HW, Data: data}, err
}

// signed finds the key of the one authenticator of a type, nil unless it is there
// exactly once and holds: "If no MN-HA AE is found, or if more than one MN-HA AE is
// found, or if the Authenticator is invalid" (RFC 6098 section 4.5.1, and the
// like for the others). 33 and 34 are last: what follows them is nobody's.
//
//rfc:6098#4.5.1
//rfc:6098#4.5.4
//rfc:6098#4.6.1
//rfc:6098#4.6.4
//rfc:6098#4.7.2
//rfc:6098#4.7.3
func signed(m *mip4.Message, by mip4.ExtType, keys ...*assoc.Association) *assoc.Association {
	e, n := m.Find(by)
	if n != 1 || by != mip4.ExtMobileHome && m.Exts[len(m.Exts)-1].Off != e.Off {
		return nil
	}
	auth, err := m.Authentication(e)
	if err != nil {
		return nil
	}
	for _, k := range keys {
		if k != nil && k.SPI() == auth.SPI && k.Authenticated() {
			if k.Verify(m.Covered(e), auth.Authenticator) {
				return k
			}
			return nil
		}
	}
	return nil
}

// textOf is what the end of a message says whose authenticator has the type by,
// fit to be printed. What stands behind it, the authenticator does not cover.
func textOf(m *mip4.Message, by mip4.ExtType) string {
	end, _ := m.Find(by)
	var said []string
	for _, e := range m.Exts {
		if v, err := mip4.Decode[mip4.MessageString](e); err == nil && e.Off < end.Off {
			said = append(said, message.Printable(v.Text))
		}
	}
	return strings.Join(said, " / ")
}

func newest(keys []*assoc.Association) *assoc.Association { return keys[len(keys)-1] }
