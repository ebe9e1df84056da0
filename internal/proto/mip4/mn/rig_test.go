package mn_test

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
	"careof/internal/core/note"
	"careof/internal/proto/mip4/mn"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// Addresses of the tests.
var (
	homeAddress = netip.MustParseAddr("10.10.0.5")
	homeNetwork = netip.MustParsePrefix("10.10.0.0/24")
	homeAgent   = netip.MustParseAddr("198.51.100.1")
	wifiAddress = netip.MustParseAddr("192.0.2.7")
	lteAddress  = netip.MustParseAddr("203.0.113.9")
)

var start = engine.Now{
	Mono: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), // its zero means nothing
	Wall: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC),
}

func association(t testing.TB, style assoc.Style) *assoc.Association {
	t.Helper()
	a, err := assoc.New(256, assoc.HMACSHA256, assoc.NewKey([]byte("sixteen octets!!")), style)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// An answerer is the other side: it gets a request and says what comes back.
type answerer func(r *rig, s engine.Send) []engine.Packet

// A rig drives one mobile node in virtual time.
type rig struct {
	t     testing.TB
	node  *mn.Node
	now   engine.Now
	other answerer
	delay time.Duration // one way

	down     map[string]bool // links that lose everything
	queue    []arrival
	seq      int
	steps    [][]engine.Action // actions of every step, Thens included
	requests []sent
	notes    []note.Note
	entries  map[forward.Key]forward.Entry
	store    enginetest.Store
	results  []engine.Result

	solicited []solicited
	router    func(*rig, engine.SendDiscovery) []engine.Discovery // who answers solicitations
	near      time.Duration                                       // one way on the link

	asks   []engine.Ask
	echoes []sent // tunnel data that the machine itself sent
	use    forward.Use
	names  map[string][]netip.Addr
	refuse error         // the data plane refuses
	slow   time.Duration // until a commit is answered

	stalled bool            // the disk: commits wait
	held    []engine.Commit // in their order
	arp     []engine.Announce
}

// release makes the oldest waiting commit true.
func (r *rig) release() {
	r.t.Helper()
	c := r.held[0]
	r.held, r.stalled = r.held[1:], false
	r.execute([]engine.Action{c})
	r.stalled = true
	r.run(0)
}

type solicited struct {
	at time.Time
	engine.SendDiscovery
}

type arrival struct {
	at  time.Time
	seq int
	ev  engine.Event
}

type sent struct {
	at time.Time
	engine.Send
	m       *mip4.Message
	request mip4.RegistrationRequest
}

func config(t testing.TB) mn.Config {
	return mn.Config{
		HomeAddress: homeAddress,
		HomeAgents:  []mn.HomeAgent{{Address: homeAgent}},
		Association: association(t, assoc.Timestamps),
		Uplinks:     []mn.UplinkConfig{{Interface: "wlan0", Priority: 100}, {Interface: "lte0", Priority: 50}},
	}
}

func newRig(t testing.TB, cfg mn.Config, features ...func(*mn.Node) error) *rig {
	t.Helper()
	r := &rig{
		t: t, now: start, delay: 25 * time.Millisecond,
		down: make(map[string]bool), entries: make(map[forward.Key]forward.Entry),
		store: make(enginetest.Store), names: make(map[string][]netip.Addr),
	}
	r.boot(cfg, features...)
	return r
}

// boot starts a node, with what an earlier one stored.
func (r *rig) boot(cfg mn.Config, features ...func(*mn.Node) error) {
	r.t.Helper()
	node, err := mn.New(cfg, rand.New(rand.NewPCG(1, uint64(r.seq))), features...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.store.Restore(r.t, node, r.now)
	r.node, r.queue = node, nil
}

// step gives the node one event and carries out what it says.
func (r *rig) step(ev engine.Event) []engine.Action {
	r.t.Helper()
	actions := r.node.Step(r.now, ev)
	r.steps = append(r.steps, actions)
	r.execute(actions)
	if at := r.node.Deadline(); !at.IsZero() && !at.After(r.now.Mono) {
		r.t.Fatalf("after %T the deadline %v is not in the future", ev, at.Sub(r.now.Mono))
	}
	return actions
}

func (r *rig) execute(actions []engine.Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case engine.Send:
			r.send(a)
		case engine.Announce:
			r.arp = append(r.arp, a)
		case engine.Commit:
			if r.stalled {
				r.held = append(r.held, a)
				continue
			}
			err := r.refuse
			if len(a.Changes) == 0 {
				err = nil
			}
			if err == nil {
				r.store.Keep(a.Records)
				for _, c := range a.Changes {
					r.apply(c)
				}
				r.execute(a.Then)
			}
			if a.Ticket != 0 {
				r.later(r.slow, engine.Answer{Ticket: a.Ticket, Err: err})
			}
		case engine.Ask:
			r.asks = append(r.asks, a)
			switch q := a.Question.(type) {
			case engine.LastUse:
				r.later(0, engine.Answer{Ticket: a.Ticket, Value: r.use})
			case engine.Resolve:
				ans := engine.Answer{Ticket: a.Ticket, Value: r.names[q.Name]}
				if r.names[q.Name] == nil {
					ans.Err = fmt.Errorf("no such host")
				}
				r.later(r.delay, ans)
			}
		case engine.SendDiscovery:
			r.solicited = append(r.solicited, solicited{r.now.Mono, a})
			if r.router != nil {
				for _, d := range r.router(r, a) {
					r.later(2*r.near, d)
				}
			}
		case engine.Tell:
			r.notes = append(r.notes, a.Note)
		case engine.Result:
			r.results = append(r.results, a)
		}
	}
}

