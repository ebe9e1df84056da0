package mn_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// Denials of a foreign agent: what it leads to. They carry nothing of the home
// agent's and end nothing.
//
//rfc:5944#3.6.2.3
//rfc:5944#2.4
//rfc:5944#2.4-13
func TestForeignAgentRefuses(t *testing.T) {
	for code, want := range map[mip4.Code]string{
		mip4.CodeFAUnspecified:   "A B",
		mip4.CodeFAProhibited:    "A B",
		mip4.CodeFAResources:     "A B",
		mip4.CodeFAInvalidCareOf: "A B",
		mip4.CodeFATimeout:       "A B",
		mip4.CodeFATooDistant:    "A B",
		mip4.CodeFAUnreachable:   "A B",
		116:                      "A B",
		194:                      "A B",
		69:                       "A A", // with the lifetime that it accepts
	} {
		r := newRig(t, foreign(t))
		r.other = func(r *rig, s engine.Send) []engine.Packet {
			if s.Dst.Addr() == agentA && r.last().request.Lifetime > 100 {
				return []engine.Packet{r.reply(s, answer{code: code, lifetime: 100, unsigned: true})}
			}
			return []engine.Packet{r.reply(s, answer{lifetime: -1})}
		}
		r.bare("wlan0", 1)
		r.step(advertA())
		r.step(advertB())
		r.run(3 * time.Second)
		var got []string
		for _, q := range r.requests {
			got = append(got, map[netip.Addr]string{agentA: "A", agentB: "B"}[q.Dst.Addr()])
		}
		if s := r.status(); strings.Join(got, " ") != want || s.State != "registered" {
			t.Errorf("code %d: asked %v, %s", code, got, s.State)
		}
	}
	// Several care-of addresses: the first, and the next when it is refused.
	r := newRig(t, foreign(t))
	r.other = func(r *rig, s engine.Send) []engine.Packet {
		if r.last().request.CareOfAddress == careOfA {
			return []engine.Packet{r.reply(s, answer{code: 77, unsigned: true})}
		}
		return []engine.Packet{r.reply(s, answer{lifetime: -1})}
	}
	r.bare("wlan0", 1)
	r.step(advertA(careOf(careOfA, careOfA2)))
	r.run(time.Second)
	if s := r.status(); s.CareOfAddress != careOfA2 || s.ForeignAgent != agentA || len(r.requests) != 2 {
		t.Errorf("registered %v through %v after %d requests", s.CareOfAddress, s.ForeignAgent, len(r.requests))
	}
}

// An agent gives up a request of which a later one was accepted since (78): that
// is history, and the next registration through it goes on.
//
//rfc:5944#3.6.2.3
func TestADenialOfAnEarlierRequestIsHistory(t *testing.T) {
	r := newRig(t, foreign(t))
	var first *engine.Send
	silent := false
	r.other = func(r *rig, s engine.Send) []engine.Packet {
		switch {
		case first == nil:
			first = &s // lost behind the agent
		case !silent:
			return []engine.Packet{r.reply(s, answer{lifetime: -1})}
		}
		return nil
	}
	r.bare("wlan0", 1)
	r.step(advertA())
	r.run(5 * time.Second)
	if s := r.status(); s.State != "registered" {
		t.Fatal(s.State)
	}
	silent = true
	r.bare("wlan0", 2)
	r.step(advertA())
	r.run(100 * time.Millisecond)
	asked := len(r.requests)
	r.step(r.reply(*first, answer{code: mip4.CodeFATimeout, unsigned: true}))
	silent = false
	r.run(1500 * time.Millisecond)
	if s := r.status(); s.State != "registered" || s.ForeignAgent != agentA || len(r.requests) != asked+1 {
		t.Errorf("%s through %v after %d further requests, want the retransmission alone", s.State, s.ForeignAgent, len(r.requests)-asked)
	}
	if r.count(note.Refused) != 0 {
		t.Error("it counts as refused")
	}
}

