package lease

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"careof/internal/host/arp"
)

// from has a server of another address say something.
func from(server string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(netip.MustParseAddr(server).AsSlice()))
}

// Two servers on one link that contradict each other: a client that has asked one
// for its offer hears no other one, be it a refusal or something better.
//
//rfc:2131#4.3.2
func TestAnotherServerHasNoSayAboutAnOffer(t *testing.T) {
	r := newRig(t, nil, false)
	r.up()
	r.says(dhcpv4.MessageTypeOffer, given)
	r.sent(dhcpv4.MessageTypeRequest)
	for range 3 {
		r.says(dhcpv4.MessageTypeOffer, netip.MustParsePrefix("192.168.8.200/24"), from("192.168.8.66"))
		r.says(dhcpv4.MessageTypeNak, given, from("192.168.8.66"))
		r.says(dhcpv4.MessageTypeAck, given, from("192.168.8.66"))
		if r.m.State() != Requesting || len(r.out) > 0 {
			t.Fatalf("%v: %+v", r.m.State(), r.out)
		}
	}
	r.says(dhcpv4.MessageTypeAck, given)
	if r.m.State() != Probing {
		t.Errorf("%v after its own server's word", r.m.State())
	}
}

// A second server on the link that refuses what it knows nothing of takes no lease
// away when the link comes back and the gateway shows that the network is the same. Without the gateway's word it may be another
// network, and any server's refusal is heard.
//
//rfc:2131#4.3.2
//rfc:2131#3.2
func TestAnotherServerTakesNoLeaseAway(t *testing.T) {
	r := bound(t)
	r.m.Down()
	r.up()
	r.out = r.m.Heard(r.now, arp.Packet{Op: arp.Reply, SenderHW: router, Sender: gateway, TargetHW: own, Target: given.Addr()})
	r.says(dhcpv4.MessageTypeNak, given, from("192.168.8.66"))
	if _, has := r.m.Lease(); !has || r.m.State() != Rebooting || len(r.out) > 0 {
		t.Errorf("in the same network, refused by another server: %v, %+v", r.m.State(), r.out)
	}
	for r.m.State() == Rebooting {
		r.due() // its own server is slow, or gone
	}
	if l, has := r.m.Lease(); !has || l.Address != given || r.m.State() != Bound {
		t.Errorf("%v with %+v", r.m.State(), l)
	}

	r.m.Down()
	r.up()
	r.says(dhcpv4.MessageTypeNak, given, from("192.168.8.66"))
	if only[Withdraw](r); r.m.State() != Selecting {
		t.Errorf("elsewhere, refused: %v", r.m.State())
	}
}

// So it is when that server is quicker than the gateway, and when it has offered an
// address of its own by then. A refusal by the lease's own server is the last word.
//
//rfc:4436#2.1.1
func TestTheGatewayAnswersAfterARefusal(t *testing.T) {
	answer := arp.Packet{Op: arp.Reply, SenderHW: router, Sender: gateway, TargetHW: own, Target: given.Addr()}
	foreign := netip.MustParsePrefix("192.168.8.200/24")
	for _, want := range []State{Selecting, Requesting, Probing} {
		r := bound(t)
		r.m.Down()
		r.up()
		r.says(dhcpv4.MessageTypeNak, given, from("192.168.8.66"))
		if want != Selecting {
			r.says(dhcpv4.MessageTypeOffer, foreign, from("192.168.8.66"))
		}
		if want == Probing {
			r.says(dhcpv4.MessageTypeAck, foreign, from("192.168.8.66"))
		}
		if r.m.State() != want {
			t.Fatalf("%v, want %v", r.m.State(), want)
		}
		r.out = r.m.Heard(r.now, answer)
		if l := only[Configure](r).Lease; l.Address != given || r.m.State() != Rebooting {
			t.Fatalf("the gateway answered: %v with %v", r.m.State(), l.Address)
		}
		r.sent(dhcpv4.MessageTypeRequest)
		r.says(dhcpv4.MessageTypeNak, given, from("192.168.8.66"))
		if _, has := r.m.Lease(); !has || len(r.out) > 0 {
			t.Fatalf("refused by the same server again: %v, %+v", r.m.State(), r.out)
		}
		r.says(dhcpv4.MessageTypeAck, given)
		if l, has := r.m.Lease(); !has || l.Address != given || r.m.State() != Bound {
			t.Errorf("%v with %+v", r.m.State(), l)
		}
	}
	r := bound(t)
	r.m.Down()
	r.up()
	r.says(dhcpv4.MessageTypeNak, given)
	r.out = r.m.Heard(r.now, answer)
	if _, has := r.m.Lease(); has || r.m.State() != Selecting {
		t.Errorf("refused by the lease's own server: %v, %+v", r.m.State(), r.out)
	}
}

