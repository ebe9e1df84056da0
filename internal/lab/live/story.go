package live

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"careof/internal/control"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/mn"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// Say puts an event of a node's daemon into words for people who never heard
// of Mobile IP. It is empty for what they need not know.
func Say(node string, e control.Event) string {
	text := sayings[e.Kind]
	if text == nil {
		return node + ": " + e.Note.String()
	}
	if s := text(e); s != "" {
		return node + ": " + s
	}
	return ""
}

var sayings = map[note.Kind]func(control.Event) string{
	note.Requesting: func(e control.Event) string {
		if !e.CareOfAddress.IsValid() || e.Lifetime == 0 {
			return fmt.Sprintf("I am at home again, end the tunnels of %v", e.HomeAddress)
		}
		return fmt.Sprintf("I am at %v now (%s), please send me the packets for %v", e.CareOfAddress, e.Link, e.HomeAddress)
	},
	note.Registered: func(e control.Event) string {
		return fmt.Sprintf("the home agent agreed after %v; packets go %s", e.Took.Round(time.Millisecond), way(e))
	},
	note.Home: func(e control.Event) string {
		return fmt.Sprintf("at home; the home agent has ended the tunnels after %v", e.Took.Round(time.Millisecond))
	},
	note.Refused:   func(e control.Event) string { return "the home agent refused: " + codeText(e) },
	note.Denied:    func(e control.Event) string { return fmt.Sprintf("refused %v: %s", e.HomeAddress, codeText(e)) },
	note.Bound:     func(e control.Event) string { return fmt.Sprintf("%v is reached at %s", e.HomeAddress, where(e)) },
	note.Moved:     func(e control.Event) string { return fmt.Sprintf("%v has moved to %s", e.HomeAddress, where(e)) },
	note.Refreshed: func(e control.Event) string { return fmt.Sprintf("%v is still reached at %s", e.HomeAddress, where(e)) },
	note.Ignored:   func(control.Event) string { return "" },
	note.Unbound:   func(e control.Event) string { return fmt.Sprintf("%v needs no tunnel any more", e.HomeAddress) },
	note.Expired: func(e control.Event) string {
		return fmt.Sprintf("%v has not been heard of for %v", e.HomeAddress, e.Lifetime)
	},
	note.Restored: func(e control.Event) string { return fmt.Sprintf("%v is remembered at %s", e.HomeAddress, where(e)) },
	mn.AgentHeard: func(e control.Event) string {
		return fmt.Sprintf("on %s I hear the agent %v", e.Link, e.Endpoint.Addr())
	},
	mn.AgentLost: func(e control.Event) string {
		return fmt.Sprintf("I do not count on the agent %v any more: %s", e.Endpoint.Addr(), e.Why)
	},
	fa.Relayed: func(e control.Event) string {
		return fmt.Sprintf("%v on %s asks its home agent %v", e.HomeAddress, e.Link, e.HomeAgent)
	},
	fa.Arrived: func(e control.Event) string {
		return fmt.Sprintf("%v visits on %s and is served", e.HomeAddress, e.Link)
	},
	fa.Renewed: func(e control.Event) string { return fmt.Sprintf("%v stays on %s", e.HomeAddress, e.Link) },
	note.Lost:  func(e control.Event) string { return "the registration is lost: " + e.Why },
	note.LinkUp: func(e control.Event) string {
		if e.Role == "" {
			return "" // the role says it again, when it matters
		}
		return e.Link + " has a link"
	},
	note.LinkDown: func(e control.Event) string {
		if e.Role == "" {
			return ""
		}
		return e.Link + " has lost its link"
	},
}

// where is the other end of a tunnel, as a home agent sees it.
func where(e control.Event) string {
	at := e.Endpoint.Addr()
	if !at.IsValid() || at == e.CareOfAddress || !e.CareOfAddress.IsValid() {
		return e.CareOfAddress.String()
	}
	return fmt.Sprintf("%v, behind a NAT that calls it %v", e.CareOfAddress, e.Endpoint)
}

// way names a tunnel.
func way(e control.Event) string {
	if e.Encapsulation == "" {
		return "by the foreign agent, which has the other end of the tunnel"
	}
	if strings.HasPrefix(e.Encapsulation, "udp") {
		return "in UDP, because a NAT is on the way"
	}
	if e.Encapsulation == encap.WireGuard.String() {
		return "encrypted, in UDP"
	}
	return "in IP packets (" + e.Encapsulation + ")"
}

func codeText(e control.Event) string {
	return fmt.Sprintf("%v (code %d)", mip4.Code(e.Code), e.Code)
}

// signalling reads the registration message in an Ethernet frame. It is false
// for everything else.
func signalling(frame []byte) (id uint64, request, ok bool) {
	if len(frame) < ethernetHeader || frame[12] != 8 || frame[13] != 0 {
		return 0, false, false
	}
	_, d, err := encap.ParseUDP(frame[ethernetHeader:])
	if err != nil || len(d.Payload) == 0 || !on434(d.Src) && !on434(d.Dst) {
		return 0, false, false
	}
	m, err := mip4.Parse(d.Payload)
	if err != nil {
		return 0, false, false
	}
	switch m.Type {
	case mip4.TypeRegistrationRequest:
		r, err := m.Request()
		return uint64(r.Identification), true, err == nil
	case mip4.TypeRegistrationReply:
		r, err := m.Reply()
		return uint64(r.Identification), false, err == nil
	}
	return 0, false, false
}

func on434(a netip.AddrPort) bool { return a.Port() == encap.Port }
