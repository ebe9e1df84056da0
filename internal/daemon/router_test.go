package daemon

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/control"
	"careof/internal/host/plane/bpf"
	"careof/internal/host/plane/nstest"
	"careof/wire/encap"
)

const routerHomeText = `[plane]
kind = "KIND"
bpffs = "BPFFS/ha"
[home-agent]
address = "198.51.100.1"
[[home-agent.network]]
prefix = "10.10.0.0/24"
[[home-agent.prefix-pool]]
prefix = "10.30.0.0/16"
length = 24
` + knownNode + `prefixes = ["10.20.7.0/24"]
[[home-agent.mobile-node]]
` + trailerKey + `prefixes = ["10.20.8.0/24"]
`

const routerText = `[plane]
kind = "KIND"
bpffs = "BPFFS/van"
` + thisNode + twoRadios + `[[mobile-node.mobile-network]]
interface = "lan0"
prefix = "10.20.7.0/24"
[[mobile-node.mobile-network]]
interface = "lan1"
length = 24
`

// A movingVan is a mobile router between two access networks:
//
//	ha 198.51.100.1 ---+
//	cn 192.0.2.9 ------ r --- 203.0.113.9 radio0 van lan0 10.20.7.1 ---+--- a 10.20.7.10
//	                    +---- 172.20.0.9 radio1                        +--- b 10.20.7.11
type movingVan struct {
	*foreignNet
	a, b, guest *nstest.Node
	visited     []func() []byte // what the access networks carry
}

func newVan(t *testing.T, kind string) *movingVan {
	t.Helper()
	n := wireVan(t)
	for i := range 2 {
		radio, link := fmt.Sprintf("radio%d", i), fmt.Sprintf("toradio%d", i)
		nstest.Join(t, n.mn, radio, n.r, link, 1500)
		n.mn.Address(radio, []string{"203.0.113.9/24", "172.20.0.9/24"}[i])
		n.r.Address(link, []string{"203.0.113.254/24", "172.20.0.254/24"}[i])
		n.gate(i)
		n.visited = append(n.visited, n.r.Packets(link))
	}
	n.start(kind, routerHomeText, routerText)
	return n
}

// wireVan lays everything but the van's radios.
func wireVan(t *testing.T) *movingVan {
	t.Helper()
	n := &movingVan{foreignNet: &foreignNet{daemons: newDaemons(t)}}
	n.ha, n.r, n.cn, n.mn = nstest.New(t, "ha"), nstest.New(t, "r"), nstest.New(t, "cn"), nstest.New(t, "van")
	n.a, n.b, n.guest = nstest.New(t, "a"), nstest.New(t, "b"), nstest.New(t, "guest")
	for _, end := range []struct {
		node                         *nstest.Node
		name, link, address, gateway string
	}{
		{n.ha, "wan0", "toha", "198.51.100.1/24", "198.51.100.254"},
		{n.cn, "wan0", "tocn", "192.0.2.9/24", "192.0.2.254"},
	} {
		nstest.Join(t, end.node, end.name, n.r, end.link, 1500)
		end.node.Address(end.name, end.address)
		n.r.Address(end.link, end.gateway+"/24")
	}
	n.ha.Route("0.0.0.0/0", "198.51.100.254", "", "")
	n.cn.Route("0.0.0.0/0", "192.0.2.254", "", "")
	n.mn.Bridge("lan0")
	for i, host := range []*nstest.Node{n.a, n.b} {
		port := fmt.Sprintf("port%d", i)
		nstest.Join(t, host, "eth0", n.mn, port, 1500)
		n.mn.Enslave(port, "lan0")
		host.Address("eth0", fmt.Sprintf("10.20.7.%d/24", 10+i))
		host.Route("0.0.0.0/0", "10.20.7.1", "", "")
	}
	n.mn.Address("lan0", "10.20.7.1/24")
	nstest.Join(t, n.guest, "eth0", n.mn, "lan1", 1500)
	n.r.Sysctl("net/ipv4/ip_forward", 1)
	n.r.Route("10.10.0.0/24", "198.51.100.1", "", "")
	n.r.Route("10.20.0.0/16", "198.51.100.1", "", "")
	n.r.Route("10.30.0.0/16", "198.51.100.1", "", "")
	n.echo()
	return n
}

