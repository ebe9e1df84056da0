package route

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"careof/internal/core/forward"
)

// led is a mobile node's entry as far as it leads packets: without its tunnels.
type led struct {
	forward.Entry
	tunnelled bool   // one of its tunnels sends
	link      string // of the tunnels, where something goes beside them
}

// lead takes from an entry what leads packets.
func lead(e forward.Entry) led {
	l := led{Entry: e}
	l.Routes, l.Direct, l.Tunnels = slices.Clone(e.Routes), slices.Clone(e.Direct), nil
	for _, t := range slices.Backward(e.Tunnels) {
		beside := (len(e.Direct) > 0 || e.LocalGroups) && e.Deliver.Link == "" && e.HomeLink == ""
		if sends := t.Mode != forward.Receive; beside && (sends || !l.tunnelled) {
			l.link = t.Link
		}
		l.tunnelled = l.tunnelled || t.Mode != forward.Receive
	}
	return l
}

// sameWay reports whether two entries lead the same packets the same way.
func sameWay(a, b led) bool {
	return a.Inner == b.Inner && a.HomeLink == b.HomeLink && a.Deliver == b.Deliver && slices.Equal(a.Routes, b.Routes) &&
		a.tunnelled == b.tunnelled && a.link == b.link && a.HomeNetwork == b.HomeNetwork && a.LocalGroups == b.LocalGroups &&
		slices.Equal(a.Direct, b.Direct)
}

const localTable = 255

var (
	everything = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	groups     = netip.PrefixFrom(netip.AddrFrom4([4]byte{224}), 4)
	everybody  = netip.PrefixFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), 32)
)

// away leads a home address's packets while the node is away: to the device,
// but for what goes over the visited link. Broadcasts and groups never do that
// with the home address: "a mobile node that sends multicast datagrams directly
// on the visited network MUST use a co-located care-of address as the IP source
// address" (RFC 5944 section 4.4).
//
//rfc:5944#4.2.1
//rfc:5944#4.4
//rfc:3024#5.4
func (k *Keeper) away(h home, src netip.Addr) []Route {
	e := h.entry
	toDevice := func(p netip.Prefix) Route { return Route{Table: h.table, Dst: p, Link: k.c.Device, Src: src} }
	direct := e.Direct
	if !e.tunnelled && e.Deliver.Link != "" {
		// The foreign agent is the default router, whoever tunnels then.
		direct = []netip.Prefix{everything}
	}
	out := []Route{toDevice(everything)}
	if slices.Contains(direct, everything) {
		out = []Route{toDevice(groups), toDevice(everybody)}
	}
	for _, p := range direct {
		out = append(out, k.beside(h, p.Masked(), src)...)
	}
	return out
}

// beside leads packets for p over the visited link: to the foreign agent, or
// where the link's own routes lead. There the care-of address is the better
// source, but where all packets of the home address leave like that.
func (k *Keeper) beside(h home, p netip.Prefix, src netip.Addr) []Route {
	if d := h.entry.Deliver; d.Link != "" {
		return []Route{{Table: h.table, Dst: p, Via: d.Via, Link: d.Link, Src: src}}
	}
	if p.Bits() > 0 {
		src = netip.Addr{}
	}
	var out []Route
	var nearest Route
	for _, r := range k.homeRoutes[h.entry.link] {
		r.Table, r.Src = h.table, src
		switch {
		case p.Bits() <= r.Dst.Bits() && p.Contains(r.Dst.Addr()):
			out = append(out, r)
		case r.Dst.Contains(p.Addr()) && (!nearest.Dst.IsValid() || r.Dst.Bits() > nearest.Dst.Bits()):
			nearest = r
		}
	}
	if nearest.Dst.IsValid() && !slices.ContainsFunc(out, func(r Route) bool { return r.Dst == p }) {
		nearest.Dst, nearest.Metric = p, 0
		out = append(out, nearest)
	}
	return out
}

// manyState leads what is for many: the home network's broadcast address is one
// here too, so that broadcasts from home come in as such; and groups go over
// the visited link where that is wanted.
//
//rfc:5944#4.3
//rfc:5944#4.4
func (k *Keeper) manyState(s *state, h home) {
	if h.entry.HomeNetwork.IsValid() && h.entry.HomeNetwork.Bits() < 31 && h.inner.Bits() == 32 {
		s.routes = append(s.routes, Route{
			Table: localTable, Dst: netip.PrefixFrom(lastOf(h.entry.HomeNetwork), 32), Link: k.c.Device, Src: h.inner.Addr(), Broadcast: true,
		})
	}
	i := slices.Index(k.c.Uplinks, h.entry.link)
	if h.entry.LocalGroups && h.entry.link != "" && i >= 0 {
		table := k.c.Base + tableUplinks + i
		s.routes = append(s.routes, Route{Table: table, Dst: groups, Link: h.entry.link})
		s.rules = append(s.rules, Rule{Priority: k.priority(ruleConnected), To: groups, Table: table})
	}
}

// lastOf is a network's directed broadcast address.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	n := binary.BigEndian.Uint32(b[:]) | uint32(1<<(32-p.Bits())-1)
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}
