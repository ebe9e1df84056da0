package fa_test

import (
	"errors"
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
	"careof/internal/proto/mip4/fa"
	"careof/wire/mip4"
)

// The network of all tests: foreign agent 192.168.1.1 on the visitors' link
// eth1, care-of addresses 203.0.113.1 and 203.0.113.2; home agents 198.51.100.1
// (SPI 300) and 198.51.100.9 (no association); visitor 10.10.0.5 with SPI 256
// at home, visitor 10.10.0.6 that also shares SPI 301 with the foreign agent.
var (
	linkAddr  = netip.MustParseAddr("192.168.1.1")
	careOf    = netip.MustParseAddr("203.0.113.1")
	careOf2   = netip.MustParseAddr("203.0.113.2")
	homeAgent = netip.MustParseAddr("198.51.100.1")
	plainHA   = netip.MustParseAddr("198.51.100.9")
	home      = netip.MustParseAddr("10.10.0.5")
	keyedHome = netip.MustParseAddr("10.10.0.6")
	allAgents = netip.MustParseAddr("224.0.0.11")
	zero      = netip.IPv4Unspecified()
	everybody = netip.MustParseAddr("255.255.255.255")
	nodeMAC   = engine.HardwareAddr{2, 0, 0, 0, 0, 5}
	otherMAC  = engine.HardwareAddr{2, 0, 0, 0, 0, 6}
	agentMAC  = engine.HardwareAddr{2, 0, 0, 0, 0, 1}
	epoch     = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

	homeKey    = key(256, "home-home-home-h")
	foreignKey = key(300, "foreign-foreign-")
	visitorKey = key(301, "visitor-visitor-")
)

func key(spi uint32, secret string) *assoc.Association {
	a, err := assoc.New(spi, assoc.HMACMD5, assoc.NewKey([]byte(secret)), assoc.Timestamps)
	if err != nil {
		panic(err)
	}
	return a
}

func config() fa.Config {
	return fa.Config{
		Links:           []string{"eth1"},
		CareOfAddresses: []netip.Addr{careOf, careOf2},
		HomeAgents:      []fa.HomeAgent{{Address: homeAgent, Keys: []*assoc.Association{foreignKey}}},
		MobileNodes: []fa.MobileNode{
			{Node: ident.Node{HomeAddress: keyedHome}, Keys: []*assoc.Association{visitorKey}},
		},
	}
}

// A driver is the world around one agent.
type driver struct {
	t     testing.TB
	a     *fa.Agent
	now   engine.Now
	plane enginetest.Plane

	sent      []engine.Send
	announced []engine.SendDiscovery
	notes     []note.Note
	changes   []forward.Change
	results   []engine.Result

	hold   bool
	held   []engine.Commit
	broken error
	count  uint64
}

func newDriver(t testing.TB, cfg fa.Config, features ...func(*fa.Agent) error) *driver {
	t.Helper()
	a, err := fa.New(cfg, rand.New(rand.NewPCG(1, 2)), features...)
	if err != nil {
		t.Fatal(err)
	}
	d := &driver{t: t, a: a, plane: make(enginetest.Plane)}
	d.now = engine.Now{Mono: time.Unix(1000, 0), Wall: epoch}
	d.step(engine.LinkChanged{Link: engine.Link{Name: "eth0", Up: true, MTU: 1500, Addresses: []netip.Prefix{netip.PrefixFrom(careOf, 24), netip.PrefixFrom(careOf2, 24)}}})
	d.step(engine.LinkChanged{Link: engine.Link{Name: "eth1", Up: true, MTU: 1500, HW: agentMAC, Addresses: []netip.Prefix{netip.PrefixFrom(linkAddr, 24)}}})
	return d
}

// step delivers one event and carries out what the agent says.
func (d *driver) step(ev engine.Event) {
	d.t.Helper()
	d.do(enginetest.Step(d.a, d.now, ev))
}

