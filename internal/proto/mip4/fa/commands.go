package fa

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/proto/mip4/advertise"
	"careof/wire/mip4"
)

// ErrNotFound answers a command about a visitor that is not there.
var ErrNotFound = errors.New("fa: not found")

// The operator's commands. Each is the Value of an [engine.Command]; its
// comment names the Value of the [engine.Result].
type (
	// ListVisitors is answered with []VisitorInfo, by home address: the
	// accepted ones and then those whose requests are pending.
	ListVisitors struct{}
	// ListRegistrations is answered with []Registration, the latest first.
	ListRegistrations struct{}
	// ListAssociations is answered with []Association.
	ListAssociations struct{}
	// ListCounters is answered with []Counter.
	ListCounters struct{}
	// ListStages is answered with []engine.StageInfo.
	ListStages struct{}
	// ClearVisitor ends a node's visits at this agent. It tells nobody itself
	// (registration revocation, where it was agreed, tells the home agent). It
	// is answered with the number of visits, or ErrNotFound.
	ClearVisitor struct{ Node ident.Node }
	// Left says that a node has left this agent, as the home agent beside it
	// knows: its visits for one of the home agent's addresses end as if it had
	// deregistered here. It is answered with their number.
	Left struct {
		HomeAddress netip.Addr
		HomeAgents  []netip.Addr
	}
)

// VisitorInfo is a visitor as shown.
type VisitorInfo struct {
	HomeAddress    netip.Addr     `json:"home_address,omitzero"`
	NAI            string         `json:"nai,omitempty"`
	HomeAgent      netip.Addr     `json:"home_agent"`
	CareOfAddress  netip.Addr     `json:"care_of_address"`
	Link           string         `json:"link"`
	HW             string         `json:"link_layer_address"`
	Source         netip.AddrPort `json:"source"`
	State          string         `json:"state"` // "accepted" or "pending"
	Flags          string         `json:"flags"`
	Encapsulation  string         `json:"encapsulation,omitempty"`
	GREKey         string         `json:"gre_key,omitempty"` // in and out, hexadecimal; one when they are equal
	Delivery       string         `json:"delivery_style"`
	Requested      string         `json:"requested_lifetime"`
	Lifetime       string         `json:"lifetime,omitempty"`  // granted
	Remaining      string         `json:"remaining,omitempty"` // "infinite" or a Go duration
	Asked          time.Duration  `json:"-"`                   // Requested as a value
	Granted        time.Duration  `json:"-"`                   // Lifetime as a value
	Left           time.Duration  `json:"-"`                   // Remaining as a value
	Since          time.Time      `json:"since"`
	Identification string         `json:"identification"` // 16 hexadecimal digits
	Authenticated  bool           `json:"authenticated"`  // by extension 33
	Key            string         `json:"key,omitempty"`  // of the forwarding entry
}

// Registration is an answered request as shown.
type Registration struct {
	Time          time.Time      `json:"time"`
	HomeAddress   netip.Addr     `json:"home_address,omitzero"`
	NAI           string         `json:"nai,omitempty"`
	HomeAgent     netip.Addr     `json:"home_agent"`
	CareOfAddress netip.Addr     `json:"care_of_address"`
	Link          string         `json:"link"`
	Source        netip.AddrPort `json:"source"`
	Code          uint8          `json:"code"`
	Meaning       string         `json:"meaning"`
	Took          time.Duration  `json:"took"` // nanoseconds, from request to reply
	Granted       time.Duration  `json:"-"`
}

// Association is a security association as shown: never its secret.
type Association struct {
	Peer        string `json:"peer"`
	Kind        string `json:"kind"` // "home-agent" or "mobile-node"
	SPI         uint32 `json:"spi"`
	Algorithm   string `json:"algorithm"`
	Replay      string `json:"replay"`
	Fingerprint string `json:"fingerprint"`
}

// A Counter is one counter by name.
type Counter = engine.Counter

// counters count what happened. They only grow.
type counters struct {
	relayed, accepted, refused, timedOut, expired uint64
	ignored, discarded, evicted, suppressed       uint64
	failed                                        uint64
	denied                                        [256]uint64
}