// start runs the home agent's and the van's daemon.
func (n *movingVan) start(kind, home, van string) {
	n.t.Helper()
	plane := strings.NewReplacer("KIND", kind)
	if kind == "bpf" {
		plane = strings.NewReplacer("KIND", kind, "BPFFS", nstest.BPFFS(n.t))
	}
	n.haControl = n.daemon(n.ha, "ha", plane.Replace(home))
	n.control = n.daemon(n.mn, "van", plane.Replace(van))
}

// gate gives a radio its default route, which goes with the link.
func (n *movingVan) gate(i int) {
	gateway := []string{"203.0.113.254", "172.20.0.254"}[i]
	r := n.mn.HostRoute("0.0.0.0/0")
	r.Gw, r.Priority, r.LinkIndex = net.ParseIP(gateway), 100+i, n.mn.Link(fmt.Sprintf("radio%d", i)).Attrs().Index
	if err := n.mn.H.RouteReplace(r); err != nil {
		n.t.Fatal(err)
	}
}

// radio cuts a radio's carrier, or gives it back.
func (n *movingVan) radio(i int, up bool) {
	n.t.Helper()
	l := n.r.Link(fmt.Sprintf("toradio%d", i))
	change := n.r.H.LinkSetDown
	if up {
		change = n.r.H.LinkSetUp
	}
	if err := change(l); err != nil {
		n.t.Fatal(err)
	}
	if up {
		n.gate(i)
	}
}

// bound are the home agent's networks, with the care-of address of each.
func (n *movingVan) bound() map[netip.Prefix]netip.Addr {
	n.t.Helper()
	var shown struct{ Networks []control.MobileNetwork }
	n.shownBy(n.haControl, "networks", &shown)
	list := make(map[netip.Prefix]netip.Addr)
	for _, one := range shown.Networks {
		list[one.Prefix] = one.CareOfAddress
	}
	return list
}

// networks are those that the van shows as served.
func (n *movingVan) networks() (served []netip.Prefix, careOf netip.Addr) {
	n.t.Helper()
	var shown struct{ Networks []control.MobileNetwork }
	n.shown("networks", &shown)
	for _, one := range shown.Networks {
		if one.State == "served" {
			served, careOf = append(served, one.Prefix), one.CareOfAddress
		}
	}
	return served, careOf
}

// at waits until the van's networks are served with this care-of address, and
// those of the home agent are as many as that.
func (n *movingVan) at(careOf string, all ...int) {
	n.t.Helper()
	many := 2
	if len(all) > 0 {
		many = all[0]
	}
	n.until("the networks are served at "+careOf, func() bool {
		here, coa := n.networks()
		there := n.bound()
		at := netip.MustParseAddr(careOf)
		return len(here) == 2 && len(there) == many && coa == at && there[here[0]] == at && there[here[1]] == at
	})
}

// talk sends a number over an open stream and waits until it comes back.
func (n *movingVan) talk(c net.Conn, number uint64) {
	n.t.Helper()
	var sent, back [1000]byte
	binary.BigEndian.PutUint64(sent[:], number)
	c.SetDeadline(time.Now().Add(3 * patience))
	if _, err := c.Write(sent[:]); err != nil {
		n.t.Fatalf("exchange %d: %v", number, err)
	}
	if _, err := io.ReadFull(c, back[:]); err != nil || back != sent {
		n.t.Fatalf("exchange %d: %v", number, err)
	}
}

func (n *movingVan) dial(from *nstest.Node, to string) (c net.Conn) {
	n.t.Helper()
	from.Do(func() {
		var err error
		if c, err = net.DialTimeout("tcp4", to, patience); err != nil {
			n.t.Error(err)
		}
	})
	n.t.Cleanup(func() { c.Close() })
	return c
}

