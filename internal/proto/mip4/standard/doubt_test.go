package standard_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature/natt"
	"careof/internal/proto/mip4/feature/path"
	"careof/internal/proto/mip4/feature/redundant"
	"careof/internal/proto/mip4/feature/vendor"
	"careof/internal/proto/mip4/feature/wireguard"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/internal/proto/mip4/standard"
	"careof/wire/mip4"
)

// eager is what the profile fast configures.
func eager() standard.Config {
	return standard.Config{Paths: path.Config{Profile: path.Fast}, Redundant: redundant.Config{InDoubt: true}}
}

// eagerly is a pair whose node has the profile fast and two uplinks that work.
func eagerly(t *testing.T, change func(*ha.Config, *mn.Config, *standard.Config)) *pair {
	t.Helper()
	ac, nc, c := agentConfig(t), nodeConfig(t), eager()
	ac.SimultaneousBindings = 1
	if change != nil {
		change(&ac, &nc, &c)
	}
	p := newPair(t, ac, nc, c)
	p.arrive()
	return p
}

func (p *pair) arrive() {
	p.ways, p.losses = map[string]time.Duration{}, map[string]func() bool{}
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.up("lte0", lte)
	p.run(10*time.Second + 7*time.Millisecond)
}

// copying says how many tunnels take copies of everything at an end, and how many
// there are at all.
func (p *pair) copying(h *host) (copies, tunnels int) {
	p.t.Helper()
	for _, e := range h.entries {
		for _, t := range e.Tunnels {
			tunnels++
			if t.Copies && len(e.Redundant) == 0 {
				p.t.Errorf("copies of nothing: %+v", e)
			}
			if t.Copies && slices.Contains(e.Redundant, forward.Everything) {
				copies++
			}
		}
		if !e.Numbered {
			p.t.Errorf("numbered packets would not be taken: %+v", e)
		}
		if copies > 0 != (len(e.Redundant) > 0) {
			p.t.Errorf("%d tunnels take copies of %v", copies, e.Redundant)
		}
	}
	return copies, tunnels
}

// standsBy says that two uplinks are registered, and that nothing is copied.
func (p *pair) standsBy() {
	p.t.Helper()
	for end, h := range map[string]*host{"home agent": p.agent, "node": p.node} {
		if copies, tunnels := p.copying(h); copies != 0 || tunnels != 2 {
			p.t.Errorf("%s: %d of %d tunnels take copies", end, copies, tunnels)
		}
	}
	p.agree()
}

// requests counts those that register a care-of address, from now on.
func (p *pair) requests(careOf netip.Addr) *int {
	n := new(int)
	p.tap = func(data []byte) {
		if m, err := mip4.Parse(data); err == nil {
			if q, err := m.Request(); err == nil && q.CareOfAddress == careOf && q.Lifetime > 0 {
				*n++
			}
		}
	}
	return n
}

// lost loses the next probe over the first uplink.
func (p *pair) lost() {
	n := 0
	p.losses["wlan0"] = func() bool { n++; return n == 1 }
}

// copiesFor runs until the home agent copies nothing any more.
func (p *pair) copiesFor(most time.Duration) (during time.Duration) {
	p.t.Helper()
	for ; during < most; during += 100 * time.Millisecond {
		p.run(100 * time.Millisecond)
		if copies, _ := p.copying(p.agent); copies == 0 && during > time.Second {
			return during
		}
	}
	p.t.Fatalf("copies for more than %v", most)
	return 0
}