// list gives all counters in a fixed order.
func (c *counters) list() []Counter {
	l := []Counter{
		engine.Count("requests_relayed", c.relayed, "requests sent on to home agents"),
		engine.Count("registrations_accepted", c.accepted, "visits begun or renewed"),
		engine.Count("registrations_refused", c.refused, "replies in which a home agent refused"),
		engine.Count("requests_timed_out", c.timedOut, "requests that no home agent answered"),
		engine.Count("visitors_expired", c.expired, "visits whose lifetime ran out"),
		engine.Count("messages_ignored", c.ignored, "messages of strangers ignored"),
		engine.Count("replies_discarded", c.discarded, "replies to pending requests discarded"),
		engine.Count("pending_displaced", c.evicted, "pending requests of strangers that gave way to others"),
		engine.Count("denials_suppressed", c.suppressed, "denials not sent because of the limit of one a second"),
		engine.Count("commits_failed", c.failed, "changes that could not be made forwarding"),
	}
	for code, n := range c.denied {
		k := mip4.Code(code)
		if n > 0 || (k >= mip4.CodeFAUnspecified && k <= mip4.CodeFAUnreachable && !strings.HasPrefix(k.String(), "Code(")) {
			l = append(l, engine.Count(fmt.Sprintf("denied_%d", code), n, k.String()))
		}
	}
	return l
}

// listRegistrations gives the registrations last answered, the latest first.
func (a *Agent) listRegistrations() []Registration {
	return slices.AppendSeq(make([]Registration, 0, a.recent.Len()), a.recent.All())
}

// remember notes an answered request to be shown.
func (a *Agent) remember(p *Pending, code mip4.Code, granted time.Duration) {
	v := Registration{
		Time: a.Now().Wall, HomeAgent: p.HomeAgent, NAI: string(p.NAI),
		CareOfAddress: p.Request.CareOfAddress, Link: p.Link, Source: p.Source,
		Code: uint8(code), Meaning: code.String(), Granted: granted,
	}
	if !none(p.Request.HomeAddress) {
		v.HomeAddress = p.Request.HomeAddress
	}
	if !p.Since.IsZero() {
		v.Took = a.Now().Mono.Sub(p.Since)
	}
	a.recent.Add(v)
}

func (a *Agent) baseCommands() {
	engine.AddCommand(&a.Desk, func(ListVisitors) (any, error) { return a.listVisitors(), nil })
	engine.AddCommand(&a.Desk, func(ListRegistrations) (any, error) { return a.listRegistrations(), nil })
	engine.AddCommand(&a.Desk, func(ListAssociations) (any, error) { return a.listAssociations(), nil })
	engine.AddCommand(&a.Desk, func(ListCounters) (any, error) { return a.counters.list(), nil })
	engine.AddCommand(&a.Desk, func(ListStages) (any, error) { return a.Stages(), nil })
	engine.AddCommand(&a.Desk, func(c Reconfigure) (any, error) { return nil, a.reconfigure(c.Config) })
	engine.AddCommand(&a.Desk, func(c Left) (any, error) {
		n := 0
		for _, v := range a.visitors.list() {
			if v.HomeAddress == c.HomeAddress && slices.Contains(c.HomeAgents, v.HomeAgent) {
				a.depart(v, Deregistered, nil)
				n++
			}
		}
		return n, nil
	})
	engine.AddCommand(&a.Desk, func(c ClearVisitor) (any, error) {
		n := 0
		for _, v := range a.visitors.list() {
			if c.Node.NAI != "" && v.NAI == c.Node.NAI || c.Node.NAI == "" && v.HomeAddress == c.Node.HomeAddress {
				a.depart(v, ByOperator, nil)
				n++
			}
		}
		if n == 0 {
			return nil, fmt.Errorf("%w: no visit of %v", ErrNotFound, c.Node)
		}
		return n, nil
	})
}

func (a *Agent) command(c engine.Command) {
	switch c.Value.(type) {
	case advertise.ListLinks, advertise.Withdraw:
		a.Do(a.Advertiser.Step(a.Now(), c)...)
		return
	}
	a.Command(c)
}

// lifetimeText is a lifetime for people and JSON.
func lifetimeText(d time.Duration) string {
	if d == Infinite {
		return "infinite"
	}
	return d.Round(time.Millisecond).String()
}

