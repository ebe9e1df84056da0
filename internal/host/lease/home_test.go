package lease

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

var (
	start  = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	home   = netip.MustParseAddr("10.10.0.5")
	server = net.IP{10, 10, 0, 67}
)

// A change is what happened to the lease.
type change string

const (
	gotten   change = "got" // there is one, or it says something else than before
	extended change = "extended"
	lost     change = "lost"
	without  change = "without"
	informed change = "informed"
)

// A bench runs a machine in virtual time and keeps what it wants.
type bench struct {
	t       *testing.T
	m       *Machine
	now     time.Time
	sent    []*dhcpv4.DHCPv4
	changes []change
	told    Lease // without a lease
}

func newBench(t *testing.T, before Lease) *bench {
	return &bench{t: t, m: ForHome(home, "van7@fleet.example", rand.New(rand.NewPCG(1, 2)), before), now: start}
}

func (b *bench) do(actions []Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case Send:
			parsed, err := dhcpv4.FromBytes(a.Message.ToBytes())
			if err != nil {
				b.t.Fatal(err)
			}
			b.sent = append(b.sent, parsed)
		case Configure:
			b.changes = append(b.changes, gotten)
		case Extend:
			b.changes = append(b.changes, extended)
		case Withdraw:
			b.changes = append(b.changes, lost)
		case Without:
			b.changes = append(b.changes, without)
		case Inform:
			b.changes, b.told = append(b.changes, informed), a.Lease
		default:
			b.t.Errorf("%T without a link", a)
		}
	}
}

// pass lets time pass.
func (b *bench) pass(d time.Duration) {
	for end := b.now.Add(d); ; {
		at := b.m.Deadline()
		if at.IsZero() || at.After(end) {
			b.now = end
			return
		}
		if at.Before(b.now) {
			b.t.Fatalf("due %v ago", b.now.Sub(at))
		}
		before := at
		b.now = at
		b.do(b.m.Wake(b.now))
		if after := b.m.Deadline(); after.Equal(before) {
			b.t.Fatalf("%v: nothing has changed at %v", b.m.State(), at)
		}
	}
}

func (b *bench) last() *dhcpv4.DHCPv4 {
	b.t.Helper()
	if len(b.sent) == 0 {
		b.t.Fatal("nothing was sent")
	}
	return b.sent[len(b.sent)-1]
}

// answer lets a server answer the last message.
func (b *bench) answer(kind dhcpv4.MessageType, change ...dhcpv4.Modifier) {
	b.t.Helper()
	b.hear(true, kind, change...)
}

func (b *bench) hear(byRelay bool, kind dhcpv4.MessageType, change ...dhcpv4.Modifier) {
	b.t.Helper()
	p, err := dhcpv4.NewReplyFromRequest(b.last(), append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(home.AsSlice()), dhcpv4.WithLeaseTime(1000), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(server)),
		dhcpv4.WithDNS(net.IP{10, 10, 0, 53}),
	}, change...)...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.do(b.m.Message(b.now, byRelay, p))
}

func (b *bench) lease() {
	b.t.Helper()
	b.do(b.m.Up(b.now))
	b.answer(dhcpv4.MessageTypeOffer)
	b.answer(dhcpv4.MessageTypeAck)
	if _, has := b.m.Lease(); !has || b.m.State() != Bound {
		b.t.Fatalf("%v without a lease", b.m.State())
	}
	b.sent, b.changes = nil, nil
}

func heard(t *testing.T, got []change, want ...change) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("heard of %v, want %v", got, want)
	}
}

