package standard_test

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature/notification"
	"careof/internal/proto/mip4/standard"
	"careof/wire/mip4"
)

const order engine.Ticket = 77

var van = ident.Node{HomeAddress: homeAddress}

// noted are the notes of a kind.
func noted(list []note.Note, k note.Kind) (out []note.Note) {
	for _, n := range list {
		if n.Kind == k {
			out = append(out, n)
		}
	}
	return out
}

// reported is what the order came to, or its error.
func reported(t *testing.T, list []engine.Result) (notification.Report, error) {
	t.Helper()
	for _, r := range list {
		if r.Ticket == order {
			report, _ := r.Value.(notification.Report)
			return report, r.Err
		}
	}
	t.Fatal("the order is not answered")
	return notification.Report{}, nil
}

func is(data []byte, t mip4.MessageType) bool {
	return len(data) > 0 && mip4.MessageType(data[0]) == t
}

// told is a pair whose node is registered directly, over wifi.
func told(t *testing.T, c standard.Config) *pair {
	t.Helper()
	p := newPair(t, agentConfig(t), nodeConfig(t), c)
	p.link("wlan0", wifi)
	p.run(3 * time.Second)
	return p
}

// link attaches an uplink of the pair's node.
func (p *pair) link(name string, addr netip.Addr) {
	p.step(p.node, engine.LinkChanged{Link: engine.Link{
		Name: name, Up: true, MTU: 1500, Attachment: 1, Addresses: []netip.Prefix{netip.PrefixFrom(addr, 24)},
		Gateways: []netip.Addr{addr.Next()}, GatewayHW: engine.HardwareAddr{2, 0, 0, 0, 0, 1},
	}})
}

// TestAHomeAgentTellsANode directly, also behind a translator: the messages use
// the addresses and ports of the registration, and the node's registration is as
// it was.
//
//rfc:6098#1
//rfc:6098#3.2.1
//rfc:6098#4
//rfc:6098#4.1
//rfc:6098#4.7.1
func TestAHomeAgentTellsANode(t *testing.T) {
	for _, own := range []netip.Addr{wifi, behindNAT} {
		p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{})
		p.nat[behindNAT] = 50123
		p.link("wlan0", own)
		p.run(3 * time.Second)
		requests := p.sent
		p.step(p.agent, engine.Command{Ticket: order, Value: notification.Notify{Node: van, Text: "Maintenance\x1b[2J at 22:00"}})
		p.run(60 * time.Millisecond)
		r, err := reported(t, p.agent.results)
		if err != nil || !r.Answered || r.Code != mip4.NotificationAccepted || r.Sent != 1 || !r.Over {
			t.Errorf("%v: a round trip later %+v, %v\n%s", own, r, err, p.trace())
		}
		shown := noted(p.node.notes, notification.Notified)
		if len(shown) != 1 || !strings.Contains(shown[0].Why, "home agent to mobile node: Maintenance") || strings.Contains(shown[0].Why, "\x1b") {
			t.Errorf("%v: the node shows %v", own, shown)
		}
		if p.sent != requests+1 {
			t.Errorf("%v: the node sent %d messages, not one acknowledgement", own, p.sent-requests)
		}
	}
}

// TestALostAcknowledgement is asked for again: each time with a greater
// Identification, after twice the time, and people read the text once.
//
//rfc:6098#4.3
//rfc:6098#7.1.1
func TestALostAcknowledgement(t *testing.T) {
	p := told(t, standard.Config{})
	heard, lose := 0, 3
	p.losses = map[string]func() bool{"wlan0": func() bool { heard++; return heard <= lose }}
	began := p.now.Mono
	p.step(p.agent, engine.Command{Ticket: order, Value: notification.Notify{Node: van, Text: "hello"}})
	p.run(20 * time.Second)
	var at []time.Duration
	for _, d := range []time.Duration{0, 1, 3, 7} {
		at = append(at, d*time.Second)
	}
	taken := noted(p.agent.notes, notification.Told)
	if heard != 4 || len(taken) != 1 {
		t.Fatalf("%d acknowledgements, %v\n%s", heard, taken, p.trace())
	}
	shown := noted(p.node.notes, notification.Notified)
	for i, n := range shown {
		when := assoc.TimeOf(n.Identification, p.now.Wall).Sub(p.now.Wall) + 20*time.Second
		if (when - at[i]).Abs() > time.Millisecond {
			t.Errorf("try %d left after %v, want %v (%v)", i, when, at[i], began)
		}
		if i > 0 && n.Identification <= shown[i-1].Identification {
			t.Error("the Identification does not grow")
		}
		if want := map[bool]note.Level{true: note.Info, false: note.Debug}[i == 0]; n.Level != want {
			t.Errorf("try %d is shown as %v", i, n.Level)
		}
	}
	// The command does not wait so long: it says that there is no answer yet.
	if r, _ := reported(t, p.agent.results); r.Answered || r.Over || r.Sent != 3 {
		t.Errorf("after five seconds %+v", r)
	}
}

