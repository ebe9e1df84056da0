package standard_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature/challenge"
	"careof/internal/proto/mip4/mn"
	"careof/wire/adv4"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// challenged is a journey whose foreign agents challenge, and have AAA verify
// the answer; the book knows the node.
func challenged(t testing.TB, change func(*plan)) *journey {
	t.Helper()
	k, err := assoc.ParseKey("00112233445566778899aabbccddeeff")
	if err != nil {
		t.Fatal(err)
	}
	secret := aaa.CHAP(k)
	p := newPlan(t)
	p.atForeign.Challenge = challenge.Config{Window: 2, AAA: true}
	p.atNode.Challenge = challenge.Config{Secret: &secret}
	if change != nil {
		change(p)
	}
	j := newJourney(t, p)
	j.aaa = answers(aaa.Book{"van7@fleet.example": {Secrets: []aaa.Secret{secret}}})
	j.slow = 10 * time.Millisecond
	return j
}

// requests gathers what the node sends, and replies what agents send to it.
func requests(j *journey) (sent, heard *[][]byte) {
	sent, heard = new([][]byte), new([][]byte)
	j.tap = func(from *post, data []byte) []byte {
		switch {
		case from == j.node:
			*sent = append(*sent, slices.Clone(data))
		case from != j.home && data[0] == byte(mip4.TypeRegistrationReply):
			*heard = append(*heard, slices.Clone(data))
		}
		return data
	}
	return sent, heard
}

func codes(t testing.TB, replies [][]byte) (list []mip4.Code) {
	t.Helper()
	for _, data := range replies {
		m, err := mip4.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		r, err := m.Reply()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r.Code)
	}
	return list
}

func challengeOf(t testing.TB, data []byte) string {
	t.Helper()
	m, err := mip4.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	e, n := m.Find(mip4.ExtChallenge)
	if n != 1 {
		t.Fatalf("%d challenges in %v", n, m.Type)
	}
	return string(e.Body)
}

// replay has agent h hear a datagram of the node's once more.
func (j *journey) replay(h *post, data []byte, hw engine.HardwareAddr) {
	m, _ := mip4.Parse(data)
	r, _ := m.Request()
	j.step(h, engine.Packet{
		Link: "eth1", HW: hw, TTL: 255, Src: netip.AddrPortFrom(r.HomeAddress, 40434), Dst: netip.AddrPortFrom(h.address, 434), Data: slices.Clone(data),
	})
}

// A node without a key of the foreign agent answers its challenge with what it
// shares with AAA; extension 32, the challenge and 36 come in the order of the
// RFC and reach the home agent untouched; every reply brings the next challenge.
//
//rfc:4721#3.1
//rfc:4721#3.2
//rfc:4721#3.2-11
//rfc:4721#3.2-12
//rfc:4721#3.3
//rfc:4721#3.4
func TestAChallengeIsAnsweredAndVerifiedByAAA(t *testing.T) {
	j := challenged(t, nil)
	sent, heard := requests(j)
	relayed := ""
	inner := j.tap
	j.tap = func(from *post, data []byte) []byte {
		if from == j.fa(1) && data[0] == byte(mip4.TypeRegistrationRequest) {
			relayed = string(data)
		}
		return inner(from, data)
	}
	j.attach(j.fa(1), netip.Addr{})
	j.run(2 * time.Second)
	j.visits(j.fa(1), encap.IPIP)
	if len(*sent) != 1 {
		t.Fatalf("%d requests", len(*sent))
	}
	m, err := mip4.Parse((*sent)[0])
	if err != nil {
		t.Fatal(err)
	}
	var order []mip4.ExtType
	for _, e := range m.Exts {
		order = append(order, e.Type)
	}
	if want := []mip4.ExtType{mip4.ExtNAI, mip4.ExtMobileHome, mip4.ExtChallenge, mip4.ExtGeneralizedAuth}; !slices.Equal(order, want) {
		t.Errorf("extensions %v, want %v", order, want)
	}
	if relayed != string((*sent)[0]) {
		t.Errorf("the foreign agent relayed\n%x\nnot\n%x", relayed, (*sent)[0])
	}
	if len(j.asked) != 1 {
		t.Fatalf("AAA was asked %d times", len(j.asked))
	}
	j.run(time.Hour)
	j.visits(j.fa(1), encap.IPIP)
	seen := map[string]bool{}
	for _, data := range *sent {
		if c := challengeOf(t, data); seen[c] {
			t.Errorf("challenge %x was used twice", c)
		} else {
			seen[c] = true
		}
	}
	for _, data := range *heard {
		challengeOf(t, data)
	}
	if n := len(j.asked); n < 2 || n > 4 {
		t.Errorf("AAA was asked %d times in an hour", n)
	}
	for _, c := range codes(t, *heard) {
		if c != mip4.CodeAccepted {
			t.Errorf("code %v on the way", c)
		}
	}
}

