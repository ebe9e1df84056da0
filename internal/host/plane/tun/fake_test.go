package tun

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/internal/host/sock"
	"careof/wire/encap"
)

// fakeDevice is a TUN device whose packets the test holds.
type fakeDevice struct {
	in     chan [][]byte // batches for Read
	out    chan []byte   // packets that were written
	closed chan struct{}
	once   sync.Once
}

func (d *fakeDevice) read(in *intake) error {
	in.reset()
	select {
	case batch := <-d.in:
		for _, p := range batch {
			in.took(frame(in.next(), make([]byte, virtualHeader), p))
		}
		return nil
	case <-d.closed:
		return os.ErrClosed
	}
}

// frame writes a packet behind its virtual header, as the kernel does.
func frame(dst, virtual, packet []byte) int {
	return copy(dst, append(append([]byte(nil), virtual...), packet...))
}

// write cuts trains into the packets that the kernel would make of them.
func (d *fakeDevice) write(trains []train) error {
	for i := range trains {
		t := &trains[i]
		t.finish()
		all := append([]byte(nil), t.packet...)
		for _, r := range t.rest {
			all = append(all, r...)
		}
		if t.size == 0 {
			d.out <- all
			continue
		}
		eachPart(all, t.flow, t.size, make([]byte, maxPacket), func(p []byte) { d.out <- append([]byte(nil), p...) })
	}
	return nil
}

func (d *fakeDevice) alive() bool { return true }

func (d *fakeDevice) finish() { d.Close() }

func (d *fakeDevice) Close() error { d.once.Do(func() { close(d.closed) }); return nil }

// fakeRaw is raw sockets that the test holds.
type fakeRaw struct {
	out    chan []byte
	closed chan struct{}
	once   sync.Once
	mtu    int
	gone   string // the name of a link that is not there
}

func (r *fakeRaw) send(packets []ipv4.Message) int {
	for _, m := range packets {
		r.out <- append([]byte(nil), m.Buffers[0]...)
	}
	return 0
}
func (r *fakeRaw) receive(int, func(*batch)) { <-r.closed }
func (r *fakeRaw) link(name string, _ netip.Addr) (int, int, error) {
	if name != "" && name == r.gone {
		return 0, 0, fmt.Errorf("link %s: %w", name, unix.ENODEV)
	}
	return 2, r.mtu, nil
}
func (r *fakeRaw) close() error { r.once.Do(func() { close(r.closed) }); return nil }

// sentData is what went to a UDP socket.
type sentData struct {
	local, peer netip.AddrPort
	link        string
	tos         uint8
	messages    [][]byte
}

type fakeDatagrams chan sentData

func (f fakeDatagrams) SendData(local, peer netip.AddrPort, link string, tos uint8, messages [][]byte) error {
	d := sentData{local: local, peer: peer, link: link, tos: tos}
	for _, m := range messages {
		d.messages = append(d.messages, append([]byte(nil), m...))
	}
	f <- d
	return nil
}

func (f fakeDatagrams) SendTrain(local, peer netip.AddrPort, link string, tos uint8, size int, pieces [][]byte) error {
	var all []byte
	for _, p := range pieces {
		all = append(all, p...)
	}
	var messages [][]byte
	for len(all) > 0 {
		n := min(size, len(all))
		messages, all = append(messages, all[:n]), all[n:]
	}
	return f.SendData(local, peer, link, tos, messages)
}

// bench is a plane on fakes and a clock that stands still.
type bench struct {
	*testing.T
	p   *Plane
	dev *fakeDevice
	raw *fakeRaw
	udp fakeDatagrams

	mu  sync.Mutex
	now time.Time
}

func newBench(t *testing.T) *bench { return newBenchWith(t, nil) }

func newBenchWith(t *testing.T, secret *Secret) *bench {
	b := &bench{
		T:   t,
		dev: &fakeDevice{in: make(chan [][]byte), out: make(chan []byte, 4096), closed: make(chan struct{})},
		raw: &fakeRaw{out: make(chan []byte, 4096), closed: make(chan struct{}), mtu: 1500},
		udp: make(fakeDatagrams, 4096),
		now: time.Unix(5000, 0),
	}
	var err error
	b.p, err = New(Config{
		Device: b.dev, Datagrams: b.udp, HomeNetworks: []netip.Prefix{network},
		Identities: []netip.Addr{netip.MustParseAddr("203.0.113.9")},
		Clock:      b.clock, raw: b.raw, Secret: secret,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.p.Close() })
	return b
}

