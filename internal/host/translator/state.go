package translator

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/wire/nat64"
)

// An Origin is who told of a translator.
type Origin uint8

// The origins, in the order in which they are believed (RFC 8781 section 5.1,
// RFC 7050): what is written comes first.
const (
	Configured Origin = iota
	Advertised
	Named
	origins
)

func (o Origin) String() string {
	if o < origins {
		return originNames[o]
	}
	return fmt.Sprintf("Origin(%d)", uint8(o))
}

var originNames = [...]string{"configuration", "router advertisement", "DNS"}

// A Path is the way to IPv4 over an uplink that has IPv6 alone.
type Path struct {
	Source netip.Addr   // IPv6, of the uplink
	Prefix nat64.Prefix // of the translator
	Origin Origin       // of the prefix
	MTU    int          // of IPv6 packets on the uplink
	// Router is the link-layer address of the router that packets go to, zero while
	// it is not known: what tells networks apart.
	Router engine.HardwareAddr
}

func (p Path) String() string {
	return fmt.Sprintf("IPv6 only, by NAT64 %v (from %v)", p.Prefix, p.Origin)
}

// Solicitations of a host that asks routers to advertise themselves (RFC 4861
// section 10: MAX_RTR_SOLICITATIONS, RTR_SOLICITATION_INTERVAL).
const (
	solicitations        = 3
	solicitationInterval = 4 * time.Second
)

// A name server is asked this often while nobody tells of a translator.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// maxTold bounds what is remembered of a link's advertisements.
const maxTold = 16

// told is what a router has told, and until when it is good.
type told struct {
	router netip.Addr
	prefix nat64.Prefix // or
	server netip.Addr   // a name server
	until  time.Time
}

// kernelState is what the kernel has of a link.
type kernelState struct {
	index   int
	up      bool
	mtu     int
	sources []netip.Addr // that may be used, best first
	routed  bool         // it has a default route
	routers []nextHop    // of its default routes, best first
}

// A nextHop is a router on the link.
type nextHop struct {
	addr netip.Addr
	hw   engine.HardwareAddr // zero while it is not resolved
}

// A link's state. It does nothing by itself: what is to be done is told by
// solicit and ask.
type state struct {
	configured nat64.Prefix
	wanted     bool
	kernel     kernelState

	told []told // in the order in which it came

	solicited   int
	nextSolicit time.Time

	named   told // by name servers
	asking  bool // a question is on its way
	pause   time.Duration
	nextAsk time.Time

	path Path
	has  bool
	via  netip.Addr // of the routers, the one that the path goes to

	looks    int // for its link-layer address
	nextLook time.Time
}

// attach takes what the kernel has now. A link that was down may be on another
// network: what was told there is forgotten.
func (s *state) attach(k kernelState) {
	left := len(s.kernel.sources) > 0 && len(k.sources) == 0
	if !k.up || left || s.kernel.index != 0 && k.index != s.kernel.index {
		s.told, s.named = nil, told{}
	}
	if !k.up || len(k.sources) == 0 || len(s.kernel.sources) == 0 || !s.kernel.up {
		s.askAnew()
	}
	s.kernel = k
}

func (s *state) askAnew() {
	s.solicited, s.nextSolicit, s.pause, s.nextAsk = 0, time.Time{}, 0, time.Time{}
}

// hear takes what a router has advertised.
func (s *state) hear(router netip.Addr, list []advertised, now time.Time) {
	s.expire(now)
	for _, a := range list {
		i := slices.IndexFunc(s.told, func(t told) bool {
			return t.router == router && t.prefix == a.prefix && t.server == a.server
		})
		switch {
		case i >= 0 && a.lifetime == 0:
			s.told = slices.Delete(s.told, i, i+1)
		case i >= 0:
			s.told[i].until = now.Add(a.lifetime)
		case a.lifetime > 0 && len(s.told) < maxTold:
			s.told = append(s.told, told{router, a.prefix, a.server, now.Add(a.lifetime)})
		}
	}
}

// answered takes a name server's answer; without prefixes it had none.
func (s *state) answered(list []nat64.Prefix, ttl time.Duration, now time.Time) {
	s.asking = false
	if len(list) == 0 {
		s.pause = min(max(2*s.pause, firstPause), lastPause)
		s.nextAsk = now.Add(s.pause)
		return
	}
	p := list[0]
	if slices.Contains(list, s.named.prefix) {
		p = s.named.prefix
	}
	s.named = told{prefix: p, until: now.Add(ttl)}
	// "Before the TTL expires", asked again.
	s.pause, s.nextAsk = 0, now.Add(ttl*9/10)
}

func (s *state) expire(now time.Time) {
	s.told = slices.DeleteFunc(s.told, func(t told) bool { return !now.Before(t.until) })
	if s.named.prefix.IsValid() && !now.Before(s.named.until) {
		s.named = told{}
	}
}

