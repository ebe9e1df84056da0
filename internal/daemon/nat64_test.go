package daemon

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv6"

	"careof/internal/control"
	"careof/internal/host/plane/bpf"
	"careof/internal/host/plane/nstest"
	"careof/wire/nat64"
)

// The mobile node's; UPLINK is more of the uplink with IPv6 alone.
const nat64NodeText = `[plane]
kind = "KIND"
bpffs = "BPFFS/mn"
` + thisNode + `routes = "full"
encapsulation = "ENCAPSULATION"
` + twoRadios + "UPLINK\n"

// translatorPrefix is the network's own, of 96 bits.
var translatorPrefix = netip.MustParsePrefix("2001:db8:64::/96")

// A nat64Net has a mobile node between a network with IPv4 and one with IPv6 alone,
// whose router g has a real NAT64 (tayga).
//
//	ha 198.51.100.1 ---+
//	cn 192.0.2.9 ----- r --- 203.0.113.9 radio0 mn
//	                   +---- 100.64.0.2 g (tayga) 2001:db8:6::/64 --- radio1 mn
type nat64Net struct {
	*foreignNet
	g *nstest.Node

	advertise chan struct{} // once, now
	options   atomic.Value  // []byte: PREF64 and RDNSS, as they are advertised
}

func newNAT64Net(t *testing.T) *nat64Net {
	t.Helper()
	if _, err := exec.LookPath("tayga"); err != nil {
		t.Skip("tayga is missing")
	}
	n := &nat64Net{foreignNet: &foreignNet{daemons: newDaemons(t)}, advertise: make(chan struct{}, 1)}
	n.ha, n.r, n.cn, n.mn, n.g = nstest.New(t, "ha"), nstest.New(t, "r"), nstest.New(t, "cn"), nstest.New(t, "mn"), nstest.New(t, "g")
	for _, end := range []struct {
		node                   *nstest.Node
		link, address, gateway string
	}{
		{n.ha, "toha", "198.51.100.1/24", "198.51.100.254"}, {n.cn, "tocn", "192.0.2.9/24", "192.0.2.254"},
		{n.g, "tog", "100.64.0.2/24", "100.64.0.254"},
	} {
		nstest.Join(t, end.node, "wan0", n.r, end.link, 1500)
		end.node.Address("wan0", end.address)
		n.r.Address(end.link, end.gateway+"/24")
		end.node.Route("0.0.0.0/0", end.gateway, "", "")
	}
	nstest.Join(t, n.mn, "radio0", n.r, "toradio0", 1500)
	n.r.Address("toradio0", "203.0.113.254/24")
	nstest.Join(t, n.mn, "radio1", n.g, "lan0", 1500)
	n.g.Sysctl("net/ipv6/conf/lan0/accept_dad", 0)
	n.g.Address("lan0", "2001:db8:6::1/64")
	for _, router := range []*nstest.Node{n.r, n.g} {
		router.Sysctl("net/ipv4/ip_forward", 1)
	}
	n.g.Sysctl("net/ipv6/conf/all/forwarding", 1)
	n.r.Route("10.10.0.0/24", "198.51.100.1", "", "")
	n.r.Route("100.64.1.0/24", "100.64.0.2", "", "")
	n.echo()
	n.translate()
	n.announce()
	return n
}

// translate runs the NAT64.
func (n *nat64Net) translate() {
	n.t.Helper()
	dir := n.t.TempDir()
	file := filepath.Join(dir, "tayga.conf")
	text := fmt.Sprintf("tun-device nat64\nipv4-addr 100.64.1.1\nprefix %v\ndynamic-pool 100.64.1.0/24\ndata-dir %s\n", translatorPrefix, dir)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
	var said bytes.Buffer
	run := exec.Command("tayga", "--nodetach", "-c", file)
	run.Stdout, run.Stderr = &said, &said
	n.g.Do(func() {
		if out, err := exec.Command("tayga", "--mktun", "-c", file).CombinedOutput(); err != nil {
			n.t.Errorf("tayga: %v\n%s", err, out)
			return
		}
		if err := run.Start(); err != nil {
			n.t.Error(err)
		}
	})
	n.t.Cleanup(func() {
		run.Process.Signal(syscall.SIGTERM)
		run.Wait()
		if n.t.Failed() {
			n.t.Logf("tayga: %s", said.Bytes())
		}
	})
	n.g.Up("nat64")
	n.g.Route("100.64.1.0/24", "", "nat64", "")
	n.g.Route(translatorPrefix.String(), "", "nat64", "")
}

