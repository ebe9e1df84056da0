package natt_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/proto/mip4/feature/natt"
	"careof/internal/proto/mip4/mn"
	"careof/wire/adv4"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// A traveller is a mobile node with NAT traversal, registered by hand.
type traveller struct {
	t      *testing.T
	node   *mn.Node
	now    engine.Now
	secret *assoc.Association
	sends  []engine.Send
	asks   []engine.Ask
	entry  forward.Entry
}

var (
	travellerHome  = netip.MustParseAddr("10.10.0.5")
	travellerAgent = netip.MustParseAddr("198.51.100.1")
)

func newTraveller(t *testing.T, cfg natt.Config) *traveller {
	t.Helper()
	a, err := assoc.New(300, assoc.HMACSHA1, assoc.NewKey([]byte("traveller")), assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	n, err := mn.New(mn.Config{
		HomeAddress: travellerHome, HomeAgents: []mn.HomeAgent{{Address: travellerAgent}}, Association: a,
		ForeignAgents: mn.ForeignAgents{Any: true},
	}, rand.New(rand.NewPCG(1, 1)), natt.New(cfg).Mobile)
	if err != nil {
		t.Fatal(err)
	}
	return &traveller{t: t, node: n, secret: a, now: engine.Now{
		Mono: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), Wall: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC),
	}}
}

func (v *traveller) step(ev engine.Event) {
	v.do(v.node.Step(v.now, ev))
}

func (v *traveller) do(actions []engine.Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case engine.Send:
			v.sends = append(v.sends, a)
		case engine.Ask:
			v.asks = append(v.asks, a)
		case engine.Commit:
			for _, c := range a.Changes {
				if c.Op == forward.Put {
					v.entry = c.Entry
				}
			}
			v.do(a.Then)
		}
	}
}

func (v *traveller) attach(address string) {
	p := netip.MustParsePrefix(address)
	v.step(engine.LinkChanged{Link: engine.Link{
		Name: "wlan0", Up: true, Addresses: []netip.Prefix{p}, Gateways: []netip.Addr{p.Masked().Addr().Next()},
	}})
}

// ask is the UDP Tunnel Request of the last request, nil when it has none.
func (v *traveller) ask() (*mip4.UDPTunnelRequest, *mip4.Message) {
	v.t.Helper()
	m, err := mip4.Parse(v.sends[len(v.sends)-1].Data)
	if err != nil {
		v.t.Fatal(err)
	}
	ask, n, err := mip4.Get[mip4.UDPTunnelRequest](m)
	if err != nil || n > 1 {
		v.t.Fatal(n, err)
	}
	if n == 0 {
		return nil, m
	}
	return &ask, m
}

// answer replies to the last request.
func (v *traveller) answer(code mip4.Code, zone mip4.Zone, ext mip4.Payload) {
	v.t.Helper()
	s := v.sends[len(v.sends)-1]
	m, err := mip4.Parse(s.Data)
	if err != nil {
		v.t.Fatal(err)
	}
	q, err := m.Request()
	if err != nil {
		v.t.Fatal(err)
	}
	d := mip4.NewReply(mip4.RegistrationReply{
		Code: code, Lifetime: q.Lifetime, HomeAddress: q.HomeAddress, HomeAgent: q.HomeAgent, Identification: q.Identification,
	})
	if ext != nil {
		d.Add(zone, ext)
	}
	octets, err := d.Authenticate(mip4.ExtMobileHome, v.secret).Seal()
	if err != nil {
		v.t.Fatal(err)
	}
	v.step(engine.Packet{Link: s.Link, Src: s.Dst, Dst: s.Src, Data: octets})
}

