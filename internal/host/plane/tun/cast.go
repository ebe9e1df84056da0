package tun

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"

	"careof/internal/core/forward"
	"careof/wire/encap"
	"careof/wire/igmp"
)

// Broadcasts and multicasts: what a home agent forwards of them to its mobile
// nodes, what it puts on the home link for them, and what a mobile node takes.
// They are few beside other packets, so locks do no harm here.

// HomeLinks is a home agent's other way to its home links, below IP.
// *broadcast.Set is one.
type HomeLinks interface {
	// SendPacket sends a whole IP packet for a group or for everybody.
	SendPacket(link string, packet []byte) error
	// Join makes packets for a group be heard on the link, until Leave.
	Join(link string, group netip.Addr) error
	Leave(link string, group netip.Addr) error
}

// Casts says what a home agent forwards besides unicast.
type Casts struct {
	Links     HomeLinks // nil when all home networks are virtual
	Directed  bool      // broadcasts to the home network's own broadcast address
	Limited   bool      // broadcasts to 255.255.255.255
	Multicast bool      // groups that mobile nodes have joined through the tunnel
}

const (
	// castRate bounds the copies of broadcasts and multicasts that enter
	// tunnels in a second: one packet on a home link becomes as many as there
	// are nodes that want it.
	castRate, castBurst = 20000, 4000
	// nodeRate bounds what one node may have sent to everybody in a second.
	nodeRate, nodeBurst = 500, 100
	// maxGroups bounds the groups of one node.
	maxGroups = 64
	// queryInterval and membershipTime are RFC 3376 sections 8.2 and 8.4: a
	// group that was not reported for so long is not wanted any more.
	queryInterval  = 125 * time.Second
	membershipTime = 260 * time.Second
	// answerTenths is how long a host may take to answer a query: no one else
	// is on its link, so there is nothing to spread.
	answerTenths = 10
)

// SetCasts replaces what is forwarded besides unicast, but for the links, which
// stay what they were at first.
func (p *Plane) SetCasts(c *Casts) {
	if c == nil {
		return
	}
	next := *c
	if old := p.policy.Load(); old != nil {
		next.Links = old.Links
	}
	p.policy.Store(&next)
}

// Destinations are those of packets out of a tunnel that a home agent forwards
// as broadcasts or to groups, with these home networks.
func (c *Casts) Destinations(networks []netip.Prefix) (list []netip.Prefix) {
	if c.Multicast {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{224}), 4))
	}
	if c.Limited {
		list = append(list, netip.PrefixFrom(limitedBroadcast, 32))
	}
	for _, n := range networks {
		if a := lastOf(n); c.Directed && a.IsValid() {
			list = append(list, netip.PrefixFrom(a, 32))
		}
	}
	return list
}

// toMany reports whether an address is a group's, or everybody's on a link.
// Directed broadcast addresses are not known by looking at them.
func toMany(dst netip.Addr) bool { return dst.IsMulticast() || dst == limitedBroadcast }

// linkLocal reports whether a group is one of 224.0.0.0/24, of which routers
// forward nothing.
func linkLocal(group netip.Addr) bool {
	a := group.As4()
	return a[0] == 224 && a[1] == 0 && a[2] == 0
}

// casts is the state of it all.
type casts struct {
	mu      sync.Mutex
	nodes   map[forward.Key]*castNode // home agent: with the B bit, or with groups
	mobiles map[forward.Key]*binding  // mobile node
	heard   map[membership]int        // nodes that want a group of a link
	copies  bucket
	asked   int64                          // instant of the last queries
	told    map[forward.Key]netip.AddrPort // mobile node: who heard last which groups it wants
	atNode  atomic.Pointer[[]*binding]     // the values of mobiles, in key order; nil when there are none
}

// castNode is a mobile node that wants more than unicast.
type castNode struct {
	b      *binding
	groups map[netip.Addr]int64 // until when
}

func (c *casts) init() {
	c.nodes, c.mobiles = make(map[forward.Key]*castNode), make(map[forward.Key]*binding)
	c.told = make(map[forward.Key]netip.AddrPort)
	c.heard, c.copies = make(map[membership]int), newBucket(castRate, castBurst)
}

