package check_test

import (
	"bytes"
	"iter"
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/lab/check"
	"careof/internal/lab/scene"
	"careof/internal/lab/topology"
	"careof/internal/lab/world"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// A mutant is a machine that does something wrong on purpose.
type mutant struct {
	engine.Persistent
	step     func(m *mutant, now engine.Now, ev engine.Event) []engine.Action
	deadline func(m *mutant) time.Time
	entries  func(m *mutant) iter.Seq[forward.Entry]
	seen     [][]byte // replies that it has sent
	woken    engine.Now
}

func (m *mutant) Step(now engine.Now, ev engine.Event) []engine.Action {
	if _, ok := ev.(engine.Wake); ok {
		m.woken = now
	}
	if m.step == nil {
		return m.Persistent.Step(now, ev)
	}
	return m.step(m, now, ev)
}

func (m *mutant) Deadline() time.Time {
	if m.deadline == nil {
		return m.Persistent.Deadline()
	}
	return m.deadline(m)
}

func (m *mutant) Entries() iter.Seq[forward.Entry] {
	if m.entries == nil {
		return m.Persistent.Entries()
	}
	return m.entries(m)
}

// commits changes every commit of a home agent.
func commits(change func(*engine.Commit) []engine.Action) func(*mutant, engine.Now, engine.Event) []engine.Action {
	return func(m *mutant, now engine.Now, ev engine.Event) []engine.Action {
		var out []engine.Action
		for _, a := range m.Persistent.Step(now, ev) {
			if c, ok := a.(engine.Commit); ok {
				out = append(out, change(&c)...)
				continue
			}
			out = append(out, a)
		}
		return out
	}
}

// accepting tells whether a commit sends a success reply.
func accepting(c *engine.Commit) bool {
	return slices.ContainsFunc(c.Then, func(a engine.Action) bool {
		s, ok := a.(engine.Send)
		if !ok {
			return false
		}
		m, err := mip4.Parse(s.Data)
		if err != nil {
			return false
		}
		r, err := m.Reply()
		return err == nil && r.Code.Accepted()
	})
}

// story is the story that every mutant lives through: registration, traffic, a
// move, a refresh, a replay, a restart, strangers.
func story(t *testing.T, wrap func(*mutant), play func(*scene.Sim)) *scene.Sim {
	t.Helper()
	top := topology.Default()
	n := top.Node("ha")
	n.Config = string(bytes.Replace([]byte(n.Config), []byte("interfaces = []"), []byte("interfaces = []\nmax-lifetime = \"6s\""), 1))
	if err := top.Check(); err != nil {
		t.Fatal(err)
	}
	sim, err := scene.Simulate(top, scene.Options{Seed: 1, Wrap: func(node string, m engine.Machine) engine.Machine {
		p, ok := m.(engine.Persistent)
		if node != "ha" || !ok || wrap == nil {
			return m
		}
		x := &mutant{Persistent: p}
		wrap(x)
		return x
	}})
	if err != nil {
		t.Fatal(err)
	}
	s := &scene.Scene{Name: "mutant", Play: func(l scene.Lab) {
		seen := l.Record("access1")
		l.Plug("mn", "wlan0", "access1")
		l.Wait(500 * time.Millisecond)
		var captured []byte
		for _, p := range seen() {
			if _, d, err := encap.ParseUDP(p); err == nil && len(d.Payload) > 0 && d.Payload[0] == 1 {
				captured = d.Payload
			}
		}
		l.Wait(7 * time.Second)
		l.Plug("mn", "wlan0", "access2")
		l.Wait(time.Second)
		if captured != nil {
			p, err := encap.AppendUDP(nil, encap.IPv4{}, netip.AddrPortFrom(l.Intruder("site"), 434), netip.MustParseAddrPort("198.51.100.1:434"), captured)
			if err != nil {
				t.Fatal(err)
			}
			l.Inject("site", p)
		}
		l.Wait(time.Second)
		if play != nil {
			play(sim)
		}
		l.Wait(10 * time.Second)
	}}
	if err := scene.Perform(s, sim); err != nil {
		t.Fatal(err)
	}
	sim.Check.Judge()
	return sim
}

// strange sends a stranger's tunnel packet to an address.
func strange(sim *scene.Sim, to string) {
	from := sim.Intruder("site")
	sim.Check.Stranger(from)
	inner, _ := encap.AppendUDP(nil, encap.IPv4{}, netip.MustParseAddrPort("10.10.0.5:9"), netip.MustParseAddrPort("192.0.2.10:9"), []byte(check.Marker))
	p, _ := encap.Append(nil, &encap.Header{Kind: encap.IPIP, Src: from, Dst: netip.MustParseAddr(to)}, inner)
	sim.Inject("site", p)
	sim.Wait(100 * time.Millisecond)
}

// The story without any mutant holds, and puts every invariant to the test.
func TestTheStoryItselfIsSound(t *testing.T) {
	sim := story(t, nil, func(sim *scene.Sim) {
		stream := sim.Stream("mn", "cn", 20_000)
		sim.Wait(12 * time.Second)
		if !stream.Done() {
			t.Error("the stream does not get through")
		}
		strange(sim, "198.51.100.1")
	})
	for _, v := range sim.Check.Violations() {
		t.Error(v)
	}
	for _, i := range check.All() {
		// Streams, restarts and leaks are judged when they fail. Questions are rare.
		if i != check.Stream && i != check.Restored && i != check.Parked && i != check.Closed && sim.Check.Judged(i) == 0 {
			t.Errorf("never judged: %v", i)
		}
	}
}

// Each invariant is broken on purpose, and the checker finds it.
func TestMutants(t *testing.T) {
	elsewhere := netip.MustParseAddrPort("192.0.2.77:0")
	for _, c := range []struct {
		name   string
		broken check.Invariant
		wrap   func(*mutant)
		play   func(*scene.Sim)
	}{
		{"installs a tunnel to somebody nobody asked for", check.Authentic, func(m *mutant) {
			m.step = commits(func(c *engine.Commit) []engine.Action {
				for i := range c.Changes {
					for j := range c.Changes[i].Entry.Tunnels {
						c.Changes[i].Entry.Tunnels[j].Peer = elsewhere
					}
				}
				return []engine.Action{*c}
			})
		}, nil},
		{"lets a tunnel live longer than was granted", check.Authentic, func(m *mutant) {
			m.step = commits(func(c *engine.Commit) []engine.Action {
				for i := range c.Changes {
					for j := range c.Changes[i].Entry.Tunnels {
						if t := &c.Changes[i].Entry.Tunnels[j]; t.Mode != forward.Receive {
							t.Until = t.Until.Add(time.Hour)
						}
					}
				}
				return []engine.Action{*c}
			})
		}, nil},
		{"accepts whatever comes, authentic or not", check.Authentic, func(m *mutant) {
			m.step = func(m *mutant, now engine.Now, ev engine.Event) []engine.Action {
				p, ok := ev.(engine.Packet)
				if !ok {
					return m.Persistent.Step(now, ev)
				}
				q, err := mip4.Parse(p.Data)
				if err != nil {
					return nil
				}
				r, err := q.Request()
				if err != nil {
					return nil
				}
				reply, err := mip4.NewReply(mip4.RegistrationReply{Lifetime: 6, HomeAddress: r.HomeAddress, HomeAgent: r.HomeAgent, Identification: r.Identification + 1}).Seal()
				if err != nil {
					return nil
				}
				return []engine.Action{engine.Commit{Records: []engine.Record{{Key: []byte("x"), Value: []byte("y")}}, Then: []engine.Action{engine.Send{Src: p.Dst, Dst: p.Src, Data: reply}}}}
			}
		}, nil},
		{"accepts a replay", check.Once, func(m *mutant) {
			m.step = func(m *mutant, now engine.Now, ev engine.Event) []engine.Action {
				out := m.Persistent.Step(now, ev)
				if p, ok := ev.(engine.Packet); ok && len(m.seen) > 0 && p.Src.Addr() == netip.MustParseAddr("192.0.2.66") {
					out = []engine.Action{engine.Commit{Records: []engine.Record{{Key: []byte("x"), Value: []byte("y")}}, Then: []engine.Action{engine.Send{Src: p.Dst, Dst: p.Src, Data: m.seen[0]}}}}
				}
				for _, a := range out {
					if c, ok := a.(engine.Commit); ok && accepting(&c) {
						m.seen = append(m.seen, c.Then[0].(engine.Send).Data)
					}
				}
				return out
			}
		}, nil},
		{"answers before its commit", check.Durable, func(m *mutant) {
			m.step = commits(func(c *engine.Commit) []engine.Action {
				if !accepting(c) {
					return []engine.Action{*c}
				}
				first := c.Then[0]
				c.Then = c.Then[1:]
				return []engine.Action{first, *c}
			})
		}, nil},
		{"makes nothing durable", check.Durable, func(m *mutant) {
			m.step = commits(func(c *engine.Commit) []engine.Action {
				c.Records = nil
				return []engine.Action{*c}
			})
		}, nil},
		{"answers without forwarding", check.Durable, func(m *mutant) {
			m.step = commits(func(c *engine.Commit) []engine.Action {
				c.Changes = nil
				return []engine.Action{*c}
			})
		}, nil},
		{"never takes a binding out of the plane", check.Mirrored, func(m *mutant) {
			m.step = commits(func(c *engine.Commit) []engine.Action {
				c.Changes = slices.DeleteFunc(c.Changes, func(c forward.Change) bool { return c.Op == forward.Delete })
				for i := range c.Changes {
					for j := range c.Changes[i].Entry.Tunnels {
						c.Changes[i].Entry.Tunnels[j].Until = time.Time{}
					}
				}
				return []engine.Action{*c}
			})
		}, func(sim *scene.Sim) { sim.Unplug("mn", "wlan0") }},
		{"forgets what it has installed", check.Mirrored, func(m *mutant) {
			m.entries = func(*mutant) iter.Seq[forward.Entry] { return func(func(forward.Entry) bool) {} }
		}, nil},
		{"gives a home address two owners", check.OneOwner, func(m *mutant) {
			m.entries = func(m *mutant) iter.Seq[forward.Entry] {
				return func(yield func(forward.Entry) bool) {
					for e := range m.Persistent.Entries() {
						other := e
						other.Key += "/again"
						if !yield(e) || !yield(other) {
							return
						}
					}
				}
			}
		}, nil},
		{"wants to be woken in the past", check.Deadline, func(m *mutant) {
			m.deadline = func(m *mutant) time.Time {
				if m.woken.Mono.IsZero() {
					return m.Persistent.Deadline()
				}
				return m.woken.Mono.Add(-time.Second)
			}
		}, func(sim *scene.Sim) { sim.Unplug("mn", "wlan0") }}, // the binding's expiry wakes it
		{"waits for an answer without a deadline", check.Parked, func(m *mutant) {
			m.deadline = func(*mutant) time.Time { return time.Time{} }
			m.step = func(m *mutant, now engine.Now, ev engine.Event) []engine.Action {
				out := m.Persistent.Step(now, ev)
				if _, ok := ev.(engine.Packet); ok {
					out = append(out, engine.Ask{Ticket: 1 << 40, Question: engine.Resolve{Name: "nowhere"}})
				}
				return out
			}
		}, nil},
		{"answers a stranger", check.Silence, func(m *mutant) {
			m.step = func(m *mutant, now engine.Now, ev engine.Event) []engine.Action {
				out := m.Persistent.Step(now, ev)
				if p, ok := ev.(engine.Packet); ok {
					out = append(out, engine.Send{Src: p.Dst, Dst: p.Src, Data: []byte("hello")})
				}
				return out
			}
		}, func(sim *scene.Sim) {
			from := sim.Intruder("site")
			sim.Check.Stranger(from)
			p, _ := encap.AppendUDP(nil, encap.IPv4{}, netip.AddrPortFrom(from, 434), netip.MustParseAddrPort("198.51.100.1:434"), []byte(check.Marker))
			sim.Inject("site", p)
		}},
		{"lets a stranger's packet out of a tunnel", check.Silence, nil, func(sim *scene.Sim) {
			from := sim.Intruder("site")
			sim.World.Node("ha").Plane().Apply(t.Context(), []forward.Change{{Op: forward.Put, Entry: forward.Entry{
				Key: "open", Role: forward.HomeAgent, Inner: netip.MustParsePrefix("10.10.0.5/32"),
				Tunnels: []forward.Tunnel{{Local: netip.MustParseAddrPort("198.51.100.1:0"), Peer: netip.AddrPortFrom(from, 0), Encap: encap.IPIP}},
			}}})
			strange(sim, "198.51.100.1")
		}},
		{"opens a tunnel behind everybody's back", check.Decapsulated, nil, func(sim *scene.Sim) {
			from := sim.Intruder("site")
			sim.World.Node("ha").Plane().Apply(t.Context(), []forward.Change{{Op: forward.Put, Entry: forward.Entry{
				Key: "open", Role: forward.HomeAgent, Inner: netip.MustParsePrefix("10.10.0.5/32"),
				Tunnels: []forward.Tunnel{{Local: netip.MustParseAddrPort("198.51.100.1:0"), Peer: netip.AddrPortFrom(from, 0), Encap: encap.IPIP}},
			}}})
			strange(sim, "198.51.100.1")
		}},
		{"sends in the clear from the home address", check.Closed, nil, func(sim *scene.Sim) {
			n := sim.World.Node("mn")
			p, _ := encap.AppendUDP(nil, encap.IPv4{}, netip.MustParseAddrPort("10.10.0.5:9"), netip.MustParseAddrPort("192.0.2.10:9"), []byte("x"))
			if err := n.Output(p, "wlan0", forward.HardwareAddr{}); err != nil {
				t.Fatal(err)
			}
		}},
		{"has more sending tunnels than bindings are allowed", check.Bounded, func(m *mutant) {
			m.step = commits(func(c *engine.Commit) []engine.Action {
				for i := range c.Changes {
					if e := &c.Changes[i].Entry; len(e.Tunnels) > 0 {
						more := e.Tunnels[0]
						more.Peer = elsewhere
						e.Tunnels = append(e.Tunnels, more)
					}
				}
				return []engine.Action{*c}
			})
		}, nil},
		{"drops the connections of who moves", check.Stream, nil, func(sim *scene.Sim) {
			sim.Stream("mn", "cn", 50_000)
			sim.Wait(time.Second)
			sim.World.Node("cn").Forget()
		}},
		{"cannot start again", check.Restored, func(m *mutant) {
			m.Persistent = forgetful{m.Persistent}
		}, func(sim *scene.Sim) {
			sim.Kill("ha")
			d := sim.World.Node("ha").Daemon()
			if err := d.Start(); err != nil {
				sim.Check.Failed(d, err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			sim := story(t, c.wrap, c.play)
			if !slices.ContainsFunc(sim.Check.Violations(), func(v check.Violation) bool { return v.Invariant == c.broken }) {
				t.Errorf("not found: %v\nfound: %v", c.broken, sim.Check.Violations())
			}
		})
	}
}

// forgetful cannot read what it has stored.
type forgetful struct{ engine.Persistent }

func (forgetful) Restore(engine.Now, engine.Record) error { return errForgotten }

var errForgotten = &forgotten{}

type forgotten struct{}

func (*forgotten) Error() string { return "forgotten" }

// A plane that takes packets without a live tunnel is found.
func TestOpenDecapsulatorIsFound(t *testing.T) {
	sim := story(t, nil, func(sim *scene.Sim) {
		inner, _ := encap.AppendUDP(nil, encap.IPv4{}, netip.MustParseAddrPort("10.10.0.5:9"), netip.MustParseAddrPort("192.0.2.10:9"), []byte("x"))
		sim.Check.Observe(world.Decapsulated{
			Node:  sim.World.Node("ha"),
			Outer: encap.Header{Kind: encap.IPIP, Src: elsewhereAddr, Dst: netip.MustParseAddr("198.51.100.1")},
			Inner: inner,
		})
	})
	if !slices.ContainsFunc(sim.Check.Violations(), func(v check.Violation) bool { return v.Invariant == check.Decapsulated }) {
		t.Errorf("found only %v", sim.Check.Violations())
	}
}

var elsewhereAddr = netip.MustParseAddr("192.0.2.77")
