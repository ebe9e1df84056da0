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
	"careof/internal/proto/mip4/feature/mobilenetwork"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/internal/proto/mip4/standard"
)

var (
	lan   = netip.MustParsePrefix("10.20.7.0/24")
	depot = netip.MustParsePrefix("10.20.8.0/25")
	theft = netip.MustParsePrefix("10.20.9.0/24")
)

func routerConfig(networks ...netip.Prefix) standard.Config {
	var c standard.Config
	for _, p := range networks {
		c.Networks.Networks = append(c.Networks.Networks, mobilenetwork.Network{Link: "lan0", Prefix: p})
	}
	return c
}

// aRouter is a pair whose node brings networks to an agent that grants those.
func aRouter(t testing.TB, granted []netip.Prefix, c standard.Config) *pair {
	t.Helper()
	ac := agentConfig(t)
	ac.Nodes[0].Prefixes = granted
	return newPair(t, ac, nodeConfig(t), c)
}

// served compares the networks that each end forwards for.
func (p *pair) served(want ...netip.Prefix) {
	p.t.Helper()
	slices.SortFunc(want, netip.Prefix.Compare)
	inner := func(h *host, role forward.Role) (list []netip.Prefix) {
		for _, e := range h.entries {
			if e.Role == role && e.Inner.Bits() < 32 && len(e.Tunnels) > 0 {
				list = append(list, e.Inner)
			}
		}
		slices.SortFunc(list, netip.Prefix.Compare)
		return list
	}
	if there := inner(p.agent, forward.HomeAgent); !slices.Equal(there, want) {
		p.t.Errorf("the home agent forwards for %v, want %v\n%s", there, want, p.trace())
	}
	if here := inner(p.node, forward.MobileNode); !slices.Equal(here, want) {
		p.t.Errorf("the router forwards for %v, want %v\n%s", here, want, p.trace())
	}
	home := p.node.entries[p.node.machine.(*mn.Node).Key()]
	for _, e := range p.node.entries {
		if e.Inner.Bits() < 32 && len(e.Tunnels) > 0 && !slices.EqualFunc(e.Tunnels, home.Tunnels, forward.Tunnel.Equal) {
			p.t.Errorf("%v goes through %+v, the home address through %+v", e.Inner, e.Tunnels, home.Tunnels)
		}
	}
}

func (p *pair) states() (list []string) {
	for _, n := range p.status().Networks {
		list = append(list, n.Prefix.String()+" "+n.State)
	}
	return list
}

// In explicit mode both ends forward for what the router names and the prefix
// table has; the networks follow the router, its renewals cost the data plane
// nothing, and they go with the binding.
//
//rfc:5177#3
//rfc:5177#5
//rfc:5177#6.1
//rfc:5177#6.3
//rfc:5177#6.5
//rfc:5177#6.7
//rfc:5177#6.1-1
//rfc:5177#6.3-3
//rfc:5177#6.5-1
//rfc:5177#6.7-1
//rfc:5177#7-3
//rfc:5177#10-5
//rfc:5177#10-6
func TestNetworksFollowTheirRouter(t *testing.T) {
	p := aRouter(t, []netip.Prefix{lan, depot}, routerConfig(lan, depot))
	p.up("lte0", lte)
	p.run(time.Second)
	p.served(lan, depot)
	p.up("wlan0", wifi)
	p.run(3 * time.Second)
	p.served(lan, depot)
	for key, e := range p.agent.entries {
		if e.Tunnels[0].Peer.Addr() != wifi {
			t.Errorf("%s goes to %+v, want to %v", key, e.Tunnels, wifi)
		}
	}
	puts := p.agent.puts + p.node.puts
	p.run(time.Hour)
	p.served(lan, depot)
	if n := p.agent.puts + p.node.puts - puts; n != 0 {
		t.Errorf("renewals rewrote %d entries", n)
	}
	p.step(p.node, engine.Command{Ticket: 9, Value: mn.Deregister{}})
	p.run(time.Second)
	p.served()
	if len(p.agent.entries) != 0 {
		t.Errorf("left at the home agent: %v", p.agent.entries)
	}
	if e, there := p.node.entries[forward.Key("mobile-node/network/"+lan.String())]; !there || len(e.Tunnels) != 0 {
		t.Errorf("packets of %v go %+v: they must go nowhere", lan, e)
	}
}

