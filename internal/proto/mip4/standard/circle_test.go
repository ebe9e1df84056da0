package standard_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/engine/enginetest"
	"careof/internal/core/forward"
	"careof/internal/proto/mip4/feature/assignment"
	"careof/internal/proto/mip4/feature/liveness"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/internal/proto/mip4/standard"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// A circle is a pool of home agents and one mobile node with an address of its
// own, all real machines, 10 ms apart, in virtual time.
type circle struct {
	t testing.TB
	timeline[delivery]
	agents []*post
	node   *post
	dead   map[*post]bool
	sent   []mip4.RegistrationRequest // by the node
	to     []netip.Addr               // where
	raw    [][]byte
	claims []*post // who has sent gratuitous ARP
	tap    func(from, to *post, data []byte) []byte
	store  map[*post]enginetest.Store
	config []func() engine.Machine

	bootNode func()

	watch  liveness.Config // of the node, from its next start on
	mute   map[*post]bool  // hosts that answer no echo
	hole   bool            // nothing gets through to or from the node
	behind time.Duration   // what the first home agent sends the node, or its host, takes longer
	used   time.Time       // when the node last received a packet of a program
	echoes int             // that the node has sent
	asks   int             // how many questions beside the registrations
}

var nobody = netip.IPv4Unspecified()

func agentAt(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)}) }

// poolKey is what two home agents of the circle share.
func poolKey(t testing.TB) []*assoc.Association {
	k, err := assoc.New(400, assoc.HMACSHA256, assoc.NewKey([]byte("the key of the pool")), assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	return []*assoc.Association{k}
}

func newCircle(t testing.TB, n int, change func(i int, c *ha.Config, f *assignment.Config), atNode func(c *mn.Config, f *assignment.Config)) *circle {
	t.Helper()
	c := &circle{t: t, dead: map[*post]bool{}, mute: map[*post]bool{}, store: map[*post]enginetest.Store{},
		timeline: newTimeline[delivery]()}
	for i := range n {
		cfg, f := agentConfig(t), assignment.Config{Serve: true}
		cfg.Addresses = []netip.Addr{agentAt(i)}
		for j := range n {
			if j != i {
				f.Pool = append(f.Pool, assignment.Member{Address: agentAt(j), Keys: poolKey(t)})
			}
		}
		if change != nil {
			change(i, &cfg, &f)
		}
		h := &post{name: fmt.Sprintf("ha%d", i+1), address: agentAt(i), entries: enginetest.Plane{}}
		c.agents = append(c.agents, h)
		c.store[h] = enginetest.Store{}
		c.config = append(c.config, func() engine.Machine {
			m, err := standard.HomeAgent(cfg, standard.Features(standard.Config{Assignment: f}), rand.New(rand.NewPCG(1, uint64(i))))
			if err != nil {
				t.Fatal(err)
			}
			return m
		})
	}
	cfg, f := nodeConfig(t), assignment.Config{Ask: nobody}
	cfg.HomeAgents, cfg.Assigned = []mn.HomeAgent{{Address: agentAt(0)}}, true
	if atNode != nil {
		atNode(&cfg, &f)
	}
	c.node = &post{name: "mn", address: wifi, entries: enginetest.Plane{}}
	c.store[c.node] = enginetest.Store{}
	c.bootNode = func() {
		m, err := standard.MobileNode(cfg, standard.Features(standard.Config{Assignment: f, Liveness: c.watch}), rand.New(rand.NewPCG(3, uint64(c.seq))))
		if err != nil {
			t.Fatal(err)
		}
		c.node.machine = m
		c.restore(c.node)
	}
	c.bootNode()
	for i := range n {
		c.boot(i)
	}
	return c
}

// boot starts a home agent, with what it has stored.
func (c *circle) boot(i int) {
	h := c.agents[i]
	h.machine = c.config[i]()
	c.dead[h] = false
	clear(h.entries)
	c.restore(h)
	for e := range h.machine.(engine.Persistent).Entries() {
		h.entries[e.Key] = e
	}
	c.step(h, engine.LinkChanged{Link: engine.Link{Name: "eth0", Up: true, MTU: 1500, Addresses: []netip.Prefix{netip.PrefixFrom(h.address, 24)}}})
}

// restore gives a machine what it has stored.
func (c *circle) restore(h *post) {
	c.store[h].Restore(c.t, h.machine.(engine.Persistent), c.now)
}

func (c *circle) kill(i int) { c.dead[c.agents[i]] = true }

// attach gives the node its network.
func (c *circle) attach() {
	c.step(c.node, engine.LinkChanged{Link: engine.Link{Name: "wlan0", Up: true, MTU: 1500, Attachment: 1,
		Addresses: []netip.Prefix{netip.PrefixFrom(wifi, 24)}, Gateways: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}})
}

func (c *circle) step(h *post, ev engine.Event) {
	if c.dead[h] {
		return
	}
	c.execute(h, h.machine.Step(c.now, ev))
	if at := h.machine.Deadline(); !at.IsZero() && !at.After(c.now.Mono) {
		c.t.Fatalf("%s: after %T the deadline is not in the future", h.name, ev)
	}
}

func (c *circle) later(d time.Duration, to *post, ev engine.Event) {
	c.after(d, delivery{to, nil, ev})
}

func (c *circle) execute(h *post, actions []engine.Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case engine.Send:
			c.send(h, a)
		case engine.Commit:
			c.store[h].Keep(a.Records)
			for _, ch := range a.Changes {
				h.entries.Apply(c.t, ch)
			}
			c.execute(h, a.Then)
			if a.Ticket != 0 {
				c.later(0, h, engine.Answer{Ticket: a.Ticket})
			}
		case engine.Ask:
			ans := engine.Answer{Ticket: a.Ticket, Err: fmt.Errorf("nobody knows")}
			if _, ok := a.Question.(engine.LastUse); ok {
				ans.Value, ans.Err = forward.Use{Sent: c.used, Received: c.used}, nil
			}
			c.later(0, h, ans)
		case engine.Originate:
			c.originate(h, a.Packet)
		case engine.Announce:
			c.claims = append(c.claims, h)
		case engine.Tell:
			h.notes = append(h.notes, a.Note)
		case engine.Result:
			h.results = append(h.results, a)
		}
	}
}