// With the profile fast a second uplink is registered that nothing goes over. As
// soon as an answer over the first is overdue all packets go over both: the
// node's at once, the home agent's half a round trip later. The path is dead no
// sooner than ever, and when it is back all is as it was.
func TestInDoubtPacketsGoOverBothUplinks(t *testing.T) {
	p := eagerly(t, nil)
	p.standsBy()
	p.saysOf("lte0", "standby", "wlan0 is used", "the home agent knows it already")
	p.down["wlan0"] = true
	// A probe leaves within 40 ms, and is overdue 10 ms after its round trip of 50 ms.
	p.run(103 * time.Millisecond)
	if copies, _ := p.copying(p.node); copies != 2 {
		t.Errorf("the node sends over %d", copies)
	}
	p.saysOf("wlan0", "in-use", "for now all packets go over it and another, since an answer over wlan0 is overdue or was lately")
	p.run(25 * time.Millisecond)
	if copies, _ := p.copying(p.agent); copies != 2 {
		t.Errorf("the home agent sends over %d", copies)
	}
	if n := p.told(path.PathDead); n != 0 {
		t.Error("it was taken for dead at once")
	}
	p.over("lte0", 0, 400*time.Millisecond)
	requests := p.requests(wifi)
	p.run(5 * time.Second)
	p.saysOf("wlan0", "dead")
	if *requests > 0 {
		t.Errorf("%d requests over a path that is dead", *requests)
	}
	for end, h := range map[string]*host{"home agent": p.agent, "node": p.node} {
		if copies, _ := p.copying(h); copies != 0 {
			t.Errorf("%s: still copies", end)
		}
	}
	p.agree()
	p.down["wlan0"] = false
	p.over("wlan0", 0, time.Minute)
	p.run(2 * time.Second)
	p.standsBy()
	if n := p.told(path.PathDead); n != 1 {
		t.Errorf("dead %d times", n)
	}
}

// One answer that is lost means copies for ten seconds, twice as long when that
// was so a moment ago, and nothing else. What has been so three times is ordinary
// of the path, and no doubt for the next minutes.
func TestAMistakeCostsNothingButCopies(t *testing.T) {
	p := eagerly(t, nil)
	for i, want := range []time.Duration{10, 20, 40} {
		before := p.sent
		p.lost()
		if got := p.copiesFor(2 * time.Minute); got < want*time.Second || got > (want+1)*time.Second {
			t.Errorf("doubt %d: copies for %v, not %v s", i, got, int(want))
		}
		p.run(time.Second)
		p.standsBy()
		// One request begins it and one ends it; the other path is asked once a second.
		if asked := p.sent - before; asked > int(want)+8 {
			t.Errorf("doubt %d: %d messages", i, asked)
		}
	}
	for range 3 {
		p.lost()
		p.run(2 * time.Second)
		p.standsBy()
	}
	p.run(15 * time.Minute)
	p.lost()
	if got := p.copiesFor(time.Minute); got < 10*time.Second || got > 11*time.Second {
		t.Errorf("after a quarter of an hour without: copies for %v", got)
	}
	if p.told(path.PathDead) > 0 || p.status().Link != "wlan0" {
		t.Error("the path was left")
	}
}

