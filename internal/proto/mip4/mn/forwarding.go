package mn

import (
	"iter"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// entry is what the data plane should do for the home address now; ok is
// false while there is no home address. Without any tunnel the entry stays:
// it is what keeps packets of the home address from leaving another way.
func (n *Node) entry() (e forward.Entry, ok bool) {
	if !n.address.IsValid() {
		return forward.Entry{}, false
	}
	e = forward.Entry{
		Key: n.Key(), Role: forward.MobileNode,
		Inner:     netip.PrefixFrom(n.address, 32),
		Routes:    n.routes(),
		HomeLink:  n.homeLink(),
		Broadcast: n.cfg.Broadcast,

		HomeNetwork: n.cfg.HomeNetwork,
	}
	if e.HomeLink != "" {
		e.Deliver = n.homeRouter(e.HomeLink)
	}
	if e.HomeLink != "" || n.stopped {
		return e, true
	}
	add := func(t forward.Tunnel) {
		if !t.Peer.IsValid() {
			return // plain, to or from a foreign agent
		}
		for _, o := range e.Tunnels {
			if same(o, t) {
				return
			}
		}
		e.Tunnels = append(e.Tunnels, t)
	}
	e.Redundant, e.Numbered = n.redundancy.Classes, n.redundancy.Agreed
	broken := n.broken()
	moving := false // a registration is live, so that packets may come and go
	for _, r := range n.registrations() {
		moving = moving || r.live
	}
	if !broken {
		e.Deliver = n.active.Deliver
		t := n.active.Tunnel
		t.Until = n.active.expires
		t.Copies = n.Copies(n.active)
		if !n.active.Reverse {
			t.Mode = forward.Receive // packets from the home address go their own way
		}
		add(t)
		e.Direct = n.direct(n.active)
		e.LocalGroups = n.cfg.LocalGroups && n.active.CoLocated
	} else if moving {
		// Break before make: data follow the request at once. The home agent
		// takes them as soon as it has accepted it; waiting for its reply
		// would cost a round trip more.
		if r := n.earliest(); r != nil {
			t := r.try.tunnels[0]
			t.Mode = forward.Both
			t.Copies = n.Copies(r)
			add(t)
		}
	}
	for _, r := range n.registrations() {
		if r.live {
			t := r.Tunnel
			t.Mode, t.Until = forward.Receive, r.expires
			t.Copies = n.Copies(r)
			add(t)
			add(n.wrapped(r))
		}
		if moving && r.try != nil && r.try.purpose == Register && r.try.anew {
			// The first packet through the new tunnel may overtake the reply.
			for _, t := range r.try.tunnels {
				t.Mode = forward.Receive
				add(t)
			}
		}
	}
	for _, t := range n.drains {
		add(t)
	}
	return e, true
}

// routes are the destinations that go through the tunnel: the configured ones, and
// those of a [Lead] that are not inside of one.
func (n *Node) routes() []netip.Prefix {
	list := slices.Clone(n.cfg.Routes)
	for _, to := range n.led {
		inside := func(r netip.Prefix) bool { return r.Bits() <= to.Bits() && r.Contains(to.Addr()) }
		if !slices.ContainsFunc(list, inside) {
			list = append(list, to)
		}
	}
	return list
}

// direct is what the home address reaches over the visited link while packets
// are sent as r agrees: a selection, what is not encapsulated in the mixed
// delivery style, or everything without a reverse tunnel.
//
//rfc:3024#5.4
func (n *Node) direct(r *Registration) []netip.Prefix {
	if r.Plain || !r.Reverse {
		return everywhere
	}
	return n.cfg.Direct
}

var everywhere = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}

// wrapped is the tunnel by which a home agent's broadcasts and multicasts come
// in through a foreign agent: in a packet from the home agent to the home
// address, since "the mobile node MUST be capable of decapsulating packets sent
// to its home address" (RFC 5944 section 4.4).
//
//rfc:5944#4.3
//rfc:5944#4.4
//rfc:5944#3.6.1.2-6
func (n *Node) wrapped(r *Registration) forward.Tunnel {
	if r.CoLocated {
		return forward.Tunnel{}
	}
	return forward.Tunnel{
		Local: netip.AddrPortFrom(n.address, 0), Peer: netip.AddrPortFrom(r.Key.HomeAgent, 0), Link: r.Key.Link,
		Encap: encap.IPIP, Mode: forward.Receive, Until: r.expires,
	}
}

// earliest is the attempt whose tunnel may be used before it is accepted: that
// of the preferred uplink.
func (n *Node) earliest() *Registration {
	for _, c := range n.choice {
		for _, r := range n.registrations() {
			if r.of(c) && r.try != nil && r.try.purpose == Register && len(r.try.tunnels) > 0 {
				return r
			}
		}
	}
	return nil
}

// change is the step from what the data plane was last told to the present
// entries, and whether it changes the home link.
func (n *Node) change() (changes []forward.Change, homeLink bool) {
	if !n.putAgain.IsZero() {
		return nil, false
	}
	want, old := n.entries(), n.applied
	n.applied = want
	for _, o := range old {
		if entryOf(want, o.Key) == nil {
			// The home agent gave another home address or network.
			changes = append(changes, forward.Change{Op: forward.Delete, Entry: forward.Entry{Key: o.Key, Role: o.Role, Inner: o.Inner}})
		}
	}
	replaced := len(changes) > 0
	for i := range want {
		e := &want[i]
		o := entryOf(old, e.Key)
		home := e.Key == n.Key()
		switch {
		case o == nil:
			homeLink = homeLink || home && !replaced && e.HomeLink != ""
		case reflect.DeepEqual(*o, *e):
			continue
		case refreshed(*o, *e):
			changes = append(changes, forward.Change{
				Op:    forward.Extend,
				Entry: forward.Entry{Key: e.Key, Role: e.Role, Inner: e.Inner},
				Until: e.Tunnels[0].Until,
			})
			continue
		default:
			homeLink = homeLink || home && o.HomeLink != e.HomeLink
		}
		changes = append(changes, forward.Change{Op: forward.Put, Entry: *e})
	}
	return changes, homeLink
}

// entryOf finds an entry by its key; nil when it is not in the list.
func entryOf(list []forward.Entry, key forward.Key) *forward.Entry {
	for i := range list {
		if list[i].Key == key {
			return &list[i]
		}
	}
	return nil
}

// form is the encapsulation of a live registration's packets, for people:
// empty when they go plain to a foreign agent.
func (r *Registration) form() string {
	if !r.Tunnel.Peer.IsValid() {
		return ""
	}
	if r.Tunnel.Secured() {
		return r.Tunnel.Inside.String()
	}
	return r.Tunnel.Encap.String()
}

// refreshed says that nothing but the end of the sending tunnel differs.
func refreshed(old, e forward.Entry) bool {
	if len(old.Tunnels) == 0 || len(old.Tunnels) != len(e.Tunnels) || e.Tunnels[0].Mode == forward.Receive {
		return false
	}
	level := func(e forward.Entry) forward.Entry {
		tunnels := append([]forward.Tunnel(nil), e.Tunnels...)
		tunnels[0].Until = time.Time{}
		e.Tunnels = tunnels
		return e
	}
	return reflect.DeepEqual(level(old), level(e))
}

// Entries implements [engine.Persistent].
func (n *Node) Entries() iter.Seq[forward.Entry] {
	return func(yield func(forward.Entry) bool) {
		for _, e := range n.entries() {
			if !yield(e) {
				return
			}
		}
	}
}
