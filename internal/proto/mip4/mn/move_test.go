package mn_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// Make before break: the better uplink is registered without the S bit while
// the old tunnel works; the replaced one receives for 2 s more.
func TestMakeBeforeBreak(t *testing.T) {
	r := newRig(t, config(t))
	r.other = granting(-1)
	r.up("lte0", lteAddress)
	r.run(time.Second)
	if r.tunnels() != "lte0 ipip both" {
		t.Fatalf("tunnels %s", r.tunnels())
	}
	r.up("wlan0", wifiAddress)
	if q := r.last(); q.Link != "wlan0" || q.request.Flags.Has(mip4.FlagS) || q.request.CareOfAddress != wifiAddress {
		t.Errorf("request %+v over %s", q.request, q.Link)
	}
	// Packets through the new tunnel may overtake the reply.
	if got := r.tunnels(); got != "lte0 ipip both, wlan0 ipip receive" {
		t.Errorf("while pending: %s", got)
	}
	r.run(50 * time.Millisecond)
	if got := r.tunnels(); got != "wlan0 ipip both, lte0 ipip receive" {
		t.Errorf("after the reply: %s", got)
	}
	if until := r.entry().Tunnels[1].Until.Sub(r.now.Mono); until != 2*time.Second {
		t.Errorf("the old tunnel drains for %v", until)
	}
	r.run(2 * time.Second)
	if got := r.tunnels(); got != "wlan0 ipip both" {
		t.Errorf("2 s later: %s", got)
	}
	if n := len(r.requests); n != 2 {
		t.Errorf("%d requests", n)
	}
}

// Break before make: the request and the switch of the sending tunnel come in
// the same step as the link event.
func TestBreakBeforeMake(t *testing.T) {
	r := newRig(t, config(t))
	r.other = granting(-1)
	r.up("lte0", lteAddress)
	r.up("wlan0", wifiAddress)
	r.run(10 * time.Second)
	if r.status().Link != "wlan0" {
		t.Fatal("the preferred uplink is not in use")
	}
	r.lose("wlan0")
	if q := r.last(); q.Link != "lte0" || !q.at.Equal(r.now.Mono) {
		t.Fatalf("no request at once: %v over %s", q.at, q.Link)
	}
	if got := r.tunnels(); !strings.HasPrefix(got, "lte0 ipip both") {
		t.Errorf("data do not follow the request: %s", got)
	}
	r.run(50 * time.Millisecond)
	if got := r.tunnels(); !strings.HasPrefix(got, "lte0 ipip both") || r.status().Link != "lte0" {
		t.Errorf("after the reply: %s", got)
	}
}

// The care-of address of the only uplink changes.
//
//rfc:5944#3.6-3
func TestAddressChanges(t *testing.T) {
	r := registered(t)
	other := netip.MustParseAddr("192.0.2.99")
	r.up("wlan0", other)
	if q := r.last().request; q.CareOfAddress != other {
		t.Fatalf("registers %v", q.CareOfAddress)
	}
	r.run(3 * time.Second)
	if e := r.entry(); len(e.Tunnels) != 1 || e.Tunnels[0].Local.Addr() != other {
		t.Errorf("tunnels %+v", e.Tunnels)
	}
}

// A further address beside the one in use moves nothing.
func TestFurtherAddressMovesNothing(t *testing.T) {
	r := registered(t)
	l := link("wlan0", netip.MustParseAddr("192.0.2.3"))
	l.Addresses = append(l.Addresses, netip.PrefixFrom(wifiAddress, 24))
	r.step(engine.LinkChanged{Link: l})
	r.run(3 * time.Second)
	if got := r.status().CareOfAddress; got != wifiAddress {
		t.Errorf("moved to %v", got)
	}
}

