package daemon

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	"careof/internal/config"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/host/names"
	"careof/internal/host/translator"
	"careof/wire/nat64"
)

// Notes about uplinks with IPv6 alone.
const (
	translatorFound note.Kind = "nat64"
	translatorLost  note.Kind = "nat64-lost"
)

// Over an uplink with IPv6 alone the node reaches its home agent through the
// network's translator (NAT64): what it sends leaves in IPv6, to the address that
// stands for the home agent's. The machines stay with IPv4, as a CLAT's programs
// do (RFC 6877): such an uplink has a care-of address of the range that RFC 7335
// gives to that purpose, and no interface has it. The home agent sees at the first
// request that it is not where the packet came from, and takes the tunnel for one
// through a NAT (RFC 3519), which it is.
type translators struct {
	finder *translator.Finder // nil without a mobile node that may use one

	mu    sync.Mutex
	links []translator.Link // as configured
	home  netip.Addr        // the home address, which is no care-of address
	paths map[string]translator.Path
	given map[string]given // by uplink: what stands for its path
	last  int              // index in careOfRange of the address that was given last
}

type given struct {
	path   translator.Path
	careOf netip.Addr
}

// careOfRange are the addresses of RFC 7335's range, but for its first and last,
// which look like those of a network and of its broadcasts.
var careOfRange = []netip.Addr{
	netip.AddrFrom4([4]byte{192, 0, 0, 1}), netip.AddrFrom4([4]byte{192, 0, 0, 2}), netip.AddrFrom4([4]byte{192, 0, 0, 3}),
	netip.AddrFrom4([4]byte{192, 0, 0, 4}), netip.AddrFrom4([4]byte{192, 0, 0, 5}), netip.AddrFrom4([4]byte{192, 0, 0, 6}),
}

// translating lists the uplinks that may be used through a translator. Without
// tunnels in UDP none may: a NAT64 translates no others.
func translating(c *config.MobileNode) (links []translator.Link) {
	if c == nil || c.NATTraversal == config.NATTraversalOff {
		return nil
	}
	for _, u := range c.Uplinks {
		if !u.NAT64.Off {
			links = append(links, translator.Link{Name: u.Interface, Prefix: u.NAT64.Prefix})
		}
	}
	return links
}

// openTranslators makes what looks for them.
func (d *daemon) openTranslators() error {
	t := &d.translators
	t.mu.Lock()
	defer t.mu.Unlock()
	t.paths, t.given = make(map[string]translator.Path), make(map[string]given)
	t.links, t.home = translating(d.cfg.MobileNode), d.cfg.MobileNode.HomeAddress
	f, err := translator.Open(translator.Config{
		Links:   t.links,
		Servers: func() []netip.Addr { return names.HostServers6("/etc/resolv.conf") },
		Tell:    d.translatorChanged,
	})
	if err == nil {
		t.finder = f
	}
	return err
}

// overSix is how names are asked for over an uplink with IPv6 alone.
func (d *daemon) overSix(link string) (names.Six, bool) {
	d.translators.mu.Lock()
	g, there := d.translators.given[link]
	d.translators.mu.Unlock()
	if !there {
		return names.Six{}, false
	}
	return names.Six{Source: g.path.Source, Servers: d.translators.finder.Servers(link), To: g.path.Prefix.To}, true
}

func (d *daemon) runTranslators(ctx context.Context) error {
	defer d.translators.finder.Close()
	return d.translators.finder.Run(ctx)
}

// translatorChanged takes the path of an uplink, or that it has none any more.
func (d *daemon) translatorChanged(link string, p translator.Path, ok bool) {
	t := &d.translators
	t.mu.Lock()
	if ok && t.uses(link) {
		t.paths[link] = p
	} else {
		delete(t.paths, link)
	}
	t.mu.Unlock()
	for _, l := range d.live.linksOf([]string{link}) {
		d.linkChanged(l, false)
	}
}