// originate is an echo request that goes through the node's tunnel: the home
// agent's kernel answers, as long as its host and the path live.
func (c *circle) originate(from *post, packet []byte) {
	c.echoes++
	e, err := encap.ParseEcho(packet)
	if err != nil || e.Src != homeAddress {
		c.t.Fatalf("%x: %+v %v", packet, e, err)
	}
	key := from.machine.(*mn.Node).Key()
	for _, h := range c.agents {
		for _, t := range from.entries[key].Tunnels {
			if t.Mode != forward.Receive && t.Peer.Addr() == h.address && e.Dst == h.address && !c.dead[h] && !c.mute[h] && !c.hole {
				took := 20*time.Millisecond + c.lag(h, from)
				c.later(took, from, engine.Plane{Event: forward.EchoReply{
					Key: key, From: t.Peer, ID: e.ID, Seq: e.Seq, Received: c.now.Mono.Add(took),
				}})
			}
		}
	}
}

func (c *circle) send(from *post, s engine.Send) {
	var to *post
	for _, h := range append([]*post{c.node}, c.agents...) {
		if h.address == s.Dst.Addr() {
			to = h
		}
	}
	data := slices.Clone(s.Data)
	if m, err := mip4.Parse(data); err == nil && from == c.node && m.Type == mip4.TypeRegistrationRequest {
		r, _ := m.Request()
		if r.CareOfAddress != wifi {
			c.asks++
		}
		c.sent, c.to, c.raw = append(c.sent, r), append(c.to, s.Dst.Addr()), append(c.raw, slices.Clone(data))
	}
	if c.tap != nil {
		data = c.tap(from, to, data)
	}
	if to == nil || data == nil || c.hole && (from == c.node || to == c.node) {
		return
	}
	src := s.Src
	if from == c.node {
		src = netip.AddrPortFrom(src.Addr(), 40434)
	}
	link := "eth0"
	if to == c.node {
		link = "wlan0"
	}
	c.later(10*time.Millisecond+c.lag(from, to), to, engine.Packet{Link: link, Src: src, Dst: s.Dst, TTL: 64, Data: data})
}

// lag is how much longer than others what one host sends another takes.
func (c *circle) lag(from, to *post) time.Duration {
	if from == c.agents[0] && to == c.node {
		return c.behind
	}
	return 0
}

func (c *circle) run(d time.Duration) {
	c.t.Helper()
	c.pass(c.t, d, func(d delivery) { c.step(d.to, d.ev) }, func() (at time.Time, wake func()) {
		for _, h := range append([]*post{c.node}, c.agents...) {
			if !c.dead[h] {
				at, wake = sooner(at, wake, h.machine.Deadline(), func() { c.step(h, engine.Wake{}) })
			}
		}
		return at, wake
	})
}

func (c *circle) status() mn.Status {
	c.step(c.node, engine.Command{Ticket: 1, Value: mn.ShowStatus{}})
	return c.node.results[len(c.node.results)-1].Value.(mn.Status)
}

func (c *circle) order(i int, v any) engine.Result {
	c.step(c.agents[i], engine.Command{Ticket: 7, Value: v})
	c.run(10 * time.Millisecond)
	return c.agents[i].results[len(c.agents[i].results)-1]
}

func (c *circle) trace() string {
	var b strings.Builder
	for _, h := range append([]*post{c.node}, c.agents...) {
		for _, n := range h.notes {
			fmt.Fprintln(&b, h.name, n)
		}
	}
	return b.String()
}

// serves checks that the node is with one home agent and no other forwards for it.
func (c *circle) serves(i int) {
	c.t.Helper()
	if s := c.status(); s.State != "registered" || s.HomeAgent != agentAt(i) {
		c.t.Fatalf("the node is %s with %v, want ha%d\n%s", s.State, s.HomeAgent, i+1, c.trace())
	}
	for j, h := range c.agents {
		if want := i == j; !c.dead[h] && len(h.entries) > 0 != want {
			c.t.Fatalf("ha%d forwards for %d nodes\n%s", j+1, len(h.entries), c.trace())
		}
	}
}

func requestedIn(t testing.TB, data []byte) netip.Addr {
	t.Helper()
	m, err := mip4.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	d, n, err := mip4.Get[mip4.DynamicHA](m)
	if err != nil || n > 1 || n == 1 && d.Kind != mip4.RequestedHA {
		t.Fatalf("%d, %v, %v", n, d, err)
	}
	return d.Address
}

// fill registers another node with a home agent.
func (c *circle) fill(i int) {
	d := mip4.NewRequest(mip4.RegistrationRequest{
		Flags: mip4.FlagD, Lifetime: 600, HomeAddress: netip.MustParseAddr("10.10.0.6"), HomeAgent: agentAt(i), CareOfAddress: lte,
		Identification: assoc.Timestamp(c.now.Wall),
	})
	d.Authenticate(mip4.ExtMobileHome, association(c.t, assoc.Timestamps))
	data, err := d.Seal()
	if err != nil {
		c.t.Fatal(err)
	}
	c.step(c.agents[i], engine.Packet{Link: "eth0", Src: netip.AddrPortFrom(lte, 40434), Dst: netip.AddrPortFrom(agentAt(i), 434), TTL: 64, Data: data})
}
