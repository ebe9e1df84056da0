package diameter

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	wire "careof/wire/diameter"
)

func dials(hosts ...string) []Peer {
	var p []Peer
	for _, h := range hosts {
		p = append(p, Peer{Host: h, Connect: true})
	}
	return p
}

func waits(hosts ...string) []Peer {
	p := dials(hosts...)
	for i := range p {
		p[i].Connect = false
	}
	return p
}

//rfc:6733#5.3
//rfc:6733#5.6
func TestCapabilitiesAreExchangedAndARequestIsAnswered(t *testing.T) {
	w := newWorld(t)
	fa := w.add(Config{Host: "fa.visited", Realm: "visited", Peers: dials("aaa.home")})
	aaa := w.add(Config{Host: "aaa.home", Realm: "home", Peers: waits("fa.visited")})
	w.wants("connection", fa.up("aaa.home"))
	if got := aaa.state("fa.visited"); got != "r-open" {
		t.Errorf("the responder is in state %s", got)
	}
	w.step(fa.host(), Submit{Ticket: 1, Request: str("home")})
	w.wants("answer", func() bool { return len(fa.answered) == 1 })
	a := fa.answered[0]
	if r, _ := a.Answer.Result(); a.Err != nil || r != wire.Success || a.Ticket != 1 || a.Peer != "aaa.home" {
		t.Errorf("%+v", a)
	}
	if host, _ := a.Answer.Text(wire.OriginHost); host != "aaa.home" {
		t.Errorf("Origin-Host %q", host)
	}
}

func (h *host) host() *host { return h }

// Both dial at the same moment: one connection survives, the same on both sides.
//
//rfc:6733#5.6.4
func TestAnElectionLeavesOneConnection(t *testing.T) {
	w := newWorld(t)
	a := w.add(Config{Host: "a.example", Realm: "a", Peers: dials("B.example")})
	b := w.add(Config{Host: "B.example", Realm: "b", Peers: dials("a.example")})
	w.wants("a connection", func() bool { return a.up("B.example")() && b.up("a.example")() })
	w.run(10*time.Second, nil)
	// "The responder connection will survive if the Origin-Host of the local Diameter entity is higher": B's, without regard to case.
	if a.state("B.example") != "i-open" || b.state("a.example") != "r-open" || len(w.conns) != 2 {
		t.Errorf("a is %s, b is %s, %d ends of connections", a.state("B.example"), b.state("a.example"), len(w.conns))
	}
	if n := len(w.conns); n != 2 {
		t.Errorf("%d ends of connections, want 2", n)
	}
}

func TestWhoIsNoPeerLearnsNothing(t *testing.T) {
	for _, c := range []struct {
		name string
		peer Peer
		cer  string
		from byte
		tls  []string
		want bool
	}{
		{"its address", Peer{Host: "fa", Addresses: []netip.Addr{addrOf(9)}}, "fa", 9, nil, true},
		{"another address", Peer{Host: "fa", Addresses: []netip.Addr{addrOf(9)}}, "fa", 8, nil, false},
		{"another name", Peer{Host: "fa", Addresses: []netip.Addr{addrOf(9)}}, "eve", 9, nil, false},
		{"no TLS where it is wanted", Peer{Host: "fa", Secure: true, Addresses: []netip.Addr{addrOf(9)}}, "fa", 9, nil, false},
		{"a certificate of the name", Peer{Host: "fa", Secure: true}, "fa", 8, []string{"FA"}, true},
		{"a certificate of another name", Peer{Host: "fa", Secure: true, Addresses: []netip.Addr{addrOf(9)}}, "fa", 9, []string{"eve"}, false},
	} {
		w := newWorld(t)
		aaa := w.add(Config{Host: "aaa", Realm: "home", Peers: []Peer{c.peer}})
		w.last = 2
		w.conns[1], w.conns[2] = &pipe{aaa, 2}, &pipe{&host{name: "eve"}, 1}
		w.step(aaa, Accepted{Conn: 1, Local: aaa.addr, Remote: netip.AddrPortFrom(addrOf(int(c.from)), 1), Names: c.tls, Secure: c.tls != nil})
		cer := wire.NewRequest(wire.CapabilitiesExchange, 0, wire.OriginHost.Text(c.cer), wire.OriginRealm.Text("x"), wire.HostIPAddress.Address(addrOf(9)),
			wire.VendorID.Uint32(0), wire.ProductName.Text("x"), wire.AuthApplicationID.Uint32(2))
		octets, _ := cer.Append(nil)
		w.step(aaa, Received{Conn: 1, Octets: octets})
		if got := len(aaa.sent) == 1; got != c.want || len(aaa.links) != len(aaa.sent) {
			t.Errorf("%s: sent %v, connections %d", c.name, aaa.sent, len(aaa.links))
		}
		if !c.want && (len(aaa.notes) != 0 || aaa.Stats().Strangers != 1) {
			t.Errorf("%s: notes %v, strangers %d", c.name, aaa.notes, aaa.Stats().Strangers)
		}
	}
}

