package igmp

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
)

var group = netip.MustParseAddr("239.1.2.3")

// Reports of every version say the same in their ways.
//
//rfc:3376#4.2
//rfc:2236#2
func TestReports(t *testing.T) {
	short := func(kind Type) []byte { return seal([]byte{byte(kind), 0, 0, 0, 239, 1, 2, 3}, 0) }
	record := func(kind byte, sources ...byte) []byte {
		b := []byte{byte(V3Report), 0, 0, 0, 0, 0, 0, 1, kind, 0, 0, byte(len(sources)), 239, 1, 2, 3}
		for _, s := range sources {
			b = append(b, 192, 0, 2, s)
		}
		return seal(b, 0)
	}
	joined, left := []Change{{group, true}}, []Change{{group, false}}
	for _, c := range []struct {
		name string
		b    []byte
		want []Change
	}{
		{"version 1", short(V1Report), joined},
		{"version 2", short(V2Report), joined},
		{"leave", short(V2Leave), left},
		{"is any source", record(isExclude), joined},
		{"to any source", record(toExclude), joined},
		{"to any but one", record(toExclude, 9), joined},
		{"to one source", record(toInclude, 9), joined},
		{"to none", record(toInclude), left},
		{"is of one source", record(isInclude, 9), joined},
		{"allow", record(allowSources, 9), joined},
		{"block", record(blockSources, 9), nil},
		{"unknown record", record(77), nil},
		{"query", AppendGeneralQuery(nil, 10), nil},
		{"unknown type", short(0x42), nil},
		{"a unicast address", seal([]byte{byte(V2Report), 0, 0, 0, 10, 1, 2, 3}, 0), nil},
		{"own report", AppendReport(nil, Change{group, true}, Change{group.Next(), false}), []Change{{group, true}, {group.Next(), false}}},
	} {
		got, err := ParseReport(c.b)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v; want %v", c.name, got, err, c.want)
		}
	}
}

// A general query as another implementation writes it.
//
//rfc:3376#4.1
func TestGeneralQuery(t *testing.T) {
	want := []byte{0x11, 100, 0xec, 0x1e, 0, 0, 0, 0, 2, 0x7d, 0, 0}
	if got := AppendGeneralQuery(nil, 100); !slices.Equal(got, want) {
		t.Errorf("% x, want % x", got, want)
	}
}

func TestMalformed(t *testing.T) {
	good := AppendReport(nil, Change{group, true})
	for n := range good {
		if _, err := ParseReport(good[:n]); err == nil {
			t.Errorf("%d octets are a report", n)
		}
	}
	bad := slices.Clone(good)
	bad[9]++
	if _, err := ParseReport(bad); !errors.Is(err, ErrChecksum) {
		t.Errorf("a bad checksum: %v", err)
	}
	long := slices.Clone(good)
	long[2], long[3], long[7] = 0, 0, 2
	if _, err := ParseReport(seal(long, 0)); !errors.Is(err, ErrShort) {
		t.Errorf("a record too few: %v", err)
	}
}

func FuzzParseReport(f *testing.F) {
	f.Add(AppendReport(nil, Change{group, true}))
	f.Add(AppendGeneralQuery(nil, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := ParseReport(b)
		if err != nil && list != nil {
			t.Error("changes beside an error")
		}
		for _, c := range list {
			if !c.Group.IsMulticast() {
				t.Errorf("%v is no group", c.Group)
			}
		}
	})
}

func TestTypeNames(t *testing.T) {
	if V2Leave.String() != "leave group" || Type(0x1f).String() != "Type(0x1f)" {
		t.Error(V2Leave, Type(0x1f))
	}
}
