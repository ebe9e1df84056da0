package mip4

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// A cursor walks once over a layout. The same layout function reads octets into a value, writes a value as octets and, while
// reading, notes the fields for Describe; so the three cannot disagree. The first error sticks and makes the rest do nothing.
type cursor struct {
	writing bool
	in      []byte // reading: all octets of the layout
	pos     int    // reading: the next octet
	out     []byte // writing: the octets so far, appended
	err     error
	noting  bool
	base    int // offset of in[0] in the datagram, for notes
	fields  []Field
}

// laid is a value with a fixed layout.
type laid interface{ layout(c *cursor) }

// reading starts a walk over b. Callers run the layout and then done. They make the cursor themselves, so that it stays on their
// stack.
func reading(b []byte) cursor { return cursor{in: b} }

// writing starts a walk that appends to b. Callers run the layout and then written.
func writing(b []byte) cursor { return cursor{writing: true, out: b} }

// written is b with what was appended, or b alone and the error.
func (c *cursor) written(b []byte) ([]byte, error) {
	if c.err != nil {
		return b, c.err
	}
	return c.out, nil
}

// done ends a reading. Octets left over are ErrLength, since every format here says how long it is.
func (c *cursor) done() error {
	if c.err == nil && c.pos < len(c.in) {
		c.err = ErrLength
	}
	return c.err
}

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// take gives the next n octets while reading.
func (c *cursor) take(n int) []byte {
	if c.err != nil {
		return nil
	}
	if n > len(c.in)-c.pos {
		c.err = ErrShort
		return nil
	}
	b := c.in[c.pos : c.pos+n : c.pos+n]
	c.pos += n
	return b
}

// left is how many octets are still unread.
func (c *cursor) left() int { return len(c.in) - c.pos }

// note records the n octets just read.
func (c *cursor) note(n int, name, value string) {
	if c.noting && c.err == nil {
		c.fields = append(c.fields, Field{Offset: c.base + c.pos - n, Length: n, Name: name, Value: value})
	}
}

// number renders a value; a type with a name for it gives both.
func number[T ~uint8 | ~uint16 | ~uint32 | ~uint64](v T) string {
	n := strconv.FormatUint(uint64(v), 10)
	if s, ok := any(v).(fmt.Stringer); ok {
		return n + " (" + s.String() + ")"
	}
	return n
}

func u8[T ~uint8](c *cursor, name string, p *T) {
	if c.writing {
		c.out = append(c.out, byte(*p))
	} else if b := c.take(1); b != nil {
		*p = T(b[0])
		if c.noting {
			c.note(1, name, number(*p))
		}
	}
}

// flags is an octet of flags whose type spells them.
func flags[T interface {
	~uint8
	fmt.Stringer
}](c *cursor, name string, p *T) {
	if c.writing {
		c.out = append(c.out, byte(*p))
	} else if b := c.take(1); b != nil {
		*p = T(b[0])
		if c.noting {
			c.note(1, name, fmt.Sprintf("0x%02x (%v)", b[0], *p))
		}
	}
}

func u16[T ~uint16](c *cursor, name string, p *T) {
	if c.writing {
		c.out = binary.BigEndian.AppendUint16(c.out, uint16(*p))
	} else if b := c.take(2); b != nil {
		*p = T(binary.BigEndian.Uint16(b))
		if c.noting {
			c.note(2, name, number(*p))
		}
	}
}

func u32[T ~uint32](c *cursor, name string, p *T) {
	if c.writing {
		c.out = binary.BigEndian.AppendUint32(c.out, uint32(*p))
	} else if b := c.take(4); b != nil {
		*p = T(binary.BigEndian.Uint32(b))
		if c.noting {
			c.note(4, name, number(*p))
		}
	}
}

// hex64 is a 64-bit number shown as hexadecimal: Identifications, cookies, tokens.
func (c *cursor) hex64(name string, p *uint64) {
	if c.writing {
		c.out = binary.BigEndian.AppendUint64(c.out, *p)
	} else if b := c.take(8); b != nil {
		*p = binary.BigEndian.Uint64(b)
		if c.noting {
			c.note(8, name, fmt.Sprintf("0x%016x", *p))
		}
	}
}

// identification is the replay protection field. With timestamps it is an NTP time (RFC 5944 section 5.7.1); where it reads as a
// time since 2000 the time is shown beside it.
func (c *cursor) identification(name string, p *uint64) {
	c.hex64(name, p)
	if n := len(c.fields); c.noting && c.err == nil && *p>>32 >= ntpOf2000 {
		at := time.Unix(int64(*p>>32)-ntpToUnix, int64((*p&0xffffffff)*1e9>>32)).UTC()
		c.fields[n-1].Value += " (as NTP time " + at.Format("2006-01-02T15:04:05.000Z") + ")"
	}
}