// "The Home Agent MUST support both implicit and explicit modes".
//
//rfc:5177#3
//rfc:5177#6.1
//rfc:5177#6.3
//rfc:5177#9-2
//rfc:5177#6.1-2
func TestAHomeAgentKnowsTheNetworksOfAnImplicitRouter(t *testing.T) {
	c := routerConfig(lan)
	c.Networks.Implicit = true
	p := aRouter(t, []netip.Prefix{lan}, c)
	p.up("lte0", lte)
	p.run(time.Second)
	p.served(lan)
}

// "The Mobile Router MUST be notified when ... it cannot be successfully
// authorized for prefixes it requested", and is served for the others.
//
//rfc:5177#6.3
//rfc:5177#6.6
//rfc:5177#10
//rfc:5177#10-1
//rfc:5177#10-2
//rfc:5177#10-3
func TestWhatIsNotInThePrefixTableIsNotServed(t *testing.T) {
	p := aRouter(t, []netip.Prefix{lan}, routerConfig(lan, theft))
	p.up("lte0", lte)
	p.run(time.Second)
	p.served(lan)
	if got := p.states(); !slices.Equal(got, []string{"10.20.7.0/24 served", "10.20.9.0/24 mobile router not authorized for the prefix"}) {
		t.Errorf("states %q", got)
	}
	if p.node.count(mobilenetwork.Refused) != 1 {
		t.Errorf("nobody was told\n%s", p.trace())
	}
}

// Code 147: the router "MUST stop sending Registration Requests that contain
// any of the Mobile Network Prefixes"; the home address goes on without them.
//
//rfc:5177#5.1
//rfc:5177#6.3
//rfc:5177#5.1-2
func TestARefusedPrefixIsNotAskedForAgain(t *testing.T) {
	p := aRouter(t, []netip.Prefix{lan}, routerConfig(theft))
	p.up("lte0", lte)
	p.run(time.Hour)
	if s := p.status(); s.State != "registered" {
		t.Fatalf("the node is %s\n%s", s.State, p.trace())
	}
	if n := p.agent.count(note.Denied); n != 1 {
		t.Errorf("%d denials, want one\n%s", n, p.trace())
	}
	if e := p.node.entries[forward.Key("mobile-node/network/"+theft.String())]; len(e.Tunnels) != 0 {
		t.Errorf("%v is sent through %v", theft, e.Tunnels)
	}
	if got := p.states(); !slices.Equal(got, []string{"10.20.9.0/24 mobile router not authorized for the prefix"}) {
		t.Errorf("states %q", got)
	}
}

// Code 148: "the Mobile Router MUST stop sending Registration Requests with any
// Mobile Network Prefix extensions to that Home Agent".
//
//rfc:5177#5.1
//rfc:5177#6.1
//rfc:5177#5.1-1
func TestANodeThatMayNotRouteStaysANode(t *testing.T) {
	p := aRouter(t, nil, routerConfig(lan, depot))
	p.up("lte0", lte)
	p.run(time.Hour)
	p.served()
	if s := p.status(); s.State != "registered" || !strings.Contains(s.Networks[0].State, "not permit") {
		t.Errorf("%+v\n%s", s, p.trace())
	}
	if n := p.agent.count(note.Denied); n != 1 {
		t.Errorf("%d denials, want one\n%s", n, p.trace())
	}
}

// "the absence of Mobile Network extensions must be interpreted by the Mobile
// Router as the case where the Home Agent does not support Mobile Networks".
//
//rfc:5177#5.1
func TestAHomeAgentWithoutMobileNetworks(t *testing.T) {
	ac := agentConfig(t)
	p := newPair(t, ac, nodeConfig(t), routerConfig(lan))
	p.bootAgent(ac, standard.Config{Networks: mobilenetwork.Config{RefuseHome: true}})
	p.up("lte0", lte)
	p.run(time.Second)
	p.served()
	if s := p.status(); s.State != "registered" || !strings.Contains(s.Networks[0].State, "does not know") {
		t.Errorf("%+v\n%s", s, p.trace())
	}
}

