package revoke_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature/revoke"
	"careof/internal/proto/mip4/ha"
	"careof/wire/adv4"
	"careof/wire/mip4"
)

const accepted = mip4.CodeAccepted

func allowed(t *testing.T) *network {
	t.Helper()
	n := newNetwork(t, revoke.Config{}, revoke.Config{})
	if code := n.visit(600); code != accepted {
		t.Fatalf("the visitor is refused: %v", code)
	}
	n.run(2 * time.Second)
	return n
}

// TestTheHomeAgentRevokes frees the foreign agent within a round trip, and the
// visitor hears of it from there.
//
//rfc:3543#4.2.2.1
//rfc:3543#4.2.2.2
//rfc:3543#4.1
//rfc:3543#3.1
func TestTheHomeAgentRevokes(t *testing.T) {
	n := allowed(t)
	if len(n.home.plane) != 1 || len(n.foreign.plane) != 1 {
		t.Fatalf("%d and %d entries before", len(n.home.plane), len(n.foreign.plane))
	}
	n.step(n.home, engine.Command{Ticket: 1, Value: revoke.Revoke{Node: ident.Node{HomeAddress: visitor}}})
	n.run(delay)
	if len(n.home.plane) != 0 || len(n.foreign.plane) != 0 {
		t.Errorf("%d and %d entries half a round trip later", len(n.home.plane), len(n.foreign.plane))
	}
	n.run(delay)
	if len(n.home.results) != 1 {
		t.Fatal("no result a round trip later")
	}
	r := n.home.results[0].Value.(revoke.Report)
	if r.Bindings != 1 || len(r.Peers) != 1 || !r.Peers[0].Acknowledged || !r.Peers[0].Informed || r.Blocked {
		t.Errorf("report %+v", r)
	}
	if len(n.adverts) == 0 {
		t.Fatal("the visitor was not told")
	}
	if last := n.adverts[len(n.adverts)-1]; last.Sequence != 0 || !last.Flags.Has(adv4.FlagX) {
		t.Errorf("the visitor is told with sequence number %d and flags %v", last.Sequence, last.Flags)
	}
	if got := n.messages(mip4.TypeRevocation); len(got) != 1 || got[0].Dst != netip.AddrPortFrom(careOf, 434) || got[0].Src.Addr() != homeAgent {
		t.Errorf("revocations %+v", got)
	}
	if code := n.visit(600); code != accepted {
		t.Errorf("the visitor may not come again: %v", code)
	}
}

// TestALostAnswerMakesItAskAgain retransmits with a new Identifier, ever more
// rarely, and the foreign agent answers again though the visit is gone.
//
//rfc:3543#4.2.2.1
func TestALostAnswerMakesItAskAgain(t *testing.T) {
	n := allowed(t)
	acks := 0
	n.lost = func(s engine.Send) bool {
		if mip4.MessageType(s.Data[0]) != mip4.TypeRevocationAck {
			return false
		}
		acks++
		return acks <= 2
	}
	r, err := n.order(revoke.Revoke{Node: ident.Node{HomeAddress: visitor}})
	if err != nil || len(r.Peers) != 1 || !r.Peers[0].Acknowledged {
		t.Errorf("report %+v, %v", r, err)
	}
	asked := n.messages(mip4.TypeRevocation)
	if len(asked) != 3 {
		t.Fatalf("asked %d times, want 3", len(asked))
	}
	var last uint32
	for _, s := range asked {
		m, _ := mip4.Parse(s.Data)
		v, err := m.Revocation()
		if err != nil || v.Identifier <= last {
			t.Errorf("Identifier %d after %d (%v)", v.Identifier, last, err)
		}
		last = v.Identifier
	}
}

