package tun

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/device"

	"careof/internal/core/forward"
	"careof/internal/host/sock"
	"careof/wire/encap"
)

// otherCareOf is the care-of address of a node's second uplink.
var otherCareOf = careOf.Next()

// redundantly makes an end's tunnels over two uplinks what a node and its home
// agent agree on, the first for all packets and the other for copies: those that
// class says.
func (s *secured) redundantly(first, second netip.Addr, class string, change ...func(*forward.Tunnel)) {
	s.Helper()
	c, err := forward.ParseClass(class)
	if err != nil {
		s.Fatal(err)
	}
	at := func(address netip.Addr, mode forward.Mode) (agent, mobile forward.Tunnel) {
		agent, mobile = s.atAgent(address), s.atMobile()
		mobile.Local = netip.AddrPortFrom(address, 0)
		agent.Copies, mobile.Copies, agent.Mode, mobile.Mode = true, true, mode, mode
		return agent, mobile
	}
	a1, m1 := at(first, forward.Both)
	a2, m2 := at(second, forward.Receive)
	for _, f := range change {
		f(&a2)
	}
	mobile, agent := mobileEntry(m1, m2), agentEntry(a1, a2)
	mobile.Redundant, agent.Redundant = []forward.Class{c}, []forward.Class{c}
	s.mobile.put(mobile)
	s.agent.put(agent)
}

// kill makes the paths of these care-of addresses lose everything, and no others.
func (s *secured) kill(addresses ...netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.dead)
	for _, a := range addresses {
		s.dead[a] = true
	}
}

// carried counts the messages of transport data so far, by path.
func (s *secured) carried() map[netip.Addr]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.by)
}

// greetings counts the handshakes that were begun: copies and repetitions begin
// none.
func greetings(messages [][]byte) int {
	begun := make(map[string]bool)
	for _, m := range messages {
		if strings.HasPrefix(string(m), encap.WireGuardHandshake) && kindOf(m[4:]) == device.MessageInitiationType {
			begun[string(m)] = true
		}
	}
	return len(begun)
}

// eventually waits for something that another goroutine does.
func (s *secured) eventually(what string, is func() bool) {
	s.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.Fatal("never: ", what)
		}
	}
}

// Whichever of two uplinks loses everything: of redundant packets none is lost in
// either direction, and with both none comes twice. Every octet over either is
// WireGuard's.
func TestEncryptedCopiesGoOverBothUplinks(t *testing.T) {
	s := newSecured(t)
	s.redundantly(careOf, otherCareOf, "udp 2000")
	s.up("first")
	for _, dead := range [][]netip.Addr{nil, {careOf}, {otherCareOf}} {
		s.kill(dead...)
		for i := range 20 {
			s.up(fmt.Sprintf("from the node %d, dead %v", i, dead))
			s.down(fmt.Sprintf("for the node %d, dead %v", i, dead))
		}
	}
	s.eventually("each message has gone over both", func() bool {
		by := s.carried()
		return by[careOf] == 121 && by[otherCareOf] == 121
	})
	if c := s.mobile.p.Totals(); c.Copied != 61 || c.CopiedBytes < 61*28 {
		t.Errorf("the node has sent %d packets, of %d octets, over another path besides, not 61", c.Copied, c.CopiedBytes)
	}
	for end, b := range map[string]*bench{"home agent": s.agent, "node": s.mobile} {
		s.eventually(end+" has counted 20 copies", func() bool { return b.p.Totals().Copies >= 20 })
		none(b, "a packet came twice", b.dev.out)
		if c := b.p.Totals(); c.Copies > 21 {
			t.Errorf("%s: %d copies", end, c.Copies)
		}
	}
	if c := s.mobile.p.Counters(mobileEntry().Key); c.SentPackets != 122 || c.ReceivedPackets != 60 {
		t.Errorf("the node's counters: %+v", c)
	}
	for _, m := range s.messages() {
		if bytes.Contains(m, []byte("the node")) {
			t.Fatalf("to be read on the way: % x", m)
		}
	}
}

// A redundant packet is on its way while the dead uplink's tunnel goes, and the other
// one takes its place: it gets through.
func TestAnEncryptedCopyGetsThroughWhileThePathsChangePlaces(t *testing.T) {
	s := newSecured(t)
	s.redundantly(careOf, otherCareOf, "udp 2000")
	s.up("before")
	s.kill(careOf)
	moved := s.atMobile()
	moved.Local = netip.AddrPortFrom(otherCareOf, 0)
	s.mobile.p.config.Datagrams = &interrupted{Datagrams: s.mobile.p.config.Datagrams, at: careOf, then: func() { s.mobile.put(mobileEntry(moved)) }}
	s.up("meanwhile")
	s.up("after")
}

