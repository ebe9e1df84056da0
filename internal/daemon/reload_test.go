package daemon

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/host/plane/nstest"
)

// The network of these tests, with real daemons:
//
//	ha 198.51.100.1 --- r --- 203.0.113.9 mn (10.10.0.5)
//	                    |
//	                    cn 192.0.2.9
type pairNet struct {
	daemons
	ha, r, mn, cn *nstest.Node
	home, mobile  *control.Client
	correspondent netip.Addr
	agent         netip.Addr // of a home agent with one interface
}

func newPairNet(t *testing.T) *pairNet {
	t.Helper()
	n := wirePair(t)
	n.settle()
	n.r.Route("10.11.0.0/24", "198.51.100.1", "", "")
	n.home = n.daemon(n.ha, "ha", pairHomeText)
	n.mobile = n.daemon(n.mn, "mn", pairMobileText)
	n.registered()
	return n
}

// wirePair lays the network without daemons; the mobile node has no address.
func wirePair(t *testing.T) *pairNet {
	t.Helper()
	n := newPairNodes(t)
	n.correspondent = netip.MustParseAddr("192.0.2.9")
	nstest.Join(t, n.ha, "wan0", n.r, "toha", 1500)
	nstest.Join(t, n.mn, "eth0", n.r, "tomn", 1500)
	nstest.Join(t, n.cn, "eth0", n.r, "tocn", 1500)
	n.ha.Address("wan0", "198.51.100.1/24")
	n.r.Address("toha", "198.51.100.254/24")
	n.r.Address("tomn", "203.0.113.254/24")
	n.cn.Address("eth0", "192.0.2.9/24")
	n.r.Address("tocn", "192.0.2.254/24")
	n.r.Sysctl("net/ipv4/ip_forward", 1)
	n.ha.Route("0.0.0.0/0", "198.51.100.254", "", "")
	n.cn.Route("0.0.0.0/0", "192.0.2.254", "", "")
	n.r.Route("10.10.0.0/24", "198.51.100.1", "", "")
	return n
}

// settle gives the mobile node an address by hand.
func (n *pairNet) settle() {
	n.mn.Address("eth0", "203.0.113.9/24")
	n.mn.Route("0.0.0.0/0", "203.0.113.254", "", "")
}

// newPairNodes makes the nodes alone.
func newPairNodes(t *testing.T) *pairNet {
	t.Helper()
	n := &pairNet{daemons: newDaemons(t)}
	n.ha, n.r, n.mn, n.cn = nstest.New(t, "ha"), nstest.New(t, "r"), nstest.New(t, "mn"), nstest.New(t, "cn")
	return n
}

// registered waits until the mobile node is.
func (n *pairNet) registered() {
	n.t.Helper()
	n.until("the mobile node is registered", func() bool {
		var list []control.Registration
		return n.mobile.Show(n.t.Context(), "registrations", "", &list) == nil && len(list) == 1 && list[0].Active
	})
}

func (n *pairNet) reload(c *control.Client, order control.ReloadOrder) control.Reload {
	n.t.Helper()
	done, err := c.Reload(n.t.Context(), order)
	if err != nil {
		n.t.Fatal(err)
	}
	return done
}

func (n *pairNet) bindings() (list []control.Binding) {
	n.t.Helper()
	if err := n.home.Show(n.t.Context(), "bindings", "", &list); err != nil {
		n.t.Fatal(err)
	}
	return list
}

// A flow is numbered datagrams from the correspondent to the home address and
// back.
type flow struct {
	n         *pairNet
	far, near *net.UDPConn
	end       chan struct{}
	ended     chan struct{}
	sent      atomic.Int64

	mu   sync.Mutex
	back map[int64]bool
}

