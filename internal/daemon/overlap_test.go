package daemon

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"careof/internal/core/engine"
	"careof/internal/host/plane/nstest"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// Two visitors with one home address on one link, RFC 3024's figure A4, and
// behind each home agent a correspondent, also with one address:
//
//	cn 192.0.2.9 --- ha 198.51.100.1 --+                       +-- mn 10.10.0.5
//	                                   r --- fa 192.168.1.1 -- sw
//	cn 192.0.2.9 --- ha 198.51.101.1 --+                       +-- mn 10.10.0.5
func newOverlap(t *testing.T, foreign string) (visitors [2]*foreignNet) {
	t.Helper()
	all := newDaemons(t)
	fa, r, sw := nstest.New(t, "fa"), nstest.New(t, "r"), nstest.New(t, "sw")
	nstest.Join(t, fa, "wan0", r, "tofa", 1500)
	nstest.Join(t, fa, "lan0", sw, "tofa", 1500)
	if err := sw.H.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}); err != nil {
		t.Fatal(err)
	}
	plug := func(port string) {
		if err := sw.H.LinkSetMaster(sw.Link(port), sw.Link("br0")); err != nil {
			t.Fatal(err)
		}
	}
	plug("tofa")
	sw.Up("br0")
	fa.Address("wan0", "203.0.113.1/24")
	r.Address("tofa", "203.0.113.254/24")
	fa.Address("lan0", "192.168.1.1/24")
	fa.Route("0.0.0.0/0", "203.0.113.254", "", "")
	r.Sysctl("net/ipv4/ip_forward", 1)
	for i := range visitors {
		name := func(s string) string { return fmt.Sprintf("%s%d", s, i+1) }
		n := &foreignNet{daemons: all, heard: make(chan engine.Discovery, 100), fa: fa, r: r, careOf: visitorCoA, router: visitorFA}
		n.ha, n.cn, n.mn = nstest.New(t, name("ha")), nstest.New(t, name("cn")), nstest.New(t, name("mn"))
		nstest.Join(t, n.ha, "wan0", r, name("toha"), 1500)
		nstest.Join(t, n.cn, "eth0", n.ha, "lan0", 1500)
		nstest.Join(t, n.mn, "eth0", sw, name("tomn"), 1500)
		plug(name("tomn"))
		n.homeAgent = netip.MustParseAddr(fmt.Sprintf("198.51.%d.1", 100+i))
		n.ha.Address("wan0", n.homeAgent.String()+"/24")
		router := fmt.Sprintf("198.51.%d.254", 100+i)
		r.Address(name("toha"), router+"/24")
		n.ha.Address("lan0", "192.0.2.1/24")
		n.cn.Address("eth0", "192.0.2.9/24")
		n.ha.Route("0.0.0.0/0", router, "", "")
		n.cn.Route("0.0.0.0/0", "192.0.2.1", "", "")
		n.mn.Address("eth0", "10.10.0.5/32")
		n.keys()
		n.hear()
		n.hearReplies()
		n.echo()
		visitors[i] = n
	}
	for i, n := range visitors {
		n.haControl = n.daemon(n.ha, fmt.Sprintf("ha%d", i+1), strings.Replace(pairHomeText, "198.51.100.1", n.homeAgent.String(), 1))
	}
	control := visitors[0].daemon(fa, "fa", foreign)
	for _, n := range visitors {
		n.control = control
		n.agent()
		n.gateway()
	}
	return visitors
}

// both runs something for the two visitors at a time.
func both(visitors [2]*foreignNet, do func(*foreignNet)) {
	var wg sync.WaitGroup
	for _, n := range visitors {
		wg.Go(func() { do(n) })
	}
	wg.Wait()
}