// What outlives a restart: networks of a binding, at both ends.
//
//rfc:5177#6.2.1
//rfc:5177#6.2.1-1
//rfc:6626#3.2-2
func TestNetworksOutliveARestart(t *testing.T) {
	ac := agentConfig(t)
	ac.Nodes[0].Prefixes = []netip.Prefix{lan, depot}
	c := routerConfig(lan)
	p := newPair(t, ac, nodeConfig(t), c)
	p.up("lte0", lte)
	p.run(time.Second)
	p.served(lan)
	list := func(m engine.Persistent) (out []string) {
		for e := range m.Entries() {
			if len(e.Tunnels) > 0 {
				out = append(out, string(e.Key))
			}
		}
		return out
	}
	agentHad, nodeHad := list(p.agent.machine), list(p.node.machine)
	p.bootAgent(ac, c)
	p.bootNode(nodeConfig(t), c)
	if got := list(p.agent.machine); !slices.Equal(got, agentHad) || len(got) != 2 {
		t.Errorf("the home agent came back with %v, had %v", got, agentHad)
	}
	if got := list(p.node.machine); !slices.Equal(got, nodeHad) || len(got) != 2 {
		t.Errorf("the router came back with %v, had %v", got, nodeHad)
	}
	// A table without the prefix is not overruled by a record.
	ac.Nodes[0].Prefixes = []netip.Prefix{depot}
	p.bootAgent(ac, c)
	if got := list(p.agent.machine); len(got) != 1 {
		t.Errorf("the home agent came back with %v", got)
	}
}

// "If one or more Mobile Network prefixes are missing from the included
// information in the registration request, the Home Agent MUST delete those
// prefixes from the registration table. Also, the Home Agent MUST disable
// forwarding for those prefixes."
//
//rfc:5177#6.3
//rfc:5177#6.3-4
//rfc:5177#6.3-5
//rfc:5177#6.3-6
func TestANetworkThatIsNotNamedAnyMoreGoes(t *testing.T) {
	p := aRouter(t, []netip.Prefix{lan, depot}, routerConfig(lan, depot))
	p.up("lte0", lte)
	p.run(time.Second)
	p.served(lan, depot)
	p.node.entries = map[forward.Key]forward.Entry{}
	p.bootNode(nodeConfig(t), routerConfig(depot))
	p.up("lte0", lte)
	p.run(2 * time.Second)
	p.served(depot)
}

// A prefix that the operator takes away is not forwarded for any more, and the
// router's own binding stays.
func TestAReloadTakesAPrefixAway(t *testing.T) {
	ac := agentConfig(t)
	ac.Nodes[0].Prefixes = []netip.Prefix{lan, depot}
	p := newPair(t, ac, nodeConfig(t), routerConfig(lan, depot))
	p.up("lte0", lte)
	p.run(time.Second)
	other := agentConfig(t)
	other.Nodes[0].Prefixes = []netip.Prefix{depot}
	p.step(p.agent, engine.Command{Ticket: 5, Value: ha.Reconfigure{Config: other}})
	p.run(10 * time.Millisecond)
	if len(p.agent.entries) != 2 {
		t.Errorf("entries %v", p.agent.entries)
	}
	for _, e := range p.agent.entries {
		if e.Inner == lan {
			t.Errorf("%v is still forwarded for", lan)
		}
	}
	if p.agent.machine.(*ha.Agent).Named("van7@fleet.example").Bindings() == nil {
		t.Error("the binding went too")
	}
}

// RFC 6626: a router asks for a prefix, gets it for as long as it is bound, and
// the same one again.
//
//rfc:6626#3.1
//rfc:6626#3.2
//rfc:6626#3.1-1
//rfc:6626#3.1-2
//rfc:6626#3.1-3
func TestAPrefixIsAssigned(t *testing.T) {
	pool := netip.MustParsePrefix("10.30.0.0/22")
	c := standard.Config{Networks: mobilenetwork.Config{
		Pools:    []mobilenetwork.Pool{{Prefix: pool, Length: 24, PerNode: 2}},
		Networks: []mobilenetwork.Network{{Link: "lan0"}, {Link: "lan1", Length: 24}},
	}}
	p := aRouter(t, nil, c)
	p.up("lte0", lte)
	p.run(time.Second)
	got := p.status().Networks
	if len(got) != 2 || !got[0].Served || !got[1].Served || got[0].Prefix == got[1].Prefix || !pool.Contains(got[0].Prefix.Addr()) {
		t.Fatalf("networks %+v\n%s", got, p.trace())
	}
	p.served(got[0].Prefix, got[1].Prefix)
	p.run(time.Hour)
	p.served(got[0].Prefix, got[1].Prefix)

	// Both come back from a restart, and are asked for by name.
	p.bootNode(nodeConfig(t), c)
	p.up("lte0", lte)
	p.run(time.Second)
	if again := p.status().Networks; !slices.Equal(again, got) {
		t.Errorf("after a restart %+v, before %+v", again, got)
	}
	p.served(got[0].Prefix, got[1].Prefix)

	// A third is beyond the limit (section 4).
	c.Networks.Networks = append(c.Networks.Networks, mobilenetwork.Network{Link: "lan2"})
	p.bootNode(nodeConfig(t), c)
	p.up("lte0", lte)
	p.run(time.Second)
	if third := p.status().Networks[2]; third.Served || third.State != "prefix not assigned" {
		t.Errorf("the third network is %+v", third)
	}
}

