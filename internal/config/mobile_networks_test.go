package config

import (
	"net/netip"
	"strings"
	"testing"
)

const routerFile = `version = 1
[mobile-node]
home-address = "10.10.0.5"
home-agent = "198.51.100.1"
spi = 256
key = "hex:00112233445566778899aabbccddeeff"
algorithm = "hmac-sha256"
KEYS
[[mobile-node.uplink]]
interface = "wlan0"
[[mobile-node.mobile-network]]
NETWORK
`

const poolFile = `version = 1
[home-agent]
address = "198.51.100.1"
[[home-agent.network]]
prefix = "10.10.0.0/24"
[[home-agent.mobile-node]]
home-address = "10.10.0.5"
spi = 256
key = "hex:00112233445566778899aabbccddeeff"
algorithm = "hmac-sha256"
prefixes = PREFIXES
[[home-agent.prefix-pool]]
POOL
`

// What cannot be a mobile router's network, or a home agent's pool, is said with
// its line before anything starts.
func TestMobileNetworksAreChecked(t *testing.T) {
	const good = "interface = \"lan0\"\nprefix = \"10.20.7.0/24\""
	for _, c := range []struct{ name, file, keys, network, want string }{
		{"a network", routerFile, "", good, ""},
		{"one to be assigned", routerFile, "", "interface = \"lan0\"\nlength = 24", ""},
		{"one that the home agent knows", routerFile, `mobile-networks = "implicit"`, good, ""},
		{"on an uplink", routerFile, "", "interface = \"wlan0\"\nprefix = \"10.20.7.0/24\"", "mobile-network.interface: wlan0 is an uplink"},
		{"on the tunnel device", routerFile, "", "interface = \"careof0\"\nprefix = \"10.20.7.0/24\"", "is the tunnel device itself"},
		{"implicit and assigned", routerFile, `mobile-networks = "implicit"`, "interface = \"lan0\"", "in implicit mode none is assigned"},
		{"two lengths", routerFile, "", good + "\nlength = 25", "the prefix has a length already"},
		{"the home address in it", routerFile, "", "interface = \"lan0\"\nprefix = \"10.10.0.0/24\"", "contains the home address"},
		{"no hosts in it", routerFile, "", "interface = \"lan0\"\nprefix = \"10.20.7.0/31\"", "cannot be a mobile network"},
		{"without a reverse tunnel", routerFile, `reverse-tunnel = "off"`, good, "a mobile router needs the reverse tunnel"},
		{"twice", routerFile, "", good + "\n[[mobile-node.mobile-network]]\ninterface = \"lan1\"\nprefix = \"10.20.0.0/16\"", "10.20.0.0/16 overlaps 10.20.7.0/24"},
		{"a pool", poolFile, `["10.20.7.0/24"]`, "prefix = \"10.30.0.0/16\"\nlength = 24", ""},
		{"a pool of longer ones", poolFile, `[]`, "prefix = \"10.30.0.0/24\"\nlength = 16", "/24 is longer than /16"},
		{"a pool that is somebody's", poolFile, `["10.20.7.0/24"]`, "prefix = \"10.20.0.0/16\"\nlength = 24", "10.20.0.0/16 overlaps 10.20.7.0/24 of 10.10.0.5"},
		{"a pool with a home address", poolFile, `[]`, "prefix = \"10.10.0.0/25\"\nlength = 26", "contains the home address 10.10.0.5"},
		{"a pool without end", poolFile, `[]`, "prefix = \"16.0.0.0/8\"\nlength = 30", "more than a million prefixes"},
		{"prefixes with the agent in them", poolFile, `["198.51.100.0/24"]`, "prefix = \"10.30.0.0/16\"\nlength = 24", "contains the home agent's own address"},
		{"prefixes in each other", poolFile, `["10.20.0.0/16", "10.20.7.0/24"]`, "prefix = \"10.30.0.0/16\"\nlength = 24", "10.20.7.0/24 overlaps 10.20.0.0/16 of 10.10.0.5"},
	} {
		text := strings.NewReplacer("KEYS", c.keys, "NETWORK", c.network, "PREFIXES", c.keys, "POOL", c.network).Replace(c.file)
		_, err := Parse("careof.toml", text)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// What a node may be invited with is what the file could say of one more node.
func TestAPrefixForOneMoreNode(t *testing.T) {
	h := &HomeAgent{
		Addresses:   []netip.Addr{netip.MustParseAddr("198.51.100.1")},
		Networks:    []Network{{Prefix: netip.MustParsePrefix("10.10.0.0/24")}},
		PrefixPools: []PrefixPool{{Prefix: netip.MustParsePrefix("10.30.0.0/16"), Length: 24}},
		MobileNodes: []MobileNodePeer{{HomeAddress: netip.MustParseAddr("10.10.0.5"), Prefixes: []netip.Prefix{netip.MustParsePrefix("172.16.0.0/24")}}},
	}
	h.MobileNetworks = On
	for prefix, good := range map[string]bool{
		"10.20.0.0/24":    true,
		"10.20.0.0/31":    false, // no hosts
		"224.0.0.0/24":    false,
		"10.10.0.128/25":  false, // the home network
		"10.30.7.0/24":    false, // the pool
		"172.16.0.128/25": false, // another node's
		"198.51.100.0/24": false, // the home agent's own
	} {
		if err := h.PrefixForNode(netip.MustParsePrefix(prefix)); (err == nil) != good {
			t.Errorf("%s: %v", prefix, err)
		}
	}
	h.MobileNetworks = Off
	if h.PrefixForNode(netip.MustParsePrefix("10.20.0.0/24")) == nil {
		t.Error("a home agent that serves no mobile networks gives one out")
	}
}
