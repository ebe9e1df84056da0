package notification

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// mobile is the feature's part of a mobile node.
type mobile struct {
	node    *mn.Node
	courier courier
	marks   marks
	ways    map[mn.RegistrationKey]way
}

// A way is how the last accepted request went: "The MN and HA MUST maintain ...
// the IP source address of the Registration Request/Reply" and the rest (RFC 6098
// section 4).
type way struct {
	src, dst netip.AddrPort
	hw       engine.HardwareAddr
}

// markPrefix is where the replay marks are kept, by sender: 8 octets each.
const markPrefix = "mn/notified/"

func addMobile(c Config, n *mn.Node) {
	m := &mobile{node: n, marks: newMarks(assoc.DefaultWindow), ways: make(map[mn.RegistrationKey]way)}
	do := func(list ...engine.Action) {
		for _, a := range list {
			n.Emit(a)
		}
	}
	m.courier = newCourier(c, n.Now, do, n.Tell)
	n.Accepted.Add(Name, "way", m.accepted)
	n.Moved.Add(Name, "way", m.moved)
	n.Home.Add(Name, "way", m.moved)
	n.Handle(Name, mip4.TypeNotification, m.received)
	n.Handle(Name, mip4.TypeNotificationAck, m.received)
	n.Command(Name, Notify{}, m.command)
	n.Timer(Name, m.courier.next, m.courier.due)
	n.Records(Name, markPrefix, m.restore)
}

// accepted keeps the way.
//
//rfc:6098#4
func (m *mobile) accepted(x *mn.Response) engine.Verdict {
	for k := range m.ways {
		if m.node.Registration(k) == nil {
			delete(m.ways, k)
		}
	}
	m.ways[x.Registration.Key] = way{x.Sent.Src, x.Sent.Dst, x.Sent.HW}
	return engine.Next()
}

// moved sends what is on its way over the registration that is in use now; at
// home there is none.
func (m *mobile) moved(*mn.Movement) engine.Verdict {
	m.courier.revise(m.node.HomeAddress())
	return engine.Next()
}

func (m *mobile) restore(now engine.Now, r engine.Record) error {
	if r.Value == nil {
		return nil
	}
	home, peer, _ := strings.Cut(strings.TrimPrefix(string(r.Key), markPrefix), "/")
	at, err := netip.ParseAddr(home)
	from, wrong := netip.ParseAddr(peer)
	if err != nil || wrong != nil || len(r.Value) != 8 {
		return fmt.Errorf("notification: malformed record")
	}
	m.marks.mark(sender{home: at, peer: from}, now).Highest = binary.BigEndian.Uint64(r.Value)
	return nil
}

func (m *mobile) record(who sender) engine.Record {
	return engine.Record{
		Key:   []byte(markPrefix + who.home.String() + "/" + who.peer.String()),
		Value: binary.BigEndian.AppendUint64(nil, m.marks.mark(who, m.node.Now()).Highest),
	}
}

// registration is the live one that a message speaks of.
func (m *mobile) registration(p engine.Packet, f fixed) *mn.Registration {
	fits := func(k mn.RegistrationKey, r *mn.Registration) bool {
		return r != nil && r.Live() && k.CareOf == f.careOf && k.HomeAgent == f.agent && (p.Link == "" || k.Link == p.Link)
	}
	if r := m.node.Active(); r != nil && fits(r.Key, r) {
		return r
	}
	for k := range m.ways {
		if r := m.node.Registration(k); fits(k, r) {
			return r
		}
	}
	return nil
}

// received takes messages 22 and 23: of the home agent, directly or over the
// foreign agent, and of the foreign agent.
//
//rfc:6098#4.5.1
//rfc:6098#4.5.4
func (m *mobile) received(p engine.Packet, msg *mip4.Message) {
	f, ok := read(msg)
	if !ok || f.home != m.node.HomeAddress() {
		return
	}
	r := m.registration(p, f)
	if r == nil {
		return
	}
	own, who := m.seal(r, f.direction), sender{home: f.home, peer: f.agent}
	switch {
	case own.key == nil, signed(msg, own.by, own.key) == nil:
		return
	case f.direction == mip4.ForeignAgentToMobileNode && p.Src.Addr() == r.Key.Agent:
		who.peer = r.Key.Agent
	case f.direction != mip4.HomeAgentToMobileNode:
		return
	}
	if f.ack {
		m.courier.acknowledged(msg, f)
		return
	}
	m.notified(p, msg, f, r, who, own)
}

