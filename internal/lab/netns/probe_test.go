package netns

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func intact(t *testing.T, r TransferResult, up, down int64) {
	t.Helper()
	if r.Err != nil || r.Resets != 0 {
		t.Errorf("resets %d, error %v", r.Resets, r.Err)
	}
	for _, d := range []struct {
		name string
		Direction
		want int64
	}{{"up", r.Up, up}, {"down", r.Down, down}} {
		if !d.Intact || d.Received != d.want {
			t.Errorf("%s: intact %v, %d octets of %d sent, want %d", d.name, d.Intact, d.Received, d.Sent, d.want)
		}
	}
}

func TestTCPTransferArrivesWholeOverALossyLink(t *testing.T) {
	p := newPair(t, Conditions{Delay: 2 * time.Millisecond, Jitter: time.Millisecond, Reorder: true, Loss: 0.005, Duplicate: 0.005})
	transfer := must(StartTransfer(within(t), TransferConfig{
		Client: p.a, Server: p.b, Listen: endpoint("10.0.0.2:80"), Up: 300_000, Down: 200_000,
	}))(t)
	r := transfer.Wait(within(t))
	intact(t, r, 300_000, 200_000)
	if r.Up.Hash == r.Down.Hash || len(r.Up.Hash) != 64 {
		t.Error("hashes ", r.Up.Hash, r.Down.Hash)
	}
}

func TestTCPTransferCountsAReset(t *testing.T) {
	p := newPair(t, Conditions{})
	transfer := must(StartTransfer(within(t), TransferConfig{
		Client: p.a, Server: p.b, Listen: endpoint("10.0.0.2:80"), Up: -1, Rate: 8_000_000,
	}))(t)
	for transfer.up.received.Load() == 0 {
		pause(t.Context(), time.Millisecond)
	}
	// Another machine takes the server's place: it does not know the connection.
	p.pb.Move(nil)
	other := must(p.network.NewNode("other", NodeConfig{}))(t)
	must(other.Attach(p.segment, "eth0", PortConfig{MAC: p.pb.MAC(), Addresses: []netip.Prefix{prefix("10.0.0.2/24")}}))(t)
	r := transfer.Wait(within(t))
	if r.Resets != 1 || r.Err == nil || r.Up.Intact {
		t.Errorf("resets %d, error %v, intact %v", r.Resets, r.Err, r.Up.Intact)
	}
}

func TestStoppedTransferEndsClean(t *testing.T) {
	p := newPair(t, Conditions{})
	transfer := must(StartTransfer(within(t), TransferConfig{
		Client: p.a, Server: p.b, Listen: endpoint("10.0.0.2:80"), Up: -1, Down: -1, Rate: 4_000_000,
	}))(t)
	for {
		if up, down := transfer.Received(); up > 0 && down > 0 {
			break
		}
		pause(t.Context(), time.Millisecond)
	}
	transfer.Stop()
	r := transfer.Wait(within(t))
	intact(t, r, r.Up.Sent, r.Down.Sent)
}

// settled waits until the record of a stream satisfies a condition.
func settled(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatal("never: ", what)
		}
		pause(t.Context(), 5*time.Millisecond)
	}
}

func TestStreamReportsAGapInBothDirections(t *testing.T) {
	p := newPair(t, Conditions{Delay: 2 * time.Millisecond})
	s := must(StartStream(StreamConfig{Client: p.a, Server: p.b, Listen: endpoint("10.0.0.2:5000")}))(t)
	count := func(d *StreamDirection) int { return len(d.Arrivals()) }
	settled(t, "50 packets each way", func() bool { return count(s.Up()) > 50 && count(s.Down()) > 50 })
	cut := time.Now()
	p.segment.SetUp(false)
	pause(t.Context(), 150*time.Millisecond)
	p.segment.SetUp(true)
	joined := time.Now()
	up, down := count(s.Up()), count(s.Down())
	settled(t, "50 more packets each way", func() bool { return count(s.Up()) > up+50 && count(s.Down()) > down+50 })
	s.Stop(50 * time.Millisecond)
	for name, d := range map[string]*StreamDirection{"up": s.Up(), "down": s.Down()} {
		gap, at := d.GapAround(cut, joined.Sub(cut))
		if gap < 140*time.Millisecond || gap > 150*time.Millisecond+joined.Sub(cut) {
			t.Errorf("%s: the gap is %s; the cut lasted %s", name, gap, joined.Sub(cut))
		}
		if at.After(joined) {
			t.Errorf("%s: the gap starts after the cut", name)
		}
		w := d.Window(cut, joined)
		if w.Lost == 0 || w.Lost > w.Sent || w.Duplicates != 0 {
			t.Errorf("%s: %+v", name, w)
		}
		after := d.Window(joined, time.Now().Add(time.Hour))
		if after.Sent < 50 || after.Lost != 0 {
			t.Errorf("%s, afterwards: %+v", name, after)
		}
	}
}

func TestStreamCountsDuplicatesAndLoss(t *testing.T) {
	p := newPair(t, Conditions{})
	s := must(StartStream(StreamConfig{Client: p.a, Server: p.b, Listen: endpoint("10.0.0.2:5000"), Interval: time.Millisecond}))(t)
	settled(t, "an arrival each way", func() bool { return len(s.Up().Arrivals()) > 0 && len(s.Down().Arrivals()) > 0 })
	p.pa.SetConditions(Conditions{Duplicate: 1})
	p.pb.SetConditions(Conditions{Loss: 0.5})
	from := time.Now()
	settled(t, "200 arrivals", func() bool { return len(s.Up().Arrivals()) > 200 && s.Down().Window(from, time.Now()).Sent > 100 })
	to := time.Now()
	p.segment.SetConditions(Conditions{})
	s.Stop(50 * time.Millisecond)
	if w := s.Up().Window(from, to); w.Duplicates < w.Sent*9/10 || w.Lost != 0 {
		t.Errorf("every packet was doubled: %+v", w)
	}
	if w := s.Down().Window(from, to); w.Lost < w.Sent/4 || w.Lost > w.Sent*3/4 || w.Duplicates != 0 {
		t.Errorf("half of the packets were lost: %+v", w)
	}
}

func setOption(t *testing.T, conn *net.UDPConn, option, value int) {
	t.Helper()
	raw := must(conn.SyscallConn())(t)
	var failure error
	ok(t, raw.Control(func(fd uintptr) { failure = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, option, value) }))
	ok(t, failure)
}

func setDF(t *testing.T, conn *net.UDPConn) {
	setOption(t, conn, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
}

func optionOf(conn *net.UDPConn, option int) (value int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failure error
	err = raw.Control(func(fd uintptr) { value, failure = unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, option) })
	if err == nil {
		err = failure
	}
	return value, err
}

func packetConn(fd int) (net.PacketConn, error) {
	file := os.NewFile(uintptr(fd), "icmp")
	defer file.Close()
	return net.FilePacketConn(file)
}