func (r *rig) apply(c forward.Change) {
	switch c.Op {
	case forward.Put:
		r.entries[c.Entry.Key] = c.Entry
	case forward.Delete:
		delete(r.entries, c.Entry.Key)
	case forward.Extend:
		e := r.entries[c.Entry.Key]
		e.Tunnels = slices.Clone(e.Tunnels)
		for i := range e.Tunnels {
			if e.Tunnels[i].Mode != forward.Receive {
				e.Tunnels[i].Until = c.Until
			}
		}
		r.entries[c.Entry.Key] = e
	}
}

func (r *rig) send(s engine.Send) {
	if len(s.Data) > 0 && s.Data[0] == encap.TunnelDataType {
		r.echoes = append(r.echoes, sent{at: r.now.Mono, Send: s})
		return
	}
	m, err := mip4.Parse(s.Data)
	if err != nil {
		r.t.Fatalf("the node sends what cannot be parsed: %v", err)
	}
	q, err := m.Request()
	if err != nil {
		r.t.Fatal(err)
	}
	r.requests = append(r.requests, sent{r.now.Mono, s, m, q})
	if r.down[s.Link] || r.other == nil {
		return
	}
	for _, p := range r.other(r, s) {
		if p.Link == "" {
			p.Link = s.Link
		}
		r.later(2*r.delay, p)
	}
}

func (r *rig) later(d time.Duration, ev engine.Event) {
	r.seq++
	r.queue = append(r.queue, arrival{r.now.Mono.Add(d), r.seq, ev})
}

// advance moves both clocks.
func (r *rig) advance(d time.Duration) {
	r.now.Mono, r.now.Wall = r.now.Mono.Add(d), r.now.Wall.Add(d)
}

// run lets d pass, delivering arrivals and wakes at their exact times.
func (r *rig) run(d time.Duration) {
	r.t.Helper()
	end := r.now.Mono.Add(d)
	for i := 0; ; i++ {
		if i > 100000 {
			r.t.Fatal("the node does not come to rest")
		}
		next, at := -1, end
		for i, a := range r.queue {
			if !a.at.After(at) && (next < 0 || a.at.Before(r.queue[next].at) || a.at.Equal(r.queue[next].at) && a.seq < r.queue[next].seq) {
				next = i
			}
		}
		if next >= 0 {
			at = r.queue[next].at
		}
		if dl := r.node.Deadline(); !dl.IsZero() && dl.Before(at) {
			r.advance(max(0, dl.Sub(r.now.Mono)))
			r.step(engine.Wake{})
			continue
		}
		if next < 0 {
			r.advance(end.Sub(r.now.Mono))
			if dl := r.node.Deadline(); !dl.IsZero() && !dl.After(r.now.Mono) {
				r.step(engine.Wake{})
				continue
			}
			return
		}
		ev := r.queue[next].ev
		r.queue = slices.Delete(r.queue, next, next+1)
		r.advance(max(0, at.Sub(r.now.Mono)))
		r.step(ev)
	}
}