// seal is what messages to and from a peer are signed with, without a key when
// none is shared.
//
//rfc:6098#4.5.2
//rfc:6098#4.5.3
func (m *mobile) seal(r *mn.Registration, d mip4.Direction) seal {
	var hop *assoc.Association
	if r.Key.Agent.IsValid() {
		hop = m.node.ForeignAssociation(r.Key.Agent, r.Key.CareOf)
	}
	if d == mip4.ForeignAgentToMobileNode || d == mip4.MobileNodeToForeignAgent {
		return seal{by: mip4.ExtMobileForeign, key: hop}
	}
	return seal{by: mip4.ExtMobileHome, key: r.Association(), hop: mip4.ExtMobileForeign, hopBy: hop}
}

// notified takes an authentic notification and shows it: "If the MN accepts a
// GNM, then it will process it according to the specific rules for the
// extensions" (RFC 6098 section 4.5.1), which is to show the text.
//
//rfc:6098#1
//rfc:6098#4.5.1
//rfc:6098#4.5.2
func (m *mobile) notified(p engine.Packet, msg *mip4.Message, f fixed, r *mn.Registration, who sender, own seal) {
	now := m.node.Now()
	id, why := m.marks.take(who, f.id, now)
	t := note.Note{
		Kind: Notified, Level: note.Info, Link: r.Key.Link, HomeAgent: f.agent, CareOfAddress: f.careOf, Endpoint: p.Src, Identification: f.id,
		Why: fmt.Sprintf("%v: %s", f.direction, textOf(msg, own.by)),
	}
	code := mip4.NotificationAccepted
	switch {
	case why != "":
		code = mip4.NotificationDeniedMobileNode + 5
		t.Kind, t.Level, t.Why = Untimely, note.Warn, why
	case m.marks.again(who, t.Why, now):
		t.Level = note.Debug
	}
	m.node.Tell(t)
	var then []engine.Action
	if f.wants || why != "" {
		ack, err := answer(p, f, code, id, own)
		if err != nil {
			return
		}
		ack.Link = r.Key.Link
		if w, known := m.ways[r.Key]; known {
			ack.HW = w.hw
		}
		then = append(then, ack)
	}
	if why != "" {
		for _, a := range then {
			m.node.Emit(a)
		}
		return
	}
	m.node.Emit(engine.Commit{Records: []engine.Record{m.record(who)}, Then: then})
}

// command tells the home agent or the foreign agent of the registration in use.
//
//rfc:6098#3.2.1
//rfc:6098#3.2.2
//rfc:6098#4.5.3
func (m *mobile) command(c engine.Command) {
	v := c.Value.(Notify)
	p, err := m.parcel(v)
	if err != nil {
		m.node.Answer(c, nil, err)
		return
	}
	p.ticket = c.Ticket
	m.courier.send(p)
}

func (m *mobile) parcel(v Notify) (*parcel, error) {
	if err := v.check(); err != nil {
		return nil, err
	}
	r := m.node.Active()
	if r == nil || !r.Live() || m.node.AtHome() {
		return nil, fmt.Errorf("%w: the node is not registered away from home", ErrNotFound)
	}
	through := r.Key.Agent.IsValid()
	w, known := m.ways[r.Key]
	d := mip4.MobileNodeToHomeAgent
	if v.Agent {
		d = mip4.MobileNodeToForeignAgent
	}
	own := m.seal(r, d)
	switch {
	case through && r.CoLocated:
		// "The notification mechanism as specified here does not support the case"
		// (RFC 6098 section 3.2.1.2).
		return nil, fmt.Errorf("%w: not with an address of one's own through a foreign agent", ErrCannot)
	case v.Agent && !through:
		return nil, fmt.Errorf("%w: the node uses no foreign agent", ErrNotFound)
	case own.key == nil || !own.key.Authenticated():
		return nil, fmt.Errorf("%w: no key is shared with it", ErrCannot)
	case !known && through:
		return nil, fmt.Errorf("%w: the foreign agent's address is known after the next registration (careof reregister)", ErrCannot)
	case !known:
		w = way{netip.AddrPortFrom(r.Key.CareOf, 0), netip.AddrPortFrom(r.Key.HomeAgent, port), engine.HardwareAddr{}}
	}
	return &parcel{
		fixed: fixed{direction: d, home: m.node.HomeAddress(), agent: r.Key.HomeAgent, careOf: r.Key.CareOf},
		until: r.Expires(), stays: v.Agent, again: func() (*parcel, error) { return m.parcel(v) },
		note: note.Note{Link: r.Key.Link, HomeAgent: r.Key.HomeAgent, CareOfAddress: r.Key.CareOf, Endpoint: w.dst},
		make: func(f fixed) (engine.Send, error) {
			data, err := write(f, v.Text, own)
			return engine.Send{Link: r.Key.Link, Src: w.src, Dst: w.dst, HW: w.hw, Data: data}, err
		},
		authentic: func(msg *mip4.Message) bool { return signed(msg, own.by, own.key) != nil },
	}, nil
}

// port is where home agents listen.
const port = 434
