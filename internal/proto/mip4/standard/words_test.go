package standard_test

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"careof/internal/core/engine"
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

// alone is a pair whose node has no link yet.
func alone(t *testing.T, change func(*mn.Config)) *pair {
	t.Helper()
	nc := nodeConfig(t)
	if change != nil {
		change(&nc)
	}
	p := newPair(t, agentConfig(t), nc, standard.Config{})
	p.losses = map[string]func() bool{}
	return p
}

// saysNot is saysOf for what is not true.
func (p *pair) saysNot(link string, words ...string) {
	p.t.Helper()
	u := p.uplink(link)
	for _, w := range words {
		if strings.Contains(u.Why, w) {
			p.t.Errorf("%s: %q says %q", link, u.Why, w)
		}
	}
}

// What a node says of an uplink over which it is not registered.
func TestWhatANodeWaitsForIsSaid(t *testing.T) {
	t.Run("a link", func(t *testing.T) {
		p := alone(t, nil)
		p.lose("wlan0")
		p.saysOf("wlan0", "unusable", "link is down")
	})
	t.Run("an interface", func(t *testing.T) {
		p := alone(t, nil)
		p.up("wlan0", wifi)
		p.step(p.node, engine.LinkChanged{Link: engine.Link{Name: "wlan0", Gone: true}})
		p.saysOf("wlan0", "unusable", "there is no such interface")
	})
	t.Run("an answer", func(t *testing.T) {
		p := alone(t, nil)
		p.down["wlan0"] = true
		p.up("wlan0", wifi)
		p.saysOf("wlan0", "standby", "nothing is registered yet")
		p.run(30 * time.Second)
		p.saysOf("wlan0", "standby", "nothing is registered yet: 4 requests over it were not answered")
	})
	t.Run("an answer over the preferred of two", func(t *testing.T) {
		p := alone(t, nil)
		p.without(path.Name, pathmtu.Name, validate.Name, hostconfig.Name, vendor.Name, styles.Name, wireguard.Name)
		p.down["wlan0"] = true
		p.up("wlan0", wifi)
		p.up("lte0", lte)
		p.run(time.Second)
		p.saysNot("wlan0", "not answered")
		p.run(30 * time.Second)
		p.saysOf("lte0", "in-use", "in use until wlan0 is registered")
		p.saysOf("wlan0", "standby", "preferred, and being registered: the last ", " requests over it were not answered")
	})
	t.Run("leave", func(t *testing.T) {
		p := alone(t, func(c *mn.Config) { c.HomeAddress = netip.MustParseAddr("10.10.0.77") })
		p.up("wlan0", wifi)
		p.run(time.Second)
		p.saysOf("wlan0", "standby", "denied: 129 administratively prohibited; asked again in ")
	})
	t.Run("a name", func(t *testing.T) {
		p := alone(t, func(c *mn.Config) { c.HomeAgents = []mn.HomeAgent{{Name: "ha.example"}} })
		p.up("wlan0", wifi)
		p.saysOf("wlan0", "standby", "nothing is registered yet: the home agent's name is being asked for")
	})
	t.Run("its own will", func(t *testing.T) {
		p := alone(t, nil)
		p.up("wlan0", wifi)
		p.run(time.Second)
		p.step(p.node, engine.Command{Ticket: 1, Value: mn.Deregister{}})
		p.run(time.Second)
		p.saysOf("wlan0", "standby", "the node was told to end its registrations")
	})
}

// A registration that the home agent keeps, and that no packet can use, is not
// said to be in use.
func TestARegistrationWithoutItsUplinkIsNotInUse(t *testing.T) {
	p := alone(t, nil)
	p.up("wlan0", wifi)
	p.run(time.Second)
	if s := p.status(); len(s.Registered) != 1 || !s.Registered[0].Active {
		t.Fatalf("%+v", s)
	}
	p.lose("wlan0")
	p.run(time.Second)
	if s := p.status(); len(s.Registered) != 1 || s.Registered[0].Active || s.State != "idle" {
		t.Errorf("%+v", s)
	}
}

// A home agent that answers no more is told of, also while the registration lasts.
func TestRequestsWithoutAnAnswerAreSaid(t *testing.T) {
	p := alone(t, nil)
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.down["wlan0"] = true
	p.step(p.node, engine.Command{Ticket: 1, Value: mn.Reregister{}})
	p.run(1500 * time.Millisecond)
	p.saysNot("wlan0", "unanswered")
	if u := p.uplink("wlan0"); u.Unanswered != 1 {
		t.Errorf("%d unanswered", u.Unanswered)
	}
	p.run(10 * time.Second)
	p.saysOf("wlan0", "in-use", "the home agent has left the last 3 requests over it unanswered")
	p.down["wlan0"] = false
	p.run(20 * time.Second)
	p.saysOf("wlan0", "in-use")
	p.saysNot("wlan0", "unanswered")
	if u := p.uplink("wlan0"); u.Unanswered != 0 {
		t.Errorf("%d unanswered", u.Unanswered)
	}
}

// An uplink that is held back is used when there is no other, and said to be; how
// old that is what it was held back for, too.
func TestAHeldUplinkIsUsedForWantOfAnother(t *testing.T) {
	p := paths(t, func(c *mn.Config) { c.Uplinks[0].MaxLoss = 20 })
	luck := rand.New(rand.NewPCG(3, 4))
	p.losses["wlan0"] = func() bool { return luck.Float64() < 0.4 }
	p.over("lte0", time.Second, 30*time.Second)
	p.saysOf("wlan0", "held", "were lost, more than max-loss (20 %)")
	p.down["wlan0"] = true
	p.lose("lte0")
	p.run(5 * time.Second)
	p.saysOf("wlan0", "standby", "to be used for want of another, and held back otherwise", "requests over it were not answered")
	p.down["wlan0"] = false
	p.over("wlan0", 0, 20*time.Second)
	p.saysOf("wlan0", "in-use", "the only uplink that can be used; it would be held back otherwise")
	p.run(10 * time.Minute)
	p.saysOf("wlan0", "in-use", "more than max-loss (20 %), when it was last probed, 10m")
	// Also beside one that is there, and worse.
	p.up("lte0", lte)
	p.over("lte0", 0, 5*time.Second)
	p.run(5 * time.Second)
	p.saysOf("wlan0", "held")
	p.down["lte0"] = true
	p.over("wlan0", 0, 5*time.Second)
	p.saysOf("wlan0", "in-use", "lte0 is dead; it would be held back otherwise")
}
