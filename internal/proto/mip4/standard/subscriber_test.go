package standard_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/engine/enginetest"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature/subscriber"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/internal/proto/mip4/standard"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// subscribed is a journey whose home agent has no node: AAA has one.
func subscribed(t testing.TB, change func(*plan, *aaa.Subscriber)) *journey {
	t.Helper()
	sub := aaa.Subscriber{Grant: aaa.Grant{Associations: []*assoc.Association{association(t, assoc.Timestamps)}}}
	j := challenged(t, func(p *plan) {
		p.home.Nodes = nil
		p.node.HomeAddress = netip.Addr{}
		p.atHome.Subscribers.Authorise, p.atHome.Subscribers.Account = true, true
		p.atForeign.Subscribers.Account = true
		if change != nil {
			change(p, &sub)
		}
	})
	k, _ := assoc.ParseKey("00112233445566778899aabbccddeeff")
	sub.Secrets = []aaa.Secret{aaa.CHAP(k)}
	j.aaa = answers(aaa.Book{"van7@fleet.example": sub})
	return j
}

func questions[Q any](j *journey) (list []Q) {
	for _, q := range j.asked {
		if q, ok := q.(Q); ok {
			list = append(list, q)
		}
	}
	return list
}

// A node that only AAA knows registers through a foreign agent's challenge, gets
// an address, moves twice, goes on for hours, and leaves. AAA is asked for its
// key once and a few times more; it hears of the session's beginning, of the
// moves and of the end.
//
//rfc:5030#3.1
func TestANodeThatOnlyAAAKnows(t *testing.T) {
	for _, own := range []bool{false, true} {
		address := netip.MustParseAddr("10.10.0.100") // the first of the pool
		j := subscribed(t, func(_ *plan, s *aaa.Subscriber) {
			if own {
				address = netip.MustParseAddr("10.10.0.77")
				s.Grant.HomeAddress = address
			}
		})
		for _, h := range []*post{j.fa(1), j.fa(2), j.fa(1)} {
			j.attach(h, netip.Addr{})
			j.run(5 * time.Second)
			j.visits(h, encap.IPIP)
			if s := j.status(); s.HomeAddress != address {
				t.Errorf("home address %v, want %v", s.HomeAddress, address)
			}
		}
		if n := len(questions[aaa.Authorise](j)); n != 1 {
			t.Errorf("AAA was asked for the key %d times by three registrations", n)
		}
		j.run(4 * time.Hour)
		j.visits(j.fa(1), encap.IPIP)
		if n := len(questions[aaa.Authorise](j)); n < 4 || n > 8 {
			t.Errorf("AAA was asked for the key %d times in four hours", n)
		}
		j.step(j.node, engine.Command{Ticket: 9, Value: mn.Deregister{}})
		j.run(2 * time.Second)
		var told []string
		for _, q := range questions[aaa.Account](j) {
			told = append(told, q.Role+" "+q.Moment.String())
		}
		want := []string{
			"foreign-agent start", "home-agent start",
			"home-agent interim", "foreign-agent start", // at the second agent; the first one's visit runs out
			"home-agent interim", // and back, before it did
		}
		if len(told) < len(want) {
			t.Fatalf("told %q\n%s", told, j.trace())
		}
		first := slices.Clone(told[:len(want)])
		slices.Sort(first)
		slices.Sort(want)
		if !slices.Equal(first, want) {
			t.Errorf("told %q, want %q", first, want)
		}
		if !slices.Contains(told, "home-agent stop") {
			t.Errorf("the end was not told: %q", told)
		}
	}
}

