package realm_test

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/mipapp"
	"careof/internal/core/realm"
	"careof/wire/diameter"
	"careof/wire/mip4"
)

func secret(t testing.TB) aaa.Secret {
	t.Helper()
	a, err := assoc.New(512, assoc.HMACMD5, assoc.NewKey([]byte("0123456789abcdef")), assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	return aaa.Shared(a)
}

// A world is the two servers and everything around them.
type world struct {
	t       testing.TB
	now     engine.Now
	servers map[string]*realm.Server                             // by realm
	agents  map[string]func(*diameter.Message) *diameter.Message // by host
	seen    []*diameter.Message                                  // that went from host to host, with origin
	results map[engine.Ticket]*diameter.Message
	tickets engine.Ticket
	down    map[string]bool
}

func newWorld(t testing.TB, change func(home, visited *realm.Config)) *world {
	t.Helper()
	random := func(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }
	home := realm.Config{
		Identity: atHome, Random: random(1), HomeAgentAt: realm.VisitedPreferred,
		Subscribers: aaa.Book{van: {Secrets: []aaa.Secret{secret(t)}, Grant: aaa.Grant{HomeAddress: homeAddr}}},
		HomeAgents:  []realm.HomeAgent{{Host: "ha1.home.example", Address: ha1}, {Host: "ha2.home.example", Address: ha2}},
	}
	visited := realm.Config{
		Identity: atVisited, Random: random(2), Clients: []string{"fa1.visited.example"},
		HomeAgents: []realm.HomeAgent{{Host: "ha9.visited.example", Address: visitedHA, Visitors: true}},
	}
	if change != nil {
		change(&home, &visited)
	}
	w := &world{
		t: t, now: engine.Now{Mono: time.Unix(1000, 0), Wall: epoch}, servers: map[string]*realm.Server{},
		agents: map[string]func(*diameter.Message) *diameter.Message{}, results: map[engine.Ticket]*diameter.Message{}, down: map[string]bool{},
	}
	for _, c := range []realm.Config{home, visited} {
		s, err := realm.New(c)
		if err != nil {
			t.Fatal(err)
		}
		w.servers[c.Identity.Realm] = s
	}
	for host, address := range map[string]netip.Addr{"ha1.home.example": ha1, "ha2.home.example": ha2, "ha9.visited.example": visitedHA} {
		w.agents[host] = w.homeAgent(host, address)
	}
	return w
}

// homeAgent is a home agent that accepts everything.
func (w *world) homeAgent(host string, address netip.Addr) func(*diameter.Message) *diameter.Message {
	return func(m *diameter.Message) *diameter.Message {
		if m.Command != diameter.HomeAgentMIP {
			return m.Answer(diameter.Success)
		}
		q, err := mipapp.ReadHAR(m)
		if err != nil {
			w.t.Errorf("%s: HAR: %v", host, err)
			return m.Refuse(err)
		}
		a := mipapp.HAA{
			Result: diameter.Success, MultiSession: "multi-" + host, Reply: append([]byte("reply by "+host+" "), q.Request...),
			HomeAddress: q.HomeAddress, HomeAgent: address,
		}
		if !a.HomeAddress.IsValid() {
			a.HomeAddress = netip.MustParseAddr("172.16.0.9")
		}
		if q.Keys.ForeignHome != nil {
			a.HomeSPI = 9001
		}
		return a.Answer(m)
	}
}

// originate adds who a message is from, as a Diameter node does.
func originate(m *diameter.Message, by mipapp.Identity) *diameter.Message {
	if !m.Has(diameter.OriginHost) {
		m.List = append(m.List, diameter.OriginHost.Text(by.Host), diameter.OriginRealm.Text(by.Realm))
	}
	return m
}

// route takes a request where it belongs, octets and all, and gives the answer;
// nil when nobody is there.
func (w *world) route(m *diameter.Message) *diameter.Message {
	w.t.Helper()
	octets, err := m.Append(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if m, err = diameter.Parse(octets); err != nil {
		w.t.Fatal(err)
	}
	if err := m.Check(); err != nil {
		w.t.Errorf("a %s that does not pass: %v", m.Name(), err)
	}
	w.seen = append(w.seen, m)
	host, _ := m.Text(diameter.DestinationHost)
	to, _ := m.Text(diameter.DestinationRealm)
	from, _ := m.Text(diameter.OriginRealm)
	if agent := w.agents[host]; agent != nil && (to == from || w.servers[from] != nil && to == from) {
		if w.down[host] {
			return nil
		}
		return originate(agent(m), mipapp.Identity{Host: host, Realm: to})
	}
	if agent := w.agents[host]; agent != nil {
		// Into another realm through its server, and out of that one to its agent.
		if w.servers[to] == nil || w.down[host] {
			return nil
		}
		if m.Command == diameter.AbortSession {
			return w.serve(to, m)
		}
		return originate(agent(m), mipapp.Identity{Host: host, Realm: to})
	}
	return w.serve(to, m)
}

// serve gives a request to a realm's server.
func (w *world) serve(name string, m *diameter.Message) *diameter.Message {
	w.t.Helper()
	s := w.servers[name]
	if s == nil {
		return nil
	}
	w.tickets++
	ticket := w.tickets
	w.do(name, s.Step(w.now, engine.Command{Ticket: ticket, Value: realm.Arrived{Peer: "peer", Secure: true, Message: m}}))
	got := w.results[ticket]
	delete(w.results, ticket)
	if got == nil {
		return nil
	}
	id := atHome
	if name == atVisited.Realm {
		id = atVisited
	}
	return originate(got, id)
}

func (w *world) do(name string, actions []engine.Action) {
	w.t.Helper()
	id := atHome
	if name == atVisited.Realm {
		id = atVisited
	}
	for _, act := range actions {
		switch act := act.(type) {
		case engine.Result:
			w.results[act.Ticket], _ = act.Value.(*diameter.Message)
		case engine.Ask:
			f := act.Question.(realm.Forward)
			m := f.Message
			if !f.Proxied {
				m = originate(m, id)
			}
			// A server sends to its own realm's agents and to the other server.
			host, _ := m.Text(diameter.DestinationHost)
			var answer *diameter.Message
			if to, _ := m.Text(diameter.DestinationRealm); to == name && w.agents[host] != nil {
				w.seen = append(w.seen, m)
				if !w.down[host] {
					answer = originate(w.agents[host](m), mipapp.Identity{Host: host, Realm: to})
				}
			} else {
				answer = w.route(m)
			}
			ans := engine.Answer{Ticket: act.Ticket}
			if answer == nil {
				ans.Err = aaa.ErrUnavailable
			} else {
				ans.Value = answer
			}
			w.do(name, w.servers[name].Step(w.now, ans))
		}
	}
}

// names are the messages that went, by name and destination.
func (w *world) names() (list []string) {
	for _, m := range w.seen {
		to, _ := m.Text(diameter.DestinationHost)
		list = append(list, m.Name()+" "+to)
	}
	w.seen = nil
	return list
}

// An rrq is a Registration Request of the node in the making.
type rrq struct {
	home, agent netip.Addr
	keys        bool
	by          *aaa.Secret // nil: the node's own
}

func (w *world) request(r rrq) (octets []byte, proof aaa.Proof) {
	w.t.Helper()
	m := mip4.NewRequest(mip4.RegistrationRequest{
		Lifetime: 300, HomeAddress: r.home, HomeAgent: r.agent, CareOfAddress: netip.MustParseAddr("203.0.113.1"), Identification: assoc.Timestamp(w.now.Wall),
	})
	m.Add(mip4.ZoneHome, &mip4.NAI{Value: string(van)})
	if r.keys {
		m.Add(mip4.ZoneHome, &mip4.MobileHomeKeyRequest{SPI: 700})
		m.Add(mip4.ZoneHome, &mip4.MobileForeignKeyRequest{SPI: 701})
	}
	by := secret(w.t)
	if r.by != nil {
		by = *r.by
	}
	m.AuthenticateGeneralized(mip4.AuthMobileAAA, aaa.Signer{Secret: by, Challenge: []byte{1, 2, 3, 4}})
	octets, err := m.Seal()
	if err != nil {
		w.t.Fatal(err)
	}
	parsed, err := mip4.Parse(octets)
	if err != nil {
		w.t.Fatal(err)
	}
	e, _ := parsed.FindSub(mip4.ExtGeneralizedAuth, mip4.AuthMobileAAA)
	auth, err := parsed.Authentication(e)
	if err != nil {
		w.t.Fatal(err)
	}
	return octets, aaa.Proof{SPI: auth.SPI, Covered: bytes.Clone(parsed.Covered(e)), Authenticator: bytes.Clone(auth.Authenticator), Challenge: []byte{1, 2, 3, 4}}
}

// attend is the foreign agent's AMR about a request, and what comes of it.
func (w *world) attend(r rrq, change func(*mipapp.AMR)) mipapp.AMA {
	w.t.Helper()
	_, proof := w.request(r)
	q := aaa.Authenticate{Subject: aaa.Subject{NAI: van}, Proof: proof}
	if r.keys {
		q.Wishes = aaa.KeyWishes{
			MobileHome:    aaa.KeyWish{MobileSPI: 700},
			MobileForeign: aaa.KeyWish{MobileSPI: 701, AgentSPI: 800},
			ForeignHome:   aaa.KeyWish{MobileSPI: 800},
		}
	}
	amr, err := mipapp.RequestOf(q)
	if err != nil {
		w.t.Fatal(err)
	}
	amr.Session = "fa1.visited.example;1;1"
	if change != nil {
		change(&amr)
	}
	m := originate(amr.Message(), mipapp.Identity{Host: "fa1.visited.example", Realm: "visited.example"})
	got := w.serve("visited.example", m)
	if got == nil {
		w.t.Fatal("no answer")
	}
	a, err := mipapp.ReadAMA(got)
	if err != nil {
		w.t.Fatalf("AMA: %v", err)
	}
	return a
}

func (w *world) status(name string) realm.Status {
	w.t.Helper()
	w.tickets++
	var st realm.Status
	for _, act := range w.servers[name].Step(w.now, engine.Command{Ticket: w.tickets, Value: realm.Show{}}) {
		if r, ok := act.(engine.Result); ok {
			st, _ = r.Value.(realm.Status)
		}
	}
	return st
}