// The client asks for the address that the node has, as a name, and takes it.
//
//rfc:2131#4.4.1
//rfc:2132#9.14
func TestALeaseForTheHomeAddress(t *testing.T) {
	b := newBench(t, Lease{})
	b.do(b.m.Up(b.now))
	d := b.last()
	if d.MessageType() != dhcpv4.MessageTypeDiscover || !d.RequestedIPAddress().Equal(home.AsSlice()) || !d.ClientIPAddr.IsUnspecified() || !d.GatewayIPAddr.IsUnspecified() ||
		string(d.Options.Get(dhcpv4.OptionClientIdentifier)) != "\x00van7@fleet.example" {
		t.Errorf("discovers with %s", d.Summary())
	}
	b.answer(dhcpv4.MessageTypeOffer)
	r := b.last()
	if r.MessageType() != dhcpv4.MessageTypeRequest || !r.ServerIdentifier().Equal(server) || !r.RequestedIPAddress().Equal(home.AsSlice()) || !r.ClientIPAddr.IsUnspecified() ||
		r.TransactionID != d.TransactionID {
		t.Errorf("requests with %s", r.Summary())
	}
	b.answer(dhcpv4.MessageTypeAck)
	l, has := b.m.Lease()
	if !has || l.Address.Addr() != home || l.Server != netip.MustParseAddr("10.10.0.67") || !l.Until.Equal(start.Add(1000*time.Second)) || !l.Renew.Equal(start.Add(500*time.Second)) {
		t.Errorf("the lease is %+v", l)
	}
	heard(t, b.changes, gotten)
}

// At a new place the server is asked at once whether the lease holds, with the address and
// without a server: the answer prolongs it.
//
//rfc:2131#4.3.2
//rfc:2131#4.4.5
func TestAMoveRenewsTheLease(t *testing.T) {
	b := newBench(t, Lease{})
	b.lease()
	b.pass(100 * time.Second)
	b.m.Down()
	b.pass(20 * time.Second)
	if len(b.sent) != 0 {
		t.Errorf("it says something without a registration: %s", b.last().Summary())
	}
	b.do(b.m.Up(b.now))
	r := b.last()
	if r.MessageType() != dhcpv4.MessageTypeRequest || !r.ClientIPAddr.Equal(home.AsSlice()) || r.ServerIdentifier() != nil || r.RequestedIPAddress() != nil {
		t.Errorf("renews with %s", r.Summary())
	}
	b.pass(40 * time.Second)
	if n := len(b.sent); n < 4 || n > 5 { // after 4, 8, 16 seconds
		t.Errorf("asked %d times in 40 seconds", n)
	}
	b.answer(dhcpv4.MessageTypeAck)
	if l, _ := b.m.Lease(); !l.Until.Equal(b.now.Add(1000*time.Second)) || b.m.State() != Bound {
		t.Errorf("%v until %v", b.m.State(), l.Until)
	}
	heard(t, b.changes, extended)
}

// A server that is silent after a move is not asked every minute for nothing: after the first
// questions the lease's own times count, and at its end it is lost.
//
//rfc:2131#4.4.5
func TestASilentServer(t *testing.T) {
	b := newBench(t, Lease{})
	b.lease()
	b.do(b.m.Up(b.now))
	b.pass(999 * time.Second)
	if n := len(b.sent); n > 14 || n < 6 {
		t.Errorf("asked %d times", n)
	}
	if b.m.State() != Rebinding {
		t.Errorf("%v at the end", b.m.State())
	}
	heard(t, b.changes, without)
	b.sent = nil
	b.pass(2 * time.Second)
	if _, has := b.m.Lease(); has || b.m.State() != Selecting || b.last().MessageType() != dhcpv4.MessageTypeDiscover {
		t.Errorf("%v, has a lease %v", b.m.State(), has)
	}
	heard(t, b.changes, without, lost)
	b.sent = nil
	b.pass(24 * time.Hour)
	if n := len(b.sent); n < 100 || n > 200 {
		t.Errorf("asked %d times in a day", n)
	}
}