// The only uplink goes and comes back: registered again at once, the tunnel
// is in use meanwhile.
func TestSameLinkComesBack(t *testing.T) {
	r := registered(t)
	r.run(20 * time.Second)
	n := len(r.requests)
	r.lose("wlan0")
	r.run(10 * time.Second)
	if len(r.requests) != n {
		t.Error("requests over a link that is down")
	}
	r.up("wlan0", wifiAddress)
	if len(r.requests) != n+1 || r.tunnels() != "wlan0 ipip both" {
		t.Errorf("%d requests, %s", len(r.requests)-n, r.tunnels())
	}
}

// When everything was lost, every live uplink registers; the preferred one
// goes last, so that the home agent keeps it, and answers in any order lead
// to what the home agent has.
func TestRace(t *testing.T) {
	for _, reversed := range []bool{false, true} {
		for _, dead := range []string{"", "wlan0", "lte0"} {
			cfg := config(t)
			cfg.Uplinks = append(cfg.Uplinks, mn.UplinkConfig{Interface: "eth0", Priority: 200})
			r := newRig(t, cfg)
			var binding netip.Addr // of the home agent
			var highest uint64
			r.other = func(r *rig, s engine.Send) []engine.Packet {
				q := r.last().request
				if q.Identification > highest {
					highest, binding = q.Identification, q.CareOfAddress
					return []engine.Packet{r.reply(s, answer{lifetime: -1})}
				}
				return []engine.Packet{r.reply(s, answer{code: 133, high: assoc.Timestamp(r.now.Wall) >> 32})}
			}
			r.up("eth0", netip.MustParseAddr("198.18.0.9"))
			r.run(5 * time.Second)
			r.up("lte0", lteAddress)
			r.up("wlan0", wifiAddress)
			if dead != "" {
				r.down[dead] = true
			}
			n := len(r.requests)
			r.lose("eth0")
			if got := len(r.requests) - n; got != 2 || r.requests[n].Link != "lte0" || r.requests[n+1].Link != "wlan0" {
				t.Fatalf("%d requests at once", got)
			}
			if reversed && len(r.queue) > 1 {
				r.queue[len(r.queue)-1].seq, r.queue[len(r.queue)-2].seq = r.queue[len(r.queue)-2].seq, r.queue[len(r.queue)-1].seq
			}
			r.run(10 * time.Second)
			want := wifiAddress
			if dead == "wlan0" {
				want = lteAddress
			}
			s := r.status()
			if s.State != "registered" || s.CareOfAddress != want || binding != want {
				t.Errorf("reversed %v, %q is dead: %s with %v, the home agent has %v", reversed, dead, s.State, s.CareOfAddress, binding)
			}
		}
	}
}

// A silent black hole: renewals are not answered, and another uplink takes
// over after the first retransmission.
func TestSilentUplinkIsLeft(t *testing.T) {
	r := newRig(t, config(t))
	r.other = granting(60)
	r.up("wlan0", wifiAddress)
	r.up("lte0", lteAddress)
	r.run(time.Second)
	if r.status().Link != "wlan0" {
		t.Fatal("the preferred uplink is not in use")
	}
	r.down["wlan0"] = true
	r.run(50 * time.Second)
	if s := r.status(); s.Link != "lte0" || r.count(note.Lost) != 0 {
		t.Errorf("%s over %s", s.State, s.Link)
	}
	// It comes back when the preferred one answers again.
	r.down["wlan0"] = false
	r.run(2 * time.Minute)
	if s := r.status(); s.Link != "wlan0" {
		t.Errorf("%s over %s", s.State, s.Link)
	}
}

// Who asks for a renewal while the node is between two addresses of a link gets none:
// a request from the old one reaches nobody.
func TestNothingIsRenewedOverAnAddressThatIsGone(t *testing.T) {
	r := newRig(t, config(t))
	r.other = granting(60)
	r.up("wlan0", wifiAddress)
	r.run(time.Second)
	r.down["wlan0"] = true
	r.up("wlan0", lteAddress)
	r.run(100 * time.Millisecond)
	before := len(r.requests)
	r.node.Renew(r.node.Active())
	r.run(3 * time.Second)
	for _, q := range r.requests[before:] {
		if q.request.CareOfAddress != lteAddress {
			t.Fatalf("a request from %v, which the link has no more", q.request.CareOfAddress)
		}
	}
	if len(r.requests) == before {
		t.Error("no request from the address that it has")
	}
}

