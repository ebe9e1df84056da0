package mn_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// wrong is an association that the node does not have.
func wrong(t testing.TB, spi uint32, key string) *assoc.Association {
	t.Helper()
	a, err := assoc.New(spi, assoc.HMACSHA256, assoc.NewKey([]byte(key)), assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// unknown is an extension that nobody claims.
type unknown struct{ number mip4.ExtType }

func (u *unknown) ExtNumber() (mip4.ExtType, uint8)    { return u.number, 0 }
func (u *unknown) AppendBody(b []byte) ([]byte, error) { return append(b, 1, 2, 3, 4), nil }
func (u *unknown) ParseBody([]byte) error              { return nil }

// The validity checks of RFC 5944 section 3.6.2.1, one by one. A reply that
// fails one changes nothing: the true reply is taken after it.
//
//rfc:5944#3.6.2.1
//rfc:5944#3.5.1-2
//rfc:5944#3.6.2.1-3
//rfc:5944#3.6.2.1-4
//rfc:5944#3.6.2.1-5
//rfc:5944#3.6.2.1-8
//rfc:5944#3.6.2.1-9
//rfc:5944#5.7-4
func TestReplyValidity(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer answer
		kind   note.Kind
	}{
		{"low half of the Identification is another", answer{change: func(p *mip4.RegistrationReply) { p.Identification++ }}, note.Ignored},
		{"no Mobile-Home Authentication Extension", answer{unsigned: true}, note.Discarded},
		{"no Mobile-Home Authentication Extension in a denial of the home agent", answer{code: 133, unsigned: true}, note.Discarded},
		{"authenticator with another key", answer{signer: wrong(t, 256, "another key")}, note.Discarded},
		{"authenticator with another SPI", answer{signer: wrong(t, 257, "sixteen octets!!")}, note.Discarded},
		{"home address of somebody else", answer{change: func(p *mip4.RegistrationReply) { p.HomeAddress = netip.MustParseAddr("10.10.0.6") }}, note.Discarded},
		{"home agent that was not asked", answer{change: func(p *mip4.RegistrationReply) { p.HomeAgent = netip.MustParseAddr("198.51.100.2") }}, note.Discarded},
		{"NAI of somebody else", answer{home: []mip4.Payload{&mip4.NAI{Value: "eve@fleet.example"}}}, note.Discarded},
		{"unknown extension 0-127", answer{home: []mip4.Payload{&unknown{mip4.ExtGFAAddress}}}, note.Discarded},
		{"unknown extension 0-127 after the authenticator", answer{tail: []mip4.Payload{&unknown{mip4.ExtFAError}}}, note.Discarded},
		{"a success that was not asked for", answer{code: 2}, note.Discarded},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, config(t))
			c.answer.lifetime = -1
			r.other = always(c.answer)
			r.up("wlan0", wifiAddress)
			r.run(100 * time.Millisecond)
			if r.count(c.kind) != 1 || r.count(note.Registered)+r.count(note.Refused)+r.count(note.Resync) != 0 {
				t.Fatalf("notes %v", r.notes)
			}
			if len(r.requests) != 1 {
				t.Errorf("it was answered with a request")
			}
			first := r.requests[0].Send
			r.step(r.reply(first, answer{lifetime: -1}))
			if r.status().State != "registered" {
				t.Error("the true reply was not taken after it")
			}
		})
	}
}

// "exactly one": two Mobile-Home Authentication Extensions, both good.
//
//rfc:5944#3.6.2.1
//rfc:5944#3.6.2.1-8
func TestTwoAuthenticators(t *testing.T) {
	r := newRig(t, config(t))
	r.other = func(r *rig, s engine.Send) []engine.Packet {
		p := r.reply(s, answer{lifetime: -1})
		m, _ := mip4.Parse(p.Data)
		covered := append(slices.Clone(p.Data), 32, 36, 0, 0, 1, 0)
		p.Data = association(t, assoc.Timestamps).Sign(covered, covered)
		_ = m
		return []engine.Packet{p}
	}
	r.up("wlan0", wifiAddress)
	r.run(100 * time.Millisecond)
	if r.count(note.Discarded) != 1 || r.count(note.Registered) != 0 {
		t.Errorf("notes %v", r.notes)
	}
}

