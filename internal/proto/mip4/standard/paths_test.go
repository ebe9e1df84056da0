package standard_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature"
	styles "careof/internal/proto/mip4/feature/delivery"
	"careof/internal/proto/mip4/feature/hostconfig"
	"careof/internal/proto/mip4/feature/path"
	"careof/internal/proto/mip4/feature/pathmtu"
	"careof/internal/proto/mip4/feature/validate"
	"careof/internal/proto/mip4/feature/vendor"
	"careof/internal/proto/mip4/feature/wireguard"
	"careof/internal/proto/mip4/mn"
	"careof/internal/proto/mip4/standard"
)

// paths is a pair whose node has two uplinks that work, the first in use.
func paths(t *testing.T, change func(*mn.Config)) *pair {
	t.Helper()
	nc := nodeConfig(t)
	if change != nil {
		change(&nc)
	}
	p := newPair(t, agentConfig(t), nc, standard.Config{})
	p.ways, p.losses = map[string]time.Duration{}, map[string]func() bool{}
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.up("lte0", lte)
	p.run(10 * time.Second)
	return p
}

func (p *pair) uplink(name string) mn.UplinkInfo {
	p.t.Helper()
	p.step(p.node, engine.Command{Ticket: 1, Value: mn.ListUplinks{}})
	list := p.node.results[len(p.node.results)-1].Value.([]mn.UplinkInfo)
	i := slices.IndexFunc(list, func(u mn.UplinkInfo) bool { return u.Link == name })
	if i < 0 {
		p.t.Fatalf("no uplink %s among %+v", name, list)
	}
	return list[i]
}

// over says that packets go over a link, within a time and not before another.
func (p *pair) over(link string, after, within time.Duration) {
	p.t.Helper()
	for since := time.Duration(0); since < within; since += 50 * time.Millisecond {
		if p.status().Link == link {
			if since < after {
				p.t.Fatalf("over %s after %v already, and not %v", link, since, after)
			}
			p.agree()
			return
		}
		p.run(50 * time.Millisecond)
	}
	p.t.Fatalf("not over %s after %v: %+v, %+v", link, within, p.uplink("wlan0"), p.uplink("lte0"))
}

func (p *pair) told(kind note.Kind) (n int) {
	for _, t := range p.node.notes {
		if t.Kind == kind {
			n++
		}
	}
	return n
}

func (p *pair) saysOf(link, state string, words ...string) {
	p.t.Helper()
	u := p.uplink(link)
	if u.State != state {
		p.t.Errorf("%s is %s, not %s: %s", link, u.State, state, u.Why)
	}
	for _, w := range words {
		if !strings.Contains(u.Why, w) {
			p.t.Errorf("%s: %q does not say %q", link, u.Why, w)
		}
	}
}

// The network of the uplink in use swallows everything: within a second packets
// go over the other one, and back when the first has answered for 30 s; after
// a second time, for 60 s.
func TestABlackHoleMovesTheNodeToItsOtherUplinkAndBack(t *testing.T) {
	p := paths(t, nil)
	p.saysOf("wlan0", "in-use", "priority 100 goes before 50")
	p.saysOf("lte0", "standby", "wlan0 is used")
	if q := p.uplink("lte0").Quality; q.Probes == 0 || q.RoundTrip != 50*time.Millisecond {
		t.Errorf("the standby path was not measured: %+v", q)
	}
	for i, hold := range []time.Duration{30 * time.Second, time.Minute} {
		p.down["wlan0"] = true
		p.over("lte0", 700*time.Millisecond, time.Second)
		p.saysOf("wlan0", "dead", "dead for")
		if q := p.uplink("wlan0").Quality; q.Probes == 0 || q.Loss != 1 {
			t.Errorf("nothing comes back over a dead path, and %.0f %% of its last %d probes were lost", 100*q.Loss, q.Probes)
		}
		p.run(20 * time.Second)
		if p.status().Link != "lte0" {
			t.Fatal("back over a path that is dead")
		}
		p.down["wlan0"] = false
		p.run(11 * time.Second)
		p.saysOf("wlan0", "dead", "it answers again")
		p.over("wlan0", hold-22*time.Second, hold+15*time.Second)
		if p.told(path.PathDead) != i+1 || p.told(path.PathBack) != i+1 {
			t.Errorf("told %d and %d times", p.told(path.PathDead), p.told(path.PathBack))
		}
		p.run(10 * time.Second)
	}
}

