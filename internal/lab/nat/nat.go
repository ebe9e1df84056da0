// Package nat models the address and port translator of a home or mobile access network, on real IPv4 packet bytes.
//
// The model is a plain data structure: it has no clock (the caller passes the time), no goroutine, no lock and no random
// source of its own. The simulated world and the namespace laboratory use the same one, so that a scene meets the same
// translator in both.
//
// Terms are those of RFC 4787. The default [Kind] keeps one external port per inside endpoint (endpoint-independent
// mapping, REQ-1) and lets in only what an inside host has sent to (address and port-dependent filtering), which is
// what most consumer boxes do. A mapping is refreshed by outbound packets only (REQ-6: "outbound refresh behavior" is
// mandatory, inbound optional), so a node that only receives loses its mapping, as it does in the field.
//
// Left out: hairpinning, the state of TCP connections, port preservation and application-level gateways.
package nat

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// Kind is the combination of mapping and filtering behaviour (RFC 4787, sections 4.1 and 5).
type Kind uint

// The kinds.
const (
	PortRestricted Kind = iota // endpoint-independent mapping, address and port-dependent filtering
	FullCone                   // endpoint-independent mapping and filtering
	Symmetric                  // address and port-dependent mapping and filtering
	OneToOne                   // one inside host has the external address to itself, as a cloud's machines have: no port changes, nothing is filtered
)

var kindNames = []string{PortRestricted: "port-restricted", FullCone: "full-cone", Symmetric: "symmetric", OneToOne: "one-to-one"}

// String gives the common name of the kind.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint(k))
}

// Verdict says what became of a packet.
type Verdict uint

// The verdicts. Every verdict but Translated means that the packet is dropped in silence.
const (
	Translated   Verdict = iota // rewritten: to be forwarded
	Malformed                   // not an IPv4 packet, or too short for its own headers
	Misdirected                 // outbound with a source outside the inside prefix, or inbound not for the external address
	NoMapping                   // inbound, or an ICMP error, that belongs to no mapping
	Filtered                    // inbound from an endpoint that the mapping's owner has not sent to
	Unsupported                 // a protocol or ICMP type that the box does not translate
	LoneFragment                // a later fragment whose first fragment did not pass here
	Exhausted                   // no port, or no room, left
	Swallowed                   // of a mapping that Swallow has spoilt
	verdictCount
)

var verdictNames = [verdictCount]string{
	"translated", "malformed", "misdirected", "no-mapping", "filtered", "unsupported", "lone-fragment", "exhausted", "swallowed",
}

// String gives the verdict's name, as used in statistics.
func (v Verdict) String() string {
	if v < verdictCount {
		return verdictNames[v]
	}
	return fmt.Sprintf("Verdict(%d)", uint(v))
}

// Config describes a box. External and Inside are required.
type Config struct {
	// External is the IPv4 address that the box gives to outbound packets.
	External netip.Addr
	// Inside is the IPv4 prefix whose hosts are translated.
	Inside netip.Prefix
	// Kind is the mapping and filtering behaviour.
	Kind Kind
	// MappingTimeout is how long a UDP or ICMP mapping lives after its last outbound packet. Zero: 2 minutes, the least
	// that RFC 4787 REQ-5 allows.
	MappingTimeout time.Duration
	// TCPTimeout is the same for TCP. Zero: 2 hours 4 minutes (RFC 5382 REQ-5).
	TCPTimeout time.Duration
	// FirstPort is the lowest external port or ICMP identifier. Zero: 1024.
	FirstPort uint16
	// Pass lists IP protocols without ports (4, 47, 55 …) that are translated by address alone: one inside host per
	// protocol and remote address. Other protocols are dropped, as consumer boxes do.
	Pass []uint8
	// Rand spaces the external ports; nil gives consecutive ones.
	Rand *rand.Rand
}

// Stats counts packets by verdict and describes the table.
type Stats struct {
	Outbound, Inbound Counts
	Mappings          int    // mappings in the table, including those not yet swept
	Created           uint64 // mappings made
	Expired           uint64 // mappings that timed out
	Rebinds           uint64 // calls of Rebind
}

// Counts holds one counter for each verdict, indexed by it.
type Counts [verdictCount]uint64

// Dropped is the number of packets that were not translated.
func (c Counts) Dropped() uint64 {
	var n uint64
	for v, count := range c {
		if Verdict(v) != Translated {
			n += count
		}
	}
	return n
}

// Box is one translator. It is not safe for concurrent use.
type Box struct {
	config    Config
	table     table
	fragments fragments
	stats     Stats
}

// The defaults that Config names.
const (
	defaultMappingTimeout = 2 * time.Minute
	defaultTCPTimeout     = 2*time.Hour + 4*time.Minute
	defaultFirstPort      = 1024
)

// New returns a box with an empty table.
func New(config Config) (*Box, error) {
	switch {
	case !config.External.Is4():
		return nil, errors.New("nat: the external address must be an IPv4 address")
	case !config.Inside.Addr().Is4():
		return nil, errors.New("nat: the inside prefix must be an IPv4 prefix")
	case config.Inside.Contains(config.External):
		return nil, fmt.Errorf("nat: the external address %s lies in the inside prefix %s", config.External, config.Inside)
	case config.Kind == OneToOne && !config.Inside.IsSingleIP():
		return nil, fmt.Errorf("nat: %s is for one inside host, and %s is more than one", config.Kind, config.Inside)
	case int(config.Kind) >= len(kindNames):
		return nil, fmt.Errorf("nat: unknown kind %s", config.Kind)
	case config.MappingTimeout < 0 || config.TCPTimeout < 0:
		return nil, errors.New("nat: a time-out must not be negative")
	}
	if config.MappingTimeout == 0 {
		config.MappingTimeout = defaultMappingTimeout
	}
	if config.TCPTimeout == 0 {
		config.TCPTimeout = defaultTCPTimeout
	}
	if config.FirstPort == 0 {
		config.FirstPort = defaultFirstPort
	}
	config.Inside = config.Inside.Masked()
	config.Pass = slices.Clone(config.Pass)
	b := &Box{config: config}
	b.table.clear()
	b.fragments.clear()
	return b, nil
}

