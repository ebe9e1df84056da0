package sock

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
)

// inNamespace gives the test a network namespace with two addresses on a
// veth pair's end and on loopback; sockets are made in it because the test's
// thread stays in it.
func inNamespace(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make a network namespace")
	}
	runtime.LockOSThread()
	ns, err := netns.New()
	must(t, err)
	t.Cleanup(func() { ns.Close() })
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "up0"}, PeerName: "peer0"}))
	for name, addr := range map[string]string{"lo": "198.51.100.1/32", "up0": "192.0.2.2/24", "peer0": "203.0.113.1/24"} {
		l, err := netlink.LinkByName(name)
		must(t, err)
		must(t, netlink.LinkSetUp(l))
		a, err := netlink.ParseAddr(addr)
		must(t, err)
		must(t, netlink.AddrAdd(l, a))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// inbox collects what a set receives.
type inbox struct {
	signals chan engine.Packet
	data    chan Data
	errors  chan []byte
}

func newInbox() inbox {
	return inbox{make(chan engine.Packet, 256), make(chan Data, 256), make(chan []byte, 256)}
}

func (b inbox) receiver() Receiver {
	return Receiver{
		Signal: func(p engine.Packet) { p.Data = bytes.Clone(p.Data); b.signals <- p },
		Data: func(batch []Data) {
			for _, d := range batch {
				d.Message = bytes.Clone(d.Message)
				b.data <- d
			}
		},
		Error: func(packet []byte) { b.errors <- packet },
	}
}

func await[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(30 * time.Second):
		t.Fatalf("no %s came", what)
		panic("unreachable")
	}
}

var (
	agent = netip.MustParseAddrPort("198.51.100.1:434")
	lo    = netip.MustParseAddr("198.51.100.1")
)

func TestSignallingAndTunnelDataShareAPortAndArePartedByTheFirstOctet(t *testing.T) {
	inNamespace(t)
	ha, mn := newInbox(), newInbox()
	home, mobile := New(ha.receiver(), 0), New(mn.receiver(), 0)
	defer home.Close()
	defer mobile.Close()
	must(t, home.Listen(agent))

	// The loopback interface stands for an uplink.
	must(t, mobile.Send(engine.Send{Link: "lo", Src: netip.AddrPortFrom(lo, 0), Dst: agent, TTL: 255, Data: []byte{1, 2, 3}}))
	request := await(t, "request", ha.signals)
	if request.TTL != 255 || request.Link != "lo" || request.Dst != agent || !bytes.Equal(request.Data, []byte{1, 2, 3}) {
		t.Errorf("the request arrived as %+v", request)
	}
	if port := mobile.Port("lo", lo); port == 0 || port != request.Src.Port() {
		t.Errorf("the uplink's port is %d, the request came from %v", port, request.Src)
	}
	must(t, home.Send(engine.Send{Src: agent, Dst: request.Src, Data: []byte{3, 0}}))
	if reply := await(t, "reply", mn.signals); reply.Src != agent || reply.Dst != request.Src {
		t.Errorf("the reply arrived as %+v", reply)
	}

	// Both kinds of data go through the same two ports.
	must(t, mobile.SendData(netip.AddrPortFrom(lo, 0), agent, "lo", 0x03, [][]byte{{4, 4, 0, 0, 0x45}}))
	if d := await(t, "data", ha.data); d.From != request.Src || d.Local != agent || d.TOS != 0x03 {
		t.Errorf("tunnel data arrived as %+v", d)
	}
	must(t, home.SendData(agent, request.Src, "", 0, [][]byte{{4, 4, 0, 0, 0x46}}))
	if d := await(t, "data", mn.data); d.Local != request.Src || d.Message[4] != 0x46 {
		t.Errorf("tunnel data arrived as %+v", d)
	}
}

