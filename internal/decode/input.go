package decode

import (
	"bytes"
	"fmt"
	"io"
	"unicode/utf8"

	"careof/internal/capture"
)

// Decode reads an input of any form: a pcap or pcapng file, hexadecimal text
// (see Hex), or the octets themselves. A capture that is damaged gives the
// packets before the damage and an error that says where it is.
func Decode(input []byte) (*Report, error) {
	if capture.Is(input) {
		return Capture(bytes.NewReader(input))
	}
	if isText(input) {
		b, err := Hex(string(input))
		if err != nil {
			return nil, err
		}
		return Octets(b)
	}
	return Octets(input)
}

// Capture decodes a pcap or pcapng file.
func Capture(r io.Reader) (*Report, error) {
	cr, err := capture.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	rep := &Report{Packets: []Packet{}}
	for {
		c, err := cr.Next()
		if err == io.EOF {
			return rep, nil
		}
		if err != nil {
			return rep, fmt.Errorf("decode: %w", err)
		}
		p := Captured(c)
		p.Number = len(rep.Packets) + 1
		rep.Packets = append(rep.Packets, p)
	}
}

// isText reports whether b can be meant as hexadecimal text. A message that
// begins with a type octet below 32 cannot.
func isText(b []byte) bool {
	if !utf8.Valid(b) {
		return false
	}
	for _, c := range b {
		if c < ' ' && c != '\n' && c != '\r' && c != '\t' {
			return false
		}
	}
	return true
}

// Hex reads hexadecimal text: pairs of digits, with or without 0x in front,
// between them spaces, line ends, colons, commas or dashes as one likes; the
// rest of a line behind # is a comment. An error names line and column.
func Hex(text string) ([]byte, error) {
	var (
		out     []byte
		line    = 1
		col     int
		high    = -1 // a digit that waits for its second
		highCol int
		highLn  int
		comment bool
	)
	for i := 0; i < len(text); {
		c, size := utf8.DecodeRuneInString(text[i:])
		i += size
		col++
		if c == '\n' {
			line, col, comment = line+1, 0, false
		}
		if comment {
			continue
		}
		d := digit(c)
		switch {
		case d >= 0 && high < 0:
			// 0x is a prefix, and no digit that waits.
			if c == '0' && i < len(text) && (text[i] == 'x' || text[i] == 'X') {
				i++
				col++
				continue
			}
			high, highLn, highCol = d, line, col
		case d >= 0:
			out, high = append(out, byte(high<<4|d)), -1
		case isSeparator(c), c == '#':
			if high >= 0 {
				return nil, fmt.Errorf("decode: line %d, column %d: half an octet: hexadecimal digits come in pairs", highLn, highCol)
			}
			comment = c == '#'
		default:
			return nil, fmt.Errorf("decode: line %d, column %d: %q is no hexadecimal digit", line, col, c)
		}
	}
	if high >= 0 {
		return nil, fmt.Errorf("decode: line %d, column %d: half an octet: hexadecimal digits come in pairs", highLn, highCol)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("decode: nothing to decode")
	}
	return out, nil
}

func digit(c rune) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func isSeparator(c rune) bool {
	switch c {
	case ' ', '\t', '\r', '\n', ':', ',', '-', 0xfeff:
		return true
	}
	return false
}
