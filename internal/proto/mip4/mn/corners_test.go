package mn_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/wire/mip4"
)

// The corners that mobile nodes cut. corners_test.go at the root of the
// repository lists all of them.

// A 133 is believed only when its low half is that of a request under way and
// the authenticator holds; then, and only then, the clock follows it.
//
//rfc:5944#5.7.1
//rfc:5944#3.6.2.1
func TestCornerE02_AForged133MovesNoClock(t *testing.T) {
	const future = 0xfffffff0 // the high half of a time far away
	for _, c := range []struct {
		name   string
		answer answer
		moves  bool
	}{
		{"no authenticator", answer{code: 133, unsigned: true, high: future}, false},
		{"a wrong key", answer{code: 133, signer: wrong(t, 256, "guess"), high: future}, false},
		{"another low half", answer{code: 133, high: future, change: func(p *mip4.RegistrationReply) { p.Identification ^= 1 }}, false},
		{"the true one", answer{code: 133, high: future}, true},
	} {
		r := newRig(t, config(t))
		r.other = func(r *rig, s engine.Send) []engine.Packet { return []engine.Packet{r.reply(s, c.answer)} }
		r.up("wlan0", wifiAddress)
		r.run(2 * time.Second)
		if moved := r.last().request.Identification>>32 >= future; moved != c.moves || (r.count(note.Resync) > 0) != c.moves {
			t.Errorf("%s: the next Identification is %016x", c.name, r.last().request.Identification)
		}
	}
}

// With nonces a request without an answer goes out again octet by octet; with
// timestamps it has another Identification.
//
//rfc:5944#3.6.3
func TestCornerE03_RetransmissionUnderNonces(t *testing.T) {
	for _, style := range []assoc.Style{assoc.Nonces, assoc.Timestamps} {
		cfg := config(t)
		cfg.Association = association(t, style)
		r := newRig(t, cfg)
		r.up("wlan0", wifiAddress)
		r.run(4 * time.Second)
		if len(r.requests) < 3 {
			t.Fatalf("%v: %d requests", style, len(r.requests))
		}
		for _, q := range r.requests[1:] {
			if same := bytes.Equal(q.Data, r.requests[0].Data); same != (style == assoc.Nonces) {
				t.Errorf("%v: repeated unchanged %v", style, same)
			}
		}
	}
}

// A reply with an extension that the node does not know: discarded below 128,
// also when padding stands before it, else read without it.
//
//rfc:5944#1.8
func TestCornerE05_UnknownExtensionsInReplies(t *testing.T) {
	for _, c := range []struct {
		name string
		tail []byte
		ok   bool
	}{
		{"200", []byte{200, 1, 9}, true},
		{"100", []byte{100, 1, 9}, false},
		{"100 behind padding", []byte{0, 100, 1, 9}, false},
		{"padding", []byte{0}, true},
	} {
		r := newRig(t, config(t))
		r.other = func(r *rig, s engine.Send) []engine.Packet {
			p := r.reply(s, answer{lifetime: -1})
			p.Data = append(p.Data, c.tail...)
			return []engine.Packet{p}
		}
		r.up("wlan0", wifiAddress)
		r.run(time.Second)
		if ok := r.status().State == "registered"; ok != c.ok {
			t.Errorf("%s: registered %v", c.name, ok)
		}
	}
}

// Home again: first the node answers ARP for its address itself, then it says
// so to everybody, then it deregisters.
//
//rfc:5944#4.6
//rfc:5944#2.4.3-3
//rfc:5944#3.6.2.2-2
func TestCornerE08_OrderOfReturning(t *testing.T) {
	r := newRig(t, homeConfig(t))
	r.other = granting(-1)
	r.up("wlan0", wifiAddress)
	r.run(10 * time.Second)
	r.other = granting(0)
	requests := len(r.requests)
	var order []string
	for _, a := range r.up("eth0", atHome) {
		c, ok := a.(engine.Commit)
		switch a.(type) {
		case engine.Send:
			order = append(order, "request")
		case engine.Announce:
			order = append(order, "gratuitous ARP")
		}
		if !ok || len(c.Changes) == 0 {
			continue
		}
		order = append(order, "own ARP")
		for _, then := range c.Then {
			switch then.(type) {
			case engine.Announce:
				order = append(order, "gratuitous ARP")
			case engine.Send:
				order = append(order, "request")
			}
		}
	}
	if len(order) != 3 || order[0] != "own ARP" || order[1] != "gratuitous ARP" || order[2] != "request" {
		t.Errorf("order %v", order)
	}
	if q := r.last().request; len(r.requests) != requests+1 || q.Lifetime != 0 || q.CareOfAddress != homeAddress {
		t.Errorf("request %+v", q)
	}
}

// The lifetime runs from when the request was sent, however late the reply is.
//
//rfc:5944#3.6.2.2
//rfc:5944#3.6.2.2-4
func TestCornerE09_ALateReplyGivesLess(t *testing.T) {
	r := newRig(t, config(t))
	r.delay = 450 * time.Millisecond
	r.other = granting(30)
	r.up("wlan0", wifiAddress)
	r.run(950 * time.Millisecond)
	r.other = nil
	if until := r.entry().Tunnels[0].Until; !until.Equal(start.Mono.Add(30 * time.Second)) {
		t.Errorf("the tunnel ends %v after the request", until.Sub(start.Mono))
	}
	r.run(start.Mono.Add(30*time.Second - time.Millisecond).Sub(r.now.Mono))
	if r.count(note.Lost) != 0 {
		t.Error("over too early")
	}
	r.run(2 * time.Millisecond)
	if r.count(note.Lost) != 1 {
		t.Error("used for longer than the home agent keeps it")
	}
}

// A link that comes and goes does not make requests come at its pace.
//
//rfc:5944#3.6.3
func TestCornerE20_AFlappingLinkMakesFewRequests(t *testing.T) {
	r := newRig(t, config(t))
	r.other = granting(-1)
	for i := range 500 {
		r.up("wlan0", netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i%200)}))
		r.run(10 * time.Millisecond)
		r.lose("wlan0")
		r.run(10 * time.Millisecond)
	}
	if n := len(r.requests); n > 10+5 { // in ten seconds
		t.Errorf("%d requests in ten seconds", n)
	}
}
