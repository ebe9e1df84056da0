package realm_test

import (
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/core/mipapp"
	"careof/internal/core/realm"
	"careof/wire/diameter"
)

// The world of these tests: home.example with a server and two home agents, and
// visited.example with a server, a foreign agent and a home agent for visitors.
var (
	atHome    = mipapp.Identity{Host: "aaa.home.example", Realm: "home.example"}
	atVisited = mipapp.Identity{Host: "aaa.visited.example", Realm: "visited.example"}
	ha1       = netip.MustParseAddr("198.51.100.1")
	ha2       = netip.MustParseAddr("198.51.100.2")
	visitedHA = netip.MustParseAddr("203.0.113.9")
	homeAddr  = netip.MustParseAddr("10.10.0.77")
	van       = ident.NAI("van7@home.example")
	epoch     = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

var (
	zero   = netip.AddrFrom4([4]byte{})
	allOne = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

func equal(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// AMR, HAR, HAA, AMA: a node registers with keys, at a home agent that its home
// realm assigns in the visited network. The foreign agent gets the keys that are
// its own, and no others; the node, who knows the nonce, gets the same.
//
//rfc:4004#3.2
//rfc:4004#3.4
//rfc:4004#8.3
//rfc:4004#8.4
//rfc:4004#8.5
//rfc:4004#3.2-4
//rfc:4004#3.2-10
//rfc:4004#4.1.1-1
//rfc:4004#5.2-2
//rfc:4004#5.3-3
//rfc:4004#7.10-2
//rfc:4004#8-1
//rfc:4004#8.1-1
func TestANodeGetsKeysAndAHomeAgentInTheVisitedNetwork(t *testing.T) {
	w := newWorld(t, nil)
	var har mipapp.HAR
	accept := w.agents["ha9.visited.example"]
	w.agents["ha9.visited.example"] = func(m *diameter.Message) *diameter.Message {
		har, _ = mipapp.ReadHAR(m)
		return accept(m)
	}
	a := w.attend(rrq{home: zero, agent: zero, keys: true}, nil)
	if a.Result != diameter.Success || a.HomeAgent != visitedHA || a.MultiSession != "multi-ha9.visited.example" {
		t.Fatalf("AMA: %+v", a)
	}
	// The home address of the home network has no place in the visited one.
	if har.HomeAddress.IsValid() || !a.HomeAddress.IsValid() {
		t.Errorf("home address %v in the HAR, %v in the AMA", har.HomeAddress, a.HomeAddress)
	}
	if got, want := w.names(), []string{"AMR ", "HAR aaa.visited.example", "HAR ha9.visited.example"}; !equal(got, want) {
		t.Errorf("messages %q, want %q", got, want)
	}
	if har.Session == "fa1.visited.example;1;1" || har.Foreign != atVisited || har.Candidate != "ha9.visited.example" {
		t.Errorf("HAR: %+v", har)
	}
	s := secret(t)
	k1, k2, k3 := har.Keys.MobileHome, har.Keys.MobileForeign, har.Keys.ForeignHome
	if k1 == nil || k2 == nil || k3 == nil {
		t.Fatalf("the HAR's keys: %+v", har.Keys)
	}
	if !s.Derive(k1.Nonce, []byte(van)).Equal(k1.Key) || k2.Key.Len() != 0 {
		t.Error("the home agent has not the keys that are its own")
	}
	if a.Keys.MobileHome != nil {
		t.Error("the foreign agent has the key between node and home agent")
	}
	if f := a.Keys.MobileForeign; f == nil || !s.Derive(k2.Nonce, []byte(van)).Equal(f.Key) || f.MobileSPI != 701 {
		t.Error("node and foreign agent have not the same key")
	}
	if f := a.Keys.ForeignHome; f == nil || !f.Key.Equal(k3.Key) || f.Key.Len() < 16 || f.AgentSPI != 9001 || k3.MobileSPI != 800 {
		t.Error("home agent and foreign agent have not the same key")
	}
	if a.Keys.Lifetime < a.Lifetime {
		t.Errorf("keys for %v, authorised for %v", a.Keys.Lifetime, a.Lifetime)
	}
}

// Which home agent, by what the request says, what the visited network offers and
// what the home realm allows.
//
//rfc:4004#3.1
//rfc:4004#3.2
//rfc:4004#6
//rfc:4004#3.1-3
//rfc:4004#3.1-4
//rfc:4004#3.1-5
//rfc:4004#3.1-6
//rfc:4004#3.2-7
//rfc:4004#7.5-4
//rfc:4004#7.5-5
func TestWhichHomeAgentIsChosen(t *testing.T) {
	for what, c := range map[string]struct {
		policy  realm.Policy
		r       rrq
		change  func(*mipapp.AMR)
		refuse  bool // the visited realm offers none
		result  diameter.ResultCode
		agent   netip.Addr
		partner []string
	}{
		"the node leaves it open":         {policy: realm.VisitedPreferred, r: rrq{home: zero, agent: zero}, agent: visitedHA},
		"and policy wants it at home":     {policy: realm.VisitedAllowed, r: rrq{home: zero, agent: zero}, agent: ha1},
		"the node wants it at home":       {policy: realm.VisitedPreferred, r: rrq{home: zero, agent: allOne}, agent: ha1},
		"the visited network offers none": {policy: realm.VisitedPreferred, r: rrq{home: zero, agent: zero}, refuse: true, agent: ha1},
		"the node names one at home":      {r: rrq{home: homeAddr, agent: ha2}, agent: ha2},
		"one that nobody knows":           {r: rrq{home: homeAddr, agent: netip.MustParseAddr("192.0.2.99")}, result: diameter.HANotAvailable},
		"the visited one, allowed":        {policy: realm.VisitedAllowed, r: rrq{home: homeAddr, agent: visitedHA}, agent: visitedHA},
		"the visited one, not allowed":    {policy: realm.AtHome, r: rrq{home: homeAddr, agent: visitedHA}, result: diameter.NoForeignHAService},
		"a foreign agent cannot offer in its realm's name": {policy: realm.VisitedPreferred, r: rrq{home: zero, agent: zero}, refuse: true, agent: ha1, change: func(q *mipapp.AMR) {
			q.Features |= diameter.ForeignHAAvailable
			q.Candidate, q.Foreign = "ha9.visited.example", atVisited
		}},
		"no agreement with the realm": {r: rrq{home: zero, agent: zero}, partner: []string{"other.example"}, result: diameter.AuthorizationRejected},
	} {
		w := newWorld(t, func(home, visited *realm.Config) {
			home.HomeAgentAt, home.Partners = c.policy, c.partner
			if c.refuse {
				visited.HomeAgents = nil
			}
		})
		if c.result == 0 {
			c.result = diameter.Success
		}
		if a := w.attend(c.r, c.change); a.Result != c.result || c.result.OK() && a.HomeAgent != c.agent {
			t.Errorf("%s: %v, home agent %v; want %v, %v", what, a.Result, a.HomeAgent, c.result, c.agent)
		}
	}
}

// Who is not a subscriber, who has another secret, who sends other octets than were
// signed: one and the same refusal, no HAR, and no session.
//
//rfc:4004#3.1
//rfc:4004#7.6
func TestStrangersAreRefusedAndLeaveNothing(t *testing.T) {
	other, _ := assoc.New(512, assoc.HMACMD5, assoc.NewKey([]byte("another secret..")), assoc.Timestamps)
	for what, c := range map[string]struct {
		by     aaa.Secret
		change func(*mipapp.AMR)
		want   diameter.ResultCode
	}{
		"another secret":            {by: aaa.Shared(other), want: diameter.AuthenticationRejected},
		"a changed authenticator":   {by: secret(t), want: diameter.AuthenticationRejected, change: func(q *mipapp.AMR) { q.Request[len(q.Request)-1] ^= 1 }},
		"an offset beyond its end":  {by: secret(t), want: diameter.InvalidAVPValue, change: func(q *mipapp.AMR) { q.Proof.Covered = make([]byte, 4000) }},
		"an offset of other octets": {by: secret(t), want: diameter.InvalidAVPValue, change: func(q *mipapp.AMR) { q.Proof.Covered = q.Proof.Covered[:30] }},
		"another's name":            {by: secret(t), want: diameter.InvalidAVPValue, change: func(q *mipapp.AMR) { q.User = "bus@home.example" }},
	} {
		w := newWorld(t, nil)
		a := w.attend(rrq{home: zero, agent: zero, keys: true, by: &c.by}, c.change)
		if a.Result != c.want || a.Keys.MobileForeign != nil {
			t.Errorf("%s: %v, want %v", what, a.Result, c.want)
		}
		for _, m := range w.seen {
			if m.Command == diameter.HomeAgentMIP {
				t.Errorf("%s: a home agent was asked", what)
			}
		}
		if st := w.status("home.example"); len(st.Sessions) != 0 {
			t.Errorf("%s: %d sessions", what, len(st.Sessions))
		}
	}
}

// A denial of the home agent reaches the foreign agent; one that is away is 4006.
//
//rfc:4004#6.1
func TestAHomeAgentThatRefusesAndOneThatIsAway(t *testing.T) {
	w := newWorld(t, nil)
	w.agents["ha1.home.example"] = func(m *diameter.Message) *diameter.Message {
		return mipapp.HAA{Result: diameter.MIPReplyFailure, Reply: []byte("133")}.Answer(m)
	}
	if a := w.attend(rrq{home: homeAddr, agent: ha1}, nil); a.Result != diameter.MIPReplyFailure || string(a.Reply) != "133" {
		t.Errorf("refused: %v %q", a.Result, a.Reply)
	}
	w.down["ha1.home.example"] = true
	if a := w.attend(rrq{home: homeAddr, agent: ha1}, nil); a.Result != diameter.HANotAvailable {
		t.Errorf("away: %v", a.Result)
	}
	if st := w.status("home.example"); len(st.Sessions) != 0 {
		t.Errorf("%d sessions", len(st.Sessions))
	}
}

// All HARs of one session have one Session-Id, which is not the AMR's; moves are
// one session; a foreign agent's STR ends its part, and only the home agent's ends
// the whole.
//
//rfc:4004#4.1.1
//rfc:4004#4.1.2
//rfc:4004#4.1.3
//rfc:4004#4.1.1-2
//rfc:4004#4.1.3-2
func TestASessionLastsOverMovesUntilTheHomeAgentEndsIt(t *testing.T) {
	w := newWorld(t, func(home, _ *realm.Config) { home.HomeAgentAt = realm.AtHome })
	w.attend(rrq{home: zero, agent: allOne}, nil)
	w.attend(rrq{home: homeAddr, agent: ha1}, func(q *mipapp.AMR) { q.Session = "fa1.visited.example;1;2" })
	ids := map[string]bool{}
	for _, m := range w.seen {
		if m.Command == diameter.HomeAgentMIP {
			id, _ := m.Text(diameter.SessionID)
			ids[id] = true
		}
	}
	st := w.status("home.example")
	if len(ids) != 1 || len(st.Sessions) != 1 || !ids[st.Sessions[0].ID] || len(st.Sessions[0].Attendants) != 2 {
		t.Fatalf("Session-Ids %v, sessions %+v", ids, st.Sessions)
	}
	id := st.Sessions[0].ID
	end := func(session, host, name string) diameter.ResultCode {
		m := mipapp.Termination{Session: session, User: van, Realm: "home.example", Cause: diameter.Logout}.Message()
		got := w.serve(name, originate(m, mipapp.Identity{Host: host, Realm: name}))
		r, _ := got.Result()
		return r
	}
	if r := end(id, "fa1.visited.example", "visited.example"); r != diameter.AuthorizationRejected {
		t.Errorf("the foreign agent ends the home agent's session: %v", r)
	}
	if r := end("fa1.visited.example;1;1", "fa1.visited.example", "visited.example"); !r.OK() {
		t.Errorf("STR of the foreign agent: %v", r)
	}
	if st := w.status("home.example"); len(st.Sessions) != 1 || len(st.Sessions[0].Attendants) != 1 {
		t.Errorf("after the foreign agent's STR: %+v", st.Sessions)
	}
	if r := end(id, "ha1.home.example", "home.example"); !r.OK() {
		t.Errorf("STR of the home agent: %v", r)
	}
	if st := w.status("home.example"); len(st.Sessions) != 0 {
		t.Errorf("after the home agent's STR: %+v", st.Sessions)
	}
	if r := end(id, "ha1.home.example", "home.example"); r != diameter.UnknownSessionID {
		t.Errorf("once more: %v", r)
	}
	// The foreign agent that is left says so a moment later.
	if r := end("fa1.visited.example;1;2", "fa2.visited.example", "visited.example"); r != diameter.UnknownSessionID {
		t.Errorf("STR of another foreign agent after that: %v", r)
	}
	if r := end("fa1.visited.example;1;2", "fa1.visited.example", "visited.example"); !r.OK() {
		t.Errorf("STR of the foreign agent after that: %v", r)
	}
	if r := end("fa1.visited.example;1;2", "fa1.visited.example", "visited.example"); r != diameter.UnknownSessionID {
		t.Errorf("once more: %v", r)
	}
}

// The operator ends a session: an ASR goes to the home agent, not to the foreign
// agent.
//
//rfc:4004#4.1.3
//rfc:4004#4.1.3-5
func TestAnOperatorEndsASession(t *testing.T) {
	w := newWorld(t, func(home, _ *realm.Config) { home.HomeAgentAt = realm.AtHome })
	w.attend(rrq{home: zero, agent: allOne}, nil)
	w.seen = nil
	w.tickets++
	w.do("home.example", w.servers["home.example"].Step(w.now, engine.Command{Ticket: w.tickets, Value: realm.End{NAI: van}}))
	if got := w.names(); !equal(got, []string{"ASR ha1.home.example"}) {
		t.Errorf("messages %q", got)
	}
}

// A server serves by another configuration without a restart: who is no subscriber any
// more has its session ended at the home agent, and is refused; who is new is served.
//
//rfc:4004#4.1.3
func TestAServerTakesOtherSubscribers(t *testing.T) {
	var cfg realm.Config
	w := newWorld(t, func(home, _ *realm.Config) { home.HomeAgentAt = realm.AtHome; cfg = *home })
	w.attend(rrq{home: zero, agent: allOne}, nil)
	known := cfg.Subscribers
	take := func(book aaa.Book) {
		t.Helper()
		cfg.Subscribers = book
		w.seen = nil
		w.tickets++
		w.do("home.example", w.servers["home.example"].Step(w.now, engine.Command{Ticket: w.tickets, Value: realm.Reconfigure{Config: cfg}}))
	}
	take(known)
	if got := w.names(); len(got) != 0 {
		t.Errorf("without a difference: %q", got)
	}
	if st := w.status("home.example"); len(st.Sessions) != 1 {
		t.Errorf("without a difference there are %+v", st.Sessions)
	}
	take(aaa.Book{})
	if got := w.names(); !equal(got, []string{"ASR ha1.home.example"}) {
		t.Errorf("messages %q", got)
	}
	refused := func() bool {
		before := w.status("home.example").Counters.Rejected
		w.attend(rrq{home: zero, agent: allOne}, nil)
		return w.status("home.example").Counters.Rejected > before
	}
	if !refused() {
		t.Error("who is no subscriber any more is served")
	}
	take(known)
	if refused() {
		t.Error("a subscriber that is there again is refused")
	}
}

// What agents have counted comes to the home realm, whatever realm they are in, and
// a session that nobody prolongs is forgotten.
//
//rfc:4004#4.1.2
//rfc:4004#10
func TestRecordsComeHomeAndSessionsEnd(t *testing.T) {
	w := newWorld(t, func(home, _ *realm.Config) { home.HomeAgentAt = realm.AtHome })
	w.attend(rrq{home: zero, agent: allOne}, nil)
	id := w.status("home.example").Sessions[0].ID
	for host, session := range map[string]string{"ha1.home.example": id, "fa1.visited.example": "fa1.visited.example;1;1"} {
		name := mipapp.Realm(ident.NAI("x@" + host[4:]))
		m := originate(mipapp.Record{
			Session: session, MultiSession: "multi", User: van, Realm: "home.example", Moment: aaa.Interim, At: epoch, HomeAgent: ha1, HomeAddress: homeAddr,
			Used: forward.Counters{ReceivedBytes: 1000, SentBytes: 2000},
		}.Message(), mipapp.Identity{Host: host, Realm: name})
		if r, _ := w.serve(name, m).Result(); !r.OK() {
			t.Errorf("ACR of %s: %v", host, r)
		}
	}
	if st := w.status("home.example"); st.Counters.Records != 2 || st.Sessions[0].Used.ReceivedBytes != 1000 {
		t.Errorf("%+v", st)
	}
	w.now.Mono = w.now.Mono.Add(2 * time.Hour)
	for _, name := range []string{"home.example", "visited.example"} {
		if st := w.status(name); len(st.Sessions) != 0 {
			t.Errorf("%s remembers %+v", name, st.Sessions)
		}
	}
}

// Without TLS no keys, where the configuration wants it so.
//
//rfc:4004#8.3
//rfc:4004#6.2
//rfc:4004#8.3-1
func TestKeysGoOverProtectedConnectionsAlone(t *testing.T) {
	w := newWorld(t, func(home, _ *realm.Config) { home.RequireTLS = true })
	_, proof := w.request(rrq{home: zero, agent: zero, keys: true})
	amr, err := mipapp.RequestOf(aaa.Authenticate{Subject: aaa.Subject{NAI: van}, Proof: proof})
	if err != nil {
		t.Fatal(err)
	}
	amr.Session = "x"
	m := originate(amr.Message(), mipapp.Identity{Host: "fa1.visited.example", Realm: "visited.example"})
	var got *diameter.Message
	for _, act := range w.servers["home.example"].Step(w.now, engine.Command{Ticket: 1, Value: realm.Arrived{Message: m}}) {
		if r, ok := act.(engine.Result); ok {
			got, _ = r.Value.(*diameter.Message)
		}
	}
	if r, _ := got.Result(); r != diameter.EndToEndMIPKeyEncryption {
		t.Errorf("%v", r)
	}
}

// A home agent asks about a node that has come to it directly: it gets key and
// nonce, and no reply, for it makes that itself. Nobody else is answered so. The
// session is the home agent's, and ends with its STR.
//
//rfc:4004#3.3
//rfc:4004#5.2-3
func TestAHomeAgentAsksForACoLocatedNode(t *testing.T) {
	for host, want := range map[string]diameter.ResultCode{"ha1.home.example": diameter.Success, "ha2.home.example": diameter.HANotAvailable, "fa1.home.example": diameter.AuthorizationRejected} {
		w := newWorld(t, nil)
		_, proof := w.request(rrq{home: zero, agent: ha1, keys: true})
		amr, err := mipapp.RequestOf(aaa.Authenticate{Subject: aaa.Subject{NAI: van}, Proof: proof, CoLocated: true, Wishes: aaa.KeyWishes{MobileHome: aaa.KeyWish{MobileSPI: 700}}})
		if err != nil {
			t.Fatal(err)
		}
		amr.Session, amr.MultiSession = host+";1;1", "multi"
		got := w.serve("home.example", originate(amr.Message(), mipapp.Identity{Host: host, Realm: "home.example"}))
		a, err := mipapp.ReadAMA(got)
		if err != nil || a.Result != want {
			t.Fatalf("%s: %+v, %v", host, a, err)
		}
		if !want.OK() {
			continue
		}
		s := secret(t)
		if k := a.Keys.MobileHome; a.Reply != nil || k == nil || !s.Derive(k.Nonce, []byte(van)).Equal(k.Key) || a.HomeAddress != homeAddr || a.HomeAgent != ha1 {
			t.Errorf("AMA %+v", a)
		}
		if len(w.seen) != 0 || len(w.status("home.example").Sessions) != 1 {
			t.Errorf("%d other messages, sessions %+v", len(w.seen), w.status("home.example").Sessions)
		}
		m := mipapp.Termination{Session: amr.Session, User: van, Realm: "home.example", Cause: diameter.Logout}.Message()
		if r, _ := w.serve("home.example", originate(m, mipapp.Identity{Host: host, Realm: "home.example"})).Result(); !r.OK() || len(w.status("home.example").Sessions) != 0 {
			t.Errorf("STR: %v", r)
		}
	}
}
