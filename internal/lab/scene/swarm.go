package scene

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/lab/check"
	"careof/internal/lab/topology"
	"careof/internal/lab/world"
	"careof/internal/proto/mip4/mn"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// A Swarm is a random story: a random network, random nodes, and for a minute
// everything that can go wrong. Then all faults end, and after a maximal
// lifetime everything must stand as it should.
type Swarm struct {
	Seed     uint64
	Topology *topology.Topology
	Tune     func(*Tuning)

	agentAddress netip.Addr
	mobiles      []string
	seeking      map[string]bool // it must discover its home agent
	nonce        bool            // somebody uses nonces
	lifetime     time.Duration
	chaos        time.Duration
	planeInside  bool
	corrupt      bool // a segment flips bits
}

// swarmKey is everybody's key: whose it is does not matter here.
const swarmKey = `"hex:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"`

// NewSwarm makes the story of a seed.
func NewSwarm(seed uint64) (*Swarm, error) {
	luck := rand.New(rand.NewPCG(seed, 0x5741524d))
	s := &Swarm{Seed: seed, chaos: 45 * time.Second, seeking: make(map[string]bool)}
	name := "default"
	if luck.IntN(3) == 0 {
		name = "home-link"
	}
	t, err := topology.Load(name)
	if err != nil {
		return nil, err
	}
	s.Topology = t
	s.lifetime = time.Duration(8+luck.IntN(40)) * time.Second
	s.planeInside = luck.IntN(3) == 0
	s.configure(luck, name == "home-link")
	for i := range t.Segments {
		s.shape(luck, &t.Segments[i])
	}
	if err := t.Check(); err != nil {
		return nil, err
	}
	bindings := 1 + luck.IntN(3)
	simultaneous := luck.IntN(4) == 0
	s.Tune = func(t *Tuning) {
		if t.Home != nil {
			t.Home.SimultaneousBindings = bindings
		}
		if t.Mobile != nil && simultaneous {
			t.Mobile.Simultaneous = 2
		}
	}
	return s, nil
}

func pick[T any](luck *rand.Rand, from ...T) T { return from[luck.IntN(len(from))] }

// configure writes the daemons' configurations.
func (s *Swarm) configure(luck *rand.Rand, homeLink bool) {
	t := s.Topology
	agentAddress, interfaces := "198.51.100.1", "[]"
	if homeLink {
		agentAddress, interfaces = "10.10.0.1", `["eth0"]`
	}
	s.agentAddress = netip.MustParseAddr(agentAddress)
	var home strings.Builder
	fmt.Fprintf(&home, `version = 1
state-directory = "state"
[home-agent]
address = %q
interfaces = %s
max-lifetime = "%ds"
nat-traversal = %q
keepalive = "%ds"
[[home-agent.network]]
prefix = "10.10.0.0/24"
pool = ["10.10.0.100-10.10.0.120"]
`, agentAddress, interfaces, int(s.lifetime/time.Second), pick(luck, "auto", "auto", "force"), 10+luck.IntN(20))
	// Some are mobile routers, of which the other choices know nothing.
	routers := rand.New(rand.NewPCG(s.Seed, 0x6e656d6f))
	template := *t.Node(mobile)
	at := 0
	for i := range t.Nodes {
		if t.Nodes[i].Name == mobile {
			at = i
		}
	}
	t.Nodes = append(t.Nodes[:at], t.Nodes[at+1:]...)
	for i := range 1 + luck.IntN(3) {
		n := template
		n.Name = fmt.Sprintf("mn%d", i+1)
		s.mobiles = append(s.mobiles, n.Name)
		identity, known := fmt.Sprintf("home-address = \"10.10.0.%d\"\n", 11+i), true
		if known = luck.IntN(4) > 0; !known {
			identity = fmt.Sprintf("nai = \"van%d@fleet.example\"\n", i+1)
		}
		replay := "timestamp"
		if luck.IntN(4) == 0 {
			replay = "nonce"
			s.nonce = true
		}
		security := fmt.Sprintf("spi = %d\nkey = %s\nalgorithm = %q\nreplay = %q\n", 256+i, swarmKey, pick(luck, "hmac-sha256", "hmac-sha1", "hmac-md5", "keyed-md5"), replay)
		fmt.Fprintf(&home, "[[home-agent.mobile-node]]\n%s%s", identity, security)
		key, network, granted := router(routers, i)
		home.WriteString(granted)
		where := fmt.Sprintf("home-agent = %q\n", pick(luck, agentAddress, agentAddress, HostName(agent)))
		if homeLink || luck.IntN(4) == 0 {
			where += "home-network = \"10.10.0.0/24\"\n"
			if known && !homeLink && luck.IntN(2) == 0 {
				where = "home-network = \"10.10.0.0/24\"\n"
				s.seeking[n.Name] = true
			}
		}
		n.Config = fmt.Sprintf(`version = 1
state-directory = "state"
[mobile-node]
%s%s%snat-traversal = %q
encapsulation = %q
lifetime = "%ds"
[[mobile-node.uplink]]
interface = "wlan0"
priority = 100
[[mobile-node.uplink]]
interface = "wwan0"
priority = 50
`, identity, where, security, pick(luck, "auto", "auto", "force"), pick(luck, "auto", "auto", "ipip", "gre", "minimal"), 8+luck.IntN(60))
		n.Config = strings.Replace(n.Config, "[mobile-node]\n", "[mobile-node]\n"+key, 1) + network
		t.Nodes = append(t.Nodes, n)
	}
	t.Node(agent).Config = home.String()
}

