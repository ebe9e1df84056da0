package ha_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/engine/enginetest"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

// The network of all tests: home agent 198.51.100.1 with the home network
// 10.10.0.0/24 on eth0, node 10.10.0.5 (SPI 256), node van@fleet without an
// address, foreign agent 203.0.113.1 (SPI 300).
var (
	agentAddr   = netip.MustParseAddr("198.51.100.1")
	home        = netip.MustParseAddr("10.10.0.5")
	careOf      = netip.MustParseAddr("192.0.2.7")
	careOf2     = netip.MustParseAddr("192.0.2.8")
	foreignAddr = netip.MustParseAddr("203.0.113.1")
	nodeMAC     = engine.HardwareAddr{2, 0, 0, 0, 0, 5}
	epoch       = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

func mustAssoc(t testing.TB, spi uint32, secret string, style assoc.Style) *assoc.Association {
	t.Helper()
	a, err := assoc.New(spi, assoc.HMACMD5, assoc.NewKey([]byte(secret)), style)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func config(t testing.TB) ha.Config {
	return ha.Config{
		Addresses: []netip.Addr{agentAddr},
		Links:     []string{"eth0"},
		Networks: []ha.Network{{
			Prefix: netip.MustParsePrefix("10.10.0.0/24"),
			Pool:   []ha.Range{{From: netip.MustParseAddr("10.10.0.100"), To: netip.MustParseAddr("10.10.0.101")}},
		}},
		SimultaneousBindings: 3,
		Nodes: []ha.MobileNode{
			{Node: ident.Node{HomeAddress: home}, Keys: []*assoc.Association{mustAssoc(t, 256, "0123456789abcdef", assoc.Timestamps)}},
			{Node: ident.Node{NAI: "van@fleet"}, Keys: []*assoc.Association{mustAssoc(t, 257, "van-van-van-van-", assoc.Timestamps)}},
			{Node: ident.Node{NAI: "bus@fleet"}, Keys: []*assoc.Association{mustAssoc(t, 258, "bus-bus-bus-bus-", assoc.Timestamps)}},
			{Node: ident.Node{NAI: "cab@fleet"}, Keys: []*assoc.Association{mustAssoc(t, 259, "cab-cab-cab-cab-", assoc.Timestamps)}},
			{Node: ident.Node{HomeAddress: netip.MustParseAddr("10.10.0.6")}, Keys: []*assoc.Association{mustAssoc(t, 260, "nonce-nonce-once", assoc.Nonces)}},
		},
		ForeignAgents: []ha.ForeignAgent{{Address: foreignAddr, Keys: []*assoc.Association{mustAssoc(t, 300, "foreign-foreign-", assoc.Timestamps)}}},
	}
}

// A driver is the world around one agent: it does what drivers have to do,
// at once and without mistakes unless told otherwise.
type driver struct {
	t     testing.TB
	a     *ha.Agent
	now   engine.Now
	store enginetest.Store
	plane enginetest.Plane

	sent    []engine.Send
	notes   []note.Note
	changes []forward.Change
	results []engine.Result
	asked   []engine.Ask

	announced []engine.Announce

	trace func(any) // is told everything, nil for nobody

	hold   bool // commits are kept back
	held   []engine.Commit
	broken error // the next commit fails
	full   bool  // and so does each after it
}

func newDriver(t testing.TB, cfg ha.Config, features ...func(*ha.Agent)) *driver {
	t.Helper()
	a, err := ha.New(cfg, rand.New(rand.NewPCG(1, 2)), features...)
	if err != nil {
		t.Fatal(err)
	}
	d := &driver{t: t, a: a, store: make(enginetest.Store), plane: make(enginetest.Plane)}
	d.now = engine.Now{Mono: time.Unix(1000, 0), Wall: epoch}
	return d
}

// restart makes a new agent from the records of the old one, after away.
func (d *driver) restart(cfg ha.Config, away time.Duration, features ...func(*ha.Agent)) *driver {
	d.t.Helper()
	n := newDriver(d.t, cfg, features...)
	n.now = engine.Now{Mono: time.Unix(5, 0), Wall: d.now.Wall.Add(away)}
	n.store = d.store
	n.store.Restore(d.t, n.a, n.now)
	for e := range n.a.Entries() {
		n.plane[e.Key] = e
	}
	return n
}

// step delivers one event and carries out what the agent says.
func (d *driver) step(ev engine.Event) {
	d.t.Helper()
	d.do(enginetest.Step(d.a, d.now, ev))
}

func (d *driver) do(actions []engine.Action) {
	d.t.Helper()
	for _, act := range actions {
		if _, later := act.(engine.Commit); !later {
			d.tell(act)
		}
		switch act := act.(type) {
		case engine.Send:
			d.sent = append(d.sent, act)
		case engine.Tell:
			d.notes = append(d.notes, act.Note)
		case engine.Result:
			d.results = append(d.results, act)
		case engine.Announce:
			d.announced = append(d.announced, act)
		case engine.Ask:
			d.asked = append(d.asked, act)
		case engine.Commit:
			if d.hold {
				d.held = append(d.held, act)
				continue
			}
			d.commit(act)
		default:
			d.t.Fatalf("unexpected action %T", act)
		}
	}
}

func (d *driver) tell(v any) {
	if d.trace != nil {
		d.trace(v)
	}
}

func (d *driver) commit(c engine.Commit) {
	d.t.Helper()
	if d.broken != nil {
		err := d.broken
		if !d.full {
			d.broken = nil
		}
		d.tell(err)
		d.step(engine.Answer{Ticket: c.Ticket, Err: err})
		return
	}
	d.tell(c)
	d.store.Keep(c.Records)
	for _, ch := range c.Changes {
		d.changes = append(d.changes, ch)
		d.tell(ch)
		d.plane.Apply(d.t, ch)
	}
	d.do(c.Then)
	d.step(engine.Answer{Ticket: c.Ticket})
}

// release carries out the commits that were held back.
func (d *driver) release() {
	d.hold = false
	held := d.held
	d.held = nil
	for _, c := range held {
		d.commit(c)
	}
}

// advance lets time pass, waking the agent whenever it wants.
func (d *driver) advance(by time.Duration) {
	d.t.Helper()
	enginetest.Advance(d.t, d.a, &d.now, by, func() { d.step(engine.Wake{}) })
}

// A request is a Registration Request in the making.
type request struct {
	flags     mip4.RequestFlags
	lifetime  uint16
	home      netip.Addr
	agent     netip.Addr
	careOf    netip.Addr
	id        uint64
	nai       string
	key       *assoc.Association // nil: unsigned
	foreign   *assoc.Association // 34
	before    []mip4.Payload     // extra extensions before 32
	rawBefore []byte
	rawAfter  []byte

	src, dst netip.AddrPort
	link     string
	hw       engine.HardwareAddr
}

const port = 434

// req is an ordinary request of the node 10.10.0.5, directly from its
// co-located care-of address, with reverse tunnelling.
func (d *driver) req() *request {
	return &request{
		flags: mip4.FlagD | mip4.FlagT, lifetime: 300, home: home, agent: agentAddr, careOf: careOf,
		id: assoc.Timestamp(d.now.Wall), key: mustAssoc(d.t, 256, "0123456789abcdef", assoc.Timestamps),
		src: netip.AddrPortFrom(careOf, 40000), dst: netip.AddrPortFrom(agentAddr, port),
		link: "wan0",
	}
}

// van is a request of the node that has no address, by its NAI.
func (d *driver) van() *request {
	r := d.req()
	r.home, r.nai = netip.AddrFrom4([4]byte{}), "van@fleet"
	r.key = mustAssoc(d.t, 257, "van-van-van-van-", assoc.Timestamps)
	return r
}

func (r *request) bytes(t testing.TB) []byte {
	t.Helper()
	m := mip4.NewRequest(mip4.RegistrationRequest{
		Flags: r.flags, Lifetime: r.lifetime, HomeAddress: r.home, HomeAgent: r.agent,
		CareOfAddress: r.careOf, Identification: r.id,
	})
	if r.nai != "" {
		m.Add(mip4.ZoneHome, &mip4.NAI{Value: r.nai})
	}
	for _, p := range r.before {
		m.Add(mip4.ZoneHome, p)
	}
	if r.rawBefore != nil {
		m.AddRaw(mip4.ZoneHome, r.rawBefore)
	}
	if r.key != nil && r.key.Authenticated() {
		m.Authenticate(mip4.ExtMobileHome, r.key)
	}
	if r.rawAfter != nil {
		m.AddRaw(mip4.ZoneForeign, r.rawAfter)
	}
	if r.foreign != nil {
		m.Authenticate(mip4.ExtForeignHome, r.foreign)
	}
	b, err := m.Seal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (r *request) packet(t testing.TB) engine.Packet {
	return engine.Packet{Link: r.link, Src: r.src, Dst: r.dst, HW: r.hw, TTL: 64, Data: r.bytes(t)}
}

// A reply is a Registration Reply that was sent.
type reply struct {
	engine.Send
	mip4.RegistrationReply
	message *mip4.Message
}

// sendRaw delivers a packet and returns the one reply to it, nil for silence.
func (d *driver) sendRaw(p engine.Packet) *reply {
	d.t.Helper()
	d.sent = nil
	d.step(p)
	got := d.reply()
	if got != nil && len(got.Data) > len(p.Data) && p.Src.Addr() != foreignAddr && p.Src.Addr().As4()[0] != 100 {
		d.t.Errorf("the reply has %d octets, the request %d: amplification", len(got.Data), len(p.Data))
	}
	return got
}

func (d *driver) send(r *request) *reply {
	d.t.Helper()
	return d.sendRaw(r.packet(d.t))
}

// reply takes the one reply that was sent.
func (d *driver) reply() *reply {
	d.t.Helper()
	if len(d.sent) == 0 {
		return nil
	}
	if len(d.sent) > 1 {
		d.t.Fatalf("%d replies to one request", len(d.sent))
	}
	s := d.sent[0]
	d.sent = nil
	m, err := mip4.Parse(s.Data)
	if err != nil {
		d.t.Fatalf("reply: %v", err)
	}
	fixed, err := m.Reply()
	if err != nil {
		d.t.Fatalf("reply: %v", err)
	}
	return &reply{s, fixed, m}
}

// want sends r and wants exactly this code.
func (d *driver) want(code mip4.Code, r *request) *reply {
	d.t.Helper()
	p := d.send(r)
	if p == nil {
		d.t.Fatalf("silence, want code %d (%v)", code, code)
	}
	if p.Code != code {
		d.t.Fatalf("code %d (%v), want %d (%v)", p.Code, p.Code, code, code)
	}
	if r.key != nil && r.key.Authenticated() {
		verify(d.t, p, mip4.ExtMobileHome, r.key)
	}
	if uint32(p.Identification) != uint32(r.id) {
		d.t.Errorf("the low-order 32 bits of the Identification are not copied: %x in reply to %x", p.Identification, r.id)
	}
	d.tick()
	return p
}

// tick lets a little time pass, so that the next timestamp is greater.
func (d *driver) tick() { d.advance(10 * time.Millisecond) }

// silence sends r and wants no answer, no state, no log line and no question.
func (d *driver) silence(r *request) {
	d.t.Helper()
	d.silent(r.packet(d.t))
}

func (d *driver) silent(p engine.Packet) {
	d.t.Helper()
	store, plane, notes, asked := len(d.store), len(d.plane), len(d.notes), len(d.asked)
	deadline := d.a.Deadline()
	if got := d.sendRaw(p); got != nil {
		d.t.Fatalf("answered with code %d, want silence", got.Code)
	}
	if len(d.store) != store || len(d.plane) != plane {
		d.t.Fatal("left state")
	}
	if len(d.notes) != notes {
		d.t.Fatalf("left a log line: %v", d.notes[notes:])
	}
	if len(d.asked) != asked {
		d.t.Fatal("asked a question")
	}
	if !d.a.Deadline().Equal(deadline) {
		d.t.Fatal("left a deadline")
	}
}

// verify checks the one authentication extension of this type.
func verify(t testing.TB, p *reply, ext mip4.ExtType, key *assoc.Association) {
	t.Helper()
	e, n := p.message.Find(ext)
	if n != 1 {
		t.Fatalf("%d extensions %v in the reply, want one", n, ext)
	}
	auth, err := p.message.Authentication(e)
	if err != nil {
		t.Fatal(err)
	}
	if auth.SPI != key.SPI() || !key.Verify(p.message.Covered(e), auth.Authenticator) {
		t.Fatalf("extension %v of the reply is wrong (SPI %d)", ext, auth.SPI)
	}
}

func (d *driver) entry(h netip.Addr) (forward.Entry, bool) {
	e, ok := d.plane[forward.Key("ha/"+h.String())]
	return e, ok
}

// kinds lists the notes' kinds since the last call.
func (d *driver) kinds() []note.Kind {
	var k []note.Kind
	for _, n := range d.notes {
		k = append(k, n.Kind)
	}
	d.notes = nil
	return k
}

func (d *driver) command(v any) engine.Result {
	d.t.Helper()
	d.results = nil
	d.step(engine.Command{Ticket: 77, Value: v})
	if len(d.results) != 1 || d.results[0].Ticket != 77 {
		d.t.Fatalf("command %T gave %d results", v, len(d.results))
	}
	return d.results[0]
}

func (d *driver) bindings() []ha.Binding {
	d.t.Helper()
	return d.command(ha.ListBindings{}).Value.([]ha.Binding)
}

func (d *driver) counter(name string) uint64 {
	d.t.Helper()
	for _, c := range d.command(ha.ListCounters{}).Value.([]ha.Counter) {
		if c.Name == name {
			return c.Value
		}
	}
	d.t.Fatalf("no counter %q", name)
	return 0
}
