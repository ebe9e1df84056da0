package tun

import (
	"hash/maphash"
	"iter"
	"math"
	"net/netip"
	"slices"
	"sync"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// A sleeper is an entry that user space has not seen a packet of: with
// programs in front of this plane that is most of a million. It says all that
// the entry says and is a twelfth of a [binding]; the first packet wakes it.
type sleeper struct {
	key                    forward.Key
	tag                    uint64 // see [Plane.Tag]
	until                  int64  // instant, noEnd for none
	inner, local, peer     uint32
	wrap, greKey, greKeyIn uint32
	next                   [3]uint32 // in the chains of sleeping; of a free one next[0] is the next free one
	localPort, peerPort    uint16
	mtu                    uint16
	encap, inside          encap.Kind
	mode                   forward.Mode
	anyPort, hasKey        bool
	intercept              uint8 // in sleeping.links
}

// The chains that a sleeper is in.
const (
	byInner = iota
	byKey
	byPeer
)

// nobody ends a chain. Numbers of sleepers begin with 1, so that new tables
// are empty ones.
const nobody = 0

// sleeping holds sleepers in blocks, in which the collector finds nothing but
// keys, and finds them by three hash tables of numbers. The zero value is
// empty.
type sleeping struct {
	mu     sync.RWMutex
	blocks []*[sleepersInBlock]sleeper
	used   uint32 // numbers that were ever given out
	free   uint32
	count  int
	heads  [3][]uint32 // of equal length, a power of two
	seed   maphash.Seed
	links  []string // names of home links; 0 is none
}

const sleepersInBlock = 1 << 12

// maySleep says whether an entry is one that a sleeper can say all of: a home
// address with one tunnel, which routing leads to the other end.
func maySleep(e *forward.Entry) bool {
	if e.Role != forward.HomeAgent || e.Inner.Bits() != 32 || len(e.Tunnels) != 1 || e.Broadcast ||
		len(e.Routes) > 0 || len(e.Direct) > 0 || e.Deliver != (forward.Deliver{}) || e.HomeLink != "" ||
		e.HomeNetwork.IsValid() || e.LocalGroups || e.Plain || e.Counts() || e.Router.IsValid() {
		return false
	}
	t := &e.Tunnels[0]
	return t.Link == "" && !t.Secured() && t.Budget == 0 && !t.Spare && !t.Copies && !t.Checksum && t.MTU >= 0 && t.MTU <= math.MaxUint16 && (!t.Wrap.IsValid() || t.Wrap.Is4() && !t.Wrap.IsUnspecified())
}

func (s *sleeping) at(i uint32) *sleeper {
	return &s.blocks[(i-1)/sleepersInBlock][(i-1)%sleepersInBlock]
}

func (s *sleeping) head(chain int, z *sleeper) *uint32 {
	switch chain {
	case byInner:
		return s.headOf(chain, z.inner)
	case byPeer:
		return s.headOf(chain, z.peer)
	}
	return s.headOfKey(z.key)
}

// headOf spreads addresses by Knuth's multiplicative hashing.
func (s *sleeping) headOf(chain int, a uint32) *uint32 {
	h := s.heads[chain]
	return &h[uint64(a*2654435769)*uint64(len(h))>>32]
}

func (s *sleeping) headOfKey(k forward.Key) *uint32 {
	h := s.heads[byKey]
	return &h[maphash.String(s.seed, string(k))&uint64(len(h)-1)]
}

// find is the sleeper with a key, nil for none. The caller holds the lock.
func (s *sleeping) find(k forward.Key) *sleeper {
	if s.count == 0 {
		return nil
	}
	for i := *s.headOfKey(k); i != nobody; i = s.at(i).next[byKey] {
		if z := s.at(i); z.key == k {
			return z
		}
	}
	return nil
}

// of is the sleeper with a home address, nil for none. There is one at most.
func (s *sleeping) of(inner uint32) *sleeper {
	if s.count == 0 {
		return nil
	}
	for i := *s.headOf(byInner, inner); i != nobody; i = s.at(i).next[byInner] {
		if z := s.at(i); z.inner == inner {
			return z
		}
	}
	return nil
}

// holds says whether an entry for a home address sleeps.
func (s *sleeping) holds(inner uint32) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.of(inner) != nil
}