// pref64 is the option of RFC 8781 for a prefix of 96 bits.
func pref64(lifetime time.Duration) []byte {
	b := binary.BigEndian.AppendUint16([]byte{38, 2}, uint16(lifetime/(8*time.Second))<<3)
	a := translatorPrefix.Addr().As16()
	return append(b, a[:12]...)
}

// rdnss is the option of RFC 8106.
func rdnss(server string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{25, 3, 0, 0}, 1800)
	a := netip.MustParseAddr(server).As16()
	return append(b, a[:]...)
}

// announce lets the router of the network with IPv6 advertise itself: when it is
// asked, and when advertise says so.
func (n *nat64Net) announce() {
	n.t.Helper()
	n.options.Store([]byte(nil))
	var c *ipv6.PacketConn
	n.g.Do(func() {
		conn, err := net.ListenPacket("ip6:ipv6-icmp", "::")
		if err != nil {
			n.t.Error(err)
			return
		}
		c = ipv6.NewPacketConn(conn)
		lan, err := net.InterfaceByName("lan0")
		if err == nil {
			err = c.JoinGroup(lan, &net.IPAddr{IP: net.IPv6linklocalallrouters})
		}
		if err != nil {
			n.t.Error(err)
		}
	})
	index := n.g.Link("lan0").Attrs().Index
	n.t.Cleanup(func() { c.Close() })
	go func() {
		buffer := make([]byte, 1500)
		for {
			k, _, _, err := c.ReadFrom(buffer)
			if err != nil {
				close(n.advertise)
				return
			}
			if k > 0 && buffer[0] == 133 {
				n.again()
			}
		}
	}()
	go func() {
		for range n.advertise {
			m := []byte{134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0}
			m = append(m, 3, 4, 64, 0xc0, 0, 0, 0x07, 0x08, 0, 0, 0x07, 0x08, 0, 0, 0, 0)
			on := netip.MustParseAddr("2001:db8:6::").As16()
			m = append(append(m, on[:]...), n.options.Load().([]byte)...)
			c.WriteTo(m, &ipv6.ControlMessage{HopLimit: 255, IfIndex: index}, &net.IPAddr{IP: net.IPv6linklocalallnodes, Zone: fmt.Sprint(index)})
		}
	}()
}

func (n *nat64Net) again() {
	select {
	case n.advertise <- struct{}{}:
	default:
	}
}

// tell has the router advertise other options, at once.
func (n *nat64Net) tell(options ...[]byte) {
	n.options.Store(slices.Concat(options...))
	n.again()
}

// nameServer answers in the network with IPv6, as RFC 6147 has it.
func (n *nat64Net) nameServer() {
	n.t.Helper()
	prefix, err := nat64.PrefixOf(translatorPrefix)
	if err != nil {
		n.t.Fatal(err)
	}
	n.g.Do(func() {
		c, err := net.ListenPacket("udp6", "[2001:db8:6::1]:53")
		if err != nil {
			n.t.Error(err)
			return
		}
		n.t.Cleanup(func() { c.Close() })
		go func() {
			buffer := make([]byte, 1500)
			for {
				k, from, err := c.ReadFrom(buffer)
				if err != nil {
					return
				}
				var m dnsmessage.Message
				if m.Unpack(buffer[:k]) != nil || len(m.Questions) != 1 {
					continue
				}
				m.Response = true
				h := dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 600}
				switch q := m.Questions[0]; {
				case q.Name.String() == "ipv4only.arpa." && q.Type == dnsmessage.TypeAAAA:
					for _, a := range []string{"192.0.0.170", "192.0.0.171"} {
						m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: prefix.To(netip.MustParseAddr(a)).As16()}})
					}
				case q.Name.String() == "login.example." && q.Type == dnsmessage.TypeAAAA:
					m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: prefix.To(peerAddr).As16()}})
				case q.Name.String() == "home.example." && q.Type == dnsmessage.TypeA:
					m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: [4]byte{198, 51, 100, 1}}})
				}
				out, err := m.Pack()
				if err == nil {
					c.WriteTo(out, from)
				}
			}
		}()
	})
}