func (d *driver) do(actions []engine.Action) {
	d.t.Helper()
	for _, act := range actions {
		switch act := act.(type) {
		case engine.Send:
			d.sent = append(d.sent, act)
		case engine.SendDiscovery:
			d.announced = append(d.announced, act)
		case engine.Tell:
			if act.Note.Role != fa.RoleName {
				d.t.Errorf("a note of role %q", act.Note.Role)
			}
			d.notes = append(d.notes, act.Note)
		case engine.Result:
			d.results = append(d.results, act)
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

func (d *driver) commit(c engine.Commit) {
	d.t.Helper()
	if d.broken != nil {
		err := d.broken
		d.broken = nil
		d.step(engine.Answer{Ticket: c.Ticket, Err: err})
		return
	}
	for _, ch := range c.Changes {
		d.changes = append(d.changes, ch)
		d.plane.Apply(d.t, ch)
	}
	d.do(c.Then)
	d.step(engine.Answer{Ticket: c.Ticket})
}

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
	flags    mip4.RequestFlags
	lifetime uint16
	home     netip.Addr
	agent    netip.Addr
	careOf   netip.Addr
	id       uint64
	nai      string
	key      *assoc.Association // 32; nil: none
	foreign  *assoc.Association // 33; nil: none
	after    []mip4.Payload     // behind 32
	rawHead  []byte             // before 32
	rawAfter []byte             // behind 32

	src, dst netip.AddrPort
	ttl      uint8
	link     string
	hw       engine.HardwareAddr
}

// req is an ordinary request of 10.10.0.5 with reverse tunnelling.
func (d *driver) req() *request {
	d.count++
	return &request{
		flags: mip4.FlagT, lifetime: 300, home: home, agent: homeAgent, careOf: careOf,
		id: assoc.Timestamp(d.now.Wall) + d.count, key: homeKey,
		src: netip.AddrPortFrom(home, 40000), dst: netip.AddrPortFrom(linkAddr, 434),
		ttl: 255, link: "eth1", hw: nodeMAC,
	}
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
	if r.rawHead != nil {
		m.AddRaw(mip4.ZoneHome, r.rawHead)
	}
	if r.key != nil {
		m.Authenticate(mip4.ExtMobileHome, r.key)
	}
	for _, p := range r.after {
		m.Add(mip4.ZoneForeign, p)
	}
	if r.rawAfter != nil {
		m.AddRaw(mip4.ZoneForeign, r.rawAfter)
	}
	if r.foreign != nil {
		m.Authenticate(mip4.ExtMobileForeign, r.foreign)
	}
	b, err := m.Seal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (r *request) packet(t testing.TB) engine.Packet {
	return engine.Packet{Link: r.link, Src: r.src, Dst: r.dst, HW: r.hw, TTL: r.ttl, Data: r.bytes(t)}
}

// give delivers a packet and takes what was sent.
func (d *driver) give(p engine.Packet) []engine.Send {
	d.t.Helper()
	d.sent = nil
	d.step(p)
	return d.take()
}

func (d *driver) take() []engine.Send {
	out := d.sent
	d.sent = nil
	return out
}

// relayed wants the request to be relayed and gives the datagram.
func (d *driver) relayed(r *request) engine.Send {
	d.t.Helper()
	sent := d.give(r.packet(d.t))
	if len(sent) != 1 {
		d.t.Fatalf("%d datagrams sent, want the relayed request; notes %v", len(sent), d.notes)
	}
	m := parse(d.t, sent[0].Data)
	if m.Type != mip4.TypeRegistrationRequest {
		reply, _ := m.Reply()
		d.t.Fatalf("sent a %v with code %d, want the relayed request", m.Type, reply.Code)
	}
	return sent[0]
}

func parse(t testing.TB, b []byte) *mip4.Message {
	t.Helper()
	m, err := mip4.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// denied wants the request to be denied with this code.
func (d *driver) denied(code mip4.Code, r *request) engine.Send {
	d.t.Helper()
	d.advance(time.Second)
	return d.wantDenial(code, d.give(r.packet(d.t)))
}

func (d *driver) wantDenial(code mip4.Code, sent []engine.Send) engine.Send {
	d.t.Helper()
	if len(sent) != 1 {
		d.t.Fatalf("%d datagrams sent, want a denial with code %d", len(sent), code)
	}
	m := parse(d.t, sent[0].Data)
	if m.Type != mip4.TypeRegistrationReply {
		d.t.Fatalf("sent a %v, want a denial with code %d (%v)", m.Type, code, code)
	}
	reply, err := m.Reply()
	if err != nil {
		d.t.Fatal(err)
	}
	if reply.Code != code {
		d.t.Fatalf("code %d (%v), want %d (%v)", reply.Code, reply.Code, code, code)
	}
	return sent[0]
}

// silence gives a packet and wants no answer, no state and no note.
func (d *driver) silence(p engine.Packet) {
	d.t.Helper()
	notes, deadline, visitors := len(d.notes), d.a.Deadline(), len(d.visitors())
	if sent := d.give(p); len(sent) > 0 {
		d.t.Fatalf("answered with %x, want silence", sent[0].Data)
	}
	if len(d.notes) != notes {
		d.t.Fatalf("left a note: %v", d.notes[notes:])
	}
	if !d.a.Deadline().Equal(deadline) || len(d.visitors()) != visitors {
		d.t.Fatal("left state")
	}
}

// An answer is a Registration Reply in the making.
type answer struct {
	code     mip4.Code
	lifetime uint16
	home     netip.Addr
	agent    netip.Addr
	id       uint64
	nai      string
	key      *assoc.Association // 32
	foreign  *assoc.Association // 34; nil: none
	twice    bool               // 34 twice
	rawAfter []byte
	src, dst netip.AddrPort
}

// answerTo is the home agent's acceptance of a relayed request.
func answerTo(t testing.TB, s engine.Send) *answer {
	t.Helper()
	r, err := parse(t, s.Data).Request()
	if err != nil {
		t.Fatal(err)
	}
	a := &answer{lifetime: r.Lifetime, home: r.HomeAddress, agent: r.HomeAgent, id: r.Identification, key: homeKey, src: s.Dst, dst: s.Src}
	if r.HomeAgent == homeAgent {
		a.foreign = foreignKey
	}
	return a
}

func (a *answer) bytes(t testing.TB) []byte {
	t.Helper()
	m := mip4.NewReply(mip4.RegistrationReply{
		Code: a.code, Lifetime: a.lifetime, HomeAddress: a.home, HomeAgent: a.agent, Identification: a.id,
	})
	if a.nai != "" {
		m.Add(mip4.ZoneHome, &mip4.NAI{Value: a.nai})
	}
	m.Authenticate(mip4.ExtMobileHome, a.key)
	if a.rawAfter != nil {
		m.AddRaw(mip4.ZoneForeign, a.rawAfter)
	}
	if a.foreign != nil {
		m.Authenticate(mip4.ExtForeignHome, a.foreign)
	}
	b, err := m.Seal()
	if err != nil {
		t.Fatal(err)
	}
	if a.twice {
		pm := parse(t, b)
		e, _ := pm.Find(mip4.ExtForeignHome)
		b = append(b, b[e.Off:e.End]...)
	}
	return b
}

func (a *answer) packet(t testing.TB) engine.Packet {
	return engine.Packet{Link: "eth0", Src: a.src, Dst: a.dst, TTL: 60, Data: a.bytes(t)}
}

// delivered gives the reply and wants it relayed to the mobile node.
func (d *driver) delivered(a *answer) engine.Send {
	d.t.Helper()
	sent := d.give(a.packet(d.t))
	if len(sent) != 1 {
		d.t.Fatalf("%d datagrams sent, want the relayed reply; notes %v", len(sent), d.notes)
	}
	reply, err := parse(d.t, sent[0].Data).Reply()
	if err != nil || reply.Code != a.code {
		d.t.Fatalf("delivered code %d, %v; want %d", reply.Code, err, a.code)
	}
	return sent[0]
}

// visit registers a visitor.
func (d *driver) visit(r *request) engine.Send {
	d.t.Helper()
	return d.delivered(answerTo(d.t, d.relayed(r)))
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

func (d *driver) visitors() (list []fa.VisitorInfo) {
	d.t.Helper()
	return d.command(fa.ListVisitors{}).Value.([]fa.VisitorInfo)
}

// accepted lists the home addresses of the accepted visitors.
func (d *driver) accepted() (list []netip.Addr) {
	for _, v := range d.visitors() {
		if v.State == "accepted" {
			list = append(list, v.HomeAddress)
		}
	}
	return list
}

func (d *driver) pending() (n int) {
	for _, v := range d.visitors() {
		if v.State == "pending" {
			n++
		}
	}
	return n
}

func (d *driver) counter(name string) uint64 {
	d.t.Helper()
	for _, c := range d.command(fa.ListCounters{}).Value.([]fa.Counter) {
		if c.Name == name {
			return c.Value
		}
	}
	d.t.Fatalf("no counter %q", name)
	return 0
}

func (d *driver) entry(h, agent netip.Addr) (forward.Entry, bool) {
	e, ok := d.plane[forward.Key("fa/"+h.String()+"/"+agent.String())]
	return e, ok
}

// verify checks the one authentication extension of this type.
func verify(t testing.TB, b []byte, ext mip4.ExtType, key *assoc.Association) {
	t.Helper()
	m := parse(t, b)
	e, n := m.Find(ext)
	if n != 1 {
		t.Fatalf("%d extensions %v, want one", n, ext)
	}
	auth, err := m.Authentication(e)
	if err != nil {
		t.Fatal(err)
	}
	if auth.SPI != key.SPI() || !key.Verify(m.Covered(e), auth.Authenticator) {
		t.Fatalf("extension %v is wrong (SPI %d)", ext, auth.SPI)
	}
}

var errBroken = errors.New("the plane is broken")

func identOf(a netip.Addr) ident.Node { return ident.Node{HomeAddress: a} }