// A network over which nothing has ever come back may be one that lets no
// registrations through, which is another thing to do something about than a path
// that was good.
func TestAnUplinkThatHasNeverWorkedIsSaidToBeBlocked(t *testing.T) {
	const blocked = "its network may block the home agent's UDP port"
	p := paths(t, nil)
	p.down["lte0"] = true
	p.run(30 * time.Second)
	p.saysOf("lte0", "dead", "dead for")
	if u := p.uplink("lte0"); strings.Contains(u.Why, blocked) {
		t.Errorf("what was good is said to be blocked: %s", u.Why)
	}
	p.lose("lte0")
	p.upVia("lte0", behindNAT, 9) // another network
	p.run(30 * time.Second)
	p.saysOf("lte0", "dead", "dead for", blocked)
}

// When both are dead it is not the path: the registration stays, and goes on
// as soon as anything answers.
func TestWhenNothingAnswersTheRegistrationStays(t *testing.T) {
	p := paths(t, nil)
	p.down["wlan0"], p.down["lte0"] = true, true
	p.run(30 * time.Second)
	p.saysOf("wlan0", "in-use", "no probe over it has been answered for 30s, and the home agent answers over no other")
	if q := p.uplink("wlan0").Quality; q.Loss != 1 {
		t.Errorf("nothing comes back, and %.0f %% of its last %d probes were lost", 100*q.Loss, q.Probes)
	}
	p.down["wlan0"] = false
	p.run(5 * time.Second)
	p.agree()
	if q := p.uplink("wlan0").Quality; q.Loss == 1 || strings.Contains(p.uplink("wlan0").Why, "no probe") {
		t.Errorf("it answers again: %+v, %s", q, p.uplink("wlan0").Why)
	}
	p.run(20 * time.Second)
	p.saysOf("wlan0", "in-use")
}

func TestOfEqualPrioritiesTheLowerCostIsUsed(t *testing.T) {
	p := paths(t, func(c *mn.Config) {
		c.Uplinks = []mn.UplinkConfig{{Interface: "wlan0", Priority: 100, Cost: 10}, {Interface: "lte0", Priority: 100, Cost: 1}}
	})
	p.over("lte0", 0, time.Second)
	p.saysOf("lte0", "in-use", "cost 1 is less than 10")
}

// Of uplinks that are equal in all else the one in use stays, until another
// has been clearly better for long.
func TestAmongEqualsTheNodeMovesForMuchBetterAndNotForALittle(t *testing.T) {
	p := paths(t, func(c *mn.Config) {
		c.Uplinks = []mn.UplinkConfig{{Interface: "wlan0", Priority: 100}, {Interface: "lte0", Priority: 100}}
	})
	p.saysOf("wlan0", "in-use", "equal priority and cost")
	p.ways["wlan0"] = 65 * time.Millisecond
	p.run(5 * time.Minute)
	if p.status().Link != "wlan0" {
		t.Fatal("moved for 15 ms")
	}
	p.ways["wlan0"] = 250 * time.Millisecond
	p.over("lte0", 25*time.Second, 2*time.Minute)
	before := p.sent
	p.run(10 * time.Minute)
	if p.status().Link != "lte0" {
		t.Error("moved back")
	}
	if questions := p.sent - before; questions > 10*60/5+5 {
		t.Errorf("%d messages in ten minutes", questions)
	}
}

