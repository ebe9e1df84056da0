package daemon

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/control"
	"careof/internal/host/plane/nstest"
)

// A pulse is a flow of numbered datagrams from the home address to the
// correspondent, which sends each back.
type pulse struct {
	n    *nat64Net
	c    *net.UDPConn
	stop chan struct{}
	sent chan uint32 // how many, once it has stopped

	mu   sync.Mutex
	back map[uint32]int // how often each has come back
	last time.Time      // when something did
	gap  time.Duration  // the longest time in which nothing did
}

// pulseEvery is between datagrams.
const pulseEvery = 4 * time.Millisecond

func (n *nat64Net) pulse() *pulse {
	n.t.Helper()
	p := &pulse{n: n, stop: make(chan struct{}), sent: make(chan uint32, 1), back: make(map[uint32]int), last: time.Now()}
	n.mn.Do(func() {
		var err error
		p.c, err = net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(visitorHome, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(peerAddr, 7)))
		if err != nil {
			n.t.Error(err)
		}
	})
	n.t.Cleanup(func() { p.c.Close() })
	go func() {
		b := make([]byte, 64)
		for {
			k, err := p.c.Read(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil || k < 4 {
				continue
			}
			p.mu.Lock()
			p.back[binary.BigEndian.Uint32(b)]++
			now := time.Now()
			p.gap, p.last = max(p.gap, now.Sub(p.last)), now
			p.mu.Unlock()
		}
	}()
	go func() {
		tick := time.NewTicker(pulseEvery)
		defer tick.Stop()
		for i := uint32(0); ; i++ {
			select {
			case <-p.stop:
				p.sent <- i
				return
			case <-tick.C:
			}
			p.c.Write(binary.BigEndian.AppendUint32(make([]byte, 0, 4), i))
		}
	}()
	return p
}

// beats waits until that many more datagrams have come back.
func (p *pulse) beats(more int) {
	p.n.t.Helper()
	count := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.back)
	}
	from := count()
	p.n.until(fmt.Sprintf("%d more datagrams come back", more), func() bool { return count() >= from+more })
}

// end stops the flow, and tells which datagrams have not come back, though that
// may take long, and which have more than once.
func (p *pulse) end(wait time.Duration) (lost, twice []uint32) {
	p.n.t.Helper()
	close(p.stop)
	sent := <-p.sent
	missing := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.back) < int(sent)
	}
	for end := time.Now().Add(wait); missing() && time.Now().Before(end); {
		<-time.After(10 * time.Millisecond)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range sent {
		switch {
		case p.back[i] == 0:
			lost = append(lost, i)
		case p.back[i] > 1:
			twice = append(twice, i)
		}
	}
	p.n.t.Logf("%d sent, the longest gap was %v", sent, p.gap)
	return lost, twice
}

// whole ends the flow, of which nothing may be lost or come twice.
func (p *pulse) whole() {
	p.n.t.Helper()
	if lost, twice := p.end(patience); len(lost)+len(twice) > 0 {
		p.n.t.Errorf("lost: %v, twice: %v", lost, twice)
	}
}

// drop has a router drop packets of an uplink's network, both ways: so many in a
// hundred; with 0 none any more.
func (n *nat64Net) drop(uplink string, percent int) {
	n.t.Helper()
	router, link := n.r, "toradio0"
	if uplink == "radio1" {
		router, link = n.g, "lan0"
	}
	var rules strings.Builder
	fmt.Fprintln(&rules, "table inet lossy\ndelete table inet lossy")
	if percent > 0 {
		rules.WriteString("table inet lossy {\nchain f {\ntype filter hook forward priority 0;\n")
		for _, way := range []string{"iifname", "oifname"} {
			fmt.Fprintf(&rules, "%s %q numgen random mod 100 <= %d drop\n", way, link, percent-1)
		}
		rules.WriteString("}\n}\n")
	}
	n.nft(router, rules.String())
}