func TestABatchArrivesWholeAndInOrder(t *testing.T) {
	inNamespace(t)
	ha := newInbox()
	home, mobile := New(ha.receiver(), 0), New(newInbox().receiver(), 0)
	defer home.Close()
	defer mobile.Close()
	must(t, home.Listen(agent))
	must(t, mobile.Send(engine.Send{Link: "lo", Src: netip.AddrPortFrom(lo, 0), Dst: agent, Data: []byte{1}}))

	// Sizes that force every way of grouping: equal, a short last one, a
	// longer one after a shorter, more than fit one group.
	var batch [][]byte
	for i := range 200 {
		m := bytes.Repeat([]byte{byte(i)}, 1000+(i%7/6)*137-(i%11/10)*500)
		m[0] = 4
		batch = append(batch, m)
	}
	must(t, mobile.SendData(netip.AddrPortFrom(lo, 0), agent, "lo", 0, batch))
	ha.expect(t, batch)
}

// expect waits for these messages, whether they come merged or not.
func (b *inbox) expect(t *testing.T, want [][]byte) {
	t.Helper()
	for i := 0; i < len(want); {
		d := await(t, fmt.Sprintf("message %d", i), b.data)
		eachSegment(d.Message, d.Size, func(got []byte) {
			if i == len(want) || !bytes.Equal(got, want[i]) {
				t.Fatalf("message %d has %d octets of %d", i, len(got), got[1])
			}
			i++
		})
	}
}

// A train is gathered from its pieces, whether the interface can cut it or not.
func TestTrainsAreGathered(t *testing.T) {
	inNamespace(t)
	ha := newInbox()
	home, mobile := New(ha.receiver(), 0), New(newInbox().receiver(), 0)
	defer home.Close()
	defer mobile.Close()
	must(t, home.Listen(agent))
	must(t, mobile.Send(engine.Send{Link: "lo", Src: netip.AddrPortFrom(lo, 0), Dst: agent, Data: []byte{1}}))
	for _, apart := range []bool{false, true} {
		mobile.lookup("lo", netip.AddrPortFrom(lo, 0)).noGSO.Store(apart)
		var pieces, want [][]byte
		for i := range 40 {
			head, body := []byte{4, byte(i), 0, 0}, bytes.Repeat([]byte{byte(i)}, 1200)
			if i == 39 {
				body = body[:77]
			}
			pieces = append(pieces, head, body)
			want = append(want, append(append([]byte(nil), head...), body...))
		}
		must(t, mobile.SendTrain(netip.AddrPortFrom(lo, 0), agent, "lo", 0, 1204, pieces))
		ha.expect(t, want)
	}
	if err := mobile.SendTrain(netip.AddrPortFrom(lo, 0), agent, "lo", 0, 10, make([][]byte, maxPieces+1)); !errors.Is(err, ErrLongTrain) {
		t.Errorf("too many pieces: error %v", err)
	}
}

func TestAnUplinkKeepsItsPortWhenItsAddressChanges(t *testing.T) {
	inNamespace(t)
	s := New(newInbox().receiver(), 0)
	defer s.Close()
	first, second := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	up0, err := netlink.LinkByName("up0")
	must(t, err)
	a, err := netlink.ParseAddr("192.0.2.3/24")
	must(t, err)
	must(t, netlink.AddrAdd(up0, a))
	send := func(from netip.Addr) {
		t.Helper()
		must(t, s.Send(engine.Send{Link: "up0", Src: netip.AddrPortFrom(from, 0), Dst: netip.MustParseAddrPort("192.0.2.9:434"), Data: []byte{1}}))
	}
	send(first)
	send(second)
	if a, b := s.Port("up0", first), s.Port("up0", second); a == 0 || a != b {
		t.Errorf("ports are %d and %d, want one and the same", a, b)
	}
	s.Addresses(engine.Link{Name: "up0", Addresses: []netip.Prefix{netip.PrefixFrom(second, 24)}})
	if s.Port("up0", first) != 0 || s.Port("up0", second) == 0 {
		t.Error("the socket of the address that went is still there, or the other is not")
	}
	if err := s.SendData(netip.AddrPortFrom(first, 0), agent, "up0", 0, [][]byte{{4}}); !errors.Is(err, ErrNoSocket) {
		t.Errorf("error is %v, want ErrNoSocket", err)
	}
}