func TestLossBeyondTheLimitHoldsAnUplinkBack(t *testing.T) {
	p := paths(t, func(c *mn.Config) { c.Uplinks[0].MaxLoss = 20 })
	luck := rand.New(rand.NewPCG(3, 4))
	p.losses["wlan0"] = func() bool { return luck.Float64() < 0.4 }
	p.over("lte0", time.Second, 30*time.Second)
	p.saysOf("wlan0", "held", "more than max-loss (20 %)")
	p.run(3 * time.Minute)
	if p.status().Link != "lte0" {
		t.Fatal("back over a path that loses four in ten")
	}
	delete(p.losses, "wlan0")
	p.over("wlan0", 20*time.Second, 5*time.Minute)
	if p.told(path.PathDead) != 0 {
		t.Error("taken for dead")
	}
}

// What held an uplink back while it was in use holds it back no more when its latest
// probes have let it go: it is not left again for what it lost then.
func TestAnUplinkThatIsLetGoIsNotHeldBackForWhatItLostBefore(t *testing.T) {
	p := paths(t, func(c *mn.Config) { c.Uplinks[0].MaxLoss = 20 })
	n := 0
	p.losses["wlan0"] = func() bool { n++; return n%5 < 2 }
	p.over("lte0", time.Second, 30*time.Second)
	delete(p.losses, "wlan0")
	p.over("wlan0", 20*time.Second, 10*time.Minute)
	moves := p.told(note.Registered)
	p.run(time.Minute)
	if u := p.uplink("wlan0"); u.State != "in-use" || p.told(note.Registered) != moves {
		t.Errorf("it is %s after %d registrations more: %s", u.State, p.told(note.Registered)-moves, u.Why)
	}
}

// A link that goes and comes for an instant, with the same address, is registered
// over again and nothing moves: its path is watched as before.
func TestAPathIsWatchedAfterItsLinkCameBack(t *testing.T) {
	p := paths(t, nil)
	l := engine.Link{Name: "wlan0", Up: true, MTU: 1500, Addresses: []netip.Prefix{netip.PrefixFrom(wifi, 24)},
		Gateways: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Attachment: 7}
	registered := p.told(note.Registered)
	p.step(p.node, engine.LinkChanged{Link: l})
	p.run(10 * time.Second)
	if p.status().Link != "wlan0" || p.told(note.Registered) != registered+1 {
		t.Fatalf("over %s, registered %d times", p.status().Link, p.told(note.Registered)-registered)
	}
	p.down["wlan0"] = true
	p.over("lte0", 700*time.Millisecond, time.Second)
}

// What comes in all the time hides no path over which nothing goes out.
func TestAPathThatDiesInOneDirectionIsLeftAmidWhatComesIn(t *testing.T) {
	p := paths(t, nil)
	p.down["wlan0"] = true
	for since := time.Duration(0); p.status().Link != "lte0"; since += 10 * time.Millisecond {
		if since > 1500*time.Millisecond {
			t.Fatalf("not left after %v: %+v", since, p.uplink("wlan0"))
		}
		p.node.use = p.now.Mono.Add(10 * time.Millisecond)
		p.run(10 * time.Millisecond)
	}
}

// A home agent that restarts answers over no path for a while; that is no reason
// to leave one for another.
func TestAHomeAgentThatIsAwayMakesNoPathDead(t *testing.T) {
	p := paths(t, nil)
	p.run(30 * time.Second) // its answers are known
	always := func() bool { return true }
	p.losses["wlan0"], p.losses["lte0"] = always, always
	p.run(3 * time.Second)
	clear(p.losses)
	p.run(10 * time.Second)
	if n := p.told(path.PathDead); n != 0 || p.status().Link != "wlan0" {
		t.Errorf("%d paths are dead, and it is over %s", n, p.status().Link)
	}
}

