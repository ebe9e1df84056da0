package natt

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/advertise"
	"careof/internal/proto/mip4/claim"
	"careof/internal/proto/mip4/fa"
	"careof/wire/adv4"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// foreign is NAT traversal at a foreign agent.
//
// Force says that the agent is behind a NAT, or has "some other compelling
// reason" (RFC 3519 section 4.5). Auto asks for UDP where the care-of address
// is private and the home agent's is not, and knows that a NAT is there once a
// home agent has seen it.
type foreign struct {
	cfg    Config
	agent  *fa.Agent
	fact   *engine.Slot[asked] // of an exchange, its pending request and the visit
	behind bool                // the agent is behind a NAT

	paths map[ends]*path // with visitors in UDP tunnels
	on    map[forward.Key]*path
}

// asked is what the feature knows of a request and what came of it.
type asked struct {
	yes       bool          // with extension 144
	keepalive time.Duration // the interval, when the home agent has assented
}

// ends name a path: care-of address and home agent.
type ends struct{ careOf, agent netip.Addr }

// A path is what all visitors of one care-of address and home agent share: two
// ports, and so one mapping of the NAT.
type path struct {
	ends
	visitors map[forward.Key]*fa.Visitor
	interval time.Duration
	next     time.Time // of the next keepalive
	sent     time.Time // of the last one
	awaiting bool      // it has not been answered
	tries    int
	id, seq  uint16
}

// addForeign adds the feature to a foreign agent.
func addForeign(cfg Config, a *fa.Agent) error {
	if cfg.Mode == Off {
		return nil
	}
	f := &foreign{
		cfg: cfg, agent: a, fact: new(engine.Slot[asked]), behind: cfg.Mode == Force,
		paths: make(map[ends]*path), on: make(map[forward.Key]*path),
	}
	a.Claims.Add(claim.Claim{Feature: Name, Type: mip4.ExtUDPTunnelReply, InReply: true, From: "home agent", Max: 1, Section: "3519#3.2"})
	a.Request.Add(Name, "reverse-tunnel", f.request)
	a.Relay.Add(Name, "ask", f.relay)
	a.Deliver.Add(Name, "tunnel", f.deliver)
	a.Advertiser.Advertise.Add(Name, "u-flag", f.advertise)
	a.OnArrived(f.arrived)
	a.OnDeparted(func(v *fa.Visitor, _ fa.Reason) { f.leave(v) })
	a.OnPlane(f.plane)
	a.AddTimer(f.deadline, f.due)
	return nil
}

// request: "If the behaviour of the NAT is unknown in this respect, it SHOULD be
// assumed that it will translate all addresses, thus the foreign agent SHOULD
// be configured to reply to registration requests which don't have the 'T' bit
// set with a reply code 75" (RFC 3519 section 4.5).
//
//rfc:3519#4.5
//rfc:3519#4.5-5
//rfc:3519#4.5-6
//rfc:3519#3.1.5-2
func (f *foreign) request(x *fa.Exchange) engine.Verdict {
	if f.behind && !x.CoLocated() && !x.Deregisters() && !x.Request.Flags.Has(mip4.FlagT) && f.agent.Config().ReverseTunnel != forward.ReverseTunnelRefused {
		return engine.Deny(uint8(mip4.CodeFAReverseTunnelMandatory), "plain packets would not pass the NAT with their addresses")
	}
	return engine.Next()
}

// relay asks for UDP "after the Mobile-Home Authentication Extension" and
// "before the Foreign-Home Authentication Extension". A co-located care-of
// address is not the agent's to ask for: "this will lead to a UDP tunnel being
// set up from the home agent to the foreign agent instead of to the mobile
// node". The base relays "with an IP source address matching the care-of
// address", which is what the home agent compares (RFC 3519 section 4.5).
//
//rfc:3519#4.5
//rfc:3519#4.5-1
//rfc:3519#4.5-2
//rfc:3519#4.5-3
//rfc:3519#4.5-4
func (f *foreign) relay(x *fa.Exchange) engine.Verdict {
	if x.CoLocated() || x.Deregisters() || x.CareOf != x.Request.CareOfAddress {
		return engine.Next()
	}
	if f.cfg.Mode == Auto && (!private(x.CareOf) || private(x.Upstream.Addr())) {
		return engine.Next()
	}
	f.fact.Of(x).yes = true
	x.Draft.Add(mip4.ZoneForeign, &mip4.UDPTunnelRequest{ForceFlag: f.cfg.Mode == Force, Encap: f.cfg.Encapsulation})
	return engine.Next()
}

