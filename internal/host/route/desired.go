package route

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"careof/internal/core/forward"
	"careof/internal/host/beside"
)

const (
	mainTable = 254
	// lastMetric is that of a route that counts when all others are gone.
	lastMetric = 1 << 30
)

// Offsets of tables from Config.Base.
const (
	tableEntries = 0  // one for each home address or mobile network
	tableUplinks = 50 // one for each uplink, in the order of Config.Uplinks
	tableNowhere = 99 // once of what is unreachable: an earlier build's, to be removed
	tableEnd     = 100
)

// state is what should be in the kernel, or what is there under our tag.
type state struct {
	addresses []netip.Prefix // on the device
	routes    []Route
	rules     []Rule
	beside    beside.Want // what programs may not send by an uplink
}

// home is one home address or mobile network of a mobile node with its table.
type home struct {
	inner netip.Prefix
	table int
	entry *led // nil while there is none
}

// desired computes what should be there.
func (k *Keeper) desired() state {
	var s state
	for _, p := range k.c.HomeNetworks {
		// Should the device vanish, its route goes with it: the network's
		// packets are then refused, and do not leave by the default route.
		s.routes = append(s.routes, Route{Table: mainTable, Dst: p, Link: k.c.Device},
			Route{Table: mainTable, Dst: p, Metric: k.backstop(), Unreachable: true})
		if p.Bits() < 31 {
			// No link has the network's broadcast address, so the device has
			// it: mobile nodes send to it to discover their home agent (RFC
			// 5944 section 3.8.3.2). It is a route and no address, since the
			// kernel would take an address for the source of its own packets.
			s.routes = append(s.routes, Route{Table: localTable, Dst: netip.PrefixFrom(lastOf(p), 32), Link: k.c.Device, Broadcast: true})
		}
	}
	for _, a := range k.c.Identities {
		s.addresses = append(s.addresses, netip.PrefixFrom(a, 32))
	}
	for _, key := range slices.Sorted(maps.Keys(k.agent)) {
		s.routes = append(s.routes, k.agent[key])
	}
	k.uplinkState(&s)
	k.mobileState(&s)
	return s.sorted()
}

// priority is that of this daemon's rules of a kind.
func (k *Keeper) priority(kind RuleKind) int { return Priority(k.c.Base, kind) }

// backstop is the metric of the routes in the main table that count when the
// device's are gone. They have no link, so it tells them from another daemon's.
func (k *Keeper) backstop() int { return lastMetric + k.c.Base }

// uplinkState: what leaves from an uplink's address uses that uplink, whatever
// the main table prefers.
func (k *Keeper) uplinkState(s *state) {
	for i, name := range k.c.Uplinks {
		u := k.uplinks[name]
		table := k.c.Base + tableUplinks + i
		s.rules = append(s.rules, k.passageRules(name, table)...)
		if len(u.routes) == 0 {
			continue
		}
		for _, r := range u.routes {
			r.Table = table
			s.routes = append(s.routes, r)
		}
		for _, a := range u.addresses {
			s.rules = append(s.rules, Rule{Priority: k.priority(ruleUplink), From: netip.PrefixFrom(a, 32), Table: table})
		}
	}
}

// mobileState: home addresses, and what goes through their tunnels.
func (k *Keeper) mobileState(s *state) {
	homes := k.homes()
	var captured bool
	var through []netip.Prefix
	if len(k.mobile) == 0 {
		through = slices.Clone(k.c.Through)
	}
	for _, h := range homes {
		s.routes = append(s.routes, k.tableOf(h)...)
		s.rules = append(s.rules, Rule{Priority: k.priority(ruleFromHome), From: h.inner, Table: h.table})
		if h.inner.Bits() == 32 {
			s.addresses = append(s.addresses, h.inner)
		} else {
			// A mobile network's own hosts are on a link of the router.
			s.rules = append(s.rules,
				Rule{Priority: k.priority(ruleWithin), From: h.inner, To: h.inner, Table: mainTable},
				Rule{Priority: k.priority(ruleToNetwork), To: h.inner, Table: mainTable})
		}
		if h.entry == nil || h.entry.HomeLink != "" {
			continue
		}
		k.manyState(s, h)
		for _, to := range h.entry.Routes {
			captured, through = true, append(through, to)
			r := Rule{Priority: k.priority(ruleTo), To: to.Masked(), Table: h.table}
			if to.Bits() == 0 {
				r = Rule{Priority: k.priority(ruleAll), Table: h.table}
			}
			s.rules = append(s.rules, r)
		}
	}
	if captured {
		s.rules = append(s.rules, Rule{Priority: k.priority(ruleConnected), Table: mainTable, NoDefault: true})
	}
	if forward.AllOf(through) && k.hasIPv6 {
		// An IPv6 packet would pass beside a tunnel that carries IPv4 only.
		// Connected networks stay reachable, as they do with IPv4. The rule says
		// so itself: a route has an interface, and the kernel does not look at
		// it for a socket that is bound to another one.
		// The daemon's own, to the translator of a network that has IPv6 alone,
		// leave by the main table.
		s.rules = append(s.rules,
			Rule{Priority: k.priority(ruleMark), IPv6: true, Mark: beside.Mark, Table: mainTable},
			Rule{Priority: k.priority(ruleConnected), IPv6: true, Table: mainTable, NoDefault: true},
			Rule{Priority: k.priority(ruleAll), IPv6: true, Unreachable: true})
	}
	s.beside = k.refused(homes)
}