// Captured requests are refused: from the node's own station and from another
// one, at once and later.
//
//rfc:4721#3.2
//rfc:4721#3.2-5
func TestAReplayedChallengeIsRefused(t *testing.T) {
	for _, hw := range []engine.HardwareAddr{{2, 0, 0, 0, 0, 4}, {2, 0, 0, 0, 0, 99}} {
		for _, later := range []time.Duration{2 * time.Second, 20 * time.Second, 5 * time.Minute} {
			j := challenged(t, nil)
			sent, heard := requests(j)
			j.attach(j.fa(1), netip.Addr{})
			j.run(time.Second)
			j.run(later)
			before, relayed := len(*heard), len(j.log)
			j.replay(j.fa(1), (*sent)[0], hw)
			j.run(time.Second)
			for _, line := range j.log[relayed:] {
				if line == fmt.Sprintf("fa1 %v>%v", j.fa(1).careOf, agent) {
					t.Errorf("after %v, %x: a replayed request was relayed", later, hw)
				}
			}
			for _, c := range codes(t, (*heard)[before:]) {
				if c != mip4.CodeFAStaleChallenge && c != mip4.CodeFAUnknownChallenge {
					t.Errorf("after %v: code %v", later, c)
				}
			}
			j.visits(j.fa(1), encap.IPIP)
		}
	}
}