// castsFollow keeps up with an entry that is now b, nil when it is gone.
func (p *Plane) castsFollow(old, b *binding) {
	c := &p.casts
	c.mu.Lock()
	defer c.mu.Unlock()
	if old != nil && (b == nil || b.entry.Role != old.entry.Role) {
		delete(c.mobiles, old.entry.Key)
		delete(c.told, old.entry.Key)
		c.list()
		if n := c.nodes[old.entry.Key]; n != nil {
			p.castsForget(n)
			delete(c.nodes, old.entry.Key)
		}
	}
	if b == nil {
		return
	}
	switch b.entry.Role {
	case forward.MobileNode:
		c.mobiles[b.entry.Key] = b
		c.list()
	case forward.HomeAgent:
		n := c.nodes[b.entry.Key]
		if n == nil && !b.entry.Broadcast {
			return
		}
		if n == nil {
			n = &castNode{groups: make(map[netip.Addr]int64)}
			c.nodes[b.entry.Key] = n
		}
		n.b = b
		if !b.entry.Broadcast && len(n.groups) == 0 {
			delete(c.nodes, b.entry.Key)
		}
	}
}

// list renews what packets look at.
func (c *casts) list() {
	if len(c.mobiles) == 0 {
		c.atNode.Store(nil)
		return
	}
	var list []*binding
	for _, key := range slices.Sorted(maps.Keys(c.mobiles)) {
		list = append(list, c.mobiles[key])
	}
	c.atNode.Store(&list)
}

// sendsTo is the other end that a binding's packets go to.
func sendsTo(b *binding) netip.AddrPort {
	for _, t := range b.tunnels {
		if t.t.Mode != forward.Receive {
			return t.t.Peer
		}
	}
	return netip.AddrPort{}
}

// isCast reports whether a packet's destination may be more than one host's;
// nets are home networks with their broadcast addresses.
func (p *Plane) isCast(dst netip.Addr) bool {
	return toMany(dst) || slices.ContainsFunc(p.own.Load().networks, func(n netip.Prefix) bool { return lastOf(n) == dst })
}

// wants reports whether the configuration lets packets for dst be forwarded in
// the home network of an entry.
//
// "it is a matter of configuration at the home agent as to which specific
// categories of broadcast datagrams will be forwarded" (RFC 5944 section 4.3).
//
//rfc:5944#4.3
func (p *Plane) wants(dst netip.Addr, inner netip.Prefix) bool {
	c := p.policy.Load()
	switch {
	case dst.IsMulticast():
		return c.Multicast && !linkLocal(dst)
	case dst == limitedBroadcast:
		return c.Limited
	}
	return c.Directed && slices.ContainsFunc(p.own.Load().networks, func(n netip.Prefix) bool {
		return n.Contains(inner.Addr()) && lastOf(n) == dst
	})
}

// Heard takes an IP packet for a group or for everybody from a home link and
// forwards it to the mobile nodes that want it. It keeps no buffer.
//
// "When a home agent receives a broadcast datagram, it MUST NOT forward the
// datagram to any mobile nodes in its mobility binding list other than those
// that have requested forwarding of broadcast datagrams" (RFC 5944 section 4.3).
//
//rfc:5944#4.3
//rfc:5944#4.4
func (p *Plane) Heard(link string, packet []byte) {
	ip, err := encap.ParseIPv4(packet)
	if err != nil || p.policy.Load() == nil {
		return
	}
	packet = slices.Clone(packet[:ip.TotalLen])
	if !encap.DecrementTTL(packet) {
		return
	}
	p.flood(packet, ip.Src, ip.Dst, func(e *forward.Entry) bool { return e.Intercept == link })
}

// flood puts a packet into the tunnels of all nodes that want it and that are
// on the same home link, but for the one that it came from.
func (p *Plane) flood(packet []byte, src, dst netip.Addr, here func(*forward.Entry) bool) {
	now := p.now()
	c := &p.casts
	c.mu.Lock()
	var to []*binding
	for _, key := range slices.Sorted(maps.Keys(c.nodes)) {
		n := c.nodes[key]
		if e := &n.b.entry; !here(e) || e.Inner.Contains(src) || !p.wants(dst, e.Inner) {
			continue
		}
		if until, member := n.groups[dst]; dst.IsMulticast() && (!member || now >= until) || !dst.IsMulticast() && !n.b.entry.Broadcast {
			continue
		}
		if !c.copies.take(now) {
			n.b.stats.drop(&p.totals.overruns)
			continue
		}
		to = append(to, n.b)
	}
	c.mu.Unlock()
	for _, b := range to {
		p.cast(b, packet, now)
	}
}