// leaked counts packets of the mobile networks on the access networks.
func (n *movingVan) leaked() (count int) {
	for _, next := range n.visited {
		for p := next(); p != nil; p = next() {
			if len(p) >= 20 && p[0]>>4 == 4 && p[12] == 10 && (p[13] == 20 || p[13] == 30) {
				count++
			}
		}
	}
	return count
}

// The hosts of a van keep their streams while it moves between two networks,
// can be reached from outside, and not one of their packets leaves with the
// visited network's or with their own address beside the tunnel.
//
//rfc:5177#1.2
//rfc:5177#5
//rfc:5177#6.5
//rfc:5177#7
//rfc:6626#3.1
func TestAVanMoves(t *testing.T) {
	for _, kind := range []string{"tun", "bpf"} {
		t.Run(kind, func(t *testing.T) {
			if err := bpf.Supported(); kind == "bpf" && err != nil {
				t.Skip(err)
			}
			n := newVan(t, kind)
			n.at("203.0.113.9")
			stream := n.dial(n.a, "192.0.2.9:7")
			other := n.dial(n.b, "192.0.2.9:7")
			n.talk(stream, 1)
			n.talk(other, 2)
			inward := n.listen(n.a, "10.20.7.10:7")
			in := n.dial(n.cn, inward)
			n.talk(in, 3)
			n.assigned()

			n.radio(0, false)
			n.at("172.20.0.9")
			n.talk(stream, 4)
			n.talk(other, 5)
			n.talk(in, 6)
			n.radio(0, true)
			n.at("203.0.113.9")
			n.talk(stream, 7)
			n.talk(in, 8)

			var shown struct{ Networks []control.MobileNetwork }
			n.shownBy(n.haControl, "networks", &shown)
			for _, one := range shown.Networks {
				if one.Counters.SentPackets == 0 || one.Counters.ReceivedPackets == 0 {
					t.Errorf("%v: counted %+v", one.Prefix, one.Counters)
				}
			}
			if c := n.leaked(); c > 0 {
				t.Errorf("%d packets of the mobile networks left beside the tunnel", c)
			}
			n.closed()
		})
	}
}

// assigned uses the prefix that the home agent has chosen for lan1: the router
// has its first address, a guest takes the next.
func (n *movingVan) assigned() {
	n.t.Helper()
	served, _ := n.networks()
	i := slices.IndexFunc(served, func(p netip.Prefix) bool { return p.Addr().As4()[1] == 30 })
	if i < 0 {
		n.t.Fatalf("served %v", served)
	}
	router := served[i].Addr().Next()
	n.guest.Address("eth0", netip.PrefixFrom(router.Next(), 24).String())
	n.guest.Route("0.0.0.0/0", router.String(), "", "")
	n.talk(n.dial(n.guest, "192.0.2.9:7"), 100)
}

// closed: without a tunnel the hosts' packets go nowhere, also when the daemon
// is gone and somebody has deleted its device.
func (n *movingVan) closed() {
	n.t.Helper()
	n.end("van", syscall.SIGTERM)
	if err := n.mn.H.LinkDel(n.mn.Link("careof0")); err != nil {
		n.t.Fatal(err)
	}
	n.a.Do(func() {
		c, err := net.Dial("udp4", "192.0.2.9:7")
		if err != nil {
			n.t.Error(err)
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Second))
		var answer [10]byte
		for range 5 {
			c.Write([]byte("leak?"))
		}
		if _, err := c.Read(answer[:]); err == nil {
			n.t.Error("an answer without a tunnel")
		}
	})
	if c := n.leaked(); c > 0 {
		n.t.Errorf("%d packets of the mobile networks left without a daemon", c)
	}
}

// listen echoes TCP streams at a host.
func (n *movingVan) listen(at *nstest.Node, address string) string {
	n.t.Helper()
	at.Do(func() {
		l, err := net.Listen("tcp4", address)
		if err != nil {
			n.t.Error(err)
			return
		}
		n.t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { io.Copy(c, c); c.Close() }()
			}
		}()
	})
	return address
}

