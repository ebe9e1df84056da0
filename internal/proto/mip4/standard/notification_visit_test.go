package standard_test

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/engine/enginetest"
	"careof/internal/core/ident"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature/notification"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

func hopKey(t *testing.T, spi uint32, secret string) *assoc.Association {
	t.Helper()
	a, err := assoc.New(spi, assoc.HMACSHA256, assoc.NewKey([]byte(secret)), assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// visiting is a journey whose node is at the first foreign agent, and where all
// share keys.
func visiting(t *testing.T) *journey {
	t.Helper()
	p := newPlan(t)
	up, down := hopKey(t, 300, "agent-agent-agen"), hopKey(t, 400, "visit-visit-visi")
	for _, careOf := range []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2")} {
		p.home.ForeignAgents = append(p.home.ForeignAgents, ha.ForeignAgent{Address: careOf, Keys: []*assoc.Association{up}})
		p.node.ForeignAgents.Associations = append(p.node.ForeignAgents.Associations, mn.ForeignAssociation{Address: careOf, Association: down})
	}
	p.foreign.HomeAgents = []fa.HomeAgent{{Address: agent, Keys: []*assoc.Association{up}}}
	p.foreign.MobileNodes = []fa.MobileNode{{Node: ident.Node{HomeAddress: homeAddress, NAI: "van7@fleet.example"}, Keys: []*assoc.Association{down}}}
	j := newJourney(t, p)
	j.attach(j.fa(1), netip.Addr{})
	j.run(3 * time.Second)
	return j
}

// TestEveryDirection over a foreign agent: six ways, each with its
// acknowledgement.
//
//rfc:6098#3.2.1
//rfc:6098#3.2.2
//rfc:6098#3.2.3
//rfc:6098#4.5.2
//rfc:6098#4.6.2
//rfc:6098#4.6.3
//rfc:6098#4.6.4
//rfc:6098#4.7.2
func TestEveryDirection(t *testing.T) {
	for _, c := range []struct {
		from, to int // 0 home agent, 1 foreign agent, 3 mobile node
		agent    bool
		hops     int // messages and acknowledgements on the way
		want     mip4.Direction
	}{
		{0, 3, false, 4, mip4.HomeAgentToMobileNode},
		{0, 1, true, 2, mip4.HomeAgentToForeignAgent},
		{3, 0, false, 4, mip4.MobileNodeToHomeAgent},
		{3, 1, true, 2, mip4.MobileNodeToForeignAgent},
		{1, 3, false, 2, mip4.ForeignAgentToMobileNode},
		{1, 0, true, 2, mip4.ForeignAgentToHomeAgent},
	} {
		j := visiting(t)
		hops := 0
		j.tap = func(_ *post, data []byte) []byte {
			if is(data, mip4.TypeNotification) || is(data, mip4.TypeNotificationAck) {
				hops++
			}
			return data
		}
		from, to := j.hosts[c.from], j.hosts[c.to]
		j.step(from, engine.Command{Ticket: order, Value: notification.Notify{Node: van, Agent: c.agent, Text: "hello"}})
		j.run(200 * time.Millisecond)
		r, err := reported(t, from.results)
		if err != nil || !r.Answered || r.Code != mip4.NotificationAccepted || r.Direction != c.want || hops != c.hops {
			t.Errorf("%v: %+v, %v, %d messages\n%s", c.want, r, err, hops, j.trace())
		}
		if shown := noted(to.notes, notification.Notified); len(shown) != 1 || shown[0].Why != c.want.String()+": hello" {
			t.Errorf("%v: shown %v", c.want, shown)
		}
	}
}

// TestAForeignAgentTakesNothingTwice: not after a restart either, since it stores
// what it has accepted before it acknowledges. What is new is taken at once, then
// as ever.
//
//rfc:6098#7.1.1
//rfc:6098#4.6.1
func TestAForeignAgentTakesNothingTwice(t *testing.T) {
	j, foreign := visiting(t), 1
	f := j.fa(foreign)
	stored := enginetest.Store{}
	acknowledged := false
	j.commits = func(h *post, records []engine.Record) {
		if h == f {
			if acknowledged && len(records) > 0 {
				t.Error("it acknowledged before it stored")
			}
			stored.Keep(records)
		}
	}
	var copied []byte
	j.tap = func(from *post, data []byte) []byte {
		if from == j.home && is(data, mip4.TypeNotification) && copied == nil {
			copied = bytes.Clone(data)
		}
		acknowledged = acknowledged || from == f && is(data, mip4.TypeNotificationAck)
		return data
	}
	tell := func(text string) {
		t.Helper()
		j.home.results, acknowledged = nil, false
		j.step(j.home, engine.Command{Ticket: order, Value: notification.Notify{Node: van, Agent: true, Text: text}})
		j.run(200 * time.Millisecond)
		if r, err := reported(t, j.home.results); err != nil || r.Code != mip4.NotificationAccepted || !r.Answered || r.Sent != 1 {
			t.Fatalf("%s: %+v, %v\n%s", text, r, err, j.trace())
		}
	}
	tell("one")
	j.commits = nil
	j.reboot(foreign, stored)
	j.run(4 * time.Second) // the node finds the agent that started anew, within the window
	before := len(noted(f.notes, notification.Notified))
	j.step(f, engine.Packet{Link: "eth0", Src: netip.AddrPortFrom(agent, 434), Dst: netip.AddrPortFrom(f.careOf, 434), TTL: 60, Data: copied})
	if got := len(noted(f.notes, notification.Notified)); got != before || len(noted(f.notes, notification.Untimely)) != 1 {
		t.Errorf("a copy after a restart: shown %d times more\n%s", got-before, j.trace())
	}
	tell("two")
}

// TestANotificationFollowsTheNode: it is not sent to where the node was any
// more, and the agent that it has left hears nothing of what was meant for it.
//
//rfc:6098#4.6
//rfc:6098#4.3
func TestANotificationFollowsTheNode(t *testing.T) {
	for _, c := range []struct {
		name  string
		from  int // 0 home agent, 1 foreign agent, 3 mobile node
		agent bool
		ends  string // in words, when it ends with the move
	}{
		{"home agent to the node", 0, false, ""},
		{"home agent to the foreign agent", 0, true, "the node has moved on"},
		{"node to its home agent", 3, false, ""},
		{"node to the foreign agent", 3, true, "the node has moved on"},
	} {
		j := visiting(t)
		from := j.hosts[c.from]
		left, moved := 0, false
		j.tap = func(h *post, data []byte) []byte {
			if !is(data, mip4.TypeNotification) {
				return data
			}
			if !moved {
				return nil
			}
			if m, err := mip4.Parse(data); err == nil && h == from {
				if g, err := m.Notification(); err != nil || g.CareOfAddress == j.fa(1).careOf {
					left++
				}
			}
			return data
		}
		j.step(from, engine.Command{Ticket: order, Value: notification.Notify{Node: van, Agent: c.agent, Text: "hello"}})
		j.run(4 * time.Second) // the next try would be in three
		j.attach(j.fa(2), netip.Addr{})
		moved = true
		j.run(2 * time.Second)
		shown := 0
		for _, h := range j.hosts {
			shown += len(noted(h.notes, notification.Notified))
		}
		unanswered := noted(from.notes, notification.Unanswered)
		if want := map[bool]int{true: 1, false: 0}[c.ends == ""]; shown != want {
			t.Errorf("%s: shown %d times within two seconds, want %d\n%s", c.name, shown, want, j.trace())
		}
		if c.ends != "" && (len(unanswered) != 1 || unanswered[0].Why != c.ends) || c.ends == "" && len(unanswered) != 0 {
			t.Errorf("%s: it ends with %v", c.name, unanswered)
		}
		j.run(time.Minute)
		if left != 0 {
			t.Errorf("%s: sent %d times to where the node was", c.name, left)
		}
	}
}

// TestAVisitThatEnds ends what was on its way to the visitor.
//
//rfc:6098#4.6
func TestAVisitThatEnds(t *testing.T) {
	j := visiting(t)
	j.tap = func(_ *post, data []byte) []byte {
		if is(data, mip4.TypeNotification) {
			return nil
		}
		return data
	}
	f := j.fa(1)
	j.step(f, engine.Command{Ticket: order, Value: notification.Notify{Node: van, Text: "hello"}})
	j.run(time.Second)
	j.attach(nil, netip.Addr{})
	j.step(f, engine.Command{Ticket: 5, Value: fa.ClearVisitor{Node: van}})
	ends := noted(f.notes, notification.Unanswered)
	if len(ends) != 1 || !strings.Contains(ends[0].Why, "no visitor any more") {
		t.Errorf("it ends with %v", ends)
	}
}

// TestAWrongForeignHomeAuthenticator does not keep the home agent's notification
// from the node, but what only it covers is taken out.
//
//rfc:6098#4.6.1
//rfc:6098#7.2
func TestAWrongForeignHomeAuthenticator(t *testing.T) {
	j := visiting(t)
	var relayed []*mip4.Message
	j.tap = func(from *post, data []byte) []byte {
		if !is(data, mip4.TypeNotification) {
			return data
		}
		m, err := mip4.Parse(bytes.Clone(data))
		if err != nil {
			t.Fatal(err)
		}
		if from != j.home {
			relayed = append(relayed, m)
			return data
		}
		e, n := m.Find(mip4.ExtForeignHome)
		if n != 1 {
			t.Fatal("the home agent does not prove itself to the foreign agent")
		}
		// A text for the node, put in on the way.
		return append(append(bytes.Clone(data[:e.Off]), 145, 4, 1, 'b', 'u', 'y'), data[e.Off:]...)
	}
	j.step(j.home, engine.Command{Ticket: order, Value: notification.Notify{Node: van, Text: "hello"}})
	j.run(200 * time.Millisecond)
	if r, err := reported(t, j.home.results); err != nil || r.Code != mip4.NotificationAccepted || !r.Answered {
		t.Errorf("%+v, %v\n%s", r, err, j.trace())
	}
	if len(relayed) != 1 {
		t.Fatalf("relayed %d times", len(relayed))
	}
	_, home := relayed[0].Find(mip4.ExtMobileHome)
	_, foreign := relayed[0].Find(mip4.ExtMobileForeign)
	if _, texts := relayed[0].Find(mip4.ExtMessageString); home != 1 || foreign != 1 || texts != 1 || len(relayed[0].Exts) != 3 {
		t.Errorf("what is relayed: %+v", relayed[0].Exts)
	}
}

// TestAForeignAgentRelaysOnlyItsVisitors: with a wrong authenticator, from another
// station, and for who is no visitor nothing goes on.
//
//rfc:6098#4.6
//rfc:6098#4.6.1
//rfc:6098#4.6.4
func TestAForeignAgentRelaysOnlyItsVisitors(t *testing.T) {
	j := visiting(t)
	var first []byte
	j.tap = func(from *post, data []byte) []byte {
		if from == j.node && is(data, mip4.TypeNotification) && first == nil {
			first = bytes.Clone(data)
			return nil
		}
		return data
	}
	j.step(j.node, engine.Command{Ticket: order, Value: notification.Notify{Text: "hello"}})
	packet := func(change func(*engine.Packet)) engine.Packet {
		p := engine.Packet{Link: "eth1", HW: j.node.hw, Src: netip.AddrPortFrom(homeAddress, 40434), Dst: netip.AddrPortFrom(j.fa(1).address, 434), TTL: 64, Data: bytes.Clone(first)}
		change(&p)
		return p
	}
	for name, c := range map[string]struct {
		change func(*engine.Packet)
		want   int
	}{
		"right":           {func(*engine.Packet) {}, 1},
		"another station": {func(p *engine.Packet) { p.HW[5] = 99 }, 0},
		"wrong 33":        {func(p *engine.Packet) { p.Data[len(p.Data)-1] ^= 1 }, 0},
		"no visitor":      {func(p *engine.Packet) { p.Data[7]++ }, 0},
	} {
		sends := 0
		notes := len(j.fa(1).notes)
		for _, a := range j.fa(1).machine.Step(j.now, packet(c.change)) {
			switch a.(type) {
			case engine.Send:
				sends++
			case engine.Tell:
				notes++
			}
		}
		if sends != c.want || notes != len(j.fa(1).notes) {
			t.Errorf("%s: %d messages, %d notes", name, sends, notes-len(j.fa(1).notes))
		}
	}
}
