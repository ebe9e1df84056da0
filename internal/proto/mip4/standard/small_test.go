package standard_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature/message"
	"careof/internal/proto/mip4/feature/opaque"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/internal/proto/mip4/standard"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// A heard is a datagram, and who sent it.
type heard struct {
	from string
	m    *mip4.Message
}

// record keeps every message of a journey.
func (j *journey) record() *[]heard {
	var list []heard
	j.tap = func(from *post, data []byte) []byte {
		if m, err := mip4.Parse(slices.Clone(data)); err == nil {
			list = append(list, heard{from.name, m})
		}
		return data
	}
	return &list
}

// replies are the codes of the replies that somebody sent.
func replies(list []heard, from string) (codes []mip4.Code) {
	for _, h := range list {
		if r, err := h.m.Reply(); err == nil && h.from == from && h.m.Type == mip4.TypeRegistrationReply {
			codes = append(codes, r.Code)
		}
	}
	return codes
}

// refusedWith are the codes that the node was refused with.
func (j *journey) refusedWith() (codes []uint8) {
	for _, n := range j.node.notes {
		if n.Kind == note.Refused {
			codes = append(codes, n.Code)
		}
	}
	return codes
}

func vendorExtension(critical bool, vendorType uint16, to opaque.Party) opaque.Extension {
	e := opaque.Extension{Number: opaque.Number{Type: mip4.ExtNVSE, Vendor: 32473, Sub: vendorType}, To: to, Value: []byte{1, 2}}
	if critical {
		e.Type = mip4.ExtCVSE
	}
	return e
}

// A foreign agent that does not understand what its home agent means for it
// refuses. With extension 45 the home agent's reply arrives as it was signed,
// the node does not use the care-of address, and ends the binding; a neighbour
// that has no such trouble serves it.
//
//rfc:4636#4
//rfc:4636#5
//rfc:3115#2.3
//rfc:4636#4-1
//rfc:4636#5-1
func TestForeignAgentDoesNotHonourTheReply(t *testing.T) {
	p := newPlan(t)
	p.atHome.Vendors = []opaque.Extension{vendorExtension(true, 7, opaque.ForeignAgent)}
	j := newJourney(t, p)
	said := j.record()
	j.attach(j.fa(1), netip.Addr{})
	j.run(3 * time.Second)
	if s := j.status(); s.State == "registered" || s.Problem == nil || s.Problem.Code != uint8(mip4.CodeFAVendorFromHomeAgent) {
		t.Fatalf("%s, problem %+v\n%s", s.State, s.Problem, j.trace())
	}
	if len(j.home.entries)+len(j.fa(1).entries)+len(j.node.entries) > 1 { // the node's own address stays its own
		t.Errorf("%d entries at home, %d at the foreign agent", len(j.home.entries), len(j.fa(1).entries))
	}
	explained := false
	for _, h := range *said {
		if h.from != "fa1" || h.m.Type != mip4.TypeRegistrationReply {
			continue
		}
		r, _ := h.m.Reply()
		e, n := h.m.Find(mip4.ExtFAError)
		auth, signed := h.m.Find(mip4.ExtMobileHome)
		if r.Lifetime == 0 {
			continue // the answer to the deregistration
		}
		status, err := mip4.Decode[mip4.FAError](e)
		if n != 1 || signed != 1 || r.Code != mip4.CodeAccepted || err != nil || status.Status != mip4.CodeFAVendorFromHomeAgent || e.Off < auth.Off {
			t.Errorf("the foreign agent says %v with %d FA Errors (%v) and %d authenticators", r.Code, n, status, signed)
		}
		explained = true
	}
	if !explained {
		t.Error("the foreign agent sent no reply with an FA Error")
	}
}

