package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"careof/internal/control"
	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/host/discovery"
	"careof/internal/host/plane/nstest"
	"careof/wire/adv4"
	"careof/wire/mip4"
)

// patience bounds every wait for something that must come.
const patience = 30 * time.Second

// The network of these tests:
//
//	ha 198.51.100.1 --- r --- 203.0.113.1 fa 192.168.1.1 --- mn (10.10.0.5)
//	                    |
//	                    cn 192.0.2.9
//
// The router drops what comes from the foreign agent's side with a source that
// does not belong there, as a provider's does.
type foreignNet struct {
	daemons
	ha, r, fa, cn, mn  *nstest.Node
	onLink             *discovery.Set
	heard              chan engine.Discovery
	agentHW            engine.HardwareAddr
	identification     uint64
	homeKey, fmKey     *assoc.Association
	replies            *net.UDPConn
	haControl, control *control.Client
	homeAgent          netip.Addr
	careOf, router     netip.Addr // of the foreign agent
}

var (
	visitorHome = netip.MustParseAddr("10.10.0.5")
	visitorHA   = netip.MustParseAddr("198.51.100.1")
	visitorCoA  = netip.MustParseAddr("203.0.113.1")
	visitorFA   = netip.MustParseAddr("192.168.1.1")
	peerAddr    = netip.MustParseAddr("192.0.2.9")
)

func newForeignNet(t *testing.T) *foreignNet {
	t.Helper()
	n := wireForeignNet(t)
	n.r.Route("10.10.0.0/24", "198.51.100.1", "", "")
	n.homeAgent = visitorHA
	n.haControl = n.daemon(n.ha, "ha", homeAgentText)
	n.control = n.daemon(n.fa, "fa", foreignAgentText)
	return n
}

// wireForeignNet lays the network without daemons.
func wireForeignNet(t *testing.T) *foreignNet {
	t.Helper()
	n := wireVisited(t)
	n.heard, n.careOf, n.router = make(chan engine.Discovery, 100), visitorCoA, visitorFA
	nstest.Join(t, n.cn, "eth0", n.r, "tocn", 1500)
	n.cn.Address("eth0", "192.0.2.9/24")
	n.r.Address("tocn", "192.0.2.254/24")
	n.cn.Route("0.0.0.0/0", "192.0.2.254", "", "")
	n.mn.Address("eth0", "10.10.0.5/32")
	n.keys()
	n.hear()
	n.hearReplies()
	return n
}

// wireVisited joins the two agents, the router between them and the visited link.
func wireVisited(t *testing.T) *foreignNet {
	t.Helper()
	n := &foreignNet{daemons: newDaemons(t)}
	n.ha, n.r, n.fa, n.cn, n.mn = nstest.New(t, "ha"), nstest.New(t, "r"), nstest.New(t, "fa"), nstest.New(t, "cn"), nstest.New(t, "mn")
	nstest.Join(t, n.ha, "wan0", n.r, "toha", 1500)
	nstest.Join(t, n.fa, "wan0", n.r, "tofa", 1500)
	nstest.Join(t, n.fa, "lan0", n.mn, "eth0", 1500)
	n.ha.Address("wan0", "198.51.100.1/24")
	n.r.Address("toha", "198.51.100.254/24")
	n.fa.Address("wan0", "203.0.113.1/24")
	n.r.Address("tofa", "203.0.113.254/24")
	n.fa.Address("lan0", "192.168.1.1/24")
	n.r.Sysctl("net/ipv4/ip_forward", 1)
	n.r.Sysctl("net/ipv4/conf/tofa/rp_filter", 1) // as a provider's
	n.ha.Route("0.0.0.0/0", "198.51.100.254", "", "")
	n.fa.Route("0.0.0.0/0", "203.0.113.254", "", "")
	return n
}

// keys are what the mobile node shares with its home agent and with the foreign
// agent.
func (n *foreignNet) keys() {
	n.t.Helper()
	key := func(spi uint32, text string) *assoc.Association {
		k, err := assoc.ParseKey(text)
		if err != nil {
			n.t.Fatal(err)
		}
		a, err := assoc.New(spi, assoc.HMACSHA256, k, assoc.Timestamps)
		if err != nil {
			n.t.Fatal(err)
		}
		return a
	}
	n.homeKey = key(256, "hex:00112233445566778899aabbccddeeff")
	n.fmKey = key(301, "hex:a0112233445566778899aabbccddeeff")
}

// hearReplies lets the mobile node hear replies.
func (n *foreignNet) hearReplies() {
	n.t.Helper()
	n.mn.Do(func() {
		var err error
		if n.replies, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(visitorHome, 40000))); err != nil {
			n.t.Error(err)
		}
	})
	n.t.Cleanup(func() { n.replies.Close() })
}

