package daemon

import (
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"careof/internal/control"
	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/host/plane/nstest"
	"careof/wire/adv4"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// A foreign agent at work, on real kernels: discovery, registration, direct
// delivery in both directions with TCP, somebody with another link-layer
// address who uses the visitor's, the end of it; and no ARP for the visitor.
//
//rfc:5944#3.7
//rfc:5944#4.2.2
//rfc:3024#5.1
//rfc:3024#5.1.1-2
func TestAForeignAgentServesAVisitor(t *testing.T) {
	n := newForeignNet(t)
	n.echo()
	a := n.agent()
	if !a.Flags.Has(adv4.FlagF|adv4.FlagT) || len(a.CareOfAddresses) != 1 || a.CareOfAddresses[0] != visitorCoA || a.Lifetime != 600 {
		t.Fatalf("advertised %+v", a)
	}
	n.gateway()
	frames := n.mn.Packets("eth0")
	if n.ask(200 * time.Millisecond) {
		t.Error("the network lets home addresses pass without a registration: the test proves nothing")
	}
	if r := n.register(mip4.FlagT, 300); r.Code != 0 || r.Lifetime != 300 {
		t.Fatalf("reply %+v", r)
	}
	list := n.visitors()
	if len(list) != 1 || list[0].HomeAddress != visitorHome || list[0].State != "accepted" || list[0].Delivery != "direct" || !list[0].Authenticated {
		t.Fatalf("visitors %+v", list)
	}
	if !n.ask(patience) {
		t.Fatal("no way to the correspondent and back")
	}
	n.stream()
	if c := n.visitors()[0].Counters; c.SentBytes < 1<<20 || c.ReceivedBytes < 1<<20 {
		t.Errorf("counted %+v", c)
	}
	for f := frames(); f != nil; f = frames() {
		if len(f) == 28 && f[0] == 0 && f[1] == 1 && f[7] == 1 && netip.AddrFrom4([4]byte(f[24:28])) == visitorHome {
			t.Fatal("the foreign agent asked for the visitor by ARP")
		}
	}

	// Another node on the link takes the visitor's home address.
	link := n.mn.Link("eth0")
	own := link.Attrs().HardwareAddr
	if err := n.mn.H.LinkSetHardwareAddr(link, net.HardwareAddr{2, 0, 0, 0, 0, 0x66}); err != nil {
		t.Fatal(err)
	}
	before := n.visitors()[0].Counters.SentPackets
	if n.ask(300*time.Millisecond) || n.visitors()[0].Counters.SentPackets != before {
		t.Error("another link-layer address spoke for the visitor")
	}
	if err := n.mn.H.LinkSetHardwareAddr(link, own); err != nil {
		t.Fatal(err)
	}
	if !n.ask(patience) {
		t.Error("the visitor itself is not served any more")
	}

	if r := n.register(mip4.FlagT, 0); r.Code != 0 || r.Lifetime != 0 {
		t.Fatalf("reply to the deregistration %+v", r)
	}
	if list := n.visitors(); len(list) != 0 {
		t.Errorf("visitors %+v", list)
	}
	if n.ask(200 * time.Millisecond) {
		t.Error("served after the deregistration")
	}
}

// Encapsulating delivery: what the visitor tunnels to the foreign agent goes on
// to the home agent, its plain packets are routed and not tunnelled; the way
// back is the same.
//
//rfc:3024#5.2
//rfc:3024#5.2.1-1
//rfc:3024#5.4-1
//rfc:3024#5.4-2
func TestEncapsulatingDelivery(t *testing.T) {
	n := newForeignNet(t)
	n.agent()
	n.gateway()
	if r := n.register(mip4.FlagT, 300, &mip4.EncapsulatingDelivery{}); r.Code != 0 {
		t.Fatalf("reply %+v", r)
	}
	frames := n.cn.Tap(t, "eth0", patience)
	send := func(tunnel bool, payload string, hops uint8) {
		t.Helper()
		p, err := encap.AppendUDP(nil, encap.IPv4{TTL: hops}, netip.AddrPortFrom(visitorHome, 5000), netip.AddrPortFrom(peerAddr, 9), []byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		if tunnel {
			if p, err = encap.Append(nil, &encap.Header{Kind: encap.IPIP, Src: visitorHome, Dst: visitorFA, TTL: 64}, p); err != nil {
				t.Fatal(err)
			}
		}
		if err := n.onLink.SendPacket("eth0", n.agentHW, p); err != nil {
			t.Fatal(err)
		}
	}
	send(false, "plain", 64)
	send(true, "last hop", 1)
	send(true, "tunnelled", 64)
	for {
		f := frames()
		if f == nil {
			t.Fatal("what the visitor tunnelled did not arrive")
		}
		ip, u, err := encap.ParseUDP(f)
		if err != nil || u.Src.Addr() != visitorHome {
			continue
		}
		if string(u.Payload) != "tunnelled" {
			t.Errorf("%q arrived", u.Payload)
			continue
		}
		// Foreign agent, home agent and router have each counted a hop.
		if ip.TTL != 61 {
			t.Errorf("arrived with TTL %d, want 61", ip.TTL)
		}
		break
	}
	if c := n.visitors()[0].Counters; c.SentPackets != 1 {
		t.Errorf("%d packets were tunnelled back, want 1", c.SentPackets)
	}
}

// A home agent and a foreign agent in one process: the visitor of the one is
// the other's mobile node, and the tunnel between them does not leave the host.
//
//rfc:5944#3.7.2
func TestHomeAndForeignAgentInOneProcess(t *testing.T) {
	n := wireForeignNet(t)
	n.homeAgent = netip.MustParseAddr("203.0.113.2")
	n.fa.Address("wan0", "203.0.113.2/24")
	n.r.Route("10.10.0.0/24", "203.0.113.2", "", "")
	n.control = n.daemon(n.fa, "fa", foreignAgentText+strings.Replace(pairHomeText, "198.51.100.1", "203.0.113.2", 1))
	n.echo()
	n.agent()
	n.gateway()
	if r := n.register(mip4.FlagT, 300); r.Code != 0 || r.HomeAgent != n.homeAgent {
		t.Fatalf("reply %+v", r)
	}
	n.r.Sysctl("net/ipv4/conf/tofa/rp_filter", 0) // the home network is on this side now
	if !n.ask(patience) {
		t.Fatal("no way to the correspondent and back")
	}
	n.stream()
	if c := n.visitors()[0].Counters; c.SentBytes < 1<<20 || c.ReceivedBytes < 1<<20 {
		t.Errorf("counted %+v", c)
	}
	if r := n.register(mip4.FlagT, 0); r.Code != 0 {
		t.Fatalf("reply to the deregistration %+v", r)
	}
}

// A home agent says on its home link that it is one, and does not offer itself
// to the hosts there as a router.
//
//rfc:5944#2.3
//rfc:5944#2.3-6
//rfc:5944#2.3-3
func TestAHomeAgentAdvertisesOnItsHomeLink(t *testing.T) {
	n := &foreignNet{daemons: newDaemons(t), heard: make(chan engine.Discovery, 100)}
	n.ha, n.mn = nstest.New(t, "ha"), nstest.New(t, "mn")
	nstest.Join(t, n.ha, "lan0", n.mn, "eth0", 1500)
	n.ha.Address("lan0", "10.10.0.1/24")
	n.hear()
	n.daemon(n.ha, "ha", strings.Replace(castsHome, "198.51.100.1", "10.10.0.1", 1))
	select {
	case ev := <-n.heard:
		m, err := adv4.Parse(ev.Data)
		if err != nil {
			t.Fatal(err)
		}
		a, err := m.ForMobileNode()
		if err != nil || a.Flags != adv4.FlagH|adv4.FlagM|adv4.FlagG|adv4.FlagU || len(a.CareOfAddresses) != 0 || a.Sequence != 0 {
			t.Errorf("advertised %+v, %v", a, err)
		}
		if len(m.Routers) != 1 || m.Routers[0].Preference != adv4.NotDefault || ev.Src != netip.MustParseAddr("10.10.0.1") {
			t.Errorf("routers %+v from %v", m.Routers, ev.Src)
		}
	case <-time.After(patience):
		t.Fatal("no advertisement")
	}
	// It hears the Mobile-Agents multicast group there, and says who it is.
	n.mn.Address("eth0", "10.10.0.5/24")
	n.keys()
	n.hearReplies()
	broadcast := netip.MustParseAddr("10.10.0.255")
	d := mip4.NewRequest(mip4.RegistrationRequest{
		HomeAddress: visitorHome, HomeAgent: broadcast, CareOfAddress: visitorHome, Identification: assoc.Timestamp(time.Now()),
	})
	data, err := d.Authenticate(mip4.ExtMobileHome, n.homeKey).Seal()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.onLink.SendTo(engine.Send{
		Link: "eth0", Src: netip.AddrPortFrom(visitorHome, 40000), Dst: netip.AddrPortFrom(adv4.MobileAgents, 434), TTL: 1, Data: data,
	}); err != nil {
		t.Fatal(err)
	}
	m, _ := n.heardReply()
	if r, err := m.Reply(); err != nil || r.Code != mip4.CodeUnknownHomeAgent || r.HomeAgent != netip.MustParseAddr("10.10.0.1") {
		t.Errorf("answered %+v, %v", r, err)
	}
}

// An unreachable home agent: the router's ICMP error becomes a denial at once.
//
//rfc:5944#3.7.3
func TestAnUnreachableHomeAgentIsTold(t *testing.T) {
	n := newForeignNet(t)
	n.agent()
	n.r.H.RouteAdd(&netlink.Route{Type: syscall.RTN_UNREACHABLE, Dst: &net.IPNet{IP: net.ParseIP("198.51.100.77"), Mask: net.CIDRMask(32, 32)}})
	n.identification = assoc.Timestamp(time.Now())
	d := mip4.NewRequest(mip4.RegistrationRequest{
		Lifetime: 300, HomeAddress: visitorHome, HomeAgent: netip.MustParseAddr("198.51.100.77"), CareOfAddress: visitorCoA, Identification: n.identification,
	})
	d.Authenticate(mip4.ExtMobileHome, n.homeKey).Authenticate(mip4.ExtMobileForeign, n.fmKey)
	data, err := d.Seal()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.onLink.SendTo(engine.Send{
		Link: "eth0", Src: netip.AddrPortFrom(visitorHome, 40000), Dst: netip.AddrPortFrom(visitorFA, 434), TTL: 255, HW: n.agentHW, Data: data,
	}); err != nil {
		t.Fatal(err)
	}
	m, _ := n.heardReply()
	if r, err := m.Reply(); err != nil || r.Code != mip4.CodeFAHostUnreachable {
		t.Errorf("code %v, %v, want %v", r.Code, err, mip4.CodeFAHostUnreachable)
	}
}

// An orderly end is told at once: the last advertisement has an ICMP Lifetime
// of 0. Until then the operator sees what is advertised.
//
//rfc:1256#4.3
func TestAForeignAgentThatEndsSaysSo(t *testing.T) {
	n := newForeignNet(t)
	n.agent()
	var shown struct{ Advertisements []control.Advertisement }
	n.shown("advertisements", &shown)
	if a := shown.Advertisements; len(a) != 1 || a[0].Interface != "lan0" || !a[0].Active || a[0].Sequence == 0 || a[0].CareOfAddresses[0] != visitorCoA {
		t.Errorf("advertisements %+v", a)
	}
	n.end("fa", syscall.SIGTERM)
	for end := time.After(patience); ; {
		select {
		case ev := <-n.heard:
			m, err := adv4.Parse(ev.Data)
			if err != nil {
				t.Fatal(err)
			}
			if m.Lifetime == 0 {
				return
			}
		case <-end:
			t.Fatal("no advertisement with a lifetime of 0")
		}
	}
}

// A mobile node that shares a key with the foreign agent, both from their
// configurations: the visit is authenticated, and the node shows the agent that
// it uses.
//
//rfc:5944#3.5.3
//rfc:5944#2.4
func TestAMobileNodeWithAForeignAgentsKey(t *testing.T) {
	n := newForeignNet(t)
	if err := n.mn.H.AddrDel(n.mn.Link("eth0"), &netlink.Addr{IPNet: &net.IPNet{IP: visitorHome.AsSlice(), Mask: net.CIDRMask(32, 32)}}); err != nil {
		t.Fatal(err)
	}
	foreign := n.control
	node := n.daemon(n.mn, "mn", visitorText)
	n.until("the visit is accepted", func() bool {
		list := n.listed()
		return len(list) == 1 && list[0].State == "accepted" && list[0].Authenticated
	})
	n.control = node
	defer func() { n.control = foreign }()
	var agents struct{ Agents []control.Agent }
	n.shown("agents", &agents)
	a := agents.Agents
	if len(a) != 1 || a[0].Interface != "eth0" || a[0].Address != visitorFA || !a[0].InUse || a[0].CareOfAddresses[0] != visitorCoA || time.Duration(a[0].MaxLifetime) != 10*time.Minute {
		t.Errorf("agents %+v", a)
	}
}
