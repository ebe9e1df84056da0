package mn_test

import (
	"encoding/json"
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

var secondAgent = netip.MustParseAddr("198.51.100.2")

// "the mobile node MUST set the Home Agent field to the subnet-directed
// broadcast address of the mobile node's home network", which is also the
// destination; code 136 names the home agent.
//
//rfc:5944#3.6.1.2
//rfc:5944#3.6.2.3
//rfc:5944#3.6.1.2-12
//rfc:5944#3.6.2.3-4
func TestDiscovery(t *testing.T) {
	for _, wrongClock := range []bool{false, true} {
		cfg := config(t)
		cfg.HomeNetwork, cfg.HomeAgents = homeNetwork, nil
		r := newRig(t, cfg)
		ahead := time.Duration(0)
		if wrongClock {
			ahead = time.Hour
		}
		broadcast := netip.MustParseAddr("10.10.0.255")
		r.other = func(r *rig, s engine.Send) []engine.Packet {
			a := answer{lifetime: -1}
			wall := r.now.Wall.Add(ahead)
			fresh, _ := assoc.Mark{}.Fresh(assoc.Timestamps, r.last().request.Identification, wall, assoc.DefaultWindow)
			if !fresh {
				a.high = assoc.Timestamp(wall) >> 32
				a.code = 133
			}
			if s.Dst.Addr() == broadcast {
				a.code = 136
				a.change = func(p *mip4.RegistrationReply) { p.HomeAgent = homeAgent }
			}
			p := r.reply(s, a)
			p.Src = netip.AddrPortFrom(homeAgent, 434)
			return []engine.Packet{p}
		}
		r.up("wlan0", wifiAddress)
		if q := r.last(); q.request.HomeAgent != broadcast || q.Dst != netip.AddrPortFrom(broadcast, 434) {
			t.Fatalf("asks %v at %v", q.request.HomeAgent, q.Dst)
		}
		r.run(110 * time.Millisecond)
		if s := r.status(); s.State != "registered" || s.HomeAgent != homeAgent || len(r.requests) != 2 {
			t.Errorf("wrong clock %v: %s at %v after %d requests", wrongClock, s.State, s.HomeAgent, len(r.requests))
		}
		// When it does not answer any more, another is looked for.
		r.other = nil
		r.run(20 * time.Minute)
		if q := r.last().request; q.HomeAgent != broadcast && r.requests[len(r.requests)-2].request.HomeAgent != broadcast && r.requests[len(r.requests)-4].request.HomeAgent != broadcast {
			t.Errorf("asks %v in the end", q.HomeAgent)
		}
	}
}

// "MUST reject": an acceptance of a request to the broadcast address is none.
//
//rfc:5944#3.6.1.2
func TestBroadcastRequestCannotBeAccepted(t *testing.T) {
	cfg := config(t)
	cfg.HomeNetwork, cfg.HomeAgents = homeNetwork, nil
	r := newRig(t, cfg)
	r.other = granting(-1)
	r.up("wlan0", wifiAddress)
	r.run(100 * time.Millisecond)
	if r.status().State == "registered" || r.count(note.Discarded) != 1 {
		t.Error("it was taken")
	}
}

// Home agents are tried in turn.
func TestSecondHomeAgent(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		cfg := config(t)
		cfg.HomeAgents = append(cfg.HomeAgents, mn.HomeAgent{Address: secondAgent})
		r := newRig(t, cfg)
		r.other = func(r *rig, s engine.Send) []engine.Packet {
			switch {
			case s.Dst.Addr() == secondAgent:
				return []engine.Packet{r.reply(s, answer{lifetime: -1})}
			case refuse:
				return []engine.Packet{r.reply(s, answer{code: 130})}
			}
			return nil
		}
		r.up("wlan0", wifiAddress)
		r.run(8 * time.Second)
		if s := r.status(); s.State != "registered" || s.HomeAgent != secondAgent {
			t.Errorf("refused %v: %s at %v", refuse, s.State, s.HomeAgent)
		}
	}
}

// Home agents that all refuse are each asked once, and then after pauses that grow:
// none is asked more often because there is another. One that changes its mind is
// found.
//
//rfc:5944#3.6.2.3
func TestAllHomeAgentsRefuse(t *testing.T) {
	for _, uplinks := range []int{1, 2} {
		cfg := config(t)
		cfg.HomeAgents = append(cfg.HomeAgents, mn.HomeAgent{Address: secondAgent})
		r := newRig(t, cfg)
		willing := false
		r.other = func(r *rig, s engine.Send) []engine.Packet {
			if willing && s.Dst.Addr() == secondAgent {
				return []engine.Packet{r.reply(s, answer{lifetime: -1})}
			}
			return []engine.Packet{r.reply(s, answer{code: mip4.CodeHAProhibited})}
		}
		r.up("wlan0", wifiAddress)
		if uplinks > 1 {
			r.up("lte0", lteAddress)
		}
		asked := func(during time.Duration) (at map[netip.Addr]int) {
			before := len(r.requests)
			r.run(during)
			at = make(map[netip.Addr]int)
			for _, q := range r.requests[before:] {
				at[q.Dst.Addr()]++
			}
			return at
		}
		r.run(4 * time.Second)
		if first := len(r.requests); first < 2 || first > 4*uplinks {
			t.Errorf("%d uplinks: %d requests at first", uplinks, first)
		}
		asked(10 * time.Minute)
		hour := asked(time.Hour)
		for _, agent := range []netip.Addr{homeAgent, secondAgent} {
			if n := hour[agent]; n < 30 || n > 75*uplinks {
				t.Errorf("%d uplinks: %v is asked %d times an hour", uplinks, agent, n)
			}
		}
		willing = true
		r.run(2 * time.Minute)
		if s := r.status(); s.State != "registered" || s.HomeAgent != secondAgent {
			t.Errorf("%d uplinks: %s at %v when one accepts", uplinks, s.State, s.HomeAgent)
		}
	}
}