// "When delivering packets to or receiving packets from mobile nodes, foreign
// agents MUST disambiguate among mobile node with conflicting private addresses
// by using link-layer information": two visitors with one home address, both
// with TCP in both directions through reverse tunnels with direct delivery,
// with GRE keys and without, and one alone before and after.
//
//rfc:3024#A.4
//rfc:3024#A.3
//rfc:6245#1
//rfc:3024#A.4-8
func TestVisitorsWithOneHomeAddress(t *testing.T) {
	for name, flags := range map[string]mip4.RequestFlags{"without keys": mip4.FlagT, "with GRE keys": mip4.FlagT | mip4.FlagG} {
		t.Run(name, func(t *testing.T) {
			v := newOverlap(t, openForeignText+knownVisitor)
			alone := func(n *foreignNet, when string) {
				t.Helper()
				if !n.ask(patience) {
					t.Fatalf("no way to the correspondent and back, %s", when)
				}
			}
			join := func(n *foreignNet) {
				t.Helper()
				if r := n.register(flags, 300); r.Code != 0 {
					t.Fatalf("reply %+v", r)
				}
			}
			join(v[0])
			alone(v[0], "alone")
			join(v[1])
			list := v[0].visitors()
			if len(list) != 2 || list[0].Delivery != "direct" || list[1].Delivery != "direct" {
				t.Fatalf("visitors %+v", list)
			}
			both(v, func(n *foreignNet) {
				if !n.ask(patience) {
					t.Error("no way to the correspondent and back, beside the other one")
				}
			})
			both(v, (*foreignNet).stream)
			for _, one := range v[0].visitors() {
				if one.Counters.SentBytes < 1<<20 || one.Counters.ReceivedBytes < 1<<20 {
					t.Errorf("%v counted %+v", one.HomeAgent, one.Counters)
				}
			}
			if r := v[0].register(flags, 0); r.Code != 0 {
				t.Fatalf("reply to the deregistration %+v", r)
			}
			if v[0].ask(200 * time.Millisecond) {
				t.Error("served after the deregistration")
			}
			alone(v[1], "after the other one has gone")
			v[1].stream()
		})
	}
}

// A packet that is too long for the tunnel, and one at its last hop: the visitor
// that sent it is told, and not the one with the same address.
//
//rfc:3024#A.4
//rfc:2003#5
func TestErrorsReachTheVisitorThatSent(t *testing.T) {
	v := newOverlap(t, openForeignText+knownVisitor)
	for _, n := range v {
		if r := n.register(mip4.FlagT, 300); r.Code != 0 {
			t.Fatalf("reply %+v", r)
		}
	}
	for i, n := range v {
		other := v[1-i]
		heard, beside := n.mn.Packets("eth0"), other.mn.Packets("eth0")
		for _, p := range []struct {
			head       encap.IPv4
			size       int
			kind, code byte
		}{
			{encap.IPv4{TTL: 1}, 10, 11, 0},
			{encap.IPv4{TTL: 64, DF: true}, 1472, 3, 4},
		} {
			packet, err := encap.AppendUDP(nil, p.head, netip.AddrPortFrom(visitorHome, 5000), netip.AddrPortFrom(peerAddr, 9), make([]byte, p.size))
			if err != nil {
				t.Fatal(err)
			}
			if err := n.onLink.SendPacket("eth0", n.agentHW, packet); err != nil {
				t.Fatal(err)
			}
			told := func(next func() []byte) (from netip.Addr) {
				for f := next(); f != nil; f = next() {
					if len(f) >= 28 && f[0] == 0x45 && f[9] == 1 && f[20] == p.kind && f[21] == p.code {
						from = netip.AddrFrom4([4]byte(f[12:16]))
					}
				}
				return from
			}
			n.until(fmt.Sprintf("ICMP %d/%d reaches its visitor", p.kind, p.code), func() bool { return told(heard) == visitorFA })
			if told(beside) != (netip.Addr{}) {
				t.Errorf("ICMP %d/%d reached the other visitor", p.kind, p.code)
			}
		}
	}
}

// With encapsulating delivery the two tunnels to the foreign agent look alike
// too.
//
//rfc:3024#5.2
//rfc:3024#A.4
func TestEncapsulatingVisitorsWithOneHomeAddress(t *testing.T) {
	v := newOverlap(t, openForeignText+knownVisitor)
	for _, n := range v {
		if r := n.register(mip4.FlagT, 300, &mip4.EncapsulatingDelivery{}); r.Code != 0 {
			t.Fatalf("reply %+v", r)
		}
	}
	for i, n := range v {
		heard, beside := n.cn.Packets("eth0"), v[1-i].cn.Packets("eth0")
		inner, err := encap.AppendUDP(nil, encap.IPv4{TTL: 64}, netip.AddrPortFrom(visitorHome, 5000), netip.AddrPortFrom(peerAddr, 9), []byte("mine"))
		if err != nil {
			t.Fatal(err)
		}
		outer, err := encap.Append(nil, &encap.Header{Kind: encap.IPIP, Src: visitorHome, Dst: visitorFA, TTL: 64}, inner)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.onLink.SendPacket("eth0", n.agentHW, outer); err != nil {
			t.Fatal(err)
		}
		arrived := func(next func() []byte) (is bool) {
			for f := next(); f != nil; f = next() {
				is = is || len(f) >= 32 && f[9] == 17 && string(f[28:32]) == "mine"
			}
			return is
		}
		n.until("the packet reaches its correspondent", func() bool { return arrived(heard) })
		if arrived(beside) {
			t.Error("the packet reached the other one's correspondent")
		}
	}
}
