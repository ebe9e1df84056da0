package config

import (
	"strings"
	"testing"
)

// What is wrong with a pool of home agents, and with a node that asks for an
// assignment, is said with its line.
func TestPoolsAndAssignments(t *testing.T) {
	member := "\n[[home-agent.pool-member]]\naddress = \"198.51.100.2\"\nspi = 400\nkey = \"hex:" + keyA + "\"\nalgorithm = \"hmac-sha256\"\n"
	c := mustParse(t, homeAgent+member)
	if m := c.HomeAgent.PoolMembers; len(m) != 1 || len(m[0].Associations) != 1 || m[0].Associations[0].SPI() != 400 {
		t.Fatalf("%+v", m)
	}
	for text, want := range map[string]string{
		homeAgent + member + member: "198.51.100.2 is there twice",
		homeAgent + strings.Replace(member, "198.51.100.2", "198.51.100.1", 1):                         "is this home agent's own address",
		strings.Replace(mobileNode, "[mobile-node]\n", "[mobile-node]\nassignment = \"home\"\n", 1):    "there is no nai",
		strings.Replace(mobileNode, "[mobile-node]\n", "[mobile-node]\nassignment = \"nearest\"\n", 1): "mobile-node.assignment",
	} {
		if _, err := Parse("careof.toml", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}
