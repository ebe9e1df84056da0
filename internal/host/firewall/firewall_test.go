package firewall_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/host/firewall"
	"careof/internal/host/plane/nstest"
	"careof/wire/encap"
)

var (
	victim   = netip.MustParseAddr("192.0.2.1")
	stranger = netip.MustParseAddr("192.0.2.2")
)

// packets are what a scanner sends, by name; the last ones deserve an answer.
func packets(t *testing.T) (silent, answered map[string][]byte) {
	t.Helper()
	inner := datagram(t, 1000, 2000)
	tunnel := func(kind encap.Kind) []byte {
		p, err := encap.Append(nil, &encap.Header{Kind: kind, Src: stranger, Dst: victim}, inner)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	sixInFour, err := encap.AppendIPv4(nil, &encap.IPv4{TTL: 64, Protocol: 41, Src: stranger, Dst: victim}, 40)
	if err != nil {
		t.Fatal(err)
	}
	other, err := encap.AppendIPv4(nil, &encap.IPv4{TTL: 64, Protocol: 200, Src: stranger, Dst: victim}, 40)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
			"IP-in-IP":              tunnel(encap.IPIP),
			"GRE":                   tunnel(encap.GRE),
			"minimal encapsulation": tunnel(encap.Minimal),
			"IPv6 in IPv4":          append(sixInFour, make([]byte, 40)...),
			"UDP to port 434":       datagram(t, 5000, 434),
			"UDP from port 434":     datagram(t, 434, 5000),
		}, map[string][]byte{
			"another UDP port": datagram(t, 5000, 435),
			"another protocol": append(other, make([]byte, 40)...),
		}
}

func datagram(t *testing.T, from, to uint16) []byte {
	t.Helper()
	p, err := encap.AppendUDP(nil, encap.IPv4{TTL: 64}, netip.AddrPortFrom(stranger, from), netip.AddrPortFrom(victim, to), []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// With the table in place, and no daemon at all, tunnel packets get no answer;
// what has nothing to do with tunnels gets its own as before.
func TestSilenceWithoutADaemon(t *testing.T) {
	a, b := nstest.New(t, "victim"), nstest.New(t, "stranger")
	nstest.Join(t, a, "eth0", b, "eth0", 1500)
	a.Address("eth0", "192.0.2.1/24")
	b.Address("eth0", "192.0.2.2/24")
	var fw *firewall.Firewall
	a.Do(func() {
		var err error
		if fw, err = firewall.Open("careof0"); err != nil {
			t.Error(err)
		}
	})
	defer fw.Close()
	silent, answered := packets(t)

	for name, p := range silent {
		if !ask(t, b, p) {
			t.Errorf("%s: no answer even without the table: this test shows nothing", name)
		}
	}
	if changed, err := fw.Reconcile(); !changed || err != nil {
		t.Fatalf("first reconciliation: changed %v, %v", changed, err)
	}
	if changed, err := fw.Reconcile(); changed || err != nil {
		t.Errorf("reconciling what is in place: changed %v, %v", changed, err)
	}
	for name, p := range silent {
		if ask(t, b, p) {
			t.Errorf("%s was answered", name)
		}
	}
	for name, p := range answered {
		if !ask(t, b, p) {
			t.Errorf("%s was not answered any more", name)
		}
	}
	if err := fw.Remove(); err != nil {
		t.Fatal(err)
	}
	if ok, err := fw.Installed(); ok || err != nil {
		t.Errorf("installed %v after removal, %v", ok, err)
	}
	if changed, err := fw.Reconcile(); !changed || err != nil {
		t.Errorf("somebody's removal was not repaired: %v, %v", changed, err)
	}
	if ask(t, b, silent["GRE"]) {
		t.Error("answered after the repair")
	}
}

// identification is that of the packet that was sent last.
var identification uint16

// ask sends a packet, and behind it one that is always answered, and reports
// whether an ICMP error about the first came back before the second's.
func ask(t *testing.T, from *nstest.Node, p []byte) (answered bool) {
	t.Helper()
	behind := datagram(t, 5000, 435)
	for _, p := range [][]byte{p, behind} {
		identification++
		binary.BigEndian.PutUint16(p[4:], identification)
	}
	about := func(error []byte) uint16 { return binary.BigEndian.Uint16(error[8+4:]) }
	from.Do(func() {
		in, err := net.ListenPacket("ip4:icmp", "0.0.0.0")
		if err != nil {
			t.Error(err)
			return
		}
		defer in.Close()
		out, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(out)
		for _, p := range [][]byte{p, behind} {
			if err := unix.Sendto(out, p, 0, &unix.SockaddrInet4{Addr: victim.As4()}); err != nil {
				t.Error(err)
				return
			}
		}
		in.SetReadDeadline(time.Now().Add(20 * time.Second))
		for buf := make([]byte, 1500); ; {
			n, _, err := in.ReadFrom(buf)
			if err != nil || n < 8+20 {
				t.Errorf("the host answers nothing at all: %v", err)
				return
			}
			if buf[0] != byte(encap.DestinationUnreachable) {
				continue
			}
			switch about(buf) {
			case identification - 1:
				answered = true
			case identification:
				return
			}
		}
	})
	return answered
}
