package lease

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"careof/internal/core/engine"
	"careof/internal/host/arp"
)

var (
	own     = engine.HardwareAddr{2, 0, 0, 0, 0, 1}
	router  = engine.HardwareAddr{2, 0, 0, 0, 0, 0xfe}
	other   = engine.HardwareAddr{2, 0, 0, 0, 0, 9}
	gateway = netip.MustParseAddr("192.168.8.1")
	given   = netip.MustParsePrefix("192.168.8.100/24")
)

// A rig is a machine in virtual time, before a server that answers when the
// test says so.
type rig struct {
	t   *testing.T
	now time.Time
	m   *Machine
	out []Action // of the last step
}

func newRig(t *testing.T, past []Lease, configured bool) *rig {
	return &rig{
		t: t, now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC),
		m: ForLink(own, rand.New(rand.NewPCG(1, 2)), past, configured, nil),
	}
}

func (r *rig) up() { r.out = r.m.Up(r.now) }

// due lets the time go to the machine's next deadline.
func (r *rig) due() {
	r.t.Helper()
	at := r.m.Deadline()
	if at.IsZero() {
		r.t.Fatalf("%v waits for nothing", r.m.State())
	}
	r.now = at
	r.out = r.m.Wake(r.now)
}

// sent is the only message of the last step.
func (r *rig) sent(want dhcpv4.MessageType) Send {
	r.t.Helper()
	for _, a := range r.out {
		if s, ok := a.(Send); ok {
			if s.Message.MessageType() != want {
				r.t.Fatalf("sent %v, want %v", s.Message.MessageType(), want)
			}
			return s
		}
	}
	r.t.Fatalf("nothing was sent, want %v; actions %+v", want, r.out)
	return Send{}
}

func only[A Action](r *rig) A {
	r.t.Helper()
	for _, a := range r.out {
		if a, ok := a.(A); ok {
			return a
		}
	}
	var none A
	r.t.Fatalf("no %T in %+v", none, r.out)
	return none
}

func has[A Action](r *rig) bool {
	return slices.ContainsFunc(r.out, func(a Action) bool { _, ok := a.(A); return ok })
}

// says lets the server answer the machine's last message.
func (r *rig) says(t dhcpv4.MessageType, a netip.Prefix, more ...dhcpv4.Modifier) {
	r.t.Helper()
	p, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithTransactionID(r.m.xid), dhcpv4.WithHwAddr(own[:]), dhcpv4.WithMessageType(t),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(gateway.AsSlice())),
	}, more...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	p.OpCode = dhcpv4.OpcodeBootReply
	if t != dhcpv4.MessageTypeNak {
		for _, add := range []dhcpv4.Modifier{
			dhcpv4.WithYourIP(a.Addr().AsSlice()), dhcpv4.WithNetmask(net.CIDRMask(a.Bits(), 32)),
		} {
			add(p)
		}
		if p.Options.Get(dhcpv4.OptionRouter) == nil {
			p.UpdateOption(dhcpv4.OptRouter(gateway.AsSlice()))
		}
		if p.Options.Get(dhcpv4.OptionIPAddressLeaseTime) == nil {
			dhcpv4.WithLeaseTime(3600)(p)
		}
	}
	// As it comes over the wire.
	p, err = dhcpv4.FromBytes(p.ToBytes())
	if err != nil {
		r.t.Fatal(err)
	}
	r.out = r.m.Message(r.now, true, p)
}

// bound is a rig with a lease, and its gateway's link-layer address.
func bound(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, nil, false)
	r.up()
	r.sent(dhcpv4.MessageTypeDiscover)
	r.says(dhcpv4.MessageTypeOffer, given)
	r.sent(dhcpv4.MessageTypeRequest)
	r.says(dhcpv4.MessageTypeAck, given)
	r.due()
	r.due()
	if l := only[Configure](r).Lease; l.Address != given || l.Gateway != gateway {
		t.Fatalf("lease %+v", l)
	}
	r.out = r.m.Heard(r.now, arp.Packet{Op: arp.Reply, SenderHW: router, Sender: gateway, TargetHW: own, Target: given.Addr()})
	return r
}

