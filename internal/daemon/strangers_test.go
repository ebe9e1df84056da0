package daemon

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"careof/internal/config"
	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	host "careof/internal/host/aaa"
	"careof/internal/host/drive"
	"careof/wire/mip4"
)

const strangersText = `version = 1
state-directory = "/nowhere"
[aaa]
nas-identifier = "ha"
questions = 50
[[aaa.server]]
address = "192.0.2.9"
secret = "a-long-secret-for-agents"
[home-agent]
address = "198.51.100.1"
shards = 2
[[home-agent.network]]
prefix = "10.10.0.0/22"
pool = "10.10.1.0-10.10.2.255"
`

// noPlane holds how many entries there are, and nothing in a kernel.
type noPlane struct {
	forward.Plane
	mu      sync.Mutex
	entries map[forward.Key]bool
}

func (p *noPlane) Apply(_ context.Context, changes []forward.Change) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range changes {
		if c.Op == forward.Delete {
			delete(p.entries, c.Entry.Key)
		} else {
			p.entries[c.Entry.Key] = true
		}
	}
	return nil
}
func (p *noPlane) List(context.Context) iter.Seq[forward.Entry] {
	return func(func(forward.Entry) bool) {}
}

type noStore struct{}

func (noStore) Apply(string, []engine.Record) error          { return nil }
func (noStore) Load(string, func(engine.Record) error) error { return nil }

// A subscribedNode renews by itself.
type subscribedNode struct {
	nai     string
	from    netip.AddrPort
	home    netip.Addr // that it was given
	asked   uint64     // Identification of its last request
	waiting bool
	renewed int
}

// The word on strangers: a million requests under ever other names, ten
// thousand a second, reach the AAA server no faster than the cap; each registered
// node renews meanwhile with its first request, and the server is asked in good
// time whether they may. Nothing of the strangers stays.
//
// The home agent is the whole one of a configuration: its machines, their driver,
// and the desk, in virtual time.
func TestAMillionStrangersReachTheServerNoFasterThanTheCap(t *testing.T) {
	perMillisecond := 10
	if testing.Short() {
		perMillisecond = 1
	}
	synctest.Test(t, func(t *testing.T) { flooded(t, perMillisecond*100_000, perMillisecond) })
}