// With the profile fast and a long way to the home agent its word is not waited
// for: packets go over the other uplink before it could answer. When it turns out
// to have been away itself, the path that was left is none the worse for it.
func TestOverALongWayAPathIsLeftOnAGuess(t *testing.T) {
	start := func() *pair {
		p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{Paths: path.Config{Profile: path.Fast}})
		p.losses = map[string]func() bool{}
		p.ways = map[string]time.Duration{"wlan0": 200 * time.Millisecond, "lte0": 200 * time.Millisecond}
		p.up("wlan0", wifi)
		p.run(time.Second)
		p.up("lte0", lte)
		p.run(30 * time.Second)
		return p
	}
	p := start()
	p.run(437 * time.Millisecond) // not in step with the questions
	p.down["wlan0"] = true
	p.over("lte0", 300*time.Millisecond, 650*time.Millisecond) // 200 ms of answers are under way still
	p.saysOf("wlan0", "dead")
	p.run(10 * time.Second)
	p.saysOf("wlan0", "dead")

	p = start()
	p.run(137 * time.Millisecond)
	always := func() bool { return true }
	p.losses["wlan0"], p.losses["lte0"] = always, always
	p.run(4 * time.Second)
	delete(p.losses, "lte0") // whose request is the first to be answered
	p.over("lte0", 0, 8*time.Second)
	clear(p.losses)
	p.over("wlan0", 0, 10*time.Second)
	p.saysOf("wlan0", "in-use")
}

func TestALinkThatComesAndGoesIsHeldBack(t *testing.T) {
	p := paths(t, nil)
	for range 5 {
		p.lose("wlan0")
		p.run(2 * time.Second)
		p.up("wlan0", wifi)
		p.run(2 * time.Second)
	}
	p.saysOf("wlan0", "held", "went down 5 times within a minute")
	if p.status().Link != "lte0" {
		t.Fatalf("over %s", p.status().Link)
	}
	p.over("wlan0", 30*time.Second, 70*time.Second)
}

// without is the home agent of somebody else, who lacks some features.
func (p *pair) without(names ...string) {
	list := slices.DeleteFunc(standard.Features(standard.Config{}), func(f feature.Feature) bool { return slices.Contains(names, f.Name) })
	a, err := standard.HomeAgent(agentConfig(p.t), list, rand.New(rand.NewPCG(1, 99)))
	if err != nil {
		p.t.Fatal(err)
	}
	p.restore(p.agent, a)
}

// A home agent that knows nothing of all this answers echoes, and discards the
// questions: the node notices a black hole all the same, asks rarely, and tries
// the path again after a while.
func TestWithAHomeAgentThatAnswersNoQuestions(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{})
	p.without(path.Name, pathmtu.Name, validate.Name, hostconfig.Name, vendor.Name, styles.Name, wireguard.Name)
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.up("lte0", lte)
	p.run(5 * time.Minute)
	if p.sent > 5 {
		t.Errorf("%d messages", p.sent)
	}
	p.down["wlan0"] = true
	p.over("lte0", 700*time.Millisecond, time.Second)
	p.saysOf("wlan0", "dead", "tried again in")
	p.run(10 * time.Second)
	p.down["wlan0"] = false
	p.over("wlan0", 15*time.Second, 30*time.Second)
}

// One that has RFC 3115 denies the question, which is an answer; it counts it
// for replay protection, so it is asked less.
func TestWithAHomeAgentThatDeniesQuestions(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{})
	p.without(path.Name, styles.Name)
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.up("lte0", lte)
	p.run(5 * time.Minute)
	if p.sent < 8 || p.sent > 15 {
		t.Errorf("%d messages", p.sent)
	}
	if q := p.uplink("lte0").Quality; q.Probes == 0 || q.Loss > 0 {
		t.Errorf("measured %+v", q)
	}
	p.agree()
}

// A home agent that answers no echoes is not taken for a dead path.
func TestWithAHomeAgentThatAnswersNoEchoes(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{})
	p.answers = false
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.up("lte0", lte)
	p.run(10 * time.Minute)
	if p.status().Link != "wlan0" || p.told(path.PathDead) > 0 {
		t.Error("the path was taken for dead")
	}
	if p.probes > 50 {
		t.Errorf("%d probes", p.probes)
	}
}

func TestWithOneUplinkNothingIsProbed(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{})
	p.up("wlan0", wifi)
	p.run(10 * time.Minute)
	if p.probes > 0 || p.sent > 3 {
		t.Errorf("%d probes, %d messages", p.probes, p.sent)
	}
}