// cast sends a packet that is not for one host to a mobile node.
//
// With a foreign agent's care-of address it "first encapsulates the broadcast
// datagram in a unicast datagram addressed to the mobile node's home address,
// and then tunnels this encapsulated datagram to the foreign agent. This extra
// level of encapsulation is required so that the foreign agent can determine
// which mobile node should receive the datagram" (RFC 5944 section 4.3).
//
//rfc:5944#4.3
//rfc:5944#4.4
//rfc:5944#3.6.1.2-3
//rfc:5944#3.6.1.2-4
func (p *Plane) cast(b *binding, packet []byte, now int64) {
	for _, t := range b.tunnels {
		if !t.sends(now) {
			continue
		}
		inside := packet
		if t.t.Wrap.IsValid() {
			h := encap.Header{Kind: encap.IPIP, Src: t.t.Wrap, Dst: b.entry.Inner.Addr(), ID: uint16(p.ident.Add(1))}
			wrapped, err := encap.Append(nil, &h, packet)
			if err != nil {
				b.stats.drop(&p.totals.sendErrors)
				continue
			}
			inside = wrapped
		}
		p.into(t, inside, now)
	}
}

// into sends one packet into a tunnel, apart from the goroutine that reads the
// device. It answers nobody: "An ICMP error message MUST NOT be sent as the
// result of receiving ... a datagram destined to an IP broadcast or IP multicast
// address" (RFC 1122 section 3.2.2).
func (p *Plane) into(t *tunnel, packet []byte, now int64) {
	mtu := t.soft.limit(t.mtu, now)
	if t.t.Secured() {
		mtu -= encap.Overhead(encap.IPIP, false)
	}
	if t.header.Kind == encap.Minimal || t.header.Inner == encap.Minimal {
		mtu -= longerThanMinimal
	}
	pieces := [][]byte{packet}
	if len(packet) > mtu {
		var err error
		if pieces, err = encap.Fragment(packet, mtu); err != nil {
			t.of.stats.drop(&p.totals.returned)
			return
		}
	}
	for _, f := range pieces {
		if t.t.Secured() {
			if wrapped, err := wrapCast(t, f); err == nil {
				p.pushSealed(t, wrapped, false, now)
			}
			continue
		}
		h := t.header
		t.unfold(&h, f)
		h.ID = uint16(p.ident.Add(1))
		if !t.pay(len(f) + t.overhead()) {
			t.of.stats.drop(&p.totals.withheld)
			continue
		}
		if err := p.sendInto(t, &h, f); err != nil {
			t.of.stats.drop(&p.totals.sendErrors)
			continue
		}
		st := t.of.stats
		st.sentPackets.Add(1)
		st.sentBytes.Add(uint64(len(f)))
		st.sent.Store(now)
		t.sent.Store(now)
	}
}

func (p *Plane) sendInto(t *tunnel, h *encap.Header, packet []byte) error {
	fallback := func(err error) bool { return err == encap.ErrFragment || err == encap.ErrOptions }
	if h.Kind == encap.UDP {
		m, err := encap.AppendTunnelData(nil, h, packet)
		if fallback(err) {
			h.Inner = encap.IPIP
			m, err = encap.AppendTunnelData(nil, h, packet)
		}
		if err != nil || p.config.Datagrams == nil {
			return err
		}
		return p.config.Datagrams.SendData(t.t.Local, t.t.Peer, t.t.Link, encap.EncapTOS(packet[1]), [][]byte{m})
	}
	outer, err := encap.Append(nil, h, packet)
	if fallback(err) {
		h.Kind = encap.IPIP
		outer, err = encap.Append(nil, h, packet)
	}
	if err != nil {
		return err
	}
	way := t.way()
	p.totals.sendErrors.Add(uint64(p.raw.send([]ipv4.Message{{Buffers: [][]byte{outer}, OOB: way.oob, Addr: &way.to}})))
	return nil
}