// TestItGivesUpWithTheBinding: "MUST NOT retransmit revocation messages beyond
// the normal life of the binding"; a message a second at most.
//
//rfc:3543#4.2.2.1
//rfc:3543#3.3
func TestItGivesUpWithTheBinding(t *testing.T) {
	n := newNetwork(t, revoke.Config{}, revoke.Config{})
	if code := n.visit(20); code != accepted {
		t.Fatal(code)
	}
	end := n.now.Mono.Add(20 * time.Second)
	n.lost = func(s engine.Send) bool {
		if mip4.MessageType(s.Data[0]) == mip4.TypeRevocation && n.now.Mono.After(end) {
			t.Errorf("revoked %v after the binding's end", n.now.Mono.Sub(end))
		}
		return mip4.MessageType(s.Data[0]) == mip4.TypeRevocation
	}
	// At once after the reply: the first has to wait.
	r, err := n.order(revoke.Revoke{Node: ident.Node{HomeAddress: visitor}})
	if err != nil || r.Bindings != 1 || len(r.Peers) != 0 {
		t.Errorf("report %+v, %v", r, err)
	}
	n.run(time.Minute)
	if got := len(n.messages(mip4.TypeRevocation)); got < 3 || got > 5 {
		t.Errorf("asked %d times in 20 s, want 4 or so", got)
	}
	if n.home.told(revoke.Unanswered) != 1 {
		t.Error("nobody is told that there was no answer")
	}
}

// TestOldRevocationsAreIgnored replays and reflects.
//
//rfc:3543#3.5
//rfc:3543#6.2
func TestOldRevocationsAreIgnored(t *testing.T) {
	n := allowed(t)
	if _, err := n.order(revoke.Revoke{Node: ident.Node{HomeAddress: visitor}}); err != nil {
		t.Fatal(err)
	}
	captured := n.messages(mip4.TypeRevocation)[0]
	n.run(3 * time.Second)
	if code := n.visit(600); code != accepted {
		t.Fatal(code)
	}
	acks := len(n.messages(mip4.TypeRevocationAck))
	n.deliver(captured)
	n.run(time.Second)
	if len(n.foreign.plane) != 1 || len(n.messages(mip4.TypeRevocationAck)) != acks {
		t.Error("a replayed revocation ended the new visit, or was answered")
	}
	// Back to where it came from, under the foreign agent's address.
	back := captured
	back.Src, back.Dst = netip.AddrPortFrom(careOf, 434), netip.AddrPortFrom(homeAgent, 434)
	n.deliver(back)
	n.run(time.Second)
	if len(n.home.plane) != 1 || len(n.messages(mip4.TypeRevocationAck)) != acks {
		t.Error("a reflected revocation ended the binding, or was answered")
	}
	// And one bit changed.
	forged := captured
	forged.Data = append([]byte(nil), captured.Data...)
	forged.Data[19]++ // a later Identifier
	n.deliver(forged)
	n.run(time.Second)
	if len(n.foreign.plane) != 1 || len(n.messages(mip4.TypeRevocationAck)) != acks {
		t.Error("a forged revocation ended the visit, or was answered")
	}
}

// TestAnIdentifierFromTheFutureIsIgnored: it could be kept for later.
//
//rfc:3543#6.2
func TestAnIdentifierFromTheFutureIsIgnored(t *testing.T) {
	n := allowed(t)
	send := func(ahead time.Duration) {
		d := mip4.NewMessage(&mip4.Revocation{
			FromHomeAgent: true, HomeAddress: visitor, HomeDomainAddress: homeAgent, ForeignDomainAddress: careOf,
			Identifier: uint32(assoc.Timestamp(n.now.Wall.Add(ahead)) >> 32),
		})
		d.Authenticate(mip4.ExtForeignHome, agentKey)
		data, err := d.Seal()
		if err != nil {
			t.Fatal(err)
		}
		n.deliver(engine.Send{Src: netip.AddrPortFrom(homeAgent, 434), Dst: netip.AddrPortFrom(careOf, 434), Data: data})
		n.run(time.Second)
	}
	send(time.Hour)
	if len(n.foreign.plane) != 1 {
		t.Fatal("an hour ahead was taken")
	}
	send(5 * time.Second)
	if len(n.foreign.plane) != 0 {
		t.Error("a clock that is 5 s ahead is not believed")
	}
}

