package bpf

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// maxTunnels is MAX_TUNNELS of tables.h. RFC 5944 leaves the number of
// simultaneous bindings to the home agent; three and one that drains is ours.
const maxTunnels = 4

// keyLen is KEY_LEN of tables.h. A longer key is not kept: its entry is found
// by its inner address after a restart.
const keyLen = 64

// Flags of a tunnelValue and of a bindingValue.
const (
	tunnelSends    = 1 << 0
	tunnelReceives = 1 << 1
	tunnelHasKey   = 1 << 2

	bindingSlow   = 1 << 0
	bindingMobile = 1 << 1
)

// tunnelValue is struct tunnel. Octet arrays are in network byte order.
type tunnelValue struct {
	Local, Peer         [4]byte
	LocalPort, PeerPort [2]byte
	Key                 [4]byte
	Link                uint32
	MTU                 uint16
	Kind, Inside        uint8
	Flags, Overhead     uint8
	Unused              uint16
}

// bindingValue is struct binding.
type bindingValue struct {
	Slot    uint32
	Flags   uint8
	Tunnels uint8
	KeyLen  uint8
	Unused  uint8
	Tunnel  [maxTunnels]tunnelValue
	Key     [keyLen]byte
}

// slot is struct slot. Programs and this process write it at the same time:
// every field of theirs is accessed atomically.
type slot struct {
	until                                                  [maxTunnels]uint64
	sentPackets, sentBytes, receivedPackets, receivedBytes uint64
	sent, received                                         uint64
	slowUntil, softUntil                                   uint64
	softMTU                                                uint32
	_                                                      uint32
	dropped                                                uint64

	// Of the entry, for this process only: a program finds its slot by its
	// binding, and we the binding by its slot. Guarded by Plane.mu.
	addr       [4]byte
	path       uint32
	role, bits uint8
	_          [3]uint16
}

// hasNodes marks a number of mobile nodes' bindings that are not all
// destinations set aside; see HAS_NODES.
const hasNodes = 1 << 31

// settingsValue is struct settings.
type settingsValue struct {
	Device                                uint32
	_                                     uint32
	Agents, Mobiles, AgentNets, MobileNet uint32
	Avoided                               uint32
}

// netKey is struct net_key.
type netKey struct {
	Bits uint32
	Addr [4]byte
}

// noSlot is the slot of a binding that has none.
const noSlot = ^uint32(0)

// Boot-time nanoseconds, as programs read them. clock.Mono is the same clock.
func nanos(t time.Time) uint64 {
	if t.IsZero() {
		return ^uint64(0)
	}
	return uint64(max(0, t.UnixNano()))
}

func timeOf(ns uint64) time.Time {
	if ns == 0 || ns == ^uint64(0) {
		return time.Time{}
	}
	return time.Unix(0, int64(ns))
}

// underLink is what an entry needs to know of an underlay.
type underLink struct{ index, mtu int }

const (
	// defaultUnderlayMTU and minInnerMTU are package tun's.
	defaultUnderlayMTU = 1500
	minInnerMTU        = 296
)

// translate makes an entry ready for programs; untils are its tunnels' ends.
// What programs cannot do with it makes it slow, and a tunnel that only
// receives in a form that they do not know is left out: user space has all.
func (p *Plane) translate(e *forward.Entry) (b bindingValue, untils [maxTunnels]uint64) {
	b.Slot = noSlot
	if e.Role == forward.MobileNode {
		b.Flags |= bindingMobile
	}
	if len(e.Key) <= keyLen {
		b.KeyLen = uint8(copy(b.Key[:], e.Key))
	}
	var first *tunnelValue
	if e.Role == forward.HomeAgent && e.Router.IsValid() && slices.ContainsFunc(e.Tunnels, func(t forward.Tunnel) bool { return t.Wrap.IsValid() }) {
		b.Flags |= bindingSlow // a tunnel in a tunnel
	}
	if len(e.Redundant) > 0 {
		b.Flags |= bindingSlow // what goes into several tunnels is numbered in user space
	}
	for i := range e.Tunnels {
		ft := &e.Tunnels[i]
		sends := ft.Mode != forward.Receive && !ft.AnyPort
		t, ok := p.translateTunnel(ft)
		if ok && b.Tunnels == maxTunnels {
			ok = false
		}
		if ok && sends && first != nil && !alike(first, &t) {
			ok = false
		}
		if !ok {
			if sends {
				b.Flags |= bindingSlow
			}
			continue
		}
		untils[b.Tunnels] = nanos(ft.Until)
		b.Tunnel[b.Tunnels] = t
		if sends && first == nil {
			first = &b.Tunnel[b.Tunnels]
		}
		b.Tunnels++
	}
	return b, untils
}