// hear lets the mobile node hear advertisements.
func (n *foreignNet) hear() {
	n.t.Helper()
	n.mn.Do(func() {
		var err error
		n.onLink, err = discovery.New([]string{"eth0"}, 0, discovery.Receiver{Discovery: func(ev engine.Discovery) {
			if len(ev.Data) == 0 || ev.Data[0] != 9 {
				return // another node's solicitation
			}
			ev.Data = bytes.Clone(ev.Data)
			select {
			case n.heard <- ev:
			default:
			}
		}})
		if err == nil {
			err = n.onLink.LinkChanged(engine.Link{Name: "eth0", Up: true})
		}
		if err != nil {
			n.t.Error(err)
		}
	})
	n.t.Cleanup(func() { n.onLink.Close() })
}

// agent solicits and returns the foreign agent's advertisement.
func (n *foreignNet) agent() adv4.MobilityAgent {
	n.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		err := n.onLink.SendDiscovery(engine.SendDiscovery{Link: "eth0", Src: visitorHome, Dst: netip.MustParseAddr("224.0.0.11"), Data: adv4.AppendSolicitation(nil)})
		if err != nil {
			n.t.Fatal(err)
		}
		select {
		case ev := <-n.heard:
			m, err := adv4.Parse(ev.Data)
			if err != nil {
				n.t.Fatal(err)
			}
			a, err := m.ForMobileNode()
			if err != nil || ev.TTL != 1 || ev.Src != n.router {
				n.t.Fatalf("heard %+v, %v", ev, err)
			}
			n.agentHW = ev.HW
			return a
		case <-time.After(time.Second):
		}
	}
	n.t.Fatal("no advertisement")
	return adv4.MobilityAgent{}
}

// register sends a request through the foreign agent and returns the reply. As
// mobile nodes do, it sends another one when none comes (RFC 5944 section
// 3.6.3): a foreign agent that is registered itself may have no way for some
// milliseconds more.
func (n *foreignNet) register(flags mip4.RequestFlags, lifetime uint16, more ...mip4.Payload) mip4.RegistrationReply {
	n.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		n.request(flags, lifetime, more)
		for again := time.Now().Add(3 * time.Second); ; {
			m, from, err := n.hearReply(again)
			if err != nil {
				break
			}
			if r, err := m.Reply(); err == nil && uint32(r.Identification) == uint32(n.identification) {
				n.genuine(m, from)
				return r
			}
		}
	}
	n.t.Fatal("no reply")
	return mip4.RegistrationReply{}
}