// TestTheForeignAgentRevokes: a visit that its operator ends frees the home
// agent; with the I bit agreed the home agent says whether the visitor hears.
//
//rfc:3543#4.2.3.1
//rfc:3543#4.2.3.2
func TestTheForeignAgentRevokes(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		n := newNetwork(t, revoke.Config{Quiet: quiet}, revoke.Config{})
		if code := n.visit(600); code != accepted {
			t.Fatal(code)
		}
		n.run(2 * time.Second)
		n.adverts = nil
		lose := 1
		n.lost = func(s engine.Send) bool {
			if mip4.MessageType(s.Data[0]) == mip4.TypeRevocationAck && lose > 0 {
				lose--
				return true
			}
			return false
		}
		n.step(n.foreign, engine.Command{Ticket: 1, Value: fa.ClearVisitor{Node: ident.Node{HomeAddress: visitor}}})
		n.run(delay)
		if len(n.home.plane) != 0 || n.home.told(revoke.Revoked) != 1 {
			t.Error("half a round trip later the home agent still has the binding")
		}
		n.run(5 * time.Second)
		if n.foreign.told(revoke.Acknowledged) != 1 {
			t.Error("the foreign agent was not answered, though it asked twice")
		}
		if told := len(n.adverts) > 0; told == quiet {
			t.Errorf("quiet %v: the visitor was told: %v", quiet, told)
		}
	}
}

// TestTheLastForeignAgentIsReleased: the node has moved; the agent that it left
// may have its resources back, and need not look for it.
//
//rfc:3543#1
func TestTheLastForeignAgentIsReleased(t *testing.T) {
	n := allowed(t)
	n.adverts = nil
	n.move()
	n.run(time.Second)
	if len(n.home.plane) != 1 || len(n.foreign.plane) != 0 {
		t.Errorf("%d and %d entries after the move", len(n.home.plane), len(n.foreign.plane))
	}
	if len(n.adverts) != 0 {
		t.Error("the agent that the node has left looks for it")
	}
}

// TestWhoComesBackKeepsTheVisit: the revocation of the last visit waits for its
// second, or for its acknowledgment, when the node registers there again. It
// would end the new visit.
//
//rfc:3543#3.3
func TestWhoComesBackKeepsTheVisit(t *testing.T) {
	for _, c := range []struct {
		what   string
		rested time.Duration // since the first registration
		away   time.Duration
		lose   bool
		sent   int
	}{
		{"before it is sent", 0, 300 * time.Millisecond, false, 0},
		{"before it is sent again", 2 * time.Second, 700 * time.Millisecond, true, 1},
		{"after it has done its work", 2 * time.Second, 700 * time.Millisecond, false, 1},
	} {
		n := newNetwork(t, revoke.Config{}, revoke.Config{})
		if code := n.visit(600); code != accepted {
			t.Fatal(code)
		}
		n.run(c.rested)
		n.lost = func(s engine.Send) bool { return c.lose && mip4.MessageType(s.Data[0]) == mip4.TypeRevocation }
		n.move()
		n.run(c.away)
		n.lost = func(engine.Send) bool { return false }
		if got := len(n.messages(mip4.TypeRevocation)); got != c.sent {
			t.Fatalf("%s: %d revocations before it is back, want %d", c.what, got, c.sent)
		}
		if code := n.visit(600); code != accepted {
			t.Fatalf("%s: back: %v", c.what, code)
		}
		n.run(10 * time.Second)
		if len(n.foreign.plane) != 1 || len(n.home.plane) != 1 {
			t.Errorf("%s: %d entries at the foreign agent and %d at the home agent after the return", c.what, len(n.foreign.plane), len(n.home.plane))
		}
		if got := len(n.messages(mip4.TypeRevocation)); got != c.sent {
			t.Errorf("%s: %d revocations, want %d", c.what, got, c.sent)
		}
		if n.home.told(revoke.Unanswered) != 0 {
			t.Errorf("%s: people are told of an answer that nobody waits for", c.what)
		}
	}
}

// TestWhoComesBackKeepsTheBinding: the same, where the foreign agent has ended
// the visit and its word was not heard.
//
//rfc:3543#3.3
func TestWhoComesBackKeepsTheBinding(t *testing.T) {
	n := allowed(t)
	n.run(n.now.Wall.Truncate(time.Second).Add(time.Second + delay/2).Sub(n.now.Wall))
	n.lost = func(s engine.Send) bool { return mip4.MessageType(s.Data[0]) == mip4.TypeRevocation }
	n.step(n.foreign, engine.Command{Ticket: 1, Value: fa.ClearVisitor{Node: ident.Node{HomeAddress: visitor}}})
	// Its next try is due while the home agent's reply is on its way, in another
	// second than the request.
	n.run(time.Second - delay)
	n.lost = func(engine.Send) bool { return false }
	if code := n.visit(600); code != accepted {
		t.Fatal(code)
	}
	n.adverts = nil
	n.run(10 * time.Second)
	if len(n.foreign.plane) != 1 || len(n.home.plane) != 1 || n.home.told(revoke.Revoked) != 0 {
		t.Errorf("%d entries at the foreign agent and %d at the home agent after the return", len(n.foreign.plane), len(n.home.plane))
	}
	if len(n.adverts) != 0 {
		t.Error("the visitor is told that its new visit is over")
	}
}