func TestBroadcastsAreHeard(t *testing.T) {
	inNamespace(t)
	ha := newInbox()
	home, other := New(ha.receiver(), 0), New(newInbox().receiver(), 0)
	defer home.Close()
	defer other.Close()
	directed := netip.MustParseAddrPort("192.0.2.255:434")
	must(t, home.Listen(directed))
	must(t, other.Listen(directed)) // a second daemon may listen too
	must(t, home.Send(engine.Send{Link: "up0", Src: netip.MustParseAddrPort("192.0.2.2:0"), Dst: directed, Data: []byte{1}}))
	if p := await(t, "broadcast", ha.signals); p.Dst != directed {
		t.Errorf("the broadcast arrived as %+v", p)
	}
}

func TestSegmentsGroupsOnlyWhatTheKernelCanPart(t *testing.T) {
	sized := func(sizes ...int) (list [][]byte) {
		for _, n := range sizes {
			list = append(list, make([]byte, n))
		}
		return list
	}
	for _, c := range []struct {
		name  string
		batch [][]byte
		want  int
	}{
		{"one", sized(100), 1},
		{"equal", sized(100, 100, 100), 3},
		{"short last", sized(100, 100, 40), 3},
		{"nothing after a short one", sized(100, 40, 40), 2},
		{"longer starts anew", sized(100, 200), 1},
		{"no more than a datagram holds", sized(30000, 30000, 30000), 2},
		{"no more than the kernel's limit", sized(times(65, 10)...), 64},
	} {
		if got := segments(c.batch); got != c.want {
			t.Errorf("%s: %d together, want %d", c.name, got, c.want)
		}
	}
}

func times(n, size int) []int {
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = size
	}
	return sizes
}

// Who waits for datagrams until a deadline can tell that from a closed socket:
// one means to go on, the other to end.
func TestADeadlineIsNoClosedSocket(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	in, err := NewBatchReader(conn, 4, 2048)
	must(t, err)
	must(t, conn.SetReadDeadline(time.Unix(1, 0)))
	if _, err := in.Read(); !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
		t.Errorf("at the deadline the error is %v", err)
	}
	must(t, conn.Close())
	if _, err := in.Read(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("of a closed socket the error is %v", err)
	}
}

// A NAT's mapping that is dead is left by another port; the home agent sends to
// the former one until it knows.
func TestAFreshPortIsKeptAndTheFormerOneStillReceives(t *testing.T) {
	inNamespace(t)
	ha, mn := newInbox(), newInbox()
	home, mobile := New(ha.receiver(), 0), New(mn.receiver(), 0)
	defer home.Close()
	defer mobile.Close()
	must(t, home.Listen(agent))
	from := func(fresh bool) netip.AddrPort {
		must(t, mobile.Send(engine.Send{Link: "lo", Src: netip.AddrPortFrom(lo, 0), Dst: agent, Data: []byte{1}, Fresh: fresh}))
		return await(t, "request", ha.signals).Src
	}
	first, second := from(false), from(true)
	if first == second {
		t.Fatalf("both requests came from %v", first)
	}
	if again := from(false); again != second || mobile.Port("lo", lo) != second.Port() {
		t.Errorf("a later request came from %v, the fresh one from %v", again, second)
	}
	for _, to := range []netip.AddrPort{first, second} {
		must(t, home.SendData(agent, to, "", 0, [][]byte{{4, 4, 0, 0, 0x46}}))
		if d := await(t, "data", mn.data); d.Local != to {
			t.Errorf("data for %v arrived at %v", to, d.Local)
		}
	}
	must(t, mobile.SendData(netip.AddrPortFrom(lo, 0), agent, "lo", 0, [][]byte{{4, 4, 0, 0, 0x45}}))
	if d := await(t, "data", ha.data); d.From != second {
		t.Errorf("data left from %v", d.From)
	}
	// The third port closes the first one, and an address that is gone all.
	from(true)
	mobile.Addresses(engine.Link{Name: "lo"})
	if n := len(mobile.sockets) + len(mobile.former); n != 0 {
		t.Errorf("%d sockets are left on a link without addresses", n)
	}
}