// Answers that come by 30 ms sooner or later are no doubt on a path where they
// always do: what is copied is a small part, whatever the jitter is like. Before
// paths were learnt, between 72 and 100 per cent were copied over these. A hole
// is in doubt later by as much as the path pauses, and no more.
func TestOrdinaryJitterIsNoDoubt(t *testing.T) {
	const ms = float64(time.Millisecond)
	for _, c := range []struct {
		name string
		more func(luck *rand.Rand, at time.Duration) time.Duration
		most float64       // of the time, in per cent
		hole time.Duration // until packets go over both
	}{
		{"none", func(*rand.Rand, time.Duration) time.Duration { return 0 }, 0, 100 * time.Millisecond},
		{"up to 30 ms", func(l *rand.Rand, _ time.Duration) time.Duration { return time.Duration(30 * ms * l.Float64()) }, 5, 150 * time.Millisecond},
		{"up to 30 ms each way", func(l *rand.Rand, _ time.Duration) time.Duration {
			return time.Duration(30 * ms * (l.Float64() + l.Float64()))
		}, 5, 200 * time.Millisecond},
		{"a standard deviation of 30 ms", func(l *rand.Rand, _ time.Duration) time.Duration {
			return time.Duration(ms * max(-49, 30*l.NormFloat64()))
		}, 10, 250 * time.Millisecond},
		{"30 ms on average, sometimes much more", func(l *rand.Rand, _ time.Duration) time.Duration { return time.Duration(30 * ms * l.ExpFloat64()) }, 15, 300 * time.Millisecond},
		{"a stop of 60 ms every 5 s", func(_ *rand.Rand, at time.Duration) time.Duration {
			return max(0, 60*time.Millisecond-at%(5*time.Second))
		}, 10, 200 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := eagerly(t, nil)
			luck, began := rand.New(rand.NewPCG(3, 4)), p.now.Mono
			p.jitter = map[string]func() time.Duration{"wlan0": func() time.Duration { return c.more(luck, p.now.Mono.Sub(began)) }}
			doubtful := func() bool { n, _ := p.copying(p.node); return n > 0 }
			copied := 0
			for range 3000 {
				if p.run(100 * time.Millisecond); doubtful() {
					copied++
				}
			}
			share := float64(copied) / 30
			t.Logf("in five minutes %.1f %% of the time", share)
			if share > c.most {
				t.Errorf("copied for %.1f %% of the time, more than %.0f %%", share, c.most)
			}
			if loss := p.uplink("wlan0").Quality.Loss; loss > 0.02 || p.told(path.PathDead) > 0 {
				t.Errorf("%.1f %% loss of a path that loses nothing, and %d deaths", 100*loss, p.told(path.PathDead))
			}
			for i := 0; doubtful() && i < 100; i++ {
				p.run(time.Second)
			}
			p.down["wlan0"] = true
			took := time.Duration(0)
			for ; !doubtful() && took < time.Second; took += time.Millisecond {
				p.run(time.Millisecond)
			}
			if t.Logf("a hole was in doubt after %v", took); took > c.hole {
				t.Errorf("a hole was in doubt after %v", took)
			}
		})
	}
}

// A path that loses three in ten is in doubt all the time: no registration
// flaps, and nothing moves.
func TestALossyPathIsInDoubtAllTheTime(t *testing.T) {
	p := eagerly(t, nil)
	luck := rand.New(rand.NewPCG(3, 4))
	p.losses["wlan0"] = func() bool { return luck.Float64() < 0.3 }
	p.run(2 * time.Second)
	registered, puts := p.told(note.Registered), p.agent.puts
	for range 120 {
		p.run(time.Second)
		if copies, _ := p.copying(p.agent); copies != 2 || p.status().Link != "wlan0" {
			t.Fatalf("%d tunnels take copies, over %s", copies, p.status().Link)
		}
	}
	if n := p.told(note.Registered) - registered; n > 1 || p.agent.puts > puts+1 {
		t.Errorf("%d registrations and %d changes at the home agent in two minutes", n, p.agent.puts-puts)
	}
	delete(p.losses, "wlan0")
	p.run(15 * time.Second)
	p.standsBy()
}

// Whoever pays for each octet of the second uplink has nothing registered over
// it, unless he has asked for copies; nor has who has one uplink, or an uplink
// that is dead for a second one, or a home agent that does not agree.
func TestWhoGetsNoSecondRegistration(t *testing.T) {
	one := func(what string, p *pair) {
		t.Helper()
		p.lost()
		p.run(200 * time.Millisecond)
		for end, h := range map[string]*host{"home agent": p.agent, "node": p.node} {
			for _, e := range h.entries {
				if len(e.Tunnels) != 1 || e.Tunnels[0].Copies {
					t.Errorf("%s: %s: %+v", what, end, e.Tunnels)
				}
			}
		}
		if s := p.status(); len(s.Registered) != 1 || s.Link != "wlan0" {
			t.Errorf("%s: %+v", what, s)
		}
	}
	metered := func(_ *ha.Config, c *mn.Config, _ *standard.Config) { c.Uplinks[1].Metered = true }
	one("metered", eagerly(t, metered))

	p := newPair(t, agentConfig(t), nodeConfig(t), eager())
	p.losses = map[string]func() bool{}
	p.up("wlan0", wifi)
	p.run(time.Minute)
	one("one uplink", p)

	p = newPair(t, agentConfig(t), nodeConfig(t), eager())
	p.without(redundant.Name)
	p.arrive()
	p.run(time.Minute)
	one("a home agent that knows nothing of it", p)

	p = newPair(t, agentConfig(t), nodeConfig(t), standard.Config{Paths: path.Config{Profile: path.Default}})
	p.arrive()
	one("the profile default", p)
}