// startAs runs the daemons.
func (n *nat64Net) startAs(r *strings.Replacer) {
	n.t.Helper()
	n.haControl = n.daemon(n.ha, "ha", r.Replace(homeAgentText))
	n.control = n.daemon(n.mn, "mn", r.Replace(nat64NodeText))
}

// via waits until packets go over an uplink, and is what is shown of it.
func (n *nat64Net) via(link string) (found control.Uplink) {
	n.t.Helper()
	n.until("packets go over "+link, func() bool {
		found, _ = n.uplink(link)
		return found.Active
	})
	return found
}

func (n *nat64Net) uplink(link string) (control.Uplink, bool) {
	n.t.Helper()
	var shown struct{ Uplinks []control.Uplink }
	n.shown("uplinks", &shown)
	i := slices.IndexFunc(shown.Uplinks, func(u control.Uplink) bool { return u.Interface == link })
	if i < 0 {
		return control.Uplink{}, false
	}
	return shown.Uplinks[i], true
}

// ipv4 gives the first radio its address and default route.
func (n *nat64Net) ipv4() {
	n.t.Helper()
	n.mn.Address("radio0", "203.0.113.9/24")
	n.mn.Route("0.0.0.0/0", "203.0.113.254", "radio0", "")
}

func (n *nat64Net) dial() (c net.Conn) {
	n.t.Helper()
	n.mn.Do(func() {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(visitorHome, 0)), Timeout: patience}
		var err error
		if c, err = d.Dial("tcp4", netip.AddrPortFrom(peerAddr, 7).String()); err != nil {
			n.t.Error(err)
		}
	})
	n.t.Cleanup(func() { c.Close() })
	return c
}

// exchange sends octets over a connection and waits for them to come back.
func (n *nat64Net) exchange(c net.Conn, size int) {
	n.t.Helper()
	sent, back := bytes.Repeat([]byte("careof"), size/6), make([]byte, size/6*6)
	c.SetDeadline(time.Now().Add(2 * patience))
	go c.Write(sent)
	if _, err := io.ReadFull(c, back); err != nil || !bytes.Equal(back, sent) {
		n.t.Fatalf("%d octets did not come back as they were: %v", len(sent), err)
	}
}

// A mobile node keeps its connection from a network with IPv6 and a NAT64 alone to
// one with IPv4, and back: over the NAT64 its tunnel is in UDP, and what the
// translator does is a NAT's work to the home agent.
func TestANetworkWithIPv6AndANAT64(t *testing.T) {
	for _, test := range []struct{ plane, encapsulation string }{{"tun", "auto"}, {"tun", "wireguard"}, {"bpf", "udp"}} {
		t.Run(test.plane+" "+test.encapsulation, func(t *testing.T) {
			n := newNAT64Net(t)
			n.options.Store(pref64(1800 * time.Second))
			bpffs := ""
			if test.plane == "bpf" {
				if err := bpf.Supported(); err != nil {
					t.Skip(err)
				}
				bpffs = nstest.BPFFS(t)
			}
			// The home agent's programs send without UDP checksums, which this
			// translator drops: to this node user space sends.
			n.startAs(strings.NewReplacer("KIND", test.plane, "BPFFS", bpffs, "ENCAPSULATION", test.encapsulation, "UPLINK", "",
				"[home-agent]", fmt.Sprintf("[plane]\nkind = %q\nbpffs = \"%s/ha\"\n[home-agent]", test.plane, bpffs)))
			up := n.via("radio1")
			if up.NAT64 != "IPv6 only, by NAT64 2001:db8:64::/96 (from router advertisement)" || !netip.MustParsePrefix("192.0.0.0/29").Contains(up.CareOfAddress) {
				t.Errorf("shown: %+v", up)
			}
			c := n.dial()
			n.exchange(c, 1<<20)

			n.ipv4()
			n.via("radio0")
			n.exchange(c, 1<<16)
			if err := n.r.H.LinkSetDown(n.r.Link("toradio0")); err != nil {
				t.Fatal(err)
			}
			n.via("radio1")
			n.exchange(c, 1<<20)
			n.nothingBeside()

			// The translator is gone.
			n.tell(pref64(0))
			n.until("the uplink is not used any more", func() bool {
				u, _ := n.uplink("radio1")
				return !u.Usable && u.NAT64 == ""
			})
			n.tell(pref64(1800 * time.Second))
			n.via("radio1")
			n.exchange(c, 1<<16)
		})
	}
}

