package decode

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Ethernet types that are read.
const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherVLAN = 0x8100
	etherIPv6 = 0x86dd
)

// maxDepth bounds how many headers are read behind each other: more is no
// packet that anybody sent on purpose.
const maxDepth = 24

// walker reads one packet, header behind header, and collects a field for each.
type walker struct {
	fields  []Field
	summary []string
	depth   int  // headers so far
	cut     bool // the packet may end early: it is a quote, or was not captured whole
}

// line is the summary.
func (w *walker) line() string { return strings.Join(w.summary, " · ") }

func (w *walker) say(format string, a ...any) {
	w.summary = append(w.summary, fmt.Sprintf(format, a...))
}

// add appends a header's field.
func (w *walker) add(f Field) { w.fields = append(w.fields, f) }

// bad adds octets that cannot be read. Where the packet ends early that is no
// error.
func (w *walker) bad(name string, b []byte, at int, rfc, why string) {
	if w.cut {
		if len(b) > 0 {
			w.add(Field{Offset: at, Length: len(b), Name: name, Value: hexText(b) + " (cut off)", RFC: rfc})
		}
		return
	}
	w.add(Field{Offset: at, Length: len(b), Name: name, Value: hexText(b), RFC: rfc, Error: why})
	w.say("%s: %s", name, why)
}

// deeper counts a header and reports whether it may still be read.
func (w *walker) deeper(b []byte, at int) bool {
	if w.depth++; w.depth > maxDepth {
		w.bad("Headers", b, at, "", "more than "+strconv.Itoa(maxDepth)+" headers")
		return false
	}
	return true
}

// data adds octets that are nobody's header.
func (w *walker) data(b []byte, at int) {
	if len(b) > 0 {
		w.add(Field{Offset: at, Length: len(b), Name: "Data", Value: hexText(b)})
	}
}

// padding adds octets behind the length that a header gives.
func (w *walker) padding(b []byte, at int) {
	if len(b) > 0 {
		w.add(Field{Offset: at, Length: len(b), Name: "Padding", Value: hexText(b)})
	}
}

func hexText(b []byte) string { return hex.EncodeToString(b) }

func addr4(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b[:4])) }

// part makes a field of b[from:to], where b begins at offset at.
func part(at, from, to int, name, format string, a ...any) Field {
	return Field{Offset: at + from, Length: to - from, Name: name, Value: fmt.Sprintf(format, a...)}
}

func u16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

// errText is an error's text without its package.
func errText(err error) string {
	s := err.Error()
	if _, rest, ok := strings.Cut(s, ": "); ok && strings.HasPrefix(s, "encap: ") {
		return rest
	}
	return s
}