// A request lost over a path that carries packets both ways moves nobody: it is sent
// again over that path alone, and over another one in the end, before the
// registration has ended.
func TestALostRequestIsNoDeadPath(t *testing.T) {
	r := newRig(t, config(t))
	r.other = granting(60)
	r.node.Choose.Add("test", "echoes", func(x *mn.Choice) engine.Verdict {
		for i := range x.Candidates {
			if c := &x.Candidates[i]; c.Link.Name == "wlan0" {
				c.Quality.Answered = x.Now.Mono.Add(-100 * time.Millisecond) // as if it were probed every 150 ms
			}
		}
		return engine.Next()
	})
	r.up("wlan0", wifiAddress)
	r.up("lte0", lteAddress)
	r.run(time.Second)
	r.down["wlan0"] = true // for requests
	before := len(r.requests)
	for r.count(note.Lost) == 0 && r.status().Link == "wlan0" && len(r.requests) < before+20 {
		r.run(100 * time.Millisecond)
	}
	over := map[string]int{}
	for _, q := range r.requests[before:] {
		over[q.Link]++
	}
	if s := r.status(); s.Link != "lte0" || r.count(note.Lost) != 0 || over["wlan0"] < 4 || over["lte0"] != 1 {
		t.Errorf("over %s after %d lost requests and %d over the other path, registrations ended %d times", s.Link, over["wlan0"], over["lte0"], r.count(note.Lost))
	}
}

// "a mobile node MUST NOT attempt to register more often than once per second"
// on average, however a link flaps.
//
//rfc:5944#3.6
//rfc:5944#2.4.2-2
//rfc:5944#3.6-6
func TestFlappingLink(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 11))
	r := newRig(t, config(t))
	r.other = granting(-1)
	r.up("lte0", lteAddress)
	for range 2000 {
		if rng.IntN(2) == 0 {
			r.up("wlan0", netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + rng.IntN(200))}))
		} else {
			r.lose("wlan0")
		}
		r.run(time.Duration(rng.IntN(60)) * time.Millisecond)
	}
	for _, name := range []string{"wlan0", "lte0"} {
		var times []time.Time
		for _, s := range r.requests {
			if s.Link == name {
				times = append(times, s.at)
			}
		}
		for i := range times {
			for j := i; j < len(times); j++ {
				if got, allowed := j-i+1, int(times[j].Sub(times[i])/time.Second)+5; got > allowed {
					t.Fatalf("%s: %d requests in %v", name, got, times[j].Sub(times[i]))
				}
			}
		}
	}
	r.up("wlan0", wifiAddress)
	r.run(10 * time.Second)
	if s := r.status(); s.State != "registered" || s.Link != "wlan0" {
		t.Errorf("in the end %s over %s", s.State, s.Link)
	}
}