// to yields the keys of at most so many entries with a tunnel to a peer.
func (s *sleeping) to(peer uint32, most int) (keys []forward.Key) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.count == 0 {
		return nil
	}
	for i := *s.headOf(byPeer, peer); i != nobody && most > 0; i = s.at(i).next[byPeer] {
		if z := s.at(i); z.peer == peer {
			keys = append(keys, z.key)
			most--
		}
	}
	return keys
}

// all yields every sleeper. The caller holds the lock.
func (s *sleeping) all() iter.Seq[*sleeper] {
	return func(yield func(*sleeper) bool) {
		for i := uint32(1); i <= s.used; i++ {
			if z := s.at(i); z.key != "" && !yield(z) {
				return
			}
		}
	}
}

// put lets an entry sleep, in the place of the one with its key if there is
// one. It reports whether there was room: names of links are numbered.
func (s *sleeping) put(e *forward.Entry, until int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	intercept := 0
	if e.Intercept != "" {
		if intercept = slices.Index(s.links, e.Intercept); intercept < 0 {
			if len(s.links) > math.MaxUint8 {
				return false
			}
			if len(s.links) == 0 {
				s.links = append(s.links, "")
			}
			intercept = len(s.links)
			s.links = append(s.links, e.Intercept)
		}
	}
	t := &e.Tunnels[0]
	z := sleeper{
		key: e.Key, inner: word(e.Inner.Addr()), until: until,
		local: word(t.Local.Addr()), localPort: t.Local.Port(), peer: word(t.Peer.Addr()), peerPort: t.Peer.Port(),
		greKey: t.Key, greKeyIn: t.KeyIn, hasKey: t.HasKey, anyPort: t.AnyPort, mtu: uint16(t.MTU),
		encap: t.Encap, inside: t.Inside, mode: t.Mode, intercept: uint8(intercept),
	}
	if t.Wrap.IsValid() {
		z.wrap = word(t.Wrap)
	}
	if old := s.find(e.Key); old != nil {
		if old.inner == z.inner && old.peer == z.peer {
			z.next, z.key, z.tag = old.next, old.key, old.tag
			*old = z
			return true
		}
		z.tag = old.tag
		s.remove(old)
	}
	s.add(z)
	return true
}

func (s *sleeping) add(z sleeper) {
	if s.count >= len(s.heads[byKey]) {
		s.grow()
	}
	i := s.free
	if i != nobody {
		s.free = s.at(i).next[0]
	} else {
		s.used++
		if i = s.used; int(i) > len(s.blocks)*sleepersInBlock {
			s.blocks = append(s.blocks, new([sleepersInBlock]sleeper))
		}
	}
	*s.at(i) = z
	s.count++
	s.chain(i)
}

// chain puts a sleeper into its chains.
func (s *sleeping) chain(i uint32) {
	z := s.at(i)
	for c := range s.heads {
		head := s.head(c, z)
		z.next[c], *head = *head, i
	}
}

func (s *sleeping) grow() {
	n := max(64, 2*len(s.heads[byKey]))
	if s.heads[byKey] == nil {
		s.seed = maphash.MakeSeed()
	}
	for c := range s.heads {
		s.heads[c] = make([]uint32, n)
	}
	for i := uint32(1); i <= s.used; i++ {
		if s.at(i).key != "" {
			s.chain(i)
		}
	}
}

// remove takes a sleeper out. The caller holds the lock.
func (s *sleeping) remove(z *sleeper) {
	var number uint32
	for c := range s.heads {
		at := s.head(c, z)
		for s.at(*at) != z {
			at = &s.at(*at).next[c]
		}
		number, *at = *at, z.next[c]
	}
	*z = sleeper{next: [3]uint32{s.free}}
	s.free = number
	s.count--
}

// drop takes the entry with a key out, and reports whether it was there.
func (s *sleeping) drop(k forward.Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	z := s.find(k)
	if z == nil {
		return false
	}
	s.remove(z)
	return true
}

// extend moves the end of an entry's tunnel, unless it drains, and reports
// whether the entry sleeps.
func (s *sleeping) extend(k forward.Key, until int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	z := s.find(k)
	if z != nil && z.mode != forward.Receive {
		z.until = until
	}
	return z != nil
}