// An acknowledgment of another address than was asked for again is nobody's
// lease: it would be used without being probed.
//
//rfc:2131#4.3.2
func TestARebootTakesNoOtherAddress(t *testing.T) {
	r := bound(t)
	r.m.Down()
	r.up()
	r.says(dhcpv4.MessageTypeAck, netip.MustParsePrefix("192.168.8.200/24"))
	if l, _ := r.m.Lease(); r.m.State() != Rebooting || l.Address != given || len(r.out) > 0 {
		t.Errorf("%v with %v: %+v", r.m.State(), l.Address, r.out)
	}
}

// Whatever times a server gives, they are in order, and the client does not ask
// more often than each second.
//
//rfc:2131#4.4.5
func TestTimesOfALease(t *testing.T) {
	seconds := func(o dhcpv4.OptionCode, n uint32) dhcpv4.Modifier {
		return dhcpv4.WithGeneric(o, []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	}
	const forever = 1<<32 - 1
	for _, c := range []struct {
		lasts, t1, t2 uint32
		renew, rebind time.Duration // zero: there is no lease
	}{
		{lasts: 0}, {lasts: 1}, {lasts: 9},
		{10, 3, 8, 3 * time.Second, 8 * time.Second},
		{3600, 3000, 1000, 500 * time.Second, 1000 * time.Second},
		{3600, 3600, 3600, 1575 * time.Second, 3150 * time.Second},
		{3600, 0, 0, 1575 * time.Second, 3150 * time.Second},
		{3600, 0, 1, 1575 * time.Second, 3150 * time.Second},
		{3600, forever, 2, time.Second, 2 * time.Second},
		{forever, forever, forever, forever / 8 * 7 / 2 * time.Second, forever / 8 * 7 * time.Second},
	} {
		r := newRig(t, nil, false)
		r.up()
		r.says(dhcpv4.MessageTypeOffer, given, dhcpv4.WithLeaseTime(c.lasts), seconds(dhcpv4.OptionRenewTimeValue, c.t1), seconds(dhcpv4.OptionRebindingTimeValue, c.t2))
		l := r.m.offer
		near := func(at time.Time, want time.Duration) bool {
			return at.Sub(r.now.Add(want)).Abs() < 10*time.Second*time.Duration(1+c.lasts/forever)
		}
		switch taken := r.m.State() == Requesting; {
		case taken != (c.renew > 0):
			t.Errorf("%+v: taken %v", c, taken)
		case taken && (!near(l.Renew, c.renew) || !near(l.Rebind, c.rebind) || l.Until.Sub(r.now) != time.Duration(c.lasts)*time.Second):
			t.Errorf("%+v: T1 %v, T2 %v, ends after %v", c, l.Renew.Sub(r.now), l.Rebind.Sub(r.now), l.Until.Sub(r.now))
		case taken && l.Renew.Sub(r.now) < time.Second:
			t.Errorf("%+v: asks again after %v", c, l.Renew.Sub(r.now))
		}
	}
}

// A renewal that another server answers is one, and the next question is that
// server's; the link keeps its address.
//
//rfc:2131#4.4.5
func TestAnotherServerRenewsTheLease(t *testing.T) {
	r := bound(t)
	for r.m.State() != Rebinding {
		r.due()
	}
	r.says(dhcpv4.MessageTypeAck, given, from("192.168.8.66"))
	if l := only[Configure](r).Lease; l.Address != given || has[Withdraw](r) || has[Ask](r) && r.m.State() == Probing {
		t.Errorf("%+v", r.out)
	}
	for r.m.State() != Renewing {
		r.due()
	}
	if s := r.sent(dhcpv4.MessageTypeRequest); s.To != netip.MustParseAddr("192.168.8.66") {
		t.Errorf("asks %v", s.To)
	}
}

// A host without a clock of its own gets the time when it has a network: a lease
// does not end by that, nor last longer, in any state. Its server is asked, since a
// host that was stopped and goes on sees the same.
func TestAClockThatIsSetEndsNoLease(t *testing.T) {
	for _, by := range []time.Duration{365 * 24 * time.Hour, -24 * time.Hour} {
		r := bound(t)
		for _, c := range []struct {
			state State
			left  time.Duration // when the state begins
		}{{Bound, time.Hour - probes*probeWait}, {Rebinding, 450 * time.Second}, {Selecting, 0}} {
			for r.m.State() != c.state {
				r.due()
			}
			l, had := r.m.Lease()
			if left := l.Until.Sub(r.now); had && left != c.left || had != (c.left > 0) {
				t.Errorf("%v: %v with %v left of %v", by, c.state, left, had)
			}
			r.now = r.now.Add(by)
			r.out = r.m.ClockSet(r.now, by)
			if now, has := r.m.Lease(); has != had || has && (now.Until.Sub(r.now) != c.left || only[Extend](r).Lease.Until != now.Until || !r.m.Past()[0].Until.Equal(now.Until)) {
				t.Errorf("%v: %v: %v, remembered %+v", by, c.state, now, r.m.Past())
			}
			if r.out = r.m.Wake(r.now); c.state == Bound {
				r.sent(dhcpv4.MessageTypeRequest)
			} else if len(r.out) > 0 {
				t.Errorf("%v: %v: %+v", by, c.state, r.out)
			}
		}
	}
}

// Of 60 routes, the home network's among them, an uplink takes the default one.
func TestRoutesOfANetworkAreNotTheLinks(t *testing.T) {
	var routes []byte
	for i := range 60 {
		routes = append(routes, 24, 10, 10, byte(i), 192, 168, 8, 66)
	}
	routes = append(routes, 0, 192, 168, 8, 7)
	r := newRig(t, nil, false)
	r.up()
	r.says(dhcpv4.MessageTypeOffer, given, dhcpv4.WithGeneric(dhcpv4.OptionClasslessStaticRoute, routes))
	if l := r.m.offer; l.Gateway != netip.MustParseAddr("192.168.8.7") || len(l.Routes) > 0 || r.m.State() != Requesting {
		t.Errorf("%v: %+v", r.m.State(), l)
	}
}

// Servers that say anything, gateways and neighbours that answer anything, a link
// that comes and goes in every state, and a clock that jumps: the machine is never
// due all the time, says the whole truth about what there is a lease of, and has
// none that it must not have.
func TestAnythingMayHappen(t *testing.T) {
	never := netip.MustParseAddr("192.168.8.111")
	servers := []netip.Addr{gateway, netip.MustParseAddr("192.168.8.66"), never}
	addresses := []netip.Prefix{given, netip.MustParsePrefix("192.168.8.200/24"), netip.MustParsePrefix("10.10.0.5/24"), netip.PrefixFrom(never, 24)}
	kinds := []dhcpv4.MessageType{dhcpv4.MessageTypeOffer, dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak, dhcpv4.MessageTypeInform}
	seen := make(map[State]int)
	for seed := range uint64(300) {
		luck := rand.New(rand.NewPCG(seed, 7))
		for _, atHome := range []bool{false, true} {
			m := ForLink(own, rand.New(rand.NewPCG(seed, 1)), nil, false, func(a netip.Addr) bool { return a == never })
			if atHome {
				m = ForHome(home, "van7@fleet.example", rand.New(rand.NewPCG(seed, 1)), Lease{})
			}
			now := start
			var held *Lease // what the actions say
			do := func(out []Action) {
				t.Helper()
				for _, a := range out {
					switch a := a.(type) {
					case Send:
						if _, err := dhcpv4.FromBytes(a.Message.ToBytes()); err != nil {
							t.Fatal(err)
						}
					case Configure:
						held = &a.Lease
					case Extend:
						if held == nil || held.Address != a.Lease.Address {
							t.Fatalf("seed %d: %v is extended, there is %v", seed, a.Lease, held)
						}
						held = &a.Lease
					case Withdraw:
						if held == nil {
							t.Fatalf("seed %d: %v is withdrawn, there is none", seed, a.Lease)
						}
						held = nil
					}
				}
				l, has := m.Lease()
				switch {
				case has != (held != nil), has && !l.same(*held):
					t.Fatalf("seed %d: there is %v %+v, said is %+v", seed, has, l, held)
				case has && l.Address.Addr() == never, has && atHome && l.Address.Addr() != home:
					t.Fatalf("seed %d: has %v", seed, l.Address)
				case has && (l.Renew.After(l.Rebind) || l.Rebind.After(l.Until)):
					t.Fatalf("seed %d: %+v", seed, l)
				}
				seen[m.State()]++
			}
			for range 200 {
				switch n := luck.IntN(20); {
				case n < 9: // a server, or who says so
					p := &dhcpv4.DHCPv4{
						OpCode: dhcpv4.OpcodeBootReply, TransactionID: m.xid, ClientHWAddr: m.hw[:], Options: make(dhcpv4.Options),
						YourIPAddr: addresses[luck.IntN(len(addresses))].Addr().AsSlice(),
					}
					p.UpdateOption(dhcpv4.OptMessageType(kinds[luck.IntN(len(kinds))]))
					p.UpdateOption(dhcpv4.OptServerIdentifier(servers[luck.IntN(len(servers))].AsSlice()))
					p.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(24, 32)))
					p.UpdateOption(dhcpv4.OptIPAddressLeaseTime(time.Duration(luck.IntN(5000)) * time.Second))
					if luck.IntN(2) == 0 {
						p.UpdateOption(dhcpv4.OptRouter(servers[luck.IntN(len(servers))].AsSlice()))
					}
					do(m.Message(now, luck.IntN(4) > 0 || !atHome, p))
				case n < 11 && !atHome:
					do(m.Heard(now, arp.Packet{
						Op: arp.Reply, SenderHW: router, Sender: servers[luck.IntN(len(servers))], Target: addresses[luck.IntN(len(addresses))].Addr(),
					}))
				case n == 11:
					m.Down()
					do(nil)
				case n == 12:
					do(m.Up(now))
				case n == 13: // the clock jumps
					by := time.Duration(luck.Int64N(int64(4*time.Hour))) - 2*time.Hour
					if now = now.Add(by); luck.IntN(2) == 0 {
						do(m.ClockSet(now, by))
					}
				case n == 14 && luck.IntN(10) == 0 && !atHome:
					do(m.Release(now))
				default: // time passes, for a while or until something is due
					at := m.Deadline()
					if at.IsZero() || luck.IntN(5) == 0 {
						at = now.Add(time.Duration(luck.Int64N(int64(10 * time.Minute))))
					}
					if at.After(now) {
						now = at
					}
					do(m.Wake(now))
					// One step may end two things; what is due is over then.
					for i := 0; ; i++ {
						due := m.Deadline()
						if due.IsZero() || due.After(now) {
							break
						}
						if i == 2 {
							t.Fatalf("seed %d: %v is always due", seed, m.State())
						}
						do(m.Wake(now))
					}
				}
			}
		}
	}
	for s := range states {
		if seen[s] == 0 {
			t.Errorf("%v did not happen", s)
		}
	}
}