// TestAnOrderEndsWhenTheNodeIsBack: it need not wait for an acknowledgment that
// will not come.
func TestAnOrderEndsWhenTheNodeIsBack(t *testing.T) {
	n := allowed(t)
	n.lost = func(s engine.Send) bool { return mip4.MessageType(s.Data[0]) == mip4.TypeRevocation }
	n.step(n.home, engine.Command{Ticket: 1, Value: revoke.Revoke{Node: ident.Node{HomeAddress: visitor}}})
	n.run(300 * time.Millisecond)
	if code := n.visit(600); code != accepted {
		t.Fatal(code)
	}
	n.run(time.Second)
	if len(n.home.results) != 1 {
		t.Fatal("the command still waits")
	}
	if r := n.home.results[0].Value.(revoke.Report); r.Bindings != 1 || len(r.Peers) != 1 || r.Peers[0].Acknowledged {
		t.Errorf("report %+v", r)
	}
}

// TestADirectNodeIsTold: it acknowledges, and finds out anew what it gets.
//
//rfc:3543#4.2.2.3
func TestADirectNodeIsTold(t *testing.T) {
	n := newNetwork(t, revoke.Config{}, revoke.Config{})
	n.step(n.mobile, up("wlan0", elsewhere))
	n.run(3 * time.Second)
	if len(n.home.plane) != 1 {
		t.Fatal("the node is not registered")
	}
	r, err := n.order(revoke.Revoke{Node: ident.Node{HomeAddress: direct}})
	if err != nil || len(r.Peers) != 1 || !r.Peers[0].Acknowledged || r.Peers[0].Informed {
		t.Errorf("report %+v, %v", r, err)
	}
	if n.mobile.told(revoke.Revoked) != 1 {
		t.Error("the node did not hear of it")
	}
	n.run(5 * time.Second)
	if len(n.home.plane) != 1 {
		t.Error("the node did not come back")
	}
	captured := n.messages(mip4.TypeRevocation)[0]
	n.deliver(captured)
	n.run(time.Second)
	if n.mobile.told(revoke.Revoked) != 1 || len(n.home.plane) != 1 {
		t.Error("a replayed revocation was taken")
	}
}

// TestABlockedNodeStaysOut, over a restart, until it is unblocked.
func TestABlockedNodeStaysOut(t *testing.T) {
	n := allowed(t)
	r, err := n.order(revoke.Revoke{Node: ident.Node{HomeAddress: visitor}, Block: true})
	if err != nil || !r.Blocked || len(r.Peers) != 1 || !r.Peers[0].Acknowledged {
		t.Fatalf("report %+v, %v", r, err)
	}
	n.run(2 * time.Second)
	if code := n.visit(600); code != mip4.CodeHAProhibited {
		t.Errorf("the blocked node hears %v, want 129", code)
	}
	n.bootHome(revoke.Config{Mode: revoke.Off})
	n.run(2 * time.Second)
	if code := n.visit(600); code != mip4.CodeHAProhibited {
		t.Errorf("after a restart the blocked node hears %v, want 129", code)
	}
	n.step(n.home, engine.Command{Ticket: 5, Value: revoke.ListBlocked{}})
	if list := n.home.results[len(n.home.results)-1].Value.([]revoke.BlockedNode); len(list) != 1 || list[0].Node != visitor.String() {
		t.Errorf("blocked are %+v", list)
	}
	if _, err := n.order(revoke.Unblock{Node: ident.Node{HomeAddress: visitor}}); err != nil {
		t.Fatal(err)
	}
	n.bootHome(revoke.Config{})
	n.run(2 * time.Second)
	if code := n.visit(600); code != accepted {
		t.Errorf("the node that may come again hears %v", code)
	}
	if _, err := n.order(revoke.Unblock{Node: ident.Node{HomeAddress: visitor}}); !errors.Is(err, ha.ErrNotFound) {
		t.Errorf("unblocking twice: %v", err)
	}
}

