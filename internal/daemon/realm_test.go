package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"

	"careof/internal/control"
)

// realmConfig is a configuration of one machine in two realms: folder, socket and
// device are the test's own.
func realmConfig(name, text string) string {
	return fmt.Sprintf("version = 1\nstate-directory = \"%%[1]s/%[1]s-state\"\n[control]\nsocket = \"%%[1]s/%[1]s.sock\"\n[plane]\ndevice = \"%[1]s0\"\n", name) + text
}

// Two realms: a node of home.example, which shares a secret with its AAA server and
// with nobody else, registers through a foreign agent of visited.example, with a
// home agent there that it asks for, or that its home realm assigns. Keys come to
// all three, the packets flow, the server ends the session.
//
//rfc:4004#3.2
//rfc:4004#3.4
//rfc:4004#4.1.3
func TestANodeRoamsBetweenTwoRealms(t *testing.T) {
	t.Run("with a home agent that it names", func(t *testing.T) {
		roams(t, "visited-allowed", "home-agent = \"198.51.100.1\"")
	})
	t.Run("with a home agent that is assigned", func(t *testing.T) {
		roams(t, "visited-preferred", "assignment = \"any\"")
	})
}

func roams(t *testing.T, policy, agent string) {
	n := wireForeignNet(t)
	n.r.Route("10.10.0.0/24", "198.51.100.1", "", "")
	if err := n.mn.H.AddrDel(n.mn.Link("eth0"), &netlink.Addr{IPNet: &net.IPNet{IP: visitorHome.AsSlice(), Mask: net.CIDRMask(32, 32)}}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(n.dir, "keys.d", "aaa")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("a secret that nobody guesses\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	aaah := n.daemon(n.cn, "aaah", realmConfig("aaah", `
[aaa]
[aaa.diameter]
identity = "aaa.home.example"
realm = "home.example"
listen = ["192.0.2.9:3868"]
[[aaa.diameter.peer]]
identity = "aaa.visited.example"
from = ["192.0.2.254"]
realms = ["visited.example"]
[aaa.serve]
home-agent-at = "`+policy+`"
require-tls = "off"
[[aaa.subscriber]]
nai = "van7@home.example"
spi = 512
secret-file = "keys.d/aaa"
`))
	n.daemon(n.r, "aaaf", realmConfig("aaaf", `
[aaa]
[aaa.diameter]
identity = "aaa.visited.example"
realm = "visited.example"
listen = ["0.0.0.0:3868"]
[[aaa.diameter.peer]]
identity = "aaa.home.example"
address = "192.0.2.9:3868"
realms = ["home.example"]
[[aaa.diameter.peer]]
identity = "fa1.visited.example"
from = ["203.0.113.1"]
[[aaa.diameter.peer]]
identity = "ha9.visited.example"
from = ["198.51.100.1"]
[aaa.serve]
require-tls = "off"
clients = ["fa1.visited.example"]
[[aaa.serve.home-agent]]
identity = "ha9.visited.example"
address = "198.51.100.1"
visitors = "on"
`))
	home := n.daemon(n.ha, "ha", realmConfig("ha", `
[aaa]
[aaa.diameter]
identity = "ha9.visited.example"
realm = "visited.example"
[[aaa.diameter.peer]]
identity = "aaa.visited.example"
address = "198.51.100.254:3868"
realms = ["*"]
[home-agent]
address = "198.51.100.1"
[[home-agent.network]]
prefix = "10.10.0.0/24"
pool = "10.10.0.77-10.10.0.78"
`))
	n.control = n.daemon(n.fa, "fa", realmConfig("fa", `
[aaa]
[aaa.diameter]
identity = "fa1.visited.example"
realm = "visited.example"
[[aaa.diameter.peer]]
identity = "aaa.visited.example"
address = "203.0.113.254:3868"
realms = ["*"]
[foreign-agent]
interfaces = ["lan0"]
care-of-address = "203.0.113.1"
advertise-interval = "3s"
challenge-window = 2
`))
	n.daemon(n.mn, "mn", realmConfig("mn", `
[mobile-node]
nai = "van7@home.example"
`+agent+`
[mobile-node.aaa]
spi = 512
secret-file = "keys.d/aaa"
keys = true
[[mobile-node.uplink]]
interface = "eth0"
`))
	address := netip.MustParseAddr("10.10.0.77")
	bindings := func() []control.Binding {
		var shown struct{ Bindings []control.Binding }
		n.shownBy(home, "bindings", &shown)
		return shown.Bindings
	}
	n.until("the node is bound", func() bool {
		b := bindings()
		return len(b) == 1 && b[0].HomeAddress == address && b[0].CareOfAddress == visitorCoA
	})
	n.until("the visit is accepted", func() bool {
		list := n.listed()
		return len(list) == 1 && list[0].State == "accepted"
	})
	if echoed := n.echoes(address, 20); echoed != 20 {
		t.Errorf("%d of 20 datagrams came back", echoed)
	}
	var shown struct{ AAA control.AAA }
	n.shownBy(aaah, "aaa", &shown)
	if s := shown.AAA.Realm; s == nil || len(s.Sessions) != 1 || s.Sessions[0].NAI != "van7@home.example" || s.Sessions[0].HomeAgent.String() != "198.51.100.1" {
		t.Errorf("the home realm's server has %+v", s)
	}
	for secret, granted := range map[string]bool{"a secret that nobody guesses": true, "a guess of a stranger": false} {
		for what, at := range map[string]*control.Client{"foreign agent": n.control, "home realm's server": aaah} {
			v, err := at.TestAAA(t.Context(), control.AAATestOrder{NAI: "van7@home.example", SPI: 512, Secret: secret})
			if err != nil || v.Key.Granted != granted {
				t.Errorf("aaa test with %q at the %s: %+v, %v", secret, what, v, err)
			}
		}
	}
	session := shown.AAA.Realm.Sessions[0].ID
	if _, err := aaah.EndAAA(t.Context(), control.AAAEndOrder{NAI: "van7@home.example"}); err != nil {
		t.Fatal(err)
	}
	// The node comes back at once, with a session of its own: the home agent's STR
	// has ended the one before.
	n.until("the session is another one", func() bool {
		n.shownBy(aaah, "aaa", &shown)
		s := shown.AAA.Realm
		return s != nil && (len(s.Sessions) == 0 || s.Sessions[0].ID != session)
	})
}
