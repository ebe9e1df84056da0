package scene

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"careof/internal/lab/check"
	"careof/internal/lab/topology"
	"careof/internal/lab/world"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// A Drive is an hour of a van on the road: two modems whose networks have the
// same private addresses, Wi-Fi where the van is parked, two hosts on its own
// network, and whatever a road, networks, machines and strangers do to them.
type Drive struct {
	Seed uint64
	Long time.Duration // 0 means an hour
	Keep bool          // keep the text of the trace

	topology *topology.Topology
	swarm    *Swarm // its strangers
	streams  []*simStream
	captured [][]byte // the latest requests on Wi-Fi
	stall    time.Duration
	calms    int
	told     map[string]int // how often each thing happened
}

// A Driven is what became of a drive.
type Driven struct {
	Moves, Octets int
	Retransmitted int
	// Stall is the longest time for which a stream had octets to carry and
	// carried none, whatever the reason: there are long tunnels.
	Stall  time.Duration
	Calms  int // how often all was well again, and had to be
	Events map[string]int
}

// carried by a stream in each direction: so much every so often.
const (
	drivePace  = time.Second
	driveChunk = 900
)

// roads lists the segments of the van's uplinks.
var roads = []struct{ iface, segment, router string }{{wlan, access1, "hotspot"}, {wwan, access2, gate}, {"wwan1", "access3", "mast"}}

// Run drives. Nothing may be lost: every octet of every stream arrives, none
// is reset, all invariants hold, and whenever the road is good for a while,
// everything that was written has arrived.
func (d *Drive) Run(shards int) (*Sim, Driven, error) {
	if d.Long == 0 {
		d.Long = time.Hour
	}
	t, err := topology.Load("van")
	if err != nil {
		return nil, Driven{}, err
	}
	d.topology, d.told = t, make(map[string]int)
	d.swarm = &Swarm{Seed: d.Seed, Topology: t, agentAddress: agentAddress.Addr(), mobiles: []string{mobile}}
	sim, err := Simulate(t, Options{Seed: d.Seed, Shards: shards, Keep: d.Keep, PlaneInside: d.Seed%2 == 0})
	if err != nil {
		return nil, Driven{}, err
	}
	s := &Scene{Name: fmt.Sprintf("drive %d", d.Seed), Play: func(Lab) { d.play(sim) }}
	if err = Perform(s, sim); err == nil {
		err = sim.Finish()
	}
	out := Driven{Stall: d.stall, Calms: d.calms, Events: d.told, Moves: sim.Replies(agent, accepted)}
	for _, s := range d.streams {
		out.Octets += int(s.Progress())
		for _, c := range []*world.Connection{s.near, s.far} {
			if c != nil {
				out.Retransmitted += c.Retransmitted
			}
		}
	}
	return sim, out, err
}

func (d *Drive) play(sim *Sim) {
	luck := rand.New(rand.NewPCG(d.Seed, 0x44524956))
	sim.segment(access1).Tap(d.keep)
	sim.Plug(mobile, wwan, access2)
	registered(sim, 15*time.Second)
	sim.Plug(mobile, "wwan1", "access3")
	// Each host has a stream for the whole of the way, and so has the router.
	total := uint64(d.Long / drivePace * driveChunk)
	for _, name := range []string{"laptop", "tablet", mobile} {
		d.streams = append(d.streams, sim.stream(name, peer, world.Traffic{Total: total, Chunk: driveChunk, Every: drivePace}))
	}
	d.watch(sim)
	happen := d.road(sim, luck)
	for end := sim.Now() + d.Long; sim.Now() < end; {
		for range 12 + luck.IntN(16) {
			h := pick(luck, happen...)
			d.told[h.name]++
			h.do()
			sim.Wait(time.Duration(500+luck.IntN(12_000)) * time.Millisecond)
		}
		d.calm(sim)
	}
	sim.Until("every stream has arrived whole, or is broken", 2*time.Minute, func() bool { return d.all((*simStream).Done) || d.broken() != "" })
	if b := d.broken(); b != "" {
		sim.Fatalf("a stream is dead: %s", b)
	}
	if err := check.Converged(sim.World, sim.node(mobile), sim.daemon(agent), sim.node(peer)); err != nil {
		sim.Fatalf("%v", err)
	}
}