// "MUST place this Extension before the Mobile-Home Authentication
// Extension"; D=1 is a MUST, T a SHOULD.
//
//rfc:3519#4.4
//rfc:3519#3.1.5-1
//rfc:3519#3.1.5-2
//rfc:3519#4.4-2
func TestRequestAsksForUDP(t *testing.T) {
	v := newTraveller(t, natt.Config{Mode: natt.Force, Encapsulation: 47})
	v.attach("192.168.8.100/24")
	ask, m := v.ask()
	if ask == nil || !ask.ForceFlag || ask.Registration || ask.Encap != 47 || ask.Reserved != 0 {
		t.Fatalf("ask %+v", ask)
	}
	q, _ := m.Request()
	if !q.Flags.Has(mip4.FlagD|mip4.FlagT) || m.Exts[0].Type != mip4.ExtUDPTunnelRequest || m.Exts[1].Type != mip4.ExtMobileHome {
		t.Errorf("flags %v, extensions %v", q.Flags, m.Exts)
	}
	v = newTraveller(t, natt.Config{Mode: natt.Off})
	v.attach("192.168.8.100/24")
	if ask, _ := v.ask(); ask != nil {
		t.Error("it asks though it is off")
	}
}

// What the reply says about UDP is what is done, and nothing else.
//
//rfc:3519#3.2.1
//rfc:3519#4.4
//rfc:3519#3.1.1-3
//rfc:3519#4.4-3
//rfc:3519#4.6-13
func TestUDPTunnelReply(t *testing.T) {
	for name, c := range map[string]struct {
		zone mip4.Zone
		ext  mip4.Payload
		want encap.Kind // 0: not registered
	}{
		"assent":          {mip4.ZoneHome, &mip4.UDPTunnelReply{}, encap.UDP},
		"another assent":  {mip4.ZoneHome, &mip4.UDPTunnelReply{Code: 63}, encap.UDP},
		"declined":        {mip4.ZoneHome, &mip4.UDPTunnelReply{Code: 64}, encap.IPIP},
		"declined 255":    {mip4.ZoneHome, &mip4.UDPTunnelReply{Code: 255}, encap.IPIP},
		"no answer":       {mip4.ZoneHome, nil, encap.IPIP},
		"unauthenticated": {mip4.ZoneForeign, &mip4.UDPTunnelReply{}, 0},
	} {
		v := newTraveller(t, natt.Config{Mode: natt.Force})
		v.attach("192.168.8.100/24")
		v.answer(mip4.CodeAccepted, c.zone, c.ext)
		var got encap.Kind
		if r := v.node.Active(); r != nil {
			got = r.Tunnel.Encap
		}
		if got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if got == encap.UDP && v.entry.Tunnels[0].Peer != netip.AddrPortFrom(travellerAgent, 434) {
			t.Errorf("%s: tunnel to %v", name, v.entry.Tunnels[0].Peer)
		}
	}
}

// A reply with a UDP Tunnel Reply is not understood by a node without the
// feature: 44 is not skippable.
//
//rfc:5944#1.8
func TestUDPTunnelReplyWithoutTheFeature(t *testing.T) {
	v := newTraveller(t, natt.Config{Mode: natt.Off})
	v.attach("192.168.8.100/24")
	v.answer(mip4.CodeAccepted, mip4.ZoneHome, &mip4.UDPTunnelReply{})
	if v.node.Active() != nil {
		t.Error("it was taken")
	}
}

// Code 142: "Requested UDP tunnel encapsulation unavailable": once more with
// IP-in-UDP, which everybody has; not a third time.
//
//rfc:3519#3.5
func TestEncapsulationUnavailable(t *testing.T) {
	v := newTraveller(t, natt.Config{Encapsulation: 47})
	v.attach("192.168.8.100/24")
	v.answer(mip4.CodeUDPEncapUnavailable, mip4.ZoneHome, nil)
	if len(v.sends) != 2 {
		t.Fatalf("%d requests", len(v.sends))
	}
	if ask, _ := v.ask(); ask == nil || ask.Encap != 4 {
		t.Errorf("asks %+v", ask)
	}
	v.answer(mip4.CodeUDPEncapUnavailable, mip4.ZoneHome, nil)
	if len(v.sends) != 2 {
		t.Error("it insists")
	}
	v = newTraveller(t, natt.Config{Encapsulation: 47})
	v.attach("192.168.8.100/24")
	v.answer(mip4.CodeUDPEncapUnavailable, mip4.ZoneHome, nil)
	v.answer(mip4.CodeAccepted, mip4.ZoneHome, &mip4.UDPTunnelReply{})
	if tun := v.entry.Tunnels[0]; tun.Encap != encap.UDP || tun.Inside != encap.IPIP {
		t.Errorf("tunnel %+v", tun)
	}
}

