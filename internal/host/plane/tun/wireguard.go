package tun

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/device"

	"careof/internal/core/forward"
	"careof/internal/host/sock"
	"careof/wire/encap"
)

// Encrypted tunnels are UDP tunnels whose messages are WireGuard's: its library
// does the key exchange, the ciphers, the replay windows and the cookies, and
// this plane all that concerns addresses.
//
// Outer endpoints are those of the entries. A message that does not come from
// the other end of a live encrypted tunnel is a stranger's, and no cipher is
// asked about it: so nobody's packets move an endpoint, and strangers cost
// nothing. The library holds one peer for each public key, and where its packets
// go is looked up here when they leave: a session outlives every move.
//
// Inner addresses are checked twice: by the library, whose allowed addresses are
// those of the entries, and against the entry when a packet has been decrypted.
//
// Unlike other tunnels' packets these are copied, queued and handled by several
// goroutines; a peer's stay in order.

// A Secret is this host's WireGuard private key. It is never shown.
type Secret [32]byte

// String does not tell it.
func (Secret) String() string { return "(secret)" }

// GoString does not either.
func (Secret) GoString() string { return "(secret)" }

// ciphers is the encrypted tunnels of a plane.
type ciphers struct {
	p *Plane

	mu    sync.RWMutex
	ends  map[endID]*cipherEnd
	peers map[peerID]*cipherPeer
	ways  map[cipherWay][]*tunnel // by the outer addresses of what comes in
}

// endID names a device of the library: all of a home agent's nodes share one; a
// mobile node has one for each home agent's key, because its packets may have
// any inner source.
type endID struct {
	role forward.Role
	key  forward.PublicKey // none for HomeAgent
}

type peerID struct {
	role forward.Role
	key  forward.PublicKey
}

type cipherWay struct {
	local netip.Addr
	peer  netip.AddrPort
}

// A cipherPeer is one public key at the other end.
type cipherPeer struct {
	end *cipherEnd
	key forward.PublicKey
	// proven is whose the key is, as a home address: a packet with that node's
	// own address inside was encrypted with it. Until there has been one, everybody
	// who says that the key is his is sent what only its owner can read; from then
	// on another's entry carries nothing. So who names a node's key before the node
	// does takes nothing from it.
	proven atomic.Pointer[netip.Addr]

	tunnels []*tunnel // guarded by ciphers.mu
	paths   atomic.Pointer[cipherPaths]
	tally   tally                    // of messages that came
	gate    gate                     // for handshakes
	inner   []netip.Prefix           // allowed, in order; guarded by Plane.mu
	talked  atomic.Bool              // there has been a session in this process
	polite  atomic.Bool              // it will greet first
	asked   limiter                  // handshakes begun because it seems to have a session and we none
	greeted atomic.Pointer[greeting] // an initiation that has not been answered
}

// cipherPaths are where a peer's packets go, as of one moment: when the paths
// change places meanwhile, a redundant packet must not find each of them in the
// place that it does not look at.
type cipherPaths struct {
	sending []*tunnel // all
	copying []*tunnel // redundant ones, besides
}

// errNoSecret says that nothing can be encrypted here.
var errNoSecret = fmt.Errorf("there is no key to encrypt with: %w", ErrUnsupported)

// enter makes an encrypted tunnel ready, before a packet can see it. The caller
// holds Plane.mu.
func (c *ciphers) enter(t *tunnel) error {
	if !t.t.Secured() {
		return nil
	}
	role := t.of.entry.Role
	if role != forward.HomeAgent && role != forward.MobileNode {
		return fmt.Errorf("encrypted for %v: %w", role, ErrUnsupported)
	}
	if c.p.config.Secret == nil {
		return errNoSecret
	}
	id := peerID{role, t.t.PeerKey}
	c.mu.RLock()
	peer := c.peers[id]
	c.mu.RUnlock()
	if peer == nil {
		var err error
		if peer, err = c.newPeer(id); err != nil {
			return err
		}
	} else if !peer.mayBe(ownerOf(&t.of.entry)) {
		return nil // somebody else's key: without the private one there is nothing to be had by it
	}
	t.cipher = peer
	w := cipherWay{t.t.Local.Addr(), t.t.Peer}
	c.mu.Lock()
	c.ways[w] = append(slices.Clone(c.ways[w]), t)
	peer.tunnels = append(slices.Clone(peer.tunnels), t)
	peer.refresh()
	c.mu.Unlock()
	return peer.allow()
}

