package world

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// A Plane is a node's data plane. It obeys the same rules as the real ones
// and keeps its entries when the daemon dies. It differs from them in that it
// may not be used concurrently.
type Plane struct {
	node      *Node
	clock     *Clock
	entries   []*installed   // in key order
	homes     []netip.Addr   // addresses that live on this node's tunnel device
	networks  []netip.Prefix // home networks that are routed to the tunnel device
	events    chan forward.Event
	tunnelMTU []pathMTU
	Counts    PlaneCounts
}

// PlaneCounts counts what a plane did with packets.
type PlaneCounts struct {
	Sent, Received, Unbound, Stranger, Malformed, Loop, TooBig, Lapsed, Withheld, Copies int
}

type installed struct {
	entry    forward.Entry
	counters forward.Counters
	use      forward.Use
	hinted   map[string]time.Duration // when the last event of a sort was sent
	number   uint32                   // of the last redundant packet
	numbers  forward.Sequence         // of those that came
	spent    map[netip.AddrPort]int   // of budgets, by the other end, in octets; what came from there has been taken off
}

type pathMTU struct {
	local, peer netip.Addr
	mtu         int
	until       time.Duration
}

var _ forward.Plane = (*Plane)(nil)

// AddPlane gives the node a data plane.
func (n *Node) AddPlane() *Plane {
	n.plane = &Plane{node: n, clock: n.clockOf(), events: make(chan forward.Event, 64)}
	return n.plane
}

// KeepHome makes an address live on the node's tunnel device whether or not
// an entry says so: packets from it never leave otherwise.
func (p *Plane) KeepHome(a netip.Addr) {
	if a.IsValid() && !slicesHas(p.homes, a) {
		p.homes = append(p.homes, a)
	}
}

// RouteHome routes a home network to the tunnel device: what is not bound in
// it is unreachable.
func (p *Plane) RouteHome(network netip.Prefix) { p.networks = append(p.networks, network) }

// find is where an entry is or would be.
func (p *Plane) find(k forward.Key) (int, bool) {
	return slices.BinarySearchFunc(p.entries, k, func(e *installed, k forward.Key) int { return strings.Compare(string(e.entry.Key), string(k)) })
}

// Apply carries out changes in order, at once.
func (p *Plane) Apply(_ context.Context, changes []forward.Change) error {
	for _, c := range changes {
		at, have := p.find(c.Entry.Key)
		switch c.Op {
		case forward.Put:
			if err := checkEntry(c.Entry); err != nil {
				return err
			}
			e := clone(c.Entry)
			if have {
				before := p.entries[at].entry
				p.entries[at].entry = e
				maps.DeleteFunc(p.entries[at].spent, func(peer netip.AddrPort, _ int) bool {
					return !slices.ContainsFunc(e.Tunnels, func(t forward.Tunnel) bool { return t.Peer == peer && t.Budget > 0 })
				})
				p.intercepting(before, e, forward.HardwareAddr{})
			} else {
				p.entries = slices.Insert(p.entries, at, &installed{entry: e, hinted: make(map[string]time.Duration), spent: make(map[netip.AddrPort]int)})
				p.intercepting(forward.Entry{}, e, forward.HardwareAddr{})
			}
			if e.Role == forward.MobileNode {
				p.KeepHome(e.Inner.Addr())
			}
		case forward.Delete:
			if have {
				before := p.entries[at].entry
				p.entries = slices.Delete(p.entries, at, at+1)
				p.intercepting(before, forward.Entry{}, c.ReturnedTo)
			}
		case forward.Extend:
			if !have {
				return fmt.Errorf("world: no entry %s to extend", c.Entry.Key)
			}
			e := &p.entries[at].entry
			for i := range e.Tunnels {
				if e.Tunnels[i].Mode != forward.Receive {
					e.Tunnels[i].Until = c.Until
				}
			}
		default:
			return fmt.Errorf("world: unknown operation %d", c.Op)
		}
	}
	return nil
}

// checkEntry refuses entries that say nothing sensible.
func checkEntry(e forward.Entry) error {
	switch {
	case e.Key == "":
		return fmt.Errorf("world: entry without a key")
	case !e.Inner.IsValid() || !e.Inner.Addr().Is4():
		return fmt.Errorf("world: entry %s: inner %v is not an IPv4 prefix", e.Key, e.Inner)
	case e.Role != forward.HomeAgent && e.Role != forward.MobileNode && e.Role != forward.ForeignAgent:
		return fmt.Errorf("world: entry %s: role %d is not supported", e.Key, e.Role)
	}
	for _, t := range e.Tunnels {
		if !t.Local.Addr().Is4() || !t.Peer.Addr().Is4() || !t.Encap.Known() {
			return fmt.Errorf("world: entry %s: tunnel %v to %v by %v", e.Key, t.Local, t.Peer, t.Encap)
		}
	}
	return nil
}

func clone(e forward.Entry) forward.Entry {
	e.Routes, e.Tunnels, e.Redundant = slices.Clone(e.Routes), slices.Clone(e.Tunnels), slices.Clone(e.Redundant)
	return e
}

