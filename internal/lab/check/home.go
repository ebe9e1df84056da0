package check

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/lab/world"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// A home is what the checker knows of one home agent, over all its lives.
type home struct {
	Home
	nodes map[string]*node
	began engine.Now // of the present life
}

// A node is what the checker knows of one mobile node.
type node struct {
	peer     *Peer
	requests []request        // authentic and fresh at the time, the latest last
	highest  uint64           // greatest Identification of a request that was accepted
	replies  map[uint64]reply // success replies that left, by Identification
	addrs    []netip.Addr     // home addresses that it was given
}

// A reply is a success reply that has left.
type reply struct {
	to       netip.AddrPort
	code     mip4.Code
	lifetime uint16
}

// repeats tells whether a reply is one that has left before: to the same
// endpoint, with the same result, and with no more time than then.
func (n *node) repeats(r mip4.RegistrationReply, to netip.AddrPort) bool {
	before, ok := n.replies[r.Identification]
	return ok && before.to == to && before.code == r.Code && r.Lifetime <= before.lifetime
}

// A request is an authentic Registration Request that was fresh.
type request struct {
	id       uint64
	careOf   netip.Addr
	from     netip.AddrPort
	lifetime time.Duration // asked for; forever is negative
	at       time.Time     // monotonic, in the life that began at since
	since    time.Time
}

const forever time.Duration = -1

// keptRequests is how many requests the checker remembers of each node: more
// than one sends while its binding lasts, also amid refusals.
const keptRequests = 1024

// who finds the peer that a message speaks of.
func (h *home) who(m *mip4.Message, homeAddress netip.Addr) *Peer {
	if nai, n, err := mip4.Get[mip4.NAI](m); err == nil && n > 0 {
		for i := range h.Peers {
			if string(h.Peers[i].NAI) == nai.Value {
				return &h.Peers[i]
			}
		}
	}
	if !homeAddress.IsValid() || homeAddress.IsUnspecified() {
		return nil
	}
	for i := range h.Peers {
		if h.Peers[i].HomeAddress == homeAddress {
			return &h.Peers[i]
		}
	}
	for i := range h.Peers {
		if n := h.nodes[h.Peers[i].String()]; n != nil && slices.Contains(n.addrs, homeAddress) {
			return &h.Peers[i]
		}
	}
	return nil
}

func (h *home) node(p *Peer) *node {
	n := h.nodes[p.String()]
	if n == nil {
		n = &node{peer: p, replies: make(map[uint64]reply)}
		h.nodes[p.String()] = n
	}
	return n
}

// heard looks at a datagram that a home agent was given, and remembers it when
// it is an authentic request that is fresh.
func (h *home) heard(now engine.Now, p engine.Packet) {
	m, err := mip4.Parse(p.Data)
	if err != nil || m.Type != mip4.TypeRegistrationRequest {
		return
	}
	r, err := m.Request()
	if err != nil {
		return
	}
	peer := h.who(m, r.HomeAddress)
	if peer == nil {
		return
	}
	key := authentic(m, peer, p.Src.Addr())
	if key == nil {
		return
	}
	n := h.node(peer)
	if key.Replay() == assoc.Timestamps {
		off := assoc.TimeOf(r.Identification, now.Wall).Sub(now.Wall)
		if off.Abs() > h.Window || r.Identification <= n.highest {
			return
		}
	}
	lifetime := time.Duration(r.Lifetime) * time.Second
	if r.Lifetime == mip4.LifetimeInfinite {
		lifetime = forever
	}
	// The octets are the caller's; everything here is a value.
	n.requests = append(n.requests, request{
		id: r.Identification, careOf: r.CareOfAddress, from: p.Src, lifetime: lifetime, at: now.Mono, since: h.began.Mono,
	})
	if len(n.requests) > keptRequests {
		n.requests = n.requests[1:]
	}
}

// authentic finds the association under which a request is authentic; nil when
// there is none.
func authentic(m *mip4.Message, p *Peer, from netip.Addr) *assoc.Association {
	if len(p.Keys) == 1 && !p.Keys[0].Authenticated() && p.Source.Contains(from) {
		return p.Keys[0]
	}
	e, n := m.Find(mip4.ExtMobileHome)
	if n != 1 {
		return nil
	}
	a, err := m.Authentication(e)
	if err != nil {
		return nil
	}
	for _, k := range p.Keys {
		if k.SPI() == a.SPI && k.Verify(m.Covered(e), a.Authenticator) {
			return k
		}
	}
	return nil
}

// slack is how much later than the request arrived its commit may be applied:
// a slow disk, and the commits before it.
const slack = 5 * time.Second

// drain is how long a replaced tunnel may be used: "the replaced tunnel stays
// receive-only for at most 2 s".
const drain = 2 * time.Second

