package challenge

import (
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature/aaakey"
	"careof/wire/mip4"
)

// agentKeys are the keys of AAA with home agents (RFC 4004 section 8.5), the latest
// to expire last.
type agentKeys struct {
	agent *fa.Agent
	keys  map[netip.Addr][]agentKey
}

type agentKey struct {
	association *assoc.Association
	until       time.Time // monotonic
}

// Bounds: home agents with keys, and keys with each.
const (
	mostAgents    = 4096
	mostAgentKeys = 4
)

// needsCarrying says whether a request must go to its home agent by way of AAA:
// which one that is has to be found, or a key has to be made, or what AAA has said
// ends soon. In between "subsequent Mobile IPv4 registrations need not invoke the
// AAA infrastructure" (RFC 4004 section 8).
//
//rfc:4004#3.1
//rfc:4004#8
//rfc:4004#3.4-3
func (f *foreign) needsCarrying(x *fa.Exchange, w *word) bool {
	if _, ok := aaakey.Wished(x.Message, mip4.ExtMobileHomeKeyRequest); ok || x.Unassigned() || f.wish(x).Wanted() {
		return true
	}
	soon := max(f.cfg.Hold/8, time.Duration(x.Request.Lifetime)*time.Second)
	return w == nil || w.until.Sub(x.Now().Mono) < soon
}

// carriedQuestion completes a question whose request AAA takes to the home agent
// itself: with the keys that node and home agent lack. One SPI is the foreign
// agent's for both of its keys.
//
//rfc:4004#5.1
//rfc:4004#8.5
func (f *foreign) carriedQuestion(x *fa.Exchange, q aaa.Authenticate) aaa.Authenticate {
	if spi, ok := aaakey.Wished(x.Message, mip4.ExtMobileHomeKeyRequest); ok {
		q.Wishes.MobileHome.MobileSPI = spi
	}
	spi := q.Wishes.MobileForeign.AgentSPI
	if spi == 0 {
		spi = aaakey.NewSPI(f.agent.Rand(), nil)
	}
	if !x.CoLocated() {
		q.Wishes.ForeignHome.MobileSPI = spi
	}
	return q
}

// carried takes the home agent's reply that AAA has brought, and the key with it.
//
//rfc:4004#8.5
func (f *foreign) carried(x *fa.Exchange, g aaa.Grant) engine.Verdict {
	m, err := mip4.Parse(g.Reply)
	if err != nil {
		return engine.Deny(uint8(mip4.CodeFAPoorlyFormedReply), "AAA has brought no reply")
	}
	reply, err := m.Reply()
	if err != nil {
		return engine.Deny(uint8(mip4.CodeFAPoorlyFormedReply), "AAA has brought no reply")
	}
	x.Carried = g.Reply
	if !x.HomeAgent.IsValid() {
		x.HomeAgent = reply.HomeAgent
	}
	if k := g.Keys.ForeignHome; k != nil {
		f.agents.keep(x.HomeAgent, agentKey{k.Association, x.Now().Mono.Add(k.Lifetime)})
	}
	return engine.Next()
}

// keep keeps a key. "The FA MUST always use the FA-HA security association with the
// latest expiry time"; others "MAY" be discarded (RFC 4004 section 8.5).
//
//rfc:4004#8.5
//rfc:4004#8.5-2
func (a *agentKeys) keep(at netip.Addr, k agentKey) {
	if _, there := a.keys[at]; !there && len(a.keys) >= mostAgents {
		clear(a.keys) // each is made anew
	}
	list := append(a.keys[at], k)
	slices.SortStableFunc(list, func(x, y agentKey) int { return x.until.Compare(y.until) })
	if len(list) > mostAgentKeys {
		list = slices.Clone(list[len(list)-mostAgentKeys:])
	}
	a.keys[at] = list
}

// of are the keys with a home agent that still hold.
//
//rfc:4004#9.13
//rfc:4004#9.13-1
func (a *agentKeys) of(at netip.Addr) []*assoc.Association {
	var list []*assoc.Association
	now := a.agent.Now().Mono
	for _, k := range a.keys[at] {
		if k.until.After(now) {
			list = append(list, k.association)
		}
	}
	return list
}
