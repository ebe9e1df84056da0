package ha

import (
	"fmt"
	"net/netip"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/wire/mip4"
)

// counters count what happened. They only grow.
type counters struct {
	bound, refreshed, moved, deregistered, expired, repeated uint64

	discarded  uint64 // from known nodes
	ignored    uint64 // from strangers
	suppressed uint64 // refusals with 133 that were not sent
	// unauthentic counts requests for a known node with a wrong authenticator.
	unauthentic uint64
	excessive   uint64 // requests above a node's limit
	overflowed  uint64 // parked exchanges that found no room
	failed      uint64 // commits
	denied      [256]uint64
}

// A Counter is one counter by name.
type Counter = engine.Counter

// list gives all counters in a fixed order; denial codes that are no home
// agent's appear once they were sent.
func (c *counters) list() []Counter {
	l := []Counter{
		engine.Count("registrations_bound", c.bound, "new bindings"),
		engine.Count("registrations_refreshed", c.refreshed, "bindings renewed in place"),
		engine.Count("registrations_moved", c.moved, "bindings moved to another endpoint"),
		engine.Count("registrations_deregistered", c.deregistered, "deregistrations accepted"),
		engine.Count("registrations_repeated", c.repeated, "exact repeats of an accepted request"),
		engine.Count("bindings_expired", c.expired, "bindings whose lifetime ran out"),
		engine.Count("messages_discarded", c.discarded, "messages of known nodes discarded"),
		engine.Count("messages_ignored", c.ignored, "messages of strangers ignored"),
		engine.Count("authenticators_wrong", c.unauthentic, "requests for a known node with a wrong authenticator: a wrong key at one end, or a forger"),
		engine.Count("mismatches_suppressed", c.suppressed, "old Identifications that came too often to be refused one by one"),
		engine.Count("requests_excessive", c.excessive, "authentic requests above the limit of one node (requests-per-node)"),
		engine.Count("exchanges_overflowed", c.overflowed, "requests dropped because too many waited for an answer"),
		engine.Count("commits_failed", c.failed, "changes that could not be made durable or forwarding"),
	}
	for code, n := range c.denied {
		k := mip4.Code(code)
		if n > 0 || (k >= mip4.CodeHAUnspecified && k <= mip4.CodeUDPEncapUnavailable) {
			l = append(l, engine.Count(fmt.Sprintf("denied_%d", code), n, k.String()))
		}
	}
	return l
}

// answered is one registration as remembered.
type answered struct {
	at      time.Time // wall clock
	request mip4.RegistrationRequest
	node    *Node
	nai     ident.NAI
	home    netip.Addr
	source  netip.AddrPort
	spi     uint32
	code    mip4.Code
	why     string
	granted time.Duration
}

// listRegistrations gives the registrations last answered, the latest first.
// They are put into words only now.
func (a *Agent) listRegistrations() []Registration {
	list := make([]Registration, 0, a.recent.Len())
	for v := range a.recent.All() {
		list = append(list, v.show())
	}
	return list
}

func (v *answered) show() Registration {
	out := Registration{
		Time: v.at, NAI: string(v.nai), HomeAddress: v.home,
		CareOfAddress: v.request.CareOfAddress, Source: v.source,
		Code: uint8(v.code), Meaning: v.code.String(), Why: v.why,
		SPI: v.spi, Flags: v.request.Flags.String(),
		RequestedLifetime: lifetimeText(lifetime(v.request.Lifetime)),
	}
	if out.NAI == "" {
		out.NAI = string(v.node.config.NAI)
	}
	if v.code.Accepted() {
		out.Lifetime = lifetimeText(v.granted)
	}
	return out
}

// remember notes an answered request to be shown.
func (a *Agent) remember(x *Exchange) {
	if !x.Authentic {
		return
	}
	a.recent.Add(answered{
		at: a.Now().Wall, request: x.Request, node: x.Node, nai: x.NAI, home: x.Home, source: x.Packet.Src,
		spi: x.Association.SPI(), code: x.Code, why: x.Why, granted: x.Lifetime,
	})
}