// What leaves aside has a port of its own, which answers come to, and leaves that
// of the uplink alone. A fresh one closes the one before it.
func TestWhatLeavesAsideHasAnotherPort(t *testing.T) {
	inNamespace(t)
	ha, mn := newInbox(), newInbox()
	home, mobile := New(ha.receiver(), 0), New(mn.receiver(), 0)
	defer home.Close()
	defer mobile.Close()
	must(t, home.Listen(agent))
	from := func(aside, fresh bool) netip.AddrPort {
		must(t, mobile.Send(engine.Send{Link: "lo", Src: netip.AddrPortFrom(lo, 0), Dst: agent, Data: []byte{1}, Aside: aside, Fresh: fresh}))
		return await(t, "request", ha.signals).Src
	}
	own, first, second, third := from(false, false), from(true, true), from(true, false), from(true, true)
	if own == first || first != second || third == first || third == own {
		t.Errorf("from %v; aside from %v, %v, and fresh from %v", own, first, second, third)
	}
	if again := from(false, false); again != own || mobile.Port("lo", lo) != own.Port() {
		t.Errorf("the uplink's port was %v and is %v", own, again)
	}
	must(t, home.Send(engine.Send{Src: agent, Dst: third, Data: []byte{3}}))
	if p := await(t, "answer", mn.signals); p.Dst != third {
		t.Errorf("the answer arrived at %v", p.Dst)
	}
	if p := mobile.From("lo", lo, true); p != third.Port() {
		t.Errorf("the second port is said to be %d, and is %d", p, third.Port())
	}
	must(t, home.SendData(agent, third, "", 0, [][]byte{{4, 4, 0, 0, 1}}))
	must(t, home.SendData(agent, own, "", 0, [][]byte{{4, 4, 0, 0, 2}}))
	if d := await(t, "data", mn.data); d.Local != own {
		t.Errorf("data were taken at %v, where no tunnel is", d.Local)
	}
	if n := len(mobile.sockets); n != 2 {
		t.Errorf("%d sockets", n)
	}
	mobile.Addresses(engine.Link{Name: "lo"})
	if n := len(mobile.sockets); n != 0 {
		t.Errorf("%d sockets are left on a link without addresses", n)
	}
}

// Sockets that share a port are read side by side, each sender's messages in order,
// and nobody else takes a part of them.
func TestSocketsThatShareAPort(t *testing.T) {
	inNamespace(t)
	local := netip.MustParseAddrPort("198.51.100.1:434")
	const senders, each = 64, 20
	type message struct {
		from   uint16
		number byte
	}
	both := make(chan struct{}) // two readers have met
	meet := make(chan struct{})
	var alone atomic.Bool
	enough := sync.OnceFunc(func() { close(both) })
	got := make(chan message, senders*each)
	set := New(Receiver{Signal: func(p engine.Packet) {
		select {
		case <-both:
		case meet <- struct{}{}:
			<-both
		case <-meet:
			enough()
		case <-time.After(20 * time.Second):
			alone.Store(true)
			enough()
		}
		got <- message{p.Src.Port(), p.Data[1]}
	}}, 0)
	defer set.Close()
	must(t, set.ListenMany(local, 4))

	other := New(Receiver{}, 0)
	defer other.Close()
	if err := other.ListenMany(local, 4); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("another daemon at the same port: %v", err)
	}
	for range senders {
		c, err := net.Dial("udp4", local.String())
		must(t, err)
		defer c.Close()
		for k := range each {
			_, err := c.Write([]byte{1, byte(k)})
			must(t, err)
		}
	}
	next := make(map[uint16]byte)
	for range senders * each {
		m := await(t, "a message", got)
		if m.number != next[m.from] {
			t.Fatalf("from port %d came %d, want %d", m.from, m.number, next[m.from])
		}
		next[m.from]++
	}
	if alone.Load() {
		t.Error("one reader has read everything")
	}
	must(t, set.Send(engine.Send{Src: local, Dst: netip.MustParseAddrPort("198.51.100.1:9"), Data: []byte{3}}))
}