// router makes the i-th node a mobile router, or does not: of one network or two,
// and perhaps of one that it may not bring.
func router(luck *rand.Rand, i int) (key, network, granted string) {
	if luck.IntN(2) == 0 {
		return "", "", ""
	}
	own := fmt.Sprintf("10.20.%d.0/24", i)
	granted = fmt.Sprintf("prefixes = [%q]\n", own)
	brings := []string{own}
	switch luck.IntN(4) {
	case 0:
		brings = append(brings, fmt.Sprintf("10.99.%d.0/24", i))
	case 1:
		granted = ""
	case 2:
		key = "mobile-networks = \"implicit\"\n"
	}
	for at, p := range brings {
		network += fmt.Sprintf("[[mobile-node.mobile-network]]\ninterface = \"lan%d\"\nprefix = %q\n", at, p)
	}
	return key, network, granted
}

// shape gives a segment random faults. The links of the servers are good.
func (s *Swarm) shape(luck *rand.Rand, g *topology.Segment) {
	switch g.Name {
	case "site", "edge", "home":
		return
	}
	if luck.IntN(3) > 0 {
		g.Jitter.Duration = time.Duration(luck.IntN(10)) * time.Millisecond
	}
	if luck.IntN(2) == 0 {
		g.Loss = luck.Float64() * 0.3
	}
	if luck.IntN(3) == 0 {
		g.Duplicate = luck.Float64() * 0.2
	}
	if luck.IntN(3) == 0 && !s.corrupt {
		// On one segment only: two flipped bits can cancel out in a checksum.
		g.Corrupt = luck.Float64() * 0.05
		s.corrupt = true
	}
	if luck.IntN(4) == 0 {
		g.MTU = 1000 + luck.IntN(500)
	}
}

// Run plays the story. What the machines did must have held all invariants; it
// returns the laboratory, for comparisons, also with an error.
func (s *Swarm) Run(shards int, keep bool) (*Sim, error) {
	sim, err := Simulate(s.Topology, Options{Seed: s.Seed, Shards: shards, Keep: keep, Tune: s.Tune, PlaneInside: s.planeInside})
	if err != nil {
		return nil, err
	}
	scene := &Scene{Name: fmt.Sprintf("swarm %d", s.Seed), Play: func(Lab) { s.play(sim) }}
	if err := Perform(scene, sim); err != nil {
		return sim, err
	}
	return sim, sim.Finish()
}