// Where the agents share a key the foreign agent itself tells the home agent,
// though nothing of the node gets through: not on the word of a reply that may
// be anybody's, and not while an earlier visit goes on.
//
//rfc:4636#6
//rfc:4636#6-1
func TestForeignAgentRevokesWhatItDoesNotHonour(t *testing.T) {
	for _, c := range []struct {
		name    string
		wrong   bool // the foreign agent has another key for the home agent
		renewal bool
		revokes bool
	}{
		{"a first registration", false, false, true},
		{"a reply that is not authentic", true, false, false},
		{"a renewal", false, true, false},
	} {
		p := newPlan(t)
		p.home.ForeignAgents = []ha.ForeignAgent{{Address: netip.MustParseAddr("203.0.113.1"), Keys: []*assoc.Association{association(t, assoc.Timestamps)}}}
		p.foreign.HomeAgents = []fa.HomeAgent{{Address: agent, Keys: []*assoc.Association{association(t, assoc.Timestamps)}}}
		p.atHome.Vendors = []opaque.Extension{vendorExtension(true, 7, opaque.ForeignAgent)}
		j := newJourney(t, p)
		honours, revocations, deregistrations := c.renewal, 0, 0
		j.tap = func(from *post, data []byte) []byte {
			m, err := mip4.Parse(data)
			if err != nil {
				return data
			}
			e, critical := m.Find(mip4.ExtCVSE)
			q, _ := m.Request()
			switch {
			case m.Type == mip4.TypeRevocation:
				revocations++
			case m.Type == mip4.TypeRegistrationRequest && q.Lifetime == 0:
				deregistrations++
				return nil
			case m.Type == mip4.TypeRegistrationReply && from == j.home && critical > 0 && (honours || c.wrong):
				// What the foreign agent does not understand gets lost, and the
				// authenticator is made for what is left, or not.
				data = append(slices.Clone(data[:e.Off]), data[e.End:]...)
				if m, err = mip4.Parse(data); err != nil {
					t.Fatal(err)
				}
				if f, n := m.Find(mip4.ExtForeignHome); n == 1 && !c.wrong {
					covered := m.Covered(f)
					data = association(t, assoc.Timestamps).Sign(slices.Clone(covered), covered)
				}
			}
			return data
		}
		j.attach(j.fa(1), netip.Addr{})
		j.run(3 * time.Second)
		if c.renewal {
			if s := j.status(); s.State != "registered" {
				t.Fatalf("%s: %s\n%s", c.name, s.State, j.trace())
			}
			honours = false
			j.step(j.node, engineCommand(mn.Reregister{}))
			j.run(3 * time.Second)
		}
		if (revocations > 0) != c.revokes || c.revokes && len(j.home.entries) != 0 {
			t.Errorf("%s: %d revocations, %d bindings\n%s", c.name, revocations, len(j.home.entries), j.trace())
		}
		if !c.wrong && deregistrations == 0 {
			t.Errorf("%s: the node did not deregister", c.name)
		}
	}
}

