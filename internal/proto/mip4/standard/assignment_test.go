package standard_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/engine/enginetest"
	"careof/internal/core/forward"
	"careof/internal/core/note"
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
	tap    func(from, to *post, data []byte) []byte
	store  map[*post]map[string][]byte
	config []func() engine.Machine

	bootNode func()

	watch  liveness.Config // of the node, from its next start on
	mute   map[*post]bool  // hosts that answer no echo
	hole   bool            // nothing gets through to or from the node
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
	c := &circle{t: t, dead: map[*post]bool{}, mute: map[*post]bool{}, store: map[*post]map[string][]byte{},
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
		c.store[h] = map[string][]byte{}
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
	c.store[c.node] = map[string][]byte{}
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
	var keys []string
	for k := range c.store[h] {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if err := h.machine.(engine.Persistent).Restore(c.now, engine.Record{Key: []byte(k), Value: c.store[h][k]}); err != nil {
			c.t.Fatal(err)
		}
	}
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
			for _, r := range a.Records {
				if r.Value == nil {
					delete(c.store[h], string(r.Key))
				} else {
					c.store[h][string(r.Key)] = slices.Clone(r.Value)
				}
			}
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
				c.later(20*time.Millisecond, from, engine.Plane{Event: forward.EchoReply{
					Key: key, From: t.Peer, ID: e.ID, Seq: e.Seq, Received: c.now.Mono.Add(20 * time.Millisecond),
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
	c.later(10*time.Millisecond, to, engine.Packet{Link: link, Src: src, Dst: s.Dst, TTL: 64, Data: data})
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

// The first request names nobody, and the extension says to whom it goes; who
// accepts is named in the renewals.
//
//rfc:4433#3.3
//rfc:4433#1-1
//rfc:4433#3.3-1
//rfc:4433#4.1
//rfc:4433#5.1-2
//rfc:4433#5.1-3
//rfc:4433#5.1.2
//rfc:4433#5.1.2-1
//rfc:4433#5.1.2-2
//rfc:4433#5.1.2-3
//rfc:4433#5.1.2-6
//rfc:4433#5.1.2-7
//rfc:4433#5.1.2-8
//rfc:4433#5.3.1
func TestAHomeAgentAssignsItself(t *testing.T) {
	for _, ask := range []netip.Addr{nobody, netip.MustParseAddr("255.255.255.255")} {
		c := newCircle(t, 1, nil, func(_ *mn.Config, f *assignment.Config) { f.Ask = ask })
		c.attach()
		c.run(20 * time.Minute)
		c.serves(0)
		if len(c.sent) < 3 {
			t.Fatalf("%d requests", len(c.sent))
		}
		for i, r := range c.sent {
			want := agentAt(0)
			if i == 0 {
				want = ask
			}
			if r.HomeAgent != want || c.to[i] != agentAt(0) || requestedIn(t, c.raw[i]) != agentAt(0) {
				t.Errorf("request %d names %v and asks %v, at %v", i, r.HomeAgent, requestedIn(t, c.raw[i]), c.to[i])
			}
		}
	}
}

// oneNode gives every home agent room for one node, and knows two.
func oneNode(_ int, cfg *ha.Config, f *assignment.Config) {
	f.Capacity = 1
	n := cfg.Nodes[0]
	n.HomeAddress, n.NAI = netip.MustParseAddr("10.10.0.6"), "other@fleet.example"
	cfg.Nodes = append(cfg.Nodes, n)
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

// Three home agents of which two are full: the node lands on the third, which
// is nobody's but the pool's to know.
//
//rfc:4433#4.2
//rfc:4433#5.3
//rfc:4433#3.4.2
//rfc:4433#3.4.2-1
//rfc:4433#5.1.2-5
func TestANodeIsSentToWhoHasRoom(t *testing.T) {
	c := newCircle(t, 3, oneNode, nil)
	c.fill(0)
	c.fill(1)
	c.run(3 * time.Second)
	began := len(c.sent)
	c.attach()
	c.run(time.Second)
	if s := c.status(); s.State != "registered" || s.HomeAgent != agentAt(2) {
		t.Fatalf("the node is %s with %v\n%s", s.State, s.HomeAgent, c.trace())
	}
	if got := c.to[began:]; !slices.Equal(got, []netip.Addr{agentAt(0), agentAt(2)}) {
		t.Errorf("it asked %v", got)
	}
	if r := c.sent[began+1]; r.HomeAgent != nobody || requestedIn(t, c.raw[began+1]) != agentAt(2) {
		t.Errorf("the redirected request names %v and asks %v", r.HomeAgent, requestedIn(t, c.raw[began+1]))
	}
	// It keeps to it, also when the first of its list has room again.
	c.run(30 * time.Minute)
	if s := c.status(); s.HomeAgent != agentAt(2) {
		t.Errorf("later it is with %v", s.HomeAgent)
	}
}

// Nobody has room: 130, and no redirection. Nor is a home agent drained whose
// nodes nobody could take.
//
//rfc:4433#5.3.1
func TestAFullPoolRefuses(t *testing.T) {
	c := newCircle(t, 2, oneNode, nil)
	c.fill(0)
	c.run(2 * time.Second)
	if r := c.order(1, assignment.Drain{}); r.Err == nil {
		t.Error("drained although nobody takes the nodes")
	}
	c.dead[c.agents[1]] = true
	c.run(5 * time.Second)
	c.attach()
	c.run(time.Second)
	if s := c.status(); s.Problem == nil || s.Problem.Code != uint8(mip4.CodeHAResources) || slices.Contains(c.to, agentAt(1)) {
		t.Errorf("%+v %v\n%s", s.Problem, c.to, c.trace())
	}
}

// A drained home agent: its node registers with another one before it leaves,
// at once, and comes to no harm; the other one's binding is the only one. The
// node stays there when the drained one takes nodes again.
func TestADrainedHomeAgentIsLeft(t *testing.T) {
	c := newCircle(t, 2, nil, nil)
	c.attach()
	c.run(5 * time.Second)
	c.serves(0)
	gap := false
	c.tap = func(from, to *post, data []byte) []byte {
		e, ok := c.node.only()
		gap = gap || !ok || !slices.ContainsFunc(e.Tunnels, func(t forward.Tunnel) bool { return t.Mode != forward.Receive })
		return data
	}
	if r := c.order(0, assignment.Drain{}); r.Err != nil {
		t.Fatal(r.Err)
	}
	c.run(time.Second)
	c.serves(1)
	if gap {
		t.Error("for a while the node had nowhere to send to")
	}
	// A restart does not take the drain back.
	c.kill(0)
	c.run(time.Minute)
	c.boot(0)
	c.run(5 * time.Second)
	if p := c.order(0, assignment.ShowPool{}).Value.(assignment.Pool); !p.Drained || p.Nodes != 0 || len(p.Members) != 1 || !p.Members[0].Alive || p.Members[0].Nodes != 1 {
		t.Errorf("%+v", p)
	}
	if r := c.order(0, assignment.Undrain{}); r.Err != nil || r.Value.(assignment.Pool).Drained {
		t.Errorf("%+v", r)
	}
	c.run(20 * time.Minute)
	c.serves(1)
}

// When all others have died a drained home agent serves: better that than none.
func TestADrainedHomeAgentIsTheLastOne(t *testing.T) {
	c := newCircle(t, 2, nil, nil)
	c.attach()
	c.run(5 * time.Second)
	if r := c.order(0, assignment.Drain{}); r.Err != nil {
		t.Fatal(r.Err)
	}
	c.run(5 * time.Second)
	c.serves(1)
	c.dead[c.agents[1]] = true
	c.run(30 * time.Minute)
	c.serves(0)
}

// The session outlives a restart of the node, also with a home agent that its
// configuration does not have: it is named, and no other one is asked.
//
//rfc:4433#5.1.2-2
//rfc:4433#5.1.2-3
func TestAnAssignmentOutlivesARestart(t *testing.T) {
	c := newCircle(t, 2, nil, nil)
	c.attach()
	c.run(5 * time.Second)
	if r := c.order(0, assignment.Drain{}); r.Err != nil {
		t.Fatal(r.Err)
	}
	c.run(5 * time.Second)
	c.order(0, assignment.Undrain{})
	c.bootNode()
	began := len(c.sent)
	c.attach()
	c.run(20 * time.Minute)
	c.serves(1)
	for i, r := range c.sent[began:] {
		if r.HomeAgent != agentAt(1) || c.to[began+i] != agentAt(1) {
			t.Errorf("request %d names %v, at %v", i, r.HomeAgent, c.to[began+i])
		}
	}
}

// A home agent dies: the node comes back through another one of its list. When
// the dead one rises, with the binding that it had stored, it hears that the
// node has moved on and lets go of it.
func TestAHomeAgentThatRoseLetsGoOfWhoHasMovedOn(t *testing.T) {
	c := newCircle(t, 2, nil, func(cfg *mn.Config, _ *assignment.Config) {
		cfg.HomeAgents = append(cfg.HomeAgents, mn.HomeAgent{Address: agentAt(1)})
		cfg.Lifetime = 5 * time.Minute
	})
	c.attach()
	c.run(5 * time.Second)
	c.serves(0)
	c.kill(0)
	c.run(240 * time.Second) // 75 % of the lifetime, and three requests
	c.serves(1)
	c.boot(0)
	if p := c.order(0, assignment.ShowPool{}).Value.(assignment.Pool); p.Nodes != 1 {
		t.Fatalf("the dead one rises with %d nodes", p.Nodes)
	}
	c.run(3 * time.Second)
	c.serves(1)
	if p := c.order(0, assignment.ShowPool{}).Value.(assignment.Pool); p.Nodes != 0 {
		t.Errorf("ha1 still has %d nodes\n%s", p.Nodes, c.trace())
	}
}

// Two home agents that send the node to each other: it notices, and tries again
// only slowly.
//
//rfc:4433#4.2
func TestHomeAgentsThatBounceANode(t *testing.T) {
	c := newCircle(t, 2, nil, nil)
	c.tap = func(from, to *post, data []byte) []byte {
		if from != c.node || to == nil || to == c.node {
			if to == c.node {
				return nil
			}
			return data
		}
		m, _ := mip4.Parse(data)
		q, err := m.Request()
		if err != nil {
			return data
		}
		other := agentAt(0)
		if to == c.agents[0] {
			other = agentAt(1)
		}
		d := mip4.NewReply(mip4.RegistrationReply{Code: mip4.CodeRedirectHA, HomeAddress: q.HomeAddress, HomeAgent: to.address, Identification: q.Identification})
		d.Add(mip4.ZoneHome, &mip4.DynamicHA{Kind: mip4.RedirectedHA, Address: other})
		d.Authenticate(mip4.ExtMobileHome, association(t, assoc.Timestamps))
		reply, _ := d.Seal()
		c.later(10*time.Millisecond, c.node, engine.Packet{Link: "wlan0", Src: netip.AddrPortFrom(to.address, 434), Dst: netip.AddrPortFrom(wifi, 40434), TTL: 60, Data: reply})
		return nil
	}
	c.attach()
	c.run(10 * time.Minute)
	if n := len(c.sent); n > 60 || n < 4 {
		t.Errorf("%d requests in ten minutes", n)
	}
	if !slices.ContainsFunc(c.node.notes, func(n note.Note) bool { return n.Kind == assignment.Looping }) {
		t.Errorf("nobody is told\n%s", c.trace())
	}
}

// A forged redirection, or one that another home agent has signed, leads
// nowhere.
//
//rfc:4433#5.1.1
//rfc:4433#5.1.1-3
//rfc:4433#5.1.2-4
func TestAForgedRedirectionIsIgnored(t *testing.T) {
	for what, forge := range map[string]func(d *mip4.Draft, r *mip4.RegistrationReply){
		"no authenticator": func(d *mip4.Draft, r *mip4.RegistrationReply) {},
		"another home agent's": func(d *mip4.Draft, r *mip4.RegistrationReply) {
			r.HomeAgent = agentAt(1)
			d.Authenticate(mip4.ExtMobileHome, association(t, assoc.Timestamps))
		},
	} {
		c := newCircle(t, 2, nil, nil)
		c.tap = func(from, to *post, data []byte) []byte {
			if from != c.node || to != c.agents[0] {
				return data
			}
			m, _ := mip4.Parse(data)
			if q, err := m.Request(); err == nil {
				r := mip4.RegistrationReply{Code: mip4.CodeRedirectHA, HomeAddress: q.HomeAddress, HomeAgent: agentAt(0), Identification: q.Identification}
				d := mip4.NewReply(r)
				d.Add(mip4.ZoneHome, &mip4.DynamicHA{Kind: mip4.RedirectedHA, Address: agentAt(1)})
				forge(d, &r)
				if r.HomeAgent != agentAt(0) {
					d = mip4.NewReply(r)
					d.Add(mip4.ZoneHome, &mip4.DynamicHA{Kind: mip4.RedirectedHA, Address: agentAt(1)})
					d.Authenticate(mip4.ExtMobileHome, association(t, assoc.Timestamps))
				}
				reply, _ := d.Seal()
				c.later(5*time.Millisecond, c.node, engine.Packet{Link: "wlan0", Src: netip.AddrPortFrom(agentAt(0), 434), Dst: netip.AddrPortFrom(wifi, 40434), TTL: 60, Data: reply})
			}
			return data
		}
		c.attach()
		c.run(10 * time.Second)
		if slices.Contains(c.to, agentAt(1)) {
			t.Errorf("%s: the node went to %v", what, c.to)
		}
	}
}

// A captured request is good for nobody else of the pool, though the key is: the
// extension names whom it was for.
//
//rfc:4433#5.3
//rfc:4433#5.3-1
//rfc:4433#9
func TestACapturedRequestIsGoodForOneHomeAgent(t *testing.T) {
	c := newCircle(t, 2, nil, nil)
	c.attach()
	c.run(time.Second)
	c.serves(0)
	before := len(c.agents[1].notes)
	c.step(c.agents[1], engine.Packet{Link: "eth0", Src: netip.AddrPortFrom(wifi, 40434), Dst: netip.AddrPortFrom(agentAt(1), 434), TTL: 64, Data: slices.Clone(c.raw[0])})
	c.run(time.Second)
	c.serves(0)
	if n := c.agents[1].notes[before:]; len(n) == 0 || n[0].Code != uint8(mip4.CodeUnknownHomeAgent) {
		t.Errorf("it was not denied with 136: %v", n)
	}
}

// A home agent of before 2006 says 136, or stumbles over the extension and says
// nothing: the node registers as ever.
//
//rfc:4433#10
func TestAnOldHomeAgent(t *testing.T) {
	for what, deaf := range map[string]bool{"denies with 136": false, "drops what it cannot read": true} {
		c := newCircle(t, 1, func(_ int, _ *ha.Config, f *assignment.Config) { f.Serve = false }, nil)
		c.tap = func(from, to *post, data []byte) []byte {
			if m, err := mip4.Parse(data); err == nil && deaf && to == c.agents[0] {
				if _, n := m.Find(mip4.ExtDynamicHA); n > 0 {
					return nil
				}
			}
			return data
		}
		c.attach()
		c.run(15 * time.Second)
		if s := c.status(); s.State != "registered" {
			t.Errorf("%s: the node is %s\n%s", what, s.State, c.trace())
		}
		if n := len(c.sent); n > 3 {
			t.Errorf("%s: %d requests", what, n)
		}
	}
}

// Reports that are not authentic, for another one, or captured a while ago,
// change nothing: neither who lives nor who is bound.
func TestForgedReports(t *testing.T) {
	c := newCircle(t, 2, nil, nil)
	var captured [][]byte
	c.tap = func(from, to *post, data []byte) []byte {
		if data[0] == byte(mip4.TypeExperimentalMessage) && to == c.agents[0] {
			captured = append(captured, slices.Clone(data))
			return nil
		}
		return data
	}
	c.run(2 * time.Second)
	at := func(data []byte) {
		c.step(c.agents[0], engine.Packet{Link: "eth0", Src: netip.AddrPortFrom(agentAt(1), 434), Dst: netip.AddrPortFrom(agentAt(0), 434), TTL: 64, Data: data})
	}
	alive := func() bool {
		return c.order(0, assignment.ShowPool{}).Value.(assignment.Pool).Members[0].Alive
	}
	for i := range captured[0] {
		bad := slices.Clone(captured[0])
		bad[i] ^= 1
		at(bad)
		at(bad[:i])
	}
	c.run(time.Minute)
	at(captured[0])
	if alive() {
		t.Error("a forged or old report counts")
	}
	c.tap = nil
	c.run(2 * time.Second)
	if !alive() {
		t.Error("a true report does not count")
	}
}

// assigned is a plan whose node takes the home agent that it is given.
func assigned(t testing.TB, knows ...netip.Addr) *plan {
	p := newPlan(t)
	p.node.Assigned, p.node.HomeAgents = true, nil
	for _, a := range knows {
		p.node.HomeAgents = append(p.node.HomeAgents, mn.HomeAgent{Address: a})
	}
	p.atNode.Assignment.Ask = nobody
	p.atHome.Assignment.Serve = true
	return p
}

// asks are the requests that the node has sent to foreign agents.
func asks(t testing.TB, sent [][]byte) (list []mip4.RegistrationRequest) {
	t.Helper()
	for _, data := range sent {
		m, err := mip4.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := m.Request(); err == nil {
			list = append(list, r)
		}
	}
	return list
}

// A node that knows no home agent gets the one that the foreign agent knows;
// its first lifetime is short, and the next request names the one that it has
// got.
//
//rfc:4433#5.1.1
//rfc:4433#5.1.1-1
//rfc:4433#5.2
//rfc:4433#6
//rfc:4433#6-1
//rfc:4433#9
func TestAForeignAgentChoosesTheHomeAgent(t *testing.T) {
	p := assigned(t)
	p.atForeign.Assignment.Assign = []netip.Addr{netip.MustParseAddr("198.51.100.99"), agent} // the first one never answers
	j := newJourney(t, p)
	sent, _ := requests(j)
	j.lost = netip.MustParseAddr("198.51.100.99")
	j.attach(j.fa(1), netip.Addr{})
	j.run(time.Minute)
	j.visits(j.fa(1), encap.IPIP)
	list := asks(t, *sent)
	last := list[len(list)-1]
	if list[0].HomeAgent != nobody || list[0].Lifetime != 5 || last.HomeAgent != agent || last.Lifetime != 600 {
		t.Errorf("asked %+v first, %+v last", list[0], last)
	}
	if s := j.status(); s.HomeAgent != agent {
		t.Errorf("the node is with %v", s.HomeAgent)
	}
}

// AAA chooses before the foreign agent does.
//
//rfc:4433#6
func TestAAAChoosesTheHomeAgent(t *testing.T) {
	j := challenged(t, func(p *plan) {
		p.node.Assigned, p.node.HomeAgents = true, nil
		p.atNode.Assignment.Ask = nobody
		p.atHome.Assignment.Serve = true
		p.atForeign.Assignment.Assign = []netip.Addr{netip.MustParseAddr("198.51.100.99")}
	})
	inner := j.aaa
	j.aaa = func(q any) (aaa.Grant, error) {
		g, err := inner(q)
		g.HomeAgent = agent
		return g, err
	}
	j.lost = netip.MustParseAddr("198.51.100.99")
	j.attach(j.fa(1), netip.Addr{})
	j.run(10 * time.Second)
	j.visits(j.fa(1), encap.IPIP)
}

// What the node requests goes before what the foreign agent knows. Nobody to
// send the request to, or nobody that could be, is code 90.
//
//rfc:4433#3.4.1
//rfc:4433#3.4.1-2
//rfc:4433#5.2
//rfc:4433#5.2-1
//rfc:4433#5.2-2
//rfc:4433#5.2-3
//rfc:4433#7
func TestWhereAForeignAgentSendsARequest(t *testing.T) {
	for _, c := range []struct {
		what   string
		field  netip.Addr
		asked  netip.Addr // in the extension; invalid: none
		assign []netip.Addr
		want   mip4.Code // 0: it is relayed to the home agent
	}{
		{"the extension's", nobody, agent, nil, 0},
		{"the extension's, not the field's", netip.MustParseAddr("198.51.100.99"), agent, nil, 0},
		{"the extension's, not the assigned one", nobody, agent, []netip.Addr{netip.MustParseAddr("198.51.100.99")}, 0},
		{"the assigned one", nobody, netip.Addr{}, []netip.Addr{agent}, 0},
		{"nobody", nobody, netip.Addr{}, nil, mip4.CodeFANonzeroHARequired},
		{"nobody in the home domain", netip.MustParseAddr("255.255.255.255"), netip.Addr{}, nil, mip4.CodeFANonzeroHARequired},
		{"a group", nobody, netip.MustParseAddr("224.0.0.11"), nil, mip4.CodeFANonzeroHARequired},
		{"this link", nobody, netip.MustParseAddr("169.254.1.1"), nil, mip4.CodeFANonzeroHARequired},
		{"this host", nobody, netip.MustParseAddr("127.0.0.1"), nil, mip4.CodeFANonzeroHARequired},
	} {
		p := assigned(t, agent)
		p.atForeign.Assignment.Assign = c.assign
		j := newJourney(t, p)
		f := j.fa(1)
		j.at = f
		_, heard := requests(j)
		j.run(time.Second)
		d := mip4.NewRequest(mip4.RegistrationRequest{Lifetime: 300, HomeAddress: homeAddress, HomeAgent: c.field, CareOfAddress: f.careOf, Identification: 77})
		d.Add(mip4.ZoneHome, &mip4.NAI{Value: "van7@fleet.example"})
		if c.asked.IsValid() {
			d.Add(mip4.ZoneHome, &mip4.DynamicHA{Kind: mip4.RequestedHA, Address: c.asked})
		}
		d.Authenticate(mip4.ExtMobileHome, association(t, assoc.Timestamps))
		data, err := d.Seal()
		if err != nil {
			t.Fatal(err)
		}
		j.log = nil
		j.replay(f, data, j.node.hw)
		j.run(20 * time.Millisecond)
		relayed := slices.Contains(j.log, fmt.Sprintf("fa1 %v>%v", f.careOf, agent))
		got := codes(t, *heard)
		if relayed != (c.want == 0) || c.want != 0 && !slices.Equal(got, []mip4.Code{c.want}) {
			t.Errorf("%s: relayed %v, codes %v, want %v", c.what, relayed, got, c.want)
		}
	}
}

// A foreign agent of before 2006 does not know where to send a request for
// nobody: the node names the home agent too.
//
//rfc:4433#4.1
//rfc:4433#10
func TestAnOldForeignAgent(t *testing.T) {
	p := assigned(t, agent)
	p.without = []string{"assignment"}
	j := newJourney(t, p)
	sent, _ := requests(j)
	j.attach(j.fa(1), netip.Addr{})
	j.run(5 * time.Second)
	j.visits(j.fa(1), encap.IPIP)
	if list := asks(t, *sent); list[0].HomeAgent != nobody || list[1].HomeAgent != agent || len(list) > 2 {
		t.Errorf("%d requests, %v", len(list), list)
	}
}
