package tun

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/forward"
	"careof/wire/encap"
	"careof/wire/igmp"
)

type membership struct {
	link  string
	group netip.Addr
}

// castsForget ends all memberships of a node.
func (p *Plane) castsForget(n *castNode) {
	for _, g := range slices.SortedFunc(maps.Keys(n.groups), netip.Addr.Compare) {
		p.leave(n, g)
	}
}

// join and leave keep the home link's memberships: one for as many nodes as
// want the group there.
func (p *Plane) join(n *castNode, group netip.Addr, until int64) {
	_, had := n.groups[group]
	if !had && len(n.groups) >= maxGroups {
		n.b.stats.drop(&p.totals.overruns)
		return
	}
	n.groups[group] = until
	link := n.b.entry.Intercept
	if had || link == "" || p.policy.Load().Links == nil {
		return
	}
	m := membership{link, group}
	if p.casts.heard[m]++; p.casts.heard[m] == 1 {
		if err := p.policy.Load().Links.Join(link, group); err != nil {
			p.totals.sendErrors.Add(1)
		}
	}
}

func (p *Plane) leave(n *castNode, group netip.Addr) {
	if _, had := n.groups[group]; !had {
		return
	}
	delete(n.groups, group)
	link := n.b.entry.Intercept
	if link == "" || p.policy.Load().Links == nil {
		return
	}
	m := membership{link, group}
	if p.casts.heard[m]--; p.casts.heard[m] <= 0 {
		delete(p.casts.heard, m)
		if err := p.policy.Load().Links.Leave(link, group); err != nil {
			p.totals.sendErrors.Add(1)
		}
	}
}

// reported takes a node's IGMP message out of its tunnel: "The mobile node
// tunnels IGMP messages to its home agent, and the home agent forwards
// multicast datagrams down the tunnel to the mobile node" (RFC 5944 section
// 4.4).
//
//rfc:5944#4.4
func (p *Plane) reported(b *binding, inner []byte, now int64) {
	ip, err := encap.ParseIPv4(inner)
	if err != nil || ip.IsFragment() || b.entry.Inner.Bits() != 32 || !p.policy.Load().Multicast || !p.mayCast(b, now) {
		return
	}
	changes, err := igmp.ParseReport(inner[ip.HeaderLen:ip.TotalLen])
	if err != nil {
		p.totals.malformed.Add(1)
		return
	}
	c := &p.casts
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[b.entry.Key]
	for _, change := range changes {
		switch {
		case linkLocal(change.Group):
		case change.Wants:
			if n == nil {
				n = &castNode{b: b, groups: make(map[netip.Addr]int64)}
				c.nodes[b.entry.Key] = n
			}
			p.join(n, change.Group, now+int64(membershipTime))
		case n != nil:
			p.leave(n, change.Group)
		}
	}
	if n != nil && !b.entry.Broadcast && len(n.groups) == 0 {
		delete(c.nodes, b.entry.Key)
	}
}

// Groups lists the groups that are forwarded to a home agent's node.
func (p *Plane) Groups(key forward.Key) []netip.Addr {
	p.casts.mu.Lock()
	defer p.casts.mu.Unlock()
	n := p.casts.nodes[key]
	if n == nil {
		return nil
	}
	return slices.SortedFunc(maps.Keys(n.groups), netip.Addr.Compare)
}

// castsWatch asks for memberships and ends those that were not renewed, until
// the plane is closed.
func (p *Plane) castsWatch() {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-tick.C:
			p.castsDue(p.now())
		}
	}
}

// castsDue does what is due now: a home agent asks the nodes with groups, as
// every multicast router asks its hosts, and a mobile node asks its own
// kernel.
//
//rfc:3376#4.1
func (p *Plane) castsDue(now int64) {
	c := &p.casts
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(c.nodes)) {
		n := c.nodes[key]
		for _, g := range slices.SortedFunc(maps.Keys(n.groups), netip.Addr.Compare) {
			if now >= n.groups[g] {
				p.leave(n, g)
			}
		}
		if !n.b.entry.Broadcast && len(n.groups) == 0 {
			delete(c.nodes, key)
		}
	}
	if now-c.asked < int64(queryInterval) {
		return
	}
	c.asked = now
	for _, key := range slices.Sorted(maps.Keys(c.mobiles)) {
		p.ask(c.mobiles[key])
	}
	for _, key := range slices.Sorted(maps.Keys(c.nodes)) {
		n := c.nodes[key]
		if len(n.groups) == 0 {
			continue
		}
		for _, t := range n.b.tunnels {
			if t.sends(now) {
				p.cast(n.b, p.query(t.t.Local.Addr()), now)
				break
			}
		}
	}
}

// AskGroups makes the kernel say which groups it has joined on the device when
// a mobile node's packets go to another end than before: a home agent there may
// know of none. Address and routes must be in place.
func (p *Plane) AskGroups(key forward.Key) {
	c := &p.casts
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.mobiles[key]
	if b == nil || c.told[key] == sendsTo(b) {
		return
	}
	c.told[key] = sendsTo(b)
	p.ask(b)
}

// ask makes this host's kernel say which groups it has joined on the device. It
// is done here, and not left to the home agent, because only this end knows
// when a new one must hear it.
func (p *Plane) ask(b *binding) {
	if b.entry.HomeLink != "" || !sendsTo(b).IsValid() {
		return
	}
	packet := p.query(netip.IPv4Unspecified())
	if err := p.dev.write([]train{{packet: packet, length: len(packet)}}); err != nil {
		p.totals.sendErrors.Add(1)
	}
}

// query is a general query in an IP packet, with the Router Alert option that
// "MUST be sent" with it (RFC 3376 section 4).
func (p *Plane) query(src netip.Addr) []byte {
	message := igmp.AppendGeneralQuery(nil, answerTenths)
	packet := make([]byte, 24, 24+len(message))
	packet[0], packet[1], packet[8], packet[9] = 0x46, 0xc0, 1, igmp.Protocol
	binary.BigEndian.PutUint16(packet[2:], uint16(24+len(message)))
	from, to := src.As4(), igmp.AllSystems.As4()
	copy(packet[12:], from[:])
	copy(packet[16:], to[:])
	packet[20], packet[21] = 0x94, 4
	binary.BigEndian.PutUint16(packet[10:], encap.Checksum(packet[:24]))
	return append(packet, message...)
}