func TestStrangersAreFewAndHaveLittleTime(t *testing.T) {
	w := newWorld(t)
	aaa := w.add(Config{Host: "aaa", Realm: "home", MaxStrangers: 6, MaxPerSource: 4})
	for i := range 20 {
		w.step(aaa, Accepted{Conn: Conn(i + 1), Remote: netip.AddrPortFrom(addrOf(i/10), uint16(i))})
	}
	if n := len(aaa.links); n != 6 {
		t.Errorf("%d connections of strangers are held, want 4 and 2", n)
	}
	each := map[netip.Addr]int{}
	for _, l := range aaa.links {
		each[l.remote.Addr()]++
	}
	if each[addrOf(0)] != 4 || each[addrOf(1)] != 2 {
		t.Errorf("by source: %v, want 4 and 2", each)
	}
	w.run(patience, nil)
	w.step(aaa, nil)
	if n := len(aaa.links); n != 0 {
		t.Errorf("%d are still held after %v", n, patience)
	}
}

//rfc:6733#5.3
func TestNoCommonApplicationEndsTheConnection(t *testing.T) {
	w := newWorld(t)
	fa := w.add(Config{Host: "fa", Realm: "visited", Peers: dials("aaa")})
	w.add(Config{Host: "aaa", Realm: "home", Peers: waits("fa"), Applications: []wire.Application{wire.BaseAccounting}})
	w.wants("a refusal", func() bool { return len(fa.notes) > 0 })
	if !strings.Contains(fa.notes[0], "DIAMETER_NO_COMMON_APPLICATION") || fa.up("aaa")() {
		t.Errorf("%v, %s", fa.notes, fa.state("aaa"))
	}
	w.run(3*time.Minute, nil)
	if len(fa.notes) != 1 {
		t.Errorf("the same is said %d times", len(fa.notes))
	}
}

// "a relay … MUST be interpreted as having common applications".
//
//rfc:6733#5.3
func TestARelayHasEveryApplication(t *testing.T) {
	w := newWorld(t)
	fa := w.add(Config{Host: "fa", Realm: "visited", Peers: dials("relay")})
	w.add(Config{Host: "relay", Realm: "between", Peers: waits("fa"), Applications: []wire.Application{wire.Relay}})
	w.wants("a connection", fa.up("relay"))
}

// The watchdog: silence is asked about after Tw, suspected after another, and the connection is given up after a third. Then it is
// back after three answers.
//
//rfc:6733#5.5.3
//rfc:6733#5.1
func TestTheWatchdogFindsADeadPeerAndTrustsItSlowly(t *testing.T) {
	w := newWorld(t)
	fa := w.add(Config{Host: "fa", Realm: "visited", Peers: dials("aaa")})
	w.add(Config{Host: "aaa", Realm: "home", Peers: waits("fa")})
	w.wants("a connection", fa.up("aaa"))
	w.run(5*time.Minute, nil)
	if fa.health("aaa") != "okay" || len(fa.notes) != 1 {
		t.Fatalf("an idle connection is %s: %v", fa.health("aaa"), fa.notes)
	}
	w.cut["aaa"] = true
	cut := w.now
	w.wants("suspicion", func() bool { return fa.health("aaa") == "suspect" })
	if took := w.now.Sub(cut); took < 30*time.Second-4*time.Second || took > 64*time.Second {
		t.Errorf("suspected after %v, Tw is 30 s ± 2 s", took)
	}
	suspected := w.now
	w.wants("the end", func() bool { return fa.health("aaa") == "down" })
	if took := w.now.Sub(suspected); took < 28*time.Second || took > 32*time.Second {
		t.Errorf("given up after another %v", took)
	}
	w.run(time.Minute, nil)
	w.cut["aaa"] = false
	w.nodes["aaa"].conns(w)
	w.wants("it is back on probation", func() bool { return fa.health("aaa") == "reopen" })
	back := w.now
	w.wants("it is trusted", func() bool { return fa.health("aaa") == "okay" })
	if took := w.now.Sub(back); took < 56*time.Second || took > 64*time.Second {
		t.Errorf("trusted after %v: three answers take two Tw", took)
	}
}