// flow sends one until it is stopped.
func (n *pairNet) flow() *flow {
	n.t.Helper()
	f := &flow{n: n, end: make(chan struct{}), ended: make(chan struct{}), back: make(map[int64]bool)}
	n.mn.Do(func() {
		var err error
		if f.far, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.10.0.5:7"))); err != nil {
			n.t.Fatal(err)
		}
	})
	n.cn.Do(func() {
		var err error
		if f.near, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(n.correspondent, 0))); err != nil {
			n.t.Fatal(err)
		}
	})
	n.t.Cleanup(func() { f.far.Close(); f.near.Close() })
	f.far.SetReadBuffer(4 << 20)
	f.near.SetReadBuffer(4 << 20)
	go func() {
		buf := make([]byte, 100)
		for {
			c, from, err := f.far.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			f.far.WriteToUDPAddrPort(buf[:c], from)
		}
	}()
	// A node that says that it is registered may have no way through for some
	// milliseconds more: nothing counts before there is one.
	const hello = "is there a way?"
	to := netip.MustParseAddrPort("10.10.0.5:7")
	var there atomic.Bool
	go func() {
		buf := make([]byte, 100)
		for {
			c, err := f.near.Read(buf)
			if err != nil {
				return
			}
			if c == len(hello) {
				there.Store(true)
				continue
			}
			f.mu.Lock()
			f.back[int64(binary.BigEndian.Uint64(buf))] = true
			f.mu.Unlock()
		}
	}()
	n.until("there is a way", func() bool {
		f.near.WriteToUDPAddrPort([]byte(hello), to)
		return there.Load()
	})
	go func() {
		defer close(f.ended)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for i := uint64(0); ; i++ {
			select {
			case <-f.end:
				return
			case <-tick.C:
				f.sent.Add(1)
				f.near.WriteToUDPAddrPort(binary.BigEndian.AppendUint64(nil, i), to)
			}
		}
	}()
	n.until("packets flow", func() bool { return f.sent.Load() > 10 && len(f.missing(0, 10)) == 0 })
	return f
}

// stop ends the flow, and tells what is lost of what was sent when so many had
// been, and how many were sent at all. What comes late is not lost: a machine may
// stand still for seconds.
func (f *flow) stop(from int64) (lost []int64, sent int64) {
	close(f.end)
	<-f.ended
	sent = f.sent.Load()
	for end := time.Now().Add(patience); ; <-time.After(10 * time.Millisecond) {
		if lost = f.missing(from, sent); len(lost) == 0 || time.Now().After(end) {
			break
		}
	}
	f.far.Close()
	f.near.Close()
	return lost, sent
}

// missing are those between two that have not come back.
func (f *flow) missing(from, to int64) (list []int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := from; i < to; i++ {
		if !f.back[i] {
			list = append(list, i)
		}
	}
	return list
}

// whole ends the flow, of which nothing may be lost.
func (f *flow) whole(when string) {
	f.n.t.Helper()
	if lost, sent := f.stop(0); len(lost) > 0 {
		f.n.t.Errorf("%s: %d of %d packets were lost: %v", when, len(lost), sent, lost)
	}
}

// A hundred reloads of both daemons, with other nodes, keys, networks, routes
// and lifetimes each time, under traffic.
func TestAHundredReloadsLoseNoPacket(t *testing.T) {
	n := newPairNet(t)
	began := time.Now()
	f := n.flow()
	for i := range 100 {
		node := fmt.Sprintf("[[home-agent.mobile-node]]\nhome-address = \"10.10.0.%d\"\nspi = 300\nkey = \"hex:%032x\"\nalgorithm = \"hmac-sha256\"\n", 20+i, i)
		text := pairHomeText + node
		if i%2 == 0 {
			text = strings.Replace(text, "[[home-agent.network]]", "[[home-agent.network]]\nprefix = \"10.11.0.0/24\"\n[[home-agent.network]]", 1)
		}
		n.write("ha", with(text, "home-agent", "max-lifetime = \"%dm\"", 2+i))
		if done := n.reload(n.home, control.ReloadOrder{}); !done.Applied || done.Ended != 0 || done.Added != 1 || (done.Removed != 1 && i > 0) {
			t.Fatalf("reload %d came to %+v", i, done)
		}
		if i%10 == 0 {
			n.write("mn", with(pairMobileText, "mobile-node", "lifetime = \"%dm\"\nroutes = [\"192.0.2.0/24\", \"10.%d.0.0/16\"]", 20+i, 100+i))
			if done := n.reload(n.mobile, control.ReloadOrder{}); !done.Applied {
				t.Fatalf("reload %d came to %+v", i, done)
			}
		}
	}
	f.whole("a hundred reloads")
	if b := n.bindings(); len(b) != 1 || time.Now().Round(0).Sub(b[0].Since) < time.Since(began) {
		t.Errorf("the binding is not the one that there was: %+v", b)
	}
}