// vouches finds the latest request that justifies a tunnel to a peer until a
// certain time: it named the peer as its care-of address, or came from there.
func (h *home) vouches(n *node, t forward.Tunnel) bool {
	for i := len(n.requests) - 1; i >= 0; i-- {
		r := n.requests[i]
		if r.lifetime == 0 {
			continue
		}
		if !(r.from.Addr() == t.Peer.Addr() && (t.Encap != encap.UDP || t.AnyPort || r.from.Port() == t.Peer.Port()) ||
			r.careOf == t.Peer.Addr() && t.Encap != encap.UDP) {
			continue
		}
		if t.Until.IsZero() {
			if r.lifetime == forever && h.MaxLifetime == 0 {
				return true
			}
			continue
		}
		granted := r.lifetime
		if granted == forever || h.MaxLifetime != 0 && granted > h.MaxLifetime {
			granted = h.MaxLifetime
		}
		at := r.at
		if r.since != h.began.Mono {
			// Another life: what is stored is wall time, and is clamped at the
			// restart to the granted lifetime.
			at = h.began.Mono
		}
		if !t.Until.After(at.Add(granted + slack)) {
			return true
		}
	}
	return false
}

// entryNodes finds the nodes that an entry of a home agent may be for: the one
// whose home address it is, or in whose mobile networks it lies. A pool address is named for the first time in the
// reply, which comes after the entry; until then it may be any node's that
// asks for one.
func (h *home) entryNodes(e forward.Entry) []*node {
	var open []*node
	for i := range h.Peers {
		p := &h.Peers[i]
		n := h.nodes[p.String()]
		if n == nil {
			continue
		}
		if slices.ContainsFunc(p.Prefixes, func(q netip.Prefix) bool { return q.Contains(e.Inner.Addr()) && q.Bits() <= e.Inner.Bits() }) {
			return []*node{n}
		}
		if p.HomeAddress == e.Inner.Addr() || slices.Contains(n.addrs, e.Inner.Addr()) {
			return []*node{n}
		}
		if !p.HomeAddress.IsValid() {
			open = append(open, n)
		}
	}
	return open
}

// applying judges what is put into the plane.
func (c *Checker) applying(h *home, o world.Applying) {
	now := o.Daemon.Node.Clock().Now()
	for _, change := range o.Changes {
		switch change.Op {
		case forward.Put:
			c.justified(h, change.Entry, now)
		case forward.Extend:
			for e := range o.Daemon.Node.Plane().List(context.Background()) {
				if e.Key != change.Entry.Key {
					continue
				}
				for i := range e.Tunnels {
					if e.Tunnels[i].Mode != forward.Receive {
						e.Tunnels[i].Until = change.Until
					}
				}
				c.justified(h, e, now)
			}
		}
	}
}

// justified judges an entry that is about to be installed or extended.
func (c *Checker) justified(h *home, e forward.Entry, now engine.Now) {
	if e.Role != forward.HomeAgent {
		return
	}
	c.judged[Authentic]++
	nodes := h.entryNodes(e)
	if len(nodes) == 0 {
		c.violated(Authentic, "%s is installed, but no authentic request has come", world.EntryText(e))
		return
	}
	for _, t := range e.Tunnels {
		if t.Mode == forward.Receive && !t.Until.IsZero() && t.Until.Sub(now.Mono) <= drain+time.Second {
			continue // a replaced tunnel that drains
		}
		if !t.Until.IsZero() && !t.Until.After(now.Mono) {
			continue // it is over already
		}
		if !slices.ContainsFunc(nodes, func(n *node) bool { return h.vouches(n, t) }) {
			c.violated(Authentic, "%s is installed, but no authentic and fresh request asked for the tunnel to %v until then (now %v)",
				world.EntryText(e), t.Peer, now.Mono.UnixMicro())
		}
	}
}

// success reads a datagram as a reply that accepts a registration.
func success(data []byte) (mip4.RegistrationReply, *mip4.Message, bool) {
	m, err := mip4.Parse(data)
	if err != nil || m.Type != mip4.TypeRegistrationReply {
		return mip4.RegistrationReply{}, nil, false
	}
	r, err := m.Reply()
	return r, m, err == nil && r.Code.Accepted()
}

// stepped judges replies that a machine sends without a commit.
func (c *Checker) stepped(h *home, o world.Stepped) {
	if p, ok := o.Event.(engine.Packet); ok {
		h.heard(o.Now, p)
	}
	for _, a := range o.Actions {
		if s, ok := a.(engine.Send); ok {
			if r, m, ok := success(s.Data); ok {
				c.judged[Durable]++
				if peer := h.who(m, r.HomeAddress); peer == nil || !h.node(peer).repeats(r, s.Dst) {
					c.violated(Durable, "%s accepts a registration before anything is durable: to %v", o.Daemon.Node.Name, s.Dst)
				}
			}
		}
	}
}

