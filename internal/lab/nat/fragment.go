package nat

import (
	"net/netip"
	"time"
)

// fragmented names the fragments of one packet (RFC 791: they have source, destination, protocol and identification in
// common).
type fragmented struct {
	src, dst netip.Addr
	protocol uint8
	id       uint16
}

type fragmentUse struct {
	to   netip.Addr // the address that replaces source (outbound) or destination (inbound)
	seen time.Time
}

// fragments remembers the packets whose first fragment has passed. Later fragments carry no port, so they follow the
// first; those that come before it are dropped, as most boxes do (RFC 4787 REQ-14 calls for in-order fragments only).
type fragments struct {
	known map[fragmented]fragmentUse
}

// maxFragmented packets are remembered for fragmentTimeout each (RFC 4787 REQ-14a: the number is bounded on purpose).
const (
	maxFragmented   = 256
	fragmentTimeout = 30 * time.Second
)

func (f *fragments) clear() { f.known = make(map[fragmented]fragmentUse) }

func (f *fragments) remember(p packet, to netip.Addr, now time.Time) bool {
	key := fragmented{p.src, p.dst, p.protocol, p.id}
	if _, known := f.known[key]; !known && len(f.known) >= maxFragmented {
		for k, use := range f.known {
			if now.Sub(use.seen) >= fragmentTimeout {
				delete(f.known, k)
			}
		}
		if len(f.known) >= maxFragmented {
			return false
		}
	}
	f.known[key] = fragmentUse{to: to, seen: now}
	return true
}

func (f *fragments) find(p packet, now time.Time) (netip.Addr, bool) {
	use, known := f.known[fragmented{p.src, p.dst, p.protocol, p.id}]
	if !known || now.Sub(use.seen) >= fragmentTimeout {
		return netip.Addr{}, false
	}
	return use.to, true
}