// The interval: the home agent's wins; 0 leaves the node's own; "MUST NOT use
// a keepalive less than 10 seconds". It goes to the home agent, from the home
// address, in the tunnel's own form.
//
//rfc:3519#4.9
//rfc:3519#4.10
//rfc:3519#3.2-1
//rfc:3519#3.2-3
//rfc:3519#4.9-1
//rfc:3519#4.10-2
func TestKeepaliveInterval(t *testing.T) {
	for _, c := range []struct {
		own   time.Duration
		reply uint16
		want  time.Duration
	}{
		{0, 0, 110 * time.Second},
		{40 * time.Second, 0, 40 * time.Second},
		{40 * time.Second, 70, 70 * time.Second},
		{40 * time.Second, 3, 10 * time.Second},
		{3 * time.Second, 0, 10 * time.Second},
	} {
		v := newTraveller(t, natt.Config{Keepalive: c.own})
		v.attach("192.168.8.100/24")
		sent := v.now.Mono
		v.now.Mono = v.now.Mono.Add(time.Second)
		v.answer(mip4.CodeAccepted, mip4.ZoneHome, &mip4.UDPTunnelReply{Keepalive: c.reply})
		if got := v.untilEcho(func() forward.Use { return forward.Use{} }).Sub(sent); got != c.want {
			t.Errorf("own %v, reply %d: first after %v, want %v", c.own, c.reply, got, c.want)
		}
		s := v.sends[len(v.sends)-1]
		if s.Src.Addr() != netip.MustParseAddr("192.168.8.100") || s.Src.Port() != 0 || s.Dst != netip.AddrPortFrom(travellerAgent, 434) || s.Data[0] != 4 || s.Data[1] != 4 {
			t.Fatalf("sent %+v", s)
		}
		e, ok := encap.ParseKeepalive(s.Data[4:], travellerAgent)
		if !ok || e.Type != encap.EchoRequest || e.Src != travellerHome {
			t.Errorf("keepalive %+v, %v", e, ok)
		}
	}
}

// untilEcho lets time pass until a keepalive leaves, and tells when.
func (v *traveller) untilEcho(use func() forward.Use) time.Time {
	before := len(v.sends)
	for range 100 {
		v.now.Mono = v.node.Deadline()
		v.step(engine.Wake{})
		if len(v.sends) == before {
			v.step(engine.Answer{Ticket: v.asks[len(v.asks)-1].Ticket, Value: use()})
		}
		if len(v.sends) > before {
			return v.now.Mono
		}
	}
	v.t.Fatal("no keepalive")
	panic("unreachable")
}

// A NAT that binds anew in the middle of traffic is noticed long before K is
// over: packets leave and none comes back.
//
//rfc:3519#4.10
func TestSilenceUnderTrafficIsNoticedEarly(t *testing.T) {
	v := newTraveller(t, natt.Config{})
	v.attach("192.168.8.100/24")
	v.answer(mip4.CodeAccepted, mip4.ZoneHome, &mip4.UDPTunnelReply{})
	bound := v.now.Mono
	last := bound.Add(35 * time.Second) // then the NAT forgets
	at := v.untilEcho(func() forward.Use {
		heard := v.now.Mono
		if heard.After(last) {
			heard = last
		}
		return forward.Use{Sent: v.now.Mono.Add(time.Millisecond), Received: heard}
	})
	if after := at.Sub(last); after < natt.MinKeepalive || after > 2*natt.MinKeepalive {
		t.Errorf("the keepalive left %v after the last packet came in, want 10 to 20 s", after)
	}
}