// A single uplink is not probed: what is known of its loss is of the time when
// there was another one, and says so.
func TestTheLossOfASingleUplinkIsOld(t *testing.T) {
	p := paths(t, nil)
	luck := rand.New(rand.NewPCG(3, 4))
	p.losses["wlan0"] = func() bool { return luck.Float64() < 0.3 }
	p.run(20 * time.Second)
	q := p.uplink("wlan0").Quality
	if q.Loss < 0.1 || !q.Probed || p.clock(p.node).Mono.Sub(q.Measured) > 2*time.Second {
		t.Errorf("while it is measured: %+v at %v", q, p.clock(p.node).Mono)
	}
	if q := p.uplink("lte0").Quality; !q.Probed || p.clock(p.node).Mono.Sub(q.Measured) > 6*time.Second {
		t.Errorf("the other one: %+v at %v", q, p.clock(p.node).Mono)
	}
	p.lose("lte0")
	delete(p.losses, "wlan0")
	p.run(5 * time.Minute)
	if q := p.uplink("wlan0").Quality; q.Probed || q.Loss < 0.1 || p.clock(p.node).Mono.Sub(q.Measured) < 299*time.Second {
		t.Errorf("five minutes later: %+v at %v", q, p.clock(p.node).Mono)
	}
	if age := p.clock(p.node).Wall.Sub(p.uplink("wlan0").Measured); age < 299*time.Second || age > 6*time.Minute {
		t.Errorf("on the wall clock that was %v ago", age)
	}
}

// A question binds nothing and is written nowhere, and a captured one that is
// sent again changes as little.
func TestAQuestionChangesNothingAtTheHomeAgent(t *testing.T) {
	p := paths(t, nil)
	before := map[string]string{}
	for k, v := range p.agent.store {
		before[k] = string(v)
	}
	puts, sent := p.agent.puts, p.sent
	p.run(time.Minute)
	if p.sent-sent < 10 {
		t.Fatalf("%d questions", p.sent-sent)
	}
	// A stranger who has heard one has it answered to whom he likes, seldom.
	replies := p.replies
	for range 1000 {
		p.step(p.agent, engine.Packet{Link: "eth0", Src: netip.MustParseAddrPort("192.0.2.66:9"), Dst: p.last.Dst, Data: slices.Clone(p.last.Data)})
		p.now.Mono, p.now.Wall = p.now.Mono.Add(time.Millisecond), p.now.Wall.Add(time.Millisecond)
	}
	if n := p.replies - replies; n == 0 || n > 100 {
		t.Errorf("%d of 1000 replayed questions in a second were answered", n)
	}
	if p.agent.puts != puts || len(p.agent.store) != len(before) {
		t.Error("the home agent has changed forwarding or records")
	}
	for k, v := range p.agent.store {
		if before[k] != string(v) {
			t.Errorf("record %q has changed", k)
		}
	}
	p.agree()
}

// A network may give out the node's own home address; that uplink cannot be used,
// and says why.
func TestAnUplinkWithTheHomeAddressSaysSo(t *testing.T) {
	p := paths(t, nil)
	p.up("lte0", homeAddress)
	p.run(time.Second)
	p.saysOf("lte0", "unusable", "its address is the home address")
}

// What is sent before the data plane sends over a new path is lost, and says nothing of
// the path: a perfect one has no loss from its first probe on.
func TestAPathThatIsNotMadeYetIsNotProbed(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{})
	p.node.slow = 15 * time.Millisecond
	p.up("wlan0", wifi)
	p.up("lte0", lte)
	p.run(3 * time.Second)
	q := p.uplink("wlan0").Quality
	if q.Probes < 10 || q.Loss > 0 {
		t.Errorf("%.1f %% of %d probes were lost", 100*q.Loss, q.Probes)
	}
	p.lose("wlan0")
	p.run(3 * time.Second)
	p.up("wlan0", wifi)
	p.run(3 * time.Second)
	for _, link := range []string{"wlan0", "lte0"} {
		if q := p.uplink(link).Quality; q.Probes == 0 || q.Loss > 0 {
			t.Errorf("after a move, %s: %.1f %% of %d probes were lost", link, 100*q.Loss, q.Probes)
		}
	}
}
