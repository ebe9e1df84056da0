package config

import (
	"fmt"
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
		{home + "dhcp-server = \"10.10.0.67\"\n[home-agent.dhcp]\nserver = \"10.10.0.67\"\n", "home-agent.network.dhcp-server: "},
		{home + "[home-agent.dhcp]\nserver = \"198.51.100.1\"\n", "home-agent.dhcp.server: 198.51.100.1 is the relay's own address"},
		{home + "[home-agent.dhcp]\nserver = \"10.10.0.67\"\n[plane]\nkind = \"kernel\"\n", "home-agent.dhcp: the kernel"},
		{home + "[home-agent.dhcp]\n", "home-agent.dhcp.server"},
		{home + "[home-agent.dhcp]\nserver = \"10.10.0.67\"\ninformation = [\"name\"]\n", "home-agent.dhcp.information"},
		{node + "home-dhcp = \"lease\"\n", "mobile-node.home-dhcp"},
		{node + "dns = \"maybe\"\n", "mobile-node.dns"},
		{node + "dns = \"auto\"\nresolv-conf = \"resolv.conf\"\n", "mobile-node.resolv-conf"},
		{node + "home-dhcp = \"on\"\n", "mobile-node.home-dhcp"},
	} {
		if _, err := Parse("careof.toml", c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\nsays %v, want something about %s", c.text, err, c.want)
		}
	}
}

// The relay is the home agent's address unless it is told another one, behind a 1:1 NAT the
// one that is here; it says who asks unless it is told not to.
func TestTheRelaysAddress(t *testing.T) {
	const home = "version = 1\n[home-agent]\naddress = \"198.51.100.1\"\n%s\n[home-agent.dhcp]\nserver = [\"10.10.0.67\", \"10.10.0.68\"]\n%s\n[[home-agent.network]]\nprefix = \"10.10.0.0/24\"\n"
	for _, c := range []struct{ agent, relay, want string }{
		{"", "", "198.51.100.1"},
		{`local-address = "10.0.0.4"`, "", "10.0.0.4"},
		{`local-address = "10.0.0.4"`, `address = "10.10.0.1"`, "10.10.0.1"},
	} {
		got, err := Parse("careof.toml", fmt.Sprintf(home, c.agent, c.relay))
		if err != nil {
			t.Fatal(err)
		}
		if a := got.HomeAgent.RelayAddress(); a.String() != c.want || len(got.HomeAgent.DHCP.Servers) != 2 || len(got.HomeAgent.DHCP.Information) != 2 {
			t.Errorf("%s %s: %s, %+v", c.agent, c.relay, a, got.HomeAgent.DHCP)
		}
	}
}
