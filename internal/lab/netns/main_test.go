package netns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test program is also the programs that the tests start: see helpers.
const helperVariable = "CAREOF_NETNS_TEST_HELPER"

func TestMain(m *testing.M) {
	if name := os.Getenv(helperVariable); name != "" {
		os.Exit(helpers[name]())
	}
	if os.Geteuid() != 0 || os.Getenv(insideVariable) != "" {
		code, inside, err := Enter()
		if err != nil {
			fmt.Fprintln(os.Stderr, "tests that need namespaces are skipped:", err)
		} else if !inside {
			os.Exit(code)
		}
	}
	os.Exit(m.Run())
}

// limit bounds every wait of these tests.
const limit = 20 * time.Second

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

// newNetwork skips only where the privilege is missing; never as root.
func newNetwork(t testing.TB) *Network {
	t.Helper()
	n, err := New(Config{Seed: 1})
	if err == nil {
		var probe *Node
		if probe, err = n.NewNode("probe", NodeConfig{}); err == nil {
			err = probe.Close()
		} else {
			n.Close()
		}
	}
	if os.Geteuid() != 0 && (errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EPERM)) {
		t.Skip("no privilege for namespaces: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error("close the network: ", err)
		}
	})
	return n
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func addr(s string) netip.Addr         { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix     { return netip.MustParsePrefix(s) }
func endpoint(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// pair is two nodes on one segment.
type pair struct {
	network *Network
	segment *Segment
	a, b    *Node
	pa, pb  *Port
}

func newPair(t testing.TB, c Conditions) pair {
	n := newNetwork(t)
	p := pair{network: n, segment: must(n.NewSegment("lan", c))(t)}
	p.a, p.b = must(n.NewNode("a", NodeConfig{}))(t), must(n.NewNode("b", NodeConfig{}))(t)
	p.pa = must(p.a.Attach(p.segment, "eth0", PortConfig{Addresses: []netip.Prefix{prefix("10.0.0.1/24")}}))(t)
	p.pb = must(p.b.Attach(p.segment, "eth0", PortConfig{Addresses: []netip.Prefix{prefix("10.0.0.2/24")}}))(t)
	return p
}

// listen opens a UDP socket that the test closes.
func listen(t *testing.T, node *Node, at string) *net.UDPConn {
	t.Helper()
	conn := must(node.ListenUDP(endpoint(at)))(t)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// echo answers every packet with the endpoint it came from, as seen by the server.
func echo(t *testing.T, node *Node, at string) {
	conn := listen(t, node, at)
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			_, from, err := conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			conn.WriteToUDPAddrPort([]byte(netip.AddrPortFrom(from.Addr().Unmap(), from.Port()).String()), from)
		}
	}()
}

// ask sends until an answer comes, and returns it with the time that the successful exchange took.
func ask(t *testing.T, conn *net.UDPConn, to string) (string, time.Duration) {
	t.Helper()
	buffer := make([]byte, 1<<16)
	for range 20 {
		start := time.Now()
		if _, err := conn.WriteToUDPAddrPort([]byte("who am I?"), endpoint(to)); err != nil {
			t.Fatal(err)
		}
		conn.SetReadDeadline(start.Add(limit / 20))
		n, _, err := conn.ReadFromUDPAddrPort(buffer)
		if err == nil {
			return string(buffer[:n]), time.Since(start)
		}
	}
	t.Fatal("no answer from ", to)
	return "", 0
}

// hear returns the next datagram, which must come.
func hear(t *testing.T, conn *net.UDPConn) string {
	t.Helper()
	buffer := make([]byte, 1<<16)
	conn.SetReadDeadline(time.Now().Add(limit))
	n, _, err := conn.ReadFromUDPAddrPort(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return string(buffer[:n])
}

// silent reports that nothing answers within a short time.
func silent(t *testing.T, conn *net.UDPConn, to string) bool {
	t.Helper()
	conn.WriteToUDPAddrPort([]byte("anybody?"), endpoint(to))
	conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	_, _, err := conn.ReadFromUDPAddrPort(make([]byte, 64))
	return errors.Is(err, os.ErrDeadlineExceeded)
}
