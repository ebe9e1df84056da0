package roles

import (
	"net/netip"
	"testing"
	"time"

	"careof/internal/config"
	"careof/internal/proto/mip4/feature/natt"
	"careof/internal/proto/mip4/ha"
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
keepalive = "30s"
simultaneous-bindings = 2
[[home-agent.network]]
prefix = "10.10.0.0/24"
pool = ["10.10.0.100-10.10.0.199"]
[[home-agent.mobile-node]]
nai = "van7@fleet.example"
`+key).HomeAgent)
	if got.MaxLifetime != 5*time.Minute || got.ReverseTunnel != ha.Required || got.SimultaneousBindings != 2 ||
		got.Networks[0].Pool[0].To != netip.MustParseAddr("10.10.0.199") || got.Nodes[0].NAI != "van7@fleet.example" || got.Networks[0].Virtual {
		t.Errorf("the machine is told %+v", got)
	}
	if n := features.NATTraversal; n.Mode != natt.Force || n.Keepalive != 30*time.Second {
		t.Errorf("NAT traversal is told %+v", n)
	}
}