// External is the address that the box stands for outside.
func (b *Box) External() netip.Addr { return b.config.External }

// Inside is the prefix that the box translates.
func (b *Box) Inside() netip.Prefix { return b.config.Inside }

// Stats returns the counters so far.
func (b *Box) Stats() Stats {
	s := b.stats
	s.Mappings = len(b.table.byOutside) + len(b.table.through)
	return s
}

// Rebind forgets every mapping, as a box does when it restarts. Flows that go on from inside get other external ports
// than before.
func (b *Box) Rebind() {
	b.stats.Rebinds++
	b.table.forget()
	b.fragments.clear()
}

// Swallow spoils every mapping that there is: packets go in from neither side, and each one from inside keeps it as it
// is. Boxes do that whose mapping points to an uplink, or has a state, that is gone. Other inside ports are well served.
func (b *Box) Swallow() {
	for _, m := range b.table.byOutside {
		m.swallowed = true
	}
}

// Mapping tells the external endpoint of an inside one for an IP protocol (6, 17, or 1 with the echo identifier as the
// port). The result is not valid when there is none. A symmetric box has one per remote endpoint and tells none.
func (b *Box) Mapping(now time.Time, protocol uint8, inside netip.AddrPort) netip.AddrPort {
	m := b.table.byInside[flow{protocol: protocol, inside: inside}]
	if m == nil || !b.live(m.used, protocol, now) {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(b.config.External, m.external)
}

// Outbound translates a packet that an inside host sends. It returns a new packet; pkt is left as it is. Bytes beyond
// the IP total length (link-layer padding) are cut off. The TTL is the router's business.
func (b *Box) Outbound(now time.Time, pkt []byte) ([]byte, Verdict) {
	out, v := b.outbound(now, pkt)
	b.stats.Outbound[v]++
	return out, v
}

// Inbound translates a packet that arrives for the external address. It returns a new packet; pkt is left as it is.
func (b *Box) Inbound(now time.Time, pkt []byte) ([]byte, Verdict) {
	out, v := b.inbound(now, pkt)
	b.stats.Inbound[v]++
	return out, v
}

func (b *Box) outbound(now time.Time, pkt []byte) ([]byte, Verdict) {
	p, ok := parse(pkt, false)
	if !ok {
		return nil, Malformed
	}
	if !b.config.Inside.Contains(p.src) || b.config.Inside.Contains(p.dst) || p.dst == b.config.External {
		return nil, Misdirected
	}
	if b.config.Kind == OneToOne {
		return oneToOne(p, true, b.config.External)
	}
	b.sweep(now)
	if p.later {
		if _, known := b.fragments.find(p, now); !known {
			return nil, LoneFragment
		}
		out := p.copy()
		retarget(out, true, b.config.External, 0)
		return out.b, Translated
	}
	if p.quotes() {
		return b.outboundError(now, p)
	}
	var port uint16
	switch {
	case p.protocol == protocolICMP && p.icmpType != icmpEchoRequest:
		return nil, Unsupported
	case p.portless():
		if !slices.Contains(b.config.Pass, p.protocol) {
			return nil, Unsupported
		}
		if !b.passOut(now, p) {
			return nil, Exhausted
		}
	default:
		m := b.mapOut(now, p)
		if m == nil {
			return nil, Exhausted
		}
		if m.swallowed {
			return nil, Swallowed
		}
		port = m.external
	}
	if p.more && !b.fragments.remember(p, b.config.External, now) {
		return nil, Exhausted
	}
	out := p.copy()
	retarget(out, true, b.config.External, port)
	return out.b, Translated
}

func (b *Box) inbound(now time.Time, pkt []byte) ([]byte, Verdict) {
	p, ok := parse(pkt, false)
	if !ok {
		return nil, Malformed
	}
	if p.dst != b.config.External {
		return nil, Misdirected
	}
	if b.config.Kind == OneToOne {
		return oneToOne(p, false, b.config.Inside.Addr())
	}
	b.sweep(now)
	if p.later {
		to, known := b.fragments.find(p, now)
		if !known {
			return nil, LoneFragment
		}
		out := p.copy()
		retarget(out, false, to, 0)
		return out.b, Translated
	}
	if p.quotes() {
		return b.inboundError(now, p)
	}
	var to netip.AddrPort
	switch {
	case p.protocol == protocolICMP && p.icmpType == icmpEchoRequest:
		return nil, NoMapping
	case p.protocol == protocolICMP && p.icmpType != icmpEchoReply:
		return nil, Unsupported
	case p.portless():
		if !slices.Contains(b.config.Pass, p.protocol) {
			return nil, Unsupported
		}
		inside, known := b.passIn(now, p.protocol, p.src)
		if !known {
			return nil, NoMapping
		}
		to = netip.AddrPortFrom(inside, 0)
	default:
		m, v := b.mapIn(now, p.protocol, p.dport, netip.AddrPortFrom(p.src, p.sport))
		if v != Translated {
			return nil, v
		}
		to = m.flow.inside
	}
	if p.more && !b.fragments.remember(p, to.Addr(), now) {
		return nil, Exhausted
	}
	out := p.copy()
	retarget(out, false, to.Addr(), to.Port())
	return out.b, Translated
}