// far puts the home agent at a distance: the router r keeps what goes there or comes
// from there for a while, each way.
func (n *nat64Net) far(each time.Duration) {
	n.t.Helper()
	const table = 100
	var device *os.File
	n.r.Do(func() {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			n.t.Error(err)
			return
		}
		ifr, err := unix.NewIfreq("far0")
		if err == nil {
			ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
		}
		if err != nil {
			n.t.Error(err)
		}
		device = os.NewFile(uintptr(fd), "far0")
	})
	n.t.Cleanup(func() { device.Close() })
	n.r.Up("far0")
	everywhere := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	if err := n.r.H.RouteAdd(&netlink.Route{Table: table, LinkIndex: n.r.Link("far0").Attrs().Index, Dst: everywhere}); err != nil {
		n.t.Fatal(err)
	}
	for _, from := range []string{"toha", "toradio0", "tog"} {
		rule := netlink.NewRule()
		rule.IifName, rule.Table, rule.Priority, rule.Family = from, table, 100, netlink.FAMILY_V4
		if err := n.r.H.RuleAdd(rule); err != nil {
			n.t.Fatal(err)
		}
	}
	type late struct {
		packet []byte
		at     time.Time
	}
	queue := make(chan late, 1<<14)
	go func() {
		defer close(queue)
		buffer := make([]byte, 1<<16)
		for {
			k, err := device.Read(buffer)
			if err != nil {
				return
			}
			select {
			case queue <- late{bytes.Clone(buffer[:k]), time.Now().Add(each)}:
			default:
			}
		}
	}()
	go func() {
		for p := range queue {
			time.Sleep(time.Until(p.at))
			device.Write(p.packet)
		}
	}()
}

func (n *nat64Net) nft(node *nstest.Node, rules string) {
	n.t.Helper()
	nft, err := exec.LookPath("nft")
	if err != nil {
		n.t.Skip("nft is missing")
	}
	cmd := exec.Command(nft, "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	node.Do(func() {
		if out, err := cmd.CombinedOutput(); err != nil {
			n.t.Errorf("nft: %v: %s\n%s", err, bytes.TrimSpace(out), rules)
		}
	})
}

// moving is a node's file: more goes into its section, and radio is preferred.
func moving(encapsulation, more, radio string) *strings.Replacer {
	first, second := "100", "50"
	if radio == "radio1" {
		first, second = second, first
	}
	return strings.NewReplacer("KIND", "tun", "ENCAPSULATION", encapsulation, "UPLINK", "", `routes = "full"`, "routes = \"full\"\n"+more,
		"priority = 100", "priority = "+first, "priority = 50", "priority = "+second)
}

// prefer has the node move to another uplink while both work.
func (n *nat64Net) prefer(radio, encapsulation, more string) {
	n.t.Helper()
	n.write("mn", moving(encapsulation, more, radio).Replace(nat64NodeText))
	n.reload()
	n.via(radio)
}

// bindings are those of the node, at its home agent.
func (n *nat64Net) bindings() []control.Binding {
	n.t.Helper()
	var shown struct{ Bindings []control.Binding }
	n.shownBy(n.haControl, "bindings", &shown)
	return shown.Bindings
}

// A node between a network with IPv6 and a NAT64 and one with IPv4 makes before it
// breaks: of what goes both ways while it moves nothing is lost, and nothing comes
// twice.
func TestMovesBetweenANAT64AndIPv4LoseNothing(t *testing.T) {
	for _, encapsulation := range []string{"auto", "wireguard"} {
		t.Run(encapsulation, func(t *testing.T) {
			n := newNAT64Net(t)
			n.far(100 * time.Millisecond)
			n.options.Store(pref64(1800 * time.Second))
			n.startAs(moving(encapsulation, "", "radio0"))
			n.via("radio1")
			n.ask(patience)
			p := n.pulse()
			p.beats(50)
			n.ipv4()
			n.via("radio0")
			p.beats(50)
			for range 3 {
				n.prefer("radio1", encapsulation, "")
				p.beats(50)
				n.prefer("radio0", encapsulation, "")
				p.beats(50)
			}
			p.whole()
			n.nothingBeside()
		})
	}
}

// What is redundant goes over the NAT64 and over IPv4 at a time: one of the two may
// lose three in ten, either of them, and then everything.
func TestRedundantPacketsOverANAT64(t *testing.T) {
	const redundant = `redundant = ["udp 7"]`
	for _, encapsulation := range []string{"udp", "wireguard"} {
		t.Run(encapsulation, func(t *testing.T) {
			n := newNAT64Net(t)
			n.options.Store(pref64(1800 * time.Second))
			n.ipv4()
			n.startAs(moving(encapsulation, redundant, "radio0"))
			n.via("radio0")
			n.until("copies go over both uplinks", func() bool {
				list := n.bindings()
				return len(list) == 2 && slices.ContainsFunc(list, func(b control.Binding) bool { return b.Standby })
			})
			n.ask(patience)
			n.until("copies come over both uplinks", func() bool { n.ask(patience); return n.counter("plane.copies") > 0 })
			p := n.pulse()
			p.beats(50)
			for _, lossy := range []string{"radio0", "radio1"} {
				n.drop(lossy, 30)
				p.beats(200)
				n.drop(lossy, 0)
				p.beats(100)
			}
			n.drop("radio1", 100)
			p.beats(100)
			n.drop("radio1", 0)
			p.whole()
		})
	}
}

