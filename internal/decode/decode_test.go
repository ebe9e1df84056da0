package decode_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"careof/internal/capture"
	"careof/internal/decode"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

func inputs(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/*.hex")
	if err != nil || len(files) == 0 {
		t.Fatalf("no inputs: %v", err)
	}
	out := map[string][]byte{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(f, ".hex")] = b
	}
	return out
}

// Each testdata/*.hex prints as the .txt beside it.
func TestGoldenInputs(t *testing.T) {
	for name, text := range inputs(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			r, err := decode.Decode(text)
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if err := r.WriteText(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".txt", b.Bytes())
			raw, err := decode.Hex(string(text))
			if err != nil {
				t.Fatal(err)
			}
			tile(t, r.Packets[0].Fields, 0, len(raw), true)
			wantProblems := strings.Contains(name, "malformed") || strings.Contains(name, "bad") || strings.Contains(name, "unknown")
			if got := len(r.Problems()) > 0; got != wantProblems {
				t.Errorf("problems: %v", r.Problems())
			}
		})
	}
}

// tile checks that fields lie within their parent, and that the top level
// covers the packet without a gap.
func tile(t *testing.T, fields []decode.Field, from, to int, top bool) {
	t.Helper()
	at := from
	for _, f := range fields {
		if f.Offset < from || f.Offset+f.Length > to || f.Length < 0 {
			t.Errorf("%s at %d+%d is outside of %d to %d", f.Name, f.Offset, f.Length, from, to)
			continue
		}
		if top && f.Offset != at {
			t.Errorf("%s begins at %d, the field before it ended at %d", f.Name, f.Offset, at)
		}
		at = f.Offset + f.Length
		tile(t, f.Nested, f.Offset, f.Offset+f.Length, false)
	}
	if top && at != to {
		t.Errorf("the fields end at %d of %d", at, to)
	}
}

func TestHexIsReadInEveryUsualForm(t *testing.T) {
	want := []byte{0x01, 0x2a, 0xff}
	for _, s := range []string{
		"012aff", "01 2a ff", "01:2A:FF", "0x01 0x2a 0xFF", "0x012aff", "01,2a,ff", "01-2a-ff", "01\n2a\r\n\tff\n", "# a request\n01 2a # the flags\nff", "\ufeff01 2a ff", "  01 2a ff  ",
	} {
		got, err := decode.Hex(s)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("Hex(%q) = %x, %v", s, got, err)
		}
	}
}

func TestHexErrorsSayWhere(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"01 2g", "decode: line 1, column 5: 'g' is no hexadecimal digit"},
		{"01\n02 zz", "decode: line 2, column 4: 'z' is no hexadecimal digit"},
		{"01 2 03", "decode: line 1, column 4: half an octet: hexadecimal digits come in pairs"},
		{"0x1", "decode: line 1, column 3: half an octet: hexadecimal digits come in pairs"},
		{"01 02 #\n 3", "decode: line 2, column 2: half an octet: hexadecimal digits come in pairs"},
		{"", "decode: nothing to decode"},
		{"# only a comment", "decode: nothing to decode"},
		{"ħ", "decode: line 1, column 1: 'ħ' is no hexadecimal digit"},
	} {
		if _, err := decode.Hex(tc.in); err == nil || err.Error() != tc.want {
			t.Errorf("Hex(%q) = %v, want %s", tc.in, err, tc.want)
		}
	}
}

func TestGuessSaysWhatItIs(t *testing.T) {
	all := inputs(t)
	for name, want := range map[string]decode.Kind{
		"request":                 decode.UDPPayload,
		"malformed-request":       decode.UDPPayload,
		"keepalive":               decode.UDPPayload,
		"reply":                   decode.IPPacket,
		"nested":                  decode.IPPacket,
		"bad-gre":                 decode.IPPacket,
		"advertisement":           decode.EthernetFrame,
		"udp-minimal":             decode.EthernetFrame,
		"gratuitous-arp":          decode.EthernetFrame,
		"solicitation":            decode.ICMPMessage,
		"malformed-advertisement": decode.ICMPMessage,
	} {
		r, err := decode.Decode(all["testdata/"+name])
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if p := r.Packets[0]; p.Kind != want || !p.Guessed {
			t.Errorf("%s: %v, guessed %v", name, p.Kind, p.Guessed)
		}
		// The octets themselves, without hexadecimal digits, are the same.
		raw, err := decode.Hex(string(all["testdata/"+name]))
		if err != nil {
			t.Fatal(err)
		}
		if r, err := decode.Decode(raw); err != nil || r.Packets[0].Kind != want {
			t.Errorf("%s as octets: %v", name, err)
		}
	}
	for _, s := range []string{"00", "99 88 77", "02 00 00 00"} {
		if _, err := decode.Decode([]byte(s)); !errors.Is(err, decode.ErrUnknown) {
			t.Errorf("Decode(%q) = %v", s, err)
		}
	}
}

// A care-of address that begins like an Ethernet type is no Ethernet frame.
func TestCareOfAddressIsNoEthernetType(t *testing.T) {
	text := string(inputs(t)["testdata/request"])
	raw, err := decode.Hex(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, coa := range [][]byte{{8, 0, 69, 0}, {8, 6, 0, 1}, {0x81, 0, 8, 0}, {0x86, 0xdd, 0x60, 0}} {
		copy(raw[12:], coa)
		r, err := decode.Octets(raw)
		if err != nil || r.Packets[0].Kind != decode.UDPPayload {
			t.Errorf("care-of address %v: %v, %v", coa, r.Packets[0].Kind, err)
		}
	}
}

// makeCapture puts some of the inputs into a pcapng file.
func makeCapture(t *testing.T) []byte {
	t.Helper()
	all := inputs(t)
	var b bytes.Buffer
	w := capture.NewWriter(&b, "careof")
	for _, i := range []capture.Interface{{Name: "eth0", LinkType: capture.Ethernet}, {Name: "careof0", LinkType: capture.Raw}, {Name: "ppp0", LinkType: 9}} {
		if _, err := w.AddInterface(i); err != nil {
			t.Fatal(err)
		}
	}
	for i, p := range []struct {
		name, comment string
		link, cut     int
	}{
		{"advertisement", "fa: advertises", 0, 0},
		{"reply", "ha: denied 133\nmn: resynchronises", 1, 0},
		{"reply", "", 1, 10},
		{"reply", "", 2, 0},
	} {
		raw, err := decode.Hex(string(all["testdata/"+p.name]))
		if err != nil {
			t.Fatal(err)
		}
		err = w.WritePacket(capture.Packet{Time: time.Unix(1_800_000_000, int64(i)*1_000_000).UTC(), Interface: p.link, Data: raw[:len(raw)-p.cut], Length: len(raw), Comment: p.comment})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestCaptureAsTextAndJSON(t *testing.T) {
	r, err := decode.Decode(makeCapture(t))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/capture.pcapng.txt", b.Bytes())
	b.Reset()
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/capture.pcapng.json", b.Bytes())
	var back struct {
		Packets []struct {
			Number, Length, Cut    int
			Kind, Comment, Summary string
			Fields                 []decode.Field
		}
	}
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	for i, p := range back.Packets {
		if q := r.Packets[i]; p.Number != q.Number || p.Length != q.Length || p.Cut != q.Cut || p.Comment != q.Comment || p.Summary != q.Summary || !cmp.Equal(p.Fields, q.Fields) {
			t.Errorf("packet %d reads otherwise in JSON", i+1)
		}
	}
}

func TestDamagedCaptureGivesWhatIsBeforeTheDamage(t *testing.T) {
	b := makeCapture(t)
	r, err := decode.Decode(b[:len(b)-40])
	if err == nil || !strings.Contains(err.Error(), "packet 4") {
		t.Errorf("the error does not say where: %v", err)
	}
	if r == nil || len(r.Packets) != 3 {
		t.Errorf("packets before the damage: %+v", r)
	}
}

// Problems name packet, offset and field.
func TestProblemsSayWhere(t *testing.T) {
	all := inputs(t)
	for name, want := range map[string][]string{
		"bad-gre":                 {"packet 1, offset 0: IPv4: bad checksum", "packet 1, offset 20: Flags and Version: bits 1 to 5 are set: the packet is discarded"},
		"malformed-advertisement": {"packet 1, offset 10: Data: wrong length"},
		"unknown-next-header":     {"packet 1, offset 1: Next Header: none of 4, 47 and 55"},
	} {
		r, err := decode.Decode(all["testdata/"+name])
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range r.Problems() {
			got = append(got, p.String())
		}
		for _, w := range want {
			if !strings.Contains(strings.Join(got, "\n"), w) {
				t.Errorf("%s: %q is not among %q", name, w, got)
			}
		}
	}
}

// A stranger's NAI cannot drive the terminal.
func TestTextHasNoControlCharacters(t *testing.T) {
	evil := "\x1b[2J\u202eevil\x00"
	b := append([]byte{1, 0, 0, 0}, make([]byte, 20)...)
	b = append(append(b, 131, byte(len(evil))), evil...)
	r, err := decode.Octets(b)
	if err != nil {
		t.Fatal(err)
	}
	r.Packets[0].Comment = evil
	var out bytes.Buffer
	if err := r.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	for _, c := range out.String() {
		if c != '\n' && c < ' ' || c == '\u202e' {
			t.Fatalf("%q in the output", c)
		}
	}
	if !strings.Contains(out.String(), "evil") {
		t.Error("the NAI is not printed at all")
	}
}

// Real bytes of other implementations, where they are at hand: every message
// is understood.
func TestCapturesOfOtherImplementations(t *testing.T) {
	for _, tc := range []struct {
		file string
		want []string // among the summaries
	}{
		{"direct-hmac-md5.pcap", []string{"Registration Reply: code 131", "Registration Reply: code 133", "Registration Reply: code 0"}},
		{"visited-link-no-auth.pcap", []string{"agent advertisement 0, flags RF, care-of 192.168.0.3", "Registration Request: home 192.168.2.1", "Registration Reply: code 0"}},
		{"core-no-auth.pcap", []string{"Registration Request", "IP-in-IP"}},
		{"mipv6-binding-update.pcap", []string{"IPv6, next header"}},
	} {
		b, err := os.ReadFile(filepath.Join("../../../shared/captures", tc.file))
		if errors.Is(err, os.ErrNotExist) {
			t.Skip("the captures are not here")
		}
		if err != nil {
			t.Fatal(err)
		}
		r, err := decode.Decode(b)
		if err != nil {
			t.Errorf("%s: %v", tc.file, err)
		}
		for _, p := range r.Problems() {
			t.Errorf("%s: %v", tc.file, p)
		}
		var all strings.Builder
		for _, p := range r.Packets {
			all.WriteString(p.Summary + "\n")
			tile(t, p.Fields, 0, p.Length-p.Cut, true)
		}
		for _, w := range tc.want {
			if !strings.Contains(all.String(), w) {
				t.Errorf("%s: no packet says %q", tc.file, w)
			}
		}
	}
}

// FuzzDecode: no input makes the decoder panic, and its fields lie within the packet.
func FuzzDecode(f *testing.F) {
	for _, text := range inputs(f) {
		raw, err := decode.Hex(string(text))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decode.Decode(b)
		if err == nil {
			if err := r.WriteText(&bytes.Buffer{}); err != nil {
				t.Fatal(err)
			}
		}
		for _, k := range []decode.Kind{decode.EthernetFrame, decode.CookedFrame, decode.IPPacket, decode.ICMPMessage, decode.UDPPayload} {
			tile(t, decode.As(k, b).Fields, 0, len(b), true)
		}
		// Sums that hold open more doors.
		if len(b) >= 34 && binary.BigEndian.Uint16(b[12:]) == 0x0800 {
			tile(t, decode.As(decode.IPPacket, b[14:]).Fields, 0, len(b)-14, true)
		}
	})
}
