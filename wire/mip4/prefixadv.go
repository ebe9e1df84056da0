package mip4

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// PrefixAdvertisement is the Route Optimization Prefix Advertisement extension (RFC 6521 section 5.5): mobile routers by
// priority, each followed by its prefixes and their realms. Prefixes and realms are compressed (section 4); a dictionary serves
// one extension.
//
//	Type8=50 Sub8=1 Length16 { D M PrefixLength6|Info6 [HomeAddress32 with M | Prefix 1-4 octets, Realm without M] }
type PrefixAdvertisement struct{ Entries []PrefixEntry }

// PrefixEntry is a mobile router or one of its prefixes: exactly one of Router and Prefix is valid.
type PrefixEntry struct {
	Router netip.Addr   // M: home address of a mobile router, to which the prefixes that follow belong
	Info   uint8        // with Router: 1 is "outbound connections only"
	Prefix netip.Prefix // otherwise
	Realm  string       // with Prefix; may be empty
}

// String is the entry for people.
func (e PrefixEntry) String() string {
	switch {
	case e.Router.IsValid() && e.Info == 1:
		return "router " + e.Router.String() + ", outbound connections only"
	case e.Router.IsValid():
		return fmt.Sprintf("router %v, info %d", e.Router, e.Info)
	}
	return fmt.Sprintf("prefix %v realm %q", e.Prefix, e.Realm)
}

// ExtNumber implements Payload.
func (*PrefixAdvertisement) ExtNumber() (ExtType, uint8) { return ExtRouteOptimizationData, 1 }

// AppendBody implements Payload.
func (p *PrefixAdvertisement) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *PrefixAdvertisement) ParseBody(b []byte) error {
	c := reading(b)
	p.layout(&c)
	return c.done()
}

// The first octet of an entry.
const (
	entryDelta  = 0x80
	entryRouter = 0x40
	entryLength = 0x3f
)

// maxRealm bounds a realm: an index of one octet may stand for a long string, and strangers write these.
const maxRealm = 255

//rfc:6521#5.5
func (p *PrefixAdvertisement) layout(c *cursor) {
	var s prefixState
	if c.writing {
		for _, e := range p.Entries {
			s.append(c, e)
		}
		return
	}
	p.Entries = nil
	for c.err == nil && c.left() > 0 {
		start := c.pos
		e := s.read(c)
		// "An MR HoA MUST be first in the sequence" (section 5.5).
		c.must(c.err != nil || e.Router.IsValid() || len(p.Entries) > 0)
		if c.err != nil {
			c.pos = start
			return
		}
		p.Entries = append(p.Entries, e)
		if c.noting {
			c.note(c.pos-start, "Entry", e.String())
		}
	}
}

// prefixState is what an entry refers to: the last prefix sent in full, and the dictionary of realms.
type prefixState struct {
	master    uint32
	hasMaster bool
	realms    dictionary
}

// read reads one entry.
//
//rfc:6521#4.1
func (s *prefixState) read(c *cursor) (e PrefixEntry) {
	b := c.take(1)
	if b == nil {
		return e
	}
	tag := b[0]
	length := tag & entryLength
	if tag&entryRouter != 0 {
		e.Info = length
		if b = c.take(4); b != nil {
			e.Router = netip.AddrFrom4([4]byte(b))
		}
		return e
	}
	delta := tag&entryDelta != 0
	c.must(length <= 32 && (!delta || s.hasMaster))
	n := (int(length) + 7) / 8
	if delta {
		n = 1 // "If D = 1, the Prefix field is one octet in length"
	}
	if b = c.take(n); b == nil {
		return e
	}
	var v uint32
	if delta {
		// The octet holds the last eight bits of the prefix; those above are copied from the master prefix.
		v = s.master&mask4(max(int(length)-8, 0)) | uint32(b[0])<<(32-length)
	} else {
		var full [4]byte
		copy(full[:], b)
		v = binary.BigEndian.Uint32(full[:])
	}
	v &= mask4(int(length))
	if !delta {
		s.master, s.hasMaster = v, true
	}
	e.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, v))), int(length))
	e.Realm = s.realms.read(c)
	return e
}