// conns drops what a host still believes to be connected: what TCP's reset would do.
func (h *host) conns(w *world) {
	for id, p := range w.conns {
		if p.owner == h {
			delete(w.conns, id)
			w.step(h, Closed{Conn: id})
		}
	}
}

// Two servers: the best one dies with requests on their way. They go to the other with the T flag, each is answered once, and when the
// best one is back it gets the new ones.
//
//rfc:6733#5.5.4
func TestFailoverAndFailback(t *testing.T) {
	w := newWorld(t)
	fa := w.add(Config{Host: "fa", Realm: "visited", Peers: dials("one", "two"), Routes: []Route{{Realm: "home", Peers: []string{"one", "two"}}}, Timeout: 2 * time.Minute})
	one := w.add(Config{Host: "one", Realm: "home", Peers: waits("fa")})
	two := w.add(Config{Host: "two", Realm: "home", Peers: waits("fa")})
	w.wants("connections", func() bool { return fa.up("one")() && fa.up("two")() })
	w.step(fa, Submit{Ticket: 1, Request: str("home")})
	w.wants("an answer", func() bool { return len(fa.answered) == 1 })
	if fa.answered[0].Peer != "one" {
		t.Errorf("answered by %s", fa.answered[0].Peer)
	}
	w.cut["one"] = true
	for i := range 10 {
		w.step(fa, Submit{Ticket: uint64(10 + i), Request: str("home")})
	}
	before := len(fa.sent)
	w.wants("answers", func() bool { return len(fa.answered) == 11 })
	if got := fa.health("one"); got != "suspect" {
		t.Errorf("the requests went to the other when the first was %s: suspicion is enough", got)
	}
	again := 0
	for _, s := range fa.sent[before:] {
		if s == "STR RP-T" {
			again++
		}
	}
	if again != 10 {
		t.Errorf("%d requests were sent again with the T flag, want 10: %v", again, fa.sent[before:])
	}
	for i, a := range fa.answered[1:] {
		if a.Err != nil || a.Peer != "two" || a.Ticket != uint64(10+i) {
			t.Errorf("request %d: %+v", i, a)
		}
	}
	w.step(fa, Submit{Ticket: 30, Request: str("home")})
	if s := fa.sent[len(fa.sent)-1]; s != "STR RP--" {
		t.Errorf("a new request is sent as %s", s)
	}
	w.run(2*time.Minute, nil)
	w.cut["one"] = false
	one.conns(w)
	w.wants("probation", func() bool { return fa.health("one") == "reopen" })
	w.step(fa, Submit{Ticket: 29, Request: str("home")})
	w.wants("an answer", func() bool { return len(fa.answered) == 13 })
	if fa.answered[12].Peer != "two" {
		t.Errorf("on probation answered by %s", fa.answered[12].Peer)
	}
	w.wants("trust", func() bool { return fa.health("one") == "okay" })
	w.step(fa, Submit{Ticket: 31, Request: str("home")})
	w.wants("an answer", func() bool { return len(fa.answered) == 14 })
	if fa.answered[13].Peer != "one" {
		t.Errorf("after fail-back answered by %s", fa.answered[13].Peer)
	}
	if len(fa.pending)+len(fa.waiting) != 0 {
		t.Errorf("%d requests are still kept", len(fa.pending))
	}
	_ = two
}

