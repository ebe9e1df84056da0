package diameter

import (
	"errors"
	"testing"
)

func seeds(f *testing.F) {
	f.Helper()
	for _, s := range samples() {
		b, err := s.m.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// Whatever arrives: no panic; what is read and written is read as the same; what is refused is refused with an answer that is right.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("%T", err)
		}
		if m == nil {
			return
		}
		if err == nil {
			again, werr := m.Append(nil)
			if werr != nil || len(again) != len(b) {
				t.Fatalf("written again: %d octets of %d, %v", len(again), len(b), werr)
			}
			if second, perr := Parse(again); perr != nil || len(second.List) != len(m.List) {
				t.Fatalf("read again: %v", perr)
			}
			err = m.Check()
		}
		if err == nil || !m.IsRequest() {
			return
		}
		answer := m.Refuse(err, OriginHost.Text("h"), OriginRealm.Text("r"))
		octets, werr := answer.Append(nil)
		if werr != nil {
			return // its Proxy-Info does not fit with the rest
		}
		parsed, perr := Parse(octets)
		if perr != nil {
			t.Fatalf("the answer to %x cannot be read: %v", b, perr)
		}
		if r, ok := parsed.Result(); !ok || r.OK() {
			t.Fatalf("refused with %v", r)
		}
	})
}

// Describe tells of all octets, and never panics.
func FuzzDescribe(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		at := 0
		for i, fd := range Describe(b) {
			if fd.Offset < at || fd.Offset > at+3 || fd.Offset+fd.Length > len(b) {
				t.Fatalf("field %d %s is at %d+%d, the one before ended at %d of %d", i, fd.Name, fd.Offset, fd.Length, at, len(b))
			}
			at = fd.Offset + fd.Length
		}
		if len(b)-at > 3 {
			t.Fatalf("%d octets are not told of", len(b)-at)
		}
	})
}
