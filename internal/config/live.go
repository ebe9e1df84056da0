package config

import (
	"slices"
	"strings"
)

// live lists the keys that a running daemon takes over at a reload, each with
// everything below it. What is not here needs a restart: it says where a role
// is, or belongs to the device.
var live = []string{
	"log",

	"aaa.timeout", "aaa.tries", "aaa.dead-time", "aaa.questions", "aaa.questions-per-source", "aaa.mobile-home-algorithm",
	"aaa.nas-identifier", "aaa.source", "aaa.order-timestamps", "aaa.interim", "aaa.key-lifetime", "aaa.server", "aaa.subscriber", "aaa.serve",

	"home-agent.max-lifetime", "home-agent.reverse-tunnel", "home-agent.encapsulations", "home-agent.simultaneous-bindings",
	"home-agent.nodes-file", "home-agent.network", "home-agent.mobile-node", "home-agent.foreign-agent",

	"foreign-agent.advertise-interval", "foreign-agent.max-lifetime", "foreign-agent.reverse-tunnel",
	"foreign-agent.home-agent", "foreign-agent.mobile-node",

	"mobile-node.home-agent", "mobile-node.lifetime", "mobile-node.routes", "mobile-node.uplink",
	"mobile-node.spi", "mobile-node.key", "mobile-node.key-file", "mobile-node.algorithm", "mobile-node.replay",
}

// Live says whether a running daemon takes the change over at a reload.
func (c Change) Live() bool {
	key := keyOf(c.Key)
	return slices.ContainsFunc(live, func(l string) bool { return key == l || strings.HasPrefix(key, l+".") })
}