// A happening is what a road has in store. Each comes to its end by itself.
type happening struct {
	name string
	do   func()
}

// road lists what may happen.
func (d *Drive) road(sim *Sim, luck *rand.Rand) []happening {
	until := func(least, most time.Duration, end func()) {
		sim.World.After(least+time.Duration(luck.Int64N(int64(most-least))), end)
	}
	modem := func() int { return 1 + luck.IntN(2) }
	shaped := func(name string, change func(g *topology.Segment)) {
		g := sim.segment(name)
		good := g.Properties
		sim.Shape(name, change)
		until(5*time.Second, 30*time.Second, func() {
			down := g.Down
			g.Properties = good
			g.Down = down
		})
	}
	park := func() { sim.Plug(mobile, wlan, access1) }
	drop := func(i int) func() {
		return func() {
			r := roads[i]
			sim.Unplug(mobile, r.iface)
			until(time.Second, 20*time.Second, func() { sim.Plug(mobile, r.iface, r.segment) })
		}
	}
	hole := func(which ...int) func() {
		return func() {
			for _, i := range which {
				sim.BlackHole(roads[i].segment, true)
			}
			until(time.Second, 25*time.Second, func() {
				for _, i := range which {
					sim.BlackHole(roads[i].segment, false)
				}
			})
		}
	}
	restart := func(name string) func() {
		return func() {
			sim.Kill(name)
			until(100*time.Millisecond, 5*time.Second, func() { sim.Start(name) })
		}
	}
	return []happening{
		{"the van parks at Wi-Fi", park},
		{"it parks again", park},
		{"it leaves, and the Wi-Fi says so", func() { sim.Unplug(mobile, wlan) }},
		{"it leaves, and the Wi-Fi fades", func() {
			sim.BlackHole(access1, true)
			until(time.Second, 6*time.Second, func() {
				sim.BlackHole(access1, false)
				sim.Unplug(mobile, wlan)
			})
		}},
		{"the first modem is lost", drop(1)},
		{"the second modem is lost", drop(2)},
		{"the first modem's cell is silent", hole(1)},
		{"the second modem's cell is silent", hole(2)},
		{"a tunnel", hole(1, 2)},
		{"all is silent", hole(0, 1, 2)},
		{"a modem's link flaps", func() {
			i := sim.iface(mobile, roads[modem()].iface)
			for flap := range 1 + luck.IntN(6) {
				up := flap%2 == 1
				sim.World.After(time.Duration(flap*(1+luck.IntN(300)))*time.Millisecond, func() { i.Carrier(up) })
			}
			sim.World.After(3*time.Second, func() { i.Carrier(true) })
		}},
		{"a cell loses packets", func() {
			shaped(roads[modem()].segment, func(g *topology.Segment) {
				g.Loss, g.Jitter.Duration, g.Duplicate = luck.Float64()*0.3, time.Duration(luck.IntN(20))*time.Millisecond, luck.Float64()*0.1
			})
		}},
		{"a cell is slow", func() {
			shaped(roads[modem()].segment, func(g *topology.Segment) { g.Delay.Duration = time.Duration(luck.IntN(400)) * time.Millisecond })
		}},
		{"a translator forgets", func() { sim.Rebind(roads[modem()].router) }},
		{"packets pass in one direction only", func() {
			g, inwards := sim.segment(roads[luck.IntN(3)].segment), luck.IntN(2) == 0
			g.Partition(func(_, to *world.Interface) bool {
				return (to.Name == wlan || to.Name == wwan || to.Name == "wwan1") == inwards
			})
			until(2*time.Second, 20*time.Second, func() { g.Partition(nil) })
		}},
		{"the home agent is killed", restart(agent)},
		{"the router's daemon is killed", restart(mobile)},
		{"the home agent's disk is full", func() {
			sim.Break(agent, world.Faults{DiskFull: 0.3, SlowDisk: 0.3})
			until(time.Second, 10*time.Second, func() { sim.Break(agent, world.Faults{}) })
		}},
		{"the router's clock jumps", func() { sim.SetClock(mobile, pick(luck, 0, 5*time.Second, time.Hour, -time.Hour)) }},
		{"requests are replayed", func() { d.swarm.replay(sim, luck, d.captured) }},
		{"replies are forged", func() { d.swarm.forge(sim, luck, d.captured) }},
		{"strangers send tunnel packets", func() {
			from := sim.Intruder("site")
			for _, inner := range []string{"10.10.0.5", "10.20.7.10"} {
				list := strangeTunnels(sim, from, netip.AddrPortFrom(agentAddress.Addr(), encap.Port), netip.MustParseAddr(inner), sim.address(peer))
				sim.Inject("site", pick(luck, list...))
			}
		}},
	}
}