// play is the story itself. Its luck is its own, so that it does not depend on
// what the laboratory draws.
func (s *Swarm) play(sim *Sim) {
	luck := rand.New(rand.NewPCG(s.Seed, 0x504c4159))
	places := []string{access1, access2, access1, access2, ""}
	if s.Topology.Segment("home") != nil {
		places = append(places, "home", "home")
	}
	plug := func() {
		name, iface, where := pick(luck, s.mobiles...), pick(luck, wlan, wlan, wwan), pick(luck, places...)
		if where == "" {
			sim.Unplug(name, iface)
			return
		}
		sim.Plug(name, iface, where)
	}
	for _, name := range s.mobiles {
		sim.Plug(name, wlan, pick(luck, access1, access2))
	}
	seen := sim.Record(access1)
	streams := s.traffic(sim)

	steps := []func(){
		plug, plug, plug, plug, plug,
		func() { sim.BlackHole(pick(luck, access1, access2), luck.IntN(2) == 0) },
		func() { sim.Rebind(gate) },
		func() {
			sim.Kill(agent)
			sim.World.After(time.Duration(luck.IntN(4000))*time.Millisecond, func() { sim.Start(agent) })
		},
		func() {
			name := pick(luck, s.mobiles...)
			sim.Kill(name)
			sim.World.After(time.Duration(luck.IntN(4000))*time.Millisecond, func() { sim.Start(name) })
		},
		func() {
			if sim.daemon(agent).Running() {
				sim.Reboot(agent)
			}
		},
		func() {
			sim.SetClock(pick(luck, s.mobiles...), pick(luck, 0, time.Hour, -time.Hour, 5*time.Second, -56*365*24*time.Hour))
		},
		func() {
			// Only forward: see the scene clock-jumps.
			sim.node(agent).Clock().Jump(pick(luck, time.Second, 10*time.Second, time.Hour))
		},
		func() {
			sim.Break(agent, world.Faults{DiskFull: pick(luck, 0, 0.2), Refused: pick(luck, 0, 0.2), SlowDisk: pick(luck, 0, 0.3)})
		},
		func() {
			sim.Break(pick(luck, s.mobiles...), world.Faults{Refused: pick(luck, 0, 0.3), SlowDisk: pick(luck, 0, 0.3)})
		},
		func() {
			// Nobody resolves names for a while.
			sim.World.Name(HostName(agent))
			sim.World.After(time.Duration(luck.IntN(8000))*time.Millisecond, func() { sim.World.Name(HostName(agent), s.agentAddress) })
		},
		func() { s.order(sim, pick(luck, s.mobiles...), mn.Reregister{}) },
		func() { s.order(sim, pick(luck, s.mobiles...), mn.Deregister{}) },
		func() {
			// The link goes and comes back, its address stays.
			i := sim.iface(pick(luck, s.mobiles...), wlan)
			for flap := range 1 + luck.IntN(6) {
				up := flap%2 == 1
				sim.World.After(time.Duration(flap*(1+luck.IntN(200)))*time.Millisecond, func() { i.Carrier(up) })
			}
			sim.World.After(2*time.Second, func() { i.Carrier(true) })
		},
		func() {
			// Packets pass in one direction only.
			g, inwards := sim.segment(pick(luck, access1, access2)), luck.IntN(2) == 0
			g.Partition(func(from, to *world.Interface) bool { return (to.Name == wlan || to.Name == wwan) == inwards })
		},
		func() { s.replay(sim, luck, seen()) },
		func() { s.replay(sim, luck, seen()) },
		func() { s.strange(sim, luck) },
		func() { s.forge(sim, luck, seen()) },
	}
	for end := sim.Now() + s.chaos; sim.Now() < end; {
		pick(luck, steps...)()
		sim.Wait(time.Duration(luck.IntN(2500)) * time.Millisecond)
	}
	s.heal(sim, luck)
	sim.Wait(s.lifetime + 90*time.Second)
	for _, name := range s.mobiles {
		if err := check.Converged(sim.World, sim.node(name), sim.daemon(agent), sim.node(peer)); err != nil {
			sim.Fatalf("%v", err)
		}
	}
	for i, stream := range streams {
		if stream == nil {
			continue
		}
		if connected := sim.Binding(s.mobiles[i]); !connected.CareOf.IsValid() && !connected.AtHome {
			continue
		}
		well(sim, stream, 3*time.Minute)
	}
}

// traffic starts a stream of every mobile node that knows its home address;
// the others have nil.
func (s *Swarm) traffic(sim *Sim) []Stream {
	var streams []Stream
	for _, name := range s.mobiles {
		known := func() bool { return sim.Binding(name).HomeAddress.IsValid() }
		sim.World.RunUntil(10*time.Second, known)
		if !known() {
			// Without an address there is nothing that could survive yet.
			streams = append(streams, nil)
			continue
		}
		streams = append(streams, sim.Stream(name, peer, 30_000))
		sim.Flow(peer, name, 200*time.Millisecond)
		sim.Flow(name, peer, 200*time.Millisecond)
	}
	return streams
}