// tableOf is the table of a home address: to the device, over the home link
// while the node is at home, or to the foreign agent that it is registered
// through; and nowhere else.
func (k *Keeper) tableOf(h home) []Route {
	all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	nowhere := Route{Table: h.table, Dst: all, Metric: lastMetric, Unreachable: true}
	var src netip.Addr
	if h.inner.Bits() == 32 {
		src = h.inner.Addr()
	}
	if h.entry == nil {
		return []Route{{Table: h.table, Dst: all, Link: k.c.Device, Src: src}, nowhere}
	}
	if h.entry.HomeLink == "" {
		return append(k.away(h, src), nowhere)
	}
	out := []Route{nowhere}
	if d := h.entry.Deliver; len(k.homeRoutes[h.entry.HomeLink]) == 0 && d.Via.IsValid() {
		out = append(out, Route{Table: h.table, Dst: all, Via: d.Via, Link: d.Link, Src: src})
	}
	for _, r := range k.homeRoutes[h.entry.HomeLink] {
		r.Table, r.Src = h.table, src
		out = append(out, r)
	}
	return out
}

// homes lists the configured home addresses and those of entries, with the
// tables they have.
func (k *Keeper) homes() []home {
	byInner := make(map[netip.Prefix]*led)
	for _, a := range k.c.HomeAddresses {
		byInner[netip.PrefixFrom(a, 32)] = nil
	}
	for _, key := range slices.Sorted(maps.Keys(k.mobile)) {
		e := k.mobile[key]
		if byInner[e.Inner] == nil {
			byInner[e.Inner] = &e
		}
	}
	inners := slices.SortedFunc(maps.Keys(byInner), comparePrefixes)
	// A table stays with its prefix as long as that is there.
	taken := make(map[int]bool)
	for p, t := range k.tables {
		if _, ok := byInner[p]; ok {
			taken[t] = true
		} else {
			delete(k.tables, p)
		}
	}
	var out []home
	for _, p := range inners {
		t, ok := k.tables[p]
		for n := tableEntries; !ok && n < tableUplinks; n++ {
			if !taken[k.c.Base+n] {
				t, ok = k.c.Base+n, true
				taken[t], k.tables[p] = true, t
			}
		}
		if ok {
			out = append(out, home{inner: p, table: t, entry: byInner[p]})
		}
	}
	return out
}

func (s state) sorted() state {
	return state{
		addresses: sorted(s.addresses, comparePrefixes),
		routes:    sorted(s.routes, compareRoutes),
		rules:     sorted(s.rules, compareRules),
		beside:    s.beside,
	}
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func compareRoutes(a, b Route) int {
	return cmp.Or(cmp.Compare(a.Table, b.Table), comparePrefixes(a.Dst, b.Dst), cmp.Compare(a.Metric, b.Metric),
		a.Via.Compare(b.Via), cmp.Compare(a.Link, b.Link), a.Src.Compare(b.Src), compareBools(a.Unreachable, b.Unreachable), compareBools(a.Broadcast, b.Broadcast))
}

func compareRules(a, b Rule) int {
	return cmp.Or(cmp.Compare(a.Priority, b.Priority), compareBools(a.IPv6, b.IPv6), comparePrefixes(a.From, b.From),
		comparePrefixes(a.To, b.To), cmp.Compare(a.Mark, b.Mark), cmp.Compare(a.Table, b.Table), compareBools(a.NoDefault, b.NoDefault),
		cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), compareBools(a.Local, b.Local), compareBools(a.Unreachable, b.Unreachable))
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
