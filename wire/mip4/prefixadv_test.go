package mip4

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// The realms of the RFC's example compress to its 35 octets and come back.
//
//rfc:6521#4.2.3
func TestRealmCompression(t *testing.T) {
	realms := []string{"foo.example.com", "bar.foo.example.com", "buz.foo.example.org", "example.com", "bar.example.com.org"}
	var d dictionary
	c := cursor{writing: true}
	for _, r := range realms {
		d.append(&c, r)
	}
	want := unhex(t, "03666f6f 076578616d706c65 03636f6d 00  03626172 83 00  0362757a 80 81 036f7267 00  84 00  85 84 87 00")
	if c.err != nil || !bytes.Equal(c.out, want) || len(want)-len(realms) != 35 {
		t.Fatalf("compressed to %x, want %x (%v)", c.out, want, c.err)
	}
	if names := []string{"foo", "example", "com", "foo.example.com", "example.com", "bar", "buz", "org"}; !reflect.DeepEqual(d.strings, names) {
		t.Errorf("dictionary %q, want %q", d.strings, names)
	}
	var e dictionary
	in := cursor{in: c.out}
	for _, r := range realms {
		if got := e.read(&in); got != r {
			t.Errorf("read %q, want %q (%v)", got, r, in.err)
		}
	}
	if err := in.done(); err != nil || !reflect.DeepEqual(d, e) {
		t.Errorf("both ends must hold the same dictionary: %v", err)
	}
}

// "when adding the 129th string into the dictionary, the first entry of the dictionary MUST be overwritten".
//
//rfc:6521#4.2.1
func TestRealmDictionaryRollover(t *testing.T) {
	var d, e dictionary
	out := cursor{writing: true}
	var realms []string
	for i := range 300 {
		realms = append(realms, strings.Repeat("x", 1+i%120)+".net"+string(rune('a'+i%26)))
	}
	for _, r := range realms {
		d.append(&out, r)
	}
	in := cursor{in: out.out}
	for _, r := range realms {
		if got := e.read(&in); got != r {
			t.Fatalf("read %q, want %q (%v)", got, r, in.err)
		}
	}
	if len(d.strings) != 128 || !reflect.DeepEqual(d, e) {
		t.Errorf("%d strings, want 128 and the same at both ends", len(d.strings))
	}
}

// The prefixes of the RFC's example are sent as c0000200, 09 and 05.
//
//rfc:6521#4.1
//rfc:6521#5.5
func TestPrefixCompression(t *testing.T) {
	p := &PrefixAdvertisement{Entries: []PrefixEntry{
		{Router: ip("10.0.0.1"), Info: 1},
		{Prefix: netip.MustParsePrefix("192.0.2.0/28"), Realm: "example.com"},
		{Prefix: netip.MustParsePrefix("192.0.2.64/26"), Realm: "example.com"},
		{Prefix: netip.MustParsePrefix("192.0.2.128/25")},
		{Router: ip("10.0.0.2")},
		{Prefix: netip.MustParsePrefix("10.0.0.0/8")},
		{Prefix: netip.MustParsePrefix("0.0.0.0/0")},
	}}
	want := unhex(t, `32 01 002e  41 0a000001  1c c0000200 076578616d706c6503636f6d00  9a 09 8200  99 05 00  40 0a000002  08 0a 00  00 00`)
	want[3] = byte(len(want) - 4)
	b, err := AppendExt(nil, p)
	if err != nil || !bytes.Equal(b, want) {
		t.Fatalf("written %x, want %x (%v)", b, want, err)
	}
	got, n, err := Get[PrefixAdvertisement](mustParse(t, append(request(t, ""), b...)))
	if err != nil || n != 1 || !reflect.DeepEqual(&got, p) {
		t.Errorf("read %+v, want %+v (%v)", got, p, err)
	}
	fields := DescribeOctets(append(request(t, ""), b...))[1].Nested
	if len(fields) != len(p.Entries) || fields[0].Value != "router 10.0.0.1, outbound connections only" || fields[1].Value != `prefix 192.0.2.0/28 realm "example.com"` {
		t.Errorf("described as %+v", fields)
	}
}

// What contradicts the format is refused, and a small extension cannot grow into a large one.
func TestPrefixAdvertisementErrors(t *testing.T) {
	long := "40 0a000001 08 0a " + strings.Repeat("03616161", 60) + "00" + strings.Repeat("08 0a 81 81 81 00", 3)
	for name, c := range map[string]struct {
		body string
		want error
	}{
		"prefix before any router":   {"08 0a 00", ErrValue},
		"delta without master":       {"40 0a000001 9a 09 00", ErrValue},
		"prefix length 33":           {"40 0a000001 21 0a000000 00 00", ErrValue},
		"router cut":                 {"40 0a0000", ErrShort},
		"prefix cut":                 {"40 0a000001 18 0a00", ErrShort},
		"realm without end":          {"40 0a000001 08 0a 0161", ErrShort},
		"label cut":                  {"40 0a000001 08 0a 0561", ErrShort},
		"index of nothing":           {"40 0a000001 08 0a 80 00", ErrValue},
		"dot in a label":             {"40 0a000001 08 0a 03612e62 00", ErrValue},
		"realm of 256 octets by ref": {"40 0a000001 08 0a 7f" + strings.Repeat("61", 127) + "80 80 00", ErrLength},
		"realms within the bound":    {long, nil},
	} {
		var p PrefixAdvertisement
		if err := p.ParseBody(unhex(t, c.body)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for name, e := range map[string]PrefixEntry{
		"nothing":             {},
		"host bits":           {Prefix: netip.MustParsePrefix("10.0.0.1/8")},
		"IPv6":                {Prefix: netip.MustParsePrefix("2001:db8::/32")},
		"info of seven bits":  {Router: ip("10.0.0.1"), Info: 64},
		"empty label":         {Prefix: netip.MustParsePrefix("10.0.0.0/8"), Realm: "a..b"},
		"realm of 256 octets": {Prefix: netip.MustParsePrefix("10.0.0.0/8"), Realm: strings.Repeat("a.", 128)},
		"label of 128 octets": {Prefix: netip.MustParsePrefix("10.0.0.0/8"), Realm: strings.Repeat("a", 128)},
		"router and prefix":   {Router: ip("10.0.0.1"), Prefix: netip.MustParsePrefix("10.0.0.0/8")},
		"IPv6 router":         {Router: ip("2001:db8::1")},
	} {
		if b, err := AppendExt(nil, &PrefixAdvertisement{Entries: []PrefixEntry{e}}); err == nil {
			t.Errorf("%s: written as %x", name, b)
		}
	}
}
