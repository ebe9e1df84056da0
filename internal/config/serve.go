package config

import (
	"net/netip"
	"time"

	"careof/internal/core/realm"
)

// AAAServe is the [aaa.serve] section: this host is its realm's AAA server.
type AAAServe struct {
	HomeAgentAt   realm.Policy
	Partners      []string // nil: all
	Clients       []string // nil: all of the realm
	Authorisation time.Duration
	RequireTLS    Switch
	MaxSessions   int
	HomeAgents    []AAAHomeAgent
}

// An AAAHomeAgent is an [[aaa.serve.home-agent]] table.
type AAAHomeAgent struct {
	Identity string
	Address  netip.Addr
	Visitors Switch
}

var serveTable = Table[AAAServe]{
	Field("home-agent-at", Word(realm.ParsePolicy, "home", "visited-allowed", "visited-preferred"), func(s *AAAServe) *realm.Policy { return &s.HomeAgentAt }, Help{
		Default: `"home"`,
		Doc: "Where the realm's nodes have their home agent: at home, also in a visited network where they ask for one by name,\n" +
			"or in the visited network whenever that offers one and the node leaves the choice (Home Agent field 0.0.0.0).",
	}),
	Field("partners", List(String), func(s *AAAServe) *[]string { return &s.Partners }, Help{
		Example: `["visited.example"]`,
		Doc:     "The realms whose networks the nodes may visit, and whose nodes may visit here. Left out, all that a peer leads to.",
	}),
	Field("clients", List(String), func(s *AAAServe) *[]string { return &s.Clients }, Help{
		Example: `["fa1.visited.example"]`,
		Doc:     "The Diameter identities that may ask as foreign agents of this realm. Left out, all of this realm.",
	}),
	Field("authorisation", Duration(10*time.Second, 30*24*time.Hour), func(s *AAAServe) *time.Duration { return &s.Authorisation }, Help{
		Default: `"1h"`,
		Doc:     "How long a node is authorised for (Authorization-Lifetime). Registrations in that time ask nobody.",
	}),
	Field("require-tls", switchKind, func(s *AAAServe) *Switch { return &s.RequireTLS }, Help{
		Default: `"on"`,
		Doc:     "Whether keys are given to peers over TLS alone: everybody on the way reads them. Without it others are refused (5025).",
	}),
	Field("max-sessions", Int[int](1, 10_000_000), func(s *AAAServe) *int { return &s.MaxSessions }, Help{
		Default: "100000",
		Doc:     "The most sessions that are remembered.",
	}),
	tables("home-agent", Table[AAAHomeAgent]{
		Field("identity", String, func(h *AAAHomeAgent) *string { return &h.Identity }, Help{
			Required: true, Example: `"ha1.home.example"`,
			Doc: "The home agent's Diameter identity.",
		}),
		Field("address", Address, func(h *AAAHomeAgent) *netip.Addr { return &h.Address }, Help{
			Required: true, Example: `"198.51.100.1"`,
			Doc: "Its address.",
		}),
		Field("visitors", switchKind, func(h *AAAHomeAgent) *Switch { return &h.Visitors }, Help{
			Default: `"off"`,
			Doc:     "Whether it is offered to visitors of other realms, whose home realm may choose it for them.",
		}),
	}, func(s *AAAServe) *[]AAAHomeAgent { return &s.HomeAgents }, func(h *AAAHomeAgent) string { return h.Identity }, Help{
		Doc: "A home agent of the realm. The one with the fewest sessions is chosen.",
	}),
}

// checkServe checks the role of an AAA server.
//
//rfc:4004#13-2
func (d *decoder) checkServe(a *AAA) {
	s := a.Serve
	if a.Diameter == nil {
		d.problem("aaa.serve", "add [aaa.diameter]", "an AAA server is reached by Diameter")
	}
	seen := map[string]bool{}
	for i, h := range s.HomeAgents {
		path := indexed("aaa.serve.home-agent", i)
		if seen[h.Identity] && h.Identity != "" {
			d.problem(path+".identity", "remove one of the two", "%s is there twice", h.Identity)
		}
		seen[h.Identity] = true
	}
	if s.RequireTLS == Off {
		d.warn("aaa.serve.require-tls", `leave it out, and give every [[aaa.diameter.peer]] TLS`, "whoever reads the connections reads the nodes' keys")
	}
	for i := range a.Subscribers {
		if k := a.Subscribers[i].AAASecret; k.Secret.Len() > 0 && k.Secret.Len() < 12 {
			// "SHOULD be a randomly chosen quantity of at least 96 bits" (RFC 4004
			// section 13): nonces and authenticators can be heard by everybody.
			d.warn(indexed("aaa.subscriber", i)+".secret", "for example `careof keygen`", "a secret of less than 96 bits can be guessed from what its node's neighbours hear")
		}
	}
}