// "It SHALL NOT be used by the mobile node when it is registering with a foreign
// agent care-of address", even by force.
//
//rfc:3519#4.4-1
func TestNoUDPWithAForeignAgentsCareOfAddress(t *testing.T) {
	v := newTraveller(t, natt.Config{Mode: natt.Force})
	v.step(engine.LinkChanged{Link: engine.Link{Name: "wlan0", Up: true}})
	d := adv4.Draft{Lifetime: 30, Agent: adv4.MobilityAgent{
		Lifetime: 600, Flags: adv4.FlagF | adv4.FlagT | adv4.FlagU, CareOfAddresses: []netip.Addr{netip.MustParseAddr("203.0.113.1")},
	}}
	data, err := d.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	v.step(engine.Discovery{
		Link: "wlan0", Src: netip.MustParseAddr("192.168.8.1"), Dst: netip.MustParseAddr("224.0.0.1"), TTL: 1, HW: engine.HardwareAddr{2, 1}, Data: data,
	})
	ask, m := v.ask()
	if q, err := m.Request(); err != nil || q.CareOfAddress != d.Agent.CareOfAddresses[0] || ask != nil {
		t.Errorf("%+v asks %+v, %v", q, ask, err)
	}
}

// With an own address through a foreign agent (R bit): no UDP Tunnel Request
// unless the agent advertises U; then it says so, and the first keepalive goes
// as soon as the registration is accepted, since the home agent has seen the
// agent's address only.
//
//rfc:3519#4.4
//rfc:3519#4.9
//rfc:3519#3.1.2-1
//rfc:3519#4.4-7
//rfc:3519#4.4-8
//rfc:3519#4.11-1
func TestThroughAForeignAgent(t *testing.T) {
	at := netip.MustParseAddr("192.168.8.1")
	for _, flags := range []adv4.Flags{adv4.FlagF | adv4.FlagR, adv4.FlagF | adv4.FlagR | adv4.FlagU} {
		v := newTraveller(t, natt.Config{})
		v.attach("192.168.8.100/24")
		d := adv4.Draft{Lifetime: 30, Agent: adv4.MobilityAgent{Lifetime: 600, Flags: flags, CareOfAddresses: []netip.Addr{netip.MustParseAddr("203.0.113.1")}}}
		data, err := d.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		v.step(engine.Discovery{Link: "wlan0", Src: at, Dst: netip.MustParseAddr("224.0.0.1"), TTL: 1, HW: engine.HardwareAddr{2, 1}, Data: data})
		if s := v.sends[len(v.sends)-1]; s.Dst.Addr() != at {
			t.Fatalf("%v: the request goes to %v", flags, s.Dst)
		}
		ask, _ := v.ask()
		if !flags.Has(adv4.FlagU) {
			if ask != nil {
				t.Errorf("asks for UDP although the agent has no U bit")
			}
			continue
		}
		if ask == nil || !ask.Registration {
			t.Fatalf("asks %+v", ask)
		}
		v.answer(mip4.CodeAccepted, mip4.ZoneHome, &mip4.UDPTunnelReply{Keepalive: 60})
		if s := v.sends[len(v.sends)-1]; s.Data[0] != encap.TunnelDataType || s.Dst.Addr() != travellerAgent {
			t.Errorf("no keepalive at once: %v to %v", s.Data[0], s.Dst)
		}
		if v.entry.Tunnels[0].Encap != encap.UDP || v.entry.Deliver != (forward.Deliver{}) {
			t.Errorf("entry %+v", v.entry)
		}
	}
}
