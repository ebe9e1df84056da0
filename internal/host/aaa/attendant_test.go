package aaa

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/core/mipapp"
	"careof/wire/diameter"
	"careof/wire/mip4"
)

var (
	agentHere = mipapp.Identity{Host: "fa1.visited.example", Realm: "visited.example"}
	serverAt  = mipapp.Identity{Host: "aaa.home.example", Realm: "home.example"}
	visitorOf = ident.NAI("van7@home.example")
)

// peers answers what an attendant sends, octets and all.
type peers struct {
	t      *testing.T
	answer func(*diameter.Message) *diameter.Message // nil: nobody is there

	mu   sync.Mutex
	sent []*diameter.Message
	more chan struct{} // closed when something is sent; nil while nobody waits
}

func (p *peers) Submit(_ context.Context, m *diameter.Message) (*diameter.Message, error) {
	m.List = append(m.List, diameter.OriginHost.Text(agentHere.Host), diameter.OriginRealm.Text(agentHere.Realm))
	octets, err := m.Append(nil)
	if err != nil {
		p.t.Error(err)
		return nil, err
	}
	if m, err = diameter.Parse(octets); err == nil {
		err = m.Check()
	}
	if err != nil {
		p.t.Errorf("a %s that does not pass: %v", m.Name(), err)
	}
	p.mu.Lock()
	p.sent = append(p.sent, m)
	if p.more != nil {
		close(p.more)
		p.more = nil
	}
	p.mu.Unlock()
	if p.answer == nil {
		return nil, errors.New("nobody is there")
	}
	a := p.answer(m)
	a.List = append(a.List, diameter.OriginHost.Text(serverAt.Host), diameter.OriginRealm.Text(serverAt.Realm))
	return a, nil
}

// await waits until n messages have been sent.
func (p *peers) await(n int) {
	p.t.Helper()
	for end := time.After(20 * time.Second); ; {
		p.mu.Lock()
		if len(p.sent) >= n {
			p.mu.Unlock()
			return
		}
		if p.more == nil {
			p.more = make(chan struct{})
		}
		more := p.more
		p.mu.Unlock()
		select {
		case <-more:
		case <-end:
			p.t.Fatalf("%d messages are wanted, sent %q", n, p.names())
		}
	}
}

// names are what was sent so far.
func (p *peers) names() (list []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.sent {
		list = append(list, m.Name())
	}
	return list
}