// A request whose only peer died waits for it, and times out when it does not come.
func TestARequestWithoutAnotherPeerWaits(t *testing.T) {
	for _, comes := range []bool{true, false} {
		w := newWorld(t)
		fa := w.add(Config{Host: "fa", Realm: "visited", Peers: dials("aaa"), Timeout: 20 * time.Second})
		aaa := w.add(Config{Host: "aaa", Realm: "home", Peers: waits("fa")})
		w.wants("a connection", fa.up("aaa"))
		serve := aaa.serve
		aaa.serve = func(*world, *host, Deliver) {}
		w.step(fa, Submit{Ticket: 1, Request: str("home")})
		w.run(time.Second, nil)
		aaa.serve = serve
		aaa.known, aaa.served = map[duplicate]*served{}, map[uint64]*served{} // it has restarted
		aaa.conns(w)
		w.down["aaa"] = !comes
		fa.conns(w)
		w.wants("an end", func() bool { return len(fa.answered) == 1 })
		if got := fa.answered[0]; comes != (got.Err == nil) || !comes && !errors.Is(got.Err, ErrTimeout) {
			t.Errorf("comes back %v: %+v", comes, got)
		}
	}
}

// "Duplicate requests SHOULD cause the same answer to be transmitted … and they MUST NOT affect any state".
//
//rfc:6733#3
func TestADuplicateIsAnsweredAlikeAndServedOnce(t *testing.T) {
	w := newWorld(t)
	aaa := w.add(Config{Host: "aaa", Realm: "home", Peers: waits("fa", "relay")})
	fa := w.add(Config{Host: "fa", Realm: "visited", Peers: dials("aaa")})
	relay := w.add(Config{Host: "relay", Realm: "visited", Peers: dials("aaa")})
	w.wants("connections", func() bool { return fa.up("aaa")() && relay.up("aaa")() })
	var delivered []Deliver
	aaa.serve = func(_ *world, _ *host, d Deliver) { delivered = append(delivered, d) }
	m := str("home")
	m.EndToEnd, m.HopByHop = 77, 5
	m.List = slices.Insert(m.List, 1, wire.OriginHost.Text("fa"), wire.OriginRealm.Text("visited"))
	first, _ := m.Append(nil)
	m.HopByHop, m.Flags = 6, m.Flags|wire.FlagRetransmitted
	m.List = append(m.List, wire.ProxyInfo.Group(wire.ProxyHost.Text("relay"), wire.ProxyState.Text("x")))
	second, _ := m.Append(nil)
	conn := func(p string) Conn { return aaa.find(p).open().id }
	w.step(aaa, Received{Conn: conn("fa"), Octets: first})
	w.step(aaa, Received{Conn: conn("relay"), Octets: second})
	if len(delivered) != 1 {
		t.Fatalf("delivered %d times", len(delivered))
	}
	before := len(aaa.sent)
	w.step(aaa, Reply{Handle: delivered[0].Handle, Answer: delivered[0].Request.Answer(wire.UnknownSessionID)})
	if n := len(aaa.sent) - before; n != 2 {
		t.Errorf("%d answers, want one for each copy", n)
	}
	w.step(aaa, Received{Conn: conn("relay"), Octets: second})
	if n := len(aaa.sent) - before; n != 3 || len(delivered) != 1 {
		t.Errorf("a third copy: %d answers, delivered %d times", n, len(delivered))
	}
	w.run(remember+time.Second, nil)
	if len(aaa.served)+len(aaa.known) != 0 {
		t.Errorf("%d are remembered for ever", len(aaa.served))
	}
}

//rfc:6733#6.1.3
//rfc:6733#6.1.4
//rfc:6733#7.1.3
func TestWhatIsForNobodyHereIsRefused(t *testing.T) {
	w := newWorld(t)
	aaa := w.add(Config{Host: "aaa", Realm: "home", Peers: waits("fa")})
	fa := w.add(Config{Host: "fa", Realm: "visited", Peers: dials("aaa")})
	w.wants("a connection", fa.up("aaa"))
	for i, c := range []struct {
		name   string
		break_ func(*wire.Message)
		want   wire.ResultCode
	}{
		{"a realm that is not here", func(m *wire.Message) { m.List[1] = wire.DestinationRealm.Text("elsewhere") }, wire.RealmNotServed},
		{"a host that is not here", func(m *wire.Message) { m.List = append(m.List, wire.DestinationHost.Text("other")) }, wire.UnableToDeliver},
		{"one that was here", func(m *wire.Message) { m.List = append(m.List, wire.RouteRecord.Text("AAA")) }, wire.LoopDetected},
		{"one that is wrong", func(m *wire.Message) { m.List = m.List[:len(m.List)-1] }, wire.MissingAVP},
	} {
		m := str("home")
		c.break_(m)
		m.EndToEnd = uint32(i)
		m.List = slices.Insert(m.List, 1, wire.OriginHost.Text("fa"), wire.OriginRealm.Text("visited"))
		octets, _ := m.Append(nil)
		w.step(aaa, Received{Conn: aaa.find("fa").open().id, Octets: octets})
		if r := aaa.results[len(aaa.results)-1]; r != c.want {
			t.Errorf("%s: %v, want %v", c.name, r, c.want)
		}
	}
	if aaa.nextHandle != 0 {
		t.Errorf("%d were delivered", aaa.nextHandle)
	}
}