// servers are the name servers that routers have told of.
func (s *state) servers() (list []netip.Addr) {
	for _, t := range s.told {
		if t.server.IsValid() && !slices.Contains(list, t.server) {
			list = append(list, t.server)
		}
	}
	return list
}

// best is the translator's prefix to use; one in use stays as long as it is told
// of from as good a place.
func (s *state) best() (p nat64.Prefix, o Origin, ok bool) {
	if s.configured.IsValid() {
		return s.configured, Configured, true
	}
	for _, t := range s.told {
		if t.prefix.IsValid() && (!ok || t.prefix == s.path.Prefix) {
			p, o, ok = t.prefix, Advertised, true
		}
	}
	if !ok && s.named.prefix.IsValid() {
		p, o, ok = s.named.prefix, Named, true
	}
	return p, o, ok
}

// choose decides what the link's path is, and tells whether that is news.
func (s *state) choose(now time.Time) (changed bool) {
	s.expire(now)
	prefix, origin, ok := s.best()
	k := &s.kernel
	if !ok || !k.up || !k.routed || len(k.sources) == 0 {
		changed, s.has = s.has, false
		return changed
	}
	p := Path{Source: k.sources[0], Prefix: prefix, Origin: origin, MTU: k.mtu}
	if s.has && slices.Contains(k.sources, s.path.Source) {
		p.Source = s.path.Source // a translator knows the node by it
	}
	p.Router = s.router(p, now)
	changed = !s.has || p != s.path
	s.path, s.has = p, true
	return changed
}

// Nobody tells when a router's link-layer address is resolved, as it is by the first
// packets: so it is looked for, in longer and longer intervals.
const (
	maxLooks  = 10
	firstLook = time.Second
)

// router is the link-layer address of the router of a path. One that is used stays,
// with what was known of it, for as long as there is a route to it.
func (s *state) router(p Path, now time.Time) (hw engine.HardwareAddr) {
	i := slices.IndexFunc(s.kernel.routers, func(r nextHop) bool { return s.has && r.addr == s.via })
	if i >= 0 && p.Source == s.path.Source {
		hw = s.path.Router
	}
	if len(s.kernel.routers) > 0 {
		r := s.kernel.routers[max(i, 0)]
		s.via = r.addr
		if r.hw != (engine.HardwareAddr{}) {
			hw = r.hw
		}
	}
	switch unknown := len(s.kernel.routers) > 0 && hw == (engine.HardwareAddr{}); {
	case !unknown:
		s.looks, s.nextLook = 0, time.Time{}
	case s.looks < maxLooks && !now.Before(s.nextLook):
		s.looks++
		s.nextLook = now.Add(firstLook * time.Duration(s.looks))
	}
	return hw
}

// open tells whether the translator is yet to be found out, by others than the
// configuration.
func (s *state) open() bool {
	return s.wanted && !s.configured.IsValid() && s.kernel.up && len(s.kernel.sources) > 0
}

// solicit tells whether routers are to be asked now.
func (s *state) solicit(now time.Time) bool {
	_, origin, ok := s.best()
	if !s.open() || ok && origin == Advertised || s.solicited >= solicitations || now.Before(s.nextSolicit) {
		return false
	}
	s.solicited++
	s.nextSolicit = now.Add(solicitationInterval)
	return true
}

// ask tells whether name servers are to be asked now.
func (s *state) ask(now time.Time) bool {
	_, origin, ok := s.best()
	if !s.open() || !s.kernel.routed || ok && origin == Advertised || s.asking || now.Before(s.nextAsk) {
		return false
	}
	s.asking = true
	return true
}

// wake is when something is due, zero for never.
func (s *state) wake() (at time.Time) {
	earlier := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	for _, t := range s.told {
		earlier(t.until)
	}
	if s.named.prefix.IsValid() {
		earlier(s.named.until)
	}
	if s.has && s.looks > 0 && s.looks < maxLooks {
		earlier(s.nextLook)
	}
	_, origin, ok := s.best()
	if s.open() && !(ok && origin == Advertised) {
		if s.solicited < solicitations {
			earlier(s.nextSolicit)
		}
		if !s.asking && s.kernel.routed {
			earlier(s.nextAsk)
		}
	}
	return at
}

// sortSources puts the best address first: a global one before one of the site
// alone, one that stays before one that changes from day to day.
func sortSources(list []source) []netip.Addr {
	rank := func(s source) int {
		n := 0
		if s.addr.IsPrivate() {
			n += 2
		}
		if s.temporary {
			n++
		}
		return n
	}
	slices.SortStableFunc(list, func(a, b source) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), a.addr.Compare(b.addr)) })
	out := make([]netip.Addr, len(list))
	for i, s := range list {
		out[i] = s.addr
	}
	return out
}

type source struct {
	addr      netip.Addr
	temporary bool
}