// A home agent by name is resolved, and resolved again when it does not answer.
func TestHomeAgentByName(t *testing.T) {
	cfg := config(t)
	cfg.HomeAgents = []mn.HomeAgent{{Name: "ha.fleet.example"}}
	r := newRig(t, cfg)
	r.other = func(r *rig, s engine.Send) []engine.Packet {
		if s.Dst.Addr() != secondAgent {
			return nil
		}
		return []engine.Packet{r.reply(s, answer{lifetime: -1})}
	}
	r.up("wlan0", wifiAddress)
	r.run(5 * time.Second)
	if len(r.requests) != 0 || len(r.asks) < 2 || len(r.asks) > 5 {
		t.Fatalf("%d requests, %d questions", len(r.requests), len(r.asks))
	}
	r.names["ha.fleet.example"] = []netip.Addr{netip.MustParseAddr("2001:db8::1"), homeAgent}
	r.run(10 * time.Second)
	if len(r.requests) == 0 || r.last().Dst.Addr() != homeAgent {
		t.Fatal("no request to the resolved address")
	}
	r.names["ha.fleet.example"] = []netip.Addr{secondAgent}
	r.run(20 * time.Second)
	if s := r.status(); s.State != "registered" || s.HomeAgent != secondAgent {
		t.Errorf("%s at %v", s.State, s.HomeAgent)
	}
}

// Deregister ends the bindings, also when away, and keeps the node
// unregistered until Reregister.
//
//rfc:5944#3.6.1.2
//rfc:5944#3.6.1.2-15
func TestDeregister(t *testing.T) {
	for _, answers := range []bool{true, false} {
		r := registered(t)
		r.other = granting(0)
		if !answers {
			r.other = nil
		}
		r.step(engine.Command{Ticket: 5, Value: mn.Deregister{}})
		q := r.last()
		if q.request.Lifetime != 0 || q.request.CareOfAddress != homeAddress || q.Src.Addr() != wifiAddress || !q.request.Flags.Has(mip4.FlagD) {
			t.Errorf("request %+v from %v", q.request, q.Src)
		}
		r.run(time.Minute)
		i := -1
		for j, res := range r.results {
			if res.Ticket == 5 {
				i = j
			}
		}
		if i < 0 || (r.results[i].Err == nil) != answers {
			t.Fatalf("results %+v", r.results)
		}
		if s := r.status(); s.State != "deregistered" || len(r.entry().Tunnels) != 0 {
			t.Errorf("%s, %s", s.State, r.tunnels())
		}
		n := len(r.requests)
		r.lose("wlan0")
		r.up("wlan0", wifiAddress)
		r.run(time.Minute)
		if len(r.requests) != n {
			t.Error("it registers though it was told not to")
		}
		r.other = granting(-1)
		r.step(engine.Command{Ticket: 6, Value: mn.Reregister{}})
		r.run(time.Second)
		if r.status().State != "registered" {
			t.Error("Reregister does not")
		}
	}
}

// Every question is answered, in JSON without secrets; an unknown one with an error.
func TestCommands(t *testing.T) {
	r := registered(t)
	for i, q := range []any{mn.ShowStatus{}, mn.ListRegistrations{}, mn.ListUplinks{}, mn.ListAssociations{}, mn.ListStages{}, mn.ListCounters{}, mn.Reregister{}} {
		r.step(engine.Command{Ticket: engine.Ticket(100 + i), Value: q})
		res := r.results[len(r.results)-1]
		if res.Ticket != engine.Ticket(100+i) || res.Err != nil {
			t.Fatalf("%T: %+v", q, res)
		}
		b, err := json.Marshal(res.Value)
		if err != nil || len(b) < 3 || strings.Contains(string(b), "7369787465656e") || strings.Contains(string(b), "sixteen") {
			t.Errorf("%T: %s, %v", q, b, err)
		}
	}
	r.step(engine.Command{Ticket: 9, Value: "nonsense"})
	if r.results[len(r.results)-1].Err == nil {
		t.Error("nonsense was answered")
	}
}