// Strangers cost nothing but questions, and those only when there is something
// to verify; who does not have the key is not taken in.
func TestNobodyIsAdoptedUnproven(t *testing.T) {
	j := subscribed(t, nil)
	other, _ := assoc.ParseKey("ffffffffffffffffffffffffffffffff")
	wrong, err := assoc.New(association(t, assoc.Timestamps).SPI(), assoc.HMACSHA256, other, assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	send := func(nai string, sa *assoc.Association) {
		d := mip4.NewRequest(mip4.RegistrationRequest{
			Flags: mip4.FlagD, Lifetime: 300, HomeAddress: netip.IPv4Unspecified(), HomeAgent: agent,
			CareOfAddress: netip.MustParseAddr("192.0.2.7"), Identification: assoc.Timestamp(j.now.Wall),
		})
		d.Add(mip4.ZoneHome, &mip4.NAI{Value: nai})
		if sa != nil {
			d.Authenticate(mip4.ExtMobileHome, sa)
		}
		data, err := d.Seal()
		if err != nil {
			t.Fatal(err)
		}
		j.step(j.home, engine.Packet{Link: "eth0", TTL: 64, Src: netip.MustParseAddrPort("192.0.2.7:434"), Dst: netip.AddrPortFrom(agent, 434), Data: data})
		j.run(time.Second)
	}
	sent := 0
	j.tap = func(from *post, data []byte) []byte {
		if from == j.home {
			sent++
		}
		return data
	}
	send("van7@fleet.example", nil)
	if len(j.asked) != 0 {
		t.Error("AAA was asked about a request without an authenticator")
	}
	send("van7@fleet.example", wrong)
	send("nobody@fleet.example", wrong)
	if n := len(questions[aaa.Authorise](j)); n != 2 {
		t.Errorf("AAA was asked %d times", n)
	}
	if sent != 0 || len(j.home.entries) != 0 || count(j.home, note.Bound) != 0 {
		t.Errorf("a stranger got %d answers\n%s", sent, j.trace())
	}
	send("van7@fleet.example", association(t, assoc.Timestamps))
	if sent != 1 || len(j.home.entries) != 1 {
		t.Errorf("the subscriber got %d answers\n%s", sent, j.trace())
	}
}

// AAA dies: who is registered renews as if nothing had happened, for as long as
// AAA's word holds.
func TestARenewalDoesNotWaitForADeadServer(t *testing.T) {
	j := subscribed(t, nil)
	j.attach(j.fa(1), netip.Addr{})
	j.run(time.Second)
	j.visits(j.fa(1), encap.IPIP)
	j.aaa = func(any) (aaa.Grant, error) { return aaa.Grant{}, aaa.ErrUnavailable }
	j.slow = 4 * time.Second
	j.run(50 * time.Minute)
	j.visits(j.fa(1), encap.IPIP)
	if n := count(j.node, note.Lost) + count(j.node, note.Refused); n != 0 {
		t.Errorf("trouble:\n%s", j.trace())
	}
}

// AAA says for how long: the binding ends then.
func TestASessionTimeoutEndsTheBinding(t *testing.T) {
	j := subscribed(t, func(p *plan, s *aaa.Subscriber) { s.Grant.Lifetime = 90 * time.Second })
	j.attach(j.fa(1), netip.Addr{})
	j.run(time.Second)
	j.visits(j.fa(1), encap.IPIP)
	j.aaa = func(any) (aaa.Grant, error) { return aaa.Grant{}, aaa.ErrRejected }
	j.run(3 * time.Minute)
	if len(j.home.entries) != 0 {
		t.Errorf("the binding outlives AAA's word\n%s", j.trace())
	}
}

// AAA orders a session to end: the binding goes, with the round trip that the
// order takes and no more; the node comes back only when AAA allows.
//
//rfc:5176#2.1
func TestAAAEndsASession(t *testing.T) {
	j := subscribed(t, nil)
	j.attach(j.fa(1), netip.Addr{})
	j.run(time.Second)
	start := questions[aaa.Account](j)[0]
	for _, wrong := range []aaa.End{{}, {NAI: "van8@fleet.example"}, {Session: start.Session + 2}} {
		j.step(j.home, engine.Command{Ticket: 5, Value: wrong})
		if r := j.home.results[len(j.home.results)-1]; r.Value != 0 || len(j.home.entries) != 1 {
			t.Errorf("%+v ended %v", wrong, r.Value)
		}
	}
	asked := len(questions[aaa.Authorise](j))
	j.aaa = func(any) (aaa.Grant, error) { return aaa.Grant{}, aaa.ErrRejected }
	j.step(j.home, engine.Command{Ticket: 6, Value: aaa.End{NAI: "van7@fleet.example"}})
	if r := j.home.results[len(j.home.results)-1]; r.Value != 1 || len(j.home.entries) != 0 {
		t.Errorf("%v ended, %d entries", r.Value, len(j.home.entries))
	}
	j.run(10 * time.Minute)
	if len(j.home.entries) != 0 || len(questions[aaa.Authorise](j)) == asked {
		t.Errorf("it came back without AAA\n%s", j.trace())
	}
}

// The home agent is killed. The node is served by the next one at once, with its
// address, without a question; and what was sent to the first is no use.
//
//rfc:5944#5.7
func TestAnAdoptedNodeOutlivesTheHomeAgent(t *testing.T) {
	j := subscribed(t, nil)
	store := enginetest.Store{}
	j.commits = func(h *post, records []engine.Record) {
		if h == j.home {
			store.Keep(records)
		}
	}
	var captured []byte
	j.tap = func(from *post, data []byte) []byte {
		if from == j.fa(1) && data[0] == byte(mip4.TypeRegistrationRequest) && captured == nil {
			captured = slices.Clone(data)
		}
		return data
	}
	j.attach(j.fa(1), netip.Addr{})
	j.run(time.Second)
	j.visits(j.fa(1), encap.IPIP)
	asked := len(questions[aaa.Authorise](j))

	again := newPlan(t)
	again.home.Nodes = nil
	again.atHome.Subscribers.Authorise, again.atHome.Subscribers.Account = true, true
	m, err := standard.HomeAgent(again.home, standard.Features(again.atHome), rand.New(rand.NewPCG(9, 9)))
	if err != nil {
		t.Fatal(err)
	}
	store.Restore(t, m, j.now)
	entries := 0
	for e := range m.Entries() {
		entries++
		if e.Inner.Addr() != j.status().HomeAddress {
			t.Errorf("the entry is for %v", e.Inner)
		}
	}
	if entries != 1 {
		t.Fatalf("%d entries came back", entries)
	}
	j.home.machine = m
	told := len(questions[aaa.Account](j))
	j.step(j.home, engine.Packet{Link: "eth0", TTL: 64, Src: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.66"), 434), Dst: netip.AddrPortFrom(agent, 434), Data: captured})
	if count(j.home, note.Moved)+count(j.home, note.Bound) != 1 { // the one of before
		t.Errorf("a captured request was accepted:\n%s", j.trace())
	}
	if now := questions[aaa.Account](j)[told:]; len(now) != 1 || now[0].Moment != aaa.Start || now[0].NAI != "van7@fleet.example" {
		t.Errorf("after the restart AAA was told %+v", now)
	}
	j.run(20 * time.Minute)
	j.visits(j.fa(1), encap.IPIP)
	if n := len(questions[aaa.Authorise](j)); n != asked {
		t.Errorf("AAA was asked for the key %d times more", n-asked)
	}
}

// What AAA grants is judged like what is configured.
func TestAGrantThatCannotBe(t *testing.T) {
	for what, change := range map[string]func(*plan, *aaa.Subscriber){
		"an address outside the home networks": func(_ *plan, s *aaa.Subscriber) { s.Grant.HomeAddress = netip.MustParseAddr("10.99.0.1") },
		"an address of a pool":                 func(_ *plan, s *aaa.Subscriber) { s.Grant.HomeAddress = netip.MustParseAddr("10.10.0.100") },
		"another home agent":                   func(_ *plan, s *aaa.Subscriber) { s.Grant.HomeAgent = netip.MustParseAddr("198.51.100.99") },
		"another node's address": func(p *plan, s *aaa.Subscriber) {
			s.Grant.HomeAddress = homeAddress
			p.home.Nodes = []ha.MobileNode{agentConfig(t).Nodes[0]}
			p.home.Nodes[0].NAI = "van1@fleet.example"
		},
	} {
		j := subscribed(t, change)
		j.attach(j.fa(1), netip.Addr{})
		j.run(20 * time.Second)
		if s := j.status(); s.State == "registered" || len(j.home.entries) != 0 {
			t.Errorf("%s: the node is %s", what, s.State)
		}
		// A request for another home agent is sent there.
		if told := count(j.home, subscriber.Unfit) > 0; told != (what != "another home agent") {
			t.Errorf("%s: the operator is told: %v", what, told)
		}
	}
}
