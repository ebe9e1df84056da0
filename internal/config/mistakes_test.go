package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMistakes holds one mistake a row, and the exact line that tells of it.
//
//rfc:3024#A.4-2
func TestMistakes(t *testing.T) {
	node := func(lines string) string { // a second node, beginning on line 13
		return homeAgent + "[[home-agent.mobile-node]]\n" + lines
	}
	secret := "spi = 257\nalgorithm = \"hmac-sha256\"\nkey = \"hex:" + keyB + "\"\n"
	in := func(text, old, new string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("no %q in the text", old)
		}
		return strings.Replace(text, old, new, 1)
	}
	for _, c := range []struct{ name, text, want string }{
		{"syntax", "version = 1\n[home-agent\n", `careof.toml:2: expected '.' or ']' to end table name, but got '\n' instead`},
		{"key twice", "version = 1\nversion = 1\n", `careof.toml:2: version: Key 'version' has already been defined. (remove one of the two)`},
		{"no quotes", "version = 1\n[home-agent]\naddress = 198.51.100.1\n", `careof.toml:3: home-agent.address: Invalid float value: "198.51.100.1" (texts and addresses stand between quotes: "192.0.2.1")`},
		{"one quote", "version = 1\n[home-agent]\naddress = \"198.51.100.1\n", `careof.toml:3: home-agent.address: strings cannot contain newlines (a quote is missing at the end of the line)`},
		{"word without quotes", "version = 1\n[plane]\nkind = auto\n", `careof.toml:3: plane.kind: expected value but found "auto" instead (texts and addresses stand between quotes: "auto")`},
		{"duration without quotes", "version = 1\n[home-agent]\nmax-lifetime = 10m\n", `careof.toml:3: home-agent: expected a top-level item to end with a newline, comment, or EOF, but got 'm' instead (texts and durations stand between quotes: "10m")`},
		{"no role", "version = 1\n", `careof.toml: there is no role in this file (add [home-agent], [foreign-agent] or [mobile-node])`},
		{"no version", in(homeAgent, "version = 1", ""), `careof.toml: version: is missing (for example version = 1)`},
		{"other version", in(homeAgent, "version = 1", "version = 2"), `careof.toml:1: version: this program reads version 1 of the configuration (write version = 1)`},
		{"unknown key", in(homeAgent, "spi = 256", "spii = 256"), "careof.toml:7: home-agent.mobile-node.spi: is missing (careof keygen makes an association for both ends)\n" +
			`careof.toml:10: home-agent.mobile-node.spii: unknown key (did you mean "spi"?)`},
		{"unknown section", homeAgent + "[controll]\n", `careof.toml:13: controll: unknown key (did you mean "control"?)`},
		{"unknown subsystem", homeAgent + "[log]\nregistratoin = \"debug\"\n", `careof.toml:14: log.registratoin: unknown key (did you mean "registration"?)`},
		{"bad address", in(homeAgent, `"198.51.100.1"`, `"198.51.100.500"`), `careof.toml:3: home-agent.address: "198.51.100.500" is no IPv4 address (for example "192.0.2.1")`},
		{"multicast", in(homeAgent, `"198.51.100.1"`, `"224.0.0.11"`), `careof.toml:3: home-agent.address: 224.0.0.11 cannot be used here (it must be an address at which other hosts reach one host)`},
		{"loopback", in(homeAgent, `"198.51.100.1"`, `"127.0.0.1"`), `careof.toml:3: home-agent.address: 127.0.0.1 cannot be used here (it must be an address at which other hosts reach one host)`},
		{"tunnel devices and copies", in(homeAgent, "[home-agent]", "[plane]\nkind = \"kernel\"\n[home-agent]\nsimultaneous-bindings = 2"), `careof.toml:5: home-agent.simultaneous-bindings: kernel tunnel devices send no copies (leave it out, or choose another plane.kind)`},
		{"tunnel devices of a foreign agent", in(homeAgent, "[home-agent]", "[plane]\nkind = \"kernel\"\n[home-agent]") + "[foreign-agent]\ninterfaces = [\"eth1\"]\ncare-of-address = \"198.51.100.2\"\n", `careof.toml:3: plane.kind: kernel tunnel devices are for a home agent alone (leave it out, or "auto")`},
		{"no care-of address", "version = 1\n[foreign-agent]\ninterfaces = [\"eth1\"]\n", `careof.toml:2: foreign-agent.care-of-address: is missing (for example care-of-address = "203.0.113.1")`},
		{"an empty list of care-of addresses", "version = 1\n[foreign-agent]\ninterfaces = [\"eth1\"]\ncare-of-address = []\n", `careof.toml:4: foreign-agent.care-of-address: must not be empty`},
		{"one address for two agents", homeAgent + "[foreign-agent]\ninterfaces = [\"eth1\"]\ncare-of-address = \"198.51.100.1\"\n",
			`careof.toml:15: foreign-agent.care-of-address: 198.51.100.1 is the home agent's address too (give this host a second address)`},
		{"everything at home", in(homeAgent, `"10.10.0.0/24"`, `"0.0.0.0/0"`), `careof.toml:5: home-agent.network.prefix: 0.0.0.0/0 cannot be a home network (at least /8, of addresses that hosts can have)`},
		{"multicast at home", in(homeAgent, `"10.10.0.0/24"`, `"224.0.0.0/8"`), `careof.toml:5: home-agent.network.prefix: 224.0.0.0/8 cannot be a home network (at least /8, of addresses that hosts can have)`},
		{"outside", in(homeAgent, "10.10.0.5", "10.11.0.5"), `careof.toml:8: home-agent.mobile-node.home-address: 10.11.0.5 is in none of the home networks (add a [[home-agent.network]] that contains it)`},
		{"IPv6", in(homeAgent, `"198.51.100.1"`, `"2001:db8::1"`), `careof.toml:3: home-agent.address: 2001:db8::1 is no IPv4 address (only Mobile IPv4 is there yet)`},
		{"number for address", in(homeAgent, `"198.51.100.1"`, `5`), `careof.toml:3: home-agent.address: must be an IPv4 address, not the number 5 (for example "192.0.2.1")`},
		{"host bits", in(homeAgent, "10.10.0.0/24", "10.10.0.7/24"), `careof.toml:5: home-agent.network.prefix: 10.10.0.7/24 has bits set beyond its length (did you mean "10.10.0.0/24"?)`},
		{"pool outside", in(homeAgent, "10.10.0.199", "10.10.1.9"), `careof.toml:6: home-agent.network.pool: 10.10.0.100-10.10.1.9 is not inside 10.10.0.0/24 (a pool is a part of the prefix above it)`},
		{"pool backwards", in(homeAgent, "10.10.0.199", "10.10.0.9"), `careof.toml:6: home-agent.network.pool: the range 10.10.0.100-10.10.0.9 ends before it begins (did you mean "10.10.0.9-10.10.0.100"?)`},
		{"pool overlap", in(homeAgent, `"10.10.0.100-10.10.0.199"`, `"10.10.0.100-10.10.0.199", "10.10.0.150"`), `careof.toml:6: home-agent.network.pool: 10.10.0.150 overlaps 10.10.0.100-10.10.0.199 (make one of the two smaller)`},
		{"pool with agent", in(homeAgent, "198.51.100.1", "10.10.0.120"), `careof.toml:6: home-agent.network.pool: 10.10.0.100-10.10.0.199 contains the home agent's own address 10.10.0.120 (leave that address out of the pool)`},
		{"pool with broadcast", in(homeAgent, "10.10.0.199", "10.10.0.255"), `careof.toml:6: home-agent.network.pool: 10.10.0.100-10.10.0.255 contains 10.10.0.255, which no node can have (begin and end one address further in)`},
		{"networks overlap", homeAgent + "[[home-agent.network]]\nprefix = \"10.10.0.128/25\"\n", `careof.toml:14: home-agent.network.prefix: overlaps 10.10.0.0/24 on line 5 (make one of the two smaller, or remove it)`},
		{"node in pool", in(homeAgent, "10.10.0.5", "10.10.0.105"), `careof.toml:8: home-agent.mobile-node.home-address: 10.10.0.105 lies in the pool 10.10.0.100-10.10.0.199 and could be given to another node (take it out of the pool)`},
		{"node is agent", in(homeAgent, `home-address = "10.10.0.5"`, `home-address = "198.51.100.1"`), `careof.toml:8: home-agent.mobile-node.home-address: 198.51.100.1 is the home agent's own address (give the node another one)`},
		{"same address", node(`home-address = "10.10.0.5"` + "\n" + secret), `careof.toml:14: home-agent.mobile-node.home-address: 10.10.0.5 is there twice, first on line 7 (remove one of the two)`},
		{"same name", node(`nai = "van7@fleet.example"` + "\n" + secret), `careof.toml:14: home-agent.mobile-node.nai: van7@fleet.example is there twice, first on line 7 (remove one of the two)`},
		{"nobody", node(secret), `careof.toml:13: home-agent.mobile-node: needs a home-address, a nai, or both (for example home-address = "10.10.0.5")`},
		{"no pool for a name", in(in(homeAgent, `pool = ["10.10.0.100-10.10.0.199"]`, ""), `home-address = "10.10.0.5"`, ""),
			`careof.toml:7: home-agent.mobile-node: van7@fleet.example has no home address, and there is no pool to take one from (add a pool to a [[home-agent.network]], or a home-address here)`},
		{"wrong is not missing", in(in(homeAgent, "10.10.0.5", "10.10.0.500"), `pool = ["10.10.0.100-10.10.0.199"]`, ""), `careof.toml:8: home-agent.mobile-node.home-address: "10.10.0.500" is no IPv4 address (for example "192.0.2.1")`},
		{"wrong pool is not missing", in(in(homeAgent, `home-address = "10.10.0.5"`, ""), "10.10.0.199", "x"), `careof.toml:6: home-agent.network.pool: "x" is no IPv4 address (for example "192.0.2.1")`},
		{"bad name", in(homeAgent, "van7@fleet", "van7@@fleet"), `careof.toml:9: home-agent.mobile-node.nai: NAI "van7@@fleet.example" has more than one @ (for example "van7@fleet.example")`},
		{"reserved SPI", in(homeAgent, "spi = 256", "spi = 255"), `careof.toml:10: home-agent.mobile-node.spi: SPI 255 is too low, the lowest is 256 (0 to 255 are reserved (RFC 5944 section 1.6))`},
		{"algorithm", in(homeAgent, "hmac-sha256", "hmac-sha265"), `careof.toml:12: home-agent.mobile-node.algorithm: "hmac-sha265" is not one of hmac-sha256, hmac-sha1, hmac-md5, keyed-md5 or none (did you mean "hmac-sha256"?)`},
		{"no algorithm", in(homeAgent, `algorithm = "hmac-sha256"`, ""), `careof.toml:7: home-agent.mobile-node.algorithm: is missing (for example algorithm = "hmac-sha256")`},
		{"no key", in(homeAgent, `key = "hex:`+keyA+`"`, ""), `careof.toml:7: home-agent.mobile-node.key-file: is missing (careof keygen makes one)`},
		{"odd key", in(homeAgent, keyA, keyA[1:]), `careof.toml:11: home-agent.mobile-node.key: key is not an even number of hexadecimal digits (careof keygen makes one)`},
		{"no hex", in(homeAgent, "hex:", ""), `careof.toml:11: home-agent.mobile-node.key: must be "hex:" and hexadecimal digits (careof keygen makes one)`},
		{"key and file", homeAgent + "key-file = \"x\"\n", `careof.toml:11: home-agent.mobile-node.key: key and key-file are both there (keep one)`},
		{"none alone", in(in(in(homeAgent, "spi = 256", ""), `key = "hex:`+keyA+`"`, ""), "hmac-sha256", "none"),
			"careof.toml:7: home-agent.mobile-node.source: is missing: algorithm none needs the addresses from which the node may register (for example source = \"192.0.2.0/24\")\n" +
				"careof.toml:12: home-agent.mobile-node.algorithm: none lets anybody move this node (write insecure = true if you mean it)"},
		{"insecure with a key", homeAgent + "insecure = true\n", `careof.toml:13: home-agent.mobile-node.insecure: has no meaning without algorithm = "none" (leave it out)`},
		{"lifetime", in(homeAgent, "[[home-agent.network]]", "max-lifetime = \"65535s\"\n[[home-agent.network]]"), `careof.toml:4: home-agent.max-lifetime: must be a duration from 1s to 18h12m14s, not 65535s`},
		{"lifetime number", in(homeAgent, "[[home-agent.network]]", "max-lifetime = 600\n[[home-agent.network]]"), `careof.toml:4: home-agent.max-lifetime: must be a duration from 1s to 18h12m14s, not the number 600 (for example "90s" or "10m")`},
		{"lifetime fraction", in(homeAgent, "[[home-agent.network]]", "max-lifetime = \"1500ms\"\n[[home-agent.network]]"), `careof.toml:4: home-agent.max-lifetime: 1500ms is not a whole number of seconds (the protocol counts whole seconds)`},
		{"keepalive", in(homeAgent, "[[home-agent.network]]", "keepalive = \"9s\"\n[[home-agent.network]]"), `careof.toml:4: home-agent.keepalive: must be a duration from 10s to 18h12m15s, not 9s`},
		{"bindings", in(homeAgent, "[[home-agent.network]]", "simultaneous-bindings = 4\n[[home-agent.network]]"), `careof.toml:4: home-agent.simultaneous-bindings: must be a number from 1 to 3, not 4`},
		{"force without UDP", in(homeAgent, "[[home-agent.network]]", "nat-traversal = \"force\"\nencapsulations = [\"gre\"]\n[[home-agent.network]]"),
			`careof.toml:5: home-agent.encapsulations: nat-traversal forces UDP, which is not granted (add "udp", or set nat-traversal = "off")`},
		{"twice in a list", in(homeAgent, "[[home-agent.network]]", "encapsulations = [\"gre\", \"gre\"]\n[[home-agent.network]]"), `careof.toml:4: home-agent.encapsulations: "gre" stands there twice (remove one of the two)`},
		{"interface", in(homeAgent, "[[home-agent.network]]", "interfaces = [\"eth0/1\"]\n[[home-agent.network]]"), `careof.toml:4: home-agent.interfaces: "eth0/1" is no interface name (1 to 15 characters, without spaces, slashes or colons)`},
		{"prefixes of two", in(homeAgent, "[[home-agent.mobile-node]]", "[[home-agent.mobile-node]]\nprefixes = [\"10.20.0.0/16\"]") + "[[home-agent.mobile-node]]\nhome-address = \"10.10.0.6\"\nprefixes = [\"10.20.7.0/24\"]\n" + secret,
			`careof.toml:16: home-agent.mobile-node.prefixes: 10.20.7.0/24 overlaps 10.20.0.0/16 of van7@fleet.example (a prefix belongs to one node)`},
		{"agent twice", homeAgent + strings.Repeat("[[home-agent.foreign-agent]]\naddress = \"203.0.113.1\"\n"+secret, 2), `careof.toml:19: home-agent.foreign-agent.address: 203.0.113.1 is there twice, first on line 13 (remove one of the two)`},
		{"none for agents", homeAgent + "[[home-agent.foreign-agent]]\naddress = \"203.0.113.1\"\nalgorithm = \"none\"\n", `careof.toml:15: home-agent.foreign-agent.algorithm: none is for mobile nodes and their home agent only (leave the table out: agents need no association)`},
		{"one table", "version = 1\n[home-agent]\naddress = \"198.51.100.1\"\n[home-agent.network]\nprefix = \"10.10.0.0/24\"\n", `careof.toml:4: home-agent.network: is a list of tables (write [[home-agent.network]])`},
		{"interface nobody sees", in(homeAgent, "[[home-agent.network]]", "interfaces = [\"eth\\u00000\"]\n[[home-agent.network]]"), `careof.toml:4: home-agent.interfaces: "eth\x000" is no interface name (1 to 15 characters, without spaces, slashes or colons)`},
		{"no uplink", in(in(mobileNode, "[[mobile-node.uplink]]", ""), `interface = "wlan0"`, ""), `careof.toml:2: mobile-node.uplink: there is no link to move between (add [[mobile-node.uplink]] with interface = "wlan0")`},
		{"uplink twice", mobileNode + "[[mobile-node.uplink]]\ninterface = \"wlan0\"\n", `careof.toml:11: mobile-node.uplink.interface: wlan0 is there twice (remove one of the two)`},
		{"uplink is tunnel", in(mobileNode, `"wlan0"`, `"careof0"`), `careof.toml:9: mobile-node.uplink.interface: careof0 is the tunnel device itself (plane.device) (name the interface below it, such as wlan0)`},
		{"no home agent", in(mobileNode, `home-agent = "198.51.100.1"`, ""), `careof.toml:2: mobile-node.home-agent: is missing (or home-network, to discover one)`},
		{"not at home", in(mobileNode, "[[mobile-node.uplink]]", "home-network = \"10.11.0.0/24\"\n[[mobile-node.uplink]]"), `careof.toml:3: mobile-node.home-address: 10.10.0.5 is not inside the home network 10.11.0.0/24 (one of home-address and home-network is wrong)`},
		{"host name", in(mobileNode, `"198.51.100.1"`, `"198.51.100.1.1"`), `careof.toml:4: mobile-node.home-agent: "198.51.100.1.1" is no IPv4 address (for example "192.0.2.1")`},
		{"no host name", in(mobileNode, `"198.51.100.1"`, `"ha_.example..net"`), `careof.toml:4: mobile-node.home-agent: "ha_.example..net" is no host name (labels of letters, digits and hyphens, with a dot between two, as in "ha.example.net")`},
		{"uplink to nowhere", in(mobileNode, `"wlan0"`, `"lo"`), `careof.toml:9: mobile-node.uplink.interface: lo leads nowhere but to this host (name one that leads to other hosts, such as wlan0)`},
		{"encrypted, nearly", in(mobileNode, "[[mobile-node.uplink]]", "encapsulation = \"wiregard\"\n[[mobile-node.uplink]]"), `careof.toml:8: mobile-node.encapsulation: "wiregard" is not one of auto, ipip, gre, minimal, udp or wireguard (did you mean "wireguard"?)`},
		{"encrypted but off", in(mobileNode, "[[mobile-node.uplink]]", "nat-traversal = \"off\"\nencapsulation = \"wireguard\"\n[[mobile-node.uplink]]"), `careof.toml:9: mobile-node.encapsulation: wireguard travels in UDP and needs NAT traversal, which is off (leave nat-traversal out)`},
		{"encrypted one way", in(mobileNode, "[[mobile-node.uplink]]", "reverse-tunnel = \"off\"\nencapsulation = \"wireguard\"\n[[mobile-node.uplink]]"), `careof.toml:9: mobile-node.encapsulation: wireguard encrypts what goes through the tunnel, and without a reverse tunnel the node's own packets would not (leave reverse-tunnel out)`},
		{"encrypted but not all", in(mobileNode, "[[mobile-node.uplink]]", "direct = [\"192.0.2.0/24\"]\nencapsulation = \"wireguard\"\n[[mobile-node.uplink]]"), `careof.toml:8: mobile-node.direct: wireguard lets nothing out in the clear, and this would (take it out, or choose another encapsulation)`},
		{"encryption required without UDP", in(homeAgent, "[[home-agent.network]]", "wireguard = \"required\"\nforced-udp = \"off\"\n[[home-agent.network]]"), `careof.toml:4: home-agent.wireguard: encrypted tunnels are UDP tunnels, which are not granted to everybody (leave nat-traversal, forced-udp and encapsulations out)`},
		{"UDP but off", in(mobileNode, "[[mobile-node.uplink]]", "nat-traversal = \"off\"\nencapsulation = \"udp\"\n[[mobile-node.uplink]]"), `careof.toml:9: mobile-node.encapsulation: udp needs NAT traversal, which is off (set nat-traversal = "force")`},
		{"routes", in(mobileNode, "[[mobile-node.uplink]]", "routes = \"ful\"\n[[mobile-node.uplink]]"), `careof.toml:8: mobile-node.routes: "ful" is not understood (write "full", or a list such as ["192.0.2.0/24"])`},
		{"long socket", "version = 1\n[control]\nsocket = \"/" + strings.Repeat("x", 107) + "\"\n" + strings.TrimPrefix(homeAgent, "version = 1\n"), `careof.toml:3: control.socket: the path is too long for a socket (at most 107 characters)`},
		{"same SPI", in(homeAgent, `key = "hex:`+keyA+`"`, "") + strings.Repeat("[[home-agent.mobile-node.key]]\n"+secret, 2), "careof.toml:7: home-agent.mobile-node.key-file: is missing (careof keygen makes one)\ncareof.toml:10: home-agent.mobile-node.spi: SPI 257 is there twice (each key of a peer needs its own)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("careof.toml", c.text)
			if err == nil {
				t.Fatal("accepted")
			}
			if diff := cmp.Diff(c.want, err.Error()); diff != "" {
				t.Error(diff)
			}
			if strings.Contains(err.Error(), keyA[1:]) || strings.Contains(err.Error(), keyB[1:]) {
				t.Error("the problem quotes a key")
			}
		})
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	_, err := Parse("careof.toml", `version = 1
state-dir = "/x"
[home-agent]
address = "nowhere"
max-lifetime = "0s"
[[home-agent.mobile-node]]
home-address = "10.10.0.5"
spi = 3
algorithm = "md4"
[[mobile-node.uplink]]
priority = "high"
`)
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatalf("%v", err)
	}
	got := map[string]int{}
	for _, p := range problems {
		got[p.Key] = p.Line
	}
	want := map[string]int{
		"state-dir": 2, "home-agent.address": 4, "home-agent.max-lifetime": 5,
		"home-agent.mobile-node.spi": 8, "home-agent.mobile-node.algorithm": 9, "home-agent.mobile-node.key-file": 6,
		"mobile-node": 10, "mobile-node.uplink.interface": 10, "mobile-node.uplink.priority": 11,
	}
	for key, line := range want {
		if got[key] != line {
			t.Errorf("%s: line %d, want %d", key, got[key], line)
		}
	}
	for i := 1; i < len(problems); i++ {
		if problems[i].Line < problems[i-1].Line {
			t.Errorf("out of order: %v before %v", problems[i-1], problems[i])
		}
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"short key", strings.Replace(homeAgent, keyA, "0011", 1), `careof.toml:11: home-agent.mobile-node.key: the key has only 16 bits (careof keygen makes a longer one)`},
		{"obsolete", strings.Replace(homeAgent, "hmac-sha256", "keyed-md5", 1), `careof.toml:12: home-agent.mobile-node.algorithm: keyed-md5 is obsolete (use it only for a peer that knows nothing better)`},
		{"no UDP", strings.Replace(homeAgent, "[[home-agent.network]]", "encapsulations = [\"ipip\"]\n[[home-agent.network]]", 1),
			`careof.toml:4: home-agent.encapsulations: nodes behind a NAT will be denied: udp is not granted (add "udp", or set nat-traversal = "off")`},
		{"none", "version = 1\n[home-agent]\naddress = \"198.51.100.1\"\n[[home-agent.network]]\nprefix = \"10.10.0.0/24\"\n[[home-agent.mobile-node]]\nhome-address = \"10.10.0.5\"\nalgorithm = \"none\"\ninsecure = true\nsource = \"192.0.2.0/24\"\n",
			`careof.toml:8: home-agent.mobile-node.algorithm: registrations are not authenticated: anybody at the right address can move this node (for teaching only)`},
		{"networks in the kernel", strings.Replace(homeAgent, "[[home-agent.network]]", "[[home-agent.prefix-pool]]\nprefix = \"10.20.0.0/16\"\nlength = 24\n[[home-agent.network]]", 1) + "[plane]\nkind = \"kernel\"\n",
			`careof.toml:17: plane.kind: a node in a visited network with a mobile network's addresses, and no NAT before it, is not reached by kernel tunnel devices (leave it out, or give mobile networks addresses that no visited network has)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, mustParse(t, c.text).Warnings.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLinesAreFound(t *testing.T) {
	lines := scanLines(`# comment
a = 1
"quoted key" = "x = y" # [c]
list = [
  "]", # ]
  "b",
]
text = """
[not.a.table]
"""
[t]
k.sub = 1
[[t.arr]]
k = { x = 1 }
[t.arr.deep]
k = 2
[[t.arr]]
k = 3
[[t.arr.inner]]
z = 1
`)
	for path, want := range map[string]int{
		"a": 2, "quoted key": 3, "list": 4, "text": 8, "t": 11, "t.k.sub": 12, "t.arr": 13, "t.arr[0]": 13, "t.arr[0].k": 14,
		"t.arr[0].k.x": 14, "t.arr[0].deep.k": 16, "t.arr[1]": 17, "t.arr[1].k": 18, "t.arr[1].inner[0].z": 20, "t.arr[1].missing": 17, "nowhere": 0,
	} {
		if got := lines.find(path); got != want {
			t.Errorf("%s: line %d, want %d", path, got, want)
		}
	}
}
