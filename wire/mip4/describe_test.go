package mip4

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// print is the description as text, one line a field.
func print(fields []Field, indent string) string {
	var b strings.Builder
	for _, f := range fields {
		fmt.Fprintf(&b, "%s%d+%d %s", indent, f.Offset, f.Length, f.Name)
		if f.Value != "" {
			fmt.Fprintf(&b, ": %s", f.Value)
		}
		if f.RFC != "" {
			fmt.Fprintf(&b, " [%s]", f.RFC)
		}
		if f.Error != "" {
			fmt.Fprintf(&b, " !%s", f.Error)
		}
		b.WriteString("\n" + print(f.Nested, indent+"  "))
	}
	return b.String()
}

// The description of a request with known, unknown and malformed extensions, in full.
func TestDescribe(t *testing.T) {
	b := unhex(t, `01 22 ffff 0a000005 c6336401 cb007109 eacd6b0fb5300002
		83 03 614062  90 06 00 00 80 2f 0000  c8 02 abcd  33 01 00
		20 08 00000100 deadbeef  30 00 0003 000001  00  9a 03 0001 00  91 06 01 1b5b324a0a`)
	golden := filepath.Join("testdata", "describe.txt")
	got := print(DescribeOctets(b), "") + "\ncut:\n" + print(DescribeOctets(b[:30]), "") + "\nunassigned:\n" + print(DescribeOctets([]byte{2, 1}), "") +
		"\nnothing:\n" + print(DescribeOctets(nil), "") + "\ntunnel data:\n" + print(DescribeOctets(unhex(t, "04 37 0000 4500")), "")
	if os.Getenv("REWRITE") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the description changed (REWRITE=1 accepts it)\n%s\nwant\n%s", got, want)
	}
	if _, err := json.Marshal(DescribeOctets(b)); err != nil {
		t.Error(err)
	}
}

// Every field of every golden vector lies inside its parent, tiles it, and no golden vector is described with an error.
func TestDescribeTiles(t *testing.T) {
	check := func(t *testing.T, b []byte) {
		fields := DescribeOctets(b)
		at := 0
		for _, f := range fields {
			if f.Offset != at || f.Error != "" {
				t.Errorf("field %+v does not follow offset %d without error", f, at)
			}
			at += f.Length
			inner := f.Offset
			if len(f.Nested) > 0 {
				inner = f.Nested[0].Offset
			}
			for _, n := range f.Nested {
				if n.Offset != inner || n.Name == "" || n.Error != "" {
					t.Errorf("%s: nested field %+v does not follow offset %d", f.Name, n, inner)
				}
				inner += n.Length
			}
			if len(f.Nested) > 0 && inner != f.Offset+f.Length {
				t.Errorf("%s: the nested fields end at %d, the field at %d", f.Name, inner, f.Offset+f.Length)
			}
		}
		if at != len(b) {
			t.Errorf("described %d of %d octets", at, len(b))
		}
	}
	for _, g := range goldenExts {
		t.Run(fmt.Sprintf("%T", g.p), func(t *testing.T) {
			b := append(carrier(t, g.p), unhex(t, g.hex)...)
			check(t, b)
			number, sub := g.p.ExtNumber()
			row, _ := Lookup(number, sub)
			if f := DescribeOctets(b)[1]; f.Name != row.Name || f.RFC != row.RFC {
				t.Errorf("named %q [%s], want %q [%s]", f.Name, f.RFC, row.Name, row.RFC)
			}
		})
	}
	for _, g := range goldenFixed {
		t.Run(g.f.MessageType().String(), func(t *testing.T) { check(t, unhex(t, g.hex)) })
	}
	for i, r := range recordedAuthenticated {
		t.Run(fmt.Sprint("recorded ", i+1), func(t *testing.T) { check(t, unhex(t, r.hex)) })
	}
}

// Explain finds numbers in every registry, subtypes, RFC constants and plain words; what it does not know it does not invent.
func TestExplain(t *testing.T) {
	for term, want := range map[string]string{
		"133":                     "reply code 133 HA identification mismatch",
		" 36/1 ":                  "extension 36/1 Mobile-AAA Authentication",
		"PMIP_DISALLOWED":         "reply code 150 PMIP_DISALLOWED",
		"pmip disallowed":         "reply code 150 PMIP_DISALLOWED",
		"Identification mismatch": "reply code 133 HA identification mismatch",
		"tunnel data":             "message 4 Tunnel Data",
		"mobile node nai":         "extension 131 Mobile Node NAI",
		"gre key":                 "extension 48/0 GRE Key",
		"3":                       "message 3 Registration Reply",
		"256":                     "",
		"36/x":                    "",
		"36/9":                    "",
		"!?":                      "",
		"no such thing":           "",
	} {
		var got []string
		for _, e := range Explain(term) {
			got = append(got, fmt.Sprintf("%s %s %s", e.Kind, e.Number, e.Name))
			if e.Means == "" || !citation.MatchString(e.RFC) {
				t.Errorf("%q: %+v says nothing", term, e)
			}
		}
		if s := strings.Join(got, "; "); s != want {
			t.Errorf("%q: got %q, want %q", term, s, want)
		}
	}
	// A number means something in several registries: codes first.
	if e := Explain("144"); len(e) != 2 || e[0].Kind != KindCode || e[1].Kind != KindExtension {
		t.Errorf("144: %+v", e)
	}
	if e := Explain("36"); len(e) != 4 {
		t.Errorf("36 has four subtypes: %+v", e)
	}
	if e := Explain("reverse tunnel"); len(e) < 4 || e[0].Number != "74" {
		t.Errorf("reverse tunnel: %+v", e)
	}
}

// No secret: Describe shows authenticators, which every listener has, and prints what strangers wrote only in quotes.
func TestDescribeQuotesStrangersText(t *testing.T) {
	text := print(DescribeOctets(request(t, "91 06 01 1b5b324a0a")), "")
	if bytes.ContainsAny([]byte(text), "\x1b") || !strings.Contains(text, `"\x1b[2J\n"`) {
		t.Errorf("control characters must be quoted: %q", text)
	}
}