func (n *nat64Net) counter(name string) uint64 {
	n.t.Helper()
	var shown struct{ Counters []control.Counter }
	n.shown("counters", &shown)
	i := slices.IndexFunc(shown.Counters, func(c control.Counter) bool { return c.Name == name })
	if i < 0 {
		n.t.Fatalf("there is no counter %s", name)
	}
	return shown.Counters[i].Value
}

// A translator that lets nothing through any more, while the link stays up, is left
// for IPv4, and the other way round.
func TestABlackHoleBehindANAT64(t *testing.T) {
	n := newNAT64Net(t)
	n.options.Store(pref64(1800 * time.Second))
	n.ipv4()
	n.startAs(moving("auto", `fail-back = "1s"`, "radio1"))
	n.via("radio1")
	n.ask(patience)
	p := n.pulse()
	p.beats(50)
	n.drop("radio1", 100)
	n.via("radio0")
	if u, _ := n.uplink("radio1"); u.State != "dead" || u.NAT64 == "" {
		t.Errorf("shown: %+v", u)
	}
	p.beats(50)
	n.drop("radio1", 0)
	n.via("radio1") // it answers again
	n.drop("radio1", 100)
	n.via("radio0")
	n.drop("radio1", 0)
	n.drop("radio0", 100)
	n.via("radio1")
	p.beats(50)
	if _, twice := p.end(time.Second); len(twice) > 0 {
		t.Errorf("twice: %v", twice)
	}
}

// A home agent that sends much only to outer addresses that have answered a
// challenge has answers over a NAT64: its challenges go to the translator's address,
// which the node does not know.
func TestAPathOverANAT64IsValidated(t *testing.T) {
	n := newNAT64Net(t)
	n.options.Store(pref64(1800 * time.Second))
	file := moving("auto", `path-validation = "on"`, "radio0")
	n.haControl = n.daemon(n.ha, "ha", with(homeAgentText, "home-agent", "path-validation = \"required\""))
	n.control = n.daemon(n.mn, "mn", file.Replace(nat64NodeText))
	valid := func(at netip.Prefix) func() bool {
		return func() bool {
			list := n.bindings()
			return len(list) == 1 && at.Contains(list[0].Endpoint.Addr()) && !list[0].Validated.IsZero() && !list[0].Unvalidated
		}
	}
	n.via("radio1")
	n.until("the translator's address is validated", valid(netip.MustParsePrefix("100.64.1.0/24")))
	c := n.dial()
	n.exchange(c, 1<<18)
	n.ipv4()
	n.via("radio0")
	n.until("the other address is validated", valid(netip.MustParsePrefix("203.0.113.9/32")))
	n.exchange(c, 1<<18)
	n.drop("radio0", 100)
	n.via("radio1")
	n.until("the translator's address is validated again", valid(netip.MustParsePrefix("100.64.1.0/24")))
	n.exchange(c, 1<<18)
}

// An uplink that has IPv4 too is used by IPv4 as soon as that leads anywhere, and by
// the NAT64 again when it does not any more: an address alone is not enough.
func TestAnUplinkWithIPv6AndIPv4(t *testing.T) {
	n := newNAT64Net(t)
	n.options.Store(pref64(1800 * time.Second))
	n.g.Address("lan0", "192.168.77.1/24")
	n.r.Route("192.168.77.0/24", "100.64.0.2", "", "")
	n.startAs(moving("auto", "", "radio1"))
	n.via("radio1")
	c := n.dial()
	n.exchange(c, 1<<16)
	careOf := func(at netip.Prefix) {
		t.Helper()
		var u control.Uplink
		n.until("the care-of address is in "+at.String(), func() bool {
			u, _ = n.uplink("radio1")
			return u.Active && at.Contains(u.CareOfAddress)
		})
		if translated := at.Contains(careOfRange[0]); translated != (u.NAT64 != "") {
			t.Errorf("shown: %+v", u)
		}
		n.until("the home agent knows", func() bool {
			list := n.bindings()
			return len(list) == 1 && list[0].CareOfAddress == u.CareOfAddress
		})
		n.exchange(c, 1<<16)
	}
	four, six := netip.MustParsePrefix("192.168.77.9/32"), netip.MustParsePrefix("192.0.0.0/29")
	careOf(six)
	n.mn.Address("radio1", "192.168.77.9/24")
	careOf(six)
	n.mn.Route("0.0.0.0/0", "192.168.77.1", "radio1", "")
	careOf(four)
	if err := n.mn.H.RouteDel(&netlink.Route{LinkIndex: n.mn.Link("radio1").Attrs().Index, Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}}); err != nil {
		t.Fatal(err)
	}
	careOf(six)
}
