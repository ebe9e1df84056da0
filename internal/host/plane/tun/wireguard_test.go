package tun

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"careof/internal/core/forward"
	"careof/internal/host/sock"
	"careof/wire/encap"
)

// A secured is a home agent and a mobile node whose tunnel is encrypted, with a
// network of memory between them.
type secured struct {
	*testing.T
	agent, mobile *bench
	agentSecret   *Secret
	agentKey      forward.PublicKey
	mobileKey     forward.PublicKey

	mu    sync.Mutex
	wire  [][]byte // every message so far
	lost  func(toAgent bool, m []byte) bool
	twice bool                // every message of a handshake arrives twice
	dead  map[netip.Addr]bool // care-of addresses whose paths lose everything
	by    map[netip.Addr]int  // messages of transport data, by care-of address
	to    func(peer netip.AddrPort, m []byte)
	after chan struct{} // closed at the end
}

func newSecret(t testing.TB) (*Secret, forward.PublicKey) {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := Secret(key.Bytes())
	return &s, forward.KeyOf([32]byte(key.PublicKey().Bytes()))
}

func newSecured(t *testing.T) *secured {
	s := &secured{T: t, after: make(chan struct{}), dead: make(map[netip.Addr]bool), by: make(map[netip.Addr]int)}
	var mobileSecret *Secret
	s.agentSecret, s.agentKey = newSecret(t)
	mobileSecret, s.mobileKey = newSecret(t)
	s.agent, s.mobile = newBenchWith(t, s.agentSecret), newBenchWith(t, mobileSecret)
	t.Cleanup(func() { close(s.after) })
	s.carry(s.agent, func() *bench { return s.mobile }, false)
	s.carry(s.mobile, func() *bench { return s.agent }, true)
	s.mobile.put(mobileEntry(s.atMobile()))
	s.agent.put(agentEntry(s.atAgent(careOf)))
	return s
}

func (s *secured) atAgent(care netip.Addr) forward.Tunnel {
	return forward.Tunnel{
		Local: netip.AddrPortFrom(haAddr, encap.Port), Peer: netip.AddrPortFrom(care, mnPort),
		Encap: encap.UDP, Inside: encap.WireGuard, PeerKey: s.mobileKey,
	}
}

func (s *secured) atMobile() forward.Tunnel {
	return forward.Tunnel{
		Local: netip.AddrPortFrom(careOf, 0), Peer: netip.AddrPortFrom(haAddr, encap.Port), Link: "eth0",
		Encap: encap.UDP, Inside: encap.WireGuard, PeerKey: s.agentKey,
	}
}

// carry brings what one end sends to the other. A mobile node's socket has a
// port that only the network knows.
func (s *secured) carry(from *bench, to func() *bench, toAgent bool) {
	go func() {
		for {
			select {
			case d := <-from.udp:
				for _, m := range d.messages {
					s.mu.Lock()
					s.wire = append(s.wire, bytes.Clone(m))
					if s.to != nil {
						s.to(d.peer, m)
					}
					path := d.local.Addr()
					if !toAgent {
						path = d.peer.Addr()
					}
					if bytes.HasPrefix(m, []byte{4, 0, 0, 0}) && len(m) > 32 {
						s.by[path]++
					}
					twice := s.twice && strings.HasPrefix(string(m), encap.WireGuardHandshake)
					lost := s.lost != nil && s.lost(toAgent, m) || s.dead[path]
					s.mu.Unlock()
					if lost {
						continue
					}
					in := sock.Data{Local: d.peer, From: d.local, Link: "eth0", Message: m}
					if toAgent {
						in.From = netip.AddrPortFrom(d.local.Addr(), mnPort)
					}
					arrived := []sock.Data{in}
					if twice {
						in.Message = bytes.Clone(m)
						arrived = append(arrived, in)
					}
					to().p.Deliver(arrived)
				}
			case <-s.after:
				return
			}
		}
	}()
}

func (s *secured) messages() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([][]byte(nil), s.wire...)
}

func handshakes(messages [][]byte) (n int) {
	for _, m := range messages {
		if strings.HasPrefix(string(m), encap.WireGuardHandshake) {
			n++
		}
	}
	return n
}

// marked is a packet whose payload is easily found.
func marked(src, dst netip.Addr, mark string) []byte {
	p, err := encap.AppendUDP(nil, encap.IPv4{TTL: 64, ID: 9}, netip.AddrPortFrom(src, 1000), netip.AddrPortFrom(dst, 2000), []byte(mark))
	if err != nil {
		panic(err)
	}
	return p
}