// roaming is a request that asks for both keys, and the question about it.
func roaming(t *testing.T) (request []byte, q aaa.Authenticate) {
	t.Helper()
	sa, err := assoc.New(512, assoc.HMACMD5, assoc.NewKey([]byte("0123456789abcdef")), assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	m := mip4.NewRequest(mip4.RegistrationRequest{
		Lifetime: 300, HomeAddress: netip.AddrFrom4([4]byte{}), HomeAgent: netip.AddrFrom4([4]byte{}), CareOfAddress: netip.MustParseAddr("203.0.113.1"), Identification: 7,
	})
	m.Add(mip4.ZoneHome, &mip4.NAI{Value: string(visitorOf)})
	m.Add(mip4.ZoneHome, &mip4.MobileHomeKeyRequest{SPI: 700})
	m.Add(mip4.ZoneHome, &mip4.MobileForeignKeyRequest{SPI: 701})
	m.AuthenticateGeneralized(mip4.AuthMobileAAA, aaa.Signer{Secret: aaa.Shared(sa)})
	request, err = m.Seal()
	if err != nil {
		t.Fatal(err)
	}
	n := len(request) - 16
	return request, aaa.Authenticate{
		Subject: aaa.Subject{NAI: visitorOf}, Proof: aaa.Proof{SPI: 512, Covered: bytes.Clone(request[:n]), Authenticator: bytes.Clone(request[n:])},
		Wishes: aaa.KeyWishes{
			MobileHome: aaa.KeyWish{MobileSPI: 700}, MobileForeign: aaa.KeyWish{MobileSPI: 701, AgentSPI: 800}, ForeignHome: aaa.KeyWish{MobileSPI: 800},
		},
	}
}

// A foreign agent's question becomes an AMR, and the AMA its keys: under its own
// SPI in what it receives, under the node's and the home agent's in what it sends.
// Another question about the node is of the same session.
//
//rfc:4004#5.1
//rfc:4004#7.5
//rfc:4004#8
//rfc:4004#3.2-1
//rfc:4004#3.2-3
//rfc:4004#5.1-1
//rfc:4004#5.1-2
//rfc:4004#7.5-1
//rfc:4004#7.5-2
func TestAForeignAgentAsksByDiameter(t *testing.T) {
	request, q := roaming(t)
	reply := []byte{3, 0, 0, 0}
	p := &peers{t: t, answer: func(m *diameter.Message) *diameter.Message {
		amr, err := mipapp.ReadAMR(m)
		if err != nil || !bytes.Equal(amr.Request, request) {
			t.Errorf("AMR %+v, %v", amr, err)
		}
		want := diameter.HomeAddressRequested | diameter.HomeAgentRequested | diameter.MNHAKeyRequest | diameter.MNFAKeyRequest | diameter.FAHAKeyRequest
		if amr.Features != want || amr.HomeAddress.IsValid() || amr.HomeAgent.IsValid() || amr.ForeignSPI != 800 {
			t.Errorf("AMR %+v", amr)
		}
		return mipapp.AMA{
			Result: diameter.Success, Reply: reply, Lifetime: time.Hour, MultiSession: "multi", HomeAgent: netip.MustParseAddr("198.51.100.1"),
			HomeAddress: netip.MustParseAddr("10.10.0.77"), Keys: mipapp.Keys{
				Lifetime:      4 * time.Hour,
				MobileForeign: &mipapp.Key{Key: assoc.NewKey([]byte("the second key..")), MobileSPI: 701},
				ForeignHome:   &mipapp.Key{Key: assoc.NewKey([]byte("the third key...")), AgentSPI: 900},
			},
		}.Answer(m)
	}}
	a := NewAttendant(AttendantConfig{Identity: agentHere, Carrier: p, Warn: func(string, ...any) {}})
	for range 2 {
		g, err := a.Answer(t.Context(), q)
		if err != nil || !bytes.Equal(g.Reply, reply) || g.Lifetime != time.Hour || g.HomeAgent != netip.MustParseAddr("198.51.100.1") {
			t.Fatalf("%+v, %v", g, err)
		}
		k2, k3 := g.Keys.MobileForeign, g.Keys.ForeignHome
		if k2 == nil || k2.Association.SPI() != 800 || k2.Association.Outbound().SPI() != 701 || k2.Lifetime != 4*time.Hour {
			t.Errorf("key with the node: %+v", k2)
		}
		if k3 == nil || k3.Association.SPI() != 800 || k3.Association.Outbound().SPI() != 900 {
			t.Errorf("key with the home agent: %+v", k3)
		}
	}
	first, _ := p.sent[0].Text(diameter.SessionID)
	if second, _ := p.sent[1].Text(diameter.SessionID); first != second || first == "" {
		t.Errorf("sessions %q and %q", first, second)
	}
}

// What each result is to an agent. What the home agent has denied goes to the node
// as it is.
//
//rfc:4004#6
//rfc:4004#3.1
func TestWhatResultsMean(t *testing.T) {
	_, q := roaming(t)
	for code, want := range map[diameter.ResultCode]error{
		diameter.AuthenticationRejected: aaa.ErrRejected, diameter.HANotAvailable: aaa.ErrProhibited, diameter.NoForeignHAService: aaa.ErrProhibited,
		diameter.EndToEndMIPKeyEncryption: aaa.ErrProhibited, diameter.TooBusy: aaa.ErrUnavailable, diameter.UnableToDeliver: aaa.ErrUnavailable,
	} {
		a := NewAttendant(AttendantConfig{Identity: agentHere, Carrier: &peers{t: t, answer: func(m *diameter.Message) *diameter.Message { return m.Answer(code) }}})
		_, err := a.Answer(t.Context(), q)
		if !errors.Is(err, want) || want == aaa.ErrRejected && errors.Is(err, aaa.ErrProhibited) {
			t.Errorf("%v: %v", code, err)
		}
	}
	a := NewAttendant(AttendantConfig{Identity: agentHere, Carrier: &peers{t: t}})
	if _, err := a.Answer(t.Context(), q); !errors.Is(err, aaa.ErrUnavailable) {
		t.Errorf("nobody there: %v", err)
	}
	a = NewAttendant(AttendantConfig{Identity: agentHere, Carrier: &peers{t: t, answer: func(m *diameter.Message) *diameter.Message {
		return mipapp.AMA{Result: diameter.MIPReplyFailure, Reply: []byte("denied")}.Answer(m)
	}}})
	if g, err := a.Answer(t.Context(), q); err != nil || string(g.Reply) != "denied" {
		t.Errorf("a denial of the home agent: %q, %v", g.Reply, err)
	}
}

// har is a HAR about the request, with all keys.
func har(request []byte) mipapp.HAR {
	return mipapp.HAR{
		Session: "aaa.home.example;1;1", User: visitorOf, Realm: "visited.example", Host: agentHere.Host, Request: request, Lifetime: time.Hour,
		Keys: mipapp.Keys{
			Lifetime:      4 * time.Hour,
			MobileHome:    &mipapp.Key{Key: assoc.NewKey([]byte("the first key...")), Nonce: bytes.Repeat([]byte{1}, 20), Replay: assoc.Timestamps},
			MobileForeign: &mipapp.Key{Nonce: bytes.Repeat([]byte{2}, 20), AgentSPI: 800},
			ForeignHome:   &mipapp.Key{Key: assoc.NewKey([]byte("the third key...")), MobileSPI: 800},
		},
	}
}

func received(t *testing.T, a *Attendant, m *diameter.Message) *diameter.Message {
	t.Helper()
	m.List = append(m.List, diameter.OriginHost.Text(serverAt.Host), diameter.OriginRealm.Text(serverAt.Realm))
	return a.Received(t.Context(), m)
}

// A HAR becomes an order to the home agent: with its own SPIs for what it receives,
// which the answer tells, and the node's and the foreign agent's for what it sends.
// All HAAs of a session have one Acct-Multi-Session-Id.
//
//rfc:4004#5.4
//rfc:4004#8
//rfc:4004#4.1.2
//rfc:4004#3.1-8
//rfc:4004#4.1.1-3
//rfc:4004#4.1.2-2
//rfc:4004#5.4-1
//rfc:4004#8.5-1
func TestAHomeAgentTakesOrdersByDiameter(t *testing.T) {
	request, _ := roaming(t)
	var got aaa.Carry
	accepted := true
	a := NewAttendant(AttendantConfig{Identity: agentHere, Carrier: &peers{t: t}, Carry: func(_ context.Context, c aaa.Carry) (aaa.Carried, error) {
		got = c
		return aaa.Carried{Reply: []byte("reply"), Accepted: accepted, HomeAddress: netip.MustParseAddr("10.10.0.77"), HomeAgent: netip.MustParseAddr("198.51.100.1"), Why: "why"}, nil
	}})
	var multi string
	for range 2 {
		h, err := mipapp.ReadHAA(received(t, a, har(request).Message()))
		if err != nil || h.Result != diameter.Success || string(h.Reply) != "reply" || h.MultiSession == "" || multi != "" && h.MultiSession != multi {
			t.Fatalf("HAA %+v, %v", h, err)
		}
		multi = h.MultiSession
		k1, k3 := got.Keys.MobileHome, got.Keys.ForeignHome
		if k1.Association.Outbound().SPI() != 700 || k1.AAASPI != 512 || k3.Association.Outbound().SPI() != 800 || k3.Association.SPI() != h.HomeSPI {
			t.Errorf("order %+v, %+v, HAA %+v", k1, k3, h)
		}
		if n := got.Nonce; n == nil || n.ForeignSPI != 800 || n.AAASPI != 512 || h.MobileSPI != 701 {
			t.Errorf("nonce %+v, HAA %+v", n, h)
		}
		if got.ServerName != "aaa@home.example" || got.AgentName != "fa1@visited.example" {
			t.Errorf("names %q %q", got.ServerName, got.AgentName)
		}
	}
	accepted = false
	if h, _ := mipapp.ReadHAA(received(t, a, har(request).Message())); h.Result != diameter.MIPReplyFailure || string(h.Reply) != "reply" || h.HomeSPI != 0 {
		t.Errorf("a denial: %+v", h)
	}
	filtered := har(request).Message()
	filtered.List = append(filtered.List, diameter.MIPFilterRule.Text("deny in ip from any to any"))
	if r, _ := received(t, a, filtered).Result(); r != diameter.MIPFilterNotSupported {
		t.Errorf("filter rules: %v", r)
	}
}

// Accounting is told in order, with numbers, as the user sees it; the last record is
// followed by the STR.
//
//rfc:4004#4.1.3
//rfc:4004#11.2
//rfc:4004#4.1.2-3
//rfc:4004#4.1.3-1
//rfc:4004#10.1-1
//rfc:4004#10.2-1
func TestSessionsAreToldOfAndTerminated(t *testing.T) {
	_, q := roaming(t)
	p := &peers{t: t, answer: func(m *diameter.Message) *diameter.Message {
		switch m.Command {
		case diameter.AAMobileNode:
			return mipapp.AMA{
				Result: diameter.Success, Reply: []byte("r"), MultiSession: "multi", HomeAgent: netip.MustParseAddr("198.51.100.1"), HomeAddress: netip.MustParseAddr("10.10.0.77"),
			}.Answer(m)
		case diameter.Accounting:
			return mipapp.Acknowledge(m)
		}
		return m.Answer(diameter.Success)
	}}
	a := NewAttendant(AttendantConfig{Identity: agentHere, Carrier: p, Warn: func(string, ...any) {}})
	if _, err := a.Answer(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	about := aaa.Account{Role: "foreign-agent", Subject: aaa.Subject{NAI: visitorOf, HomeAgent: netip.MustParseAddr("198.51.100.1"), HomeAddress: netip.MustParseAddr("10.10.0.77")}, Why: "expired"}
	for i, moment := range []aaa.Moment{aaa.Start, aaa.Interim, aaa.Stop} {
		about.Moment = moment
		if err := a.record(t.Context(), Record{about: about, at: time.Now(), sum: forward.Counters{SentBytes: 11, ReceivedBytes: 22}}); err != nil {
			t.Fatal(err)
		}
		r := mipapp.ReadRecord(p.sent[i+1])
		// What a foreign agent has sent into the tunnel is what the user has sent.
		if r.Number != uint32(i) || r.MultiSession != "multi" || r.Server != serverAt.Host || r.Used.ReceivedBytes != 11 || r.Used.SentBytes != 22 {
			t.Errorf("%v: %+v", moment, r)
		}
	}
	p.await(5)
	if got, want := p.names(), []string{"AMR", "ACR", "ACR", "ACR", "STR"}; !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
	if s := mipapp.ReadTermination(p.sent[4]); s.Cause != diameter.AuthExpired || s.Server != serverAt.Host {
		t.Errorf("STR %+v", s)
	}
	if err := a.record(t.Context(), Record{about: about}); !errors.Is(err, aaa.ErrRejected) {
		t.Errorf("after the end: %v", err)
	}
}

// An ASR ends what its realm has authorised, and nothing of others.
//
//rfc:4004#4.1.3
func TestOnlyTheHomeRealmAborts(t *testing.T) {
	ended := 0
	a := NewAttendant(AttendantConfig{Identity: agentHere, Carrier: &peers{t: t}, End: func(_ context.Context, e aaa.End) (int, error) {
		if e.NAI != visitorOf {
			t.Errorf("ends %+v", e)
		}
		ended++
		return 1, nil
	}})
	abort := func(user ident.NAI) diameter.ResultCode {
		r, _ := received(t, a, mipapp.Abort{Session: "strange", User: user, To: agentHere}.Message()).Result()
		return r
	}
	if r := abort(visitorOf); r != diameter.Success || ended != 1 {
		t.Errorf("%v, %d ended", r, ended)
	}
	if r := abort("bus@other.example"); r != diameter.UnknownSessionID || ended != 1 {
		t.Errorf("another realm's node: %v, %d ended", r, ended)
	}
	if r, _ := received(t, a, diameter.NewRequest(diameter.ReAuth, diameter.MobileIPv4, diameter.SessionID.Text("x"), diameter.DestinationRealm.Text("visited.example"),
		diameter.DestinationHost.Text(agentHere.Host), diameter.AuthApplicationID.Uint32(2), diameter.ReAuthRequestType.Uint32(diameter.AuthorizeOnly))).Result(); r != diameter.CommandUnsupported {
		t.Errorf("RAR: %v", r)
	}
}

// A home agent asks by Diameter for a node that has come to it directly: the key is
// its own under an SPI of its choice, and the session has its Acct-Multi-Session-Id.
//
//rfc:4004#3.3
func TestAHomeAgentAsksByDiameterForACoLocatedNode(t *testing.T) {
	_, q := roaming(t)
	q.CoLocated, q.HomeAgent = true, netip.MustParseAddr("198.51.100.1")
	q.Wishes = aaa.KeyWishes{MobileHome: aaa.KeyWish{MobileSPI: 700, AgentSPI: 4242}}
	nonce := bytes.Repeat([]byte{1}, 20)
	p := &peers{t: t, answer: func(m *diameter.Message) *diameter.Message {
		amr, err := mipapp.ReadAMR(m)
		if err != nil || amr.Features&diameter.CoLocatedMobileNode == 0 || amr.MultiSession == "" {
			t.Errorf("AMR %+v, %v", amr, err)
		}
		return mipapp.AMA{
			Result: diameter.Success, Lifetime: time.Hour, HomeAgent: q.HomeAgent, HomeAddress: netip.MustParseAddr("10.10.0.77"),
			Keys: mipapp.Keys{Lifetime: time.Hour, MobileHome: &mipapp.Key{Key: assoc.NewKey([]byte("the first key...")), Nonce: nonce, Replay: assoc.Timestamps}},
		}.Answer(m)
	}}
	a := NewAttendant(AttendantConfig{Identity: agentHere, Carrier: p, Warn: func(string, ...any) {}})
	g, err := a.Answer(t.Context(), q)
	if err != nil || g.Reply != nil || g.HomeAddress != netip.MustParseAddr("10.10.0.77") || len(g.Class) == 0 {
		t.Fatalf("%+v, %v", g, err)
	}
	if k := g.Keys.MobileHome; k == nil || k.Association.SPI() != 4242 || k.Association.Outbound().SPI() != 700 || k.AAASPI != 512 || !bytes.Equal(k.Nonce, nonce) {
		t.Errorf("key %+v", k)
	}
}
