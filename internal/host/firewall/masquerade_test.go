package firewall_test

import (
	"io"
	"net"
	"testing"
	"time"

	"careof/internal/host/firewall"
	"careof/internal/host/plane/nstest"
)

// What comes out of the device with a private address reaches the world with the
// host's own, and a home link with its own; what has a public one keeps it.
func TestPrivateAddressesLeaveWithTheHosts(t *testing.T) {
	node, r, world, home := nstest.New(t, "node"), nstest.New(t, "router"), nstest.New(t, "world"), nstest.New(t, "home")
	nstest.Join(t, node, "eth0", r, "careof7", 1500)
	nstest.Join(t, r, "eth1", world, "eth0", 1500)
	nstest.Join(t, r, "lan0", home, "eth0", 1500)
	node.Address("eth0", "10.10.0.2/24")
	node.Address("eth0", "203.0.113.2/24")
	r.Address("careof7", "10.10.0.1/24")
	r.Address("careof7", "203.0.113.1/24")
	r.Address("eth1", "198.51.100.2/24")
	world.Address("eth0", "198.51.100.1/24")
	r.Address("lan0", "192.168.1.1/24")
	home.Address("eth0", "192.168.1.2/24")
	node.Route("0.0.0.0/0", "10.10.0.1", "eth0", "")
	world.Route("203.0.113.0/24", "198.51.100.2", "eth0", "")
	home.Route("0.0.0.0/0", "192.168.1.1", "eth0", "")
	r.Sysctl("net/ipv4/ip_forward", 1)
	var fw *firewall.Firewall
	r.Do(func() {
		var err error
		if fw, err = firewall.Open("careof7"); err != nil {
			t.Fatal(err)
		}
	})
	defer fw.Close()
	fw.SetMasquerading(firewall.Masquerading{On: true, Except: []string{"lan0"}})
	for _, want := range []bool{true, false} {
		if changed, err := fw.Reconcile(); changed != want || err != nil {
			t.Fatalf("reconciled: changed %v, %v; want %v", changed, err, want)
		}
	}
	for _, c := range []struct {
		what            string
		from, to, shown string
		at              *nstest.Node
	}{
		{"a private address, to the world", "10.10.0.2", "198.51.100.1", "198.51.100.2", world},
		{"a public address, to the world", "203.0.113.2", "198.51.100.1", "203.0.113.2", world},
		{"a private address, to a home link", "10.10.0.2", "192.168.1.2", "10.10.0.2", home},
	} {
		if got := seenAs(t, node, c.from, c.at, c.to); got != c.shown {
			t.Errorf("%s: seen as %s, want %s", c.what, got, c.shown)
		}
	}
	fw.SetMasquerading(firewall.Masquerading{})
	for _, want := range []bool{true, false} {
		if changed, err := fw.Reconcile(); changed != want || err != nil {
			t.Errorf("switched off: changed %v, %v; want %v", changed, err, want)
		}
	}
}

// seenAs opens a connection and tells whose address the other end sees.
func seenAs(t *testing.T, from *nstest.Node, source string, to *nstest.Node, address string) string {
	t.Helper()
	var l net.Listener
	to.Do(func() {
		var err error
		if l, err = net.Listen("tcp4", address+":0"); err != nil {
			t.Fatal(err)
		}
	})
	defer l.Close()
	seen := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			seen <- err.Error()
			return
		}
		host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		c.Close()
		seen <- host
	}()
	from.Do(func() {
		d := net.Dialer{Timeout: 20 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
		c, err := d.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, c) // until the other end has seen it
		c.Close()
	})
	return <-seen
}