func TestAReloadTellsAllMistakesAndChangesNothing(t *testing.T) {
	n := newPairNet(t)
	n.write("ha", strings.Replace(pairHomeText, "spi = 256", "spi = 3\nalgorythm = \"none\"", 1)+"[log]\nlevel = \"loud\"\n")
	done := n.reload(n.home, control.ReloadOrder{})
	if len(done.Problems) < 3 || done.Applied || done.Problems[0].Line == 0 {
		t.Errorf("it came to %+v", done)
	}
	if len(n.bindings()) != 1 {
		t.Error("the binding is gone")
	}
	// A change that only a restart can make takes nothing along.
	n.write("ha", with(pairHomeText, "home-agent", "port = 4343\nmax-lifetime = \"1m\""))
	done = n.reload(n.home, control.ReloadOrder{})
	if done.Restart == "" || done.Applied || len(done.Changes) != 2 {
		t.Errorf("it came to %+v", done)
	}
	n.write("ha", with(pairHomeText, "home-agent", "max-lifetime = \"1m\""))
	done = n.reload(n.home, control.ReloadOrder{DryRun: true})
	if done.Applied || len(done.Changes) != 1 || done.Changes[0].Key != "home-agent.max-lifetime" {
		t.Errorf("it came to %+v", done)
	}
	if got := n.setting("home-agent.max-lifetime"); got != `"10m0s"` && got != `"10m"` {
		t.Errorf("in force is max-lifetime = %s", got)
	}
}

