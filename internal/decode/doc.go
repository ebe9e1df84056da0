// Package decode reads captured octets field by field: what `careof decode`
// prints, and what a capture's packet comments say.
//
// It walks from Ethernet, or from wherever the octets begin, through tunnels
// of every form to the Mobile IP messages, whose fields and RFC sections come
// from the tables of wire/mip4, wire/adv4 and wire/diameter. Octets that cannot be read become
// a field with an error; reading goes on behind it where it can.
package decode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"careof/internal/capture"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// Field is one line of the result. Offset counts from the first octet of the
// packet.
type Field = mip4.Field

// Kind is what a packet begins with.
type Kind uint8

const (
	// OtherFrame begins with a link header that is not read.
	OtherFrame Kind = iota
	// EthernetFrame begins with an Ethernet header.
	EthernetFrame
	// CookedFrame begins with the pseudo header of a Linux capture on "any".
	CookedFrame
	// IPPacket begins with an IP header.
	IPPacket
	// ICMPMessage is an ICMP router discovery message without IP header.
	ICMPMessage
	// UDPPayload is what a UDP datagram of port 434 holds.
	UDPPayload
	// DiameterMessage is one Diameter message without TCP.
	DiameterMessage
)

var kindNames = []string{
	OtherFrame:      "frame of another link type",
	EthernetFrame:   "Ethernet frame",
	CookedFrame:     "Linux cooked frame",
	IPPacket:        "IP packet",
	ICMPMessage:     "ICMP message",
	UDPPayload:      "UDP/434 payload",
	DiameterMessage: "Diameter message",
}

// String names the kind for people.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "Kind(" + strconv.Itoa(int(k)) + ")"
}

// MarshalText gives the same name in JSON.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Packet is one decoded packet.
type Packet struct {
	Number  int        `json:"number"` // from 1, in the order of the input
	Time    *time.Time `json:"time,omitempty"`
	Kind    Kind       `json:"kind"`
	Guessed bool       `json:"guessed,omitempty"` // the input did not say what it is
	Length  int        `json:"length"`            // octets on the wire
	Cut     int        `json:"cut,omitempty"`     // octets of them that were not captured
	Comment string     `json:"comment,omitempty"`
	Summary string     `json:"summary"`
	Fields  []Field    `json:"fields"`
}

// Report is the result for one input.
type Report struct {
	Packets []Packet `json:"packets"`
}

// ErrUnknown says that octets without a capture's link type are none of the
// things that they could be.
var ErrUnknown = errors.New("neither an Ethernet frame, nor an IP packet, nor an ICMP router discovery message, nor a UDP/434 payload, nor a Diameter message")

// Octets decodes octets of which nobody says what they are, and guesses.
func Octets(b []byte) (*Report, error) {
	k, ok := guess(b)
	if !ok {
		return nil, fmt.Errorf("decode: %d octets: %w", len(b), ErrUnknown)
	}
	p := As(k, b)
	p.Number, p.Guessed = 1, true
	return &Report{Packets: []Packet{p}}, nil
}

// As decodes a whole packet of a known kind.
func As(k Kind, b []byte) Packet { return as(k, b, false) }

// as decodes a packet; cut says that it was longer.
func as(k Kind, b []byte, cut bool) Packet {
	w := walker{cut: cut}
	switch k {
	case EthernetFrame:
		w.ethernet(b, 0)
	case CookedFrame:
		w.cooked(b, 0)
	case IPPacket:
		w.ip(b, 0)
	case ICMPMessage:
		w.icmp(b, 0, false)
	case UDPPayload:
		w.mobileIP(b, 0, nil)
	case DiameterMessage:
		w.diameter(b, 0)
	default:
		w.data(b, 0)
	}
	return Packet{Kind: k, Length: len(b), Summary: w.line(), Fields: w.fields}
}

