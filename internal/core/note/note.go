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
	Bound        Kind = "bound"
	Refreshed    Kind = "refreshed"
	Moved        Kind = "moved"
	Unbound      Kind = "unbound"
	Expired      Kind = "expired"
	Restored     Kind = "restored"
	Denied       Kind = "denied"
	Discarded    Kind = "discarded"
	Ignored      Kind = "ignored"
	Repeated     Kind = "repeated"
	Failed       Kind = "failed"
	Requesting   Kind = "requesting"
	Registered   Kind = "registered"
	Refused      Kind = "refused"
	Resync       Kind = "resync"
	Lost         Kind = "lost"
	Home         Kind = "home"
	Deregistered Kind = "deregistered"
	CanaryWell   Kind = "canary-well"
	CanaryMissed Kind = "canary-missed"
	CanaryBack   Kind = "canary-back"
	LinkUp       Kind = "link-up"
	LinkDown     Kind = "link-down"
)

// meanings says in a few words what each kind of the base protocol tells.
var meanings = map[Kind]string{
	Bound:        "home agent: a new binding is true",
	Refreshed:    "home agent: the same binding again",
	Moved:        "home agent: a binding's endpoint changed",
	Unbound:      "home agent: a binding was deregistered",
	Expired:      "home agent: a binding's lifetime ran out",
	Restored:     "what outlived the last process came back",
	Denied:       "home agent: a request was refused with the code",
	Discarded:    "a message of a known peer was discarded",
	Ignored:      "a stranger's message was discarded",
	Repeated:     "an exact repeat got its stored reply again",
	Failed:       "something could not be made durable, forwarding, or sent",
	Requesting:   "mobile node: a request was sent",
	Registered:   "mobile node: a registration was accepted",
	Refused:      "mobile node: a registration was denied with the code",
	Resync:       "mobile node: the Identification was resynchronised",
	Lost:         "mobile node: a registration ran out or its path died",
	Home:         "mobile node: at home, deregistered",
	Deregistered: "mobile node: a registration was ended",
	CanaryWell:   "the canary has registered and heard its echo",
	CanaryMissed: "the canary's registration or its echo did not come back",
	CanaryBack:   "the canary is well again",
	LinkUp:       "an interface can be used",
	LinkDown:     "an interface cannot be used",
}

// Meaning says in a few words what a kind tells; empty for a feature's own.
func (k Kind) Meaning() string { return meanings[k] }

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

// Peer is the endpoint for people: without the port where the tunnel has none.
func (n Note) Peer() string {
	if n.Endpoint.Port() == 0 {
		return n.Endpoint.Addr().String()
	}
	return n.Endpoint.String()
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
	put("endpoint", n.Peer(), n.Endpoint.IsValid())
	put("link", n.Link, n.Link != "")
	put("encap", n.Encapsulation, n.Encapsulation != "")
	put("spi", n.SPI, n.SPI != 0)
	put("code", n.Code, n.Code != 0)
	put("id", fmt.Sprintf("%016x", n.Identification), n.Identification != 0)
	put("lifetime", n.Lifetime, n.Lifetime != 0)
	put("took", n.Took.Round(time.Microsecond), n.Took != 0)
	put("why", fmt.Sprintf("%q", n.Why), n.Why != "")
	return b.String()
}