// intercepting begins or ends the interception of an entry on its home link,
// in the order that RFC 5944 section 4.6 gives: gratuitous ARP before
// proxying, and the other way round at the end.
func (p *Plane) intercepting(before, after forward.Entry, returned forward.HardwareAddr) {
	if before.Intercept == after.Intercept && before.Inner == after.Inner {
		return
	}
	if i := p.node.Interface(before.Intercept); before.Intercept != "" && i != nil {
		delete(i.proxied, before.Inner.Addr())
		if returned != (forward.HardwareAddr{}) {
			i.announce(before.Inner.Addr(), returned)
		}
	}
	if i := p.node.Interface(after.Intercept); after.Intercept != "" && i != nil {
		i.announce(after.Inner.Addr(), forward.HardwareAddr{})
		i.proxied[after.Inner.Addr()] = true
	}
}

// List yields the entries, in key order.
func (p *Plane) List(context.Context) iter.Seq[forward.Entry] {
	return func(yield func(forward.Entry) bool) {
		for _, e := range p.entries {
			if !yield(clone(e.entry)) {
				return
			}
		}
	}
}

// Events yields what happened. The node's daemon does not read it: it is told
// directly, in order.
func (p *Plane) Events() <-chan forward.Event { return p.events }

// Counters tells what an entry forwarded.
func (p *Plane) Counters(k forward.Key) forward.Counters {
	if at, have := p.find(k); have {
		return p.entries[at].counters
	}
	return forward.Counters{}
}

// Use tells when an entry last forwarded.
func (p *Plane) Use(k forward.Key) forward.Use {
	if at, have := p.find(k); have {
		return p.entries[at].use
	}
	return forward.Use{}
}

// Close does nothing: the entries stay, as in a kernel.
func (p *Plane) Close() error { return nil }

// vanish forgets everything, as a machine does when it is switched off, and a
// plane inside a daemon when that dies.
func (p *Plane) vanish() {
	for _, e := range p.entries {
		if i := p.node.Interface(e.entry.Intercept); e.entry.Intercept != "" && i != nil {
			delete(i.proxied, e.entry.Inner.Addr())
		}
	}
	p.entries, p.tunnelMTU = nil, nil
}

// Live tells whether the plane uses a tunnel at this moment.
func (p *Plane) Live(t forward.Tunnel) bool {
	return t.Until.IsZero() || t.Until.After(p.clock.Now().Mono)
}

// sends and receives tell what a tunnel is good for now.
func (p *Plane) sends(t forward.Tunnel) bool {
	return t.Mode != forward.Receive && !t.AnyPort && p.Live(t)
}
func (p *Plane) receives(t forward.Tunnel) bool { return t.Mode != forward.Send && p.Live(t) }

// claims tells whether packets for dst that reach this host go to the plane:
// those for bound nodes, and those for a home network that has no link.
func (p *Plane) claims(dst netip.Addr) bool {
	for _, e := range p.entries {
		if e.entry.Role == forward.HomeAgent && e.entry.Inner.Contains(dst) {
			return true
		}
	}
	for _, n := range p.networks {
		if n.Contains(dst) {
			return true
		}
	}
	return false
}

// behind tells whether a packet comes from a mobile network of this node and
// leaves it: it has no way but the tunnel's.
func (p *Plane) behind(ip encap.IPv4) bool {
	from := false
	for _, e := range p.entries {
		if e.entry.Network == "" {
			continue
		}
		if e.entry.Inner.Contains(ip.Dst) {
			return false
		}
		from = from || e.entry.Inner.Contains(ip.Src)
	}
	return from
}

// ownsHome tells whether an address is a home address that lives here.
func (p *Plane) ownsHome(a netip.Addr) bool { return slicesHas(p.homes, a) }

// OwnsHome tells whether an address is a home address that lives on this node,
// bound or not.
func (p *Plane) OwnsHome(a netip.Addr) bool { return p.ownsHome(a) }

// AtHome tells whether a home address speaks directly on a home link.
func (p *Plane) AtHome(a netip.Addr) bool {
	for _, e := range p.entries {
		if e.entry.Role == forward.MobileNode && e.entry.HomeLink != "" && e.entry.Inner.Contains(a) {
			return true
		}
	}
	return false
}

// home is the node's first home address.
func (p *Plane) home() netip.Addr {
	if len(p.homes) == 0 {
		return netip.Addr{}
	}
	return p.homes[0]
}

// atHome is the home address that speaks directly on a link.
func (p *Plane) atHome(link string) netip.Addr {
	for _, e := range p.entries {
		if e.entry.Role == forward.MobileNode && e.entry.HomeLink == link {
			return e.entry.Inner.Addr()
		}
	}
	return netip.Addr{}
}

// port is the port of this end of a tunnel: the one it names, or that of the
// daemon's socket on its link.
func (p *Plane) port(t forward.Tunnel) uint16 {
	if t.Local.Port() != 0 || p.node.daemon == nil {
		return t.Local.Port()
	}
	return p.node.daemon.portOn(p.node.linkOf(t))
}

// hasPort tells whether packets of a tunnel are taken at a port.
func (p *Plane) hasPort(t forward.Tunnel, port uint16) bool {
	if t.Local.Port() != 0 || p.node.daemon == nil {
		return port == t.Local.Port()
	}
	return p.node.daemon.hasPort(p.node.linkOf(t), port)
}

// linkOf is the interface that a tunnel uses: the one it names, or the one
// with its address.
func (n *Node) linkOf(t forward.Tunnel) string {
	if t.Link != "" {
		return t.Link
	}
	for _, i := range n.interfaces {
		if i.has(t.Local.Addr()) {
			return i.Name
		}
	}
	return ""
}