// What can be an uplink.
//
//rfc:5944#1.7-4
func TestUsableUplinks(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*engine.Link)
		usable bool
	}{
		"plain":                 {func(*engine.Link) {}, true},
		"private address":       {func(l *engine.Link) { l.Addresses = []netip.Prefix{netip.MustParsePrefix("192.168.1.5/24")} }, true},
		"link-local address":    {func(l *engine.Link) { l.Addresses = []netip.Prefix{netip.MustParsePrefix("169.254.7.7/16")} }, false},
		"loopback address":      {func(l *engine.Link) { l.Addresses = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")} }, false},
		"only the home address": {func(l *engine.Link) { l.Addresses = []netip.Prefix{netip.PrefixFrom(homeAddress, 32)} }, false},
		"no address":            {func(l *engine.Link) { l.Addresses = nil }, false},
		"down":                  {func(l *engine.Link) { l.Up = false }, false},
		"no gateway":            {func(l *engine.Link) { l.Gateways = nil }, false},
		"no gateway, but the other end takes all": {func(l *engine.Link) { l.Gateways, l.Direct = nil, true }, true},
		"home agent is a neighbour": {func(l *engine.Link) {
			l.Gateways, l.Addresses = nil, []netip.Prefix{netip.MustParsePrefix("198.51.100.77/24")}
		}, true},
		"not configured": {func(l *engine.Link) { l.Name = "eth7" }, false},
	} {
		r := newRig(t, config(t))
		l := link("wlan0", wifiAddress)
		c.change(&l)
		r.step(engine.LinkChanged{Link: l})
		if got := len(r.requests) > 0; got != c.usable {
			t.Errorf("%s: usable %v", name, got)
		}
	}
	cfg := config(t)
	cfg.Uplinks = nil
	r := newRig(t, cfg)
	r.up("eth7", wifiAddress)
	if len(r.requests) != 1 {
		t.Error("without a list of uplinks every interface is one")
	}
}

// S bit on request: two uplinks at a time, the preferred one sends. A home
// agent that does not know simultaneous bindings says so with code 1.
//
//rfc:5944#3.6.1.2
func TestSimultaneous(t *testing.T) {
	for _, code := range []mip4.Code{mip4.CodeAccepted, mip4.CodeAcceptedNoSimultaneous} {
		cfg := config(t)
		cfg.Simultaneous = 2
		r := newRig(t, cfg)
		r.other = func(r *rig, s engine.Send) []engine.Packet {
			a := answer{lifetime: -1}
			if r.last().request.Flags.Has(mip4.FlagS) {
				a.code = code
			}
			return []engine.Packet{r.reply(s, a)}
		}
		r.up("wlan0", wifiAddress)
		r.run(time.Second)
		r.up("lte0", lteAddress)
		if !r.last().request.Flags.Has(mip4.FlagS) {
			t.Error("the second request has no S bit")
		}
		r.run(5 * time.Second)
		want := "wlan0 ipip both, lte0 ipip receive"
		if code != 0 {
			want = "wlan0 ipip both"
		}
		if got := r.tunnels(); got != want {
			t.Errorf("code %d: %s, want %s", code, got, want)
		}
	}
}

// After a restart the tunnel goes on, and is registered again as soon as its
// link is heard of.
func TestRestartKeepsTheTunnel(t *testing.T) {
	r := registered(t)
	r.run(100 * time.Second)
	until := r.entry().Tunnels[0].Until
	r.boot(config(t))
	var entries []forward.Entry
	for e := range r.node.Entries() {
		entries = append(entries, e)
	}
	if len(entries) != 1 || len(entries[0].Tunnels) != 1 || entries[0].Tunnels[0].Until.Sub(until).Abs() > time.Second {
		t.Fatalf("entries %+v", entries)
	}
	r.up("lte0", lteAddress) // another link is heard of first
	r.up("wlan0", wifiAddress)
	r.run(3 * time.Second)
	if r.tunnels() != "wlan0 ipip both" {
		t.Errorf("tunnels %s", r.tunnels())
	}
	// What was stored is clamped to the granted lifetime.
	r.boot(config(t))
	r.now.Wall = r.now.Wall.Add(-24 * time.Hour)
	r.boot(config(t))
	for e := range r.node.Entries() {
		if left := e.Tunnels[0].Until.Sub(r.now.Mono); e.Tunnels[0].Until.IsZero() || left > 600*time.Second {
			t.Errorf("a clock that went back made the lifetime %v", left)
		}
	}
	r.now.Wall = r.now.Wall.Add(48 * time.Hour)
	r.boot(config(t))
	for e := range r.node.Entries() {
		if len(e.Tunnels) != 0 {
			t.Error("a registration outlived its lifetime over the restart")
		}
	}
}

// Records that cannot be understood are refused and change nothing.
func TestBadRecords(t *testing.T) {
	for _, rec := range []engine.Record{
		{Key: []byte("mn/other"), Value: []byte("{}")},
		{Key: []byte("binding/x"), Value: []byte("{}")},
		{Key: []byte("mn/clock/198.51.100.1"), Value: []byte("{")},
		{Key: []byte("mn/clock/198.51.100.1"), Value: []byte(`{"version":9}`)},
		{Key: []byte("mn/clock/nonsense"), Value: []byte(`{"version":1}`)},
		{Key: []byte("mn/home"), Value: []byte(`{"version":1,"home_address":"224.0.0.1"}`)},
		{Key: []byte("mn/link/x"), Value: []byte(`{"version":1}`)},
	} {
		r := newRig(t, config(t))
		if err := r.node.Restore(r.now, rec); err == nil {
			t.Errorf("%s %s was taken", rec.Key, rec.Value)
		}
	}
}

// Any sequence of events leaves the node with a deadline in the future (the
// rig checks it), bounded state, and in the end registered.
func TestStorm(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		cfg := config(t)
		cfg.HomeNetwork, cfg.Uplinks = homeNetwork, nil
		cfg.Lifetime = 30 * time.Second
		r := newRig(t, cfg)
		var highest uint64
		r.other = func(r *rig, s engine.Send) []engine.Packet {
			q := r.last().request
			a := answer{lifetime: -1}
			switch {
			case q.Identification <= highest:
				a.code, a.high = 133, assoc.Timestamp(r.now.Wall)>>32
			case rng.IntN(10) == 0:
				a.code = mip4.Code(rng.IntN(256))
			}
			highest = max(highest, q.Identification)
			if rng.IntN(4) == 0 {
				return nil
			}
			p := r.reply(s, a)
			if rng.IntN(10) == 0 {
				return []engine.Packet{p, p}
			}
			return []engine.Packet{p}
		}
		for range 300 {
			name := fmt.Sprintf("eth%d", rng.IntN(3))
			switch rng.IntN(8) {
			case 0, 1:
				r.up(name, netip.AddrFrom4([4]byte{192, 0, byte(rng.IntN(3)), byte(1 + rng.IntN(5))}))
			case 2:
				r.lose(name)
			case 3:
				r.step(engine.LinkChanged{Link: engine.Link{Name: name, Gone: true}})
			case 4:
				r.up(name, netip.AddrFrom4([4]byte{10, 10, 0, byte(70 + rng.IntN(5))})) // home
			case 5:
				r.step(engine.Command{Ticket: 1, Value: []any{mn.Reregister{}, mn.Deregister{}, mn.ListRegistrations{}, mn.ListUplinks{}}[rng.IntN(4)]})
			case 6:
				r.step(engine.Plane{Event: forward.Unreachable{Key: r.node.Key(), Peer: homeAgent}})
			case 7:
				r.now.Wall = r.now.Wall.Add(time.Duration(rng.IntN(200)-100) * time.Minute)
			}
			r.run(time.Duration(rng.IntN(3000)) * time.Millisecond)
			if n := len(r.entry().Tunnels); n > 12 {
				t.Fatalf("seed %d: %d tunnels", seed, n)
			}
		}
		r.other = granting(-1)
		for i := range 3 {
			r.lose(fmt.Sprintf("eth%d", i))
		}
		r.step(engine.Command{Ticket: 1, Value: mn.Reregister{}})
		r.run(time.Minute)
		r.up("eth1", wifiAddress)
		r.run(2 * time.Minute)
		s := r.status()
		if s.State != "registered" || s.CareOfAddress != wifiAddress {
			t.Errorf("seed %d: in the end %s with %v", seed, s.State, s.CareOfAddress)
		}
		if n := len(s.Registered); n != 1 {
			t.Errorf("seed %d: %d registrations are kept", seed, n)
		}
	}
}

