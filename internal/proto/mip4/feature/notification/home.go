package notification

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"careof/internal/core/assoc"
	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

// home is the feature's part of one home agent.
type home struct {
	agent   *ha.Agent
	courier courier
	marks   marks
}

// records are the replay marks, by node: of what it says itself, and of what
// foreign agents say about it, each 8 octets:
//
//	of the node 8 | of foreign agents 8
//
// Foreign agents share one, so that there are no more than nodes.
const records = "ha/notified/"

func addHome(c Config, a *ha.Agent) {
	h := &home{agent: a, courier: newCourier(c, a.Now, a.Do, a.Tell), marks: newMarks(a.Config().Window)}
	a.Handle(Name, mip4.TypeNotification, h.received)
	a.Handle(Name, mip4.TypeNotificationAck, h.received)
	a.AddOrder(h.command)
	a.AddTimer(h.courier.next, h.courier.due)
	a.AddRecords(records, h.restore)
	a.OnBound(func(n *ha.Node, _ binding.Binding) { h.courier.revise(n.Home()) })
	a.OnUnbound(func(n *ha.Node, b binding.Binding, _ ha.Reason) {
		if len(n.Bindings()) == 0 {
			h.courier.revise(n.Home())
		}
	})
}

// of and about are the senders whose marks are kept about a node.
func of(home netip.Addr) sender    { return sender{home: home} }
func about(home netip.Addr) sender { return sender{home: home, peer: netip.IPv4Unspecified()} }

func (h *home) restore(now engine.Now, r engine.Record) error {
	if r.Value == nil {
		return nil
	}
	at, err := netip.ParseAddr(strings.TrimPrefix(string(r.Key), records))
	if err != nil || len(r.Value) != 16 {
		return fmt.Errorf("notification: malformed record %q", r.Key)
	}
	h.marks.mark(of(at), now).Highest = binary.BigEndian.Uint64(r.Value)
	h.marks.mark(about(at), now).Highest = binary.BigEndian.Uint64(r.Value[8:])
	return nil
}

func (h *home) record(at netip.Addr) engine.Record {
	now := h.agent.Now()
	b := binary.BigEndian.AppendUint64(nil, h.marks.mark(of(at), now).Highest)
	return engine.Record{Key: []byte(records + at.String()), Value: binary.BigEndian.AppendUint64(b, h.marks.mark(about(at), now).Highest)}
}

// bindingOf is the live binding that a message speaks of: "If the HA receives a
// GNM from an FA and there is no corresponding MN registration, the HA SHOULD
// drop the GNM" (RFC 6098 section 4.7).
//
//rfc:6098#4.7
func (h *home) bindingOf(f fixed) (*ha.Node, binding.Binding, bool) {
	n := h.agent.Find(ident.Node{HomeAddress: f.home})
	if n == nil {
		return nil, binding.Binding{}, false
	}
	for _, b := range n.Bindings() {
		if b.CareOfAddress == f.careOf && h.address(b) == f.agent && b.Live(h.agent.Now().Mono) {
			return n, b, true
		}
	}
	return nil, binding.Binding{}, false
}

// address is ours, as the node knows it.
func (h *home) address(b binding.Binding) netip.Addr {
	at, c := b.Tunnel.Local.Addr(), h.agent.Config()
	if c.LocalAddress.IsValid() && at == c.LocalAddress {
		at = c.Addresses[0]
	}
	return at
}

// hop is the key of the foreign agent that a binding goes through, nil for none.
func (h *home) hop(b binding.Binding) *assoc.Association {
	if keys := h.agent.ForeignAgentKeys(b.CareOfAddress); !b.Decapsulates && len(keys) > 0 {
		return newest(keys)
	}
	return nil
}

// received takes messages 22 and 23: of the node, whose foreign agent's
// authenticator must hold if it is there, and of the foreign agent itself.
//
//rfc:6098#4.7.2
//rfc:6098#4.7.3
func (h *home) received(p engine.Packet, m *mip4.Message) {
	f, ok := read(m)
	if !ok {
		return
	}
	n, b, ok := h.bindingOf(f)
	if !ok {
		return
	}
	own := seal{by: mip4.ExtMobileHome, hop: mip4.ExtForeignHome, hopBy: h.hop(b)}
	who := of(f.home)
	switch f.direction {
	case mip4.MobileNodeToHomeAgent:
		_, vouched := m.Find(mip4.ExtForeignHome)
		if own.key = h.nodeKey(m, n); vouched > 0 && signed(m, mip4.ExtForeignHome, h.agent.ForeignAgentKeys(b.CareOfAddress)...) == nil {
			return
		}
	case mip4.ForeignAgentToHomeAgent:
		if b.Decapsulates {
			return
		}
		own = seal{by: mip4.ExtForeignHome, key: signed(m, mip4.ExtForeignHome, h.agent.ForeignAgentKeys(b.CareOfAddress)...)}
		who = about(f.home)
	default:
		return
	}
	switch {
	case own.key == nil:
		return
	case f.ack:
		h.courier.acknowledged(m, f)
		return
	}
	h.notified(p, m, f, n, who, own)
}

