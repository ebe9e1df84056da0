package revoke

import (
	"net/netip"
	"time"

	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

// ByPeer ends a binding that the foreign agent has revoked.
const ByPeer ha.Reason = "revoked by the foreign agent"

// home is the feature's part of one home agent.
type home struct {
	cfg     Config
	agent   *ha.Agent
	asked   *ha.Slot[asked]
	courier courier

	peers map[place]*agreement
	gone  memory[agreement]

	blocked map[string]time.Time // by a node's name: since when, wall clock
	orders  []*order             // commands that wait for acknowledgments
}

// A place names a binding.
type place struct {
	node *ha.Node
	id   binding.ID
}

// asked is what the feature knows of a request.
type asked struct {
	support mip4.RevocationSupport
	agreed  bool
	relayed bool // the foreign agent added the extension
}

// An agreement is what was agreed with the other end of a binding.
type agreement struct {
	support
	relayed bool       // with a foreign agent; else with the mobile node itself
	agent   netip.Addr // our address, as the reply names it
	from    netip.Addr // the source of the last request that ended the binding
}

// addHome adds revocation to a home agent.
func addHome(cfg Config, a *ha.Agent) error {
	h := &home{
		cfg: cfg, agent: a, asked: new(ha.Slot[asked]),
		peers: make(map[place]*agreement), gone: make(memory[agreement]), blocked: make(map[string]time.Time),
	}
	h.courier = courier{now: a.Now, do: a.Do, tell: a.Tell}
	h.addBlocks()
	a.AddOrder(h.command)
	a.AddTimer(h.orderDeadline, h.overdueOrders)
	if cfg.Mode == Off {
		return nil
	}
	a.Claims.Add(ha.Claim{
		Feature: Name, Type: mip4.ExtRevocationSupport, From: "foreign agent, or co-located mobile node", Max: 1, Section: "3543#3.2",
	})
	a.Bind.Add(Name, "support", h.bind)
	a.Reply.Add(Name, "support", h.reply)
	a.OnUnbound(h.unbound)
	a.Handle(Name, mip4.TypeRevocation, h.revoked)
	a.Handle(Name, mip4.TypeRevocationAck, h.courier.acknowledged)
	a.AddTimer(h.courier.next, h.courier.due)
	a.AddRecords(recordPrefix, h.restore)
	return nil
}

// bind judges the extension: it "MUST be protected either by a foreign-home
// authentication extension, a mobile-home authentication extension" (RFC 3543
// section 3.2). Of the two it is the foreign agent's when it stands behind the
// mobile node's authenticator, and the mobile node's own when it registers
// directly; a co-located node that registers through a foreign agent "is not
// supported" (section 4.3.2).
//
//rfc:3543#3.2
//rfc:3543#4.2.1
//rfc:3543#4.3.2
func (h *home) bind(x *ha.Exchange) engine.Verdict {
	if x.Deregisters() {
		return engine.Next()
	}
	r := h.asked.Of(x)
	if e, n := x.Message.Find(mip4.ExtRevocationSupport); n == 1 {
		support, err := mip4.Decode[mip4.RevocationSupport](e)
		if err != nil {
			return engine.Deny(uint8(mip4.CodeHAPoorlyFormed), "malformed Revocation Support extension")
		}
		co := x.Request.Flags.Has(mip4.FlagD)
		last, bordered := x.Message.LastAuthorizing()
		behind := bordered && e.Off > last.Off
		r.support = support
		switch {
		case behind && !co && x.ForeignCheck == ha.ForeignValid:
			r.agreed, r.relayed = true, true
		case bordered && !behind && co && x.ForeignAgent == nil && x.Association.Authenticated():
			r.agreed = true
		}
	}
	if h.cfg.Mode == Required && !r.agreed {
		// "If this is unacceptable to the home agent, it MAY deny the
		// registration with e.g., 'Administratively Prohibited'."
		return engine.Deny(uint8(mip4.CodeHAProhibited), "registration revocation is required here")
	}
	return engine.Next()
}

// reply agrees: "it MUST append a revocation support extension to the
// registration reply". "Note that the home agent setting the 'I' bit to '1' in
// response to a revocation extension from the foreign agent in which the 'I'
// bit was set to '0' ... SHOULD NOT be done" (RFC 3543 sections 4.2.1, 3.2).
//
//rfc:3543#4.2.1
//rfc:3543#3.2
func (h *home) reply(x *ha.Exchange) engine.Verdict {
	r := h.asked.Of(x)
	if !x.Accepted() {
		return engine.Next()
	}
	at := place{x.Node, x.ID}
	if x.Deregisters() {
		for p, a := range h.peers {
			if p.node == x.Node {
				a.from = x.Packet.Src.Addr()
			}
		}
		return engine.Next()
	}
	// Whoever comes back within the time in which its last binding is revoked
	// there has a new one, and a revocation tells bindings apart by their
	// addresses alone: it would end this one.
	h.courier.withdraw(end{home: x.Home, agent: x.HomeAgent, careOf: x.Request.CareOfAddress})
	if !r.agreed {
		if h.peers[at] != nil {
			delete(h.peers, at)
			x.Record(h.record(at, nil))
		}
		return engine.Next()
	}
	now := x.Now()
	a := &agreement{relayed: r.relayed, agent: x.HomeAgent}
	a.peer, a.heard, a.said = r.support.Timestamp, now.Mono, now.Mono
	a.inform = r.relayed && r.support.Inform
	if old := h.peers[at]; old != nil {
		a.sent = old.sent
	}
	zone := mip4.ZoneHome
	if r.relayed {
		zone = mip4.ZoneForeign
	}
	x.Draft.Add(zone, &mip4.RevocationSupport{Inform: a.inform, Timestamp: a.next(now.Wall)})
	h.peers[at] = a
	x.Record(h.record(at, a))
	return engine.Next()
}

// unbound tells the other end of a binding that ended before its time, when
// it cannot know: the operator ended it, or the node has moved away from a
// foreign agent, which "allows it to reclaim resources" (RFC 3543 section 1).
// "A revocation message MUST NOT be sent for any registration that has expired"
// (section 3.3), and a mobile node that moves or deregisters needs none.
//
//rfc:3543#3.3
//rfc:3543#4.2.2
func (h *home) unbound(n *ha.Node, b binding.Binding, why ha.Reason) {
	at := place{n, b.ID}
	a := h.peers[at]
	if a == nil {
		return
	}
	delete(h.peers, at)
	h.agent.Do(engine.Commit{Records: []engine.Record{h.record(at, nil)}})
	inform := false
	switch why {
	case ha.Expired, ha.Failed, ByPeer:
		return
	case ha.Replaced:
		if !a.relayed {
			return
		}
	case ha.Deregistered:
		// Through the foreign agent itself, it has heard the reply.
		if !a.relayed || a.from == b.Source.Addr() {
			return
		}
	default: // the operator, by a command or by the configuration
		inform = !h.cfg.Quiet
	}
	if !b.Live(h.agent.Now().Mono) {
		return
	}
	h.revoke(n, b, a, inform)
}

// revoke sends a revocation: from "the address registered with the care-of
// address as that of the home agent", to "the source address of the last
// approved registration request for this binding" (RFC 3543 section 3.3).
//
//rfc:3543#3.3
func (h *home) revoke(n *ha.Node, b binding.Binding, a *agreement, inform bool) {
	// "This bit MUST NOT be set to '1' unless 'I' bit support was negotiated";
	// to a direct mobile node it "SHOULD be set to '1'".
	inform = inform && a.inform || !a.relayed
	by, keys := mip4.ExtMobileHome, n.Configuration().Keys
	if a.relayed {
		by, keys = mip4.ExtForeignHome, h.agent.ForeignAgentKeys(b.CareOfAddress)
		if keys == nil {
			keys = h.agent.ForeignAgentKeys(b.Source.Addr())
		}
	}
	if len(keys) == 0 || !newest(keys).Authenticated() {
		return // the association is gone from the configuration
	}
	home, careOf := n.Home(), b.CareOfAddress
	o, relayed := h.orderOf(n), a.relayed
	h.courier.send(&parcel{
		support: &a.support, home: home, until: b.Expires,
		note: note.Note{HomeAddress: home, NAI: string(n.Identity().NAI), HomeAgent: a.agent, CareOfAddress: careOf, Endpoint: b.Source},
		make: func(id uint32, try int) (engine.Send, error) {
			data, err := seal(&mip4.Revocation{
				FromHomeAgent: true, Inform: inform, HomeAddress: home, HomeDomainAddress: a.agent, ForeignDomainAddress: careOf, Identifier: id,
			}, by, newest(keys))
			to := b.ReplyTo.Dst
			behindNAT := to.Addr() != careOf
			if a.relayed || !behindNAT && try%2 == 1 {
				to = at434(to.Addr())
			}
			return engine.Send{Link: b.ReplyTo.Link, Src: b.ReplyTo.Src, Dst: to, HW: b.ReplyTo.HW, Data: data}, err
		},
		authentic: func(m *mip4.Message) bool { return signed(m, by, keys) },
		withdrawn: func() {
			if o != nil {
				o.answered(careOf, nil, relayed)
				h.overdueOrders()
			}
		},
		done: func(ack *mip4.RevocationAck) {
			if o != nil {
				o.answered(careOf, ack, relayed)
				h.overdueOrders()
			}
		},
	})
	if o != nil {
		o.waits++
	}
}

// revoked takes a foreign agent's revocation: "the home agent MUST check the
// 'A' bit, and identifier field, as well as the authenticator"; it "MUST locate
// the binding", ends it, and "MUST send a revocation acknowledgment" (RFC 3543
// section 4.2.3.2). The answer leaves when the end of the binding is durable.
//
//rfc:3543#4.2.3.2
//rfc:3543#3.5
func (h *home) revoked(p engine.Packet, m *mip4.Message) {
	r, err := m.Revocation()
	if err != nil || r.FromHomeAgent {
		return // our own kind: a reflection
	}
	keys := h.agent.ForeignAgentKeys(r.ForeignDomainAddress)
	n := h.agent.Find(ident.Node{HomeAddress: r.HomeAddress})
	if n == nil || len(keys) == 0 || !signed(m, mip4.ExtForeignHome, keys) {
		return
	}
	ack, err := acknowledge(p, r, !h.cfg.Quiet, mip4.ExtForeignHome, newest(keys))
	if err != nil {
		return
	}
	mono := h.agent.Now().Mono
	for _, b := range n.Bindings() {
		a := h.peers[place{n, b.ID}]
		if b.CareOfAddress != r.ForeignDomainAddress || a == nil || !a.relayed || a.agent != r.HomeDomainAddress || !a.acceptable(r.Identifier, mono) {
			continue
		}
		h.gone.put(gone{r.HomeAddress, b.CareOfAddress}, *a, mono)
		h.agent.Remove(n, b.ID, ByPeer, ack, h.agent.Telling(note.Note{
			Kind: Revoked, Level: note.Info, HomeAddress: r.HomeAddress, NAI: string(n.Identity().NAI),
			HomeAgent: r.HomeDomainAddress, CareOfAddress: b.CareOfAddress, Endpoint: p.Src,
		}))
		return
	}
	if a, known := h.gone.get(gone{r.HomeAddress, r.ForeignDomainAddress}, mono); known && a.acceptable(r.Identifier, mono) {
		h.agent.Do(ack)
	}
}
