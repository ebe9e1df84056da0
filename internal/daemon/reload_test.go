package daemon

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
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

const pairHomeText = `version = 1
state-directory = "%[1]s/ha-state"
[control]
socket = "%[1]s/ha.sock"
[home-agent]
address = "198.51.100.1"
[[home-agent.network]]
prefix = "10.10.0.0/24"
[[home-agent.mobile-node]]
home-address = "10.10.0.5"
spi = 256
key = "hex:00112233445566778899aabbccddeeff"
algorithm = "hmac-sha256"
`

const pairMobileText = `version = 1
state-directory = "%[1]s/mn-state"
[control]
socket = "%[1]s/mn.sock"
[mobile-node]
home-address = "10.10.0.5"
home-agent = "198.51.100.1"
spi = 256
key = "hex:00112233445566778899aabbccddeeff"
algorithm = "hmac-sha256"
[[mobile-node.uplink]]
interface = "eth0"
priority = 100
`

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

// flow sends numbered datagrams from the correspondent to the home address
// and back until it is stopped, which tells how many there were and how many
// came back.
func (n *pairNet) flow() (stop func() (sent, back int)) {
	n.t.Helper()
	var far, near *net.UDPConn
	n.mn.Do(func() {
		var err error
		if far, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.10.0.5:7"))); err != nil {
			n.t.Fatal(err)
		}
	})
	n.cn.Do(func() {
		var err error
		if near, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(n.correspondent, 0))); err != nil {
			n.t.Fatal(err)
		}
	})
	n.t.Cleanup(func() { far.Close(); near.Close() })
	far.SetReadBuffer(4 << 20)
	near.SetReadBuffer(4 << 20)
	go func() {
		buf := make([]byte, 100)
		for {
			c, from, err := far.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			far.WriteToUDPAddrPort(buf[:c], from)
		}
	}()
	var back atomic.Int64
	arrived := make(chan struct{}, 1)
	go func() {
		buf := make([]byte, 100)
		for {
			if _, err := near.Read(buf); err != nil {
				return
			}
			back.Add(1)
			select {
			case arrived <- struct{}{}:
			default:
			}
		}
	}()
	done, sent := make(chan struct{}), make(chan int)
	go func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-done:
				sent <- i
				return
			case <-tick.C:
				near.WriteToUDPAddrPort(binary.BigEndian.AppendUint64(nil, uint64(i)), netip.MustParseAddrPort("10.10.0.5:7"))
			}
		}
	}()
	n.until("packets flow", func() bool { return back.Load() > 10 })
	return func() (int, int) {
		defer func() { far.Close(); near.Close() }()
		close(done)
		total := <-sent
		for {
			select {
			case <-arrived:
				if int(back.Load()) < total {
					continue
				}
			case <-time.After(2 * time.Second):
			}
			return total, int(back.Load())
		}
	}
}

// A hundred reloads of both daemons, with other nodes, keys, networks, routes
// and lifetimes each time, under traffic.
func TestAHundredReloadsLoseNoPacket(t *testing.T) {
	n := newPairNet(t)
	since := n.bindings()[0].Since
	stop := n.flow()
	for i := range 100 {
		node := fmt.Sprintf("[[home-agent.mobile-node]]\nhome-address = \"10.10.0.%d\"\nspi = 300\nkey = \"hex:%032x\"\nalgorithm = \"hmac-sha256\"\n", 20+i, i)
		text := pairHomeText + node
		if i%2 == 0 {
			text = strings.Replace(text, "[[home-agent.network]]", "[[home-agent.network]]\nprefix = \"10.11.0.0/24\"\n[[home-agent.network]]", 1)
		}
		n.write("ha", strings.Replace(text, "[home-agent]\n", fmt.Sprintf("[home-agent]\nmax-lifetime = \"%dm\"\n", 2+i), 1))
		if done := n.reload(n.home, control.ReloadOrder{}); !done.Applied || done.Ended != 0 || done.Added != 1 || (done.Removed != 1 && i > 0) {
			t.Fatalf("reload %d came to %+v", i, done)
		}
		if i%10 == 0 {
			n.write("mn", strings.Replace(pairMobileText, "[mobile-node]\n", fmt.Sprintf("[mobile-node]\nlifetime = \"%dm\"\nroutes = [\"192.0.2.0/24\", \"10.%d.0.0/16\"]\n", 20+i, 100+i), 1))
			if done := n.reload(n.mobile, control.ReloadOrder{}); !done.Applied {
				t.Fatalf("reload %d came to %+v", i, done)
			}
		}
	}
	if sent, back := stop(); sent != back {
		t.Errorf("%d of %d packets were lost", sent-back, sent)
	}
	if b := n.bindings(); len(b) != 1 || b[0].Since.Sub(since).Abs() > 500*time.Millisecond {
		t.Errorf("the binding is %+v", b)
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
	n.write("ha", strings.Replace(pairHomeText, "[home-agent]\n", "[home-agent]\nport = 4343\nmax-lifetime = \"1m\"\n", 1))
	done = n.reload(n.home, control.ReloadOrder{})
	if done.Restart == "" || done.Applied || len(done.Changes) != 2 {
		t.Errorf("it came to %+v", done)
	}
	n.write("ha", strings.Replace(pairHomeText, "[home-agent]\n", "[home-agent]\nmax-lifetime = \"1m\"\n", 1))
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
	n.write("ha", strings.Replace(pairHomeText, "[home-agent]\n", "[home-agent]\nmax-lifetime = \"1m\"\n", 1))
	done := n.reload(n.home, control.ReloadOrder{Confirm: control.Seconds(300 * time.Millisecond)})
	if !done.Applied || done.Until.IsZero() || n.setting("home-agent.max-lifetime") == before {
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
	stop := n.flow()
	stop()
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
	stop := n.flow()
	only := pairMobileText[:strings.Index(pairMobileText, "[[mobile-node.uplink]]")] + better
	n.write("mn", only)
	if done := n.reload(n.mobile, control.ReloadOrder{}); !done.Applied {
		t.Fatalf("it came to %+v", done)
	}
	if sent, back := stop(); sent != back {
		t.Errorf("%d of %d packets were lost", sent-back, sent)
	}
	n.write("mn", pairMobileText)
	n.reload(n.mobile, control.ReloadOrder{})
	n.until("the first uplink is used again", func() bool { return active() == "eth0" })
}

// TestAnotherReloadKeepsTheWayBack: whoever repeats the command, because the
// terminal hangs, must not lose what is gone back to.
func TestAnotherReloadKeepsTheWayBack(t *testing.T) {
	n := newPairNet(t)
	before := n.setting("home-agent.max-lifetime")
	lifetime := func(text string) {
		n.write("ha", strings.Replace(pairHomeText, "[home-agent]\n", "[home-agent]\nmax-lifetime = \""+text+"\"\n", 1))
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