// INIT, SELECTING, REQUESTING, BOUND: one second after the link came up the
// address is there, probed twice before.
//
//rfc:2131#3.1
//rfc:2131#4.4.1
//rfc:8910#2-1
func TestALinkGetsALease(t *testing.T) {
	r := newRig(t, nil, false)
	r.up()
	if s := r.sent(dhcpv4.MessageTypeDiscover); s.From.IsValid() || s.To.IsValid() {
		t.Errorf("to %v from %v before there is an address", s.To, s.From)
	}
	began := r.now
	r.says(dhcpv4.MessageTypeOffer, given)
	s := r.sent(dhcpv4.MessageTypeRequest)
	if !slices.ContainsFunc(s.Message.ParameterRequestList(), func(c dhcpv4.OptionCode) bool { return c.Code() == optionPortal.Code() }) {
		t.Errorf("the request does not ask for the captive portal's API: %v", s.Message.ParameterRequestList())
	}
	if addrOf(s.Message.RequestedIPAddress()) != given.Addr() || addrOf(s.Message.ServerIdentifier()) != gateway || !addrOf(s.Message.ClientIPAddr).IsUnspecified() {
		t.Errorf("request %v", s.Message.Summary())
	}
	r.says(dhcpv4.MessageTypeAck, given)
	for range probes {
		if a := only[Ask](r); a.Packet.Target != given.Addr() || !a.Packet.Sender.IsUnspecified() {
			t.Errorf("probe %+v", a)
		}
		r.due()
	}
	if only[Configure](r); r.now.Sub(began) > time.Second || r.m.State() != Bound {
		t.Errorf("%v after %v", r.m.State(), r.now.Sub(began))
	}
}

// "A renewal that changes nothing does nothing": the link keeps what it has,
// and only the end moves. At half of the time its own server is asked, from the
// lease's address.
//
//rfc:2131#4.4.5
func TestARenewalThatChangesNothingDoesNothing(t *testing.T) {
	r := bound(t)
	until := r.m.lease.Until
	for r.m.State() == Bound {
		r.due()
	}
	s := r.sent(dhcpv4.MessageTypeRequest)
	if left := until.Sub(r.now); left != 30*time.Minute {
		t.Errorf("asked with %v left", left)
	}
	if s.To != gateway || s.From != given.Addr() || addrOf(s.Message.ClientIPAddr) != given.Addr() || s.Message.RequestedIPAddress() != nil || s.Message.ServerIdentifier() != nil {
		t.Errorf("to %v: %v", s.To, s.Message.Summary())
	}
	r.says(dhcpv4.MessageTypeAck, given)
	if len(r.out) != 1 || r.m.State() != Bound || only[Extend](r).Lease.Until != r.now.Add(time.Hour) {
		t.Errorf("%v: %+v", r.m.State(), r.out)
	}
	// Another gateway is a change.
	for r.m.State() == Bound {
		r.due()
	}
	r.says(dhcpv4.MessageTypeAck, given, dhcpv4.WithOption(dhcpv4.OptRouter(netip.MustParseAddr("192.168.8.2").AsSlice())))
	if l := only[Configure](r).Lease; l.Gateway != netip.MustParseAddr("192.168.8.2") || has[Withdraw](r) {
		t.Errorf("%+v", r.out)
	}
}

// Nobody renews: after T2 any server is asked, and at its end the lease is
// taken away and another one looked for.
//
//rfc:2131#4.4.5
func TestALeaseEndsWhenNobodyRenewsIt(t *testing.T) {
	r := bound(t)
	l := r.m.lease
	var states []State
	for r.m.State() != Selecting {
		r.due()
		if s := r.m.State(); len(states) == 0 || states[len(states)-1] != s {
			states = append(states, s)
		}
		if s, ok := r.out[0].(Send); ok && (r.m.State() == Rebinding) == s.To.IsValid() {
			t.Errorf("%v: sent to %v", r.m.State(), s.To)
		}
	}
	if !slices.Equal(states, []State{Renewing, Rebinding, Selecting}) || r.now != l.Until || only[Withdraw](r).Lease.Address != given {
		t.Errorf("%v, ended %v before its end", states, l.Until.Sub(r.now))
	}
	r.sent(dhcpv4.MessageTypeDiscover)
}