// In time, T1 and T2, the lease is renewed without a move.
//
//rfc:2131#4.4.5
func TestTimeRenewsTheLease(t *testing.T) {
	b := newBench(t, Lease{})
	b.lease()
	b.pass(499 * time.Second)
	if len(b.sent) != 0 {
		t.Error("renewed before T1")
	}
	b.pass(2 * time.Second)
	if b.m.State() != Renewing || !b.last().ClientIPAddr.Equal(home.AsSlice()) {
		t.Errorf("%v after T1", b.m.State())
	}
	first := b.last().TransactionID
	b.pass(400 * time.Second)
	if b.m.State() != Rebinding {
		t.Errorf("%v after T2", b.m.State())
	}
	b.answer(dhcpv4.MessageTypeAck, dhcpv4.WithDNS(net.IP{10, 10, 0, 54}))
	heard(t, b.changes, without, gotten) // other name servers are news
	b.pass(501 * time.Second)
	if b.last().TransactionID == first {
		t.Error("the next exchange has the same identifier")
	}
}

// A server that has forgotten the lease makes the client begin anew.
//
//rfc:2131#4.4.5
func TestARefusal(t *testing.T) {
	b := newBench(t, Lease{})
	b.lease()
	b.do(b.m.Up(b.now))
	b.answer(dhcpv4.MessageTypeNak)
	if b.last().MessageType() != dhcpv4.MessageTypeDiscover {
		t.Errorf("after a refusal: %s", b.last().Summary())
	}
	heard(t, b.changes, lost)
}

// The home address is the home agent's to give: another one is no lease. The server is asked
// for the rest, without lease times, and for a lease again later.
//
//rfc:2131#3.4
//rfc:2131#4.4.3
func TestAnotherAddressIsNoLease(t *testing.T) {
	b := newBench(t, Lease{})
	b.do(b.m.Up(b.now))
	b.answer(dhcpv4.MessageTypeOffer, dhcpv4.WithYourIP(net.IP{10, 10, 0, 150}))
	b.pass(6 * time.Second)
	i := b.last()
	if i.MessageType() != dhcpv4.MessageTypeInform || !i.ClientIPAddr.Equal(home.AsSlice()) || i.IsOptionRequested(dhcpv4.OptionIPAddressLeaseTime) || i.RequestedIPAddress() != nil {
		t.Errorf("asks with %s", i.Summary())
	}
	heard(t, b.changes, without)
	b.hear(false, dhcpv4.MessageTypeAck, dhcpv4.WithYourIP(net.IPv4zero)) // "directly to the address given in the 'ciaddr' field"
	heard(t, b.changes, without, informed)
	if _, has := b.m.Lease(); has || len(b.told.DNS) != 1 {
		t.Errorf("has a lease %v, told %+v", has, b.told)
	}
	n := len(b.sent)
	b.pass(refusedWait - 7*time.Second)
	if len(b.sent) != n {
		t.Error("it asks again before it is time")
	}
	b.pass(10 * time.Second)
	if b.last().MessageType() != dhcpv4.MessageTypeDiscover {
		t.Errorf("asks again with %s", b.last().Summary())
	}
}

// About a lease only the relay is believed, and only about what was asked, for this node.
//
//rfc:2131#4.4.1
func TestOnlyTheRelayIsBelieved(t *testing.T) {
	b := newBench(t, Lease{})
	b.do(b.m.Up(b.now))
	b.hear(false, dhcpv4.MessageTypeOffer)
	b.answer(dhcpv4.MessageTypeOffer, dhcpv4.WithTransactionID(dhcpv4.TransactionID{1}))
	b.answer(dhcpv4.MessageTypeOffer, dhcpv4.WithHwAddr(net.HardwareAddr{2, 0, 10, 10, 0, 6}))
	b.answer(dhcpv4.MessageTypeOffer, dhcpv4.WithLeaseTime(3))
	b.answer(dhcpv4.MessageTypeOffer, func(p *dhcpv4.DHCPv4) { p.Options.Del(dhcpv4.OptionServerIdentifier) })
	b.answer(dhcpv4.MessageTypeAck)
	b.answer(dhcpv4.MessageTypeNak)
	if b.m.State() != Selecting || len(b.sent) != 1 || len(b.changes) != 0 {
		t.Errorf("%v, %v", b.m.State(), b.changes)
	}
	b.answer(dhcpv4.MessageTypeOffer)
	b.hear(false, dhcpv4.MessageTypeAck)
	b.hear(false, dhcpv4.MessageTypeNak)
	b.answer(dhcpv4.MessageTypeAck, dhcpv4.WithYourIP(net.IP{10, 10, 0, 6}))
	if b.m.State() != Requesting || len(b.changes) != 0 {
		t.Errorf("%v, %v", b.m.State(), b.changes)
	}
}

