package ha

import (
	"fmt"
	"net/netip"
	"time"

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
	overflowed  uint64 // parked exchanges that found no room
	failed      uint64 // commits
	denied      [256]uint64
}

// A Counter is one counter by name.
type Counter struct {
	Name  string `json:"name"`
	Value uint64 `json:"value"`
	Help  string `json:"help,omitempty"`
}

// list gives all counters in a fixed order; denial codes that are no home
// agent's appear once they were sent.
func (c *counters) list() []Counter {
	l := []Counter{
		{"registrations_bound", c.bound, "new bindings"},
		{"registrations_refreshed", c.refreshed, "bindings renewed in place"},
		{"registrations_moved", c.moved, "bindings moved to another endpoint"},
		{"registrations_deregistered", c.deregistered, "deregistrations accepted"},
		{"registrations_repeated", c.repeated, "exact repeats of an accepted request"},
		{"bindings_expired", c.expired, "bindings whose lifetime ran out"},
		{"messages_discarded", c.discarded, "messages of known nodes discarded"},
		{"messages_ignored", c.ignored, "messages of strangers ignored"},
		{"authenticators_wrong", c.unauthentic, "requests for a known node with a wrong authenticator: a wrong key at one end, or a forger"},
		{"mismatches_suppressed", c.suppressed, "old Identifications that came too often to be refused one by one"},
		{"exchanges_overflowed", c.overflowed, "requests dropped because too many waited for an answer"},
		{"commits_failed", c.failed, "changes that could not be made durable or forwarding"},
	}
	for code, n := range c.denied {
		k := mip4.Code(code)
		if n > 0 || (k >= mip4.CodeHAUnspecified && k <= mip4.CodeUDPEncapUnavailable) {
			l = append(l, Counter{fmt.Sprintf("denied_%d", code), n, k.String()})
		}
	}
	return l
}

// recent is a ring of the registrations last answered. They are put into words
// only when they are shown.
type recent struct {
	limit int
	ring  []answered
	next  int
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

func (r *recent) add(v answered) {
	if len(r.ring) < r.limit {
		r.ring = append(r.ring, v)
		return
	}
	r.ring[r.next] = v
	r.next = (r.next + 1) % r.limit
}

// list gives them, the latest first.
func (r *recent) list() []Registration {
	out := make([]Registration, 0, len(r.ring))
	for i := range r.ring {
		out = append(out, r.ring[(r.next+len(r.ring)-1-i)%len(r.ring)].show())
	}
	return out
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
	a.recent.add(answered{
		at: a.now.Wall, request: x.Request, node: x.Node, nai: x.NAI, home: x.Home, source: x.Packet.Src,
		spi: x.Association.SPI(), code: x.Code, why: x.Why, granted: x.Lifetime,
	})
}
