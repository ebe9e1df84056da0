package daemon

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
)

func kinds(t control.Topology) map[string]int {
	count := make(map[string]int)
	for _, v := range t.Vertices {
		count[v.Kind]++
	}
	return count
}

// sound checks that edges lead somewhere and no vertex is there twice.
func sound(t *testing.T, top control.Topology) {
	t.Helper()
	ids := make(map[string]bool)
	for _, v := range top.Vertices {
		if ids[v.ID] {
			t.Errorf("%s is there twice", v.ID)
		}
		ids[v.ID] = true
	}
	for _, e := range top.Edges {
		if !ids[e.From] || !ids[e.To] {
			t.Errorf("an edge leads nowhere: %+v", e)
		}
	}
}

func TestAPictureOfAHundredThousandNodesCanBeRead(t *testing.T) {
	d := &daemon{cfg: &config.Config{HomeAgent: &config.HomeAgent{
		Addresses: []netip.Addr{netip.MustParseAddr("198.51.100.1")},
		Networks:  []config.Network{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}},
	}}}
	var bindings []ha.Binding
	for i := range 100_000 {
		coa := netip.AddrFrom4([4]byte{192, 0, byte(i % 30), byte(i % 200)})
		b := ha.Binding{
			HomeAddress: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), CareOfAddress: coa, Endpoint: netip.AddrPortFrom(coa, 0),
			Flags: "D", Encapsulation: "ipip", Since: time.Unix(int64(i), 0),
		}
		if i%30 == 3 {
			b.Flags, b.CareOfAddress = "", netip.MustParseAddr("203.0.113.1") // a foreign agent's
			b.Endpoint = netip.AddrPortFrom(b.CareOfAddress, 0)
		}
		bindings = append(bindings, b)
	}
	p := newPicture()
	d.drawHome(p, bindings)
	sound(t, p.Topology)
	got := kinds(p.Topology)
	if got["home-agent"] != 1 || got["home-network"] != 1 || got["network"]+got["foreign-agent"] != placesShown || got["mobile-node"] > nodesShown || p.Shown != got["mobile-node"] || p.Nodes != 100_000 {
		t.Errorf("%v, %d of %d nodes shown", got, p.Shown, p.Nodes)
	}
	attached := 0
	for _, v := range p.Vertices {
		attached += v.Nodes
	}
	if attached != 100_000 {
		t.Errorf("the places have %d nodes together", attached)
	}
	// Of each place the nodes that came last are there.
	last := fmt.Sprintf("node %v", bindings[len(bindings)-1].HomeAddress)
	if _, there := p.at[last]; !there {
		t.Errorf("%s, the last to be bound, is not in the picture", last)
	}
}

func TestWhereANodeIsShowsByItsTunnel(t *testing.T) {
	d := &daemon{}
	address := netip.MustParseAddr
	for _, c := range []struct {
		name string
		b    ha.Binding
		want string
	}{
		{"co-located", ha.Binding{Flags: "DT", CareOfAddress: address("192.0.2.9"), Endpoint: netip.MustParseAddrPort("192.0.2.9:0")}, "network 192.0.2.0/24"},
		{"through a NAT", ha.Binding{Flags: "DT", BehindNAT: true, CareOfAddress: address("192.168.8.100"), Endpoint: netip.MustParseAddrPort("203.0.113.7:40001")}, "nat 203.0.113.7"},
		{"at a foreign agent", ha.Binding{Flags: "T", CareOfAddress: address("203.0.113.1"), Endpoint: netip.MustParseAddrPort("203.0.113.1:0")}, "agent 203.0.113.1"},
	} {
		if got := d.placeOf(&c.b).ID; got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestAForeignAgentsPictureHasItsVisitorsAndTheirHomeAgents(t *testing.T) {
	d := &daemon{cfg: &config.Config{ForeignAgent: &config.ForeignAgent{Interfaces: []string{"eth1", "eth2"}, CareOfAddresses: []netip.Addr{netip.MustParseAddr("203.0.113.1")}}}}
	var visitors []fa.VisitorInfo
	for i := range 3 {
		visitors = append(visitors, fa.VisitorInfo{
			HomeAddress: netip.AddrFrom4([4]byte{10, 10, 0, byte(5 + i)}), HomeAgent: netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + i/2)}), Link: "eth1", State: "accepted",
		})
	}
	visitors[2].State = "pending"
	p := newPicture()
	d.drawForeign(p, visitors)
	sound(t, p.Topology)
	if got := kinds(p.Topology); got["home-agent"] != 2 || got["link"] != 2 || got["mobile-node"] != 3 || got["foreign-agent"] != 1 {
		t.Errorf("%v", got)
	}
	tunnels := 0
	for _, e := range p.Edges {
		if e.Kind == "tunnel" {
			tunnels++
		}
	}
	if tunnels != 1 {
		t.Errorf("%d tunnels; a pending request has none", tunnels)
	}
}

func TestAMobileNodesPictureShowsTheUplinkInUse(t *testing.T) {
	p := newPicture()
	drawMobile(p, mn.Status{State: "registered", HomeAddress: van, HomeAgent: netip.MustParseAddr("198.51.100.1"), CareOfAddress: netip.MustParseAddr("203.0.113.1"), ForeignAgent: netip.MustParseAddr("192.168.1.1"), Encapsulation: "ipip"},
		[]mn.UplinkInfo{{Link: "wlan0", Usable: true, Active: true}, {Link: "wwan0", Why: "link is down"}})
	sound(t, p.Topology)
	var words []string
	for _, e := range p.Edges {
		if e.Active {
			words = append(words, e.From+" -> "+e.To)
		}
	}
	want := "uplink wlan0 -> node 10.10.0.5, agent 198.51.100.1 -> agent 203.0.113.1, agent 203.0.113.1 -> uplink wlan0"
	if got := strings.Join(words, ", "); got != want {
		t.Errorf("packets go %s, want %s", got, want)
	}
}