// Two acceptances in the wrong order: the later request is what the home
// agent has.
func TestOldAcceptanceIsHistory(t *testing.T) {
	r := newRig(t, config(t))
	r.up("lte0", lteAddress)
	first := r.last().Send
	r.run(500 * time.Millisecond)
	r.up("wlan0", wifiAddress)
	second := r.last().Send
	if second.Link != "wlan0" {
		t.Fatal("no request over the better uplink")
	}
	r.step(r.reply(second, answer{lifetime: -1}))
	r.step(r.reply(first, answer{lifetime: -1}))
	if r.count(note.Registered) != 1 || r.status().Link != "wlan0" || r.tunnels() != "wlan0 ipip both" {
		t.Errorf("%s, %s", r.status().Link, r.tunnels())
	}
}

// The links of a node that starts are heard of one by one: the less preferred
// uplink waits for the preferred one's answer, and nothing flaps.
func TestStartWithSeveralUplinks(t *testing.T) {
	for name, c := range map[string]struct {
		order    []string
		fate     string // of wlan0's requests
		links    string // that requests went over in the first 3 seconds
		settled  string
		accepted int
	}{
		"preferred first":             {[]string{"wlan0", "lte0"}, "", "wlan0", "wlan0", 1},
		"preferred last":              {[]string{"lte0", "wlan0"}, "", "lte0 wlan0", "wlan0", 2},
		"preferred first and silent":  {[]string{"wlan0", "lte0"}, "silent", "wlan0 wlan0 lte0", "lte0", 1},
		"preferred first and refused": {[]string{"wlan0", "lte0"}, "refused", "wlan0 lte0", "lte0", 1},
	} {
		r := newRig(t, config(t))
		var highest uint64
		r.other = func(r *rig, s engine.Send) []engine.Packet {
			q := r.last().request
			switch {
			case q.Identification <= highest:
				return []engine.Packet{r.reply(s, answer{code: 133, high: assoc.Timestamp(r.now.Wall) >> 32})}
			case s.Link == "wlan0" && c.fate == "silent":
				return nil
			case s.Link == "wlan0" && c.fate == "refused":
				return []engine.Packet{r.reply(s, answer{code: 130})}
			}
			highest = q.Identification
			return []engine.Packet{r.reply(s, answer{lifetime: -1})}
		}
		for _, link := range c.order {
			r.up(link, map[string]netip.Addr{"wlan0": wifiAddress, "lte0": lteAddress}[link])
			r.run(3 * time.Millisecond)
		}
		r.run(2 * time.Second)
		var links []string
		for _, s := range r.requests {
			links = append(links, s.Link)
		}
		if got := strings.Join(links, " "); got != c.links {
			t.Errorf("%s: requests over %s, want %s", name, got, c.links)
		}
		if s := r.status(); s.State != "registered" || s.Link != c.settled || r.count(note.Registered) != c.accepted {
			t.Errorf("%s: %s over %s, accepted %d times", name, s.State, s.Link, r.count(note.Registered))
		}
	}
}

// A node that starts is told of its links one by one, in no order of
// preference: it registers once, over the one that it prefers.
func TestANodeThatStartsWithTwoUplinksRegistersOnce(t *testing.T) {
	r := newRig(t, config(t))
	r.other = granting(-1)
	r.step(engine.LinkChanged{Link: link("lte0", lteAddress), More: true})
	if n := len(r.requests); n != 0 {
		t.Fatalf("%d requests before the other link is known", n)
	}
	r.step(engine.LinkChanged{Link: link("wlan0", wifiAddress)})
	r.run(10 * time.Second)
	if n := len(r.requests); n != 1 || r.last().Link != "wlan0" {
		t.Errorf("%d requests, the last over %s", n, r.last().Link)
	}
}

// A driver that promises another link and tells of none delays the choice, and
// does not prevent it.
func TestALinkThatIsAnnouncedAndNeverToldOfDelaysTheChoice(t *testing.T) {
	r := newRig(t, config(t))
	r.step(engine.LinkChanged{Link: link("lte0", lteAddress), More: true})
	r.run(time.Second)
	if n := len(r.requests); n != 1 {
		t.Errorf("%d requests", n)
	}
}