const (
	ntpToUnix = 2208988800            // seconds from 1900 to 1970
	ntpOf2000 = ntpToUnix + 946684800 // and to 2000
)

// seconds is a lifetime of 16 bits.
func (c *cursor) seconds(name string, p *uint16) {
	if c.writing {
		c.out = binary.BigEndian.AppendUint16(c.out, *p)
	} else if b := c.take(2); b != nil {
		*p = binary.BigEndian.Uint16(b)
		if c.noting {
			c.note(2, name, lifetimeText(*p))
		}
	}
}

func lifetimeText(s uint16) string {
	if s == LifetimeInfinite {
		return "65535 (infinite)"
	}
	return strconv.Itoa(int(s)) + " s"
}

// addr is an IPv4 address. The zero netip.Addr is written as 0.0.0.0.
func (c *cursor) addr(name string, p *netip.Addr) {
	if c.writing {
		b, err := appendAddr(c.out, *p)
		if err != nil {
			c.fail(err)
			return
		}
		c.out = b
	} else if b := c.take(4); b != nil {
		*p = netip.AddrFrom4([4]byte(b))
		if c.noting {
			c.note(4, name, p.String())
		}
	}
}

func appendAddr(b []byte, a netip.Addr) ([]byte, error) {
	if !a.IsValid() {
		return append(b, 0, 0, 0, 0), nil
	}
	if a = a.Unmap(); !a.Is4() {
		return b, ErrAddress
	}
	v := a.As4()
	return append(b, v[:]...), nil
}

// addr6 is an IPv6 address. The zero netip.Addr is written as ::.
func (c *cursor) addr6(name string, p *netip.Addr) {
	if c.writing {
		v := p.As16()
		if !p.IsValid() {
			v = [16]byte{}
		}
		c.out = append(c.out, v[:]...)
	} else if b := c.take(16); b != nil {
		*p = netip.AddrFrom16([16]byte(b))
		if c.noting {
			c.note(16, name, p.String())
		}
	}
}

// bit is one named flag of an octet.
type bit struct {
	name string
	mask byte
	p    *bool
}

// bits is an octet of flags; the bits not named are reserved: zero when sent, ignored when received.
func (c *cursor) bits(flags ...bit) {
	if c.writing {
		var v byte
		for _, f := range flags {
			if *f.p {
				v |= f.mask
			}
		}
		c.out = append(c.out, v)
	} else if b := c.take(1); b != nil {
		for _, f := range flags {
			*f.p = b[0]&f.mask != 0
		}
		if c.noting {
			var set []string
			for _, f := range flags {
				if *f.p {
					set = append(set, f.name)
				}
			}
			c.note(1, "Flags", flagText(b[0], set))
		}
	}
}

func flagText(v byte, set []string) string {
	if len(set) == 0 {
		return fmt.Sprintf("0x%02x (none)", v)
	}
	return fmt.Sprintf("0x%02x (%s)", v, strings.Join(set, " "))
}

// reserved is n octets "sent as zero, ignored on reception".
func (c *cursor) reserved(n int) {
	if c.writing {
		for range n {
			c.out = append(c.out, 0)
		}
	} else if b := c.take(n); b != nil && c.noting {
		c.note(n, "Reserved", hex.EncodeToString(b))
	}
}

// octets is the rest of the layout. While reading it aliases the datagram.
func (c *cursor) octets(name string, p *[]byte) {
	if c.writing {
		c.out = append(c.out, *p...)
	} else if c.err == nil {
		n := c.left()
		*p = c.take(n)
		if c.noting {
			c.note(n, name, hex.EncodeToString(*p))
		}
	}
}

// text is the rest of the layout as a string of least to most octets. What is no printable UTF-8 is kept, and quoted when shown.
func (c *cursor) text(name string, p *string, least, most int) {
	n := len(*p)
	if !c.writing {
		n = c.left()
	}
	if c.err == nil && (n < least || n > most) {
		c.fail(ErrLength)
	}
	if c.err != nil {
		return
	}
	if c.writing {
		c.out = append(c.out, *p...)
		return
	}
	*p = string(c.take(n))
	if c.noting {
		c.note(n, name, strconv.Quote(*p))
	}
}

// least refuses variable data that are too few.
func (c *cursor) least(n int, b []byte) {
	if len(b) < n {
		c.fail(ErrLength)
	}
}

// must refuses a value that the RFC excludes.
func (c *cursor) must(ok bool) {
	if !ok {
		c.fail(ErrValue)
	}
}
