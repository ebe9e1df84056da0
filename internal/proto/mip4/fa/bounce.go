package fa

import (
	"encoding/binary"
	"time"

	"careof/internal/core/engine"
	"careof/wire/mip4"
)

// ICMP Destination Unreachable and its codes (RFC 792, RFC 1122 section
// 3.2.2.1, RFC 1812 section 5.2.7.1).
const icmpUnreachable = 3

// unreachables translates them. What is not in the table is "home agent
// unreachable (other ICMP error received)".
var unreachables = map[uint8]mip4.Code{
	0:  mip4.CodeFANetworkUnreachable, // net
	6:  mip4.CodeFANetworkUnreachable, // net unknown
	9:  mip4.CodeFANetworkUnreachable, // net prohibited
	11: mip4.CodeFANetworkUnreachable, // net, for the type of service
	1:  mip4.CodeFAHostUnreachable,    // host
	7:  mip4.CodeFAHostUnreachable,    // host unknown
	10: mip4.CodeFAHostUnreachable,    // host prohibited
	12: mip4.CodeFAHostUnreachable,    // host, for the type of service
	3:  mip4.CodeFAPortUnreachable,    // port
}

// scanInterval is the least time between two searches for a datagram of which
// an error quotes only the headers.
const scanInterval = 10 * time.Millisecond

// bounced tells a mobile node that an ICMP error came back in place of a
// reply: "the foreign agent SHOULD send to the mobile node a Registration Reply
// with an appropriate 'home agent unreachable' failure code" (RFC 5944 section
// 3.7.3).
//
// Anybody can forge an ICMP error. It must quote a datagram that was sent, it
// is answered once, and the request stays pending: a reply that comes all the
// same is delivered.
//
//rfc:5944#3.7.3
func (a *Agent) bounced(ev engine.Bounced) {
	code := mip4.CodeFAUnreachable
	if c, ok := unreachables[ev.Code]; ok && ev.Type == icmpUnreachable {
		code = c
	}
	p := a.quoted(ev)
	if p == nil {
		a.counters.ignored++
		return
	}
	p.bounced = true
	a.denyPending(p, code, "an ICMP error came back")
}

// quoted finds the pending request that an error quotes. A quotation of eight
// octets of payload is the UDP header alone: then the one that waits longest.
func (a *Agent) quoted(ev engine.Bounced) *Pending {
	var first *Pending
	match := func(p *Pending) bool {
		return p.Upstream == ev.Dst && p.CareOf == ev.Src.Addr() && ev.Src.Port() == a.cfg.Port && !p.bounced && !p.committing
	}
	const whole = 24 // the fixed part of a request
	if len(ev.Data) >= whole {
		m := &mip4.RegistrationRequest{}
		if m.ParseFixed(ev.Data[:whole]) != nil {
			return nil
		}
		for _, p := range a.pending.byKey[keyOf(m.HomeAddress, binary.BigEndian.Uint64(ev.Data[16:]))] {
			if match(p) && p.Request.Identification == m.Identification {
				return p
			}
		}
		return nil
	}
	// Looking through them all is not for every stranger to cause at will.
	if !a.scanned.IsZero() && a.Now().Mono.Sub(a.scanned) < scanInterval {
		return nil
	}
	a.scanned = a.Now().Mono
	for _, p := range a.pending.byID {
		if match(p) && (first == nil || p.id < first.id) {
			first = p
		}
	}
	return first
}
