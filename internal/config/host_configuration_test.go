package config

import (
	"strings"
	"testing"
)

// What a home agent tells its nodes (RFC 4332), and what becomes of it at a node, is checked.
func TestHostConfigurationIsChecked(t *testing.T) {
	const home = "version = 1\n[home-agent]\naddress = \"198.51.100.1\"\n[[home-agent.network]]\nprefix = \"10.10.0.0/24\"\n"
	const node = "version = 1\n[mobile-node]\nhome-address = \"10.10.0.5\"\nhome-agent = \"198.51.100.1\"\nspi = 256\n" +
		"key = \"hex:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"\n"
	for _, c := range []struct{ text, want string }{
		{home + "dns = [\"10.10.0.1\", \"10.10.0.2\", \"10.10.0.3\"]\n", "home-agent.network.dns: RFC 4332 has room for two"},
		{home + "router = \"10.20.0.1\"\n", "home-agent.network.router: 10.20.0.1 is not inside"},
		{home + "domain = \"a..b\"\n", "home-agent.network.domain: "},
		{home + "domain = \"a b\"\n", "home-agent.network.domain: "},
		{node + "dns = \"maybe\"\n", "mobile-node.dns"},
		{node + "dns = \"auto\"\nresolv-conf = \"resolv.conf\"\n", "mobile-node.resolv-conf"},
		{node + "home-dhcp = \"on\"\n", "mobile-node.home-dhcp"},
	} {
		if _, err := Parse("careof.toml", c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\nsays %v, want something about %s", c.text, err, c.want)
		}
	}
}