// leave forgets a tunnel. With the last of a home agent's node goes its session;
// a mobile node's sessions are few and stay, for it will be back.
func (c *ciphers) leave(t *tunnel) {
	peer := t.cipher
	if peer == nil {
		return
	}
	w := cipherWay{t.t.Local.Addr(), t.t.Peer}
	same := func(o *tunnel) bool { return o == t }
	c.mu.Lock()
	if rest := slices.DeleteFunc(slices.Clone(c.ways[w]), same); len(rest) > 0 {
		c.ways[w] = rest
	} else {
		delete(c.ways, w)
	}
	peer.tunnels = slices.DeleteFunc(slices.Clone(peer.tunnels), same)
	if owner := peer.proven.Load(); owner != nil && !slices.ContainsFunc(peer.tunnels, func(o *tunnel) bool { return ownerOf(&o.of.entry) == *owner }) {
		peer.proven.Store(nil) // it will have to be shown again
	}
	peer.refresh()
	last := len(peer.tunnels) == 0 && t.of.entry.Role == forward.HomeAgent
	if last {
		delete(c.peers, peerID{forward.HomeAgent, peer.key})
	}
	c.mu.Unlock()
	if last {
		peer.end.device.RemovePeer(device.NoisePublicKey(peer.key.Octets()))
		return
	}
	// What it may bring has become less; that the library refuses to hear of it
	// would be its own mistake, and the entry is looked at all the same.
	_ = peer.allow()
}

// ownerOf is whose key an entry has: a mobile network's is its router's.
func ownerOf(e *forward.Entry) netip.Addr {
	if e.Router.IsValid() {
		return e.Router
	}
	return e.Inner.Addr()
}

// newPeer makes a peer, and its device when there is none yet.
func (c *ciphers) newPeer(id peerID) (*cipherPeer, error) {
	at := endID(id)
	if id.role == forward.HomeAgent {
		at.key = forward.PublicKey{}
	}
	c.mu.RLock()
	end := c.ends[at]
	c.mu.RUnlock()
	if end == nil {
		var err error
		if end, err = newEnd(c, at, c.p.config.Secret); err != nil {
			return nil, err
		}
	}
	peer := &cipherPeer{end: end, key: id.key}
	peer.refresh()
	// A node greets when it is registered. Two greetings at a time would cross,
	// and each end then wait five seconds for an answer to its own.
	peer.polite.Store(id.role == forward.HomeAgent && c.p.settled.Load())
	c.mu.Lock()
	c.ends[at], c.peers[id] = end, peer
	c.mu.Unlock()
	key := id.key.Octets()
	name := hex.EncodeToString(key[:])
	if err := end.device.IpcSet("public_key=" + name + "\nendpoint=" + name + "\n"); err != nil {
		c.mu.Lock()
		delete(c.peers, id)
		c.mu.Unlock()
		return nil, fmt.Errorf("wireguard: %w", err)
	}
	if id.role == forward.MobileNode {
		peer.greet()
	}
	return peer, nil
}

// refresh is called with ciphers.mu held, or before anybody else knows the peer.
func (w *cipherPeer) refresh() {
	sending := slices.DeleteFunc(slices.Clone(w.tunnels), func(t *tunnel) bool {
		return t.t.Mode == forward.Receive || t.t.AnyPort || !w.mayBe(ownerOf(&t.of.entry))
	})
	copying := slices.DeleteFunc(slices.Clone(w.tunnels), func(t *tunnel) bool {
		return !t.t.Copies || t.t.Mode != forward.Receive || !w.mayBe(ownerOf(&t.of.entry))
	})
	if w.end.id.role == forward.HomeAgent {
		sending, copying = latest(sending), latest(copying)
	}
	w.paths.Store(&cipherPaths{distinct(sending), distinct(copying)})
}

// distinct leaves the first of equal tunnels: a mobile network's entry has its
// router's.
func distinct(tunnels []*tunnel) []*tunnel {
	var kept []*tunnel
	for _, t := range tunnels {
		if !slices.ContainsFunc(kept, func(o *tunnel) bool { return o.t == t.t }) {
			kept = append(kept, t)
		}
	}
	return kept
}

// claimants bounds to how many nodes copies go that say that one key is theirs.
const claimants = 8

// latest leaves of the tunnels those of the nodes that came last.
func latest(tunnels []*tunnel) []*tunnel {
	var owners []netip.Addr
	for i := len(tunnels) - 1; i >= 0; i-- {
		owner := ownerOf(&tunnels[i].of.entry)
		if slices.Contains(owners, owner) {
			continue
		}
		if owners = append(owners, owner); len(owners) > claimants {
			return slices.DeleteFunc(tunnels, func(t *tunnel) bool { return !slices.Contains(owners[:claimants], ownerOf(&t.of.entry)) })
		}
	}
	return tunnels
}

// mayBe tells whether the key can be a node's, as far as is known.
func (w *cipherPeer) mayBe(node netip.Addr) bool {
	owner := w.proven.Load()
	return owner == nil || *owner == node
}