// An FA Error that did not come from the foreign agent on the way changes
// nothing.
//
//rfc:4636#8
func TestForgedFAError(t *testing.T) {
	p := newPlan(t)
	j := newJourney(t, p)
	forge := false
	j.tap = func(from *post, data []byte) []byte {
		m, err := mip4.Parse(data)
		if !forge || from != j.home || err != nil || m.Type != mip4.TypeRegistrationReply {
			return data
		}
		b, err := mip4.AppendExt(slices.Clone(data), &mip4.FAError{Status: mip4.CodeFAProhibited})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	own := netip.MustParseAddr("192.0.10.77")
	j.attach(j.fa(1), own)
	j.run(5 * time.Second)
	if s := j.status(); s.State != "registered" {
		t.Fatalf("%s\n%s", s.State, j.trace())
	}
	forge = true
	j.step(j.node, engineCommand(mn.Reregister{}))
	j.run(500 * time.Millisecond)
	if s := j.status(); s.State != "registered" || len(j.refusedWith()) != 0 {
		t.Errorf("%s after a forged FA Error, refused with %v", s.State, j.refusedWith())
	}
}

// The texts of both agents reach the user, fit for a terminal, with an
// acceptance and with a denial.
//
//rfc:4917#4
//rfc:4917#5
//rfc:4917#3-2
//rfc:4917#5-1
//rfc:4917#5-2
//rfc:4917#5-3
func TestMessagesForTheUser(t *testing.T) {
	p := newPlan(t)
	p.atHome.Messages = message.Texts{mip4.CodeAccepted: "Welcome to the fleet \x1b[31m", mip4.CodeHAReverseTunnelUnavailable: "no tunnels today"}
	p.atForeign.Messages = message.Texts{mip4.CodeAccepted: "Hafencafé", mip4.CodeFAResources: "full house"}
	j := newJourney(t, p)
	said := j.record()
	j.attach(j.fa(1), netip.Addr{})
	j.run(3 * time.Second)
	j.visits(j.fa(1), encap.IPIP)
	if r := j.status().Registered; len(r) != 1 || r[0].Message != "Welcome to the fleet \ufffd[31m / Hafencafé" {
		t.Errorf("the user sees %+v", r)
	}
	for _, h := range *said {
		if h.m.Type != mip4.TypeRegistrationReply {
			continue
		}
		auth, _ := h.m.Find(mip4.ExtMobileHome)
		for _, e := range h.m.Exts {
			if v, err := mip4.Decode[mip4.MessageString](e); err == nil && (v.From == mip4.MessageFromHomeAgent) != (e.Off < auth.Off) {
				t.Errorf("from %s: the text %s is on the wrong side of extension 32", h.from, v.From)
			}
		}
	}

	p.home.ReverseTunnel = forward.ReverseTunnelRefused
	p.node.ReverseTunnel = mn.ReverseRequired
	j = newJourney(t, p)
	j.attach(j.fa(1), netip.Addr{})
	j.run(3 * time.Second)
	if r := j.status().Registered; len(r) == 0 || r[0].Message != "no tunnels today" {
		t.Errorf("after a denial the user sees %+v", r)
	}

	p = newPlan(t)
	p.foreign.ReverseTunnel, p.node.ReverseTunnel = forward.ReverseTunnelRequired, mn.ReverseOff
	p.atForeign.Messages = message.Texts{mip4.CodeFAReverseTunnelMandatory: "ask for a reverse tunnel"}
	j = newJourney(t, p)
	j.attach(j.fa(1), netip.Addr{})
	j.run(3 * time.Second)
	if r := j.status().Registered; len(r) == 0 || r[0].Message != "ask for a reverse tunnel" {
		t.Errorf("after the foreign agent's own denial the user sees %+v", r)
	}
}

// Vendors' extensions: what nobody understands is refused where it is critical
// and skipped where it is not, by who it is for.
//
//rfc:3115#2.3
//rfc:3115#2.4
//rfc:3115#2.3-1
//rfc:3115#2.3-2
//rfc:3115#2-1
func TestVendorExtensions(t *testing.T) {
	for _, c := range []struct {
		name                string
		node, foreign, home []opaque.Extension
		refused             mip4.Code // 0: registered
		heardHome, heardMN  int
	}{
		{name: "normal ones that nobody knows are skipped",
			node:    []opaque.Extension{vendorExtension(false, 1, opaque.HomeAgent), vendorExtension(false, 2, opaque.ForeignAgent)},
			foreign: []opaque.Extension{vendorExtension(false, 3, opaque.HomeAgent), vendorExtension(false, 4, opaque.MobileNode)},
			home:    []opaque.Extension{vendorExtension(false, 5, opaque.MobileNode), vendorExtension(false, 6, opaque.ForeignAgent)}},
		{name: "a critical one from the mobile node for the home agent",
			node: []opaque.Extension{vendorExtension(true, 1, opaque.HomeAgent)}, refused: mip4.CodeHAVendorFromMobileNode},
		{name: "a critical one from the mobile node for the foreign agent",
			node: []opaque.Extension{vendorExtension(true, 1, opaque.ForeignAgent)}, refused: mip4.CodeFAVendorFromMobileNode},
		{name: "a critical one from the foreign agent for the home agent",
			foreign: []opaque.Extension{vendorExtension(true, 1, opaque.HomeAgent)}, refused: mip4.CodeHAVendorFromForeignAgent},
		{name: "a critical one from the home agent for the foreign agent",
			home: []opaque.Extension{vendorExtension(true, 1, opaque.ForeignAgent)}, refused: mip4.CodeFAVendorFromHomeAgent},
		{name: "a critical one from the home agent for the mobile node",
			home: []opaque.Extension{vendorExtension(true, 1, opaque.MobileNode)}, refused: mip4.CodeFAVendorFromHomeAgent},
		{name: "a critical one from the foreign agent for the mobile node",
			foreign: []opaque.Extension{vendorExtension(true, 1, opaque.MobileNode)}, refused: mip4.CodeFAVendorFromHomeAgent},
		{name: "critical ones that all know",
			node:    []opaque.Extension{vendorExtension(true, 1, opaque.HomeAgent), vendorExtension(true, 2, opaque.Nobody)},
			foreign: []opaque.Extension{vendorExtension(true, 3, opaque.HomeAgent)},
			home:    []opaque.Extension{vendorExtension(true, 1, opaque.Nobody), vendorExtension(true, 3, opaque.Nobody), vendorExtension(true, 2, opaque.MobileNode)},
			// Of the home agent's the mobile node has been told.
			heardHome: 2, heardMN: 1},
	} {
		p := newPlan(t)
		p.atHome.Vendors, p.atForeign.Vendors, p.atNode.Vendors = c.home, c.foreign, c.node
		j := newJourney(t, p)
		j.attach(j.fa(1), netip.Addr{})
		j.run(2 * time.Second)
		codes := j.refusedWith()
		switch {
		case c.refused == 0 && (len(codes) != 0 || j.status().State != "registered"):
			t.Errorf("%s: refused with %v", c.name, codes)
		case c.refused != 0 && (len(codes) == 0 || codes[0] != uint8(c.refused) || len(j.home.entries) != 0):
			t.Errorf("%s: refused with %v instead of %v, %d bindings", c.name, codes, c.refused, len(j.home.entries))
		}
		if got := []int{count(j.home, opaque.Received), count(j.node, opaque.Received)}; c.refused == 0 && !slices.Equal(got, []int{c.heardHome, c.heardMN}) {
			t.Errorf("%s: told of %v", c.name, got)
		}
	}
}

// Experiments: the same numbers at both ends, or the rules of RFC 5944 section
// 1.8; the codes for experiments answer experiments only; message 255 is
// nobody's.
//
//rfc:4064#9
//rfc:4064#5
//rfc:4064#6
//rfc:4064#6-1
//rfc:4064#8-2
//rfc:4064#9-1
//rfc:4064#9-2
//rfc:4064#9-3
//rfc:4064#9-4
func TestExperiments(t *testing.T) {
	exp := func(critical bool, sub uint16, to opaque.Party) opaque.Extension {
		e := opaque.Extension{Number: opaque.Number{Type: mip4.ExtExperimentalSkippable, Sub: sub}, To: to, Value: []byte("x")}
		if critical {
			e.Type = mip4.ExtExperimentalNonSkippable
		}
		return e
	}
	denied := func(e opaque.Extension) opaque.Extension {
		e.To, e.Deny = opaque.Nobody, true
		return e
	}
	for _, c := range []struct {
		name                string
		node, foreign, home []opaque.Extension
		refused             mip4.Code
		silent              bool
	}{
		{name: "skippable and unknown", node: []opaque.Extension{exp(false, 1, opaque.HomeAgent)}},
		{name: "non-skippable and unknown to the home agent", node: []opaque.Extension{exp(true, 1, opaque.HomeAgent)}, silent: true},
		{name: "non-skippable and unknown to the foreign agent", node: []opaque.Extension{exp(true, 1, opaque.ForeignAgent)}, silent: true},
		{name: "non-skippable and known", node: []opaque.Extension{exp(true, 1, opaque.HomeAgent)}, home: []opaque.Extension{exp(true, 1, opaque.Nobody)}},
		{name: "another subtype is another experiment", node: []opaque.Extension{exp(true, 1, opaque.HomeAgent)}, home: []opaque.Extension{exp(true, 2, opaque.Nobody)}, silent: true},
		{name: "denied by the home agent", node: []opaque.Extension{exp(false, 1, opaque.HomeAgent)}, home: []opaque.Extension{denied(exp(false, 1, opaque.Nobody))}, refused: mip4.CodeHAExperimental},
		{name: "denied by the foreign agent", node: []opaque.Extension{exp(false, 1, opaque.ForeignAgent)}, foreign: []opaque.Extension{denied(exp(false, 1, opaque.Nobody))}, refused: mip4.CodeFAExperimental},
		{name: "nothing to deny", home: []opaque.Extension{denied(exp(false, 1, opaque.Nobody))}, foreign: []opaque.Extension{denied(exp(false, 1, opaque.Nobody))}},
	} {
		p := newPlan(t)
		p.atHome.Experiments, p.atForeign.Experiments, p.atNode.Experiments = c.home, c.foreign, c.node
		j := newJourney(t, p)
		said := j.record()
		j.attach(j.fa(1), netip.Addr{})
		j.run(2 * time.Second)
		codes := j.refusedWith()
		switch {
		case c.silent:
			if len(replies(*said, "ha"))+len(replies(*said, "fa1")) != 0 {
				t.Errorf("%s: answered", c.name)
			}
		case c.refused != 0:
			if len(codes) == 0 || codes[0] != uint8(c.refused) {
				t.Errorf("%s: refused with %v", c.name, codes)
			}
		case len(codes) != 0 || j.status().State != "registered":
			t.Errorf("%s: refused with %v", c.name, codes)
		}
	}

	// Message 255, to all three: not a word, and nothing changes.
	j := newJourney(t, newPlan(t))
	j.attach(j.fa(1), netip.Addr{})
	j.run(2 * time.Second)
	said := j.record()
	for _, h := range j.hosts {
		before := len(h.notes)
		j.step(h, experimentalPacket(h == j.home, h == j.node, j.node.hw))
		for _, n := range h.notes[before:] {
			if n.Level > note.Debug {
				t.Errorf("%s: an experimental message leads to %v", h.name, n)
			}
		}
	}
	if len(*said) != 0 || j.status().State != "registered" {
		t.Errorf("an experimental message was answered with %d messages", len(*said))
	}
}

// A home agent says who it is in its first reply, and goes on only to a node
// that says it back.
//
//rfc:3846#3.1
//rfc:3846#4
func TestHomeAgentIdentity(t *testing.T) {
	p := newPlan(t)
	p.atHome.Identity = "ha1@home.example"
	j := newJourney(t, p)
	said := j.record()
	named := func(from string, kind mip4.MessageType) (n, of int) {
		for _, h := range *said {
			if h.from == from && h.m.Type == kind {
				of++
				if e, there := h.m.FindSub(mip4.ExtNAICarrying, uint8(mip4.NAIHomeAgent)); there == 1 {
					n++
					if auth, _ := h.m.Find(mip4.ExtMobileHome); e.Off > auth.Off {
						t.Errorf("from %s: the name stands behind the authenticator", from)
					}
				}
			}
		}
		return n, of
	}
	j.attach(j.fa(1), netip.Addr{})
	j.run(time.Hour)
	requests, ofRequests := named("mn", mip4.TypeRegistrationRequest)
	answers, ofAnswers := named("ha", mip4.TypeRegistrationReply)
	if ofRequests < 5 || requests != ofRequests-1 || answers != ofAnswers {
		t.Errorf("the name is in %d of %d requests and %d of %d replies", requests, ofRequests, answers, ofAnswers)
	}

	// A node without RFC 3846 hears it once for each time that it comes anew.
	j = newJourney(t, p)
	said = j.record()
	j.node.machine = plainNode(t, p)
	j.attach(j.fa(1), netip.Addr{})
	j.run(time.Hour)
	if answers, of := named("ha", mip4.TypeRegistrationReply); answers != 1 || of < 5 {
		t.Errorf("a node that does not echo the name hears it in %d of %d replies", answers, of)
	}
}

// Whatever stands in the extensions that features know, signed or not, nobody
// panics, and what is over is over: with the right octets the node registers
// again.
func TestGarbageInKnownExtensions(t *testing.T) {
	types := []byte{32, 33, 34, 36, 38, 44, 45, 46, 48, 127, 130, 131, 132, 134, 136, 137, 144, 145, 255}
	rng := rand.New(rand.NewPCG(7, 7))
	garbage := func() (b []byte) {
		for range rng.IntN(4) {
			e := make([]byte, 2+rng.IntN(30))
			for i := range e {
				e[i] = byte(rng.IntN(8))
			}
			e[0], e[1] = types[rng.IntN(len(types))], byte(len(e)-2)
			if rng.IntN(5) == 0 {
				e[1] = byte(rng.Uint32())
			}
			b = append(b, e...)
		}
		return b
	}
	p := newPlan(t)
	p.home.ForeignAgents = []ha.ForeignAgent{{Address: netip.MustParseAddr("203.0.113.1"), Keys: []*assoc.Association{association(t, assoc.Timestamps)}}}
	p.atHome.Identity, p.atHome.Messages = "ha1@home.example", message.Texts{0: "welcome"}
	for _, c := range []*standard.Config{&p.atHome, &p.atForeign, &p.atNode} {
		c.Vendors = []opaque.Extension{vendorExtension(false, 1, opaque.Nobody), vendorExtension(true, 2, opaque.Nobody)}
		c.Experiments = []opaque.Extension{{Number: opaque.Number{Type: mip4.ExtExperimentalSkippable, Sub: 1}, Deny: true}}
	}
	j := newJourney(t, p)
	spoil, key := true, association(t, assoc.Timestamps)
	j.tap = func(from *post, data []byte) []byte {
		m, err := mip4.Parse(data)
		if err != nil || !spoil || rng.IntN(4) == 0 {
			return data
		}
		var d *mip4.Draft
		if q, err := m.Request(); err == nil {
			d = mip4.NewRequest(q)
		} else if r, err := m.Reply(); err == nil {
			d = mip4.NewReply(r)
		} else {
			return data
		}
		d.AddRaw(mip4.ZoneHome, garbage()).Authenticate(mip4.ExtMobileHome, key).AddRaw(mip4.ZoneForeign, garbage())
		if rng.IntN(2) == 0 && from != j.node {
			d.Authenticate(mip4.ExtForeignHome, key)
		}
		if b, err := d.Seal(); err == nil {
			return b
		}
		return data
	}
	for i := range 400 {
		j.attach(j.fa(1+i%2), netip.Addr{})
		j.step(j.node, engineCommand(mn.Reregister{}))
		j.run(time.Second)
	}
	spoil = false
	j.attach(j.fa(2), netip.Addr{})
	j.run(10 * time.Minute) // agents that refused are avoided for a while
	if s := j.status(); s.State != "registered" {
		t.Errorf("in the end %s\n%s", s.State, j.trace())
	}
}

// Printable text, whatever comes in.
//
//rfc:4917#3
//rfc:4917#3-3
func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                   "plain",
		"Grüße aus 東京":            "Grüße aus 東京",
		"a\x1b]0;owned\x07b":      "a\ufffd]0;owned\ufffdb",
		"two\r\nlines\tand  more": "two lines and more",
		"not \xff\xfe UTF-8":      "not \ufffd\ufffd UTF-8",
		"turned \u202e around":    "turned \ufffd around",
		"\u0085\u009b31m":         "\ufffd31m",
		"\x00":                    "\ufffd",
		strings.Repeat(" ", 10):   "",
	} {
		if got := message.Printable(in); got != want {
			t.Errorf("%q becomes %q, not %q", in, got, want)
		}
	}
}

func engineCommand(v any) engine.Command { return engine.Command{Ticket: 77, Value: v} }

// experimentalPacket is message 255 as it would come in.
func experimentalPacket(home, node bool, hw engine.HardwareAddr) engine.Packet {
	p := engine.Packet{Link: "eth1", HW: hw, TTL: 64, Data: []byte{255, 1, 2, 3}}
	p.Src, p.Dst = netip.MustParseAddrPort("192.0.10.77:5000"), netip.MustParseAddrPort("192.0.10.1:434")
	switch {
	case home:
		p.Link, p.Dst = "eth0", netip.AddrPortFrom(agent, 434)
	case node:
		p.Link = "wlan0"
	}
	return p
}

// plainNode is the node of a plan without any feature.
func plainNode(t *testing.T, p *plan) engine.Machine {
	t.Helper()
	n, err := standard.MobileNode(p.node, nil, rand.New(rand.NewPCG(3, 3)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