// A pool that is empty when a router comes is not empty for ever. The router asks
// again when it renews, and moves as fast as any meanwhile.
//
//rfc:6626#3.1
func TestAPrefixThatWasNotFreeIsAskedForAgain(t *testing.T) {
	pool := mobilenetwork.Pool{Prefix: netip.MustParsePrefix("10.30.0.0/24"), Length: 24, PerNode: 1}
	c := standard.Config{Networks: mobilenetwork.Config{Pools: []mobilenetwork.Pool{pool}, Networks: []mobilenetwork.Network{{Link: "lan0"}}}}
	ac := agentConfig(t)
	ac.Shard, ac.Shards = 1, 2 // the only prefix is the other one's
	p := newPair(t, ac, nodeConfig(t), c)
	p.up("lte0", lte)
	p.run(time.Hour)
	if got := p.status().Networks[0]; got.Served || got.State != "prefix not assigned" {
		t.Fatalf("%+v\n%s", got, p.trace())
	}
	denied := p.agent.count(note.Denied)
	if denied > 10 {
		t.Errorf("%d denials in an hour", denied)
	}
	p.lose("lte0")
	p.up("wlan0", wifi)
	p.run(time.Second)
	if n := p.agent.count(note.Denied); n != denied {
		t.Error("a move waited for a denial")
	}
	p.bootAgent(agentConfig(t), c)
	p.run(time.Hour)
	p.served(pool.Prefix)
	if got := p.status().Networks[0]; !got.Served {
		t.Errorf("%+v", got)
	}
	p.lose("wlan0")
	p.run(time.Minute)
	if got := p.status().Networks[0]; got.Served || got.State == "served" {
		t.Errorf("without a link %+v", got)
	}
}

// Code 1 or 4 for a prefix of zero: nothing is assigned, the rest works.
//
//rfc:6626#3.1
func TestNoPrefixIsAssignedWithoutAPool(t *testing.T) {
	c := routerConfig(lan)
	c.Networks.Networks = append(c.Networks.Networks, mobilenetwork.Network{Link: "lan1"})
	p := aRouter(t, []netip.Prefix{lan}, c)
	p.up("lte0", lte)
	p.run(time.Second)
	p.served(lan)
	if n := p.status().Networks[1]; n.Served || n.State != "invalid prefix length" {
		t.Errorf("the second network is %+v", n)
	}
}

// "the home address field of the registration request message MAY be set to zero
// while the message also includes one or more Mobile Network Request extensions
// with the Prefix field also set to zero": the NAI says who asks.
//
//rfc:6626#3.2-3
func TestAnAddressAndAPrefixAreAssigned(t *testing.T) {
	ac, nc := agentConfig(t), nodeConfig(t)
	ac.Nodes[0].HomeAddress, nc.HomeAddress = netip.Addr{}, netip.Addr{}
	c := standard.Config{Networks: mobilenetwork.Config{
		Pools:    []mobilenetwork.Pool{{Prefix: netip.MustParsePrefix("10.30.0.0/22"), Length: 24, PerNode: 1}},
		Networks: []mobilenetwork.Network{{Link: "lan0"}},
	}}
	p := newPair(t, ac, nc, c)
	p.up("lte0", lte)
	p.run(time.Second)
	got := p.status().Networks[0].Prefix
	p.served(got)
	// The home agent forgets nothing either.
	p.bootAgent(ac, c)
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.served(got)
}

// A mobile router without a reverse tunnel would send its hosts' packets where
// they do not come from.
//
//rfc:5177#5-1
func TestAMobileRouterHasAReverseTunnel(t *testing.T) {
	nc := nodeConfig(t)
	nc.ReverseTunnel = mn.ReversePreferred
	if _, err := standard.MobileNode(nc, standard.Features(routerConfig(lan)), rand.New(rand.NewPCG(1, 2))); err == nil {
		t.Error("a router that would go without was made")
	}
}