// The link comes back to its network: the gateway answers and the address is in
// use again, or still, while the server is asked; the server's refusal counts
// more.
//
//rfc:2131#3.2
//rfc:4436#2
func TestAKnownNetworkIsKnownAgain(t *testing.T) {
	answer := arp.Packet{Op: arp.Reply, SenderHW: router, Sender: gateway, TargetHW: own, Target: given.Addr()}
	again := func() *rig {
		past := bound(t).m.Past()
		if len(past) != 1 || past[0].GatewayHW != router {
			t.Fatalf("remembered %+v", past)
		}
		r := newRig(t, past, false) // as after a restart
		r.now = r.now.Add(time.Minute)
		r.up()
		s := r.sent(dhcpv4.MessageTypeRequest)
		if addrOf(s.Message.RequestedIPAddress()) != given.Addr() || s.Message.ServerIdentifier() != nil || !addrOf(s.Message.ClientIPAddr).IsUnspecified() {
			t.Errorf("request %v", s.Message.Summary())
		}
		if a := only[Ask](r); a.To != router || a.Packet.Target != gateway || a.Packet.Sender != given.Addr() {
			t.Errorf("probe %+v", a)
		}
		return r
	}
	t.Run("gateway, then nobody", func(t *testing.T) {
		r := again()
		r.out = r.m.Heard(r.now, answer)
		only[Configure](r)
		for r.m.State() == Rebooting {
			r.due()
		}
		if l, ok := r.m.Lease(); !ok || l.Address != given || r.m.State() != Bound {
			t.Errorf("%v, lease %+v", r.m.State(), l)
		}
	})
	t.Run("gateway, then acknowledged", func(t *testing.T) {
		r := again()
		r.out = r.m.Heard(r.now, answer)
		r.says(dhcpv4.MessageTypeAck, given)
		if has[Configure](r) || has[Ask](r) || r.m.State() != Bound {
			t.Errorf("%v: %+v", r.m.State(), r.out)
		}
	})
	t.Run("gateway, then refused", func(t *testing.T) {
		r := again()
		r.out = r.m.Heard(r.now, answer)
		r.says(dhcpv4.MessageTypeNak, given)
		only[Withdraw](r)
		r.sent(dhcpv4.MessageTypeDiscover)
	})
	t.Run("another gateway with the address", func(t *testing.T) {
		r := again()
		wrong := answer
		wrong.SenderHW = other
		if r.out = r.m.Heard(r.now, wrong); len(r.out) != 0 {
			t.Errorf("%+v", r.out)
		}
		began := r.now
		for r.m.State() == Rebooting {
			r.due()
		}
		if r.sent(dhcpv4.MessageTypeDiscover); r.now.Sub(began) > 4*time.Second {
			t.Errorf("another network is looked for after %v", r.now.Sub(began))
		}
	})
	t.Run("attached anew with the address", func(t *testing.T) {
		r := bound(t)
		r.m.Down()
		if _, ok := r.m.Lease(); !ok {
			t.Error("the lease went with the carrier")
		}
		r.up()
		r.out = r.m.Heard(r.now, answer)
		if len(r.out) != 0 {
			t.Errorf("%+v", r.out)
		}
		r.says(dhcpv4.MessageTypeAck, given)
		if has[Configure](r) || has[Withdraw](r) {
			t.Errorf("%+v", r.out)
		}
	})
	t.Run("elsewhere", func(t *testing.T) {
		r := bound(t)
		r.m.Down()
		r.up()
		for r.m.State() == Rebooting {
			r.due()
		}
		only[Withdraw](r)
		r.sent(dhcpv4.MessageTypeDiscover)
		// And back, within the lease.
		r.m.Down()
		r.up()
		if !has[Ask](r) {
			t.Errorf("the first network is forgotten: %+v", r.out)
		}
	})
}