// order gives a mobile node an order, when its daemon runs.
func (s *Swarm) order(sim *Sim, name string, value any) {
	if d := sim.daemon(name); d.Running() {
		_ = d.Command(value, func(engine.Result) {})
	}
}

// replay sends a captured request again: from elsewhere, from where it came,
// or with a bit flipped.
func (s *Swarm) replay(sim *Sim, luck *rand.Rand, packets [][]byte) {
	captured := requests(packets)
	if len(captured) == 0 {
		return
	}
	r := captured[luck.IntN(len(captured))]
	data, from := append([]byte(nil), r.data...), r.from
	switch luck.IntN(3) {
	case 0:
		from = netip.AddrPortFrom(sim.Intruder("site"), 434)
	case 1:
		bit := luck.IntN(8 * len(data))
		data[bit/8] ^= 1 << (bit % 8)
	}
	sim.Inject("site", datagram(sim, from, r.to, data))
}

// forge answers a captured request without knowing the key.
func (s *Swarm) forge(sim *Sim, luck *rand.Rand, packets [][]byte) {
	captured := requests(packets)
	if len(captured) == 0 {
		return
	}
	r := captured[luck.IntN(len(captured))]
	m, err := mip4.Parse(r.data)
	if err != nil {
		return
	}
	q, err := m.Request()
	if err != nil {
		return
	}
	reply := mip4.RegistrationReply{
		Code: pick(luck, mip4.CodeIdentificationMismatch, mip4.CodeAccepted, mip4.CodeHAProhibited, mip4.CodeUnknownHomeAgent), Lifetime: uint16(luck.IntN(65536)),
		HomeAddress: q.HomeAddress, HomeAgent: q.HomeAgent, Identification: luck.Uint64()<<32 | q.Identification&0xffffffff,
	}
	guess, err := assoc.New(256, assoc.HMACSHA256, assoc.NewKey([]byte("a guess")), assoc.Timestamps)
	if err != nil {
		sim.Fatalf("%v", err)
	}
	data, err := mip4.NewReply(reply).Authenticate(mip4.ExtMobileHome, guess).Seal()
	if err != nil {
		sim.Fatalf("%v", err)
	}
	sim.Inject(access1, datagram(sim, r.to, r.from, data))
}

// strange sends tunnel packets of a stranger.
func (s *Swarm) strange(sim *Sim, luck *rand.Rand) {
	from := sim.Intruder("site")
	home := netip.MustParseAddr("10.10.0.11")
	list := strangeTunnels(sim, from, netip.AddrPortFrom(s.agentAddress, encap.Port), home, sim.address(peer))
	for range 8 {
		sim.Inject("site", pick(luck, list...))
	}
}

// heal ends all faults. Everybody is plugged in, or stays out.
func (s *Swarm) heal(sim *Sim, luck *rand.Rand) {
	sim.Wait(5 * time.Second) // until who was killed runs again
	for i := range s.Topology.Segments {
		g := &s.Topology.Segments[i]
		sim.BlackHole(g.Name, false)
		sim.segment(g.Name).Partition(nil)
		sim.Shape(g.Name, func(g *topology.Segment) { g.Loss, g.Duplicate, g.Corrupt, g.Jitter.Duration = 0, 0, 0, 0 })
	}
	for _, d := range sim.World.Daemons() {
		d.Faults = world.Faults{}
	}
	for _, name := range s.mobiles {
		s.order(sim, name, mn.Reregister{}) // who was deregistered, comes back
		choice := luck.IntN(4)
		if s.seeking[name] {
			// The answer to a directed broadcast comes from the home agent's own
			// address, which the translator does not let in.
			sim.Unplug(name, wwan)
			sim.Plug(name, wlan, access1)
			continue
		}
		switch choice {
		case 0:
			sim.Unplug(name, wlan)
			sim.Unplug(name, wwan)
		case 1:
			// As it is.
		default:
			sim.Plug(name, wlan, pick(luck, access1, access2))
		}
	}
}