// deliver takes a home agent's assent: data then "MUST" go in UDP, between the
// ports of the registration (RFC 3519 sections 4.1 and 4.6). An answer that
// nobody asked for says nothing.
//
//rfc:3519#4.5
//rfc:3519#3.2
func (f *foreign) deliver(r *fa.Return) engine.Verdict {
	fact := f.fact.Of(r)
	if !fact.yes || !r.Accepted() {
		return engine.Next()
	}
	var answer *mip4.UDPTunnelReply
	for _, e := range r.Message.Tail() {
		if v, err := mip4.Decode[mip4.UDPTunnelReply](e); err == nil {
			answer = &v
		}
	}
	if answer == nil || !answer.Code.Assent() {
		return engine.Next()
	}
	if !answer.Force {
		f.behind = true
	}
	t := &r.Tunnel
	t.Inside = t.Encap
	if f.cfg.Encapsulation != 0 {
		t.Inside = encap.Kind(f.cfg.Encapsulation)
	}
	t.Encap = encap.UDP
	t.Local = netip.AddrPortFrom(t.Local.Addr(), f.agent.Config().Port)
	t.Peer = netip.AddrPortFrom(t.Peer.Addr(), r.Pending.Upstream.Port())
	fact.keepalive = f.interval(*answer)
	return engine.Next()
}

// interval is the keepalive interval K: the home agent's, or the default; never
// longer than what the operator knows of the NAT: "it is a matter of
// permanently configuring the FA to use a keepalive interval which is lower
// than the NAT mapping lifetime" (RFC 3519 section 4.10).
//
//rfc:3519#4.9
//rfc:3519#4.10
func (f *foreign) interval(r mip4.UDPTunnelReply) time.Duration {
	k := time.Duration(r.Keepalive) * time.Second
	switch {
	case k == 0:
		k = cmp.Or(f.cfg.Keepalive, DefaultKeepalive)
	case f.cfg.Keepalive != 0:
		k = min(k, f.cfg.Keepalive)
	}
	return max(k, MinKeepalive)
}

// advertise sets the U flag, which "SHOULD be set in advertisements sent by a
// foreign agent which supports MIP UDP tunnelling and is situated behind a
// NAT. It MUST NOT be set in advertisements from foreign agents which are not"
// (RFC 3519 section 3.4).
//
//rfc:3519#3.4
//rfc:3519#3.4-1
//rfc:3519#3.4-2
func (f *foreign) advertise(x *advertise.Announcement) engine.Verdict {
	if f.behind && x.Link.Foreign {
		x.Draft.Agent.Flags |= adv4.FlagU
	}
	return engine.Next()
}

// arrived begins the keepalives of a path when its first visitor comes: "at the
// earliest K seconds after the registration request was sent" (RFC 3519 section
// 4.9). They are as frequent as the most impatient visitor's reply wants.
//
//rfc:3519#4.9
func (f *foreign) arrived(v *fa.Visitor) {
	e := ends{v.Tunnel.Local.Addr(), v.Tunnel.Peer.Addr()}
	if was := f.on[v.Key()]; was != nil && (v.Tunnel.Encap != encap.UDP || was.ends != e) {
		f.leave(v)
	}
	if v.Tunnel.Encap != encap.UDP {
		return
	}
	k := cmp.Or(f.fact.Of(v).keepalive, DefaultKeepalive)
	p := f.paths[e]
	if p == nil {
		p = &path{
			ends: e, visitors: make(map[forward.Key]*fa.Visitor), id: uint16(f.agent.Rand().Uint32()),
			interval: k, next: f.agent.Now().Mono.Add(k),
		}
		f.paths[e] = p
	}
	p.interval = min(p.interval, k)
	p.visitors[v.Key()], f.on[v.Key()] = v, p
}