// TestAnAgreementSurvivesARestart of the home agent.
func TestAnAgreementSurvivesARestart(t *testing.T) {
	n := allowed(t)
	n.bootHome(revoke.Config{})
	n.run(time.Second)
	r, err := n.order(revoke.Revoke{Node: ident.Node{HomeAddress: visitor}})
	if err != nil || len(r.Peers) != 1 || !r.Peers[0].Acknowledged || len(n.foreign.plane) != 0 {
		t.Errorf("report %+v, %v; %d entries", r, err, len(n.foreign.plane))
	}
	for key := range n.store {
		if len(key) > 14 && key[:14] == "ha/revocation/" {
			t.Errorf("%s is still stored", key)
		}
	}
}

// TestWithoutItNothingChanges: one end that never heard of it.
//
//rfc:3543#4.2.1
func TestWithoutItNothingChanges(t *testing.T) {
	for _, c := range []struct{ home, foreign revoke.Mode }{{revoke.Off, revoke.Allowed}, {revoke.Allowed, revoke.Off}} {
		n := newNetwork(t, revoke.Config{Mode: c.home}, revoke.Config{Mode: c.foreign})
		if code := n.visit(600); code != accepted {
			t.Fatalf("%+v: %v", c, code)
		}
		n.run(2 * time.Second)
		r, err := n.order(revoke.Revoke{Node: ident.Node{HomeAddress: visitor}})
		if err != nil || r.Bindings != 1 || len(r.Peers) != 0 || len(n.messages(mip4.TypeRevocation)) != 0 {
			t.Errorf("%+v: report %+v, %v", c, r, err)
		}
		if len(n.home.plane) != 0 || len(n.foreign.plane) != 1 {
			t.Errorf("%+v: %d and %d entries", c, len(n.home.plane), len(n.foreign.plane))
		}
	}
}

// TestRequired refuses who does not do it.
//
//rfc:3543#4.2.1
func TestRequired(t *testing.T) {
	if code := newNetwork(t, revoke.Config{Mode: revoke.Required}, revoke.Config{Mode: revoke.Off}).visit(600); code != mip4.CodeHAProhibited {
		t.Errorf("the home agent answers %v, want 129", code)
	}
	if code := newNetwork(t, revoke.Config{Mode: revoke.Off}, revoke.Config{Mode: revoke.Required}).visit(600); code != mip4.CodeFAProhibited {
		t.Errorf("the foreign agent answers %v, want 65", code)
	}
	if code := newNetwork(t, revoke.Config{Mode: revoke.Required}, revoke.Config{Mode: revoke.Required}).visit(600); code != accepted {
		t.Errorf("between two that do it: %v", code)
	}
}

// TestAVisitorMustNotOfferIt: "it MUST silently discard it".
//
//rfc:3543#4.2.1
func TestAVisitorMustNotOfferIt(t *testing.T) {
	n := newNetwork(t, revoke.Config{}, revoke.Config{})
	if code := n.visit(600, func(d *mip4.Draft) { d.Add(mip4.ZoneHome, &mip4.RevocationSupport{Timestamp: 1}) }); code != 255 {
		t.Errorf("it is answered with %v", code)
	}
}

// TestTheAgentBitIsChecked: each agent listens to the other kind alone, though
// both have the key.
//
//rfc:3543#3.5
func TestTheAgentBitIsChecked(t *testing.T) {
	n := allowed(t)
	for _, c := range []struct {
		fromHome bool
		from, to netip.Addr
	}{{false, homeAgent, careOf}, {true, careOf, homeAgent}} {
		d := mip4.NewMessage(&mip4.Revocation{
			FromHomeAgent: c.fromHome, HomeAddress: visitor, HomeDomainAddress: homeAgent, ForeignDomainAddress: careOf,
			Identifier: uint32(assoc.Timestamp(n.now.Wall.Add(time.Second)) >> 32),
		})
		d.Authenticate(mip4.ExtForeignHome, agentKey)
		data, err := d.Seal()
		if err != nil {
			t.Fatal(err)
		}
		n.deliver(engine.Send{Src: netip.AddrPortFrom(c.from, 434), Dst: netip.AddrPortFrom(c.to, 434), Data: data})
		n.run(time.Second)
		if len(n.home.plane) != 1 || len(n.foreign.plane) != 1 || len(n.messages(mip4.TypeRevocationAck)) != 0 {
			t.Errorf("%v took a revocation of its own kind", c.to)
		}
	}
}
