package roles

import (
	"math/rand/v2"
	"testing"
	"time"

	"careof/internal/proto/mip4/feature/natt"
	"careof/internal/proto/mip4/feature/opaque"
	"careof/internal/proto/mip4/standard"
	"careof/wire/mip4"
)

// tables are a vendor's extension and an experiment of a role.
func tables(role, to string) string {
	return "[[" + role + `.vendor-extension]]
vendor = 32473
type = 7
critical = true
value = "00ff"
to = "` + to + `"
[[` + role + `.experiment]]
sub-type = 3
deny = true
`
}

// What the tables about small extensions say reaches the features, and the
// roles can be made of it.
func TestExtensionsReachTheFeatures(t *testing.T) {
	luck := rand.New(rand.NewPCG(1, 1))
	check := func(name string, got standard.Config, to opaque.Party) {
		t.Helper()
		vendor := opaque.Number{Type: mip4.ExtCVSE, Vendor: 32473, Sub: 7}
		if v, ok := opaque.Find(got.Vendors, vendor); !ok || v.To != to || string(v.Value) != "\x00\xff" {
			t.Errorf("%s: vendors' extensions %+v", name, got.Vendors)
		}
		experiment := opaque.Number{Type: mip4.ExtExperimentalSkippable, Sub: 3}
		if e, ok := opaque.Find(got.Experiments, experiment); !ok || e.To != opaque.Nobody || !e.Deny {
			t.Errorf("%s: experiments %+v", name, got.Experiments)
		}
	}
	c := parse(t, `[home-agent]
address = "198.51.100.1"
identity = "ha1@home.example"
[[home-agent.network]]
prefix = "10.10.0.0/24"
[[home-agent.message]]
code = 130
text = "full"
`+tables("home-agent", "mobile-node"))
	home, features := HomeAgent(c.HomeAgent)
	check("home agent", features, opaque.MobileNode)
	if features.Messages[mip4.CodeHAResources] != "full" || features.Identity != "ha1@home.example" {
		t.Errorf("home agent: %+v", features)
	}
	if _, err := standard.HomeAgent(home, standard.Features(features), luck); err != nil {
		t.Error(err)
	}

	c = parse(t, `[foreign-agent]
interfaces = ["eth1"]
care-of-address = "203.0.113.1"
nat-traversal = "force"
keepalive = "20s"
[[foreign-agent.message]]
code = 66
text = "full house"
`+tables("foreign-agent", "home-agent"))
	foreign, features := ForeignAgent(c.ForeignAgent, nil)
	check("foreign agent", features, opaque.HomeAgent)
	if features.Messages[mip4.CodeFAResources] != "full house" {
		t.Errorf("foreign agent: %+v", features.Messages)
	}
	if n := features.NATTraversal; n.Mode != natt.Force || n.Keepalive != 20*time.Second {
		t.Errorf("foreign agent: NAT traversal %+v", n)
	}
	if _, err := standard.ForeignAgent(foreign, standard.Features(features), luck); err != nil {
		t.Error(err)
	}

	m := parse(t, "[mobile-node]\nhome-address = \"10.10.0.5\"\nhome-agent = \"198.51.100.1\"\n"+key+
		"[[mobile-node.uplink]]\ninterface = \"wlan0\"\n"+tables("mobile-node", "home-agent")).MobileNode
	node, features := MobileNode(m)
	check("mobile node", features, opaque.HomeAgent)
	if _, err := standard.MobileNode(node, standard.Features(features), luck); err != nil {
		t.Error(err)
	}
}