func link(name string, address netip.Addr) engine.Link {
	p := netip.PrefixFrom(address, 24)
	gw := p.Masked().Addr().Next()
	return engine.Link{
		Name: name, Up: true, MTU: 1500,
		Addresses: []netip.Prefix{p}, Gateways: []netip.Addr{gw},
		GatewayHW: engine.HardwareAddr{2, 0, 0, 0, 0, address.As4()[3]},
	}
}

func (r *rig) up(name string, address netip.Addr) []engine.Action {
	return r.step(engine.LinkChanged{Link: link(name, address)})
}

func (r *rig) lose(name string) []engine.Action {
	return r.step(engine.LinkChanged{Link: engine.Link{Name: name}})
}

func (r *rig) last() sent {
	r.t.Helper()
	if len(r.requests) == 0 {
		r.t.Fatal("no request was sent")
	}
	return r.requests[len(r.requests)-1]
}

func (r *rig) entry() forward.Entry { return r.entries[r.node.Key()] }

func (r *rig) status() mn.Status {
	r.step(engine.Command{Ticket: 77, Value: mn.ShowStatus{}})
	return r.results[len(r.results)-1].Value.(mn.Status)
}

// count counts notes of a kind.
func (r *rig) count(k note.Kind) int {
	n := 0
	for _, t := range r.notes {
		if t.Kind == k {
			n++
		}
	}
	return n
}

// tunnels renders the entry's tunnels: "wlan0 ipip send+receive".
func (r *rig) tunnels() string {
	var list []string
	for _, t := range r.entry().Tunnels {
		list = append(list, fmt.Sprintf("%s %v %s", t.Link, t.Encap, [...]string{"both", "receive", "send"}[t.Mode]))
	}
	return strings.Join(list, ", ")
}

// A reply to make.
type answer struct {
	code     mip4.Code
	lifetime int // -1 copies the request's
	high     uint64
	change   func(*mip4.RegistrationReply)
	home     []mip4.Payload
	tail     []mip4.Payload
	unsigned bool
	signer   *assoc.Association
}

// reply makes the datagram that answers a request.
func (r *rig) reply(s engine.Send, a answer) engine.Packet {
	r.t.Helper()
	m, err := mip4.Parse(s.Data)
	if err != nil {
		r.t.Fatal(err)
	}
	q, err := m.Request()
	if err != nil {
		r.t.Fatal(err)
	}
	p := mip4.RegistrationReply{
		Code: a.code, Lifetime: q.Lifetime, HomeAddress: q.HomeAddress, HomeAgent: q.HomeAgent, Identification: q.Identification,
	}
	if a.lifetime >= 0 {
		p.Lifetime = uint16(a.lifetime)
	}
	if a.high != 0 {
		p.Identification = a.high<<32 | q.Identification&0xffffffff
	}
	if a.change != nil {
		a.change(&p)
	}
	d := mip4.NewReply(p)
	for _, e := range a.home {
		d.Add(mip4.ZoneHome, e)
	}
	if a.signer == nil {
		a.signer = association(r.t, assoc.Timestamps)
	}
	if !a.unsigned {
		d.Authenticate(mip4.ExtMobileHome, a.signer)
	}
	for _, e := range a.tail {
		d.Add(mip4.ZoneForeign, e)
	}
	octets, err := d.Seal()
	if err != nil {
		r.t.Fatal(err)
	}
	return engine.Packet{Link: s.Link, Src: s.Dst, Dst: netip.AddrPortFrom(s.Src.Addr(), 40000), TTL: 60, Data: octets}
}

// always answers every request alike.
func always(a answer) answerer {
	return func(r *rig, s engine.Send) []engine.Packet { return []engine.Packet{r.reply(s, a)} }
}

// granting accepts everything for so many seconds.
func granting(seconds int) answerer { return always(answer{lifetime: seconds}) }

// registered makes a rig with a node registered over wlan0.
func registered(t testing.TB) *rig {
	t.Helper()
	r := newRig(t, config(t))
	r.other = granting(-1)
	r.up("wlan0", wifiAddress)
	r.run(100 * time.Millisecond)
	if got := r.status().State; got != "registered" {
		t.Fatalf("the node is %s", got)
	}
	return r
}