// unfold gives IGMP messages a header of their own: in minimal encapsulation
// there is one TTL for both headers, and theirs is 1.
func (t *tunnel) unfold(h *encap.Header, packet []byte) {
	if packet[9] != igmp.Protocol {
		return
	}
	if h.Kind == encap.Minimal {
		h.Kind = encap.IPIP
	}
	if h.Inner == encap.Minimal {
		h.Inner = encap.IPIP
	}
}

// fromNode takes a packet of a mobile node that its home agent has decapsulated
// and that is not for one host: it goes on to the home link and to the other
// nodes there, as if the node had sent it at home. It reports whether that was
// all; otherwise this host's kernel may want it too.
//
//rfc:5944#4.4
//rfc:3024#5.3
func (p *Plane) fromNode(b *binding, inner []byte, now int64) (taken bool) {
	dst := word4(inner[16:20])
	if p.policy.Load() == nil || !p.isCast(dst) {
		return false
	}
	if inner[9] == igmp.Protocol {
		p.reported(b, inner, now)
		return true
	}
	if !p.wants(dst, b.entry.Inner) || !p.mayCast(b, now) {
		return false
	}
	packet := slices.Clone(inner)
	if !encap.DecrementTTL(packet) {
		return false
	}
	finish(packet)
	link := b.entry.Intercept
	if link != "" && p.policy.Load().Links != nil {
		if err := p.policy.Load().Links.SendPacket(link, packet); err != nil {
			p.totals.sendErrors.Add(1)
		}
	}
	p.flood(packet, word4(inner[12:16]), dst, func(e *forward.Entry) bool {
		return e.Intercept == link && (link != "" || p.sameNetwork(e.Inner, b.entry.Inner))
	})
	return false
}

// finish computes the checksum of a UDP datagram that has the sum of the pseudo
// header in its place: a kernel on this host has left it to a network card that
// is not there. See whole.
func finish(packet []byte) {
	const checksumAt, udpHeader = 6, 8
	head := int(packet[0]&15) * 4
	if packet[9] != uint8(encap.UDP) || binary.BigEndian.Uint16(packet[6:])&0x3fff != 0 || len(packet) < head+udpHeader {
		return
	}
	u := packet[head:]
	if binary.BigEndian.Uint16(u[checksumAt:]) != pseudoSum(packet, packet[9], len(u)) {
		return
	}
	sum := encap.Checksum(u)
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(u[checksumAt:], sum)
}

// mayCast bounds what a node sends to everybody.
func (p *Plane) mayCast(b *binding, now int64) bool {
	c := &p.casts
	c.mu.Lock()
	defer c.mu.Unlock()
	said := &b.stats.casts
	if *said == (bucket{}) {
		*said = newBucket(nodeRate, nodeBurst)
	}
	if !said.take(now) {
		b.stats.drop(&p.totals.overruns)
		return false
	}
	return true
}

func (p *Plane) sameNetwork(a, b netip.Prefix) bool {
	return slices.ContainsFunc(p.own.Load().networks, func(n netip.Prefix) bool { return n.Contains(a.Addr()) && n.Contains(b.Addr()) })
}

// matchCast finds the mobile node's tunnel that a packet for a group or for
// everybody may come through. Such a packet does not name the home address, so
// the outer headers decide alone.
//
// "the mobile node MUST be capable of decapsulating packets sent to its home
// address in order to receive multicast datagrams using this method" (RFC 5944
// section 4.4). Which groups it wants the kernel knows.
//
//rfc:5944#4.3
//rfc:5944#4.4
func (p *Plane) matchCast(h *encap.Header, link string, dst netip.Addr, fragment bool, now int64) (*binding, *tunnel) {
	list := p.casts.atNode.Load()
	if list == nil {
		return nil, nil
	}
	for _, b := range *list {
		e := &b.entry
		if !dst.IsMulticast() && !(e.Broadcast && (dst == limitedBroadcast || e.HomeNetwork.IsValid() && dst == lastOf(e.HomeNetwork))) {
			continue
		}
		for _, t := range b.tunnels {
			if t.judge(h, link, fragment, now) == welcome {
				return b, t
			}
		}
	}
	return nil, nil
}