// A proxy sends a request on: origin and End-to-End Identifier stay, a Route-Record says whom it came from, and the answer goes back.
//
//rfc:6733#6.1.9
//rfc:6733#6.2.2
func TestAProxySendsOnAndBack(t *testing.T) {
	w := newWorld(t)
	fa := w.add(Config{Host: "fa.visited", Realm: "visited", Peers: dials("aaaf.visited")})
	aaaf := w.add(Config{Host: "aaaf.visited", Realm: "visited", Transit: true, Peers: append(waits("fa.visited"), dials("aaah.home")...)})
	aaah := w.add(Config{Host: "aaah.home", Realm: "home", Peers: waits("aaaf.visited")})
	handles := map[uint64]uint64{}
	aaaf.serve = func(w *world, h *host, d Deliver) {
		if !d.Transit {
			t.Errorf("delivered as its own: %v", d.Request)
		}
		handles[d.Handle] = d.Handle
		w.step(h, Submit{Ticket: d.Handle, Proxied: true, Request: d.Request})
	}
	var got *wire.Message
	serve := aaah.serve
	aaah.serve = func(w *world, h *host, d Deliver) { got = d.Request; serve(w, h, d) }
	w.wants("connections", func() bool { return fa.up("aaaf.visited")() && aaaf.up("aaah.home")() })
	w.step(fa, Submit{Ticket: 1, Request: str("home")})
	w.wants("it comes back to the proxy", func() bool { return len(aaaf.answered) == 1 })
	w.step(aaaf, Reply{Handle: aaaf.answered[0].Ticket, Answer: aaaf.answered[0].Answer})
	w.wants("an answer", func() bool { return len(fa.answered) == 1 })
	if host, _ := got.Text(wire.OriginHost); host != "fa.visited" {
		t.Errorf("Origin-Host %s", host)
	}
	if host, _ := got.Text(wire.RouteRecord); host != "fa.visited" || len(got.All(wire.RouteRecord)) != 1 {
		t.Errorf("Route-Record %s", host)
	}
	a := fa.answered[0].Answer
	if host, _ := a.Text(wire.OriginHost); host != "aaah.home" || a.EndToEnd != got.EndToEnd {
		t.Errorf("answer of %s, End-to-End %x and %x", host, a.EndToEnd, got.EndToEnd)
	}
}

// "DIAMETER_TOO_BUSY: … SHOULD attempt to send the message to an alternate peer."
func TestABusyPeerLosesTheRequestToAnother(t *testing.T) {
	w := newWorld(t)
	fa := w.add(Config{Host: "fa", Realm: "visited", Peers: dials("one", "two"), Routes: []Route{{Peers: []string{"one", "two"}}}})
	one := w.add(Config{Host: "one", Realm: "home", Peers: waits("fa")})
	one.serve = func(w *world, h *host, d Deliver) { w.step(h, Reply{d.Handle, d.Request.Answer(wire.TooBusy)}) }
	w.add(Config{Host: "two", Realm: "home", Peers: waits("fa")})
	w.wants("connections", func() bool { return fa.up("one")() && fa.up("two")() })
	w.step(fa, Submit{Ticket: 1, Request: str("home")})
	w.wants("an answer", func() bool { return len(fa.answered) == 1 })
	if a := fa.answered[0]; a.Peer != "two" || slices.Contains(fa.sent, "STR RP-T") {
		t.Errorf("answered by %s, sent %v", a.Peer, fa.sent)
	}
}

