package mip4

import (
	"bytes"
	"reflect"
	"testing"
)

// seeds are the golden vectors and the recorded packets.
func seeds(f *testing.F) {
	f.Helper()
	for _, g := range goldenFixed {
		f.Add(unhex(f, g.hex))
	}
	for _, g := range goldenExts {
		f.Add(append(carrier(f, g.p), unhex(f, g.hex)...))
	}
	for _, r := range recordedAuthenticated {
		f.Add(unhex(f, r.hex))
	}
}

// Whatever arrives: no panic, the frames tile the datagram, the head and the covered octets are prefixes of it, and the datagram
// put together from its frames is the datagram.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		checkTiles(t, m)
		if !bytes.HasPrefix(b, m.Head()) {
			t.Fatal("the head is no prefix")
		}
		again := append([]byte(nil), b[:m.Fixed]...)
		for _, e := range m.Exts {
			again = append(again, b[e.Off:e.End]...)
			if c := m.Covered(e); c != nil && (!bytes.HasPrefix(b, c) || len(c) > e.End || len(c) <= e.Off) {
				t.Fatalf("covered %d octets by an extension at %d to %d", len(c), e.Off, e.End)
			}
			_, _ = m.Authentication(e)
			_, _ = m.CoveredCorrespondent(nil, e)
		}
		if again = append(again, b[m.Rest:]...); messageRow(m.Type).Extensions && !bytes.Equal(again, b) {
			t.Fatalf("put together %x", again)
		}
		_, _ = m.FirstUnclaimed(func(Ext) bool { return false })
	})
}

// What can be read can be written and reads the same again.
func FuzzRoundTrip(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		if fixed := messageRow(m.Type).New(); fixed.ParseFixed(b[:m.Fixed]) == nil {
			out, err := fixed.AppendFixed(nil)
			if err != nil || len(out) != m.Fixed {
				t.Fatalf("%v: written as %d octets, %v", m.Type, len(out), err)
			}
			again := fresh(fixed).(Fixed)
			if err := again.ParseFixed(out); err != nil || !reflect.DeepEqual(again, fixed) {
				t.Fatalf("%v: %+v, again %+v, %v", m.Type, fixed, again, err)
			}
		}
		for _, e := range m.Exts {
			row := rowOf(e.Type, e.Sub)
			if row == nil || row.New == nil {
				continue
			}
			p := row.New()
			if !serves(p, e) || p.ParseBody(e.Body) != nil {
				continue
			}
			out, err := AppendExt(nil, p)
			if err != nil {
				t.Fatalf("%s %+v cannot be written: %v", row.Name, p, err)
			}
			in, err := Parse(append(carrier(t, p), out...))
			if err != nil || len(in.Exts) != 1 {
				t.Fatalf("%s written as %x: %v", row.Name, out, err)
			}
			again := fresh(p).(Payload)
			if !serves(again, in.Exts[0]) || again.ParseBody(in.Exts[0].Body) != nil || !reflect.DeepEqual(again, p) {
				t.Fatalf("%s: %+v, again %+v", row.Name, p, again)
			}
		}
	})
}

// Whatever arrives is described without a panic, inside the datagram, and completely.
func FuzzDescribe(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		at := 0
		for _, field := range DescribeOctets(b) {
			if field.Offset != at || field.Length < 0 {
				t.Fatalf("field %+v does not follow offset %d", field, at)
			}
			at += field.Length
			for _, n := range field.Nested {
				if n.Offset < field.Offset || n.Offset+n.Length > at {
					t.Fatalf("%+v is outside of %s", n, field.Name)
				}
			}
		}
		if at != len(b) {
			t.Fatalf("described %d of %d octets", at, len(b))
		}
	})
}