// Somebody has the address: it is declined, and asked for anew only after ten
// seconds.
//
//rfc:2131#3.1
func TestAnAddressInUseIsDeclined(t *testing.T) {
	for name, p := range map[string]arp.Packet{
		"answer": {Op: arp.Reply, SenderHW: other, Sender: given.Addr(), TargetHW: own, Target: netip.IPv4Unspecified()},
		"probe":  {Op: arp.Request, SenderHW: other, Sender: netip.IPv4Unspecified(), Target: given.Addr()},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil, false)
			r.up()
			r.says(dhcpv4.MessageTypeOffer, given)
			r.says(dhcpv4.MessageTypeAck, given)
			mine := p
			mine.SenderHW = own
			if r.out = r.m.Heard(r.now, mine); len(r.out) != 0 {
				t.Fatalf("its own packet is taken for somebody else's: %+v", r.out)
			}
			at := r.now
			r.out = r.m.Heard(r.now, p)
			if s := r.sent(dhcpv4.MessageTypeDecline); addrOf(s.Message.RequestedIPAddress()) != given.Addr() || addrOf(s.Message.ServerIdentifier()) != gateway {
				t.Errorf("decline %v", s.Message.Summary())
			}
			if r.due(); r.now.Sub(at) < 10*time.Second {
				t.Errorf("again after %v", r.now.Sub(at))
			}
			r.sent(dhcpv4.MessageTypeDiscover)
		})
	}
}

// What a network must not do with a link: routes that win over the tunnel, and
// connected networks that take public addresses out of it.
//
//rfc:8910#5-1
func TestANetworkCannotDrawPacketsOutOfTheTunnel(t *testing.T) {
	now := time.Now()
	read := func(address string, router string, more ...dhcpv4.Modifier) (Lease, error) {
		a := netip.MustParsePrefix(address)
		p, err := dhcpv4.New(append([]dhcpv4.Modifier{
			dhcpv4.WithYourIP(a.Addr().AsSlice()), dhcpv4.WithNetmask(net.CIDRMask(a.Bits(), 32)), dhcpv4.WithLeaseTime(3600),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(gateway.AsSlice())),
		}, more...)...)
		if err != nil {
			t.Fatal(err)
		}
		if router != "" {
			p.UpdateOption(dhcpv4.OptRouter(netip.MustParseAddr(router).AsSlice()))
		}
		return leaseOf(now, p, netip.Addr{})
	}
	tunnelled := []netip.Prefix{netip.MustParsePrefix("10.10.0.0/24")}
	for _, c := range []struct {
		address, router string
		connected       bool
	}{
		{"192.168.8.100/24", "192.168.8.1", true},
		{"10.1.2.3/16", "10.1.0.1", true},
		{"10.1.2.3/8", "10.0.0.1", false},
		{"100.64.0.5/10", "100.64.0.1", false},
		// The home network is reached through the tunnel, whatever a network says.
		{"10.10.0.77/24", "10.10.0.1", false},
		{"10.10.0.77/16", "10.10.0.1", false},
		{"10.10.0.130/25", "", false},
		{"198.51.100.7/1", "198.51.100.1", false},
		{"198.51.100.7/24", "198.51.100.1", false},
		{"198.51.100.7/24", "", true},
		{"198.51.100.7/4", "", false},
		{"10.1.2.3/4", "10.0.0.1", false},
	} {
		if l, err := read(c.address, c.router); err != nil || l.Connected(tunnelled) != c.connected {
			t.Errorf("%s: connected %v, %v", c.address, l.Connected(tunnelled), err)
		}
	}
	// Option 121 counts more than option 3, and only its default route counts.
	routes := dhcpv4.WithGeneric(dhcpv4.OptionClasslessStaticRoute, []byte{8, 8, 192, 168, 8, 9, 0, 192, 168, 8, 7})
	if l, err := read("192.168.8.100/24", "192.168.8.1", routes); err != nil || l.Gateway != netip.MustParseAddr("192.168.8.7") {
		t.Errorf("gateway %v, %v", l.Gateway, err)
	}
	for _, wrong := range []string{"0.0.0.0/24", "224.0.0.5/24", "127.0.0.1/8", "255.255.255.255/32", "192.168.8.255/24", "192.168.8.0/24"} {
		if _, err := read(wrong, ""); err == nil {
			t.Errorf("%s was taken", wrong)
		}
	}
	if _, err := read("192.168.8.100/24", "", dhcpv4.WithLeaseTime(1)); err == nil {
		t.Error("a lease of one second was taken")
	}
	portal := dhcpv4.WithGeneric(optionPortal, []byte("https://login.example/api"))
	if l, _ := read("192.168.8.100/24", "", portal); l.Portal != "https://login.example/api" {
		t.Errorf("portal %q", l.Portal)
	}
	for _, wrong := range []string{"a\x1b[2J", "https://login.example/%zz", "https://[fe80::1/api"} {
		if l, _ := read("192.168.8.100/24", "", dhcpv4.WithGeneric(optionPortal, []byte(wrong))); l.Portal != "" {
			t.Errorf("portal %q", l.Portal)
		}
	}
}