// TestItEndsWithTheRegistration, and never after ten tries.
//
//rfc:6098#4.3
func TestItEndsWithTheRegistration(t *testing.T) {
	nc := nodeConfig(t)
	nc.Lifetime = 20 * time.Second
	p := newPair(t, agentConfig(t), nc, standard.Config{})
	p.link("wlan0", wifi)
	p.run(3 * time.Second)
	p.down["wlan0"] = true
	p.step(p.agent, engine.Command{Ticket: order, Value: notification.Notify{Node: van, Text: "hello"}})
	p.run(time.Minute)
	sent := p.replies
	p.run(10 * time.Minute)
	if n := len(noted(p.agent.notes, notification.Unanswered)); n != 1 || p.replies != sent {
		t.Errorf("%d notes, %d messages after the end\n%s", n, p.replies-sent, p.trace())
	}
}

// TestANotificationIsNotReplayed: not after a restart of the node either.
//
//rfc:6098#7.1.1
//rfc:6098#4.5.1
func TestANotificationIsNotReplayed(t *testing.T) {
	p := told(t, standard.Config{})
	var copied engine.Packet
	p.step(p.agent, engine.Command{Ticket: order, Value: notification.Notify{Node: van, Text: "hello"}})
	for _, a := range p.queue {
		if pkt, ok := a.what.ev.(engine.Packet); ok && is(pkt.Data, mip4.TypeNotification) {
			copied = pkt
			copied.Data = bytes.Clone(pkt.Data)
		}
	}
	p.run(time.Second)
	again := func(what string) {
		t.Helper()
		p.step(p.node, copied)
		shown, refused := noted(p.node.notes, notification.Notified), noted(p.node.notes, notification.Untimely)
		if len(shown) != 1 || len(refused) == 0 {
			t.Fatalf("%s: shown %d times, refused %d times", what, len(shown), len(refused))
		}
		m, err := mip4.Parse(p.last.Data)
		if err != nil {
			t.Fatal(err)
		}
		if a, err := m.NotificationAck(); err != nil || a.Code != 197 || a.Direction != mip4.MobileNodeToHomeAgent {
			t.Errorf("%s: answered with %+v, %v", what, a, err)
		}
	}
	again("at once")
	p.bootNode(nodeConfig(t), standard.Config{})
	p.link("wlan0", wifi)
	p.run(time.Second)
	p.node.notes = slices.DeleteFunc(p.node.notes, func(n note.Note) bool { return n.Kind == notification.Untimely })
	again("after a restart")
}

// TestClocksThatDiffer: the refusal tells the node's time, and the next try
// has it.
//
//rfc:6098#7.1.1
func TestClocksThatDiffer(t *testing.T) {
	p := told(t, standard.Config{})
	p.node.skew = -time.Minute
	p.step(p.agent, engine.Command{Ticket: order, Value: notification.Notify{Node: van, Text: "hello"}})
	p.run(1100 * time.Millisecond)
	if r, err := reported(t, p.agent.results); err != nil || r.Code != mip4.NotificationAccepted || r.Sent != 2 {
		t.Errorf("%+v, %v\n%s", r, err, p.trace())
	}
}

// TestANodeTellsItsHomeAgent, which acknowledges when the mark is durable, and
// does not take a copy after a restart.
//
//rfc:6098#4.5.3
//rfc:6098#4.7.3
//rfc:6098#4.7.4
func TestANodeTellsItsHomeAgent(t *testing.T) {
	p := told(t, standard.Config{})
	p.step(p.node, engine.Command{Ticket: order, Value: notification.Notify{Text: "flat tyre"}})
	copied := engine.Packet{Link: "eth0", Src: netip.AddrPortFrom(wifi, 40434), Dst: p.last.Dst, TTL: 60, Data: bytes.Clone(p.last.Data)}
	p.run(time.Second)
	if r, err := reported(t, p.node.results); err != nil || r.Code != mip4.NotificationAccepted || !r.Answered {
		t.Fatalf("%+v, %v\n%s", r, err, p.trace())
	}
	if len(p.agent.store["ha/notified/"+homeAddress.String()]) == 0 {
		t.Error("the home agent answered and has stored nothing")
	}
	p.bootAgent(agentConfig(t), standard.Config{})
	p.step(p.agent, copied)
	if shown, refused := noted(p.agent.notes, notification.Notified), noted(p.agent.notes, notification.Untimely); len(shown) != 1 || len(refused) != 1 {
		t.Errorf("a copy after a restart: %v, %v", shown, refused)
	}
}