// A user's own classes are copied all the time, over a metered uplink, too; in
// doubt everything is.
func TestAUsersOwnClassesStay(t *testing.T) {
	own := redundancy(t).Redundant.Classes
	p := eagerly(t, func(_ *ha.Config, nc *mn.Config, c *standard.Config) {
		nc.Uplinks[1].Metered = true
		c.Redundant.Classes = own
	})
	p.both(wifi)
	p.saysOf("lte0", "standby", "redundant packets go over it and another")
	p.lost()
	p.run(200 * time.Millisecond)
	for end, h := range map[string]*host{"home agent": p.agent, "node": p.node} {
		if copies, _ := p.copying(h); copies != 2 {
			t.Errorf("%s: %d tunnels take copies of everything", end, copies)
		}
	}
	p.run(15 * time.Second)
	p.both(wifi)
	for _, e := range p.agent.entries {
		if !slices.Equal(e.Redundant, own) {
			t.Errorf("%v are copied", e.Redundant)
		}
	}
}

// The request for copies is lost as the path dies: the one that moves the node
// does not wait until it is repeated.
func TestALostRequestForCopiesDelaysNoMove(t *testing.T) {
	p := eagerly(t, nil)
	p.tap = func(data []byte) {
		if m, err := mip4.Parse(data); err == nil {
			if value, asked := vendor.Find(m.Exts, false, vendor.Careof, redundant.Ask); asked && len(value) > 1 {
				n := 0
				p.losses["lte0"] = func() bool { n++; return n == 1 }
			}
		}
	}
	p.down["wlan0"] = true
	p.over("lte0", 0, 500*time.Millisecond)
}

// It is lost while the path is well: it is repeated, and not over the path in
// doubt.
func TestALostRequestForCopiesIsRepeated(t *testing.T) {
	p := eagerly(t, nil)
	requests := p.requests(wifi)
	p.lost()
	n := 0
	p.run(90 * time.Millisecond) // the question is through
	p.losses["lte0"] = func() bool { n++; return n == 1 }
	p.run(910 * time.Millisecond)
	if copies, _ := p.copying(p.agent); copies != 0 || n == 0 {
		t.Fatal("the request was not lost")
	}
	p.run(300 * time.Millisecond)
	if copies, _ := p.copying(p.agent); copies != 2 || *requests > 0 {
		t.Errorf("%d tunnels take copies, and %d requests over the path in doubt", copies, *requests)
	}
}

// The second uplink has just been registered when the first dies: the request
// for copies does not wait.
func TestADoubtRightAfterARegistration(t *testing.T) {
	p := eagerly(t, nil)
	p.lose("lte0")
	p.run(10 * time.Second)
	p.up("lte0", lte)
	p.run(300 * time.Millisecond)
	p.down["wlan0"] = true
	p.run(130 * time.Millisecond)
	if copies, _ := p.copying(p.agent); copies != 2 {
		t.Errorf("%d tunnels take copies", copies)
	}
}

// Without any uplink nothing is asked for, however a doubt ended.
func TestADoubtWithoutUplinksAsksNothing(t *testing.T) {
	p := eagerly(t, nil)
	p.lost()
	p.run(time.Second)
	p.lose("lte0")
	p.lose("wlan0")
	before := p.sent
	p.run(time.Minute)
	if p.sent > before {
		t.Errorf("%d messages", p.sent-before)
	}
}