// translated is a link as the mobile node is to see it: one without a way to the
// home agent in IPv4 that has a translator has a care-of address of its own.
func (d *daemon) translated(l engine.Link) engine.Link {
	t := &d.translators
	if t.finder == nil {
		return l
	}
	agents := d.guardLeases().Never
	t.mu.Lock()
	defer t.mu.Unlock()
	wanted := l.Up && !l.Gone && t.uses(l.Name) && !t.hasIPv4(l, agents)
	t.finder.Want(l.Name, wanted)
	path, found := t.paths[l.Name]
	old, had := t.given[l.Name]
	if !wanted || !found {
		if had {
			delete(t.given, l.Name)
			d.sockets.Untranslate(l.Name, netip.Addr{})
			d.hub.note(note.Note{Kind: translatorLost, Level: note.Info, Role: roleMobileNode, Link: l.Name, Why: t.lostBecause(wanted, l)})
		}
		return l
	}
	now := given{path, old.careOf}
	if !had || old.path.Source != path.Source || old.path.Prefix != path.Prefix {
		// Another address, so that the node registers anew: at the translator
		// it is another one too.
		now.careOf = t.next()
		d.sockets.Translate(l.Name, now.careOf, path.Source, path.Prefix)
		d.sockets.Untranslate(l.Name, now.careOf)
		d.hub.note(note.Note{Kind: translatorFound, Level: note.Info, Role: roleMobileNode, Link: l.Name, Why: path.String()})
	}
	t.given[l.Name] = now
	// An address without a way out is no care-of address.
	l.Addresses = slices.DeleteFunc(slices.Clone(l.Addresses), t.cares)
	l.Addresses = append(l.Addresses, netip.PrefixFrom(now.careOf, 32))
	l.Direct = true // whatever is sent there, the translator takes
	l.MTU = min(l.MTU, path.MTU) - nat64.HeaderGrowth
	if len(l.Gateways) == 0 {
		l.GatewayHW = path.Router // what is learnt of the network is remembered by it
	}
	return l
}

// cares tells whether an address of a link may be a care-of address.
func (t *translators) cares(p netip.Prefix) bool {
	return !p.Addr().IsLinkLocalUnicast() && p.Addr() != t.home
}

// hasIPv4 tells whether a link has a way to the home agent in IPv4: an address, and a
// default route or the home agent for a neighbour.
func (t *translators) hasIPv4(l engine.Link, agents []netip.Addr) bool {
	routed := len(l.Gateways) > 0 || l.Direct
	return slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool {
		return t.cares(p) && (routed || slices.ContainsFunc(agents, p.Contains))
	})
}

// uses tells whether an uplink may be used through a translator.
func (t *translators) uses(link string) bool {
	return slices.ContainsFunc(t.links, func(l translator.Link) bool { return l.Name == link })
}

// reconfigure takes another configuration; links have to be told anew after it.
func (t *translators) reconfigure(c *config.MobileNode) {
	t.mu.Lock()
	t.links, t.home = translating(c), c.HomeAddress
	for link := range t.paths {
		if !t.uses(link) {
			delete(t.paths, link)
		}
	}
	t.mu.Unlock()
	t.finder.Reconfigure(t.links)
}

func (t *translators) lostBecause(wanted bool, l engine.Link) string {
	switch {
	case wanted:
		return "the network's NAT64, or the way to it, is gone"
	case !t.uses(l.Name):
		return "the configuration says so"
	case l.Up && !l.Gone:
		return "the uplink has IPv4"
	}
	return "link is down"
}

// next is an address that no uplink has, as long as there is one.
func (t *translators) next() netip.Addr {
	for range careOfRange {
		t.last = (t.last + 1) % len(careOfRange)
		a := careOfRange[t.last]
		taken := false
		for _, g := range t.given {
			taken = taken || g.careOf == a
		}
		if !taken {
			return a
		}
	}
	return careOfRange[t.last] // uplinks may have equal addresses
}

// translatorOf says in words how an uplink with IPv6 alone is used, empty for
// others.
func (d *daemon) translatorOf(link string) string {
	d.translators.mu.Lock()
	defer d.translators.mu.Unlock()
	if g, there := d.translators.given[link]; there {
		return g.path.String()
	}
	return ""
}