// forge is a notification to the pair's node, signed by key.
func forge(t *testing.T, p *pair, key *assoc.Association, change func(*mip4.Draft)) engine.Packet {
	t.Helper()
	d := mip4.NewMessage(&mip4.Notification{
		Acknowledge: true, HomeAddress: homeAddress, HomeAgent: agent, CareOfAddress: wifi, Identification: assoc.Timestamp(p.now.Wall),
	})
	change(d)
	d.Authenticate(mip4.ExtMobileHome, key)
	data, err := d.Seal()
	if err != nil {
		t.Fatal(err)
	}
	return engine.Packet{Link: "wlan0", Src: netip.AddrPortFrom(agent, 434), Dst: netip.AddrPortFrom(wifi, 40434), TTL: 60, Data: data}
}

// TestStrangersAreNotAnswered: a wrong key, an extension that is not permitted,
// none of the two authenticators too many.
//
//rfc:6098#4.5.1
//rfc:6098#5.2
//rfc:6098#7
func TestStrangersAreNotAnswered(t *testing.T) {
	text := func(d *mip4.Draft) {
		d.Add(mip4.ZoneHome, &mip4.MessageString{From: mip4.MessageFromHomeAgent, Text: "hello"})
	}
	wrong, err := assoc.New(256, assoc.HMACSHA256, assoc.NewKey([]byte("a stranger's key")), assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	right := association(t, assoc.Timestamps)
	for name, c := range map[string]struct {
		key    *assoc.Association
		change func(*mip4.Draft)
		shown  int
	}{
		"right":                   {right, text, 1},
		"wrong key":               {wrong, text, 0},
		"extension not permitted": {right, func(d *mip4.Draft) { text(d); d.AddRaw(mip4.ZoneHome, []byte{151, 2, 0, 0}) }, 0},
		"two authenticators": {right, func(d *mip4.Draft) {
			text(d)
			d.AddRaw(mip4.ZoneHome, append([]byte{32, 36, 0, 0, 1, 0}, make([]byte, 32)...))
		}, 0},
	} {
		p := told(t, standard.Config{})
		before, notes := p.sent, len(p.node.notes)
		p.step(p.node, forge(t, p, c.key, c.change))
		if n := len(noted(p.node.notes, notification.Notified)); n != c.shown || p.sent != before+c.shown || len(p.node.notes) != notes+c.shown {
			t.Errorf("%s: shown %d times, %d answers, %d notes", name, n, p.sent-before, len(p.node.notes)-notes)
		}
	}
}

// TestSwitchedOff is like a node that does not know the messages.
//
//rfc:6098#4.4
func TestSwitchedOff(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{})
	p.bootNode(nodeConfig(t), standard.Config{Notification: notification.Config{Off: true}})
	p.link("wlan0", wifi)
	p.run(3 * time.Second)
	p.step(p.agent, engine.Command{Ticket: order, Value: notification.Notify{Node: van, Text: "hello"}})
	p.run(6 * time.Second)
	if r, err := reported(t, p.agent.results); err != nil || r.Answered || len(noted(p.node.notes, notification.Notified)) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestNobodyToTell says why.
func TestNobodyToTell(t *testing.T) {
	p := told(t, standard.Config{})
	for _, c := range []struct {
		order notification.Notify
		want  error
	}{
		{notification.Notify{Node: ident.Node{HomeAddress: wifi}, Text: "x"}, notification.ErrNotFound},
		{notification.Notify{Node: van, Agent: true, Text: "x"}, notification.ErrCannot},
		{notification.Notify{Node: van}, notification.ErrCannot},
		{notification.Notify{Node: van, Text: strings.Repeat("x", 255)}, notification.ErrCannot},
	} {
		p.agent.results = nil
		p.step(p.agent, engine.Command{Ticket: order, Value: c.order})
		if _, err := reported(t, p.agent.results); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c.order, err)
		}
	}
}
