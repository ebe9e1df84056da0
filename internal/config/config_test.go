package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"careof/internal/core/assoc"
	"careof/internal/core/forward"
	"careof/wire/encap"
)

const (
	keyA = "00112233445566778899aabbccddeeff"
	keyB = "ffeeddccbbaa99887766554433221100"
)

// folder makes a configuration folder with the named files, of mode 0600.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// homeAgent is a small valid home agent; tests put their mistakes behind it.
const homeAgent = `version = 1
[home-agent]
address = "198.51.100.1"
[[home-agent.network]]
prefix = "10.10.0.0/24"
pool = ["10.10.0.100-10.10.0.199"]
[[home-agent.mobile-node]]
home-address = "10.10.0.5"
nai = "van7@fleet.example"
spi = 256
key = "hex:` + keyA + `"
algorithm = "hmac-sha256"
`

const mobileNode = `version = 1
[mobile-node]
home-address = "10.10.0.5"
home-agent = "198.51.100.1"
spi = 256
key = "hex:` + keyA + `"
algorithm = "hmac-sha256"
[[mobile-node.uplink]]
interface = "wlan0"
`

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("careof.toml", text)
	if err != nil {
		t.Fatalf("valid configuration refused:\n%v", err)
	}
	return c
}

func TestDefaultsAreFilledIn(t *testing.T) {
	c := mustParse(t, homeAgent)
	if c.StateDirectory != "/var/lib/careof" || c.Control.Socket != "/run/careof/careof.sock" || c.Control.Group != "careof" {
		t.Errorf("daemon defaults: %+v", c)
	}
	if c.Plane != (Plane{PlaneAuto, "careof0", "/sys/fs/bpf/careof", true}) || c.Log.For("plane") != slog.LevelInfo {
		t.Errorf("plane %+v, log %+v", c.Plane, c.Log)
	}
	h := c.HomeAgent
	if h == nil || c.ForeignAgent != nil || c.MobileNode != nil {
		t.Fatal("a role is there when its section is, and only then")
	}
	if h.Port != 434 || h.MaxLifetime != 10*time.Minute || h.ReverseTunnel != forward.ReverseTunnelAllowed ||
		h.NATTraversal != NATTraversalAuto || h.Keepalive != 110*time.Second || h.SimultaneousBindings != 1 || len(h.Interfaces) != 0 {
		t.Errorf("home agent defaults: %+v", h)
	}
	if diff := cmp.Diff([]encap.Kind{encap.IPIP, encap.GRE, encap.Minimal, encap.UDP}, h.Encapsulations); diff != "" {
		t.Error(diff)
	}
	a := h.MobileNodes[0].Associations
	if len(a) != 1 || a[0].SPI() != 256 || a[0].Algorithm() != assoc.HMACSHA256 || a[0].Replay() != assoc.Timestamps || a[0].Key().Reveal() != keyA {
		t.Errorf("association: %v", a)
	}
	if len(c.Warnings) != 0 {
		t.Errorf("warnings: %v", c.Warnings)
	}

	m := mustParse(t, mobileNode).MobileNode
	if !m.Routes.Full || !m.ForeignAgents.Any || !m.Encapsulation.Auto || m.Profile != ProfileDefault || m.Uplinks[0].Priority != 100 {
		t.Errorf("mobile node defaults: %+v", m)
	}
}

