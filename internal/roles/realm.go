package roles

import (
	"io"

	"careof/internal/config"
	"careof/internal/core/mipapp"
	"careof/internal/core/realm"
)

// Realm is what a realm's AAA server is configured with.
func Realm(c *config.AAA, identity mipapp.Identity, random io.Reader) realm.Config {
	s := c.Serve
	out := realm.Config{
		Identity: identity, Subscribers: Book(c), HomeAgentAt: s.HomeAgentAt, Partners: s.Partners, Clients: s.Clients,
		Lifetime: s.Authorisation, RequireTLS: s.RequireTLS == config.On, MaxSessions: s.MaxSessions, Random: random,
	}
	for _, h := range s.HomeAgents {
		out.HomeAgents = append(out.HomeAgents, realm.HomeAgent{Host: h.Identity, Address: h.Address, Visitors: h.Visitors == config.On})
	}
	return out
}