// shown is told of a packet that was encrypted with the key and has a node's
// address inside, and tells whether it may pass.
func (w *cipherPeer) shown(node netip.Addr) bool {
	if w.end.id.role != forward.HomeAgent {
		return true
	}
	if w.proven.Load() == nil {
		c := w.end.c
		c.mu.Lock()
		if w.proven.Load() == nil {
			w.proven.Store(&node)
			w.refresh()
		}
		c.mu.Unlock()
	}
	return w.mayBe(node)
}

// allow tells the library which inner addresses are the peer's. The caller holds
// Plane.mu.
func (w *cipherPeer) allow() error {
	inner := []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
	if w.end.id.role == forward.HomeAgent {
		inner = inner[:0]
		for _, t := range w.tunnels {
			if !slices.Contains(inner, t.of.entry.Inner) {
				inner = append(inner, t.of.entry.Inner)
			}
		}
	}
	slices.SortFunc(inner, netip.Prefix.Compare)
	if slices.Equal(inner, w.inner) {
		return nil
	}
	key := w.key.Octets()
	var b strings.Builder
	fmt.Fprintf(&b, "public_key=%x\nupdate_only=true\nreplace_allowed_ips=true\n", key)
	for _, p := range inner {
		fmt.Fprintf(&b, "allowed_ip=%v\n", p)
	}
	if err := w.end.device.IpcSet(b.String()); err != nil {
		return fmt.Errorf("wireguard: %w", err)
	}
	w.inner = inner
	return nil
}

// greet begins a handshake, unless one was begun within five seconds.
func (w *cipherPeer) greet() {
	peer := w.end.device.LookupPeer(device.NoisePublicKey(w.key.Octets()))
	if peer == nil {
		return
	}
	go peer.SendHandshakeInitiation(false)
}

// A greeting is a handshake initiation on its way. The library sends the next
// one five seconds later; when this end has just been started, its sockets may
// not be open yet, or the registration that tells its port not have arrived, so
// the same one goes out again a few times before. Who has got it already
// discards it by its timestamp.
type greeting struct {
	peer    *cipherPeer
	message []byte
	tries   int
}

// firstPause is that before the first repetition. It doubles.
const (
	firstPause    = 100 * time.Millisecond
	greetingTries = 5
	politeTries   = 3
)

// greetUntilAnswered sends an initiation, at once or when the other end has had
// its time, and repeats it.
func (w *cipherPeer) greetUntilAnswered(message []byte) {
	g := &greeting{peer: w, message: message}
	if w.polite.Swap(false) {
		g.tries = politeTries
	} else {
		w.say([][]byte{message}, true)
	}
	w.greeted.Store(g)
	time.AfterFunc(firstPause<<g.tries, g.again)
}

func (g *greeting) again() {
	w := g.peer
	if w.greeted.Load() != g || w.end.c.p.isClosed() {
		return
	}
	w.say([][]byte{g.message}, true)
	if g.tries++; g.tries < greetingTries {
		time.AfterFunc(firstPause<<g.tries, g.again)
	}
}

// A gate lets a message of a handshake through to the library once. That handles
// several at a time, and a response that came twice could begin two sessions with
// the same keys, each from counter 0: two packets would be encrypted alike. Copies
// are what redundant paths bring, networks do, and so can anybody on the way, who
// may change what nothing covers: the sender's index and the MACs.
type gate struct {
	mu     sync.Mutex
	passed [8]passage
	next   int
}

type passage struct {
	message [sha256.Size]byte
	at      int64
}

// repeatable is after how long a greeting passes again: the library may have
// taken the first for one too many, and [greeting.again] has been patient.
const repeatable = int64(firstPause / 2)

func (g *gate) pass(m []byte, now int64) bool {
	var covered []byte // from the ephemeral key, or the receiver's index, to the last tag
	switch {
	case len(m) == device.MessageInitiationSize && m[0] == device.MessageInitiationType:
		covered = m[8:116]
	case len(m) == device.MessageResponseSize && m[0] == device.MessageResponseType:
		covered = m[8:60]
	default:
		return true
	}
	sum := sha256.Sum256(covered)
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.passed {
		x := &g.passed[i]
		if x.message != sum {
			continue
		}
		if m[0] == device.MessageResponseType || now-x.at < repeatable {
			return false
		}
		x.at = now
		return true
	}
	g.passed[g.next] = passage{sum, now}
	g.next = (g.next + 1) % len(g.passed)
	return true
}

// greetInterval is the library's RekeyTimeout.
const greetInterval = int64(5 * time.Second)

// cipherUnit is what packets are filled up to multiples of before they are
// encrypted.
const cipherUnit = device.PaddingMultiple

