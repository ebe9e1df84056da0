package mip4

import (
	"slices"
	"testing"
)

// The corner of extension lists. corners_test.go at the root of the repository
// lists all corners.

// What comes after padding, after a long extension and after one that nobody
// knows is still there; a number below 128 that nobody claims is found wherever
// it hides, and a list that does not end with its datagram is none.
//
//rfc:5944#1.8
//rfc:5944#1.10
func TestCornerE05_ListsOfExtensions(t *testing.T) {
	for name, c := range map[string]struct {
		list  string
		types []ExtType
	}{
		"padding in the middle":       {"00 83 01 41 00 00 c8 01 09", []ExtType{0, 131, 0, 0, 200}},
		"48 has a length of 16 bits":  {"30 00 0004 00000001 83 01 41", []ExtType{48, 131}},
		"139 as it is drawn":          {"8b 01 0004 c0000201 83 01 41", []ExtType{139, 131}},
		"154 as it is drawn":          {"9a 01 0004 04010280 83 01 41", []ExtType{154, 131}},
		"unknown ones have eight":     {"c8 02 ffff 3c 01 07 83 01 41", []ExtType{200, 60, 131}},
		"60 behind 48, 0 and 139":     {"30 00 0004 00000001 00 8b 01 0004 c0000201 3c 01 07", []ExtType{48, 0, 139, 60}},
		"a long one of over 255":      {"26 00 0106 00000009 0001" + repeat("ab", 256) + "83 01 41", []ExtType{38, 131}},
		"no data, and then the next":  {"82 00 83 01 41", []ExtType{130, 131}},
		"a type of 36 for each reply": {"24 01 0014 00000101" + repeat("00", 16) + "83 01 41", []ExtType{36, 131}},
	} {
		m := mustParse(t, request(t, c.list))
		var got []ExtType
		for _, e := range m.Exts {
			got = append(got, e.Type)
		}
		if !slices.Equal(got, c.types) {
			t.Errorf("%s: read %v, want %v", name, got, c.types)
		}
		e, found := m.FirstUnclaimed(func(e Ext) bool { return e.Type != 60 })
		if want := slices.Contains(c.types, 60); found != want || found && e.Type != 60 {
			t.Errorf("%s: extension 60 found %v", name, found)
		}
		if _, err := Parse(m.Raw[:len(m.Raw)-1]); err == nil && c.types[len(c.types)-1] != 0 {
			t.Errorf("%s: the list without its last octet was read", name)
		}
	}
}

func repeat(s string, n int) string {
	out := ""
	for range n {
		out += s
	}
	return out + " "
}