// nothingBeside: of what the programs send nothing leaves beside the tunnel in
// IPv6, though the daemon's own packets do (T24).
func (n *nat64Net) nothingBeside() {
	n.t.Helper()
	for _, to := range []string{"", "radio1"} {
		n.mn.Do(func() {
			d := net.Dialer{Timeout: patience, Control: func(_, _ string, raw syscall.RawConn) (err error) {
				failed := raw.Control(func(fd uintptr) {
					if to != "" {
						err = syscall.BindToDevice(int(fd), to)
					}
				})
				return errors.Join(failed, err)
			}}
			if c, err := d.Dial("tcp6", "[2001:db8:64::192.0.2.9]:7"); err == nil {
				c.Close()
				n.t.Errorf("a program's connection left beside the tunnel, in IPv6 (bound to %q)", to)
			}
		})
	}
}

// What lies beyond the translator may take shorter packets than the network of the
// uplink. ICMPv6 errors tell the node; and where they are dropped, probes find out.
//
//rfc:8899#5.3
//rfc:4443#3.2
func TestANarrowPathBehindANAT64(t *testing.T) {
	for _, test := range []struct{ told, encapsulation, discovery string }{
		{"errors", "auto", "off"}, {"errors", "wireguard", "off"}, {"probes", "auto", "on"},
	} {
		t.Run(test.told+" "+test.encapsulation, func(t *testing.T) {
			n := newNAT64Net(t)
			n.options.Store(pref64(1800 * time.Second))
			for node, link := range map[*nstest.Node]string{n.g: "wan0", n.r: "tog"} {
				if err := node.H.LinkSetMTU(node.Link(link), 1300); err != nil {
					t.Fatal(err)
				}
			}
			if test.told == "probes" {
				n.nft(n.g, "table ip6 silent {\nchain f {\ntype filter hook forward priority 0;\nicmpv6 type packet-too-big drop\n}\n}\n")
			}
			n.startAs(moving(test.encapsulation, fmt.Sprintf("path-mtu-discovery = %q", test.discovery), "radio0"))
			n.via("radio1")
			n.exchange(n.dial(), 1<<18)
		})
	}
}

// Where routers tell of name servers alone, these tell of the translator, and of a
// home agent that is configured by name.
func TestANAT64ThatNameServersTellOf(t *testing.T) {
	n := newNAT64Net(t)
	n.nameServer()
	n.options.Store(rdnss("2001:db8:6::1"))
	n.startAs(strings.NewReplacer("KIND", "tun", "ENCAPSULATION", "auto", "UPLINK", "", `home-agent = "198.51.100.1"`, `home-agent = "home.example"`))
	if up := n.via("radio1"); up.NAT64 != "IPv6 only, by NAT64 2001:db8:64::/96 (from DNS)" {
		t.Errorf("shown: %+v", up)
	}
	n.exchange(n.dial(), 1<<16)
}

// A prefix that is written needs nobody to tell of it; and with "off" the uplink is
// not used, whoever tells.
func TestANAT64ThatIsConfigured(t *testing.T) {
	n := newNAT64Net(t)
	file := strings.NewReplacer("KIND", "tun", "ENCAPSULATION", "auto", "UPLINK", `nat64-prefix = "2001:db8:64::/96"`)
	n.startAs(file)
	if up := n.via("radio1"); up.NAT64 != "IPv6 only, by NAT64 2001:db8:64::/96 (from configuration)" {
		t.Errorf("shown: %+v", up)
	}
	c := n.dial()
	n.exchange(c, 1<<16)

	n.write("mn", strings.NewReplacer("KIND", "tun", "ENCAPSULATION", "auto", "UPLINK", `nat64-prefix = "off"`).Replace(nat64NodeText))
	n.reload()
	n.until("the uplink is not used any more", func() bool {
		u, _ := n.uplink("radio1")
		return !u.Usable && u.NAT64 == ""
	})
	n.tell(pref64(1800 * time.Second))
	n.ipv4()
	n.via("radio0")
	n.exchange(c, 1<<16)
	if u, _ := n.uplink("radio1"); u.Usable || u.NAT64 != "" {
		t.Errorf("shown: %+v", u)
	}
}

func (n *nat64Net) reload() {
	n.t.Helper()
	done, err := n.control.Reload(n.t.Context(), control.ReloadOrder{})
	if err != nil || len(done.Problems) > 0 || done.Restart != "" {
		n.t.Fatalf("reload: %+v, %v", done, err)
	}
}
