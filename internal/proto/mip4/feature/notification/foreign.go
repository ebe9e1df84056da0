package notification

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/fa"
	"careof/wire/mip4"
)

// accepted is where a foreign agent keeps the greatest Identification that it
// has accepted of anybody, 8 octets. Its visits do not outlive the process, so
// there is no mark for each; who said less before a restart waits for his clock
// to pass it, at most twice the window.
const accepted = "fa/notification/accepted"

// foreign is the feature's part of one foreign agent.
type foreign struct {
	agent   *fa.Agent
	courier courier
	marks   marks
	// greatest is the greatest Identification that was accepted of anybody.
	greatest uint64
	relayed  *fa.Slot[relayed]
}

func addForeign(c Config, a *fa.Agent) {
	f := &foreign{agent: a, courier: newCourier(c, a.Now, a.Do, a.Tell), marks: newMarks(assoc.DefaultWindow), relayed: new(fa.Slot[relayed])}
	a.AddRecords(accepted, f.restore)
	a.OnArrived(func(v *fa.Visitor) { f.courier.revise(v.HomeAddress) })
	a.OnDeparted(func(v *fa.Visitor, _ fa.Reason) { f.courier.revise(v.HomeAddress) })
	a.Handle(Name, mip4.TypeNotification, f.received)
	a.Handle(Name, mip4.TypeNotificationAck, f.received)
	a.AddOrder(f.command)
	a.AddTimer(f.courier.next, f.courier.due)
}

// restore sets the floor: what was accepted before is not accepted again.
//
//rfc:6098#7.1.1
func (f *foreign) restore(_ engine.Now, r engine.Record) error {
	if r.Value == nil {
		return nil
	}
	if len(r.Value) != 8 {
		return fmt.Errorf("notification: malformed record %q", r.Key)
	}
	f.marks.floor = binary.BigEndian.Uint64(r.Value)
	f.greatest = f.marks.floor
	return nil
}

// received sorts messages 22 and 23 by their direction. All concern a visitor:
// "The FA ... also relays GNMs and GNAMs between the MN and its HA as long as there
// is an active binding for the MN at the FA" (RFC 6098 section 4.6).
//
//rfc:6098#4.6
//rfc:6098#4.6.1
//rfc:6098#4.6.4
func (f *foreign) received(p engine.Packet, m *mip4.Message) {
	x, ok := read(m)
	if !ok {
		return
	}
	v := f.agent.VisitorOf(x.home, x.agent)
	if v == nil || v.CoLocated() || v.CareOf != x.careOf {
		return
	}
	visitors := p.Link == v.Link && p.HW == v.HW
	own := f.seal(v, x.direction)
	switch {
	case x.direction == mip4.HomeAgentToMobileNode && p.Src.Addr() == v.HomeAgent:
		f.down(m, v)
	case x.direction == mip4.MobileNodeToHomeAgent && visitors:
		f.up(m, v)
	case x.direction != mip4.HomeAgentToForeignAgent && (x.direction != mip4.MobileNodeToForeignAgent || !visitors):
	case own.key == nil:
	case x.ack:
		f.courier.acknowledged(m, x)
	default:
		if own.key = signed(m, own.by, f.keys(v, x.direction)...); own.key != nil {
			f.notified(p, m, x, v, own)
		}
	}
}

// keys are shared with who sends or gets messages of a direction.
func (f *foreign) keys(v *fa.Visitor, d mip4.Direction) []*assoc.Association {
	if d == mip4.HomeAgentToForeignAgent || d == mip4.ForeignAgentToHomeAgent {
		return f.agent.HomeAgentKeys(v.HomeAgent)
	}
	if v.Association == nil {
		return nil
	}
	return []*assoc.Association{v.Association}
}

func (f *foreign) seal(v *fa.Visitor, d mip4.Direction) seal {
	s := seal{by: mip4.ExtMobileForeign}
	if d == mip4.HomeAgentToForeignAgent || d == mip4.ForeignAgentToHomeAgent {
		s.by = mip4.ExtForeignHome
	}
	if keys := f.keys(v, d); len(keys) > 0 {
		s.key = newest(keys)
	}
	return s
}