// Extensions 128-255 that nobody claims are skipped.
//
//rfc:5944#1.8
func TestUnknownSkippableExtension(t *testing.T) {
	r := newRig(t, config(t))
	r.other = always(answer{lifetime: -1, home: []mip4.Payload{&unknown{mip4.ExtNVSE}}, tail: []mip4.Payload{&unknown{mip4.ExtServiceSelection}}})
	r.up("wlan0", wifiAddress)
	r.run(100 * time.Millisecond)
	if r.status().State != "registered" {
		t.Error("the reply was not taken")
	}
}

// A reply with any one bit flipped is never taken.
func TestFlippedBits(t *testing.T) {
	r := newRig(t, config(t))
	r.up("wlan0", wifiAddress)
	good := r.reply(r.last().Send, answer{lifetime: -1, home: []mip4.Payload{&mip4.NAI{Value: "x"}}})
	good = r.reply(r.last().Send, answer{lifetime: -1})
	for bit := range 8 * len(good.Data) {
		p := good
		p.Data = slices.Clone(good.Data)
		p.Data[bit/8] ^= 0x80 >> (bit % 8)
		r.step(p)
		if r.count(note.Registered)+r.count(note.Resync) != 0 {
			t.Fatalf("bit %d flipped was taken", bit)
		}
	}
	// A flipped code may look like a foreign agent's denial, but for the
	// authenticator, which such a reply may not have and this one has.
	if n := r.count(note.Refused); n != 0 {
		t.Errorf("%d flipped replies counted as denials", n)
	}
	r.step(good)
	if r.count(note.Registered) != 1 {
		t.Error("the good reply was not taken in the end")
	}
}

// Replies of random octets, and of a good reply cut at every length.
func TestGarbage(t *testing.T) {
	r := newRig(t, config(t))
	r.up("wlan0", wifiAddress)
	good := r.reply(r.last().Send, answer{lifetime: -1})
	rng := rand.New(rand.NewPCG(7, 7))
	for n := range good.Data {
		p := good
		p.Data = good.Data[:n]
		r.step(p)
		p.Data = make([]byte, n+20)
		for i := range p.Data {
			p.Data[i] = byte(rng.Uint32())
		}
		p.Data[0] = byte(rng.IntN(5))
		r.step(p)
	}
	if r.count(note.Registered) != 0 {
		t.Error("garbage was taken")
	}
}

// A denial of a foreign agent carries no authenticator: it is a hint, shown to
// the operator, that ends nothing.
func TestForeignAgentDenialEndsNothing(t *testing.T) {
	r := registered(t)
	r.other = always(answer{code: mip4.CodeFAProhibited, unsigned: true})
	r.step(engine.Command{Value: mn.Reregister{}})
	r.run(time.Second)
	s := r.status()
	if s.State != "registered" || r.tunnels() != "wlan0 ipip both" {
		t.Errorf("state %s, tunnels %s", s.State, r.tunnels())
	}
	if s.Problem == nil || s.Problem.Code != 65 || s.Problem.Verified {
		t.Errorf("problem %+v", s.Problem)
	}
}

// A denial by the home agent: "the mobile node SHOULD log the error"; the old
// registration stays; it is tried again, slowly; the operator sees what to do.
//
//rfc:5944#3.6.2.3
//rfc:5944#3.4-5
//rfc:5944#3.6.2.1-10
//rfc:5944#3.6.2.3-1
func TestDenialKeepsTheOldRegistration(t *testing.T) {
	for _, code := range []mip4.Code{128, 129, 130, 131, 135} {
		r := registered(t)
		r.other = always(answer{code: code})
		r.step(engine.Command{Value: mn.Reregister{}})
		r.run(60 * time.Second)
		s := r.status()
		if s.State != "registered" || r.tunnels() != "wlan0 ipip both" {
			t.Errorf("%v: state %s, tunnels %s", code, s.State, r.tunnels())
		}
		if r.count(note.Refused) == 0 {
			t.Errorf("%v: the denial is not told", code)
		}
		if s.Problem == nil || s.Problem.Code != uint8(code) || !s.Problem.Verified || s.Problem.Advice == "" {
			t.Errorf("%v: problem %+v", code, s.Problem)
		}
		if n := len(r.requests); n < 3 || n > 6 {
			t.Errorf("%v: %d requests in a minute", code, n)
		}
		r.other = granting(-1)
		r.run(2 * time.Minute)
		if r.status().Problem != nil {
			t.Errorf("%v: the problem stays after it is gone", code)
		}
	}
}

