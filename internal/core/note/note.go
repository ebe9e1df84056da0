// Package note defines what a machine tells the world about itself: typed
// protocol events, from which the host makes log lines, metrics and the live
// event stream, and from which the laboratory makes the trace that tests read.
//
// What must not go in here: keys, authenticators, or formatting for one
// particular consumer.
package note

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// A Kind names what happened. It is a stable word: it appears in traces, in
// logs as event=…, in the event stream and in counter names.
type Kind string

// Kinds of the base protocol. Features declare their own beside their code.
const (
	Bound        Kind = "bound"        // home agent: a new binding is true
	Refreshed    Kind = "refreshed"    // home agent: the same binding again
	Moved        Kind = "moved"        // home agent: a binding's endpoint changed
	Unbound      Kind = "unbound"      // home agent: a binding was deregistered
	Expired      Kind = "expired"      // home agent: a binding's lifetime ran out
	Restored     Kind = "restored"     // a binding came back after a restart
	Denied       Kind = "denied"       // a request was refused with Code
	Discarded    Kind = "discarded"    // a message of a known peer was discarded
	Ignored      Kind = "ignored"      // a stranger's message was discarded; never logged singly
	Repeated     Kind = "repeated"     // an exact repeat got its stored reply again
	Failed       Kind = "failed"       // something could not be made durable or forwarding
	Requesting   Kind = "requesting"   // mobile node: a request was sent
	Registered   Kind = "registered"   // mobile node: a registration was accepted
	Refused      Kind = "refused"      // mobile node: a registration was denied with Code
	Resync       Kind = "resync"       // mobile node: Identification was resynchronised
	Lost         Kind = "lost"         // mobile node: a registration ran out or its path died
	Home         Kind = "home"         // mobile node: at home, deregistered
	Deregistered Kind = "deregistered" // mobile node: a registration was ended
	LinkUp       Kind = "link-up"
	LinkDown     Kind = "link-down"
)

// A Level says who is interested.
type Level uint8

// Levels, from what only a debugging person wants to what an operator must see.
const (
	Debug Level = iota
	Info
	Warn
	Error
)

// A Note is one event. Only the fields that mean something for its kind are set.
type Note struct {
	Kind           Kind           `json:"event"`
	Level          Level          `json:"-"`
	Role           string         `json:"role,omitempty"` // "home-agent", "mobile-node", "foreign-agent"
	HomeAddress    netip.Addr     `json:"home_address,omitzero"`
	NAI            string         `json:"nai,omitempty"`
	HomeAgent      netip.Addr     `json:"home_agent,omitzero"`
	CareOfAddress  netip.Addr     `json:"care_of_address,omitzero"`
	Endpoint       netip.AddrPort `json:"endpoint,omitzero"` // outer address and port of the peer
	Link           string         `json:"link,omitempty"`
	Encapsulation  string         `json:"encapsulation,omitempty"`
	SPI            uint32         `json:"spi,omitempty"`
	Code           uint8          `json:"code,omitempty"`
	Identification uint64         `json:"identification,omitempty"`
	Lifetime       time.Duration  `json:"lifetime,omitempty"` // nanoseconds
	Took           time.Duration  `json:"took,omitempty"`     // nanoseconds, for instance from request to reply
	Why            string         `json:"why,omitempty"`
}

// String renders the note on one line of key=value pairs, in a fixed order.
func (n Note) String() string {
	var b strings.Builder
	b.WriteString(string(n.Kind))
	put := func(key string, value any, set bool) {
		if set {
			fmt.Fprintf(&b, " %s=%v", key, value)
		}
	}
	put("home", n.HomeAddress, n.HomeAddress.IsValid())
	put("nai", n.NAI, n.NAI != "")
	put("ha", n.HomeAgent, n.HomeAgent.IsValid())
	put("coa", n.CareOfAddress, n.CareOfAddress.IsValid())
	put("endpoint", n.Endpoint, n.Endpoint.IsValid())
	put("link", n.Link, n.Link != "")
	put("encap", n.Encapsulation, n.Encapsulation != "")
	put("spi", n.SPI, n.SPI != 0)
	put("code", n.Code, n.Code != 0)
	put("id", fmt.Sprintf("%016x", n.Identification), n.Identification != 0)
	put("lifetime", n.Lifetime, n.Lifetime != 0)
	put("took", n.Took, n.Took != 0)
	put("why", fmt.Sprintf("%q", n.Why), n.Why != "")
	return b.String()
}