// alike reports whether copies of one packet can go into both tunnels: the
// headers have one form, and routing decides about both.
func alike(a, b *tunnelValue) bool {
	return a.Kind == b.Kind && a.Inside == b.Inside && a.Overhead == b.Overhead && a.Link == 0 && b.Link == 0
}

func (p *Plane) translateTunnel(ft *forward.Tunnel) (t tunnelValue, ok bool) {
	if ft.Budget > 0 {
		return t, false // what is sent and what comes is counted in user space
	}
	if ft.Checksum {
		return t, false // programs send without
	}
	h := encap.Header{Kind: ft.Encap, HasKey: ft.HasKey}
	switch ft.Encap {
	case encap.IPIP, encap.GRE:
	case encap.UDP:
		h.Inner = cmp.Or(ft.Inside, encap.IPIP)
		if h.Inner == encap.Minimal || ft.AnyPort || ft.Secured() {
			return t, false
		}
		port := ft.Local.Port()
		if port == 0 && p.config.Port != nil {
			port = p.config.Port(ft.Link, ft.Local.Addr())
		}
		if port == 0 || port != encap.Port && ft.Peer.Port() != encap.Port {
			return t, false
		}
		t.Inside = uint8(h.Inner)
		binary.BigEndian.PutUint16(t.LocalPort[:], port)
		binary.BigEndian.PutUint16(t.PeerPort[:], ft.Peer.Port())
	default:
		return t, false
	}
	t.Local, t.Peer = ft.Local.Addr().As4(), ft.Peer.Addr().As4()
	t.Kind, t.Overhead = uint8(ft.Encap), uint8(h.Overhead())
	if ft.KeyIn != 0 {
		return t, false // one key is what a program knows
	}
	if ft.HasKey && (ft.Encap == encap.GRE || h.Inner == encap.GRE) {
		t.Flags |= tunnelHasKey
		binary.BigEndian.PutUint32(t.Key[:], ft.Key)
	}
	if ft.Mode != forward.Receive {
		t.Flags |= tunnelSends
	}
	if ft.Mode != forward.Send {
		t.Flags |= tunnelReceives
	}
	under := underLink{mtu: defaultUnderlayMTU}
	if ft.Link != "" {
		if under, ok = p.lookup(ft.Link); !ok {
			return t, false
		}
	}
	t.Link = uint32(under.index)
	mtu := ft.MTU
	if mtu == 0 {
		mtu = under.mtu - int(t.Overhead)
	}
	t.MTU = uint16(min(max(mtu, minInnerMTU), 0xffff))
	return t, true
}

// entry is what a pinned binding tells of the entry that an earlier process
// applied: routes and interception are kept elsewhere.
func (b *bindingValue) entry(at place, s *slot, linkName func(int) string) forward.Entry {
	e := forward.Entry{Key: forward.Key(b.Key[:min(b.KeyLen, keyLen)]), Role: at.role, Inner: at.prefix()}
	if e.Key == "" {
		e.Key = forward.Key(fmt.Sprintf("pinned/%d/%v", at.role, e.Inner))
	}
	for i := range min(b.Tunnels, maxTunnels) {
		t := &b.Tunnel[i]
		ft := forward.Tunnel{
			Local: netip.AddrPortFrom(netip.AddrFrom4(t.Local), binary.BigEndian.Uint16(t.LocalPort[:])),
			Peer:  netip.AddrPortFrom(netip.AddrFrom4(t.Peer), binary.BigEndian.Uint16(t.PeerPort[:])),
			Encap: encap.Kind(t.Kind), Inside: encap.Kind(t.Inside),
			MTU: int(t.MTU),
		}
		if t.Flags&tunnelHasKey != 0 {
			ft.HasKey, ft.Key = true, binary.BigEndian.Uint32(t.Key[:])
		}
		if t.Link != 0 {
			ft.Link = linkName(int(t.Link))
		}
		switch t.Flags & (tunnelSends | tunnelReceives) {
		case tunnelReceives:
			ft.Mode = forward.Receive
		case tunnelSends:
			ft.Mode = forward.Send
		}
		if s != nil {
			ft.Until = timeOf(s.untilOf(int(i)))
		}
		e.Tunnels = append(e.Tunnels, ft)
	}
	return e
}