// leave ends the part of a visitor, and the path with its last one.
func (f *foreign) leave(v *fa.Visitor) {
	if p := f.on[v.Key()]; p != nil {
		delete(f.on, v.Key())
		delete(p.visitors, v.Key())
		if len(p.visitors) == 0 {
			delete(f.paths, p.ends)
		}
	}
}

func (f *foreign) deadline() time.Time {
	var at time.Time
	for _, p := range f.paths {
		at = engine.Earliest(at, p.next)
	}
	return at
}

// due sends the keepalives whose time has come, in the order of their paths.
func (f *foreign) due() {
	now := f.agent.Now().Mono
	var list []*path
	for _, p := range f.paths {
		if !p.next.After(now) {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *path) int {
		return cmp.Or(a.careOf.Compare(b.careOf), a.agent.Compare(b.agent))
	})
	for _, p := range list {
		if p.awaiting && p.tries >= keepaliveTries {
			f.lose(p)
			continue
		}
		f.echo(p)
	}
}

// echo keeps the mapping: "the non-HA endpoint of the Mobile-IP UDP tunnel MUST
// send a keepalive packet if no other packet to the HA has been sent in K
// seconds", an "ICMP echo request directed to the home agent". One is sent in
// every interval, whatever else is sent. Its source is the home address of a
// visitor, the only one that a home agent lets through its check of RFC 3024
// section 4.3.2.
//
//rfc:3519#4.9
//rfc:3519#4.9-1
//rfc:3519#4.9-2
//rfc:3519#4.9-3
func (f *foreign) echo(p *path) {
	now := f.agent.Now().Mono
	keys := make([]forward.Key, 0, len(p.visitors))
	for k := range p.visitors {
		keys = append(keys, k)
	}
	v := p.visitors[slices.Min(keys)]
	if !p.awaiting {
		p.tries = 0
	}
	p.awaiting, p.sent = true, now
	p.next = now.Add(keepaliveWait << p.tries)
	p.tries++
	p.seq++
	t := v.Tunnel
	data, err := encap.AppendKeepalive(nil,
		&encap.Header{
			Kind: encap.UDP, Inner: t.Inside, Src: p.careOf, Dst: p.agent,
			SrcPort: t.Local.Port(), DstPort: t.Peer.Port(), Key: t.Key, HasKey: t.HasKey,
		},
		&encap.Echo{Type: encap.EchoRequest, Src: v.HomeAddress, Dst: p.agent, ID: p.id, Seq: p.seq},
		p.seq)
	if err != nil {
		f.agent.Tell(note.Note{Kind: note.Failed, Level: note.Error, Why: err.Error()})
		return
	}
	f.agent.Do(engine.Send{Src: t.Local, Dst: t.Peer, Data: data})
	f.agent.Tell(note.Note{Kind: Kept, Level: note.Debug, CareOfAddress: p.careOf, HomeAgent: p.agent, Lifetime: p.interval})
}

// lose: nobody answers. A foreign agent cannot register anew for its visitors;
// it goes on, since their own renewals tell the home agent the new mapping.
//
//rfc:3519#4.10
func (f *foreign) lose(p *path) {
	p.awaiting = false
	p.next = f.agent.Now().Mono.Add(p.interval)
	f.agent.Tell(note.Note{
		Kind: MappingLost, Level: note.Warn, CareOfAddress: p.careOf, HomeAgent: p.agent, Lifetime: p.interval,
		Why: "keepalives are not answered; visitors are cut off until they renew",
	})
}

// plane takes the answer to a keepalive.
func (f *foreign) plane(v *fa.Visitor, ev forward.Event) {
	reply, ok := ev.(forward.EchoReply)
	p := f.on[v.Key()]
	if !ok || p == nil || !p.awaiting || reply.ID != p.id || reply.Seq != p.seq {
		return
	}
	p.awaiting = false
	p.next = p.sent.Add(p.interval)
}
