package binding

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
)

// Infinite is the lifetime of a binding that does not expire (a Lifetime
// field of 0xffff, RFC 5944 section 3.3).
const Infinite = time.Duration(math.MaxInt64)

// Drain is how long a replaced tunnel may still receive: packets that were on
// their way when the node moved are not lost.
const Drain = 2 * time.Second

// An ID tells the bindings of one home address apart: the number that a
// negotiated extension carried (RFC 7629), else the care-of address of the
// request. Two links may both say 192.168.8.100, so a number is the better one.
type ID struct {
	number   uint16
	numbered bool
	careOf   netip.Addr
}

// ByCareOf is the ID of a binding without a number.
func ByCareOf(a netip.Addr) ID { return ID{careOf: a.Unmap()} }

// ByNumber is the ID of a binding whose two ends negotiated a number.
func ByNumber(n uint16) ID { return ID{number: n, numbered: true} }

// Number is the negotiated number, if the ID has one.
func (id ID) Number() (uint16, bool) { return id.number, id.numbered }

// CareOf is the care-of address of an ID without a number.
func (id ID) CareOf() netip.Addr { return id.careOf }

// Compare orders IDs: numbers first, then care-of addresses.
func (id ID) Compare(other ID) int {
	if id.numbered != other.numbered {
		if id.numbered {
			return -1
		}
		return 1
	}
	if c := cmp.Compare(id.number, other.number); c != 0 {
		return c
	}
	return id.careOf.Compare(other.careOf)
}

func (id ID) String() string {
	if id.numbered {
		return fmt.Sprintf("#%d", id.number)
	}
	return id.careOf.String()
}

// ReplyTo is how to reach the sender of a request: a reply goes there, and so
// does what a home agent has to say later about the binding.
type ReplyTo struct {
	Link string              // interface, empty lets routing decide
	Src  netip.AddrPort      // own address and port: where the request was sent to
	Dst  netip.AddrPort      // where the request came from
	HW   engine.HardwareAddr // link-layer address, zero lets ARP find it
}

// A Binding is one mobility binding. Its list knows the home address.
type Binding struct {
	ID             ID
	CareOfAddress  netip.Addr     // as in the request; behind a NAT, Tunnel.Peer differs
	Source         netip.AddrPort // outer source of the request
	Identification uint64         // of the reply (RFC 5944 section 3.8.1)
	Lifetime       time.Duration  // granted, or Infinite
	Since          time.Time      // monotonic: when the binding was created
	Renewed        time.Time      // monotonic: when it was last granted its lifetime
	Expires        time.Time      // monotonic: zero never
	Tunnel         forward.Tunnel // Until is derived from Expires and stays zero here
	Broadcast      bool           // B: wants the home network's broadcasts
	Decapsulates   bool           // D: co-located, takes off the outer header itself
	Validated      time.Time      // monotonic, to the second: when Source answered a challenge; zero: it has not
	Flags          uint8          // all flags of the request, to be shown and stored
	ReplyTo        ReplyTo
}

// Live says whether the binding is still valid at mono.
func (b *Binding) Live(mono time.Time) bool { return b.Expires.IsZero() || mono.Before(b.Expires) }

// Validate says that the binding's other end has answered a challenge at mono,
// and ends the limit of what may be sent there.
func (b *Binding) Validate(mono time.Time) {
	b.Validated, b.Tunnel.Budget = time.Unix(mono.Unix(), 0), 0
}

// Grant starts the binding's lifetime at mono.
func (b *Binding) Grant(mono time.Time, lifetime time.Duration) {
	b.Lifetime, b.Renewed, b.Expires = lifetime, mono, time.Time{}
	if lifetime != Infinite {
		b.Expires = mono.Add(lifetime)
	}
}

// Remaining is what is left of the lifetime at mono: Infinite, or at least zero.
func (b *Binding) Remaining(mono time.Time) time.Duration {
	if b.Expires.IsZero() {
		return Infinite
	}
	return max(0, b.Expires.Sub(mono))
}