// links are the kinds of the link types that a capture may have.
var links = []struct {
	link capture.LinkType
	kind Kind
}{
	{capture.Ethernet, EthernetFrame},
	{capture.LinuxSLL, CookedFrame},
	{capture.Raw, IPPacket},
	{capture.IPv4, IPPacket},
}

// Captured decodes a packet of a capture. A link type that is not read gives a
// packet with one field and its error.
func Captured(c capture.Packet) Packet {
	var p Packet
	for _, l := range links {
		if l.link == c.LinkType {
			p = as(l.kind, c.Data, c.Length > len(c.Data))
		}
	}
	if p.Kind == OtherFrame {
		p.Summary = c.LinkType.String() + " is not decoded"
		p.Fields = []Field{{Length: len(c.Data), Name: "Frame", Value: hexText(c.Data), Error: "link type " + c.LinkType.String() + " is not decoded"}}
	}
	p.Length, p.Cut, p.Comment = c.Length, max(0, c.Length-len(c.Data)), c.Comment
	if !c.Time.IsZero() {
		p.Time = &c.Time
	}
	return p
}

// guess tells the kind of b. Nothing that is one should be taken for another: a
// frame holds a whole ARP packet or an IP header whose checksum or length
// holds, an IP packet begins with 4 or 6 as its version, and no message type of
// UDP/434 is above 27 but 255. A Diameter message also begins with 1, and
// says its length and one of a few commands.
func guess(b []byte) (Kind, bool) {
	switch {
	case isDiameter(b):
		return DiameterMessage, true
	case len(b) >= 14 && isPayloadOf(binary.BigEndian.Uint16(b[12:]), b[14:]):
		return EthernetFrame, true
	case len(b) >= 20 && b[0]>>4 == 4 && b[0]&15 >= 5, len(b) >= 40 && b[0]>>4 == 6:
		return IPPacket, true
	case len(b) >= 8 && (b[0] == byte(encap.RouterAdvertisement) || b[0] == byte(encap.RouterSolicitation)) && encap.Checksum(b) == 0:
		return ICMPMessage, true
	case len(b) > 0 && (b[0] == encap.TunnelDataType || knownMessage(b[0])):
		return UDPPayload, true
	}
	return 0, false
}

// isPayloadOf reports whether p is what the Ethernet type says. The type
// alone proves nothing: the same two octets are the begin of a care-of address
// in a Registration Request.
func isPayloadOf(etherType uint16, p []byte) bool {
	switch etherType {
	case etherIPv4:
		_, err := encap.ParseIPv4(p)
		return err == nil
	case etherARP:
		return len(p) >= 28 && bytes.Equal(p[:6], []byte{0, 1, 8, 0, 6, 4})
	case etherIPv6:
		return len(p) >= 40 && p[0]>>4 == 6 && int(binary.BigEndian.Uint16(p[4:])) <= len(p)-40 && binary.BigEndian.Uint16(p[4:]) > 0
	case etherVLAN:
		return len(p) >= 4 && isPayloadOf(binary.BigEndian.Uint16(p[2:]), p[4:])
	}
	return false
}

// knownMessage reports whether t is a message type of UDP/434.
func knownMessage(t byte) bool {
	_, err := mip4.Parse([]byte{t})
	return !errors.Is(err, mip4.ErrType)
}

// Problem is an error somewhere in a report.
type Problem struct {
	Packet, Offset int
	Name           string // of the field
	Text           string
}

func (p Problem) String() string {
	return fmt.Sprintf("packet %d, offset %d: %s: %s", p.Packet, p.Offset, p.Name, p.Text)
}

// Problems lists the errors of all fields, in order.
func (r *Report) Problems() []Problem {
	var out []Problem
	for i := range r.Packets {
		out = problems(out, r.Packets[i].Number, r.Packets[i].Fields)
	}
	return out
}

func problems(out []Problem, packet int, fields []Field) []Problem {
	for _, f := range fields {
		if f.Error != "" {
			out = append(out, Problem{packet, f.Offset, f.Name, f.Error})
		}
		out = problems(out, packet, f.Nested)
	}
	return out
}