// keep remembers the latest requests.
func (d *Drive) keep(_ time.Time, frame []byte) {
	const ip, udp, payload = 14, 34, 42
	if len(frame) <= payload || binary.BigEndian.Uint16(frame[12:]) != 0x0800 || frame[ip] != 0x45 || frame[ip+9] != 17 ||
		binary.BigEndian.Uint16(frame[udp+2:]) != 434 || frame[payload] != byte(mip4.TypeRegistrationRequest) {
		return
	}
	d.captured = append(d.captured, frame[ip:])
	if len(d.captured) > 20 {
		d.captured = d.captured[1:]
	}
}

// watch notes the longest stall of a stream that has something to carry.
func (d *Drive) watch(sim *Sim) {
	const every = 100 * time.Millisecond
	since, at := make([]time.Duration, len(d.streams)), make([]uint64, len(d.streams))
	var look func()
	look = func() {
		for i, s := range d.streams {
			behind := s.near.Acknowledged < s.near.Sent || s.far != nil && s.far.Acknowledged < s.far.Sent
			if p := s.Progress(); !behind || p != at[i] {
				since[i], at[i] = sim.Now(), p
			}
			d.stall = max(d.stall, sim.Now()-since[i])
		}
		sim.World.After(every, look)
	}
	look()
}

// calm lets the road become good. Then everybody who has written something must
// be rid of it soon: one that hangs is not excused by later good luck.
func (d *Drive) calm(sim *Sim) {
	sim.Wait(32 * time.Second) // until everything that happens has come to its end
	for _, r := range roads[1:] {
		if sim.iface(mobile, r.iface).Segment() == nil {
			sim.Plug(mobile, r.iface, r.segment)
		}
	}
	written := make([][2]uint64, len(d.streams))
	for i, s := range d.streams {
		written[i] = [2]uint64{s.near.Sent, s.near.Sent}
		if s.far != nil {
			written[i][1] = s.far.Sent
		}
	}
	sim.Until("what was written has arrived, on a good road", 30*time.Second, func() bool {
		for i, s := range d.streams {
			if s.far == nil || s.near.Acknowledged < written[i][0] || s.far.Acknowledged < written[i][1] {
				return d.broken() != ""
			}
		}
		return true
	})
	if b := d.broken(); b != "" {
		sim.Fatalf("a stream is dead: %s", b)
	}
	d.calms++
}

func (d *Drive) all(is func(*simStream) bool) bool {
	for _, s := range d.streams {
		if !is(s) {
			return false
		}
	}
	return true
}

func (d *Drive) broken() string {
	for _, s := range d.streams {
		if b := s.Broken(); b != "" {
			return b
		}
	}
	return ""
}
