// Package nstest builds the network namespaces that tests of the host's side
// run in: nodes with veth pairs between them, by netlink alone. They vanish
// with the test.
package nstest

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A Node is a network namespace with a name for messages.
type Node struct {
	Name string
	NS   netns.NsHandle
	H    *netlink.Handle
	t    testing.TB
}

// New makes a node whose loopback is up. It skips the test without the
// privilege to.
func New(t testing.TB, name string) *Node {
	t.Helper()
	n := &Node{Name: name, t: t}
	made := make(chan error)
	go func() {
		// The thread is in the new namespace for good and must not be
		// another goroutine's: it stays locked and ends here.
		runtime.LockOSThread()
		var err error
		n.NS, err = netns.New()
		made <- err
	}()
	if err := <-made; err != nil {
		if errors.Is(err, unix.EPERM) {
			t.Skip("no privilege to make a network namespace")
		}
		t.Fatal(err)
	}
	h, err := netlink.NewHandleAt(n.NS)
	if err != nil {
		t.Fatal(err)
	}
	n.H = h
	t.Cleanup(func() {
		h.Close()
		n.NS.Close()
	})
	n.Up("lo")
	// What a test waits for is not what the kernel's limit on errors has left: half
	// of it is the whole host's, and tests run side by side. The mask also frees
	// from that half.
	n.Sysctl("net/ipv4/icmp_ratemask", 0)
	n.Sysctl("net/ipv4/icmp_ratelimit", 0)
	return n
}

// Do runs f on a thread of the node. f may fail the test.
func (n *Node) Do(f func()) {
	n.t.Helper()
	n.In(f)
	if n.t.Failed() {
		n.t.FailNow()
	}
}

// In is [Node.Do] for a subtest that goes on although an earlier one has failed.
func (n *Node) In(f func()) {
	n.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and the thread ends with the goroutine
		if err := netns.Set(n.NS); err != nil {
			n.t.Errorf("%s: %v", n.Name, err)
			return
		}
		f()
	}()
	<-done
}

// Join connects two nodes with a veth pair, brings both ends up and waits until
// packets can leave by both: before that the kernel drops them silently, and asks
// for a neighbour again a second later only.
func Join(t testing.TB, a *Node, aName string, b *Node, bName string, mtu int) {
	t.Helper()
	err := a.H.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: aName, MTU: mtu},
		PeerName:  bName, PeerNamespace: netlink.NsFd(b.NS), PeerMTU: uint32(mtu),
	})
	if err != nil {
		t.Fatal(err)
	}
	a.Up(aName)
	b.Up(bName)
	for end := time.Now().Add(20 * time.Second); a.Link(aName).Attrs().OperState != netlink.OperUp || b.Link(bName).Attrs().OperState != netlink.OperUp; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s of %s and %s of %s do not come up", aName, a.Name, bName, b.Name)
		}
	}
}

// Bridge makes a bridge and brings it up.
func (n *Node) Bridge(name string) {
	n.t.Helper()
	if err := n.H.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}); err != nil {
		n.t.Fatalf("%s: %s: %v", n.Name, name, err)
	}
	n.Up(name)
}

// Enslave makes a link a port of a bridge.
func (n *Node) Enslave(link, bridge string) {
	n.t.Helper()
	if err := n.H.LinkSetMaster(n.Link(link), n.Link(bridge)); err != nil {
		n.t.Fatalf("%s: %s in %s: %v", n.Name, link, bridge, err)
	}
}

// Link returns a link of the node.
func (n *Node) Link(name string) netlink.Link {
	n.t.Helper()
	l, err := n.H.LinkByName(name)
	if err != nil {
		n.t.Fatalf("%s: %s: %v", n.Name, name, err)
	}
	return l
}

// Up sets a link up.
func (n *Node) Up(name string) {
	n.t.Helper()
	if err := n.H.LinkSetUp(n.Link(name)); err != nil {
		n.t.Fatalf("%s: %s up: %v", n.Name, name, err)
	}
}

// Address adds an address to a link.
func (n *Node) Address(link, prefix string) {
	n.t.Helper()
	a, err := netlink.ParseAddr(prefix)
	if err != nil {
		n.t.Fatal(err)
	}
	if a.IP.To4() == nil {
		a.Flags |= unix.IFA_F_NODAD // or nobody may use it before somebody has looked for another owner
	}
	if err := n.H.AddrAdd(n.Link(link), a); err != nil {
		n.t.Fatalf("%s: %s on %s: %v", n.Name, prefix, link, err)
	}
}

// Route adds a route: over a gateway, or on a link when via is empty.
func (n *Node) Route(dst, via, link, src string) {
	n.t.Helper()
	p := netip.MustParsePrefix(dst)
	r := &netlink.Route{Dst: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if via != "" {
		r.Gw = net.ParseIP(via)
	}
	if link != "" {
		r.LinkIndex = n.Link(link).Attrs().Index
	}
	if src != "" {
		r.Src = net.ParseIP(src)
	}
	if err := n.H.RouteAdd(r); err != nil {
		n.t.Fatalf("%s: route %s via %s %s: %v", n.Name, dst, via, link, err)
	}
}

// BPFFS mounts a BPF file system in a folder of its own; it goes with the test.
// Without one the test is skipped.
func BPFFS(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bpf")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	MountBPF(t, dir)
	return dir
}

// MountBPF is [BPFFS] in a folder that is there.
func MountBPF(t testing.TB, dir string) {
	t.Helper()
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENODEV) {
			t.Skipf("no BPF file system: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
}

// Sysctl sets a file under /proc/sys.
func (n *Node) Sysctl(name string, value int) {
	n.t.Helper()
	n.Do(func() {
		if err := os.WriteFile("/proc/sys/"+name, []byte(strconv.Itoa(value)), 0); err != nil {
			n.t.Errorf("%s: %s: %v", n.Name, name, err)
		}
	})
}

// Packets opens a packet socket that sees every frame of a link without its
// Ethernet header, in both directions, and returns a function that reads the
// next one; it returns nil once nothing has come for 60 ms.
func (n *Node) Packets(link string) (next func() []byte) {
	n.t.Helper()
	return n.Tap(n.t, link, 60*time.Millisecond)
}

// Tap is [Node.Packets] for a subtest, with a silence of its own.
func (n *Node) Tap(t testing.TB, link string, silence time.Duration) (next func() []byte) {
	t.Helper()
	fd, err := -1, error(nil)
	n.In(func() {
		var l netlink.Link
		if l, err = n.H.LinkByName(link); err == nil {
			fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
		}
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: l.Attrs().Index})
		}
	})
	if err != nil || fd < 0 {
		t.Fatalf("%s: packet socket on %s: %v", n.Name, link, err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	wait := unix.NsecToTimeval(silence.Nanoseconds())
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
	buf := make([]byte, 1<<16)
	return func() []byte {
		for {
			c, _, err := unix.Recvfrom(fd, buf, 0)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return nil
			}
			return buf[:c]
		}
	}
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// HostRoute is the route to a destination, to be deleted.
func (n *Node) HostRoute(dst string) *netlink.Route {
	p := netip.MustParsePrefix(dst)
	return &netlink.Route{Dst: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
}