func (b *bench) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bench) wait(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func (b *bench) put(e forward.Entry) {
	b.Helper()
	if err := b.p.Apply(context.Background(), []forward.Change{{Op: forward.Put, Entry: e}}); err != nil {
		b.Fatal(err)
	}
}

// agentEntry is a home agent's entry for the home address.
func agentEntry(tunnels ...forward.Tunnel) forward.Entry {
	return forward.Entry{Key: "mn", Role: forward.HomeAgent, Inner: netip.PrefixFrom(homeAddr, 32), Tunnels: tunnels}
}

func mobileEntry(tunnels ...forward.Tunnel) forward.Entry {
	return forward.Entry{Key: "home", Role: forward.MobileNode, Inner: netip.PrefixFrom(homeAddr, 32), Tunnels: tunnels}
}

// toCareOf is the home agent's tunnel to the care-of address.
func toCareOf(t forward.Tunnel) forward.Tunnel {
	t.Local = netip.AddrPortFrom(haAddr, encap.Port)
	if !t.Peer.IsValid() {
		t.Peer = netip.AddrPortFrom(careOf, mnPort)
	}
	return t
}

// fromKernel lets the kernel route packets to the device, and waits until the
// plane has dealt with them: the device is read again only then.
func (b *bench) fromKernel(packets ...[]byte) {
	b.Helper()
	b.dev.in <- packets
	b.dev.in <- nil
}

// fromNetwork lets a tunnel packet arrive, as the raw socket or the UDP socket
// would hand it up.
func (b *bench) fromNetwork(h encap.Header, inner []byte) {
	b.Helper()
	if h.Kind == encap.UDP {
		m, err := encap.AppendTunnelData(nil, &h, inner)
		if err != nil {
			b.Fatal(err)
		}
		b.p.Deliver([]sock.Data{{
			Local: netip.AddrPortFrom(h.Dst, h.DstPort), From: netip.AddrPortFrom(h.Src, h.SrcPort),
			Link: "eth0", TOS: h.TOS, Message: m,
		}})
		return
	}
	outer, err := encap.Append(nil, &h, inner)
	if err != nil {
		b.Fatal(err)
	}
	b.rawPacket(outer)
}

func (b *bench) rawPacket(outer []byte) {
	x := newBatch(1)
	n := copy(x.bufs[0][headroom:], outer)
	x.packets[0], x.n = x.bufs[0][headroom:headroom+n], 1
	b.p.rawPackets(x)
}

// none fails when the channel holds something.
func none[T any](b *bench, what string, c <-chan T) {
	b.Helper()
	select {
	case v := <-c:
		b.Fatalf("%s: %v", what, v)
	default:
	}
}

// one takes what must be in the channel.
func one[T any](b *bench, what string, c <-chan T) T {
	b.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		b.Fatalf("no %s", what)
	}
	panic("unreachable")
}

// udpPacket is an IPv4 packet with n octets in a UDP datagram.
func udpPacket(src, dst netip.Addr, n int, change ...func(*encap.IPv4)) []byte {
	h := encap.IPv4{TTL: 64, ID: 77}
	for _, c := range change {
		c(&h)
	}
	p, err := encap.AppendUDP(nil, h, netip.AddrPortFrom(src, 1000), netip.AddrPortFrom(dst, 2000), make([]byte, n))
	if err != nil {
		panic(err)
	}
	return p
}

func setDF(h *encap.IPv4)               { h.DF = true }
func setTOS(v uint8) func(*encap.IPv4)  { return func(h *encap.IPv4) { h.TOS = v } }
func id16(b []byte) (id uint16)         { return binary.BigEndian.Uint16(b[4:]) }
func icmpOf(p []byte) (kind, code byte) { return p[20], p[21] }

var (
	haAddr   = netip.MustParseAddr("192.0.2.1")
	careOf   = netip.MustParseAddr("198.51.100.10")
	homeAddr = netip.MustParseAddr("10.10.0.5")
	cnAddr   = netip.MustParseAddr("10.9.0.2")
	network  = netip.MustParsePrefix("10.10.0.0/24")
)

const mnPort = 41000

// shapes are the tunnels of the four encapsulations.
var shapes = []struct {
	name string
	t    forward.Tunnel
}{
	{"ipip", forward.Tunnel{Encap: encap.IPIP}},
	{"gre", forward.Tunnel{Encap: encap.GRE}},
	{"gre-key", forward.Tunnel{Encap: encap.GRE, HasKey: true, Key: 0xfeedface}},
	{"minimal", forward.Tunnel{Encap: encap.Minimal}},
	{"udp", forward.Tunnel{Encap: encap.UDP}},
	{"udp-gre-key", forward.Tunnel{Encap: encap.UDP, Inside: encap.GRE, HasKey: true, Key: 7}},
	{"udp-minimal", forward.Tunnel{Encap: encap.UDP, Inside: encap.Minimal}},
}

func put(t testing.TB, p *Plane, e forward.Entry) {
	t.Helper()
	if err := p.Apply(context.Background(), []forward.Change{{Op: forward.Put, Entry: e}}); err != nil {
		t.Error(err)
	}
}
