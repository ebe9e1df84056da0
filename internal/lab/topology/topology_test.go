package topology

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"careof/internal/config"
)

func TestBuiltinTopologiesAreValid(t *testing.T) {
	for _, name := range Builtin() {
		got, err := Load(name)
		if err != nil {
			t.Fatalf("%s:\n%v", name, err)
		}
		if got.Name != name {
			t.Errorf("%s calls itself %q", name, got.Name)
		}
		for _, n := range got.Nodes {
			if n.Kind.Daemon() != (n.Parsed != nil) {
				t.Errorf("%s: node %s: configuration read: %v", name, n.Name, n.Parsed != nil)
			}
		}
	}
}

func TestLeasesDiffer(t *testing.T) {
	top := Default()
	seen := make(map[string]bool)
	for _, i := range top.Node("mn").Interfaces {
		a, gateway, ok := top.Lease(top.Segment("access1"), "mn", i.Name)
		if !ok || gateway.String() != "203.0.113.1" || seen[a.String()] {
			t.Errorf("lease of %s: %v via %v, %v", i.Name, a, gateway, ok)
		}
		seen[a.String()] = true
	}
	if _, _, ok := top.Lease(top.Segment("site"), "mn", "wlan0"); ok {
		t.Error("a segment without first-lease gave an address")
	}
}

// Every mistake is told, with its line, at once.
func TestMistakes(t *testing.T) {
	text := `version = 2
[[segment]]
name = "lan"
loss = 7.0
network = "10.0.0.0/24"
gateway = "10.0.1.1"
colour = "blue"
[[segment]]
name = "lan"
mtu = 60
[[node]]
name = "a"
kind = "router"
interface = [{ name = "eth0", segment = "wan", address = "10.0.0.1/24" }, { name = "eth1", segment = "lan", address = "10.9.0.1/24", gateway = "10.8.0.1" }]
route = [{ prefix = "10.5.0.0/16", via = "10.6.0.1" }]
nat = { outside = "eth9", kind = "magic" }
[[node]]
name = "a"
kind = "home-agent"
interface = [{ name = "eth0", segment = "lan", address = "10.0.0.1/24" }]
config = "version = 1\n[home-agent]\nadress = \"10.0.0.1\"\n"
`
	_, err := Parse("x.toml", text)
	var problems config.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("got %v", err)
	}
	got := problems.Error()
	for _, want := range []string{
		"x.toml: version:", "x.toml:2: segment.loss:", "x.toml:2: segment.gateway:", "x.toml:7: segment.colour: unknown key",
		"x.toml:8: segment.mtu:", "x.toml:8: name: segment \"lan\" is there twice",
		"x.toml:11: node.interface.segment: node \"a\": interface \"eth0\" is on \"wan\"", "x.toml:11: node.interface.address:",
		"x.toml:11: node.interface.gateway:", "x.toml:11: node.route:", "x.toml:11: node.nat.outside:", "x.toml:11: node.nat.inside:", "x.toml:11: node.nat.kind:",
		"x.toml:17: name: node \"a\" is there twice", "x.toml:17: node.config:",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %q in\n%s", want, got)
		}
	}
}

func TestSyntaxErrorHasItsLine(t *testing.T) {
	_, err := Parse("x.toml", "version = 1\n[[node]]\nkind = \"balloon\"\n")
	if err == nil || !strings.HasPrefix(err.Error(), "x.toml:3: ") {
		t.Errorf("got %v", err)
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.toml")); err == nil || !strings.Contains(err.Error(), "home-link") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestConfigFileBesideTheTopology(t *testing.T) {
	dir := t.TempDir()
	top, err := builtin.ReadFile("default.toml")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(top), "'''")
	if err := os.WriteFile(filepath.Join(dir, "ha.toml"), []byte(parts[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(top), "config = '''"+parts[1]+"'''", `config-file = "ha.toml"`, 1)
	path := filepath.Join(dir, "lab.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.Node("ha").Parsed.HomeAgent == nil {
		t.Error("the configuration file was not read")
	}
}

// A topology may be made of a built-in one: what has the same name takes its
// place, and a mistake is told with the line of the file that has it.
func TestExtendsABuiltinTopology(t *testing.T) {
	const text = `version = 1
name = "mine"
extends = "home-link"
[[segment]]
name = "isp1"
delay = "1ms"
network = "100.65.0.0/24"
[[node]]
name = "printer"
kind = "correspondent"
interface = [{ name = "eth0", segment = "home", address = "10.10.0.9/24" }]
`
	top, err := Parse("x.toml", text)
	if err != nil {
		t.Fatal(err)
	}
	base := HomeLink()
	if len(top.Segments) != len(base.Segments) || len(top.Nodes) != len(base.Nodes)+1 || top.Nodes[len(base.Nodes)].Name != "printer" {
		t.Errorf("%d segments, %d nodes", len(top.Segments), len(top.Nodes))
	}
	if got := top.Segment("isp1").Delay.String(); got != "1ms" {
		t.Errorf("the segment's delay is %s", got)
	}
	if _, err = Parse("x.toml", strings.Replace(text, `segment = "home"`, `segment = "attic"`, 1)); err == nil || !strings.HasPrefix(err.Error(), "x.toml:8: ") {
		t.Errorf("got %v", err)
	}
	if _, err = Parse("x.toml", strings.Replace(text, `"home-link"`, `"away"`, 1)); err == nil || !strings.Contains(err.Error(), "one-box") {
		t.Errorf("got %v", err)
	}
}

// An example's keys are nowhere; in the laboratory two ends that name one file
// have one key. A key file that is there is used.
func TestMissingKeyFilesAreMadeUpFromTheirNames(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"ha.toml": "version = 1\n[home-agent]\naddress = \"198.51.100.1\"\n[[home-agent.network]]\nprefix = \"10.10.0.0/24\"\n" +
			"[[home-agent.mobile-node]]\nhome-address = \"10.10.0.5\"\nspi = 256\nkey-file = \"nobody\"\nalgorithm = \"hmac-sha256\"\n" +
			"[[home-agent.mobile-node]]\nhome-address = \"10.10.0.6\"\nspi = 256\nkey-file = \"real\"\nalgorithm = \"hmac-sha256\"\n",
		"real": strings.Repeat("5a", 32),
		"lab.toml": "version = 1\nextends = \"default\"\n[[node]]\nname = \"ha\"\nkind = \"home-agent\"\n" +
			"interface = [{ name = \"eth0\", segment = \"edge\", address = \"198.51.100.1/24\" }]\nconfig-file = \"ha.toml\"\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	top, err := Load(filepath.Join(dir, "lab.toml"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, err := top.Configuration(top.Node("ha"))
	if err != nil || !strings.Contains(text, `key-file = "real"`) || strings.Contains(text, `key-file = "nobody"`) {
		t.Errorf("error %v:\n%s", err, text)
	}
	if madeUpKeys(dir, `key-file = "nobody"`) != madeUpKeys(t.TempDir(), `key-file = "nobody"`) || madeUpKeys(dir, `key-file = "nobody"`) == madeUpKeys(dir, `key-file = "else"`) {
		t.Error("a made-up key is not its name's")
	}
}
