package forward

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A Class is packets that have something in common, either way: the words that
// [ParseClass] reads.
type Class struct {
	kind   classKind
	value  uint16 // DSCP or port
	prefix netip.Prefix
}

type classKind uint8

const (
	byDSCP   classKind = iota + 1
	byUDP              // source or destination port
	byTCP              // likewise
	byPrefix           // source or destination, of the two the one that is not the node's
	classKinds
)

var classWords = [classKinds]string{byDSCP: "dscp", byUDP: "udp", byTCP: "tcp", byPrefix: "net"}

// The DSCPs that have a name (RFC 2474, 2597, 3246, 5865).
var dscps = map[string]uint16{
	"ef": 46, "va": 44, "cs0": 0, "cs1": 8, "cs2": 16, "cs3": 24, "cs4": 32, "cs5": 40, "cs6": 48, "cs7": 56,
	"af11": 10, "af12": 12, "af13": 14, "af21": 18, "af22": 20, "af23": 22, "af31": 26, "af32": 28, "af33": 30, "af41": 34, "af42": 36, "af43": 38,
}

// ParseClass reads "dscp ef", "dscp 46", "udp 5060", "tcp 22" or "net 203.0.113.0/24".
func ParseClass(s string) (Class, error) {
	word, value, _ := strings.Cut(s, " ")
	limit := uint64(65535)
	var kind classKind
	switch word {
	case "dscp":
		if v, named := dscps[strings.ToLower(value)]; named {
			return Class{kind: byDSCP, value: v}, nil
		}
		kind, limit = byDSCP, 63
	case "udp":
		kind = byUDP
	case "tcp":
		kind = byTCP
	case "net":
		p, err := netip.ParsePrefix(value)
		if err != nil || !p.Addr().Is4() || p != p.Masked() {
			return Class{}, fmt.Errorf("forward: %q is no IPv4 prefix", value)
		}
		return Class{kind: byPrefix, prefix: p}, nil
	default:
		return Class{}, fmt.Errorf("forward: class %q begins with none of dscp, udp, tcp and net", s)
	}
	v, err := strconv.ParseUint(value, 10, 16)
	if err != nil || v > limit || v == 0 && kind != byDSCP {
		return Class{}, fmt.Errorf("forward: %q is no number up to %d", value, limit)
	}
	return Class{kind: kind, value: uint16(v)}, nil
}

func (c Class) String() string {
	switch {
	case c.kind == byPrefix:
		return "net " + c.prefix.String()
	case c.kind == 0 || c.kind >= classKinds:
		return fmt.Sprintf("Class(%d)", c.kind)
	}
	return fmt.Sprintf("%s %d", classWords[c.kind], c.value)
}

// classLen is how long a class is as octets.
const classLen = 6

// Append adds the class as octets: kind8 | length8 and address 4, or 3 octets
// of zero and value16.
func (c Class) Append(b []byte) []byte {
	if c.kind == byPrefix {
		four := c.prefix.Addr().As4()
		return append(append(b, byte(c.kind), byte(c.prefix.Bits())), four[:]...)
	}
	return binary.BigEndian.AppendUint16(append(b, byte(c.kind), 0, 0, 0), c.value)
}

// ParseClasses reads classes as octets, at most so many.
func ParseClasses(b []byte, most int) ([]Class, error) {
	if len(b)%classLen != 0 || len(b)/classLen > most {
		return nil, fmt.Errorf("forward: %d octets are no classes", len(b))
	}
	var list []Class
	for ; len(b) > 0; b = b[classLen:] {
		c := Class{kind: classKind(b[0])}
		switch {
		case c.kind == byPrefix && b[1] <= 32:
			c.prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte(b[2:6])), int(b[1])).Masked()
		case c.kind == byDSCP || c.kind == byUDP || c.kind == byTCP:
			c.value = binary.BigEndian.Uint16(b[4:])
		default:
			return nil, fmt.Errorf("forward: class of kind %d", b[0])
		}
		list = append(list, c)
	}
	return list, nil
}

// Holds says whether an IPv4 packet is one of the class. A fragment that is not
// the first has no ports.
func (c Class) Holds(packet []byte) bool {
	if len(packet) < 20 {
		return false
	}
	switch c.kind {
	case byDSCP:
		return uint16(packet[1]>>2) == c.value
	case byPrefix:
		return c.prefix.Contains(netip.AddrFrom4([4]byte(packet[12:]))) || c.prefix.Contains(netip.AddrFrom4([4]byte(packet[16:])))
	case byUDP, byTCP:
		protocol := byte(17)
		if c.kind == byTCP {
			protocol = 6
		}
		head := int(packet[0]&15) * 4
		if packet[9] != protocol || binary.BigEndian.Uint16(packet[6:])&0x1fff != 0 || len(packet) < head+4 {
			return false
		}
		return binary.BigEndian.Uint16(packet[head:]) == c.value || binary.BigEndian.Uint16(packet[head+2:]) == c.value
	}
	return false
}

// IsRedundant says whether a packet goes into every tunnel with Copies. What a
// mobile node and its home agent say to each other, whose addresses by which they
// do are given, does not: it is to find out about one path.
func (e *Entry) IsRedundant(packet []byte, agent ...netip.Addr) bool {
	if len(e.Redundant) == 0 || len(packet) < 20 {
		return false
	}
	other := packet[12:]
	if e.Role == MobileNode {
		other = packet[16:]
	}
	if slices.Contains(agent, netip.AddrFrom4([4]byte(other))) {
		return false
	}
	for _, c := range e.Redundant {
		if c.Holds(packet) {
			return true
		}
	}
	return false
}

// Counts says whether numbered packets come in through the entry's tunnels.
func (e *Entry) Counts() bool { return e.Numbered || len(e.Redundant) > 0 }

// Everything is the class of all packets.
var Everything = Class{kind: byPrefix, prefix: netip.PrefixFrom(netip.IPv4Unspecified(), 0)}

// Copyable is what an entry must have for copies: two tunnels or more with
// Copies that need not wait for their port.
const Copyable = 2

// A Sequence tells copies of packets from packets that have not come yet, by
// their numbers: those before the highest that are not older than a window. The
// zero value has seen none. It is not safe for concurrent use.
type Sequence struct {
	seen  [sequenceWindow / 64]uint64
	top   uint32
	at    int64 // when top came
	begun bool
}

const (
	sequenceWindow = 1024
	// sequenceAnew is how long after the last number an old one begins anew: the
	// other end has started again.
	sequenceAnew = int64(2e9)
)

// Fresh says whether a number that comes now, in nanoseconds, comes for the
// first time. One that is too old to tell counts as a copy.
func (s *Sequence) Fresh(number uint32, now int64) bool {
	ahead := int32(number - s.top)
	switch {
	case !s.begun || ahead <= -sequenceWindow && now-s.at > sequenceAnew:
		*s = Sequence{top: number, at: now, begun: true}
		s.mark(number)
		return true
	case ahead > 0:
		if ahead >= sequenceWindow {
			s.seen = [len(s.seen)]uint64{}
		} else {
			for n := s.top + 1; n != number; n++ {
				s.seen[n/64%uint32(len(s.seen))] &^= 1 << (n % 64)
			}
		}
		s.top, s.at = number, now
		s.mark(number)
		return true
	case ahead <= -sequenceWindow:
		return false
	}
	if s.seen[number/64%uint32(len(s.seen))]&(1<<(number%64)) != 0 {
		return false
	}
	s.mark(number)
	return true
}

func (s *Sequence) mark(number uint32) {
	s.seen[number/64%uint32(len(s.seen))] |= 1 << (number % 64)
}