// nodeKey finds the key of the node's authenticator.
func (h *home) nodeKey(m *mip4.Message, n *ha.Node) *assoc.Association {
	e, _ := m.Find(mip4.ExtMobileHome)
	auth, err := m.Authentication(e)
	if err != nil {
		return nil
	}
	return signed(m, mip4.ExtMobileHome, n.Association(auth.SPI))
}

// notified takes an authentic notification: "If incorrect, the HA MUST reject the
// GNM and MAY send a GNAM to the initiator with Code 133"; "if the 'A' flag is set
// in the GNM, then the HA MUST send a GNAM" (RFC 6098 sections 4.7.3, 4.7.4). The
// answer leaves when the mark is durable.
//
//rfc:6098#4.7.3
//rfc:6098#4.7.4
func (h *home) notified(p engine.Packet, m *mip4.Message, f fixed, n *ha.Node, who sender, own seal) {
	now := h.agent.Now()
	id, why := h.marks.take(who, f.id, now)
	t := note.Note{
		Kind: Notified, Level: note.Info, HomeAddress: f.home, NAI: string(n.Identity().NAI), HomeAgent: f.agent, CareOfAddress: f.careOf,
		Endpoint: p.Src, Identification: f.id, Why: fmt.Sprintf("%v: %s", f.direction, textOf(m, own.by)),
	}
	code := mip4.NotificationAccepted
	switch {
	case why != "":
		code = mip4.NotificationDeniedHomeAgent + 5
		t.Kind, t.Level, t.Why = Untimely, note.Warn, why
	case h.marks.again(who, t.Why, now):
		t.Level = note.Debug
	}
	then := []engine.Action{h.agent.Telling(t)}
	if f.wants || why != "" {
		ack, err := answer(p, f, code, id, own)
		if err != nil {
			return
		}
		then = append(then, ack)
	}
	if why != "" {
		h.agent.Do(then...)
		return
	}
	h.agent.Commit(engine.Commit{Records: []engine.Record{h.record(f.home)}, Then: then}, func(err error) {
		if err != nil {
			t.Kind, t.Level, t.Why = note.Failed, note.Error, err.Error()
			h.agent.Tell(t)
		}
	})
}

// command tells a node, over the binding that was renewed last, or the foreign
// agent of that binding. A node with an address of its own that has registered
// through a foreign agent is not reached: RFC 6098 section 3.2.1.2 "does not
// support" it.
//
//rfc:6098#3.2.1
//rfc:6098#3.2.3
//rfc:6098#4.7.1
func (h *home) command(c engine.Command) bool {
	v, mine := c.Value.(Notify)
	if !mine {
		return false
	}
	p, err := h.parcel(v)
	if err != nil {
		h.agent.Do(engine.Result{Ticket: c.Ticket, Err: err})
		return true
	}
	p.ticket = c.Ticket
	h.courier.send(p)
	return true
}

func (h *home) parcel(v Notify) (*parcel, error) {
	if err := v.check(); err != nil {
		return nil, err
	}
	n := h.agent.Find(v.Node)
	var b binding.Binding
	if n != nil {
		for _, x := range n.Bindings() {
			if x.Live(h.agent.Now().Mono) && !x.Renewed.Before(b.Renewed) {
				b = x
			}
		}
	}
	if !b.CareOfAddress.IsValid() {
		return nil, fmt.Errorf("%w: %v is not registered here (careof show bindings)", ErrNotFound, v.Node)
	}
	f := fixed{direction: mip4.HomeAgentToMobileNode, home: n.Home(), agent: h.address(b), careOf: b.CareOfAddress}
	var own seal
	var keys []*assoc.Association // each in its turn: the node may have an older one
	var authentic func(*mip4.Message) bool
	if v.Agent {
		hop := h.hop(b)
		if hop == nil {
			return nil, fmt.Errorf("%w: %v has no foreign agent with a key here (home-agent.foreign-agent)", ErrCannot, v.Node)
		}
		f.direction = mip4.HomeAgentToForeignAgent
		own, keys = seal{by: mip4.ExtForeignHome}, []*assoc.Association{hop}
		authentic = func(m *mip4.Message) bool {
			return signed(m, mip4.ExtForeignHome, h.agent.ForeignAgentKeys(f.careOf)...) != nil
		}
	} else {
		keys = n.Configuration().Keys
		if len(keys) == 0 || !newest(keys).Authenticated() {
			return nil, fmt.Errorf("%w: no key is shared with %v", ErrCannot, v.Node)
		}
		own = seal{by: mip4.ExtMobileHome, hop: mip4.ExtForeignHome, hopBy: h.hop(b)}
		authentic = func(m *mip4.Message) bool { return h.nodeKey(m, n) != nil }
	}
	try := 0
	return &parcel{
		fixed: f, until: b.Expires, authentic: authentic, stays: v.Agent, again: func() (*parcel, error) { return h.parcel(v) },
		note: note.Note{HomeAddress: f.home, NAI: string(n.Identity().NAI), HomeAgent: f.agent, CareOfAddress: f.careOf, Endpoint: b.ReplyTo.Dst},
		make: func(f fixed) (engine.Send, error) {
			own.key = keys[len(keys)-1-try%len(keys)]
			try++
			data, err := write(f, v.Text, own)
			return engine.Send{Link: b.ReplyTo.Link, Src: b.ReplyTo.Src, Dst: b.ReplyTo.Dst, HW: b.ReplyTo.HW, Data: data}, err
		},
	}, nil
}