// mask4 has the first n of 32 bits set.
func mask4(n int) uint32 { return ^uint32(0) << (32 - n) }

// append writes one entry, as a delta where that is shorter.
func (s *prefixState) append(c *cursor, e PrefixEntry) {
	if e.Router.IsValid() {
		c.must(e.Info <= entryLength && !e.Prefix.IsValid())
		c.out = append(c.out, entryRouter|e.Info)
		c.addr("", &e.Router)
		return
	}
	if !e.Prefix.IsValid() || !e.Prefix.Addr().Is4() || e.Prefix != e.Prefix.Masked() {
		c.fail(ErrValue)
		return
	}
	full := e.Prefix.Addr().As4()
	length, v := e.Prefix.Bits(), binary.BigEndian.Uint32(full[:])
	above := mask4(max(length-8, 0))
	if s.hasMaster && length > 8 && v&above == s.master&above {
		c.out = append(c.out, entryDelta|byte(length), byte(v>>(32-length)))
	} else {
		c.out = append(append(c.out, byte(length)), full[:(length+7)/8]...)
		s.master, s.hasMaster = v, true
	}
	s.realms.append(c, e.Realm)
}

// dictionary is the state of the realm compression: "a maximum of 128 strings; after that, a rollover MUST occur" (RFC 6521 section
// 4.2.1).
type dictionary struct {
	strings []string
	next    int
}

func (d *dictionary) add(s string) {
	if len(d.strings) < 128 {
		d.strings = append(d.strings, s)
		return
	}
	d.strings[d.next] = s
	d.next = (d.next + 1) % 128
}

// finish adds the suffixes of more than one label of a run of labels, the longest first: "all possible suffixes longer than one
// label are taken from the string and inserted into the dictionary" (section 4.2.2).
func (d *dictionary) finish(run []string) {
	for i := range max(len(run)-1, 0) {
		d.add(strings.Join(run[i:], "."))
	}
}

// read reads a realm: labels and indexes up to an octet 0.
//
//rfc:6521#4.2
func (d *dictionary) read(c *cursor) string {
	var parts, run []string
	size := 0
	for {
		b := c.take(1)
		if b == nil {
			return ""
		}
		var part string
		switch tag := int(b[0]); {
		case tag == 0:
			d.finish(run)
			return strings.Join(parts, ".")
		case tag >= 128:
			if tag-128 >= len(d.strings) {
				c.fail(ErrValue)
				return ""
			}
			part, run = d.strings[tag-128], nil
		default:
			part = string(c.take(tag))
			// A dot inside a label would not be the same realm when it is written again.
			c.must(c.err != nil || !strings.Contains(part, "."))
			if c.err != nil {
				return ""
			}
			d.add(part)
			run = append(run, part)
		}
		if size += len(part) + 1; size > maxRealm+1 {
			c.fail(ErrLength)
			return ""
		}
		parts = append(parts, part)
	}
}

// append writes a realm: the longest known head of what is left as its index, else one label.
//
//rfc:6521#4.2.2
func (d *dictionary) append(c *cursor, realm string) {
	if len(realm) > maxRealm {
		c.fail(ErrLength)
		return
	}
	var rest, run []string
	if realm != "" {
		rest = strings.Split(realm, ".")
	}
	for len(rest) > 0 {
		n, index := len(rest), -1
		for ; n > 0 && index < 0; n-- {
			index = slices.Index(d.strings, strings.Join(rest[:n], "."))
		}
		if index >= 0 {
			c.out = append(c.out, byte(128+index))
			rest, run = rest[n+1:], nil
			continue
		}
		label := rest[0]
		c.must(len(label) >= 1 && len(label) <= 127)
		c.out = append(append(c.out, byte(len(label))), label...)
		d.add(label)
		run, rest = append(run, label), rest[1:]
	}
	d.finish(run)
	c.out = append(c.out, 0)
}