// up sends something from the mobile node and waits for it to come out.
func (s *secured) up(mark string) {
	s.Helper()
	s.mobile.fromKernel(marked(homeAddr, cnAddr, mark))
	if got := one(s.agent, "packet from the node", s.agent.dev.out); !strings.Contains(string(got), mark) {
		s.Errorf("% x came out, want %q", got, mark)
	}
}

func (s *secured) down(mark string) {
	s.Helper()
	s.agent.fromKernel(marked(cnAddr, homeAddr, mark))
	if got := one(s.mobile, "packet for the node", s.mobile.dev.out); !strings.Contains(string(got), mark) {
		s.Errorf("% x came out, want %q", got, mark)
	}
}

// T23: what goes through the tunnel cannot be read on the way, and every octet of
// it is WireGuard's.
func TestNothingOfThePacketsIsOnTheWire(t *testing.T) {
	s := newSecured(t)
	for i := range 20 {
		s.up(fmt.Sprintf("plainly from the node %d", i))
		s.down(fmt.Sprintf("plainly for the node %d", i))
	}
	wire := s.messages()
	if len(wire) < 40 {
		t.Fatalf("%d messages", len(wire))
	}
	home := homeAddr.As4()
	for _, m := range wire {
		if bytes.Contains(m, []byte("plainly")) || bytes.Contains(m, home[:]) {
			t.Fatalf("to be read on the way: % x", m)
		}
		switch {
		case strings.HasPrefix(string(m), encap.WireGuardHandshake):
			if n := len(m) - 4; n != 148 && n != 92 {
				t.Errorf("a handshake of %d octets", n)
			}
		case !bytes.HasPrefix(m, []byte{4, 0, 0, 0}) || len(m)%16 != 0:
			t.Errorf("no transport data: %d octets, % x", len(m), m[:8])
		}
	}
	if n := handshakes(wire); n > 4 {
		t.Errorf("%d messages of handshakes", n)
	}
}

// A packet of the tunnel's MTU fills the path exactly, a longer one is told so.
func TestTheMTUHasRoomForTheCipher(t *testing.T) {
	s := newSecured(t)
	s.up("first")
	s.mobile.fromKernel(udpPacket(homeAddr, cnAddr, 1440-28, setDF))
	if got := one(s.agent, "packet", s.agent.dev.out); len(got) != 1440 {
		t.Errorf("%d octets came out", len(got))
	}
	wire := s.messages()
	if longest := len(wire[len(wire)-1]) + 28; longest != 1500 {
		t.Errorf("the outer packet has %d octets", longest)
	}
	s.mobile.fromKernel(udpPacket(homeAddr, cnAddr, 1441-28, setDF))
	e := one(s.mobile, "ICMP error", s.mobile.raw.out)
	if kind, code := icmpOf(e); kind != 3 || code != 4 || int(e[26])<<8|int(e[27]) != 1440 {
		t.Errorf("ICMP %d/%d, MTU %d", kind, code, int(e[26])<<8|int(e[27]))
	}
}

// "the endpoint moved by registration, not by data packets": who repeats what he
// has heard from elsewhere draws nothing to himself, and no cipher is asked.
func TestNobodysPacketMovesTheEndpoint(t *testing.T) {
	s := newSecured(t)
	s.up("before")
	var heard []byte
	s.mu.Lock()
	s.lost = func(toAgent bool, m []byte) bool {
		if toAgent && heard == nil && bytes.HasPrefix(m, []byte{4, 0, 0, 0}) {
			heard = bytes.Clone(m) // kept from the home agent, so that its replay window does not know it
			return true
		}
		return false
	}
	s.mu.Unlock()
	s.mobile.fromKernel(marked(homeAddr, cnAddr, "stolen"))
	s.eventually("something was sent", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return heard != nil
	})
	strangers := s.agent.p.Totals().Strangers
	local := netip.AddrPortFrom(haAddr, encap.Port)
	for _, thief := range []netip.AddrPort{netip.AddrPortFrom(careOf.Next(), mnPort), netip.AddrPortFrom(careOf, mnPort+1)} {
		s.agent.p.Deliver([]sock.Data{{Local: local, From: thief, Link: "eth0", Message: bytes.Clone(heard)}})
	}
	if got := s.agent.p.Totals().Strangers - strangers; got != 2 {
		t.Errorf("%d of 2 repeated messages counted as a stranger's", got)
	}
	s.down("after")
	s.up("from where it is registered")
	none(s.agent, "a repeated packet came out", s.agent.dev.out)
}