func (n *pairNet) setting(key string) string {
	n.t.Helper()
	var list []control.Setting
	if err := n.home.Show(n.t.Context(), "config", "", &list); err != nil {
		n.t.Fatal(err)
	}
	for _, s := range list {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

func TestAReloadThatNobodyKeepsUndoesItself(t *testing.T) {
	n := newPairNet(t)
	before := n.setting("home-agent.max-lifetime")
	n.write("ha", with(pairHomeText, "home-agent", "max-lifetime = \"1m\""))
	done := n.reload(n.home, control.ReloadOrder{Confirm: control.Seconds(300 * time.Millisecond)})
	undone := n.setting("home-agent.max-lifetime") == before
	if !done.Applied || done.Until.IsZero() || undone && time.Now().Before(done.Until) {
		t.Fatalf("it came to %+v", done)
	}
	n.until("it is undone", func() bool { return n.setting("home-agent.max-lifetime") == before })
	var status control.Status
	if err := n.home.Show(t.Context(), "status", "", &status); err != nil || len(status.Warnings) == 0 {
		t.Errorf("nobody is told that the file is not in force: %+v, %v", status, err)
	}
	if _, err := n.home.Reload(t.Context(), control.ReloadOrder{Keep: true}); err == nil {
		t.Error("what was undone could be kept")
	}
	n.reload(n.home, control.ReloadOrder{Confirm: control.Seconds(time.Hour)})
	if done := n.reload(n.home, control.ReloadOrder{Keep: true}); !done.Kept {
		t.Errorf("it came to %+v", done)
	}
	if n.setting("home-agent.max-lifetime") == before {
		t.Error("what was kept is not in force")
	}
}

func TestARemovedNodeIsCutOffAtOnce(t *testing.T) {
	n := newPairNet(t)
	n.flow().whole("registered")
	without := pairHomeText[:strings.Index(pairHomeText, "[[home-agent.mobile-node]]")]
	n.write("ha", without)
	if done := n.reload(n.home, control.ReloadOrder{}); done.Removed != 1 || done.Ended != 1 {
		t.Fatalf("it came to %+v", done)
	}
	n.until("nothing is forwarded", func() bool {
		var entries []control.Entry
		return n.home.Show(t.Context(), "plane", "", &entries) == nil && len(entries) == 0
	})
	if len(n.bindings()) != 0 {
		t.Error("still bound")
	}
}

func TestUplinksComeAndGoByAReload(t *testing.T) {
	n := newPairNet(t)
	nstest.Join(t, n.mn, "eth1", n.r, "tomn1", 1500)
	n.mn.Address("eth1", "203.0.114.9/24")
	n.r.Address("tomn1", "203.0.114.254/24")
	second := &netlink.Route{LinkIndex: n.mn.Link("eth1").Attrs().Index, Gw: net.IPv4(203, 0, 114, 254), Priority: 100,
		Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}}
	if err := n.mn.H.RouteAdd(second); err != nil {
		t.Fatal(err)
	}
	active := func() string {
		var list []control.Uplink
		if err := n.mobile.Show(t.Context(), "uplinks", "", &list); err != nil {
			t.Fatal(err)
		}
		for _, u := range list {
			if u.Active {
				return u.Interface
			}
		}
		return ""
	}
	better := "[[mobile-node.uplink]]\ninterface = \"eth1\"\npriority = 200\n"
	n.write("mn", pairMobileText+better)
	if done := n.reload(n.mobile, control.ReloadOrder{}); !done.Applied {
		t.Fatalf("it came to %+v", done)
	}
	n.until("the better uplink is used", func() bool { return active() == "eth1" })
	// The handover itself is the scenes' to judge; an uplink that goes and is
	// not used costs nothing.
	f := n.flow()
	only := pairMobileText[:strings.Index(pairMobileText, "[[mobile-node.uplink]]")] + better
	n.write("mn", only)
	if done := n.reload(n.mobile, control.ReloadOrder{}); !done.Applied {
		t.Fatalf("it came to %+v", done)
	}
	f.whole("an uplink goes that is not used")
	n.write("mn", pairMobileText)
	n.reload(n.mobile, control.ReloadOrder{})
	n.until("the first uplink is used again", func() bool { return active() == "eth0" })
}

// A modem's interface is nobody's business until the configuration names it, and
// then it is there: nothing has to happen on it first.
func TestAModemIsSeenWhenAReloadNamesIt(t *testing.T) {
	n := newPairNet(t)
	modem := &netlink.Tuntap{LinkAttrs: netlink.NewLinkAttrs(), Mode: netlink.TUNTAP_MODE_TUN, Queues: 1, NonPersist: true,
		Flags: netlink.TUNTAP_DEFAULTS}
	modem.Name = "ppp7"
	n.mn.Do(func() {
		if err := netlink.LinkAdd(modem); err != nil {
			t.Error(err)
		}
	})
	if t.Failed() {
		return
	}
	defer modem.Fds[0].Close() // until then it has its carrier
	n.mn.Up("ppp7")
	n.mn.Address("ppp7", "100.64.0.7/32")
	modemRoute := &netlink.Route{LinkIndex: n.mn.Link("ppp7").Attrs().Index, Priority: 700, Scope: netlink.SCOPE_LINK,
		Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}}
	if err := n.mn.H.RouteAdd(modemRoute); err != nil {
		t.Fatal(err)
	}
	usable := func(link string) bool {
		var list []control.Uplink
		if err := n.mobile.Show(t.Context(), "uplinks", "", &list); err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(list, func(u control.Uplink) bool { return u.Interface == link && u.Usable })
	}
	n.quiet(n.mn)
	n.write("mn", pairMobileText+"[[mobile-node.uplink]]\ninterface = \"ppp7\"\npriority = 10\n")
	n.reload(n.mobile, control.ReloadOrder{})
	n.until("the modem can be used", func() bool { return usable("ppp7") })
}