// notified takes an authentic notification: "If incorrect, the FA MUST reject
// the GNM and MAY send a GNAM to the initiator with Code 69" (RFC 6098 section
// 4.6.1). The answer leaves when the mark is durable.
//
//rfc:6098#4.6.1
//rfc:6098#4.6.2
func (f *foreign) notified(p engine.Packet, m *mip4.Message, x fixed, v *fa.Visitor, own seal) {
	now := f.agent.Now()
	// Home addresses are unique at their home agent alone.
	who := sender{home: x.home, peer: x.agent, visitor: x.direction == mip4.MobileNodeToForeignAgent}
	id, why := f.marks.take(who, x.id, now)
	t := f.note(v)
	t.Kind, t.Level, t.Endpoint, t.Identification = Notified, note.Info, p.Src, x.id
	t.Why = fmt.Sprintf("%v: %s", x.direction, textOf(m, own.by))
	code := mip4.NotificationAccepted
	switch {
	case why != "":
		code = mip4.NotificationDeniedForeignAgent + 5
		t.Kind, t.Level, t.Why = Untimely, note.Warn, why
	case f.marks.again(who, t.Why, now):
		t.Level = note.Debug
	}
	then := []engine.Action{f.agent.Telling(t)}
	if x.wants || why != "" {
		ack, err := answer(p, x, code, id, own)
		if err != nil {
			return
		}
		if own.by == mip4.ExtMobileForeign {
			ack = f.agent.ToVisitor(v, ack.Data)
		}
		then = append(then, ack)
	}
	if why != "" {
		f.agent.Do(then...)
		return
	}
	f.greatest = max(f.greatest, x.id)
	mark := engine.Record{Key: []byte(accepted), Value: binary.BigEndian.AppendUint64(nil, f.greatest)}
	f.agent.Commit(engine.Commit{Records: []engine.Record{mark}, Then: then}, func(err error) {
		if err != nil {
			t.Kind, t.Level, t.Why = note.Failed, note.Error, err.Error()
			f.agent.Tell(t)
		}
	})
}

func (f *foreign) note(v *fa.Visitor) note.Note {
	return note.Note{HomeAddress: v.HomeAddress, NAI: string(v.NAI), HomeAgent: v.HomeAgent, CareOfAddress: v.CareOf, Link: v.Link}
}

// command tells a visitor, or its home agent.
//
//rfc:6098#3.2.2
//rfc:6098#3.2.3
//rfc:6098#4.6.3
func (f *foreign) command(c engine.Command) bool {
	v, mine := c.Value.(Notify)
	if !mine {
		return false
	}
	p, err := f.parcel(v)
	if err != nil {
		f.agent.Do(engine.Result{Ticket: c.Ticket, Err: err})
		return true
	}
	p.ticket = c.Ticket
	f.courier.send(p)
	return true
}

func (f *foreign) parcel(order Notify) (*parcel, error) {
	if err := order.check(); err != nil {
		return nil, err
	}
	var v *fa.Visitor
	for _, x := range f.agent.Visitors() {
		if order.Node.NAI != "" && x.NAI == order.Node.NAI || order.Node.NAI == "" && x.HomeAddress == order.Node.HomeAddress {
			v = x
		}
	}
	if v == nil {
		return nil, fmt.Errorf("%w: %v is no visitor (careof show visitors)", ErrNotFound, order.Node)
	}
	return f.about(v, order)
}

// about is what the order makes of a visit.
func (f *foreign) about(v *fa.Visitor, order Notify) (*parcel, error) {
	d := mip4.ForeignAgentToMobileNode
	if order.Agent {
		d = mip4.ForeignAgentToHomeAgent
	}
	own := f.seal(v, d)
	switch {
	case v.CoLocated():
		return nil, fmt.Errorf("%w: %v has a care-of address of its own", ErrCannot, order.Node)
	case own.key == nil:
		return nil, fmt.Errorf("%w: no key is shared with it (foreign-agent.mobile-node, foreign-agent.home-agent)", ErrCannot)
	}
	home := netip.AddrPortFrom(v.HomeAgent, f.agent.Config().Port)
	return &parcel{
		fixed: fixed{direction: d, home: v.HomeAddress, agent: v.HomeAgent, careOf: v.CareOf},
		until: v.Until, note: f.note(v), stays: true,
		again: func() (*parcel, error) {
			if now := f.agent.VisitorOf(v.HomeAddress, v.HomeAgent); now != nil {
				return f.about(now, order)
			}
			return nil, fmt.Errorf("%w: %v is no visitor any more", ErrNotFound, order.Node)
		},
		make: func(x fixed) (engine.Send, error) {
			data, err := write(x, order.Text, own)
			if order.Agent {
				return engine.Send{Src: netip.AddrPortFrom(v.CareOf, home.Port()), Dst: home, Data: data}, err
			}
			return f.agent.ToVisitor(v, data), err
		},
		authentic: func(m *mip4.Message) bool { return signed(m, own.by, f.keys(v, d)...) != nil },
	}, nil
}