// Behind a firewall that lets no echo through silence tells nothing.
func TestAHomeAgentThatAnswersNoEchoesIsNoDoubt(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), eager())
	p.answers = false
	p.arrive()
	p.run(10 * time.Second)
	p.standsBy()
}

// A node that begins to ask, with a binding that is there already, is served as
// one that always has.
func TestANodeBeginsToAskForCopies(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{})
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.bootNode(nodeConfig(t), eager())
	p.up("wlan0", wifi)
	p.run(time.Second)
	for e := range p.agent.machine.Entries() {
		if held := p.agent.entries[e.Key]; !e.Numbered || !held.Numbered {
			t.Errorf("wanted %+v, held %+v", e, held)
		}
	}
}

// Over a long way the path is left before the home agent can have answered the
// request for copies: what it answers later is no harm, and it sends what is not
// copied where the node is.
func TestOverALongWayAnAnswerToARequestForCopiesComesLate(t *testing.T) {
	p := eagerly(t, nil)
	p.ways["wlan0"], p.ways["lte0"] = 400*time.Millisecond, 400*time.Millisecond
	p.run(time.Minute)
	p.standsBy()
	p.down["wlan0"] = true
	p.run(600 * time.Millisecond)
	if link := p.status().Link; link != "wlan0" || p.told(path.PathDead) != 1 {
		t.Fatalf("over %s, and dead %d times", link, p.told(path.PathDead))
	}
	p.run(3 * time.Second)
	p.agree()
	if link := p.status().Link; link != "lte0" {
		t.Errorf("over %s", link)
	}
	for end, h := range map[string]*host{"home agent": p.agent, "node": p.node} {
		if copies, _ := p.copying(h); copies != 0 {
			t.Errorf("%s: still copies", end)
		}
	}
}

// When the home agent starts again in the midst of a doubt it goes on as agreed.
func TestADoubtOutlivesTheHomeAgent(t *testing.T) {
	p := eagerly(t, nil)
	p.lost()
	p.run(time.Second)
	p.bootAgent(agentConfig(t), eager())
	for e := range p.agent.machine.Entries() {
		p.agent.entries[e.Key] = e
	}
	if copies, _ := p.copying(p.agent); copies != 2 {
		t.Errorf("%d tunnels take copies", copies)
	}
	p.run(20 * time.Second)
	p.standsBy()
	p.bootAgent(agentConfig(t), eager())
	for e := range p.agent.machine.Entries() {
		p.agent.entries[e.Key] = e
	}
	p.standsBy()
}

// In encrypted tunnels it is the same, and nothing is ever in the clear.
func TestInDoubtEncryptedPacketsGoOverBothUplinks(t *testing.T) {
	p := encrypting(t, wireguard.Allowed)
	nc := nodeConfig(t)
	nc.Encrypted = true
	c := eager()
	c.NATTraversal, c.WireGuard = natt.Config{Mode: natt.Force}, wireguard.Config{Own: nodeKey}
	p.bootNode(nc, c)
	p.nat, p.idle = map[netip.Addr]uint16{lte: 30000}, 30*time.Second // keepalives are due every 20 s
	p.arrive()
	p.run(10 * time.Minute)
	p.standsBy()
	if port := p.nat[lte]; port != 30000 || p.forgotten(port) {
		t.Errorf("the NAT has forgotten the second uplink: port %d", port)
	}
	p.down["wlan0"] = true
	for range 16 {
		p.run(10 * time.Millisecond)
		p.sealed()
	}
	if copies, _ := p.copying(p.agent); copies != 2 {
		t.Errorf("%d tunnels take copies", copies)
	}
	p.over("lte0", 0, 400*time.Millisecond)
	p.run(5 * time.Second)
	p.agree()
	if !p.sealed() {
		t.Error("in the clear")
	}
}