// A move is the registration's: the session goes on at the new care-of address,
// without a handshake.
func TestASessionSurvivesAMove(t *testing.T) {
	s := newSecured(t)
	s.up("before")
	s.down("before")
	shaken := handshakes(s.messages())
	there := netip.MustParseAddr("203.0.113.77")
	moved := s.atMobile()
	moved.Local = netip.AddrPortFrom(there, 0)
	draining := s.atMobile()
	draining.Mode = forward.Receive
	s.mobile.put(mobileEntry(moved, draining))
	s.agent.put(agentEntry(s.atAgent(there)))
	s.up("after")
	s.down("after")
	if n := handshakes(s.messages()); n != shaken {
		t.Errorf("%d messages of handshakes for the move", n-shaken)
	}
}

// kill -9 and a new start, of either end: the other one's packets get through
// again within a handshake.
func TestARestartRecovers(t *testing.T) {
	s := newSecured(t)
	s.up("before")
	s.down("before")
	again := newBenchWith(t, s.agentSecret)
	s.carry(again, func() *bench { return s.mobile }, false)
	again.put(agentEntry(s.atAgent(careOf)))
	s.mu.Lock()
	s.agent = again
	s.mu.Unlock()
	// What is sent with the lost session is lost, and brings about the next.
	for end := time.Now().Add(4 * time.Second); ; {
		s.mobile.fromKernel(marked(homeAddr, cnAddr, "after"))
		select {
		case <-again.dev.out:
		case <-time.After(20 * time.Millisecond):
			if time.Now().Before(end) {
				continue
			}
			t.Fatal("no packet came out of the home agent that was started anew")
		}
		break
	}
}

// The binding says which inner addresses are the node's, and the end of the
// binding is the end of the session.
func TestInnerAddressesAreTheBindings(t *testing.T) {
	s := newSecured(t)
	s.up("own address")
	other := mobileEntry(s.atMobile())
	other.Key, other.Inner = "other", netip.PrefixFrom(homeAddr.Next(), 32)
	s.mobile.put(other)
	s.mobile.fromKernel(marked(homeAddr.Next(), cnAddr, "another's address"))
	s.up("own address again") // what came before it is through
	network := agentEntry(s.atAgent(careOf))
	network.Key, network.Inner, network.Router = "net", netip.PrefixFrom(homeAddr.Next(), 32), homeAddr
	s.agent.put(network)
	s.mobile.fromKernel(marked(homeAddr.Next(), cnAddr, "now bound"))
	if got := one(s.agent, "packet", s.agent.dev.out); !strings.Contains(string(got), "now bound") {
		t.Errorf("% x came out", got)
	}
	ended := s.atAgent(careOf)
	ended.Until = s.agent.clock().Add(time.Second)
	s.agent.put(agentEntry(ended))
	s.up("until then")
	s.agent.wait(2 * time.Second)
	before := s.agent.p.Totals().Strangers
	s.mobile.fromKernel(marked(homeAddr, cnAddr, "too late"))
	s.eventually("what came too late was counted", func() bool { return s.agent.p.Totals().Strangers > before })
	none(s.agent, "a packet came out after the end", s.agent.dev.out)
}

// In the clear nothing is taken for an encrypted binding, in whatever form.
func TestNothingInTheClearIsTaken(t *testing.T) {
	s := newSecured(t)
	s.up("encrypted")
	h := encap.Header{Kind: encap.UDP, Src: careOf, Dst: haAddr, SrcPort: mnPort, DstPort: encap.Port}
	for _, inside := range []encap.Kind{encap.IPIP, encap.GRE, encap.Minimal} {
		h.Inner = inside
		s.agent.fromNetwork(h, marked(homeAddr, cnAddr, "in the clear"))
	}
	m := append([]byte{4, uint8(encap.WireGuard), 0, 0}, marked(homeAddr, cnAddr, "in the clear")...)
	s.agent.p.Deliver([]sock.Data{{Local: netip.AddrPortFrom(haAddr, encap.Port), From: netip.AddrPortFrom(careOf, mnPort), Message: m}})
	s.agent.fromNetwork(encap.Header{Kind: encap.IPIP, Src: careOf, Dst: haAddr}, marked(homeAddr, cnAddr, "in the clear"))
	none(s.agent, "a packet in the clear came out", s.agent.dev.out)
}

// Two nodes cannot have one key: the second one's entry carries nothing, and the
// first one's packets do not go to the second.
func TestSomebodyElsesKeyIsWorthNothing(t *testing.T) {
	s := newSecured(t)
	s.up("the owner")
	thief := agentEntry(s.atAgent(careOf.Next()))
	thief.Key, thief.Inner = "thief", netip.PrefixFrom(homeAddr.Next(), 32)
	s.agent.put(thief)
	s.agent.fromKernel(marked(cnAddr, homeAddr.Next(), "for the thief"))
	s.down("for the owner")
	none(s.mobile, "the thief's packet came out", s.mobile.dev.out)
	if c := s.agent.p.Counters("thief"); c.DroppedPackets != 1 || c.SentPackets != 0 {
		t.Errorf("the thief's counters: %+v", c)
	}
}