// "The Mobile Network should be supported using Foreign Agents that are
// compliant to RFC 3344 without any changes": between the home agent and the
// router there is a second tunnel within the foreign agent's, and a packet that
// has the router's home address in its header and comes from anywhere else is
// not taken out of it.
//
//rfc:5177#1.2
//rfc:5177#3
//rfc:5177#7
func TestAVanVisitsAForeignAgent(t *testing.T) {
	for _, kind := range []string{"tun", "bpf"} {
		t.Run(kind, func(t *testing.T) {
			if err := bpf.Supported(); kind == "bpf" && err != nil {
				t.Skip(err)
			}
			n := wireVan(t)
			n.fa = nstest.New(t, "fa")
			nstest.Join(t, n.fa, "wan0", n.r, "tofa", 1500)
			n.fa.Address("wan0", "203.0.113.1/24")
			n.r.Address("tofa", "203.0.113.254/24")
			n.fa.Route("0.0.0.0/0", "203.0.113.254", "", "")
			nstest.Join(t, n.mn, "radio0", n.fa, "lan0", 1500)
			nstest.Join(t, n.mn, "radio1", n.fa, "unused", 1500)
			n.fa.Address("lan0", "192.168.1.1/24")
			n.visited = append(n.visited, n.r.Packets("tofa"))
			foreign := n.daemon(n.fa, "ground", openForeignText)
			n.start(kind, routerHomeText, routerText)
			n.at("203.0.113.1")
			stream := n.dial(n.a, "192.0.2.9:7")
			n.talk(stream, 1)
			n.talk(n.dial(n.cn, n.listen(n.b, "10.20.7.11:7")), 2)
			n.talk(stream, 3)
			var shown struct{ Visitors []control.Visitor }
			n.shownBy(foreign, "visitors", &shown)
			if len(shown.Visitors) != 1 || shown.Visitors[0].Counters.SentBytes < 2000 || shown.Visitors[0].Counters.ReceivedBytes < 2000 {
				t.Errorf("the foreign agent has %+v", shown.Visitors)
			}
			if c := n.leaked(); c > 0 {
				t.Errorf("%d packets of the mobile network left beside the tunnel", c)
			}
			n.forge()
		})
	}
}

// forge sends the home agent the inner tunnel's packet without the outer one,
// and from the care-of address with another inner source.
func (n *movingVan) forge() {
	n.t.Helper()
	var heard *net.UDPConn
	n.cn.Do(func() {
		var err error
		if heard, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 9}); err != nil {
			n.t.Error(err)
		}
	})
	defer heard.Close()
	const bad, good = 9, 10 // what a packet's UDP port says of it
	datagram := func(src string, port uint16) []byte {
		b := make([]byte, 28)
		b[0], b[3], b[8], b[9] = 0x45, 28, 60, 17
		copy(b[12:], net.ParseIP(src).To4())
		copy(b[16:], net.ParseIP("192.0.2.9").To4())
		binary.BigEndian.PutUint16(b[10:], 0)
		var sum uint32
		for i := 0; i < 20; i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
		sum = sum&0xffff + sum>>16
		binary.BigEndian.PutUint16(b[10:], ^uint16(sum))
		binary.BigEndian.PutUint16(b[20:], port)
		binary.BigEndian.PutUint16(b[22:], 9)
		binary.BigEndian.PutUint16(b[24:], 8)
		return b
	}
	in := func(src, dst string, payload []byte) []byte {
		h := encap.Header{Kind: encap.IPIP, Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst)}
		p, err := encap.Append(nil, &h, payload)
		if err != nil {
			n.t.Fatal(err)
		}
		return p
	}
	const router, agent, careOf = "10.10.0.5", "198.51.100.1", "203.0.113.1"
	send := func(packet []byte) {
		n.r.Do(func() {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
			if err != nil {
				n.t.Error(err)
				return
			}
			defer unix.Close(fd)
			if err := unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: netip.MustParseAddr(agent).As4()}); err != nil {
				n.t.Error(err)
			}
		})
	}
	for what, packet := range map[string][]byte{
		"without the router's own tunnel": in(router, agent, datagram("10.20.7.10", bad)),
		"from another care-of address":    in("203.0.113.99", agent, in(router, agent, datagram("10.20.7.10", bad))),
		"from another router":             in(careOf, agent, in("10.10.0.6", agent, datagram("10.20.7.10", bad))),
		"of another network":              in(careOf, agent, in(router, agent, datagram("10.20.8.10", bad))),
	} {
		send(packet)
		send(in(careOf, agent, in(router, agent, datagram("10.20.7.10", good))))
		heard.SetReadDeadline(time.Now().Add(patience))
		if _, from, err := heard.ReadFromUDPAddrPort(make([]byte, 10)); err != nil {
			n.t.Fatalf("a packet of the network does not arrive: %v", err)
		} else if from.Port() != good {
			n.t.Errorf("a packet %s was taken", what)
			heard.ReadFromUDPAddrPort(make([]byte, 10))
		}
	}
}

