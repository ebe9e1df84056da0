// Package igmp reads and writes the messages by which IPv4 hosts say which
// multicast groups they want: IGMP versions 1 to 3 (RFC 1112, RFC 2236, RFC
// 3376).
//
// It is for a router that listens to what one host at the other end of a
// tunnel wants. Source lists are read only as far as they say that a group is
// wanted at all: what comes is filtered by the host itself.
package igmp

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
)

// Protocol is the IP protocol number of IGMP.
const Protocol = 2

// A Type is the first octet of a message.
type Type uint8

// The types of RFC 3376 section 4.
const (
	MembershipQuery Type = 0x11
	V1Report        Type = 0x12
	V2Report        Type = 0x16
	V2Leave         Type = 0x17
	V3Report        Type = 0x22
)

var typeNames = map[Type]string{
	MembershipQuery: "membership query", V1Report: "version 1 membership report",
	V2Report: "version 2 membership report", V2Leave: "leave group", V3Report: "version 3 membership report",
}

func (t Type) String() string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	const digits = "0123456789abcdef"
	return "Type(0x" + string([]byte{digits[t>>4], digits[t&15]}) + ")"
}

// Addresses that messages go to.
var (
	AllSystems   = netip.AddrFrom4([4]byte{224, 0, 0, 1})
	AllRouters   = netip.AddrFrom4([4]byte{224, 0, 0, 2})
	AllV3Routers = netip.AddrFrom4([4]byte{224, 0, 0, 22})
)

// What a message can have wrong.
var (
	ErrShort    = errors.New("igmp: message is too short")
	ErrChecksum = errors.New("igmp: bad checksum")
)

// A Change is what a report says about one group.
type Change struct {
	Group netip.Addr
	Wants bool // false: the host has left it
}

// Record types of a version 3 report, RFC 3376 section 4.2.12.
const (
	isInclude = 1 + iota
	isExclude
	toInclude
	toExclude
	allowSources
	blockSources
)

// ParseReport reads what a host's message says, in its order. A query, and a
// type that is not known, says nothing: "messages with other types ... MUST be
// silently ignored" (RFC 3376 section 4).
//
// Errors: ErrShort, ErrChecksum.
//
//rfc:3376#4.2
//rfc:2236#2
func ParseReport(b []byte) ([]Change, error) {
	if len(b) < 8 {
		return nil, ErrShort
	}
	if sum(b) != 0xffff {
		return nil, ErrChecksum
	}
	switch Type(b[0]) {
	case V1Report, V2Report:
		return wanted(nil, addr(b[4:]), true), nil
	case V2Leave:
		return wanted(nil, addr(b[4:]), false), nil
	case V3Report:
		return parseRecords(b[8:], int(binary.BigEndian.Uint16(b[6:])))
	}
	return nil, nil
}

// parseRecords reads n group records:
//
//	type8 auxiliary words8 sources16 group32 sources 4 each, auxiliary data 4 each
func parseRecords(b []byte, n int) ([]Change, error) {
	var out []Change
	for range n {
		if len(b) < 8 {
			return nil, ErrShort
		}
		sources := int(binary.BigEndian.Uint16(b[2:]))
		size := 8 + 4*sources + 4*int(b[1])
		if len(b) < size {
			return nil, ErrShort
		}
		switch b[0] {
		case isExclude, toExclude:
			out = wanted(out, addr(b[4:]), true)
		case isInclude, toInclude:
			// With no source at all nothing of the group is wanted.
			out = wanted(out, addr(b[4:]), sources > 0)
		case allowSources:
			out = wanted(out, addr(b[4:]), true)
		case blockSources: // others may still be wanted
		}
		b = b[size:]
	}
	return out, nil
}

// wanted appends a change about a group; what is no group's address is left out.
func wanted(list []Change, group netip.Addr, wants bool) []Change {
	if !group.IsMulticast() {
		return list
	}
	return append(list, Change{group, wants})
}

// AppendGeneralQuery appends a version 3 general query that a host answers
// within tenths of a second: "What groups do you want?" Hosts of earlier
// versions understand it as one of theirs.
//
//rfc:3376#4.1
func AppendGeneralQuery(b []byte, tenths uint8) []byte {
	at := len(b)
	// Robustness 2, interval 125 s: the defaults of section 8.
	b = append(b, byte(MembershipQuery), tenths, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0)
	return seal(b, at)
}

// AppendReport appends a version 3 report that a host has joined or left groups.
//
//rfc:3376#4.2
func AppendReport(b []byte, changes ...Change) []byte {
	at := len(b)
	b = append(b, byte(V3Report), 0, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(changes)))
	for _, c := range changes {
		kind := byte(toInclude)
		if c.Wants {
			kind = toExclude
		}
		g := c.Group.As4()
		b = append(b, kind, 0, 0, 0)
		b = append(b, g[:]...)
	}
	return seal(b, at)
}

// seal writes the checksum of the message that begins at b[at].
func seal(b []byte, at int) []byte {
	binary.BigEndian.PutUint16(b[at+2:], ^sum(b[at:]))
	return slices.Clip(b)
}

// sum is the one's complement sum.
func sum(b []byte) uint16 {
	var s uint32
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

func addr(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b[:4])) }
