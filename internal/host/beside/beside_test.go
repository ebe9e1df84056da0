package beside_test

import (
	"errors"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"careof/internal/host/beside"
	"careof/internal/host/plane/nstest"
)

var everything = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}

// table prints the table, and nothing when there is none.
func table(t *testing.T, n *nstest.Node) (text string) {
	t.Helper()
	n.Do(func() {
		out, err := exec.Command("nft", "list", "table", "ip", beside.TableName("careof0")).CombinedOutput()
		if text = string(out); err != nil && strings.Contains(text, "No such file") {
			text = ""
		} else if err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	return text
}

// soon is the table when it has a line.
func soon(t *testing.T, n *nstest.Node, line string) (text string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(text, line); text = table(t, n) {
		if time.Now().After(end) {
			t.Fatalf("no %q in\n%s", line, text)
		}
	}
	return text
}

// The rules as an administrator reads them.
func TestTheTable(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("nft is not installed")
	}
	n := nstest.New(t, "mn")
	var g *beside.Guard
	n.Do(func() {
		var err error
		if g, err = beside.Open("careof0"); err != nil {
			t.Error(err)
		}
	})
	defer g.Close()
	set := func(w beside.Want) {
		t.Helper()
		if err := g.Set(w); err != nil {
			t.Fatal(err)
		}
	}
	contains := func(lines ...string) {
		t.Helper()
		text := table(t, n)
		for _, l := range lines {
			if !strings.Contains(text, l+"\n") && !strings.Contains(text, l+" comment") {
				t.Errorf("no %q in\n%s", l, text)
			}
		}
	}
	w := beside.Want{Through: everything, Uplinks: []beside.Uplink{
		{
			Name: "wlan0", To: []netip.Prefix{netip.MustParsePrefix("192.168.8.0/24")}, From: []netip.Prefix{netip.MustParsePrefix("10.10.0.5/32")},
			Passages: []beside.Passage{{To: netip.MustParseAddr("192.0.2.10"), Protocol: unix.IPPROTO_TCP, Port: 443}},
		},
		{Name: "wwan0"},
	}}
	set(w)
	contains("type filter hook output priority raw; policy accept;", "meta mark != 0x00000000 accept",
		`oifname "wlan0" goto uplink0`, `oifname "wwan0" goto uplink1`,
		"ip daddr 224.0.0.0/4 accept", "ip daddr 255.255.255.255 accept", "icmp type != echo-request accept",
		"ip hdrlength != 5 reject with icmp admin-prohibited",
		"ip daddr 192.168.8.0/24 accept", "ip saddr 10.10.0.5 accept", "ip daddr 192.0.2.10 tcp dport 443 accept",
		"reject with icmp admin-prohibited")

	// Another network, which nobody waits for, and from the start.
	w.Uplinks = append([]beside.Uplink{}, w.Uplinks...)
	w.Uplinks[0].To = []netip.Prefix{netip.MustParsePrefix("192.168.9.0/24")}
	set(w)
	short := soon(t, n, "ip daddr 192.168.9.0/24 accept")
	if strings.Contains(short, "192.168.8.0") || strings.Count(short, "oifname") != 2 {
		t.Errorf("the last network's rules are there:\n%s", short)
	}
	set(beside.Want{})
	if left := table(t, n); left != "" {
		t.Errorf("left: %s", left)
	}
	set(w)
	if long := table(t, n); long != short {
		t.Errorf("after a move\n%s\nand from the start\n%s", short, long)
	}

	// Somebody takes a rule, or all: it is put back.
	for _, harm := range []string{"flush chain ip careof_beside_careof0 uplink1", "flush ruleset"} {
		n.Do(func() {
			if out, err := exec.Command("nft", strings.Fields(harm)...).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
		g.Forget()
		set(w)
		if again := table(t, n); again != short {
			t.Errorf("after %s:\n%s", harm, again)
		}
	}
	// Also when the next change comes first.
	n.Do(func() {
		if out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	w.Uplinks = append([]beside.Uplink{}, w.Uplinks...)
	w.Uplinks[0].To = []netip.Prefix{netip.MustParsePrefix("192.168.10.0/24")}
	set(w)
	soon(t, n, "ip daddr 192.168.10.0/24 accept")
}

// The next process takes over what is there without a change, and removes what
// nobody wants any more.
func TestTheNextProcess(t *testing.T) {
	n := nstest.New(t, "mn")
	w := beside.Want{Through: everything, Uplinks: []beside.Uplink{{Name: "wlan0"}}}
	handles := func() (out []uint64) {
		n.Do(func() {
			c, err := nftables.New()
			if err != nil {
				t.Error(err)
				return
			}
			table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: beside.TableName("careof0")}
			rules, err := c.GetRules(table, &nftables.Chain{Name: "uplink0", Table: table})
			if err != nil {
				return
			}
			for _, r := range rules {
				out = append(out, r.Handle)
			}
		})
		return out
	}
	process := func(w beside.Want) []uint64 {
		t.Helper()
		n.Do(func() {
			g, err := beside.Open("careof0")
			if err != nil {
				t.Error(err)
				return
			}
			defer g.Close()
			if err := g.Set(w); err != nil {
				t.Error(err)
			}
		})
		return handles()
	}
	first := process(w)
	if second := process(w); len(first) == 0 || len(second) != len(first) || second[0] != first[0] {
		t.Errorf("rules %v, and after another start %v", first, second)
	}
	if left := process(beside.Want{}); len(left) != 0 {
		t.Errorf("rules %v are left", left)
	}
}

// A packet with a source route names a stop on the link and goes on from there
// (RFC 791 section 3.1): what is for the tunnel does not leave that way.
func TestNoSourceRouteBesideTheTunnel(t *testing.T) {
	n, r := nstest.New(t, "mn"), nstest.New(t, "r")
	nstest.Join(t, n, "wlan0", r, "tomn", 1500)
	n.Up("wlan0")
	n.Address("wlan0", "192.168.8.9/24")
	send := func(option []byte) (err error) {
		n.Do(func() {
			fd, failed := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if failed != nil {
				t.Error(failed)
				return
			}
			defer unix.Close(fd)
			if option != nil {
				if err := unix.SetsockoptString(fd, unix.IPPROTO_IP, unix.IP_OPTIONS, string(option)); err != nil {
					t.Error(err)
				}
			}
			err = unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{192, 168, 8, 1}})
		})
		return err
	}
	loose := []byte{131, 7, 4, 192, 168, 8, 1, 0} // then 192.168.8.1 again: any address would do
	var g *beside.Guard
	n.Do(func() {
		var err error
		if g, err = beside.Open("careof0"); err != nil {
			t.Error(err)
		}
	})
	defer g.Close()
	if err := send(loose); err != nil {
		t.Fatalf("without the table: %v", err)
	}
	w := beside.Want{Through: everything, Uplinks: []beside.Uplink{{Name: "wlan0", To: []netip.Prefix{netip.MustParsePrefix("192.168.8.0/24")}}}}
	if err := g.Set(w); err != nil {
		t.Fatal(err)
	}
	if err := send(nil); err != nil {
		t.Errorf("to the link itself: %v", err)
	}
	if err := send(loose); !errors.Is(err, unix.EPERM) {
		t.Errorf("by a source route: %v", err)
	}
}