// pushSealed puts a packet into an encrypted tunnel, or into all of its peer's for
// copies, counts it for this one, and reports whether there was room.
func (p *Plane) pushSealed(t *tunnel, packet []byte, copies bool, now int64) bool {
	if t.cipher == nil || t.of.entry.Role == forward.HomeAgent && !t.cipher.mayBe(ownerOf(&t.of.entry)) {
		t.of.stats.drop(&p.totals.tunnelless)
		return false
	}
	if !t.cipher.end.send(packet, copies) {
		t.of.stats.drop(&p.totals.overruns)
		return false
	}
	t.count(len(packet), now)
	return true
}

// sealed takes a WireGuard message from the network.
func (p *Plane) sealed(d *sock.Data, m []byte, h *encap.Header, now int64) {
	h.Kind, h.Inner, h.HasKey = encap.UDP, encap.WireGuard, false
	c := &p.ciphers
	c.mu.RLock()
	list := c.ways[cipherWay{h.Dst, d.From}]
	c.mu.RUnlock()
	for _, t := range list {
		if t.judge(h, d.Link, false, now) != welcome {
			continue
		}
		w := t.cipher
		t.earn(len(m) + outerHeaders)
		if strings.HasPrefix(string(m[:4]), encap.WireGuardHandshake) {
			if m = m[4:]; !w.gate.pass(m, now) {
				return
			}
			if len(m) > 0 && m[0] == device.MessageResponseType {
				w.greeted.Store(nil)
			}
		} else if !w.talked.Load() && w.asked.allow(now, greetInterval) {
			// It has a session and we have not: this end was started anew.
			w.polite.Store(false)
			w.greet()
		} else if t.of.entry.Counts() && w.tally.again(m, now) {
			p.totals.copies.Add(1)
		}
		w.end.receive(t, m)
		return
	}
	p.totals.strangers.Add(1)
}

// opened takes one packet that was decrypted, and came from there.
func (p *Plane) opened(b *batch, e *cipherEnd, inner []byte, from cipherWay, now int64) {
	ip, err := encap.ParseIPv4(inner)
	if err != nil || ip.TTL == 0 {
		p.totals.malformed.Add(1)
		return
	}
	inner = inner[:ip.TotalLen]
	address, table := ip.Src, &p.agent
	if e.id.role == forward.MobileNode {
		address, table = ip.Dst, &p.mobile
	}
	for _, of := range table.find(word(address)) {
		t := of.opens(e, from, now)
		if t == nil || !t.cipher.shown(ownerOf(&of.entry)) {
			continue
		}
		if e.id.role == forward.MobileNode && ip.Protocol == uint8(encap.IPIP) {
			if cast := p.castWithin(of, inner); cast != nil {
				inner = cast
			}
		}
		h := encap.Header{Kind: encap.UDP, Src: t.t.Peer.Addr(), Dst: t.t.Local.Addr(), SrcPort: t.t.Peer.Port()}
		p.took(b, of, t, &h, inner, now)
		return
	}
	p.totals.strangers.Add(1)
}

// opens is the tunnel that a packet came through which was decrypted: that from
// there, or another one when that has gone meanwhile; nil without any.
func (b *binding) opens(e *cipherEnd, from cipherWay, now int64) (other *tunnel) {
	for _, t := range b.tunnels {
		if t.cipher == nil || t.cipher.end != e || t.t.Mode == forward.Send || now >= t.until.Load() {
			continue
		}
		if t.t.Local.Addr() == from.local && t.t.Peer == from.peer {
			return t
		}
		if other == nil {
			other = t
		}
	}
	return other
}

// wrapCast is a broadcast or multicast in a packet to the home address: in an
// encrypted tunnel the destination says whose it is, so they are wrapped as on
// the way through a foreign agent (RFC 5944 section 4.3).
func wrapCast(t *tunnel, packet []byte) ([]byte, error) {
	if t.of.entry.Role != forward.HomeAgent || t.of.entry.Inner.Bits() != 32 {
		return packet, nil
	}
	return encap.Append(nil, &encap.Header{Kind: encap.IPIP, Src: t.t.Local.Addr(), Dst: t.of.entry.Inner.Addr()}, packet)
}

// castWithin undoes wrapCast; nil when there is nothing to undo.
func (p *Plane) castWithin(of *binding, packet []byte) []byte {
	e := &of.entry
	_, inner, err := encap.PullIP(packet)
	if err != nil {
		return nil
	}
	dst := word4(inner[16:20])
	if !dst.IsMulticast() && !(e.Broadcast && (dst == limitedBroadcast || e.HomeNetwork.IsValid() && dst == lastOf(e.HomeNetwork))) {
		return nil
	}
	return inner
}

// close ends all sessions.
func (c *ciphers) close() error {
	c.mu.Lock()
	ends := c.ends
	c.ends = nil
	c.mu.Unlock()
	var errs []error
	for _, e := range ends {
		e.device.Close()
	}
	return errors.Join(errs...)
}
