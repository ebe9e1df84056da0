package diameter

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// PeerStats counts what went to and came from a peer since the start.
type PeerStats struct {
	Sent        uint64 `json:"sent"`        // messages
	Received    uint64 `json:"received"`    // messages
	Requests    uint64 `json:"requests"`    // sent to it
	Answers     uint64 `json:"answers"`     // of them
	Timeouts    uint64 `json:"timeouts"`    // requests without an answer in time
	Served      uint64 `json:"served"`      // requests of its
	Duplicates  uint64 `json:"duplicates"`  // of them
	Unknown     uint64 `json:"unknown"`     // answers to nothing that was asked
	Wrong       uint64 `json:"wrong"`       // messages that could not be read
	Missed      uint64 `json:"missed"`      // watchdog requests without an answer
	Failovers   uint64 `json:"failovers"`   // times that its requests went to another
	Connections uint64 `json:"connections"` // that came to be open
}

// Stats counts what belongs to no peer.
type Stats struct {
	Strangers uint64 `json:"strangers"` // connections that were closed because they are of no peer, or too many
}

// PeerStatus is a peer as shown.
type PeerStatus struct {
	Host         string         `json:"host"`
	Realm        string         `json:"realm,omitempty"` // as it said
	Product      string         `json:"product,omitempty"`
	State        string         `json:"state"`  // RFC 6733 section 5.6, "closed", "i-open"
	Health       string         `json:"health"` // RFC 3539: "okay", "suspect"
	Since        time.Time      `json:"since,omitzero"`
	Remote       netip.AddrPort `json:"remote,omitzero"`
	Secure       bool           `json:"secure"`
	Applications []string       `json:"applications,omitempty"`
	Pending      int            `json:"pending"`       // requests that it has not answered
	Why          string         `json:"why,omitempty"` // it is not connected
	PeerStats
}

// Peers is what is shown of every peer, in the order of the configuration.
func (n *Node) Peers() []PeerStatus {
	pending := map[*peer]int{}
	for _, r := range n.waiting {
		pending[r.peer]++
	}
	all := make([]PeerStatus, 0, len(n.peers))
	for _, p := range n.peers {
		s := PeerStatus{Host: p.Host, Realm: p.realm, Product: p.product, State: p.state.String(), Health: p.dog.health.String(), Since: p.since,
			Pending: pending[p], PeerStats: p.stats}
		if l := p.open(); l != nil {
			s.Remote, s.Secure = l.remote, l.secure
			for _, a := range p.apps {
				s.Applications = append(s.Applications, a.String())
			}
			slices.Sort(s.Applications)
		} else {
			s.Why = p.last
		}
		all = append(all, s)
	}
	return all
}

// Stats returns the counts that belong to no peer.
func (n *Node) Stats() Stats { return n.stats }

// hostOf is the host of a DiameterURI (RFC 6733 section 4.3.1), empty when it is none.
func hostOf(uri string) string {
	rest, ok := strings.CutPrefix(uri, "aaa://")
	if !ok {
		if rest, ok = strings.CutPrefix(uri, "aaas://"); !ok {
			return ""
		}
	}
	if end := strings.IndexAny(rest, ":;"); end >= 0 {
		rest = rest[:end]
	}
	return rest
}

// A Counter is a count as shown.
type Counter struct {
	Name  string // "requests"
	Help  string
	Value uint64
}

// Counters sums up what the peers count.
func Counters(peers []PeerStatus, stats Stats) []Counter {
	var sum PeerStats
	for _, p := range peers {
		sum.Requests += p.Requests
		sum.Answers += p.Answers
		sum.Timeouts += p.Timeouts
		sum.Served += p.Served
		sum.Duplicates += p.Duplicates
		sum.Unknown += p.Unknown
		sum.Wrong += p.Wrong
		sum.Missed += p.Missed
		sum.Failovers += p.Failovers
	}
	return []Counter{
		{"requests", "requests sent to Diameter peers", sum.Requests},
		{"answers", "answers to them", sum.Answers},
		{"timeouts", "requests without an answer in time", sum.Timeouts},
		{"served", "requests of Diameter peers", sum.Served},
		{"duplicates", "requests that had come before", sum.Duplicates},
		{"unknown_answers", "answers to nothing that was asked", sum.Unknown},
		{"malformed", "messages of peers that were wrong", sum.Wrong},
		{"watchdogs_missed", "watchdog requests without an answer in time", sum.Missed},
		{"failovers", "times that a peer's requests went to another", sum.Failovers},
		{"strangers", "connections that were of no peer", stats.Strangers},
	}
}
