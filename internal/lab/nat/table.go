package nat

import (
	"net/netip"
	"time"
)

// flow is what a mapping is found by from inside.
type flow struct {
	protocol uint8
	inside   netip.AddrPort // with the echo identifier as the port for ICMP
	remote   netip.AddrPort // set only when the mapping depends on it (Symmetric)
}

// outside is what a mapping is found by from outside.
type outside struct {
	protocol uint8
	port     uint16
}

type mapping struct {
	flow     flow
	external uint16
	used     time.Time                    // last outbound packet
	remotes  map[netip.AddrPort]time.Time // last outbound packet to each remote endpoint

	swallowed bool // see Swallow
}

// through is the address-only mapping of a protocol without ports.
type through struct {
	protocol uint8
	remote   netip.Addr
}

type throughUse struct {
	inside netip.Addr
	used   time.Time
}

type table struct {
	byInside  map[flow]*mapping
	byOutside map[outside]*mapping
	through   map[through]throughUse
	avoid     map[outside]bool // ports of the mappings that the last Rebind forgot
	next      int              // offset from FirstPort where the search for a free port starts
	swept     time.Time
}

// maxRemotes bounds the remote endpoints that one mapping remembers, maxThrough the address-only mappings.
const (
	maxRemotes = 4096
	maxThrough = 4096
)

func (t *table) clear() {
	t.byInside = make(map[flow]*mapping)
	t.byOutside = make(map[outside]*mapping)
	t.through = make(map[through]throughUse)
}

func (t *table) forget() {
	t.avoid = make(map[outside]bool, len(t.byOutside))
	for o := range t.byOutside {
		t.avoid[o] = true
	}
	t.clear()
}

func (b *Box) timeout(protocol uint8) time.Duration {
	if protocol == protocolTCP {
		return b.config.TCPTimeout
	}
	return b.config.MappingTimeout
}

func (b *Box) live(used time.Time, protocol uint8, now time.Time) bool {
	return now.Sub(used) < b.timeout(protocol)
}

// sweep removes what has timed out. It looks at the whole table at most once per time-out; a lookup never trusts it.
func (b *Box) sweep(now time.Time) {
	if !b.table.swept.IsZero() && now.Sub(b.table.swept) < b.config.MappingTimeout {
		return
	}
	b.table.swept = now
	b.expire(now)
}

func (b *Box) expire(now time.Time) {
	t := &b.table
	for _, m := range t.byOutside {
		if !b.live(m.used, m.flow.protocol, now) {
			b.remove(m)
			continue
		}
		b.expireRemotes(m, now)
	}
	for key, use := range t.through {
		if !b.live(use.used, key.protocol, now) {
			delete(t.through, key)
			b.stats.Expired++
		}
	}
}

func (b *Box) expireRemotes(m *mapping, now time.Time) {
	for r, used := range m.remotes {
		if !b.live(used, m.flow.protocol, now) {
			delete(m.remotes, r)
		}
	}
}

func (b *Box) remove(m *mapping) {
	delete(b.table.byInside, m.flow)
	delete(b.table.byOutside, outside{m.flow.protocol, m.external})
	b.stats.Expired++
}

// mapOut finds or makes the mapping of an outbound packet and refreshes it. It returns nil when there is no room.
func (b *Box) mapOut(now time.Time, p packet) *mapping {
	remote := netip.AddrPortFrom(p.dst, p.dport)
	f := flow{protocol: p.protocol, inside: netip.AddrPortFrom(p.src, p.sport)}
	if b.config.Kind == Symmetric {
		f.remote = remote
	}
	m := b.table.byInside[f]
	if m != nil && !b.live(m.used, f.protocol, now) {
		b.remove(m)
		m = nil
	}
	if m == nil {
		port, ok := b.freePort(f.protocol)
		if !ok {
			b.expire(now)
			if port, ok = b.freePort(f.protocol); !ok {
				return nil
			}
		}
		m = &mapping{flow: f, external: port, remotes: make(map[netip.AddrPort]time.Time)}
		b.table.byInside[f] = m
		b.table.byOutside[outside{f.protocol, port}] = m
		b.stats.Created++
	}
	if _, known := m.remotes[remote]; !known && len(m.remotes) >= maxRemotes {
		b.expireRemotes(m, now)
		if len(m.remotes) >= maxRemotes {
			return nil
		}
	}
	m.used = now
	m.remotes[remote] = now
	return m
}

// mapIn finds the mapping of an external port and checks that it lets the remote endpoint in.
func (b *Box) mapIn(now time.Time, protocol uint8, port uint16, remote netip.AddrPort) (*mapping, Verdict) {
	m := b.table.byOutside[outside{protocol, port}]
	if m == nil {
		return nil, NoMapping
	}
	if !b.live(m.used, protocol, now) {
		b.remove(m)
		return nil, NoMapping
	}
	if m.swallowed {
		return nil, Swallowed
	}
	if b.config.Kind == FullCone {
		return m, Translated
	}
	used, known := m.remotes[remote]
	if !known || !b.live(used, protocol, now) {
		return nil, Filtered
	}
	return m, Translated
}

// freePort chooses an external port. It avoids those that the last Rebind forgot as long as there are others.
func (b *Box) freePort(protocol uint8) (uint16, bool) {
	t := &b.table
	span := 1<<16 - int(b.config.FirstPort)
	if b.config.Rand != nil {
		t.next = (t.next + b.config.Rand.IntN(64)) % span
	}
	fallback := -1
	for i := range span {
		offset := (t.next + i) % span
		o := outside{protocol, b.config.FirstPort + uint16(offset)}
		if t.byOutside[o] != nil {
			continue
		}
		if t.avoid[o] {
			if fallback < 0 {
				fallback = offset
			}
			continue
		}
		t.next = (offset + 1) % span
		return o.port, true
	}
	if fallback < 0 {
		return 0, false
	}
	t.next = (fallback + 1) % span
	return b.config.FirstPort + uint16(fallback), true
}

// passOut records which inside host speaks a protocol without ports to a remote address. The first one keeps it until
// its mapping times out.
func (b *Box) passOut(now time.Time, p packet) bool {
	key := through{p.protocol, p.dst}
	use, known := b.table.through[key]
	if known && use.inside != p.src && b.live(use.used, p.protocol, now) {
		return false
	}
	if !known {
		if len(b.table.through) >= maxThrough {
			return false
		}
		b.stats.Created++
	}
	b.table.through[key] = throughUse{inside: p.src, used: now}
	return true
}

func (b *Box) passIn(now time.Time, protocol uint8, remote netip.Addr) (netip.Addr, bool) {
	use, known := b.table.through[through{protocol, remote}]
	if !known || !b.live(use.used, protocol, now) {
		return netip.Addr{}, false
	}
	return use.inside, true
}