// Who names a node's key before the node does takes nothing from it: the node's
// packets go to and fro, and as soon as it has sent one the other gets none.
func TestANodeWhoseKeyAnotherNamedFirstIsServed(t *testing.T) {
	s := newSecured(t)
	// Nobody is bound yet.
	if err := s.agent.p.Apply(t.Context(), []forward.Change{{Op: forward.Delete, Entry: agentEntry()}}); err != nil {
		t.Fatal(err)
	}
	thief := agentEntry(s.atAgent(careOf.Next()))
	thief.Key, thief.Inner = "thief", netip.PrefixFrom(homeAddr.Next(), 32)
	s.agent.put(thief)
	s.agent.put(agentEntry(s.atAgent(careOf)))
	s.down("before it has said a word")
	s.up("a word")
	s.down("after it")
	var sent int
	s.mu.Lock()
	s.to = func(peer netip.AddrPort, _ []byte) {
		if peer.Addr() == careOf.Next() {
			sent++
		}
	}
	s.mu.Unlock()
	s.down("for the owner")
	s.agent.fromKernel(marked(cnAddr, homeAddr.Next(), "for the thief"))
	s.down("for the owner again")
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.agent.p.Counters("thief"); sent > 0 || c.DroppedPackets != 1 {
		t.Errorf("%d messages went to the other one; its counters: %+v", sent, c)
	}
}

// A copy goes to each of several bindings, and the node takes one.
func TestCopiesOfSimultaneousBindingsAreTakenOnce(t *testing.T) {
	s := newSecured(t)
	s.up("first")
	other := s.atMobile()
	other.Local = netip.AddrPortFrom(careOf.Next(), 0)
	other.Mode = forward.Receive
	s.mobile.put(mobileEntry(s.atMobile(), other))
	s.agent.put(agentEntry(s.atAgent(careOf), s.atAgent(careOf.Next())))
	before := len(s.messages())
	s.down("once")
	s.down("twice")
	none(s.mobile, "a copy came out", s.mobile.dev.out)
	if n := len(s.messages()) - before; n < 4 {
		t.Errorf("%d messages for two packets to two bindings", n)
	}
}

// Without a key, or in a form that cannot be, an entry is refused before it can
// be mistaken for one that encrypts.
func TestEncryptionThatCannotBeIsRefused(t *testing.T) {
	b := newBench(t)
	_, key := newSecret(t)
	for what, tunnel := range map[string]forward.Tunnel{
		"without a secret of our own": toCareOf(forward.Tunnel{Encap: encap.UDP, Inside: encap.WireGuard, PeerKey: key}),
		"without the peer's key":      toCareOf(forward.Tunnel{Encap: encap.UDP, Inside: encap.WireGuard}),
		"in another tunnel":           toCareOf(forward.Tunnel{Encap: encap.IPIP, Inside: encap.WireGuard, PeerKey: key}),
		"in the clear after all":      toCareOf(forward.Tunnel{Encap: encap.UDP, Inside: encap.IPIP, PeerKey: key}),
	} {
		if err := b.p.Apply(context.Background(), []forward.Change{{Op: forward.Put, Entry: agentEntry(tunnel)}}); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

// An end that has not shown that it is there is sent no more of what is
// encrypted than of anything else: the rest goes to where the node was.
func TestAnUnprovenEndIsSentLittle(t *testing.T) {
	s := newSecured(t)
	s.up("before")
	s.down("before")
	there := netip.MustParseAddr("203.0.113.77")
	unproven, was := s.atAgent(there), s.atAgent(careOf)
	unproven.Budget = 500
	was.Mode, was.Spare = forward.Receive, true
	var sent [2]int
	s.mu.Lock()
	s.to = func(peer netip.AddrPort, m []byte) {
		if peer.Addr() == there {
			sent[1] += len(m) + 28
		} else if peer.Addr() == careOf {
			sent[0] += len(m) + 28
		}
	}
	s.mu.Unlock()
	moved, draining := s.atMobile(), s.atMobile()
	moved.Local, draining.Mode = netip.AddrPortFrom(there, 0), forward.Receive
	s.mobile.put(mobileEntry(moved, draining))
	s.agent.put(agentEntry(unproven, was))
	for i := range 20 {
		s.down(fmt.Sprintf("word %d", i))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sent[1] == 0 || sent[1] > 500 || sent[0] < 1000 {
		t.Errorf("%d octets were sent to where nobody has answered, %d to where the node was", sent[1], sent[0])
	}
}