// A denial that claims to be the foreign agent's must come from it, and none
// ends a registration (threat T11, contradiction C38).
//
//rfc:5944#3.6.2.1
func TestForgedDenials(t *testing.T) {
	r := visiting(t, foreign(t))
	r.step(engine.Command{Ticket: 5, Value: mn.Reregister{}})
	q := r.last().Send
	forged := r.reply(q, answer{code: mip4.CodeFAProhibited, unsigned: true})
	forged.Src = netip.AddrPortFrom(agentB, 434)
	r.step(forged)
	if r.count(note.Refused) != 0 || r.count(note.Discarded) != 1 {
		t.Error("a denial of somebody else was taken")
	}
	r.step(r.reply(q, answer{code: mip4.CodeFAProhibited, unsigned: true}))
	if s := r.status(); s.State != "registered" || r.entry().Deliver.HW != hwA {
		t.Errorf("a denial ended the registration: %s", s.State)
	}
}

func mobileForeign(t testing.TB) *assoc.Association {
	t.Helper()
	a, err := assoc.New(300, assoc.HMACSHA256, assoc.NewKey([]byte("of the two of us")), assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// With an association, request and reply carry extension 33, the last of all;
// a reply without it, with two or with a wrong one is discarded.
//
//rfc:5944#3.5.3
//rfc:5944#3.6.1.3
//rfc:5944#3.6.2.1
//rfc:3024#4-1
//rfc:5944#3.6.1.3-3
//rfc:5944#3.6.2.1-6
//rfc:5944#3.6.2.1-7
func TestMobileForeignAuthentication(t *testing.T) {
	cfg := foreign(t)
	cfg.ForeignAgents.Associations = []mn.ForeignAssociation{{Address: agentA, Association: mobileForeign(t)}}
	wrong, err := assoc.New(300, assoc.HMACSHA256, assoc.NewKey([]byte("of somebody else")), assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		signers []*assoc.Association
		code    mip4.Code
		taken   bool
	}{
		"right":             {[]*assoc.Association{mobileForeign(t)}, 0, true},
		"missing":           {nil, 0, false},
		"twice":             {[]*assoc.Association{mobileForeign(t), mobileForeign(t)}, 0, false},
		"wrong":             {[]*assoc.Association{wrong}, 0, false},
		"denial, right":     {[]*assoc.Association{mobileForeign(t)}, mip4.CodeFAProhibited, true},
		"denial, missing":   {nil, mip4.CodeFAProhibited, false},
		"denial, wrong key": {[]*assoc.Association{wrong}, mip4.CodeFAProhibited, false},
	} {
		r := newRig(t, cfg)
		r.bare("wlan0", 1)
		r.step(advertA())
		q := r.last()
		e := q.m.Exts[len(q.m.Exts)-1]
		auth, err := q.m.Authentication(e)
		if e.Type != mip4.ExtMobileForeign || err != nil || !mobileForeign(t).Verify(q.m.Covered(e), auth.Authenticator) {
			t.Fatalf("the request ends with %v, %v", e.Type, err)
		}
		d := mip4.NewReply(mip4.RegistrationReply{
			Code: c.code, Lifetime: q.request.Lifetime, HomeAddress: q.request.HomeAddress, HomeAgent: homeAgent, Identification: q.request.Identification,
		})
		if c.code == 0 {
			d.Authenticate(mip4.ExtMobileHome, association(t, assoc.Timestamps))
		}
		if len(c.signers) > 0 {
			d.Authenticate(mip4.ExtMobileForeign, c.signers[0])
		}
		octets, err := d.Seal()
		if err != nil {
			t.Fatal(err)
		}
		if len(c.signers) > 1 { // which no draft lays out
			octets = append(octets, 33, byte(4+c.signers[1].Size()), 0, 0, 1, 44)
			octets = c.signers[1].Sign(octets, octets)
		}
		r.step(engine.Packet{Link: "wlan0", Src: q.Dst, Dst: netip.AddrPortFrom(homeAddress, 40000), TTL: 64, HW: hwA, Data: octets})
		if got := r.count(note.Registered)+r.count(note.Refused) == 1; got != c.taken || (r.count(note.Discarded) == 1) == c.taken {
			t.Errorf("%s: taken %v", name, got)
		}
	}
}