// What an agent says to requests that do not answer a challenge of its own.
//
//rfc:4721#3.2
//rfc:4721#10
func TestWhatIsWrongWithAChallenge(t *testing.T) {
	for _, c := range []struct {
		what   string
		change func(m *mip4.Message, d *mip4.Draft, s mip4.Signer, c []byte)
		want   mip4.Code // 0: silence
	}{
		{"none", func(m *mip4.Message, d *mip4.Draft, s mip4.Signer, c []byte) {}, mip4.CodeFAMissingChallenge},
		{"unknown", func(m *mip4.Message, d *mip4.Draft, s mip4.Signer, c []byte) {
			d.Add(mip4.ZoneAuthorizing, &mip4.Challenge{Value: []byte("0123456789abcdef")})
			d.Authenticate(mip4.ExtGeneralizedAuth, s)
		}, mip4.CodeFAUnknownChallenge},
		{"without 33 and 36", func(m *mip4.Message, d *mip4.Draft, s mip4.Signer, c []byte) {
			d.Add(mip4.ZoneAuthorizing, &mip4.Challenge{Value: c})
		}, 0},
		{"in front of 36 is something else", func(m *mip4.Message, d *mip4.Draft, s mip4.Signer, c []byte) {
			d.Authenticate(mip4.ExtGeneralizedAuth, s)
			d.Add(mip4.ZoneForeign, &mip4.Challenge{Value: c})
		}, 0},
		{"not AAA's key", func(m *mip4.Message, d *mip4.Draft, s mip4.Signer, c []byte) {
			other, _ := assoc.ParseKey("ff112233445566778899aabbccddeeff")
			d.Add(mip4.ZoneAuthorizing, &mip4.Challenge{Value: c})
			d.Authenticate(mip4.ExtGeneralizedAuth, aaa.Signer{Secret: aaa.CHAP(other), Challenge: c})
		}, mip4.CodeFABadAAAAuth},
	} {
		j := challenged(t, nil)
		f := j.fa(1)
		j.at = f
		_, heard := requests(j)
		var given []byte
		j.run(time.Second)
		for _, a := range f.machine.Step(j.now, solicitation(j.node.hw)) {
			if s, ok := a.(engine.SendDiscovery); ok {
				adv, err := adv4.Parse(s.Data)
				if err != nil {
					t.Fatal(err)
				}
				v, _, _ := adv4.Get[adv4.Challenge](adv)
				given = v.Value
			}
		}
		if len(given) < 4 {
			t.Fatalf("a challenge of %d octets", len(given))
		}
		d := mip4.NewRequest(mip4.RegistrationRequest{
			Lifetime: 300, HomeAddress: homeAddress, HomeAgent: agent, CareOfAddress: f.careOf, Identification: 77,
		})
		d.Add(mip4.ZoneHome, &mip4.NAI{Value: "van7@fleet.example"})
		d.Authenticate(mip4.ExtMobileHome, association(t, assoc.Timestamps))
		k, _ := assoc.ParseKey("00112233445566778899aabbccddeeff")
		c.change(nil, d, aaa.Signer{Secret: aaa.CHAP(k), Challenge: given}, given)
		data, err := d.Seal()
		if err != nil {
			t.Fatal(err)
		}
		j.replay(f, data, j.node.hw)
		j.run(500 * time.Millisecond)
		got := codes(t, *heard)
		switch {
		case c.want == 0 && len(got) == 0:
		case len(got) == 1 && got[0] == c.want:
			if next := challengeOf(t, (*heard)[0]); next == string(given) {
				t.Errorf("%s: the denial repeats the challenge", c.what)
			}
		default:
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

func solicitation(hw engine.HardwareAddr) engine.Discovery {
	return engine.Discovery{Link: "eth1", Src: homeAddress, Dst: netip.MustParseAddr("224.0.0.2"), TTL: 1, HW: hw, Data: adv4.AppendSolicitation(nil)}
}

// The reply is lost; what the node sends again is relayed again, and is no
// replay.
//
//rfc:4721#3.2
//rfc:4721#3.2-4
func TestARetransmissionMayRepeatItsChallenge(t *testing.T) {
	j := challenged(t, nil)
	sent, heard := requests(j)
	inner, lost := j.tap, 0
	j.tap = func(from *post, data []byte) []byte {
		if from == j.home && lost < 2 {
			lost++
			return nil
		}
		return inner(from, data)
	}
	j.attach(j.fa(1), netip.Addr{})
	j.run(6 * time.Second)
	if lost != 2 || len(*sent) < 3 {
		t.Fatalf("%d replies lost, %d requests", lost, len(*sent))
	}
	j.visits(j.fa(1), encap.IPIP)
	for _, c := range codes(t, *heard) {
		if c != mip4.CodeAccepted {
			t.Errorf("code %v", c)
		}
	}
}

// A flood of solicitations and of requests under many names neither takes good
// challenges away nor grows what the agent remembers.
//
//rfc:4721#12-3
//rfc:4721#12-4
func TestAFloodTakesNoChallengeAway(t *testing.T) {
	j := challenged(t, func(p *plan) { p.foreign.MaxPending = 64 })
	sent, _ := requests(j)
	j.attach(j.fa(1), netip.Addr{})
	rng := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		for range 20 {
			hw := engine.HardwareAddr{2, 9, byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32()), 1}
			j.step(j.fa(1), solicitation(hw))
			d := mip4.NewRequest(mip4.RegistrationRequest{
				Lifetime: 300, HomeAddress: netip.AddrFrom4([4]byte{10, byte(rng.Uint32()), byte(rng.Uint32()), 1}), HomeAgent: agent,
				CareOfAddress: j.fa(1).careOf, Identification: rng.Uint64(),
			})
			d.Add(mip4.ZoneHome, &mip4.NAI{Value: fmt.Sprintf("x%d@fleet.example", rng.Uint64())})
			d.Authenticate(mip4.ExtMobileHome, association(t, assoc.Timestamps))
			data, _ := d.Seal()
			j.replay(j.fa(1), data, hw)
		}
		j.run(50 * time.Millisecond)
	}
	j.visits(j.fa(1), encap.IPIP)
	if len(*sent) > 2 {
		t.Errorf("the node needed %d requests", len(*sent))
	}
	if len(j.asked) > 2 {
		t.Errorf("AAA was asked %d times, about requests that answer no challenge", len(j.asked))
	}
}

// A home agent that answers with another challenge than it got: its Code stays
// and the foreign agent's own stands beside it.
//
//rfc:4721#3.3
func TestAWrongChallengeInTheReply(t *testing.T) {
	j := challenged(t, nil)
	_, heard := requests(j)
	inner := j.tap
	j.tap = func(from *post, data []byte) []byte {
		if from == j.home {
			m, _ := mip4.Parse(data)
			e, n := m.Find(mip4.ExtChallenge)
			if n != 1 {
				t.Errorf("%d challenges in the home agent's reply", n)
				return data
			}
			if last, _ := m.LastAuthorizing(); e.Off < last.Off {
				t.Error("the home agent's challenge is not behind extension 32")
			}
			data[e.End-1] ^= 1
		}
		return inner(from, data)
	}
	j.attach(j.fa(1), netip.Addr{})
	j.run(time.Second)
	m, err := mip4.Parse((*heard)[0])
	if err != nil {
		t.Fatal(err)
	}
	r, _ := m.Reply()
	status, n, err := mip4.Get[mip4.FAError](m)
	if r.Code != mip4.CodeAccepted || n != 1 || err != nil || status.Status != mip4.CodeFAWrongChallenge {
		t.Errorf("code %v, status %v (%d, %v)", r.Code, status.Status, n, err)
	}
}

// AAA dies. Who is registered renews for as long as AAA's word holds; who is not
// is refused, and told apart from a wrong key.
//
//rfc:4721#3.2
func TestARenewalDoesNotWaitForAAA(t *testing.T) {
	j := challenged(t, nil)
	_, heard := requests(j)
	j.attach(j.fa(1), netip.Addr{})
	j.run(time.Second)
	j.visits(j.fa(1), encap.IPIP)
	j.aaa = func(any) (aaa.Grant, error) { return aaa.Grant{}, aaa.ErrUnavailable }
	j.slow = 4 * time.Second
	j.run(50 * time.Minute)
	j.visits(j.fa(1), encap.IPIP)
	for i, c := range codes(t, *heard) {
		if c != mip4.CodeAccepted {
			t.Errorf("reply %d: code %v", i, c)
		}
	}
	if n := count(j.node, note.Lost) + count(j.fa(1), fa.Departed); n != 0 {
		t.Errorf("trouble:\n%s", j.trace())
	}
	j.run(20 * time.Minute) // AAA's hour is over
	if s := j.status(); s.State == "registered" {
		t.Errorf("the node is %s although AAA's word is over", s.State)
	}
	last := codes(t, *heard)
	if c := last[len(last)-1]; c != mip4.CodeFAUnspecified {
		t.Errorf("the last code is %v", c)
	}
}

// A node that shares a key with the foreign agent answers under that key; AAA
// is not asked, and the home agent sees nothing of it.
//
//rfc:4721#3.1-2
//rfc:4721#3.1-3
func TestAChallengeUnderTheForeignAgentsKey(t *testing.T) {
	j := challenged(t, func(p *plan) {
		k, _ := assoc.ParseKey("8899aabbccddeeff0011223344556677")
		sa, err := assoc.New(301, assoc.HMACSHA256, k, assoc.Timestamps)
		if err != nil {
			t.Fatal(err)
		}
		p.foreign.MobileNodes = []fa.MobileNode{{Node: p.home.Nodes[0].Node, Keys: []*assoc.Association{sa}}}
		p.node.ForeignAgents.Associations = []mn.ForeignAssociation{{Address: netip.MustParseAddr("203.0.113.1"), Association: sa}}
		p.atNode.Challenge.Secret = nil
	})
	sent, heard := requests(j)
	j.attach(j.fa(1), netip.Addr{})
	j.run(30 * time.Minute)
	j.visits(j.fa(1), encap.IPIP)
	if len(j.asked) != 0 {
		t.Errorf("AAA was asked %d times", len(j.asked))
	}
	challengeOf(t, (*sent)[0])
	for _, c := range codes(t, *heard) {
		if c != mip4.CodeAccepted {
			t.Errorf("code %v", c)
		}
	}
	before := len(*heard)
	j.replay(j.fa(1), (*sent)[0], j.node.hw)
	j.run(time.Second)
	for _, c := range codes(t, (*heard)[before:]) {
		if c != mip4.CodeFAUnknownChallenge && c != mip4.CodeFAStaleChallenge {
			t.Errorf("a replay: code %v", c)
		}
	}
}

// In a direct registration the home agent has AAA verify, with the challenge 0,
// and there is no challenge extension. A wrong key is refused with 144.
//
//rfc:4721#3.1-9
//rfc:4721#3.4
func TestADirectRegistrationIsVerifiedAtTheHomeAgent(t *testing.T) {
	for _, right := range []bool{true, false} {
		j := challenged(t, func(p *plan) {
			p.atHome.Challenge.AAA = true
			if !right {
				k, _ := assoc.ParseKey("ffffffffffffffffffffffffffffffff")
				wrong := aaa.CHAP(k)
				p.atNode.Challenge.Secret = &wrong
			}
		})
		sent, _ := requests(j)
		j.attach(j.fa(1), netip.MustParseAddr("192.0.10.77"))
		j.run(30 * time.Second)
		m, err := mip4.Parse((*sent)[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, n := m.Find(mip4.ExtChallenge); n != 0 {
			t.Error("a direct request has a challenge extension")
		}
		s := j.status()
		if right && (s.State != "registered" || len(j.asked) != 1) {
			t.Errorf("%s, AAA was asked %d times\n%s", s.State, len(j.asked), j.trace())
		}
		if !right && (s.State == "registered" || s.Problem == nil || s.Problem.Code != uint8(mip4.CodeHABadAAAAuth)) {
			t.Errorf("%s, %+v", s.State, s.Problem)
		}
	}
}

// A request that waits for AAA is not mixed up with what comes meanwhile.
func TestOtherMessagesWhileAAAThinks(t *testing.T) {
	j := challenged(t, nil)
	j.slow = time.Second
	sent, _ := requests(j)
	j.attach(j.fa(1), netip.Addr{})
	j.run(500 * time.Millisecond)
	if len(*sent) != 1 || len(j.asked) != 1 {
		t.Fatalf("%d requests, %d questions", len(*sent), len(j.asked))
	}
	other := slices.Clone((*sent)[0])
	for i := 4; i < len(other); i++ {
		other[i] ^= 0x55
	}
	j.step(j.fa(1), engine.Packet{Link: "eth1", HW: engine.HardwareAddr{2, 1}, TTL: 255, Src: netip.MustParseAddrPort("10.10.0.9:434"), Dst: netip.AddrPortFrom(j.fa(1).address, 434), Data: other})
	j.run(700 * time.Millisecond)
	j.visits(j.fa(1), encap.IPIP)
}

// answers has a book answer, and make keys with luck of its own.
func answers(b aaa.Book) func(any) (aaa.Grant, error) {
	luck := rand.NewChaCha8([32]byte{7})
	return func(q any) (aaa.Grant, error) { return b.Answer(q, luck) }
}