func (a *Agent) listVisitors() []VisitorInfo {
	list := []VisitorInfo{}
	for _, v := range a.visitors.list() {
		i := VisitorInfo{
			HomeAddress: v.HomeAddress, NAI: string(v.NAI), HomeAgent: v.HomeAgent, CareOfAddress: v.CareOf,
			Link: v.Link, HW: v.HW.String(), Source: v.Source, State: "accepted", Flags: v.Flags.String(),
			Delivery:  v.Style.String(),
			Requested: lifetimeText(v.Requested), Asked: v.Requested, Lifetime: lifetimeText(v.Lifetime), Granted: v.Lifetime,
			Left: Infinite, Since: a.Now().WallOf(v.Since),
			Identification: fmt.Sprintf("%016x", v.Identification), Authenticated: v.Association != nil,
		}
		if !v.CoLocated() {
			i.Encapsulation, i.Key, i.GREKey = v.Tunnel.Encap.String(), string(v.Key()), keyText(&v.Tunnel)
		}
		if !v.Until.IsZero() {
			i.Left = max(0, v.Until.Sub(a.Now().Mono))
		}
		i.Remaining = lifetimeText(i.Left)
		list = append(list, i)
	}
	for _, p := range a.listPending() {
		i := VisitorInfo{
			NAI: string(p.NAI), HomeAgent: p.HomeAgent, CareOfAddress: p.Request.CareOfAddress,
			Link: p.Link, HW: p.HW.String(), Source: p.Source, State: "pending", Flags: p.Request.Flags.String(),
			Delivery:  p.Style.String(),
			Requested: lifetimeText(lifetime(p.Request.Lifetime)), Asked: lifetime(p.Request.Lifetime), Left: max(0, p.Until.Sub(a.Now().Mono)),
			Since:          a.Now().WallOf(p.Since),
			Identification: fmt.Sprintf("%016x", p.Request.Identification), Authenticated: p.Association != nil,
		}
		if !none(p.Request.HomeAddress) {
			i.HomeAddress = p.Request.HomeAddress
		}
		i.Remaining = lifetimeText(i.Left)
		list = append(list, i)
	}
	return list
}

// keyText is the GRE key of a tunnel.
func keyText(t *forward.Tunnel) string {
	switch {
	case !t.HasKey:
		return ""
	case t.KeyIn == 0:
		return fmt.Sprintf("%08x", t.Key)
	}
	return fmt.Sprintf("%08x/%08x", t.KeyIn, t.Key)
}

// shownPending is how many pending requests are shown: a flood is not.
const shownPending = 100

// listPending gives the pending requests that wait longest.
func (a *Agent) listPending() []*Pending {
	list := make([]*Pending, 0, len(a.pending.byID))
	for _, p := range a.pending.byID {
		list = append(list, p)
	}
	slices.SortFunc(list, func(x, y *Pending) int {
		if x.known != y.known {
			if x.known {
				return -1
			}
			return 1
		}
		return int(int64(x.id) - int64(y.id))
	})
	return list[:min(len(list), shownPending)]
}

func (a *Agent) listAssociations() []Association {
	list := []Association{}
	for _, h := range a.cfg.HomeAgents {
		for _, k := range h.Keys {
			list = append(list, Association{h.Address.String(), "home-agent", k.SPI(), k.Algorithm().String(), k.Replay().String(), k.Key().String()})
		}
	}
	for _, n := range a.cfg.MobileNodes {
		for _, k := range n.Keys {
			list = append(list, Association{n.String(), "mobile-node", k.SPI(), k.Algorithm().String(), k.Replay().String(), k.Key().String()})
		}
	}
	for _, v := range a.visitors.list() {
		if k := v.Association; k != nil && a.nodesHome[v.HomeAddress] == nil && (v.NAI == "" || a.nodesNAI[v.NAI] == nil) {
			// AAA has made it for this visit.
			name := ident.Node{NAI: v.NAI, HomeAddress: v.HomeAddress}.String()
			list = append(list, Association{name, "mobile-node", k.SPI(), k.Algorithm().String(), k.Replay().String(), k.Key().String()})
		}
	}
	return list
}