// committed judges a commit whose success replies leave next.
func (c *Checker) committed(h *home, o world.Committed) {
	for _, a := range o.Commit.Then {
		s, ok := a.(engine.Send)
		if !ok {
			continue
		}
		r, m, ok := success(s.Data)
		if !ok {
			continue
		}
		if peer := h.who(m, r.HomeAddress); peer != nil && h.node(peer).repeats(r, s.Dst) {
			continue
		}
		c.judged[Durable]++
		if len(o.Commit.Records) == 0 {
			c.violated(Durable, "%s accepts a registration of %v with a commit that makes nothing durable", o.Daemon.Node.Name, r.HomeAddress)
		}
	}
}

// replied judges a reply that leaves.
func (c *Checker) replied(h *home, o world.Sent) {
	r, m, ok := success(o.Send.Data)
	if !ok {
		return
	}
	c.judged[Once]++
	peer := h.who(m, r.HomeAddress)
	if peer == nil {
		c.violated(Authentic, "a registration of %v is accepted, which is nobody's home address", r.HomeAddress)
		return
	}
	n := h.node(peer)
	if !slices.Contains(n.addrs, r.HomeAddress) {
		n.addrs = append(n.addrs, r.HomeAddress)
	}
	if n.repeats(r, o.Send.Dst) {
		return
	}
	nonces := peer.Keys[0].Replay() == assoc.Nonces
	at := slices.IndexFunc(n.requests, func(q request) bool {
		if nonces {
			return uint32(q.id) == uint32(r.Identification)
		}
		return q.id == r.Identification
	})
	if at < 0 {
		c.violated(Authentic, "a registration of %v with Identification %016x is accepted, but no authentic and fresh request has it", r.HomeAddress, r.Identification)
	}
	if before, twice := n.replies[r.Identification]; twice {
		c.violated(Once, "Identification %016x of %v is accepted twice: for %v and %v", r.Identification, r.HomeAddress, before.to, o.Send.Dst)
	}
	n.replies[r.Identification] = reply{o.Send.Dst, r.Code, r.Lifetime}
	if !nonces {
		if r.Identification <= n.highest {
			c.violated(Once, "Identification %016x of %v is accepted after %016x", r.Identification, r.HomeAddress, n.highest)
		}
		n.highest = max(n.highest, r.Identification)
	}
	if r.Lifetime == 0 {
		return
	}
	c.judged[Durable]++
	plane := o.Daemon.Node.Plane()
	for e := range plane.List(context.Background()) {
		if e.Role == forward.HomeAgent && e.Inner.Contains(r.HomeAddress) && slices.ContainsFunc(e.Tunnels, plane.Live) {
			return
		}
	}
	c.violated(Durable, "a registration of %v is accepted, but nothing is forwarded to it", r.HomeAddress)
}

// decapsulated judges a packet that left a tunnel at a home agent.
func (c *Checker) decapsulated(h *home, o world.Decapsulated) {
	c.judged[Decapsulated]++
	ip, err := encap.ParseIPv4(o.Inner)
	if err != nil {
		c.violated(Decapsulated, "what came out of a tunnel of %s is no packet", o.Node.Name)
		return
	}
	now := o.Node.Clock().Now()
	// The plane's own entry must allow it, and a request must have asked for it
	// and not have run out: a hole in either shows.
	as := forward.Tunnel{Peer: netip.AddrPortFrom(o.Outer.Src, o.Outer.SrcPort), Encap: o.Outer.Kind, Until: now.Mono}
	if !slices.ContainsFunc(h.entryNodes(forward.Entry{Inner: netip.PrefixFrom(ip.Src, 32)}), func(n *node) bool { return h.vouches(n, as) }) {
		c.violated(Decapsulated, "a packet from %v for %v came out of a tunnel from %v that no registration asked for", ip.Src, ip.Dst, o.Outer.Src)
		return
	}
	for e := range o.Node.Plane().List(context.Background()) {
		if e.Role != forward.HomeAgent || !e.Inner.Contains(ip.Src) {
			continue
		}
		for _, t := range e.Tunnels {
			if o.Outer.Src == t.Peer.Addr() && o.Outer.Dst == t.Local.Addr() && (t.Until.IsZero() || t.Until.After(now.Mono)) &&
				(t.Encap != encap.UDP || t.AnyPort || o.Outer.SrcPort == t.Peer.Port()) && t.Mode != forward.Send {
				return
			}
		}
	}
	c.violated(Decapsulated, "a packet from %v for %v came out of a tunnel from %v that no live binding allows", ip.Src, ip.Dst, o.Outer.Src)
}