// interrupted has something happen when the first message leaves from an address.
type interrupted struct {
	Datagrams
	at   netip.Addr
	then func()
	once sync.Once
}

func (i *interrupted) SendData(local, peer netip.AddrPort, link string, tos uint8, messages [][]byte) error {
	if local.Addr() == i.at {
		i.once.Do(i.then)
	}
	return i.Datagrams.SendData(local, peer, link, tos, messages)
}

// What is not redundant goes over the first uplink alone.
func TestOtherEncryptedPacketsGoOverOneUplink(t *testing.T) {
	s := newSecured(t)
	s.redundantly(careOf, otherCareOf, "udp 5060")
	for i := range 10 {
		s.up(fmt.Sprintf("packet %d", i))
		s.down(fmt.Sprintf("packet %d", i))
	}
	if by := s.carried(); by[careOf] != 20 || by[otherCareOf] != 0 {
		t.Errorf("messages by path: %v", by)
	}
	if c := s.mobile.p.Totals().Copies + s.agent.p.Totals().Copies; c != 0 {
		t.Errorf("%d copies", c)
	}
}

// New session keys, while the first uplink loses everything: the handshake goes
// over the other one, and no packet is lost.
func TestARekeyWhileTheFirstUplinkIsDead(t *testing.T) {
	s := newSecured(t)
	s.redundantly(careOf, otherCareOf, "udp 2000")
	s.up("before")
	s.down("before")
	s.kill(careOf)
	for i, b := range []*bench{s.mobile, s.agent} {
		// Greetings that follow each other within 20 ms are a flood's.
		time.Sleep(100 * time.Millisecond)
		before := handshakes(s.messages())
		for _, w := range b.p.ciphers.peers {
			w.end.device.LookupPeer(device.NoisePublicKey(w.key.Octets())).ExpireCurrentKeypairs()
		}
		if b == s.agent {
			s.down("first of the new session")
		} else {
			s.up("first of the new session")
		}
		if handshakes(s.messages()) == before {
			t.Errorf("end %d: no handshake", i)
		}
		s.up("and back")
		s.down("and forth")
	}
}

// The node changes its mind about which uplink is the first, and then one of them
// becomes another: nothing is lost, nothing comes twice, and no handshake is
// needed.
func TestAHandoverWhileRedundant(t *testing.T) {
	s := newSecured(t)
	s.redundantly(careOf, otherCareOf, "udp 2000")
	s.up("before")
	s.down("before")
	begun := greetings(s.messages())
	third := otherCareOf.Next()
	for _, pair := range [][2]netip.Addr{{otherCareOf, careOf}, {otherCareOf, third}, {third, otherCareOf}} {
		s.redundantly(pair[0], pair[1], "udp 2000")
		for _, dead := range pair {
			s.kill(dead)
			s.up(fmt.Sprintf("over %v, %v dead", pair, dead))
			s.down(fmt.Sprintf("over %v, %v dead", pair, dead))
		}
		s.kill()
		s.up("over both")
		s.down("over both")
	}
	none(s.agent, "a packet came twice", s.agent.dev.out)
	none(s.mobile, "a packet came twice", s.mobile.dev.out)
	if n := greetings(s.messages()); n != begun {
		t.Errorf("%d handshakes for the moves", n-begun)
	}
}