// Messages of others, late ones and forged ones change nothing.
func TestMessagesOfOthersChangeNothing(t *testing.T) {
	r := newRig(t, nil, false)
	r.up()
	for _, spoil := range []dhcpv4.Modifier{
		dhcpv4.WithTransactionID(dhcpv4.TransactionID{1, 2, 3, 4}),
		dhcpv4.WithHwAddr(other[:]),
		func(p *dhcpv4.DHCPv4) { p.Options.Del(dhcpv4.OptionServerIdentifier) },
	} {
		if r.says(dhcpv4.MessageTypeOffer, given, spoil); len(r.out) != 0 || r.m.State() != Selecting {
			t.Errorf("%v: %+v", r.m.State(), r.out)
		}
	}
	for _, early := range []dhcpv4.MessageType{dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak} {
		if r.says(early, given); len(r.out) != 0 {
			t.Errorf("%v: %+v", early, r.out)
		}
	}
	// A server that offers and refuses does not make the link ask for ever.
	asked := 0
	for end := r.now.Add(time.Minute); r.now.Before(end); {
		r.says(dhcpv4.MessageTypeOffer, given)
		r.sent(dhcpv4.MessageTypeRequest)
		r.says(dhcpv4.MessageTypeNak, given)
		asked++
		r.due()
	}
	if asked > 8 {
		t.Errorf("asked %d times within a minute", asked)
	}
}

// A network that gives the link the home agent's address would have the home
// agent's packets go to this host, over whatever uplink: it is as if it had
// offered nothing, at first and when it is asked to renew.
func TestTheHomeAgentsAddressIsNotTaken(t *testing.T) {
	agent := netip.MustParsePrefix("198.51.100.1/24")
	r := newRig(t, nil, false)
	r.m.never = func(a netip.Addr) bool { return a == agent.Addr() }
	r.up()
	r.sent(dhcpv4.MessageTypeDiscover)
	r.says(dhcpv4.MessageTypeOffer, agent)
	if r.m.State() != Selecting || len(r.out) > 0 {
		t.Fatalf("%v, %+v", r.m.State(), r.out)
	}
	if why := r.m.Why(); why != "no lease that can be used: 198.51.100.1 is the home agent's address" {
		t.Errorf("why: %q", why)
	}
	r.says(dhcpv4.MessageTypeOffer, given)
	r.sent(dhcpv4.MessageTypeRequest)
	if why := r.m.Why(); why != "" {
		t.Errorf("why: %q", why)
	}
	r.says(dhcpv4.MessageTypeAck, given)
	for r.m.State() != Bound {
		r.due()
	}
	for r.m.State() != Renewing {
		r.due()
	}
	r.sent(dhcpv4.MessageTypeRequest)
	r.says(dhcpv4.MessageTypeAck, agent)
	if l, _ := r.m.Lease(); l.Address != given || r.m.State() != Renewing {
		t.Errorf("%v with %v", r.m.State(), l.Address)
	}
}
