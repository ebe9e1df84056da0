package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// The fixed fields of a message (RFC 2131 section 2).
const (
	atOp     = 0
	atHLen   = 2
	atHops   = 3
	atXID    = 4
	atCIAddr = 12
	atYIAddr = 16
	atGIAddr = 24
	atCHAddr = 28
	atSName  = 44
	atFile   = 108
	atCookie = 236

	atOptions = 240
	mostHLen  = 16
)

const (
	bootRequest = 1
	bootReply   = 2
	cookie      = 0x63825363
)

// The options that a relay looks at (RFC 2132, RFC 3046).
const (
	optionPad       = 0
	optionRequested = 50
	optionOverload  = 52 // bit 1: 'file' has options, bit 2: 'sname' has
	optionType      = 53
	optionRapid     = 80 // Rapid Commit (RFC 4039)
	optionAgent     = 82
	optionEnd       = 255
)

// The message types that concern addresses (RFC 2132 section 9.6).
const (
	typeDiscover = 1
	typeRequest  = 3
	typeDecline  = 4
	typeAck      = 5
	typeRelease  = 7
	typeInform   = 8
)

// The sub-options of the relay agent information option: RFC 3046 sections 3.1 and 3.2, and
// the link selection of RFC 3527.
const (
	subCircuit = 1
	subRemote  = 2
	subLink    = 5
)

var errMessage = errors.New("relay: no DHCP message")

// A message is one of DHCP, in its octets.
type message struct {
	b         []byte
	end       int // where the End option is, or would be
	kind      byte
	requested netip.Addr // invalid without the option
	agent     [2]int     // the relay agent information option with its header, from and to; both 0 without
	rapid     [2]int     // the Rapid Commit option, likewise
}

// parse reads the options of a message once, up to the End option. The message keeps b.
//
// What the relay judges by must be there once and in one place: of two, or of one in
// 'file' or 'sname', a server may take another than the relay (RFC 3396 section 5 has the
// parts of an option put together, and many take the first). Such a message is an error.
//
//rfc:2131#4.1
func parse(b []byte) (m message, err error) {
	if len(b) < atOptions || binary.BigEndian.Uint32(b[atCookie:]) != cookie || b[atHLen] > mostHLen {
		return m, errMessage
	}
	m.b = b
	var overload byte
	seen := make(map[byte]bool, 4)
	m.end, err = each(b, atOptions, len(b), func(option byte, value []byte, at, next int) error {
		judged, size := false, -1
		switch option {
		case optionType:
			judged, size = true, 1
		case optionRequested:
			judged, size = true, 4
		case optionOverload:
			judged, size = true, 1
		case optionRapid, optionAgent:
			judged = true
		}
		if judged && (seen[option] || size >= 0 && len(value) != size) {
			return fmt.Errorf("%w: option %d is there twice, or has %d octets", errMessage, option, len(value))
		}
		seen[option] = judged
		switch option {
		case optionType:
			m.kind = value[0]
		case optionRequested:
			m.requested = netip.AddrFrom4([4]byte(value))
		case optionOverload:
			overload = value[0]
		case optionRapid:
			m.rapid = [2]int{at, next}
		case optionAgent:
			m.agent = [2]int{at, next}
		}
		return nil
	})
	if err != nil {
		return m, err
	}
	for _, field := range []struct {
		bit      byte
		from, to int
	}{{1, atFile, atCookie}, {2, atSName, atFile}} {
		if overload&field.bit == 0 {
			continue
		}
		if _, err := each(b, field.from, field.to, func(option byte, _ []byte, _, _ int) error {
			if option == optionType || option == optionRequested || option == optionRapid {
				return fmt.Errorf("%w: option %d is outside the options", errMessage, option)
			}
			return nil
		}); err != nil {
			return m, err
		}
	}
	if m.kind == 0 {
		return m, fmt.Errorf("%w: it has no type", errMessage)
	}
	return m, nil
}

// each tells of the options between two places, and returns where they end.
func each(b []byte, i, to int, tell func(option byte, value []byte, at, next int) error) (int, error) {
	for i < to && b[i] != optionEnd {
		if b[i] == optionPad {
			i++
			continue
		}
		if i+2 > to || i+2+int(b[i+1]) > to {
			return i, fmt.Errorf("%w: option %d is cut off", errMessage, b[i])
		}
		next := i + 2 + int(b[i+1])
		if err := tell(b[i], b[i+2:next], i, next); err != nil {
			return i, err
		}
		i = next
	}
	return i, nil
}

func (m *message) address(at int) netip.Addr { return netip.AddrFrom4([4]byte(m.b[at:])) }

// An exchange is what tells an answer's question: the transaction identifier and the
// client's link-layer address.
type exchange [4 + mostHLen]byte

func (m *message) exchange() (x exchange) {
	copy(x[:4], m.b[atXID:])
	copy(x[4:], m.b[atCHAddr:atCHAddr+int(m.b[atHLen])])
	return x
}

// marked is the message with a relay agent information option: "SHALL add it as the last
// option (but before 'End Option' 255, if present)" (RFC 3046 section 2.1).
//
//rfc:3046#2.1
//rfc:3046#2.0
func (m *message) marked(information []byte) []byte {
	out := append([]byte{}, m.b[:m.end]...)
	out = append(out, optionAgent, byte(len(information)))
	out = append(out, information...)
	out = append(out, optionEnd)
	return append(out, make([]byte, max(0, len(m.b)-len(out)))...) // as long as clients make them for old servers
}

// unmarked is the message without the relay agent information option: it "MUST be removed
// by either the relay agent or the trusted downstream network element which added it" (RFC
// 3046 section 2.1). Those in 'sname' and 'file' are left: "It SHALL NOT parse or remove
// Relay Agent Information options that may appear in the sname or file fields".
//
//rfc:3046#2.1
func (m *message) unmarked() []byte {
	return append(append([]byte{}, m.b[:m.agent[0]]...), m.b[m.agent[1]:]...)
}

// sub finds a sub-option of the relay agent information option.
func (m *message) sub(code byte) (value []byte, found bool) {
	if m.agent[1] == 0 {
		return nil, false
	}
	for b := m.b[m.agent[0]+2 : m.agent[1]]; len(b) >= 2 && 2+int(b[1]) <= len(b); b = b[2+int(b[1]):] {
		if b[0] == code {
			return b[2 : 2+int(b[1])], true
		}
	}
	return nil, false
}

// appendSub adds a sub-option: no padding, no end (RFC 3046 section 2.0).
func appendSub(b []byte, code byte, value []byte) []byte {
	return append(append(b, code, byte(len(value))), value...)
}