// Whoever has captured what went over either uplink and repeats it, from another
// address or as if from one of the node's own, gets nothing out of the tunnel, and
// what is for the node goes where it went before.
func TestRepeatedCopiesAreWorthNothing(t *testing.T) {
	s := newSecured(t)
	s.redundantly(careOf, otherCareOf, "udp 2000")
	s.kill(otherCareOf) // what went there the home agent has not seen
	for i := range 10 {
		s.up(fmt.Sprintf("packet %d", i))
	}
	s.kill()
	strangers := s.agent.p.Totals().Strangers
	agent := netip.AddrPortFrom(haAddr, encap.Port)
	thief := netip.MustParseAddrPort("203.0.113.66:434")
	var repeated uint64
	for _, m := range s.messages() {
		if !bytes.HasPrefix(m, []byte{4, 0, 0, 0}) {
			continue
		}
		for _, from := range []netip.AddrPort{thief, netip.AddrPortFrom(otherCareOf, mnPort), netip.AddrPortFrom(careOf, mnPort), netip.AddrPortFrom(otherCareOf, mnPort+1)} {
			s.agent.p.Deliver([]sock.Data{{Local: agent, From: from, Link: "eth0", Message: bytes.Clone(m)}})
		}
		repeated++
	}
	if repeated < 20 {
		t.Fatalf("%d messages", repeated)
	}
	if got := s.agent.p.Totals().Strangers - strangers; got != 2*repeated {
		t.Errorf("%d of %d messages from elsewhere counted as a stranger's", got, 2*repeated)
	}
	// What comes after it in the queue of ciphers is the first to come out.
	s.up("from the node itself")
	s.mu.Lock()
	s.to = func(peer netip.AddrPort, _ []byte) {
		if a := peer.Addr(); a != careOf && a != otherCareOf && a != haAddr {
			s.Errorf("a message went to %v", peer)
		}
	}
	s.mu.Unlock()
	s.down("for the node")
	s.kill(careOf)
	s.down("for the node, over the other uplink")
	none(s.agent, "a repeated packet came out", s.agent.dev.out)
	none(s.mobile, "a packet came twice", s.mobile.dev.out)
}

// Copies that come over the second uplink do not say that the first one works: a
// black hole is to be noticed, also while all packets get through.
func TestEncryptedCopiesSayNothingOfTheFirstUplink(t *testing.T) {
	s := newSecured(t)
	s.redundantly(careOf, otherCareOf, "udp 2000")
	s.down("over both")
	used := s.mobile.p.Use(mobileEntry().Key).Received
	s.mobile.wait(time.Second)
	s.kill(careOf)
	s.down("over the second")
	if got := s.mobile.p.Use(mobileEntry().Key).Received; got != used {
		t.Errorf("the path counts as alive %v later", got.Sub(used))
	}
	s.kill()
	// The copy over the first one may lose the race, but not always.
	s.eventually("a packet over the first one counts", func() bool {
		s.down("over both again")
		return s.mobile.p.Use(mobileEntry().Key).Received != used
	})
}

// A second uplink that has not shown that it is there is sent no more copies than
// the home agent's budget for it.
func TestAnUnprovenSecondUplinkIsSentFewCopies(t *testing.T) {
	s := newSecured(t)
	s.up("before")
	var sent int
	s.mu.Lock()
	s.to = func(peer netip.AddrPort, m []byte) {
		if peer.Addr() == otherCareOf {
			sent += len(m) + 28
		}
	}
	s.mu.Unlock()
	const budget = 500
	s.redundantly(careOf, otherCareOf, "udp 2000", func(t *forward.Tunnel) { t.Budget = budget })
	for i := range 20 {
		s.down(fmt.Sprintf("word %d", i))
	}
	s.mu.Lock()
	if sent == 0 || sent > budget {
		t.Errorf("%d octets of %d were sent to where nobody has answered", sent, budget)
	}
	sent = 0
	s.mu.Unlock()
	// "three octets for each that comes from there"
	s.kill(careOf)
	s.up("from there")
	message := s.messages()
	allowed := 3 * (len(message[len(message)-1]) + 28)
	s.kill()
	for i := range 20 {
		s.down(fmt.Sprintf("word %d", i))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sent < allowed-budget || sent > allowed {
		t.Errorf("%d octets of %d were sent to what has sent a third of that", sent, allowed)
	}
}

// A network that brings every message of a handshake twice, as two uplinks do,
// makes no two messages be encrypted with one key and counter: whoever reads both
// learns how the packets in them differ.
func TestAHandshakeThatComesTwiceBeginsOneSession(t *testing.T) {
	for range 30 {
		s := newSecured(t)
		s.mu.Lock()
		s.twice = true
		s.mu.Unlock()
		for i := range 3 {
			s.up(fmt.Sprintf("from the node %d", i))
			s.down(fmt.Sprintf("for the node %d", i))
		}
		type nonce [12]byte // receiver's index and counter
		seen := make(map[nonce][]byte)
		for _, m := range s.messages() {
			if !bytes.HasPrefix(m, []byte{4, 0, 0, 0}) {
				continue
			}
			n := nonce(m[4:16])
			if other := seen[n]; other != nil && !bytes.Equal(other, m) {
				t.Fatalf("two messages, of %d and %d octets, with counter %d of session %x", len(other), len(m), m[8], m[4:8])
			}
			seen[n] = m
		}
	}
}