func TestEverySectionIsRead(t *testing.T) {
	c := mustParse(t, `version = 1
state-directory = "/tmp/state"
[control]
socket = "/tmp/s"
group = "wheel"
[log]
level = "warn"
registration = "debug"
[plane]
kind = "tun"
device = "mip0"
[home-agent]
address = ["198.51.100.1"]
local-address = "10.0.0.4"
interfaces = ["eth0"]
max-lifetime = "1h"
reverse-tunnel = "required"
nat-traversal = "force"
keepalive = "30s"
encapsulations = ["udp"]
simultaneous-bindings = 3
[[home-agent.foreign-agent]]
address = "203.0.113.1"
spi = 300
key = "hex:`+keyB+`"
algorithm = "hmac-sha1"
[foreign-agent]
interfaces = ["eth1"]
care-of-address = "203.0.113.1"
[[foreign-agent.home-agent]]
address = "198.51.100.1"
spi = 300
key = "hex:`+keyB+`"
algorithm = "hmac-sha1"
[[foreign-agent.mobile-node]]
nai = "van7@fleet.example"
spi = 301
key = "hex:`+keyB+`"
algorithm = "hmac-md5"
[mobile-node]
nai = "van7@fleet.example"
home-agent = ["ha.example.org", "198.51.100.1"]
home-network = "10.10.0.0/24"
lifetime = "5m"
routes = ["192.0.2.0/24"]
nat-traversal = "off"
encapsulation = "gre"
profile = "fast"
foreign-agents = ["203.0.113.1"]
replay = "nonce"
[[mobile-node.key]]
spi = 256
key = "hex:`+keyA+`"
algorithm = "hmac-sha256"
[[mobile-node.key]]
spi = 257
key = "hex:`+keyB+`"
algorithm = "hmac-sha256"
replay = "nonce"
[[mobile-node.uplink]]
interface = "wlan0"
[[mobile-node.uplink]]
interface = "wwan0"
priority = 50
`)
	if c.Log.For("registration") != slog.LevelDebug || c.Log.For("plane") != slog.LevelWarn {
		t.Errorf("log: %+v", c.Log)
	}
	h := c.HomeAgent
	if h.LocalAddress != netip.MustParseAddr("10.0.0.4") || h.ReverseTunnel != forward.ReverseTunnelRequired || h.SimultaneousBindings != 3 ||
		h.ForeignAgents[0].Associations[0].Algorithm() != assoc.HMACSHA1 {
		t.Errorf("home agent: %+v", h)
	}
	f := c.ForeignAgent
	if f.AdvertiseInterval != 10*time.Second || f.HomeAgents[0].Associations[0].SPI() != 300 || f.MobileNodes[0].NAI != "van7@fleet.example" {
		t.Errorf("foreign agent: %+v", f)
	}
	m := c.MobileNode
	if m.HomeAgents[0].Name != "ha.example.org" || m.HomeAgents[1].Addr != netip.MustParseAddr("198.51.100.1") || m.Routes.Full ||
		len(m.Associations) != 2 || m.Associations[1].SPI() != 257 || m.Associations[1].Replay() != assoc.Nonces ||
		m.Encapsulation.Kind != encap.GRE || m.ForeignAgents.Any || len(m.ForeignAgents.Allow) != 1 || m.Uplinks[1].Priority != 50 {
		t.Errorf("mobile node: %+v", m)
	}
}