// Through a foreign agent nothing is asked for, and one binding is all there is.
func TestThroughAForeignAgentNothingIsAskedFor(t *testing.T) {
	plan := newPlan(t)
	plan.atNode = eager()
	j := newJourney(t, plan)
	requests := 0
	j.tap = func(from *post, data []byte) []byte {
		if m, err := mip4.Parse(data); err == nil && from == j.node && m.Type == mip4.TypeRegistrationRequest {
			requests++
			if _, asked := vendor.Find(m.Exts, false, vendor.Careof, redundant.Ask); asked {
				t.Error("copies are asked for through a foreign agent")
			}
		}
		return data
	}
	j.attach(j.fa(1), netip.Addr{})
	j.run(time.Minute)
	if requests == 0 || len(j.home.entries) != 1 {
		t.Fatalf("%d requests, %d entries", requests, len(j.home.entries))
	}
	for _, e := range j.home.entries {
		if len(e.Tunnels) != 1 || e.Numbered {
			t.Errorf("%+v", e)
		}
	}
}

// The home agent says of each binding which one stands by.
func TestTheHomeAgentShowsWhichBindingStandsBy(t *testing.T) {
	p := eagerly(t, nil)
	p.step(p.agent, engine.Command{Ticket: 1, Value: ha.ListBindings{}})
	for _, b := range p.agent.results[len(p.agent.results)-1].Value.([]ha.Binding) {
		if b.Standby != (b.CareOfAddress == lte) || len(b.Redundant) != 0 {
			t.Errorf("shown as %+v", b)
		}
	}
	if w := p.uplink("wlan0"); strings.Contains(w.Why, "another") {
		t.Errorf("shown as %q", w.Why)
	}
}

// What a second uplink is registered for is told as what it is, and not as a move:
// at the home agent, and by the node. How often there was doubt, and for how long,
// is counted for each uplink.
func TestADoubtIsToldAsOne(t *testing.T) {
	p := eagerly(t, nil)
	about := func(h *host, kind note.Kind, words string) {
		t.Helper()
		for _, n := range h.notes {
			if n.Kind == kind && strings.Contains(n.Why, words) {
				return
			}
		}
		t.Errorf("no %s says %q among %v", kind, words, h.notes)
	}
	moves := func(h *host) (n int) {
		for _, o := range h.notes {
			if o.Kind == note.Moved {
				n++
			}
		}
		return n
	}
	about(p.agent, note.Bound, "stands by")
	about(p.node, note.Registered, "it stands by: packets go over wlan0")
	p.lost()
	p.run(5 * time.Second)
	about(p.node, redundant.InDoubt, "all packets go over it and lte0")
	about(p.node, note.Registered, "it takes copies: packets go over wlan0 as well")
	about(p.agent, note.Refreshed, "it takes copies")
	if d := p.uplink("wlan0").Doubts; d.Times != 1 || d.Lasted < 4*time.Second || d.Lasted > 5*time.Second {
		t.Errorf("during a doubt: %+v", d)
	}
	p.run(10 * time.Second)
	about(p.node, redundant.DoubtOver, "one uplink again")
	if d := p.uplink("wlan0").Doubts; d.Times != 1 || d.Lasted < 10*time.Second || d.Lasted > 11*time.Second {
		t.Errorf("after a doubt: %+v", d)
	}
	if d := p.uplink("lte0").Doubts; d != (mn.Doubts{}) {
		t.Errorf("of the uplink that stood by: %+v", d)
	}
	if n := moves(p.agent); n > 0 {
		t.Errorf("%d moves of a node that has not moved: %v", n, p.agent.notes)
	}
	p.down["wlan0"] = true
	p.over("lte0", 0, 400*time.Millisecond)
	p.run(time.Second)
	if n := moves(p.agent); n != 1 {
		t.Errorf("%d moves of a node that has moved: %v", n, p.agent.notes)
	}
	if d, over := p.told(redundant.InDoubt), p.told(redundant.DoubtOver); d != 2 || over != 2 {
		t.Errorf("%d doubts, of which %d ended", d, over)
	}
}