//rfc:6733#6.1.8
func TestARedirectIsFollowedToAPeer(t *testing.T) {
	w := newWorld(t)
	fa := w.add(Config{Host: "fa", Realm: "visited", Peers: dials("redirect", "two"), Routes: []Route{{Peers: []string{"redirect"}}}})
	r := w.add(Config{Host: "redirect", Realm: "home", Peers: waits("fa")})
	r.serve = func(w *world, h *host, d Deliver) {
		w.step(h, Reply{d.Handle, d.Request.Answer(wire.RedirectIndication, wire.RedirectHost.Text("aaa://two:3868;transport=tcp"))})
	}
	w.add(Config{Host: "two", Realm: "home", Peers: waits("fa")})
	w.wants("connections", func() bool { return fa.up("redirect")() && fa.up("two")() })
	w.step(fa, Submit{Ticket: 1, Request: str("home")})
	w.wants("an answer", func() bool { return len(fa.answered) == 1 })
	if a := fa.answered[0]; a.Peer != "two" {
		t.Errorf("answered by %s", a.Peer)
	}
}

//rfc:6733#5.4
func TestStoppingIsPolite(t *testing.T) {
	w := newWorld(t)
	fa := w.add(Config{Host: "fa", Realm: "visited", Peers: dials("aaa")})
	aaa := w.add(Config{Host: "aaa", Realm: "home", Peers: waits("fa")})
	w.wants("a connection", fa.up("aaa"))
	w.step(aaa, Stop{Cause: wire.DoNotWantToTalkToYou})
	w.wants("the end", aaa.Idle)
	w.run(10*time.Minute, nil)
	if fa.health("aaa") != "initial" || fa.state("aaa") != "closed" || !strings.Contains(fa.notes[1], "DO_NOT_WANT_TO_TALK_TO_YOU") {
		t.Errorf("%s %s %v", fa.state("aaa"), fa.health("aaa"), fa.notes)
	}
	// "A receiver of a DPR with above result code SHOULD NOT attempt reconnection": until there is something to say.
	if n := w.last; n != 2 {
		t.Errorf("%d connections were tried", n/2)
	}
	w.step(fa, Submit{Ticket: 1, Request: str("home")})
	if len(fa.answered) != 1 || !errors.Is(fa.answered[0].Err, ErrNoPeer) {
		t.Errorf("%+v", fa.answered)
	}
	var e *wire.Error
	if !errors.As(fa.answered[0].Err, &e) || e.Code != wire.UnableToDeliver {
		t.Errorf("a proxy would say %v", e)
	}
	aaa.stopped = false
	w.wants("a connection again", fa.up("aaa"))
}

func TestConnectingIsTriedAgainAtMostEveryTc(t *testing.T) {
	w := newWorld(t)
	fa := w.add(Config{Host: "fa", Realm: "visited", Peers: dials("aaa")})
	w.add(Config{Host: "aaa", Realm: "home", Peers: waits("fa")})
	w.down["aaa"] = true
	tries := 0
	w.run(10*time.Minute, func() bool { tries++; return false })
	w.down["aaa"] = false
	from := w.now
	w.wants("a connection", fa.up("aaa"))
	if took := w.now.Sub(from); took > 31*time.Second {
		t.Errorf("connected %v after it was possible, Tc is 30 s", took)
	}
	if len(fa.notes) != 2 {
		t.Errorf("%v", fa.notes)
	}
}

func TestEverythingIsBounded(t *testing.T) {
	w := newWorld(t)
	fa := w.add(Config{Host: "fa", Realm: "visited", Peers: dials("aaa"), MaxPending: 10})
	aaa := w.add(Config{Host: "aaa", Realm: "home", Peers: waits("fa"), MaxServed: 5, MaxAnswers: 3})
	w.wants("a connection", fa.up("aaa"))
	var got []Deliver
	aaa.serve = func(_ *world, _ *host, d Deliver) { got = append(got, d) }
	for i := range 20 {
		w.step(fa, Submit{Ticket: uint64(i + 1), Request: str("home")})
	}
	if len(fa.waiting) != 10 || len(fa.answered) != 10 || !errors.Is(fa.answered[0].Err, ErrLimited) {
		t.Errorf("%d on their way, %d refused", len(fa.waiting), len(fa.answered))
	}
	w.run(time.Second, nil)
	if len(got) != 5 || len(fa.waiting) != 5 {
		t.Errorf("the server has %d in work, %d wait for an answer", len(got), len(fa.waiting))
	}
	for _, d := range got {
		w.step(aaa, Reply{d.Handle, d.Request.Answer(wire.Success)})
	}
	if len(aaa.served) != 3 {
		t.Errorf("%d answers are kept, want 3", len(aaa.served))
	}
}

