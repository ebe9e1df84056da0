package firewall_test

import (
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/host/firewall"
	"careof/internal/host/plane/nstest"
)

// A TCP connection through the device has segments that fit there, though
// neither end knows; one beside it keeps its own.
func TestConnectionsThroughTheDeviceHaveSegmentsThatFit(t *testing.T) {
	a, r, b := nstest.New(t, "left"), nstest.New(t, "router"), nstest.New(t, "right")
	nstest.Join(t, a, "eth0", r, "careof7", 1500)
	nstest.Join(t, r, "eth1", b, "eth0", 1500)
	a.Address("eth0", "192.0.2.1/24")
	r.Address("careof7", "192.0.2.2/24")
	r.Address("eth1", "198.51.100.2/24")
	b.Address("eth0", "198.51.100.1/24")
	a.Route("0.0.0.0/0", "192.0.2.2", "eth0", "")
	b.Route("0.0.0.0/0", "198.51.100.2", "eth0", "")
	r.Sysctl("net/ipv4/ip_forward", 1)
	var fw *firewall.Firewall
	r.Do(func() {
		var err error
		if fw, err = firewall.Open("careof7"); err != nil {
			t.Fatal(err)
		}
	})
	defer fw.Close()
	clamp := func(mtu int) {
		t.Helper()
		fw.SetClamp(mtu)
		if _, err := fw.Reconcile(); err != nil {
			t.Fatal(err)
		}
		if changed, err := fw.Reconcile(); changed || err != nil {
			t.Errorf("clamped to %d: reconciling what is in place: changed %v, %v", mtu, changed, err)
		}
	}
	const untouched = 1448 // 1500 less headers and the timestamp option
	clamp(0)
	if near, far := segments(t, a, b, "198.51.100.1"); near != untouched || far != untouched {
		t.Fatalf("segments of %d and %d octets without a clamp, want %d: this test shows nothing", near, far, untouched)
	}
	clamp(1124)
	const want = 1124 - 40 - 12
	if near, far := segments(t, a, b, "198.51.100.1"); near != want || far != want {
		t.Errorf("forwarded: segments of %d and %d octets, want %d", near, far, want)
	}
	if near, far := segments(t, r, a, "192.0.2.1"); near != want || far != want {
		t.Errorf("of the host's own, outwards: segments of %d and %d octets, want %d", near, far, want)
	}
	if near, far := segments(t, a, r, "192.0.2.2"); near != want || far != want {
		t.Errorf("of the host's own, inwards: segments of %d and %d octets, want %d", near, far, want)
	}
	if near, far := segments(t, r, b, "198.51.100.1"); near != untouched || far != untouched {
		t.Errorf("beside the device: segments of %d and %d octets, want %d", near, far, untouched)
	}
	clamp(60) // what nobody must be told
	if near, _ := segments(t, a, b, "198.51.100.1"); near < 500 {
		t.Errorf("clamped to segments of %d octets", near)
	}
	if err := fw.Remove(); err != nil {
		t.Fatal(err)
	}
	if near, far := segments(t, a, b, "198.51.100.1"); near != untouched || far != untouched {
		t.Errorf("after removal: segments of %d and %d octets, want %d", near, far, untouched)
	}
	if changed, err := fw.Reconcile(); !changed || err != nil {
		t.Errorf("somebody's removal was not repaired: %v, %v", changed, err)
	}
}

// segments opens a connection and tells what each end will send at most.
func segments(t *testing.T, from, to *nstest.Node, address string) (near, far int) {
	t.Helper()
	var l net.Listener
	to.Do(func() {
		var err error
		if l, err = net.Listen("tcp4", address+":0"); err != nil {
			t.Fatal(err)
		}
	})
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			close(accepted)
			return
		}
		accepted <- c
	}()
	var c net.Conn
	from.Do(func() {
		var err error
		if c, err = net.DialTimeout("tcp4", l.Addr().String(), 10*time.Second); err != nil {
			t.Fatal(err)
		}
	})
	defer c.Close()
	other, ok := <-accepted
	if !ok {
		t.Fatal("not accepted")
	}
	defer other.Close()
	return segment(t, c), segment(t, other)
}

func segment(t *testing.T, c net.Conn) (size int) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) { size, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	return size
}
