package bpf_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/host/clock"
	"careof/internal/host/plane/bpf"
	"careof/internal/host/plane/nstest"
	"careof/internal/host/plane/planetest"
	"careof/internal/host/sock"
	"careof/wire/encap"
)

// childPins is the variable that makes a test process the home agent of
// TestKilled: file descriptor 3 is its network namespace.
const childPins = "CAREOF_TEST_PINS"

func TestMain(m *testing.M) {
	if pins := os.Getenv(childPins); pins != "" {
		if err := agent(pins); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// agent is a home agent with one binding that waits to be killed.
func agent(pins string) error {
	runtime.LockOSThread()
	if err := netns.Set(netns.NsHandle(3)); err != nil {
		return err
	}
	set := sock.New(sock.Receiver{Signal: func(engine.Packet) {}, Data: func([]sock.Data) {}}, 0)
	p, err := pinned(pins)(nil, planetest.Config{MTU: 1420, Datagrams: set, Underlays: []string{"wan0"}})
	if err != nil {
		return err
	}
	if err := p.Apply(context.Background(), []forward.Change{{Op: forward.Put, Entry: bound(time.Hour)}}); err != nil {
		return err
	}
	fmt.Println("ready")
	select {}
}

func pinned(pins string) planetest.Open {
	return opener(true, func(c *bpf.Config) { c.Pins = pins })
}

// bound is the home agent's entry in these tests.
func bound(life time.Duration) forward.Entry {
	t := planetest.AtAgent(forward.Tunnel{Encap: encap.IPIP})
	t.Until = clock.Mono().Add(life)
	return planetest.AgentEntry(t)
}

// stream sends numbered datagrams to the home address, one every fifth of a
// millisecond, until it is told to end, and then tells which did not arrive.
type stream struct {
	conn net.PacketConn
	end  chan struct{}
	sent chan uint32
	t    *testing.T
}

func startStream(t *testing.T, s *planetest.Scene) *stream {
	t.Helper()
	x := &stream{end: make(chan struct{}), sent: make(chan uint32, 1), t: t}
	s.MN.Do(func() {
		var err error
		if x.conn, err = net.ListenPacket("udp4", netip.AddrPortFrom(planetest.Home, 3000).String()); err != nil {
			t.Error(err)
		}
	})
	// Nobody reads before the end, however long that takes.
	raw, err := x.conn.(*net.UDPConn).SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 256<<20) })
	}
	if err != nil {
		t.Fatal(err)
	}
	var out net.Conn
	s.CN.Do(func() {
		var err error
		if out, err = net.Dial("udp4", x.conn.LocalAddr().String()); err != nil {
			t.Error(err)
		}
	})
	go func() {
		defer out.Close()
		tick := time.NewTicker(200 * time.Microsecond)
		defer tick.Stop()
		for n := uint32(0); ; n++ {
			select {
			case <-x.end:
				x.sent <- n
				return
			case <-tick.C:
				out.Write([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
			}
		}
	}()
	return x
}

// stop ends the stream and returns how many were sent and how many are lost.
func (x *stream) stop() (sent, lost int) {
	x.t.Helper()
	defer x.conn.Close()
	close(x.end)
	sent = int(<-x.sent)
	seen := make(map[uint32]bool)
	buf := make([]byte, 16)
	for len(seen) < sent {
		x.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, _, err := x.conn.ReadFrom(buf)
		if err != nil || n != 4 {
			break
		}
		seen[uint32(buf[0])<<24|uint32(buf[1])<<16|uint32(buf[2])<<8|uint32(buf[3])] = true
	}
	return sent, sent - len(seen)
}

// warm resolves the neighbours on the way.
func warm(t *testing.T, s *planetest.Scene) {
	t.Helper()
	planetest.Transfer(t, s.CN, planetest.Correspondent, s.MN, planetest.Home, 1<<16)
}

// A planned restart loses no packet: programs and maps are pinned, the next
// process takes them over, and what was applied before is not written again.
func TestRestartLosesNothing(t *testing.T) {
	pins := nstest.BPFFS(t)
	s := planetest.NewScene(t, pinned(pins), 1420)
	s.Bind(t, forward.Tunnel{Encap: encap.IPIP})
	planetest.Put(t, s.Agent, bound(time.Hour))
	warm(t, s)
	before := s.Agent.Counters(planetest.AgentKey)
	x := startStream(t, s)
	for range 5 {
		if err := s.Agent.Close(); err != nil {
			t.Fatal(err)
		}
		s.Agent, _ = s.NewEnd(t, s.HA, planetest.Config{MTU: 1420, Underlays: []string{"wan0"}})
		p := s.Agent.(end)
		if got := p.Status(); got.Left == 0 { // the binding, and what the suite sets aside
			t.Errorf("status before the entries are applied: %+v", got)
		}
		planetest.Put(t, s.Agent, bound(time.Hour))
		if err := p.Reconcile(); err != nil {
			t.Fatal(err)
		}
	}
	sent, lost := x.stop()
	if lost != 0 || sent < 100 {
		t.Errorf("%d of %d packets were lost in five restarts", lost, sent)
	}
	if after := s.Agent.Counters(planetest.AgentKey); after.SentPackets < before.SentPackets+uint64(sent) {
		t.Errorf("counters began anew: %d packets before, %d after %d more", before.SentPackets, after.SentPackets, sent)
	}
}

// Both directions' counters outlive the process, also those of packets that
// user space sent, as it does on virtual Ethernet.
func TestCountersOutliveTheProcess(t *testing.T) {
	pins := nstest.BPFFS(t)
	s := planetest.NewScene(t, opener(true, func(c *bpf.Config) { c.Pins, c.AvoidVirtual = pins, true }), 1420)
	s.Bind(t, forward.Tunnel{Encap: encap.IPIP})
	planetest.Put(t, s.Agent, bound(time.Hour))
	for range 2 {
		if err := s.Agent.(end).Attend(true); err != nil {
			t.Fatal(err)
		}
		warm(t, s)
		before := s.Agent.Counters(planetest.AgentKey)
		if slow := s.Agent.(end).slow.Counters(planetest.AgentKey); slow.SentPackets == 0 || before.SentPackets < slow.SentPackets || before.ReceivedPackets == 0 {
			t.Fatalf("of %+v user space counted %+v: there is nothing to keep", before, slow)
		}
		if err := s.Agent.Close(); err != nil {
			t.Fatal(err)
		}
		s.Agent, _ = s.NewEnd(t, s.HA, planetest.Config{MTU: 1420, Underlays: []string{"wan0"}})
		planetest.Put(t, s.Agent, bound(time.Hour))
		// The last acknowledgements may have been on their way.
		after := s.Agent.Counters(planetest.AgentKey)
		if after.SentPackets < before.SentPackets || after.SentPackets > before.SentPackets+100 || after.ReceivedPackets < before.ReceivedPackets || after.ReceivedPackets > before.ReceivedPackets+100 {
			t.Errorf("counted were %+v before, %+v after", before, after)
		}
	}
}

// A daemon that is killed leaves its programs forwarding, and the next one
// finds its entries, keeps those that are wanted and removes the rest.
func TestKilled(t *testing.T) {
	pins := nstest.BPFFS(t)
	s := planetest.NewScene(t, opener(false, nil), 1420)
	s.Bind(t, forward.Tunnel{Encap: encap.IPIP})
	// The scene's own agent makes way for a process.
	if err := s.Agent.Close(); err != nil {
		t.Fatal(err)
	}
	ns, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", int(s.HA.NS)))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	child := exec.Command("/proc/self/exe")
	child.Env = append(os.Environ(), childPins+"="+pins)
	child.ExtraFiles = []*os.File{ns}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	defer func() {
		if !ended {
			child.Process.Kill()
			child.Wait()
		}
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the agent says %q, %v", line, err)
	}
	s.HA.Route("10.10.0.0/24", "", planetest.Device, "")
	warm(t, s)
	x := startStream(t, s)
	if err := child.Process.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	child.Wait()
	ended = true
	// TCP needs both directions.
	planetest.Transfer(t, s.CN, planetest.Correspondent, s.MN, planetest.Home, 16<<20)

	var next planetest.Plane
	s.HA.Do(func() {
		set := sock.New(sock.Receiver{Signal: func(engine.Packet) {}, Data: func([]sock.Data) {}}, 0)
		var err error
		next, err = pinned(pins)(t, planetest.Config{MTU: 1420, Datagrams: set, Underlays: []string{"wan0"}})
		if err != nil {
			t.Error(err)
		}
	})
	defer removeDevice(t, s.HA)
	defer func() { next.Close() }()
	got := slices.Collect(next.List(context.Background()))
	if want := bound(time.Hour); len(got) != 1 || got[0].Key != want.Key || got[0].Inner != want.Inner || len(got[0].Tunnels) != 1 ||
		got[0].Tunnels[0].Peer.Addr() != planetest.CareOf || got[0].Tunnels[0].Until.Sub(want.Tunnels[0].Until).Abs() > time.Minute {
		t.Errorf("the next one lists %+v", got)
	}
	planetest.Put(t, next, bound(time.Hour))
	if err := next.(end).Reconcile(); err != nil {
		t.Fatal(err)
	}
	planetest.Transfer(t, s.CN, planetest.Correspondent, s.MN, planetest.Home, 1<<20)
	if sent, lost := x.stop(); lost != 0 || sent < 100 {
		t.Errorf("%d of %d packets were lost", lost, sent)
	}
	// One more restart, and nobody wants the entry any more.
	if err := next.Close(); err != nil {
		t.Fatal(err)
	}
	s.HA.Do(func() {
		set := sock.New(sock.Receiver{Signal: func(engine.Packet) {}, Data: func([]sock.Data) {}}, 0)
		var err error
		if next, err = pinned(pins)(t, planetest.Config{MTU: 1420, Datagrams: set, Underlays: []string{"wan0"}}); err != nil {
			t.Error(err)
		}
	})
	if err := next.(end).Reconcile(); err != nil {
		t.Fatal(err)
	}
	if got := slices.Collect(next.List(context.Background())); len(got) != 0 {
		t.Errorf("left after reconciliation: %+v", got)
	}
	// And what the plane leaves can be taken away.
	next.Close()
	s.HA.Do(func() {
		if err := bpf.Remove(pins, planetest.Device); err != nil {
			t.Error(err)
		}
	})
	files, err := os.ReadDir(pins)
	for _, f := range files {
		if f.IsDir() {
			t.Errorf("still pinned: %v, %v", f, err)
		}
	}
}

// What user space had to say to senders, since a router said that a node is out of
// reach or its path narrow, nobody says any more: packets go on.
func TestNobodyIsLeftToTellSenders(t *testing.T) {
	pins := nstest.BPFFS(t)
	s := planetest.NewScene(t, pinned(pins), 1420)
	s.Bind(t, forward.Tunnel{Encap: encap.IPIP})
	planetest.Put(t, s.Agent, bound(time.Hour))
	warm(t, s)
	p := s.Agent.(end)
	p.Heed(planetest.AgentKey, 0, clock.Mono().Add(time.Hour))
	p.Heed(planetest.AgentKey, 576, clock.Mono().Add(time.Hour))
	if err := s.Agent.Close(); err != nil {
		t.Fatal(err)
	}
	wire := s.R.Packets("eth0")
	for end := time.Now().Add(20 * time.Second); ; {
		planetest.SendRaw(t, s.CN, planetest.UDPPacket(planetest.Correspondent, planetest.Home, 1000))
		for p := wire(); p != nil; p = wire() {
			if p[0]>>4 == 4 && p[9] == uint8(encap.IPIP) {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatal("nothing is forwarded without the daemon")
		}
	}
}

// A dead daemon's tunnels end when they should.
func TestEndWithoutADaemon(t *testing.T) {
	pins := nstest.BPFFS(t)
	s := planetest.NewScene(t, pinned(pins), 1420)
	s.Bind(t, forward.Tunnel{Encap: encap.IPIP})
	warm(t, s)
	wire := s.R.Packets("eth0")
	forwarded := func() bool {
		planetest.SendRaw(t, s.CN, planetest.UDPPacket(planetest.Correspondent, planetest.Home, 10))
		for p := wire(); p != nil; p = wire() {
			if p[0]>>4 == 4 && p[9] == uint8(encap.IPIP) {
				return true
			}
		}
		return false
	}
	// On a busy machine a short life may be over before it is looked at.
	for life := time.Second; ; life *= 2 {
		e := bound(life)
		planetest.Put(t, s.Agent, e)
		if err := s.Agent.Close(); err != nil {
			t.Fatal(err)
		}
		if forwarded() {
			break
		}
		if clock.Mono().Before(e.Tunnels[0].Until) || life > 10*time.Second {
			t.Fatalf("not forwarded within a life of %v", life)
		}
		s.Agent, _ = s.NewEnd(t, s.HA, planetest.Config{MTU: 1420, Underlays: []string{"wan0"}})
	}
	for end := time.Now().Add(30 * time.Second); forwarded(); {
		if time.Now().After(end) {
			t.Fatal("forwarded after its end")
		}
	}
}

func removeDevice(t *testing.T, n *nstest.Node) {
	if l, err := n.H.LinkByName(planetest.Device); err == nil {
		n.H.LinkDel(l)
	}
}