// sleepersEntry is what a sleeper says, with the Until of its last extension.
func (p *Plane) sleepersEntry(z *sleeper) forward.Entry {
	e := forward.Entry{Key: z.key, Role: forward.HomeAgent, Inner: netip.PrefixFrom(addrOfWord(z.inner), 32)}
	if z.intercept > 0 {
		e.Intercept = p.asleep.links[z.intercept]
	}
	t := forward.Tunnel{
		Local: netip.AddrPortFrom(addrOfWord(z.local), z.localPort), Peer: netip.AddrPortFrom(addrOfWord(z.peer), z.peerPort),
		AnyPort: z.anyPort, Encap: z.encap, Inside: z.inside, HasKey: z.hasKey, Key: z.greKey, KeyIn: z.greKeyIn,
		Mode: z.mode, MTU: int(z.mtu),
	}
	if z.wrap != 0 {
		t.Wrap = addrOfWord(z.wrap)
	}
	if z.until != noEnd {
		t.Until = p.timeOf(z.until)
	}
	e.Tunnels = []forward.Tunnel{t}
	return e
}

// wake makes a binding of an entry that sleeps, and returns it; nil when none
// does. Packets find the one before the other is gone. The caller holds p.mu.
func (p *Plane) wake(k forward.Key) *binding {
	p.asleep.mu.RLock()
	z := p.asleep.find(k)
	if z == nil {
		p.asleep.mu.RUnlock()
		return nil
	}
	e, tag := p.sleepersEntry(z), z.tag
	p.asleep.mu.RUnlock()
	if p.install(e) != nil {
		return nil // cannot be: it was looked at when it went to sleep
	}
	p.asleep.drop(k)
	b := p.bindings[k]
	b.tag = tag
	return b
}

// agents finds the home agent's bindings by an inner address, the longest
// prefix first, and wakes the one that sleeps.
func (p *Plane) agents(a uint32) []*binding {
	if list := p.agent.hosts.get(a); list != nil {
		return list
	}
	if p.asleep.holds(a) {
		p.mu.Lock()
		p.wakeAt(a)
		p.mu.Unlock()
	}
	return p.agent.find(a)
}

// wakeAt wakes the entry for a home address, if one sleeps.
func (p *Plane) wakeAt(a uint32) {
	p.asleep.mu.RLock()
	z := p.asleep.of(a)
	var key forward.Key
	if z != nil {
		key = z.key
	}
	p.asleep.mu.RUnlock()
	if key != "" {
		p.wake(key)
	}
}

// alone says whether no other entry is for the same home address.
func (p *Plane) alone(e *forward.Entry) bool {
	a := word(e.Inner.Addr())
	if p.agent.hosts.get(a) != nil {
		return false
	}
	p.asleep.mu.RLock()
	defer p.asleep.mu.RUnlock()
	z := p.asleep.of(a)
	return z == nil || z.key == e.Key
}

// concerned are the tunnels to a peer that an ICMP error may be about, with
// those of sleepers for which a shortcut has sent something lately.
func (p *Plane) concerned(list []*tunnel, peer uint32, now int64) []*tunnel {
	list = p.peers.get(list, peer)
	s := p.shortcut.Load()
	if s == nil {
		return list // nobody has sent anything for them
	}
	for _, k := range p.asleep.to(peer, maxConcerned-len(list)) {
		if last := (*s).LastSent(k); last.IsZero() || now-p.instant(last) > recent {
			continue
		}
		p.mu.Lock()
		b := p.wake(k)
		p.mu.Unlock()
		if b != nil {
			list = append(list, b.tunnels...)
		}
	}
	return list
}

func addrOfWord(a uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
}

// Shared says whether there is an entry of a role for exactly this prefix
// besides the one with a key.
func (p *Plane) Shared(role forward.Role, inner netip.Prefix, besides forward.Key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := word(inner.Addr())
	if role == forward.HomeAgent && inner.Bits() == 32 {
		p.asleep.mu.RLock()
		z := p.asleep.of(a)
		other := z != nil && z.key != besides
		p.asleep.mu.RUnlock()
		if z != nil {
			return other // none for its address is awake
		}
	}
	return slices.ContainsFunc(p.table(role).exactly(inner), func(b *binding) bool { return b.entry.Key != besides })
}