func flooded(t *testing.T, strangers, perMillisecond int) {
	const nodes, lifetime, word = 200, 20 * time.Second, 30 * time.Second
	cfg, err := config.Parse("ha.toml", strangersText)
	if err != nil {
		t.Fatal(err)
	}
	key, err := assoc.ParseKey("00112233445566778899aabbccddeeff")
	if err != nil {
		t.Fatal(err)
	}
	shared, err := assoc.New(256, assoc.HMACSHA256, key, assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	known := make(map[ident.NAI]*subscribedNode)
	var list []*subscribedNode
	for i := range nodes {
		n := &subscribedNode{nai: fmt.Sprintf("van%d@fleet.example", i), from: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 434)}
		known[ident.NAI(n.nai)], list = n, append(list, n)
	}

	// The server, 20 ms away: what it was asked about strangers, and when.
	var about []time.Time
	asked := 0 // about registered nodes
	desk := host.New(answering(func(_ context.Context, q any) (aaa.Grant, error) {
		time.Sleep(20 * time.Millisecond) // virtual
		a, ok := q.(aaa.Authorise)
		if !ok {
			t.Errorf("asked %T", q)
		}
		mu.Lock()
		defer mu.Unlock()
		if known[a.NAI] == nil {
			about = append(about, time.Now())
			return aaa.Grant{}, aaa.ErrRejected
		}
		if a.Registered {
			asked++
		}
		return aaa.Grant{Associations: []*assoc.Association{shared}, Lifetime: word}, nil
	}), host.Limits{Questions: cfg.AAA.Questions, PerSource: cfg.AAA.PerSource})

	made, err := agents(cfg, forward.PublicKey{})
	if err != nil {
		t.Fatal(err)
	}
	plane := &noPlane{entries: make(map[forward.Key]bool)}
	byAddress := make(map[netip.AddrPort]*subscribedNode)
	for _, n := range list {
		byAddress[n.from] = n
	}
	d := drive.New(roleHomeAgent, drive.World{
		Store: noStore{}, Plane: plane, AAA: desk.Ask,
		Note: func(note.Note) {}, Announce: func(engine.Announce) error { return nil },
		Now: func() engine.Now { return engine.Now{Mono: time.Now(), Wall: time.Now()} },
		Send: func(s engine.Send) error {
			m, err := mip4.Parse(s.Data)
			if err != nil {
				return err
			}
			r, err := m.Reply()
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			n := byAddress[s.Dst]
			switch {
			case n == nil:
				t.Errorf("a stranger at %v was answered with code %d", s.Dst, r.Code)
			case r.Code != 0:
				t.Errorf("%s was answered with code %d", n.nai, r.Code)
			case r.Identification == n.asked && n.waiting:
				n.waiting, n.home = false, r.HomeAddress
				n.renewed++
			}
			return nil
		},
	}, made.machines, made.route)
	d.Limit(drive.Limits{PerSource: cfg.HomeAgent.RequestsPerSource})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); d.Run(ctx) }()

	to := netip.AddrPortFrom(cfg.HomeAgent.Addresses[0], 434)
	send := func(from netip.AddrPort, nai string, home netip.Addr, sa *assoc.Association) uint64 {
		q := mip4.RegistrationRequest{
			Flags: mip4.FlagD, Lifetime: uint16(lifetime / time.Second), HomeAddress: home, HomeAgent: to.Addr(),
			CareOfAddress: from.Addr(), Identification: assoc.Timestamp(time.Now()),
		}
		data, err := mip4.NewRequest(q).Add(mip4.ZoneHome, &mip4.NAI{Value: nai}).Authenticate(mip4.ExtMobileHome, sa).Seal()
		if err != nil {
			t.Fatal(err)
		}
		d.Packet(engine.Packet{Link: "eth0", TTL: 64, Src: from, Dst: to, Data: data})
		return q.Identification
	}
	renew := func(n *subscribedNode) {
		mu.Lock()
		if n.waiting {
			t.Errorf("%s was not answered for %v", n.nai, lifetime/2)
		}
		n.waiting, n.asked = true, assoc.Timestamp(time.Now())
		home := n.home
		mu.Unlock()
		if !home.IsValid() {
			home = netip.IPv4Unspecified()
		}
		send(n.from, n.nai, home, shared)
	}
	for _, n := range list { // as fast as the cap lets them in
		renew(n)
		time.Sleep(time.Second / 40)
	}
	synctest.Wait()
	if got := len(plane.entries); got != nodes {
		t.Fatalf("%d of %d nodes are bound before the flood", got, nodes)
	}
	before := desk.Counters()

	// Each node renews at half of its lifetime. What AAA has said of it ends
	// during the flood, unless it is asked again.
	luck := rand.New(rand.NewPCG(1, 2))
	guess, err := assoc.New(256, assoc.HMACSHA256, assoc.NewKey([]byte("what a stranger makes up")), assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	const every = int(lifetime / 2 / time.Millisecond)
	for ms := 0; ms*perMillisecond < strangers; ms++ {
		for range perMillisecond {
			from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 200 + byte(luck.UintN(50)), byte(luck.UintN(256)), byte(luck.UintN(256))}), uint16(1024+luck.UintN(60000)))
			send(from, fmt.Sprintf("%016x@fleet.example", luck.Uint64()), netip.IPv4Unspecified(), guess)
		}
		for i, n := range list {
			if ms%every == i*every/nodes {
				renew(n)
			}
		}
		time.Sleep(time.Millisecond)
	}
	took := time.Since(began)
	time.Sleep(time.Second)
	synctest.Wait()
	cancel()
	<-ended

	// A bucket of the cap's size is never overdrawn, at no moment.
	level, last := 0.0, began
	for _, at := range about {
		level = max(0, level-at.Sub(last).Seconds()*float64(cfg.AAA.Questions)) + 1
		last = at
		if level > float64(2*cfg.AAA.Questions)+1 {
			t.Fatalf("%v into the flood the server is asked faster than %d a second", at.Sub(began), cfg.AAA.Questions)
		}
	}
	if least := int(took.Seconds()) * cfg.AAA.Questions / 2; len(about) < least {
		t.Errorf("the server was asked about %d strangers in %v: the flood did not arrive", len(about), took)
	}
	after := desk.Counters()
	if shed := d.Dropped() + d.Admission().Shed + d.Admission().Limited; after.Limited-before.Limited+uint64(len(about))+shed < uint64(strangers) {
		t.Errorf("of %d strangers' requests %d were put off, %d asked and %d shed", strangers, after.Limited-before.Limited, len(about), shed)
	}
	least := strangers / perMillisecond / every
	for _, n := range list {
		if n.waiting || n.renewed < least {
			t.Errorf("%s has renewed %d times, at least %d were due; one waits: %v", n.nai, n.renewed, least, n.waiting)
		}
	}
	if len(plane.entries) != nodes {
		t.Errorf("%d entries, %d nodes", len(plane.entries), nodes)
	}
	if asked == 0 {
		t.Error("the server was never asked whether a node may go on")
	}
	t.Logf("%d strangers in %v of virtual time: %d questions about them, %d about nodes that are registered; each of %d nodes has renewed at least %d times",
		strangers, took.Round(time.Second), len(about), asked, nodes, least)
}

type answering func(context.Context, any) (aaa.Grant, error)

func (f answering) Answer(ctx context.Context, q any) (aaa.Grant, error) { return f(ctx, q) }
