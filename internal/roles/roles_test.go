package roles

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/config"
	"careof/internal/core/forward"
	"careof/internal/proto/mip4/advertise"
	"careof/internal/proto/mip4/feature/grekey"
	"careof/internal/proto/mip4/feature/natt"
	"careof/wire/adv4"
	"careof/wire/encap"
)

const key = `spi = 256
key = "hex:00112233445566778899aabbccddeeff"
algorithm = "hmac-sha256"
`

func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("test.toml", "version = 1\n"+text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mobile(t *testing.T, more string) *config.MobileNode {
	t.Helper()
	return parse(t, "[mobile-node]\nhome-address = \"10.10.0.5\"\nhome-agent = \"198.51.100.1\"\n"+more+key+
		"[[mobile-node.uplink]]\ninterface = \"wlan0\"\npriority = 7\n").MobileNode
}

func TestWhatAMobileNodeAsksFor(t *testing.T) {
	for _, c := range []struct {
		text  string
		mode  natt.Mode
		inner encap.Kind
	}{
		{"", natt.Auto, 0},
		{"encapsulation = \"udp\"\n", natt.Force, 0}, // also where no NAT is seen
		{"encapsulation = \"gre\"\nnat-traversal = \"off\"\n", natt.Off, encap.GRE},
	} {
		node, features := MobileNode(mobile(t, c.text))
		if features.NATTraversal.Mode != c.mode || node.Encapsulation != c.inner {
			t.Errorf("%q: NAT traversal %v, encapsulation %v; want %v, %v", c.text, features.NATTraversal.Mode, node.Encapsulation, c.mode, c.inner)
		}
		if len(node.Uplinks) != 1 || node.Uplinks[0].Priority != 7 || node.HomeAgents[0].Address != netip.MustParseAddr("198.51.100.1") {
			t.Errorf("%q: the machine is told %+v", c.text, node)
		}
	}
}

func TestWhatAHomeAgentOffers(t *testing.T) {
	got, features := HomeAgent(parse(t, `[home-agent]
address = "198.51.100.1"
interfaces = ["eth0"]
max-lifetime = "5m"
reverse-tunnel = "required"
nat-traversal = "force"
forced-udp = "off"
nat-lifetime = "60s"
keepalive = "30s"
simultaneous-bindings = 2
strict-reserved-bits = true
[[home-agent.network]]
prefix = "10.10.0.0/24"
pool = ["10.10.0.100-10.10.0.199"]
[[home-agent.mobile-node]]
nai = "van7@fleet.example"
`+key).HomeAgent)
	if got.MaxLifetime != 5*time.Minute || got.ReverseTunnel != forward.ReverseTunnelRequired || got.SimultaneousBindings != 2 || !got.StrictReservedBits ||
		got.Networks[0].Pool[0].To != netip.MustParseAddr("10.10.0.199") || got.Nodes[0].NAI != "van7@fleet.example" || got.Networks[0].Virtual {
		t.Errorf("the machine is told %+v", got)
	}
	if n := features.NATTraversal; n.Mode != natt.Force || n.Keepalive != 30*time.Second || !n.StrictReserved || !n.RefuseForce || n.NATLifetime != time.Minute {
		t.Errorf("NAT traversal is told %+v", n)
	}
}

// Every key of [foreign-agent] reaches the machine, the advertiser or a feature.
//
//rfc:5944#2.3-7
func TestWhatAForeignAgentOffers(t *testing.T) {
	c := parse(t, `[foreign-agent]
interfaces = ["eth1", "eth2"]
care-of-address = ["203.0.113.1", "203.0.113.2"]
port = 4340
advertise = "broadcast"
prefix-lengths = true
require-registration = true
strict-reserved-bits = true
encapsulating-delivery = "off"
encapsulations = ["ipip", "minimal"]
gre-keys = "always"
max-visitors = 7
allow-home-agents = ["198.51.100.0/24"]
max-pending = 11
[home-agent]
address = "198.51.100.1"
interfaces = ["eth2", "eth3"]
gre-keys = "off"
failure-replies = "10s"
[[home-agent.network]]
prefix = "10.10.0.0/24"
[[home-agent.mobile-node]]
home-address = "10.10.0.5"
`+key)
	got, features := ForeignAgent(c.ForeignAgent, c.HomeAgent)
	if len(got.CareOfAddresses) != 2 || got.Port != 4340 || !got.DirectDeliveryOnly || !got.StrictReservedBits || got.MaxVisitors != 7 || len(got.AllowHomeAgents) != 1 || got.MaxPending != 11 ||
		len(got.Encapsulations) != 2 || got.Encapsulations[1] != encap.Minimal || features.GREKeys.Foreign != grekey.Always {
		t.Errorf("the machine is told %+v, %+v", got, features)
	}
	visited := advertise.Link{Name: "eth1", Foreign: true, Registration: true, PrefixLengths: true, Broadcast: true}
	both := visited
	both.Name, both.Home = "eth2", true
	home := advertise.Link{Name: "eth3", Home: true, Preference: adv4.NotDefault}
	if want := []advertise.Link{visited, both, home}; !slices.Equal(got.Advertise, want) {
		t.Errorf("advertises %+v, want %+v", got.Advertise, want)
	}
	agent, features := HomeAgent(c.HomeAgent)
	if agent.BadAuthenticatorInterval != 10*time.Second || !features.GREKeys.RefuseHome {
		t.Errorf("the home agent is told %+v, %+v", agent, features)
	}
}

// An association with a foreign agent, by which its requests are signed.
//
//rfc:5944#3.5.3
func TestAMobileNodeKnowsForeignAgentsKeys(t *testing.T) {
	c := parse(t, "[mobile-node]\nhome-address = \"10.10.0.5\"\nhome-agent = \"198.51.100.1\"\n"+key+
		"[[mobile-node.uplink]]\ninterface = \"wlan0\"\n"+
		"[[mobile-node.foreign-agent]]\naddress = \"203.0.113.1\"\nspi = 301\nkey = \"hex:a0112233445566778899aabbccddeeff\"\nalgorithm = \"hmac-md5\"\n")
	got, _ := MobileNode(c.MobileNode)
	if a := got.ForeignAgents.Associations; len(a) != 1 || a[0].Address != netip.MustParseAddr("203.0.113.1") || a[0].Association.SPI() != 301 {
		t.Errorf("the machine is told %+v", a)
	}
}