func TestKeyFiles(t *testing.T) {
	text := strings.Replace(homeAgent, `key = "hex:`+keyA+`"`, `key-file = "keys.d/van7"`, 1)
	dir := folder(t, map[string]string{"careof.toml": text, "keys.d/van7": keyA + "\n"})
	file, key := filepath.Join(dir, "careof.toml"), filepath.Join(dir, "keys.d/van7")

	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.HomeAgent.MobileNodes[0].Associations[0].Key().Reveal(); got != keyA {
		t.Errorf("key %s", got)
	}

	fails := func(want string) {
		t.Helper()
		_, err := Load(file)
		if err == nil {
			t.Fatal("accepted")
		}
		if diff := cmp.Diff(strings.ReplaceAll(want, "DIR", dir), err.Error()); diff != "" {
			t.Error(diff)
		}
	}
	if err := os.Chmod(key, 0o640); err != nil {
		t.Fatal(err)
	}
	fails("DIR/careof.toml:11: home-agent.mobile-node.key-file: DIR/keys.d/van7 can be read by others: its mode is 0640 (chmod 600 DIR/keys.d/van7)")
	if err := os.WriteFile(key, []byte("secret words"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}
	fails("DIR/careof.toml:11: home-agent.mobile-node.key-file: keys.d/van7: key is not an even number of hexadecimal digits (careof keygen makes one)")
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	fails("DIR/careof.toml:11: home-agent.mobile-node.key-file: cannot read DIR/keys.d/van7: no such file or directory (careof keygen makes one)")
}

func TestSystemdCredential(t *testing.T) {
	text := strings.Replace(homeAgent, `key = "hex:`+keyA+`"`, `key-file = "credential:van7"`, 1)
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	if _, err := Parse("careof.toml", text); err == nil || !strings.Contains(err.Error(), "CREDENTIALS_DIRECTORY is not set") {
		t.Errorf("without credentials: %v", err)
	}
	dir := folder(t, map[string]string{"van7": keyB})
	// systemd's own files look group-readable.
	if err := os.Chmod(filepath.Join(dir, "van7"), 0o440); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if got := mustParse(t, text).HomeAgent.MobileNodes[0].Associations[0].Key().Reveal(); got != keyB {
		t.Errorf("key %s", got)
	}
}

func TestNodesFile(t *testing.T) {
	text := strings.Replace(homeAgent, "[[home-agent.network]]", "nodes-file = \"nodes\"\n[[home-agent.network]]", 1)
	dir := folder(t, map[string]string{"careof.toml": text, "nodes": `# nai home-address spi algorithm key
van8@fleet.example 10.10.0.8 1000 hmac-sha256 ` + keyA + `
-                  10.10.0.9 1001 hmac-md5    hex:` + keyB + ` # old router
van10@fleet.example - 1002 hmac-sha1 ` + keyB + `
`})
	file := filepath.Join(dir, "careof.toml")
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	nodes := c.HomeAgent.MobileNodes
	if len(nodes) != 4 || nodes[2].HomeAddress != netip.MustParseAddr("10.10.0.9") || nodes[2].NAI != "" ||
		nodes[3].HomeAddress.IsValid() || nodes[3].Associations[0].Algorithm() != assoc.HMACSHA1 || nodes[1].Associations[0].SPI() != 1000 {
		t.Errorf("nodes: %+v", nodes)
	}

	if err := os.WriteFile(filepath.Join(dir, "nodes"), []byte(`van8@fleet.example 10.10.0.8 1000 hmac-sha256
van8@fleet.example 10.10.0.300 1000 hmac-sha256 `+keyA+`
van9@fleet.example 10.10.0.9 x hmac-sha256 `+keyA+`
van9@fleet.example 10.10.0.9 1 hmac-sha256 `+keyA+`
van9@fleet.example 10.10.0.9 1000 none -
van9@fleet.example 10.10.0.9 1000 hmac-sha256 00zz
- - 1000 hmac-sha256 `+keyA+`
- 10.10.0.5 1000 hmac-sha256 `+keyA+`
`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Load(file)
	got := strings.ReplaceAll(fmt.Sprint(err), dir, "DIR")
	if diff := cmp.Diff(`DIR/nodes:1: 4 fields instead of 5 (nai home-address spi algorithm key; "-" for none)
DIR/nodes:2: home-address: "10.10.0.300" is no IPv4 address (for example "192.0.2.1")
DIR/nodes:3: spi: "x" is no SPI (a number from 256 on)
DIR/nodes:4: spi: SPI 1 is too low, the lowest is 256 (0 to 255 are reserved (RFC 5944 section 1.6))
DIR/nodes:5: algorithm: none cannot be given here: it needs insecure and source (write a [[home-agent.mobile-node]] table)
DIR/nodes:6: key: key is not an even number of hexadecimal digits (hexadecimal digits; careof keygen makes a key)
DIR/nodes:7: home-agent.mobile-node: needs a home-address, a nai, or both (for example home-address = "10.10.0.5")
DIR/nodes:8: home-agent.mobile-node.home-address: 10.10.0.5 is there twice, first on line 8 (remove one of the two)`, got); diff != "" {
		t.Error(diff)
	}

	if err := os.Chmod(filepath.Join(dir, "nodes"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err = Load(file); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a nodes file that others can read: %v", err)
	}
}

func TestDiffShowsNoSecret(t *testing.T) {
	old := mustParse(t, homeAgent)
	text := strings.NewReplacer(keyA, keyB, `address = "198.51.100.1"`, "address = \"198.51.100.1\"\nmax-lifetime = \"5m\"").Replace(homeAgent)
	text += "[[home-agent.mobile-node]]\nnai = \"van8@fleet.example\"\nspi = 300\nalgorithm = \"hmac-sha1\"\nkey = \"hex:" + keyA + "\"\n"
	changes := Diff(old, mustParse(t, text))
	a, _ := assoc.ParseKey(keyA)
	b, _ := assoc.ParseKey(keyB)
	want := []Change{
		{"home-agent.max-lifetime", `"10m"`, `"5m"`},
		{"home-agent.mobile-node[van7@fleet.example].key", `"` + a.String() + `"`, `"` + b.String() + `"`},
		{"home-agent.mobile-node[van8@fleet.example].nai", "", `"van8@fleet.example"`},
		{"home-agent.mobile-node[van8@fleet.example].spi", "", "300"},
		{"home-agent.mobile-node[van8@fleet.example].key", "", `"` + a.String() + `"`},
		{"home-agent.mobile-node[van8@fleet.example].algorithm", "", `"hmac-sha1"`},
		{"home-agent.mobile-node[van8@fleet.example].replay", "", `"timestamp"`},
	}
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Error(diff)
	}
	if s := fmt.Sprintf("%v %+v %#v %v %+v", changes, changes, changes, old, *old.HomeAgent); strings.Contains(s, keyA) || strings.Contains(s, keyB) {
		t.Error("a key was printed")
	}
	if same := Diff(old, mustParse(t, homeAgent)); len(same) != 0 {
		t.Errorf("equal configurations differ: %v", same)
	}
}

// TestReferenceIsAConfiguration parses what Reference prints, and checks that
// its values are the defaults of the table.
func TestReferenceIsAConfiguration(t *testing.T) {
	dir := folder(t, map[string]string{
		"careof.toml": Reference(), "keys.d/van7": keyA, "keys.d/home": keyA, "keys.d/fa1": keyA, "keys.d/visitor": keyA,
		"keys.d/pool": keyA, "keys.d/radius": "secret", "keys.d/van7.aaa": "a secret of its own", "keys.d/aaa": "secret",
	})
	c, err := Load(filepath.Join(dir, "careof.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings:\n%v", c.Warnings)
	}
	if c.HomeAgent.MaxLifetime != 10*time.Minute || c.Plane.Device != "careof0" {
		t.Errorf("not the defaults: %+v", c)
	}
	for line := range strings.SplitSeq(Reference(), "\n") {
		if len(line) > 160 {
			t.Errorf("too long: %s", line)
		}
	}
}

// TestExamplesParse reads every example as the key that it stands for.
func TestExamplesParse(t *testing.T) {
	examples(t, "", rootTable)
	examples(t, "home-agent", homeAgentTable)
	examples(t, "mobile-node", mobileNodeTable)
	examples(t, "foreign-agent", foreignAgentTable)
	examples(t, "home-agent.mobile-node", mobileNodePeerTable(true))
	examples(t, "foreign-agent.mobile-node", mobileNodePeerTable(false))
	examples(t, "log", logTable)
	examples(t, "plane", planeTable)
	examples(t, "control", controlTable)
}

func examples[S any](t *testing.T, path string, table Table[S]) {
	t.Helper()
	for _, row := range table {
		if row.Doc == "" {
			t.Errorf("%s.%s has no explanation", path, row.Name)
		}
		if row.reference != nil {
			continue
		}
		if row.Default == "" && row.Example == "" {
			t.Errorf("%s.%s has neither default nor example", path, row.Name)
		}
		for _, text := range []string{row.Default, row.Example} {
			if text == "" {
				continue
			}
			d := &decoder{}
			row.set(d, join(path, row.Name), new(S), parseText(text))
			if len(d.problems) > 0 {
				t.Errorf("%s = %s: %v", row.Name, text, d.problems)
			}
		}
	}
}

// What the file says is what is shown to be in force.
func TestEveryEncapsulationIsShown(t *testing.T) {
	for _, word := range []string{"auto", "ipip", "gre", "minimal", "udp", "wireguard"} {
		c := mustParse(t, strings.Replace(mobileNode, "[[mobile", "encapsulation = \""+word+"\"\n[[mobile", 1))
		if want := (Value{"mobile-node.encapsulation", strconv.Quote(word)}); !slices.Contains(c.Values(), want) {
			t.Errorf("%v is not among the values", want)
		}
	}
}

func TestUnknownEnumValuesPrint(t *testing.T) {
	for _, v := range []fmt.Stringer{forward.ReverseTunnel(9), NATTraversal(9), PlaneKind(9), Profile(9)} {
		if !strings.HasSuffix(v.String(), "(9)") {
			t.Errorf("%T prints as %s", v, v)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(homeAgent)
	f.Add(mobileNode)
	f.Add(Reference())
	f.Add("[[home-agent.mobile-node.key]]\nspi=1\n")
	f.Fuzz(func(t *testing.T, text string) {
		// Key files must not make the fuzzer read the machine's files.
		if strings.Contains(text, "file") {
			return
		}
		c, err := Parse("careof.toml", text)
		if (c == nil) == (err == nil) {
			t.Fatalf("config %v, error %v", c, err)
		}
		if c != nil && len(Diff(c, c)) != 0 {
			t.Fatal("a configuration differs from itself")
		}
	})
}
