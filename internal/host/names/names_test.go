package names

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/dns/dnsmessage"

	"careof/internal/host/plane/nstest"
)

var agents = []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2")}

// serve is a name server that knows one name with two addresses.
func serve(t *testing.T, n *nstest.Node, at string) {
	t.Helper()
	n.Do(func() {
		c, err := net.ListenPacket("udp4", at)
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { c.Close() })
		go func() {
			buf := make([]byte, 1500)
			for {
				size, from, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				var m dnsmessage.Message
				if m.Unpack(buf[:size]) != nil || len(m.Questions) != 1 {
					continue
				}
				q := m.Questions[0]
				m.Response, m.Additionals = true, nil
				switch {
				case !strings.HasPrefix(q.Name.String(), "ha.example."):
					m.RCode = dnsmessage.RCodeNameError
				case q.Type == dnsmessage.TypeA:
					for _, a := range agents {
						m.Answers = append(m.Answers, dnsmessage.Resource{
							Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 60},
							Body:   &dnsmessage.AResource{A: a.As4()},
						})
					}
				}
				if b, err := m.Pack(); err == nil {
					c.WriteTo(b, from)
				}
			}
		}()
	})
}

// A node that is not registered has a route for everything that leads nowhere,
// and gets its home agent's addresses all the same; without an answer it is
// told over which uplink what went wrong.
func TestNamesAreResolvedOverTheUplinksThemselves(t *testing.T) {
	node, net1 := nstest.New(t, "node"), nstest.New(t, "visited")
	nstest.Join(t, node, "wlan0", net1, "eth0", 1500)
	node.Address("wlan0", "192.0.2.10/24")
	net1.Address("eth0", "192.0.2.1/24")
	net1.Address("lo", "198.51.100.53/32")
	net1.Up("lo")
	nstest.Join(t, node, "tunnel", nstest.New(t, "nowhere"), "eth0", 1500)
	node.Address("tunnel", "10.10.0.5/24")
	node.Route("0.0.0.0/0", "", "tunnel", "")
	rule := netlink.NewRule()
	rule.Src, rule.Table, rule.Priority = &net.IPNet{IP: net.IPv4(192, 0, 2, 10).To4(), Mask: net.CIDRMask(32, 32)}, 4340, 100
	if err := node.H.RuleAdd(rule); err != nil {
		t.Fatal(err)
	}
	if err := node.H.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, Gw: net.IPv4(192, 0, 2, 1), LinkIndex: node.Link("wlan0").Attrs().Index, Table: 4340}); err != nil {
		t.Fatal(err)
	}
	serve(t, net1, "198.51.100.53:53")

	var uplinks []string
	var told []netip.Addr
	var r *Resolver
	node.Do(func() {
		var err error
		if r, err = Open(func() []string { return uplinks }, func(string) []netip.Addr { return told }); err != nil {
			t.Error(err)
		}
	})
	if r == nil {
		t.FailNow()
	}
	defer r.Close()
	r.server = "198.51.100.53:53"
	ask := func(name string, limit time.Duration) ([]netip.Addr, error) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		return r.Lookup(ctx, name)
	}
	if list, err := ask("ha.example.", time.Second); err == nil {
		t.Fatalf("%v without an uplink: this test shows nothing", list)
	}
	uplinks = []string{"wlan0", "wwan0"}
	list, err := ask("ha.example.", 20*time.Second)
	slices.SortFunc(list, netip.Addr.Compare)
	if err != nil || !slices.Equal(list, agents) {
		t.Errorf("%v, %v", list, err)
	}
	// What the network has named is asked over it; the host's own servers know
	// nothing of this name.
	r.server, told = "", []netip.Addr{netip.MustParseAddr("192.0.2.77"), netip.MustParseAddr("198.51.100.53")}
	if list, err := ask("ha.example.", 20*time.Second); err != nil || len(list) != len(agents) {
		t.Errorf("by the servers that the network has named: %v, %v", list, err)
	}
	told = told[1:]
	if list, err := r.LookupOver(t.Context(), "wlan0", "ha.example."); err != nil || len(list) != len(agents) {
		t.Errorf("over one uplink: %v, %v", list, err)
	}
	if _, err := r.LookupOver(t.Context(), "wwan0", "ha.example."); err == nil {
		t.Error("over an uplink that is not there: no error")
	}
	r.server, told = "198.51.100.53:53", nil
	_, err = ask("other.example.", 2*time.Second)
	if err == nil || !strings.Contains(err.Error(), "over wlan0: there is no such name") || !strings.Contains(err.Error(), "as programs ask: ") {
		t.Errorf("the error does not explain: %v", err)
	}
	if _, err = ask("ha.example.", time.Nanosecond); err == nil {
		t.Error("no error")
	}
	// An uplink that gets its address while the others are waited for.
	looked := 0
	r.uplinks = func() []string {
		if looked++; looked == 1 {
			return nil
		}
		return []string{"wlan0"}
	}
	if list, err := ask("ha.example.", 20*time.Second); err != nil || len(list) != len(agents) || looked != 2 {
		t.Errorf("over an uplink that came later: %v, %v, looked %d times", list, err, looked)
	}
}
