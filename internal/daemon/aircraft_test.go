package daemon

import (
	"net/netip"
	"slices"
	"testing"

	"careof/internal/control"
	"careof/internal/core/engine"
	"careof/internal/host/plane/nstest"
	"careof/wire/mip4"
)

// What the aircraft's router shares with its own home agent.
const aircraftKey = `home-address = "10.20.0.5"
spi = 260
key = "hex:b0112233445566778899aabbccddeeff"
algorithm = "hmac-sha256"
`

const (
	aircraftHomeText = `[home-agent]
address = "198.51.101.1"
[[home-agent.network]]
prefix = "10.20.0.0/24"
[[home-agent.mobile-node]]
` + aircraftKey

	aircraftText = `[mobile-node]
home-agent = "198.51.101.1"
` + aircraftKey + `[[mobile-node.uplink]]
interface = "radio0"
[foreign-agent]
interfaces = ["cabin0"]
care-of-address = "10.20.0.5"
advertise-interval = "3s"
` + knownVisitor
)

// The aircraft of RFC 5944 section 4.5: its router is a mobile node, registered
// through a foreign agent on the ground, and the foreign agent of the laptop in
// its cabin; the care-of address that it lends is its own home address. What
// the laptop's correspondent sends is encapsulated twice.
//
//	ha 198.51.100.1 ------ r --- 203.0.113.1 ground 192.168.1.1 --- aircraft 192.168.7.1 --- mn (10.10.0.5)
//	airline 198.51.101.1 --+                                        (10.20.0.5)
//	cn 192.0.2.9 ----------+
//
//rfc:5944#4.5
func TestALaptopInAnAircraft(t *testing.T) {
	n := &foreignNet{daemons: newDaemons(t), heard: make(chan engine.Discovery, 100)}
	n.ha, n.r, n.cn, n.mn = nstest.New(t, "ha"), nstest.New(t, "r"), nstest.New(t, "cn"), nstest.New(t, "mn")
	n.fa = nstest.New(t, "aircraft")
	airline, ground := nstest.New(t, "airline"), nstest.New(t, "ground")
	for _, end := range []struct {
		node                   *nstest.Node
		link, address, gateway string
	}{
		{n.ha, "toha", "198.51.100.1/24", "198.51.100.254"}, {airline, "toair", "198.51.101.1/24", "198.51.101.254"},
		{ground, "toground", "203.0.113.1/24", "203.0.113.254"}, {n.cn, "tocn", "192.0.2.9/24", "192.0.2.254"},
	} {
		nstest.Join(t, end.node, "wan0", n.r, end.link, 1500)
		end.node.Address("wan0", end.address)
		n.r.Address(end.link, end.gateway+"/24")
		end.node.Route("0.0.0.0/0", end.gateway, "", "")
	}
	nstest.Join(t, ground, "lan0", n.fa, "radio0", 1500)
	nstest.Join(t, n.fa, "cabin0", n.mn, "eth0", 1500)
	ground.Address("lan0", "192.168.1.1/24")
	n.fa.Address("cabin0", "192.168.7.1/24")
	n.mn.Address("eth0", "10.10.0.5/32")
	n.r.Sysctl("net/ipv4/ip_forward", 1)
	n.r.Sysctl("net/ipv4/conf/toground/rp_filter", 1)
	n.r.Route("10.10.0.0/24", "198.51.100.1", "", "")
	n.r.Route("10.20.0.0/24", "198.51.101.1", "", "")
	n.keys()
	n.hear()
	n.hearReplies()
	n.echo()
	n.homeAgent = visitorHA
	n.careOf, n.router = netip.MustParseAddr("10.20.0.5"), netip.MustParseAddr("192.168.7.1")
	n.haControl = n.daemon(n.ha, "ha", homeAgentText)
	n.daemon(airline, "airline", aircraftHomeText)
	n.daemon(ground, "ground", openForeignText)
	aircraft := n.daemon(n.fa, "aircraft", aircraftText)
	n.control = aircraft
	n.until("the aircraft is registered, and forwards", func() bool {
		var shown struct{ Status control.Status }
		n.shown("status", &shown)
		return slices.ContainsFunc(shown.Status.Roles, func(r control.RoleStatus) bool {
			return r.Role == roleMobileNode && r.State == "registered"
		})
	})
	n.agent()
	n.gateway()
	if r := n.register(mip4.FlagT, 300); r.Code != 0 {
		t.Fatalf("reply %+v", r)
	}
	if !n.ask(patience) {
		t.Fatal("no way from the cabin to the correspondent and back")
	}
	n.stream()
	if c := n.visitors()[0].Counters; c.SentBytes < 1<<20 || c.ReceivedBytes < 1<<20 {
		t.Errorf("counted %+v", c)
	}
}
