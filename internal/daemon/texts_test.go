package daemon

import (
	"fmt"
	"strings"
)

// The configurations that most tests start from, or add to. What every daemon of
// a test has for itself comes from daemons.write.

// A mobile node, as it and its home agent have it.
const (
	nodeAddress = `home-address = "10.10.0.5"
`
	nodeKey = `spi = 256
key = "hex:00112233445566778899aabbccddeeff"
algorithm = "hmac-sha256"
`
	knownNode = "[[home-agent.mobile-node]]\n" + nodeAddress + nodeKey
	thisNode  = "[mobile-node]\nhome-agent = \"198.51.100.1\"\n" + nodeAddress + nodeKey
)

// Where a node has two uplinks, the first is the better one.
const twoRadios = `[[mobile-node.uplink]]
interface = "radio0"
priority = 100
[[mobile-node.uplink]]
interface = "radio1"
priority = 50
`

// What it shares with a foreign agent, and that one with the home agent.
const (
	visitKey = `spi = 301
key = "hex:a0112233445566778899aabbccddeeff"
algorithm = "hmac-sha256"
`
	knownVisitor = "[[foreign-agent.mobile-node]]\n" + nodeAddress + visitKey
	agentsKey    = `spi = 300
key = "hex:f0112233445566778899aabbccddeeff"
algorithm = "hmac-sha256"
`
)

// A home agent and a node, without a foreign agent.
const (
	pairHomeText = `[home-agent]
address = "198.51.100.1"
[[home-agent.network]]
prefix = "10.10.0.0/24"
` + knownNode

	pairMobileText = thisNode + `[[mobile-node.uplink]]
interface = "eth0"
priority = 100
`
)

// The same with a foreign agent, and keys between all.
const (
	homeAgentText = pairHomeText + "[[home-agent.foreign-agent]]\naddress = \"203.0.113.1\"\n" + agentsKey

	// Visitors need no key.
	openForeignText = `[foreign-agent]
interfaces = ["lan0"]
care-of-address = "203.0.113.1"
advertise-interval = "3s"
`
	foreignAgentText = openForeignText + "[[foreign-agent.home-agent]]\naddress = \"198.51.100.1\"\n" + agentsKey + knownVisitor

	visitorText = pairMobileText + "[[mobile-node.foreign-agent]]\naddress = \"203.0.113.1\"\n" + visitKey
)

// with puts lines into a section of a configuration that has it.
func with(text, section, format string, arguments ...any) string {
	header := "[" + section + "]\n"
	if !strings.Contains(text, header) {
		panic("no section " + section)
	}
	return strings.Replace(text, header, header+fmt.Sprintf(format, arguments...)+"\n", 1)
}
