package mip4

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
)

var citation = regexp.MustCompile(`^RFC \d{4} section \d+(\.\d+)*$`)

// The registry of extensions has each number once, in order, complete, and with a codec for everything but authentication.
func TestExtensionRegistry(t *testing.T) {
	golden := map[[2]int]bool{}
	for _, g := range goldenExts {
		n, sub := g.p.ExtNumber()
		golden[[2]int{int(n), int(sub)}] = true
	}
	last := -1
	for _, r := range Extensions() {
		key := int(r.Type)<<9 | int(r.Sub)
		if key <= last {
			t.Errorf("row %d/%d is out of order or twice", r.Type, r.Sub)
		}
		last = key
		if r.Name == "" || r.Family == "" || r.Type.String() != r.Family || !citation.MatchString(r.RFC) || r.Flow == 0 || r.Zones == 0 {
			t.Errorf("row %d/%d is incomplete: %+v", r.Type, r.Sub, r)
		}
		if !r.HasSub && r.Name != r.Family {
			t.Errorf("row %d: a type without subtypes has one name", r.Type)
		}
		if (r.New == nil) != isAuthentication(r.Type) {
			t.Errorf("row %d/%d: a codec for all but the authentication extensions", r.Type, r.Sub)
		}
		if r.New == nil {
			continue
		}
		p := r.New()
		if n, sub := p.ExtNumber(); n != r.Type || r.HasSub && sub != r.Sub {
			t.Errorf("row %d/%d makes a payload of %d/%d", r.Type, r.Sub, n, sub)
		}
		if _, ok := p.(laid); !ok {
			t.Errorf("row %d/%d cannot be described", r.Type, r.Sub)
		}
		found := false
		for _, g := range goldenExts {
			n, sub := g.p.ExtNumber()
			found = found || n == r.Type && (!r.HasSub || sub == r.Sub) && reflect.TypeOf(g.p) == reflect.TypeOf(p)
		}
		if !found {
			t.Errorf("row %d/%d has no golden vector", r.Type, r.Sub)
		}
		// The long layout belongs to non-skippable extensions (RFC 5944 section 1.10); 139 and 154 are the known exceptions.
		if r.Format == FormatLong && r.Type.Skippable() && r.Type != ExtMultipath {
			t.Errorf("row %d/%d: long format on a skippable number", r.Type, r.Sub)
		}
	}
	for n := range 256 {
		row := typeRow(ExtType(n))
		if (row == nil) != strings.HasPrefix(ExtType(n).String(), "ExtType(") {
			t.Errorf("type %d prints as %v", n, ExtType(n))
		}
		if got := ExtType(n).Skippable(); got != (n >= 128) {
			t.Errorf("type %d skippable: %v", n, got)
		}
	}
}

// The registry of messages: each number once, in order, with its codec and a golden vector of the stated length.
func TestMessageRegistry(t *testing.T) {
	lengths := map[MessageType]int{}
	for _, g := range goldenFixed {
		lengths[g.f.MessageType()] = len(unhex(t, g.hex))
	}
	last := -1
	for _, r := range Messages() {
		if int(r.Type) <= last {
			t.Errorf("message %d is out of order or twice", r.Type)
		}
		last = int(r.Type)
		if r.New().MessageType() != r.Type || r.Type.String() != r.Name || !citation.MatchString(r.RFC) {
			t.Errorf("row %d is inconsistent: %+v", r.Type, r)
		}
		if lengths[r.Type] != r.Fixed {
			t.Errorf("message %d: fixed part of %d octets, golden vector of %d", r.Type, r.Fixed, lengths[r.Type])
		}
	}
	if got := MessageType(2).String(); got != "MessageType(2)" {
		t.Error(got)
	}
	if _, ok := LookupMessage(2); ok {
		t.Error("message 2 is unassigned")
	}
}

// Every reply code of the catalogue has its text, its meaning and its advice; the ranges are those of RFC 5944 section 6.4.
//
//rfc:5944#6.4
func TestCodeRegistry(t *testing.T) {
	assigned := "0 1 2 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79 80 81 82 88 89 90 96 97 98 99 100 101 104 105 106 107 108 109 " +
		"110 111 112 113 114 115 116 127 128 129 130 131 132 133 134 135 136 137 138 139 140 141 142 143 144 145 146 147 148 149 150 " +
		"151 152 153 192 193 194 201 202 203"
	var got []string
	last := -1
	for _, r := range Codes() {
		if int(r.Code) <= last {
			t.Errorf("code %d is out of order or twice", r.Code)
		}
		last = int(r.Code)
		got = append(got, number(uint8(r.Code)))
		if r.Name == "" || r.Text == "" || r.Means == "" || r.Do == "" || !citation.MatchString(r.RFC) {
			t.Errorf("code %d is incomplete", r.Code)
		}
		if r.Code.String() != r.Text || ExplainCode(r.Code) != r {
			t.Errorf("code %d is not found", r.Code)
		}
	}
	if s := strings.Join(got, " "); s != assigned {
		t.Errorf("assigned codes\n got %s\nwant %s", s, assigned)
	}
	for c := range 256 {
		c := Code(c)
		in := 0
		for _, b := range []bool{c.Accepted(), c.FromForeignAgent(), c.FromHomeAgent(), c.FromGateway()} {
			if b {
				in++
			}
		}
		if in > 1 || c.String() == "" || ExplainCode(c).Means == "" {
			t.Errorf("code %d is in %d ranges, or says nothing", c, in)
		}
	}
	if Code(143).String() == "Code(143)" || Code(160).String() != "Code(160)" {
		t.Errorf("143 has a text, 160 has none: %v %v", Code(143), Code(160))
	}
	if Code(194).Canonical() != 116 || Code(133).Canonical() != 133 {
		t.Error("194, as RFC 5944 prints it, is 116 in the registry")
	}
	for _, c := range []struct {
		code Code
		from string
	}{{0, "success"}, {8, "success"}, {9, "unassigned"}, {63, "unassigned"}, {64, "foreign agent"}, {127, "foreign agent"}, {128, "home agent"},
		{192, "home agent"}, {193, "gateway foreign agent"}, {200, "gateway foreign agent"}, {201, "correspondent router"}, {211, "unassigned"}} {
		if c.code.From() != c.from {
			t.Errorf("code %d is from %q, want %q", c.code, c.code.From(), c.from)
		}
	}
}

// An unassigned number of any enumeration keeps its number when printed.
func TestUnknownNumbersArePrinted(t *testing.T) {
	for want, got := range map[string]string{
		"UDPTunnelCode(63)":    UDPTunnelCode(63).String(),
		"NAIKind(0)":           NAIKind(0).String(),
		"KeyAlgorithm(513)":    KeyAlgorithm(513).String(),
		"Protocol(17)":         Protocol(17).String(),
		"NotificationCode(70)": NotificationCode(70).String(),
		"Direction(6)":         Direction(6).String(),
		"none":                 RequestFlags(0).String(),
		"S B D M G r T x":      RequestFlags(0xff).String(),
		"D T":                  (FlagD | FlagT).String(),
		"H N":                  (HandoffH | HandoffN).String(),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