// The stages are those of the architecture, in order.
func TestStages(t *testing.T) {
	r := registered(t)
	r.step(engine.Command{Ticket: 1, Value: mn.ListStages{}})
	var names []string
	for _, s := range r.results[len(r.results)-1].Value.([]engine.StageInfo) {
		names = append(names, s.Stage)
	}
	if got := strings.Join(names, " "); got != "Heard Advertised Choose Request Keys Reply Accepted Denied Moved Home Probed" {
		t.Errorf("stages %s", got)
	}
}

// An interface that is gone and comes back under another index is the same uplink.
func TestLinkGone(t *testing.T) {
	r := registered(t)
	r.step(engine.LinkChanged{Link: engine.Link{Name: "wlan0", Gone: true}})
	r.run(time.Second)
	n := len(r.requests)
	r.up("wlan0", wifiAddress)
	r.run(time.Second)
	if len(r.requests) != n+1 || r.status().State != "registered" {
		t.Errorf("%d requests, %s", len(r.requests)-n, r.status().State)
	}
	if r.count(note.LinkDown) != 1 || r.count(note.LinkUp) != 2 {
		t.Errorf("notes %v", r.notes)
	}
}

// A live registration at a home agent that falls silent is replaced by one at
// the next home agent before it ends, and released when the old one is back.
func TestHomeAgentFallsSilent(t *testing.T) {
	cfg := config(t)
	cfg.HomeAgents = append(cfg.HomeAgents, mn.HomeAgent{Address: secondAgent})
	r := newRig(t, cfg)
	silent := false
	r.other = func(r *rig, s engine.Send) []engine.Packet {
		if s.Dst.Addr() == homeAgent && silent {
			return nil
		}
		return []engine.Packet{r.reply(s, answer{lifetime: -1})}
	}
	r.up("wlan0", wifiAddress)
	r.run(time.Second)
	silent = true
	r.run(10 * time.Minute)
	if s := r.status(); s.State != "registered" || s.HomeAgent != secondAgent || r.count(note.Lost) != 0 {
		t.Errorf("%s at %v", s.State, s.HomeAgent)
	}
	released := false
	for _, q := range r.requests {
		released = released || q.Dst.Addr() == homeAgent && q.request.Lifetime == 0 && q.request.CareOfAddress == wifiAddress
	}
	if !released {
		t.Error("the old home agent was not told")
	}
}

// A home address that was given for the NAI and is not served any more is
// given up for another.
//
//rfc:2794#3
func TestAnotherHomeAddress(t *testing.T) {
	cfg := config(t)
	cfg.HomeAddress, cfg.NAI = netip.Addr{}, "van7@fleet.example"
	r := newRig(t, cfg)
	given := homeAddress
	r.other = func(r *rig, s engine.Send) []engine.Packet {
		q := r.last().request
		if !q.HomeAddress.IsUnspecified() && q.HomeAddress != given {
			return []engine.Packet{r.reply(s, answer{code: 129})}
		}
		return []engine.Packet{r.reply(s, answer{lifetime: -1, change: func(p *mip4.RegistrationReply) { p.HomeAddress = given }})}
	}
	r.up("wlan0", wifiAddress)
	r.run(time.Second)
	given = given.Next()
	r.lose("wlan0")
	r.run(11 * time.Minute) // the registration runs out
	r.up("wlan0", wifiAddress)
	r.run(time.Second)
	if r.node.HomeAddress() != given || len(r.entries) != 1 || r.tunnels() != "wlan0 ipip both" {
		t.Errorf("home address %v, entries %v", r.node.HomeAddress(), r.entries)
	}
}

// The first home agent of the list is used again when it answers again; while
// it does not, the other serves on and nothing is lost.
func TestReturnToTheFirstHomeAgent(t *testing.T) {
	cfg := config(t)
	cfg.HomeAgents = append(cfg.HomeAgents, mn.HomeAgent{Address: secondAgent})
	r := newRig(t, cfg)
	dead := true
	r.other = func(r *rig, s engine.Send) []engine.Packet {
		if dead && s.Dst.Addr() == homeAgent {
			return nil
		}
		return []engine.Packet{r.reply(s, answer{lifetime: -1})}
	}
	r.up("wlan0", wifiAddress)
	r.run(10 * time.Second)
	n := len(r.requests)
	r.run(time.Hour)
	asked := 0
	for _, s := range r.requests[n:] {
		if s.Dst.Addr() == homeAgent {
			asked++
		}
	}
	if s := r.status(); s.HomeAgent != secondAgent || s.State != "registered" || asked < 8 || asked > 16 {
		t.Errorf("%s at %v; the first was asked %d times in an hour", s.State, s.HomeAgent, asked)
	}
	dead = false
	r.run(7 * time.Minute)
	if s := r.status(); s.HomeAgent != homeAgent || s.State != "registered" || len(s.Registered) != 1 {
		t.Errorf("%s at %v", s.State, s.HomeAgent)
	}
	if q := r.last(); q.Dst.Addr() != secondAgent || q.request.Lifetime != 0 {
		t.Errorf("the second home agent was not told: %v, lifetime %d", q.Dst, q.request.Lifetime)
	}
	n = len(r.requests)
	r.run(time.Hour)
	for _, s := range r.requests[n:] {
		if s.Dst.Addr() == secondAgent {
			t.Fatal("the second home agent is asked again")
		}
	}
}