// A process that follows asks whether the lease of the one before holds, and begins anew when
// it has ended or is of another address.
func TestALeaseOutlivesTheProcess(t *testing.T) {
	b := newBench(t, Lease{})
	b.lease()
	back, _ := b.m.Lease()
	next := newBench(t, back)
	next.do(next.m.Up(start.Add(time.Second)))
	if next.m.State() != Renewing {
		t.Errorf("the next one is %v", next.m.State())
	}
	late := newBench(t, back)
	late.do(late.m.Up(start.Add(time.Hour)))
	back.Address = netip.MustParsePrefix("10.10.0.6/32")
	other := newBench(t, back)
	other.do(other.m.Up(start))
	if late.m.State() != Selecting || other.m.State() != Selecting {
		t.Errorf("after its end %v, with another address %v", late.m.State(), other.m.State())
	}
	heard(t, late.changes, lost)
}

// Classless routes lead through the tunnel, whatever their routers are, but for the default
// one and for what no route leads to; with them the router option means nothing.
func TestRoutesOfALease(t *testing.T) {
	route := func(to string, router net.IP) *dhcpv4.Route {
		_, n, err := net.ParseCIDR(to)
		if err != nil {
			t.Fatal(err)
		}
		return &dhcpv4.Route{Dest: n, Router: router}
	}
	for _, c := range []struct {
		routes []*dhcpv4.Route
		want   string
		router netip.Addr
	}{
		{nil, "", netip.MustParseAddr("10.10.0.9")},
		{[]*dhcpv4.Route{route("192.0.2.0/24", net.IP{10, 10, 0, 254}), route("10.30.0.0/16", net.IPv4zero)}, "192.0.2.0/24 10.30.0.0/16", netip.Addr{}},
		{[]*dhcpv4.Route{route("0.0.0.0/0", net.IP{10, 10, 0, 254}), route("192.0.2.0/24", net.IPv4zero)}, "192.0.2.0/24", netip.MustParseAddr("10.10.0.254")},
		{[]*dhcpv4.Route{route("127.0.0.0/8", net.IPv4zero), route("224.0.0.0/4", net.IPv4zero), route("169.254.9.0/24", net.IPv4zero), route("192.0.2.0/24", net.IPv4zero), route("192.0.2.0/24", net.IPv4zero)}, "192.0.2.0/24", netip.Addr{}},
	} {
		b := newBench(t, Lease{})
		b.do(b.m.Up(b.now))
		more := []dhcpv4.Modifier{dhcpv4.WithRouter(net.IP{10, 10, 0, 9})}
		if c.routes != nil {
			more = append(more, dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(c.routes...)))
		}
		b.answer(dhcpv4.MessageTypeOffer, more...)
		b.answer(dhcpv4.MessageTypeAck, more...)
		l, _ := b.m.Lease()
		var got []string
		for _, p := range l.Routes {
			got = append(got, p.String())
		}
		if strings.Join(got, " ") != c.want || l.Gateway != c.router {
			t.Errorf("routes %v, router %v; want %q, %v", got, l.Gateway, c.want, c.router)
		}
	}
}