// quiet waits until the kernel of a node has told nothing of its links for a while:
// what it tells late of one that has come up would have all of them looked at.
func (n *pairNet) quiet(node *nstest.Node) {
	n.t.Helper()
	links, addrs, routes := make(chan netlink.LinkUpdate, 64), make(chan netlink.AddrUpdate, 64), make(chan netlink.RouteUpdate, 64)
	done := make(chan struct{})
	defer close(done)
	node.Do(func() {
		if err := errors.Join(netlink.LinkSubscribe(links, done), netlink.AddrSubscribe(addrs, done), netlink.RouteSubscribe(routes, done)); err != nil {
			n.t.Error(err)
		}
	})
	for range 1000 {
		select {
		case <-links:
		case <-addrs:
		case <-routes:
		case <-time.After(2 * time.Second):
			return
		}
	}
	n.t.Fatal("the links are never quiet")
}

// TestAnotherReloadKeepsTheWayBack: whoever repeats the command, because the
// terminal hangs, must not lose what is gone back to.
func TestAnotherReloadKeepsTheWayBack(t *testing.T) {
	n := newPairNet(t)
	before := n.setting("home-agent.max-lifetime")
	lifetime := func(text string) {
		n.write("ha", with(pairHomeText, "home-agent", "max-lifetime = %q", text))
	}
	lifetime("1m")
	n.reload(n.home, control.ReloadOrder{Confirm: control.Seconds(time.Hour)})
	if done := n.reload(n.home, control.ReloadOrder{}); done.Applied || done.Until.IsZero() {
		t.Errorf("a reload without a difference came to %+v", done)
	}
	lifetime("2m")
	if _, err := n.home.Reload(t.Context(), control.ReloadOrder{}); err == nil {
		t.Error("a reload that is not to be confirmed buried one that is")
	}
	n.reload(n.home, control.ReloadOrder{Confirm: control.Seconds(300 * time.Millisecond)})
	n.until("both are undone", func() bool { return n.setting("home-agent.max-lifetime") == before })
}

// With several machines, one of them knows a node's replay mark and whether it
// is blocked: a reload must not hand the node to another.
func TestAReloadLeavesEveryNodeWithItsMachine(t *testing.T) {
	node := func(name, home string) string {
		if home != "" {
			home = fmt.Sprintf("home-address = %q\n", home)
		}
		return fmt.Sprintf("[[home-agent.mobile-node]]\nnai = %q\n%s%s", name, home, key)
	}
	with := func(nodes ...string) *config.HomeAgent {
		return parse(t, "[home-agent]\naddress = \"198.51.100.1\"\n[[home-agent.network]]\nprefix = \"10.10.0.0/24\"\npool = [\"10.10.0.100-10.10.0.199\"]\n"+strings.Join(nodes, "")).HomeAgent
	}
	fixed, pooled := with(node("a@x", "10.10.0.5"), node("b@x", "")), with(node("a@x", ""), node("b@x", ""))
	var l live
	if got := l.strays(fixed, with(node("a@x", "10.10.0.6"), node("b@x", ""), node("c@x", ""))); got != "" {
		t.Errorf("%s strays, though it only gets another address", got)
	}
	if got := l.strays(fixed, pooled); got != "a@x" {
		t.Errorf("%q strays, want a@x", got)
	}
	without := with(node("b@x", ""))
	l.remember(fixed, without)
	if got := l.strays(without, pooled); got != "a@x" {
		t.Errorf("after a reload without it %q strays, want a@x", got)
	}
	if got := l.strays(without, fixed); got != "" {
		t.Errorf("%s strays, though it comes back as it was", got)
	}
}