func TestSecretsGoOverTLSOrNotAtAll(t *testing.T) {
	w := newWorld(t)
	fa := w.add(Config{Host: "fa", Realm: "visited", Peers: dials("aaa")})
	w.add(Config{Host: "aaa", Realm: "home", Peers: waits("fa")})
	w.wants("a connection", fa.up("aaa"))
	w.step(fa, Submit{Ticket: 1, Request: str("home"), Secure: true})
	if len(fa.answered) != 1 || !errors.Is(fa.answered[0].Err, ErrInsecure) {
		t.Errorf("%+v", fa.answered)
	}
	fa.find("aaa").open().secure = true
	w.step(fa, Submit{Ticket: 2, Request: str("home"), Secure: true})
	w.wants("an answer", func() bool { return len(fa.answered) == 2 })
	if a := fa.answered[1]; a.Err != nil || !a.Secure {
		t.Errorf("%+v", a)
	}
}

// An answer must be the one to what was asked, and of whom it was asked.
//
//rfc:6733#6.2.1
func TestAnAnswerToSomethingElseIsIgnored(t *testing.T) {
	w := newWorld(t)
	fa := w.add(Config{Host: "fa", Realm: "visited", Peers: dials("aaa", "other")})
	aaa := w.add(Config{Host: "aaa", Realm: "home", Peers: waits("fa")})
	w.add(Config{Host: "other", Realm: "elsewhere", Peers: waits("fa")})
	aaa.serve = func(*world, *host, Deliver) {}
	w.wants("connections", func() bool { return fa.up("aaa")() && fa.up("other")() })
	w.step(fa, Submit{Ticket: 1, Request: str("home")})
	r := fa.waiting[1]
	answer := func(from string, change func(*wire.Message)) {
		a := r.message.Answer(wire.Success, wire.OriginHost.Text("aaa"), wire.OriginRealm.Text("home"))
		change(a)
		octets, _ := a.Append(nil)
		w.step(fa, Received{Conn: fa.find(from).open().id, Octets: octets})
	}
	answer("aaa", func(a *wire.Message) { a.EndToEnd++ })
	answer("aaa", func(a *wire.Message) { a.HopByHop++ })
	answer("aaa", func(a *wire.Message) { a.Command = wire.AbortSession })
	answer("other", func(*wire.Message) {})
	if len(fa.answered) != 0 {
		t.Fatalf("%+v", fa.answered)
	}
	answer("aaa", func(*wire.Message) {})
	if len(fa.answered) != 1 || fa.answered[0].Err != nil {
		t.Errorf("%+v", fa.answered)
	}
}

// Whoever answers at a peer's address must be that peer.
func TestAPeerThatSaysItIsSomebodyElseIsLeft(t *testing.T) {
	w := newWorld(t)
	fa := w.add(Config{Host: "fa", Realm: "visited", Peers: dials("aaa")})
	eve := w.add(Config{Host: "eve", Realm: "home", Peers: waits("fa")})
	w.nodes["aaa"] = eve // at the peer's address
	w.wants("a refusal", func() bool { return len(fa.notes) > 0 })
	if !strings.Contains(fa.notes[0], `it says that it is "eve"`) || fa.up("aaa")() {
		t.Errorf("%v", fa.notes)
	}
}

// A request does not go back to where it came from.
//
//rfc:6733#6.1.7
func TestAProxySendsNothingBack(t *testing.T) {
	w := newWorld(t)
	fa := w.add(Config{Host: "fa", Realm: "visited", Peers: dials("aaaf")})
	aaaf := w.add(Config{Host: "aaaf", Realm: "visited", Transit: true, Peers: waits("fa", "aaah")})
	aaaf.serve = func(w *world, h *host, d Deliver) { w.step(h, Submit{Ticket: 1, Proxied: true, Request: d.Request}) }
	w.wants("a connection", fa.up("aaaf"))
	w.step(fa, Submit{Ticket: 1, Request: str("home")})
	w.wants("it ends", func() bool { return len(aaaf.answered) == 1 })
	if !errors.Is(aaaf.answered[0].Err, ErrNoPeer) {
		t.Errorf("%+v", aaaf.answered[0])
	}
}