// Denials that can be repaired are, at once and once.
//
//rfc:5944#3.6.2.3
//rfc:3024#3.4
//rfc:3024#3.4-2
//rfc:5944#3.6.2.3-2
func TestRepairs(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*mn.Config)
		answer answer
		ok     func(mip4.RegistrationRequest) bool
		works  bool
	}{
		{"69: a shorter lifetime", nil, answer{code: 69, lifetime: 90, unsigned: true},
			func(q mip4.RegistrationRequest) bool { return q.Lifetime <= 90 }, true},
		{"139: without G", func(c *mn.Config) { c.Encapsulation = 47 }, answer{code: 139},
			func(q mip4.RegistrationRequest) bool { return !q.Flags.Has(mip4.FlagG) }, true},
		{"72: without M", func(c *mn.Config) { c.Encapsulation = 55 }, answer{code: 72, unsigned: true},
			func(q mip4.RegistrationRequest) bool { return !q.Flags.Has(mip4.FlagM) }, true},
		{"137: without T", func(c *mn.Config) { c.ReverseTunnel = mn.ReversePreferred }, answer{code: 137},
			func(q mip4.RegistrationRequest) bool { return !q.Flags.Has(mip4.FlagT) }, true},
		{"134: without T, an old home agent", func(c *mn.Config) { c.ReverseTunnel = mn.ReversePreferred }, answer{code: 134},
			func(q mip4.RegistrationRequest) bool { return !q.Flags.Has(mip4.FlagT) }, true},
		{"137: T is required", nil, answer{code: 137},
			func(q mip4.RegistrationRequest) bool { return !q.Flags.Has(mip4.FlagT) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(t)
			if c.change != nil {
				c.change(&cfg)
			}
			r := newRig(t, cfg)
			r.other = func(r *rig, s engine.Send) []engine.Packet {
				if c.ok(r.last().request) {
					return []engine.Packet{r.reply(s, answer{lifetime: -1})}
				}
				return []engine.Packet{r.reply(s, c.answer)}
			}
			r.up("wlan0", wifiAddress)
			r.run(110 * time.Millisecond)
			if got := r.status().State == "registered"; got != c.works {
				t.Errorf("registered %v, notes %v", got, r.notes)
			}
			if c.works && len(r.requests) != 2 {
				t.Errorf("%d requests", len(r.requests))
			}
		})
	}
}

// Algorithm "none" neither sends nor requires an authenticator.
func TestWithoutAuthentication(t *testing.T) {
	a, err := assoc.New(0, assoc.None, assoc.Key{}, assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(t)
	cfg.Association = a
	r := newRig(t, cfg)
	r.other = always(answer{lifetime: -1, unsigned: true})
	r.up("wlan0", wifiAddress)
	if _, n := r.last().m.Find(mip4.ExtMobileHome); n != 0 {
		t.Error("it sends an authenticator")
	}
	r.run(time.Second)
	if r.status().State != "registered" {
		t.Error("not registered")
	}
}

// Threat T20: an answer provokes a bounded number of requests, whatever it is.
func TestEndlessDenialsAreBounded(t *testing.T) {
	for code := range 256 {
		if code < 64 {
			continue
		}
		r := newRig(t, config(t))
		r.other = func(r *rig, s engine.Send) []engine.Packet {
			return []engine.Packet{r.reply(s, answer{
				code: mip4.Code(code), lifetime: 30 + len(r.requests),
				change: func(p *mip4.RegistrationReply) {
					if p.Code == 136 {
						p.HomeAgent = netip.AddrFrom4([4]byte{198, 51, 100, byte(len(r.requests)%200 + 2)})
					}
				},
			})}
		}
		r.up("wlan0", wifiAddress)
		r.run(60 * time.Second)
		allowed := 16 // three repairs in each of a few attempts, and their retransmissions
		if code == 136 {
			allowed = 64 // each names another home agent, and the uplink's limit holds
		}
		if n := len(r.requests); n > allowed {
			t.Errorf("code %d: %d requests in a minute", code, n)
		}
	}
}

// A registration that is refused says with what, and no more once it is granted.
func TestARefusedRegistrationKeepsItsCode(t *testing.T) {
	r := newRig(t, config(t))
	r.other = always(answer{code: 129})
	r.up("wlan0", wifiAddress)
	r.run(time.Second)
	if l := r.status().Registered; len(l) != 1 || l[0].State != "refused" || l[0].Code != 129 || l[0].Meaning != mip4.Code(129).String() {
		t.Errorf("refused with 129: %+v", l)
	}
	r.other = granting(-1)
	r.run(time.Minute)
	if l := r.status().Registered; len(l) != 1 || l[0].State != "registered" || l[0].Code != 0 || l[0].Meaning != "" {
		t.Errorf("granted: %+v", l)
	}
}