// request sends a registration request.
func (n *foreignNet) request(flags mip4.RequestFlags, lifetime uint16, more []mip4.Payload) {
	n.t.Helper()
	n.identification = max(n.identification+1, assoc.Timestamp(time.Now()))
	d := mip4.NewRequest(mip4.RegistrationRequest{
		Flags: flags, Lifetime: lifetime, HomeAddress: visitorHome, HomeAgent: n.homeAgent, CareOfAddress: n.careOf, Identification: n.identification,
	})
	d.Authenticate(mip4.ExtMobileHome, n.homeKey)
	for _, p := range more {
		d.Add(mip4.ZoneForeign, p)
	}
	d.Authenticate(mip4.ExtMobileForeign, n.fmKey)
	data, err := d.Seal()
	if err != nil {
		n.t.Fatal(err)
	}
	err = n.onLink.SendTo(engine.Send{
		Link: "eth0", Src: netip.AddrPortFrom(visitorHome, 40000), Dst: netip.AddrPortFrom(n.router, 434), TTL: 255, HW: n.agentHW, Data: data,
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

// genuine looks at whom a reply comes from and who has signed it.
func (n *foreignNet) genuine(m *mip4.Message, from netip.AddrPort) {
	n.t.Helper()
	if from != netip.AddrPortFrom(n.router, 434) {
		n.t.Errorf("the reply came from %v", from)
	}
	for ext, k := range map[mip4.ExtType]*assoc.Association{mip4.ExtMobileHome: n.homeKey, mip4.ExtMobileForeign: n.fmKey} {
		e, count := m.Find(ext)
		if a, err := m.Authentication(e); count != 1 || err != nil || !k.Verify(m.Covered(e), a.Authenticator) {
			n.t.Errorf("extension %v of the reply: %d, %v", ext, count, err)
		}
	}
	if _, count := m.Find(mip4.ExtForeignHome); count != 0 {
		n.t.Error("the Foreign-Home authentication reached the mobile node")
	}
}

// heardReply is the next message that comes to the mobile node, and from whom.
func (n *foreignNet) heardReply() (*mip4.Message, netip.AddrPort) {
	n.t.Helper()
	m, from, err := n.hearReply(time.Now().Add(patience))
	if err != nil {
		n.t.Fatal(err)
	}
	return m, from
}

func (n *foreignNet) hearReply(until time.Time) (*mip4.Message, netip.AddrPort, error) {
	buf := make([]byte, 1500)
	n.replies.SetReadDeadline(until)
	c, from, err := n.replies.ReadFromUDPAddrPort(buf)
	if err != nil {
		return nil, from, err
	}
	m, err := mip4.Parse(buf[:c])
	return m, from, err
}

// visitors lists them when nothing is pending any more: the reply leaves a
// moment before the foreign agent has heard that its own commit is true.
func (n *foreignNet) visitors() (list []control.Visitor) {
	n.t.Helper()
	for end := time.Now().Add(patience); ; <-time.After(time.Millisecond) {
		list = n.listed()
		pending := slices.ContainsFunc(list, func(v control.Visitor) bool { return v.State != "accepted" })
		if !pending || time.Now().After(end) {
			return list
		}
	}
}

func (n *foreignNet) listed() []control.Visitor {
	n.t.Helper()
	text, err := n.control.Raw(context.Background(), "visitors", "")
	if err != nil {
		n.t.Fatal(err)
	}
	var answer struct{ Visitors []control.Visitor }
	if err := json.Unmarshal(text, &answer); err != nil {
		n.t.Fatal(err)
	}
	return answer.Visitors
}

// gateway makes the foreign agent the mobile node's default router, by the
// link-layer address of its advertisement: a visitor asks nobody by ARP.
func (n *foreignNet) gateway() {
	n.t.Helper()
	index := n.mn.Link("eth0").Attrs().Index
	if err := n.mn.H.NeighSet(&netlink.Neigh{LinkIndex: index, IP: n.router.AsSlice(), HardwareAddr: n.agentHW[:], State: netlink.NUD_PERMANENT}); err != nil {
		n.t.Fatal(err)
	}
	err := n.mn.H.RouteReplace(&netlink.Route{LinkIndex: index, Gw: n.router.AsSlice(), Flags: int(netlink.FLAG_ONLINK), Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}})
	if err != nil {
		n.t.Fatal(err)
	}
}

// echo answers at the correspondent: UDP datagrams, and whole TCP streams.
func (n *foreignNet) echo() {
	n.t.Helper()
	n.cn.Do(func() {
		u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(peerAddr, 7)))
		if err != nil {
			n.t.Error(err)
			return
		}
		l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(peerAddr, 7)))
		if err != nil {
			n.t.Error(err)
			return
		}
		n.t.Cleanup(func() { u.Close(); l.Close() })
		go func() {
			buf := make([]byte, 2000)
			for {
				c, from, err := u.ReadFromUDPAddrPort(buf)
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if err == nil {
					u.WriteToUDPAddrPort(buf[:c], from)
				}
			}
		}()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { io.Copy(c, c); c.(*net.TCPConn).CloseWrite(); c.Close() }()
			}
		}()
	})
}

// ask sends a datagram from the home address to the correspondent and says
// whether it came back within wait.
func (n *foreignNet) ask(wait time.Duration) (ok bool) {
	n.t.Helper()
	n.mn.Do(func() {
		c, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(visitorHome, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(peerAddr, 7)))
		if err != nil {
			n.t.Error(err)
			return
		}
		defer c.Close()
		buf := make([]byte, 100)
		// A datagram may be lost, as where somebody is asked for by ARP first.
		for end := time.Now().Add(wait); !ok && time.Now().Before(end); {
			again := time.Now().Add(time.Second)
			if again.After(end) {
				again = end
			}
			c.Write([]byte("are you there"))
			c.SetReadDeadline(again)
			got, err := c.Read(buf)
			ok = err == nil && string(buf[:got]) == "are you there"
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				<-time.After(time.Until(again)) // an ICMP error: there is no way yet
			}
		}
	})
	return ok
}

// stream sends a megabyte there and back over TCP.
func (n *foreignNet) stream() {
	n.t.Helper()
	n.mn.Do(func() {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(visitorHome, 0)), Timeout: patience}
		c, err := d.Dial("tcp4", netip.AddrPortFrom(peerAddr, 7).String())
		if err != nil {
			n.t.Error(err)
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(2 * patience))
		data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		go func() { c.Write(data); c.(*net.TCPConn).CloseWrite() }()
		if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
			n.t.Errorf("%d octets of %d came back: %v", len(got), len(data), err)
		}
	})
}

// shown asks for what the operator can see.
func (n *foreignNet) shown(what string, into any) {
	n.t.Helper()
	n.shownBy(n.control, what, into)
}

// shownBy asks one daemon.
func (n *foreignNet) shownBy(c *control.Client, what string, into any) {
	n.t.Helper()
	text, err := c.Raw(context.Background(), what, "")
	if err != nil {
		n.t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		n.t.Fatal(err)
	}
}