// A router in the van's network is a van of its own: its care-of address is one
// of the first one's network, and both have the same home agent. What goes to a
// host behind it goes through both tunnels.
//
//rfc:5177#3
//rfc:5177#8
func TestAVanInAFerry(t *testing.T) {
	n := newVan(t, "tun")
	n.at("203.0.113.9")
	// The trailer takes the place of the host b on the ferry's network.
	trailer, inside := n.b, nstest.New(t, "inside")
	nstest.Join(t, trailer, "lan0", inside, "eth0", 1500)
	trailer.Address("lan0", "10.20.8.1/24")
	inside.Address("eth0", "10.20.8.10/24")
	inside.Route("0.0.0.0/0", "10.20.8.1", "", "")
	n.daemon(trailer, "trailer", trailerText)
	n.until("both are served", func() bool {
		return len(n.bound()) == 3
	})
	n.talk(n.dial(inside, "192.0.2.9:7"), 1)
	in := n.dial(n.cn, n.listen(inside, "10.20.8.10:7"))
	n.talk(in, 2)
	n.radio(0, false)
	n.at("172.20.0.9", 3)
	n.talk(in, 3)
	if c := n.leaked(); c > 0 {
		t.Errorf("%d packets of the mobile networks left beside the tunnel", c)
	}
}

// A node visits a network that has the addresses of the van's. The home agent's
// answers and tunnel packets go to the node, and not to the van.
//
//rfc:5177#8
func TestANodeInANetworkLikeTheVans(t *testing.T) {
	for _, one := range []struct{ kind, encapsulation string }{{"tun", "auto"}, {"bpf", "udp"}, {"bpf", "wireguard"}} {
		t.Run(one.kind+", "+one.encapsulation, func(t *testing.T) {
			if err := bpf.Supported(); one.kind == "bpf" && err != nil {
				t.Skip(err)
			}
			n := newVan(t, one.kind)
			n.at("203.0.113.9")
			node := nstest.New(t, "node")
			nstest.Join(t, node, "eth0", n.r, "tonode", 1500)
			node.Address("eth0", "10.20.7.77/24")
			n.r.Address("tonode", "10.20.7.254/24")
			node.Route("0.0.0.0/0", "10.20.7.254", "", "")
			text, _, _ := strings.Cut(trailerText, "[[mobile-node.mobile-network]]")
			text = strings.Replace(text, "[[", "encapsulation = \""+one.encapsulation+"\"\n[[", 1)
			at := n.daemon(node, "node", text)
			n.until("the node has heard that it is registered", func() bool {
				var shown struct{ Registrations []control.Registration }
				n.shownBy(at, "registrations", &shown)
				return len(shown.Registrations) == 1 && shown.Registrations[0].State == "registered"
			})
			n.talk(n.dial(node, "192.0.2.9:7"), 1)
			n.talk(n.dial(n.cn, n.listen(node, "10.10.0.6:7")), 2)
		})
	}
}

// What a second mobile router shares with the home agent.
const trailerKey = `home-address = "10.10.0.6"
spi = 257
key = "hex:11112233445566778899aabbccddeeff"
algorithm = "hmac-sha256"
`

const trailerText = `[mobile-node]
home-agent = "198.51.100.1"
` + trailerKey + `[[mobile-node.uplink]]
interface = "eth0"
[[mobile-node.mobile-network]]
interface = "lan0"
prefix = "10.20.8.0/24"
`
