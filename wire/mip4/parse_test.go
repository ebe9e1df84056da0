package mip4

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// request is a Registration Request with the extensions given in hexadecimal.
func request(t testing.TB, exts string) []byte {
	t.Helper()
	b, err := NewRequest(RegistrationRequest{Lifetime: 60, HomeAddress: ip("10.0.0.5")}).Seal()
	if err != nil {
		t.Fatal(err)
	}
	return append(b, unhex(t, exts)...)
}

func mustParse(t testing.TB, b []byte) *Message {
	t.Helper()
	m, err := Parse(b)
	if err != nil {
		t.Fatalf("parse %x: %v", b, err)
	}
	return m
}

// "When an Extension numbered ... within the range 0 through 127 is encountered but not recognized, the message ... MUST be
// silently discarded"; 128 to 255 are skipped by their length and the rest is still processed.
//
//rfc:5944#1.8
func TestUnknownExtensions(t *testing.T) {
	m := mustParse(t, request(t, "83 01 41  c8 03 010203  00  84 01 05  33 02 0909"))
	claimed := func(e Ext) bool { return e.Type == ExtNAI || e.Type == ExtChallenge }
	if e, found := m.FirstUnclaimed(claimed); !found || e.Type != 51 {
		t.Errorf("the unknown 51 must make the message discarded, got %v %v", e.Type, found)
	}
	if c, n, err := Get[Challenge](m); err != nil || n != 1 || !bytes.Equal(c.Value, []byte{5}) {
		t.Errorf("the challenge behind the unknown skippable 200 and the padding was not read: %+v %d %v", c, n, err)
	}
	m = mustParse(t, request(t, "c8 03 010203 00"))
	if e, found := m.FirstUnclaimed(claimed); found {
		t.Errorf("%v must be skipped, not discarded", e.Type)
	}
	if e, n := m.Find(200); n != 1 || !bytes.Equal(m.Raw[e.Off:e.End], unhex(t, "c803010203")) {
		t.Errorf("the unknown extension is not kept octet for octet: %+v", e)
	}
	// A feature that is switched off behaves like an implementation that never had it.
	m = mustParse(t, request(t, "30 00 0004 00000001"))
	if e, found := m.FirstUnclaimed(claimed); !found || e.Type != ExtGREKey {
		t.Error("an unclaimed GRE key must make the message discarded")
	}
}

// Where the texts disagree about a layout, the reading is fixed here.
//
//rfc:3519#3.1-3
func TestLayoutDecisions(t *testing.T) {
	for name, c := range map[string]struct {
		exts string
		want []Ext
	}{
		"139 long as RFC 4433 draws it": {"8b 01 0004 c0000201 83 01 41", []Ext{{Type: 139, Sub: 1, HasSub: true}, {Type: 131}}},
		"139 short as RFC 5944 wants":   {"8b 05 01 c0000201 83 01 41", []Ext{{Type: 139, Sub: 1, HasSub: true}, {Type: 131}}},
		"154 long as RFC 7629 draws it": {"9a 01 0004 04010280 83 01 41", []Ext{{Type: 154, Sub: 1, HasSub: true}, {Type: 131}}},
		"38 reserved octet ignored":     {"26 ff 0006 00000009 0001 83 01 41", []Ext{{Type: 38}, {Type: 131}}},
		"short extension without data":  {"2c 00 83 01 41", []Ext{{Type: 44}, {Type: 131}}},
		"several paddings":              {"00 00 83 01 41 00", []Ext{{}, {}, {Type: 131}, {}}},
		"21 outside messages 20 and 21": {"15 01 aa 83 01 41", []Ext{{Type: 21}, {Type: 131}}},
		"long over 255 octets":          {"24 01 0104" + "00000102" + strings.Repeat("ab", 256), []Ext{{Type: 36, Sub: 1, HasSub: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			m := mustParse(t, request(t, c.exts))
			if len(m.Exts) != len(c.want) {
				t.Fatalf("%d extensions, want %d: %+v", len(m.Exts), len(c.want), m.Exts)
			}
			for i, w := range c.want {
				if e := m.Exts[i]; e.Type != w.Type || e.Sub != w.Sub || e.HasSub != w.HasSub {
					t.Errorf("extension %d: %+v, want %+v", i, e, w)
				}
			}
		})
	}
	for _, layout := range []string{"8b 02 0004 c0000201", "8b 05 02 c0000201"} {
		d, n, err := Get[DynamicHA](mustParse(t, request(t, layout)))
		if n != 1 || err != nil || d.Kind != RedirectedHA || d.Address != ip("192.0.2.1") {
			t.Errorf("%s: %+v %d %v", layout, d, n, err)
		}
	}
	if b, err := AppendExt(nil, &DynamicHA{Kind: RequestedHA, Address: ip("192.0.2.1"), Short: true}); err != nil || !bytes.Equal(b, unhex(t, "8b0501c0000201")) {
		t.Errorf("short layout of 139: %x %v", b, err)
	}
	for _, l := range []uint32{0xffff, 0xffffffff} {
		if !(RegionalLifetime{l}).Infinite() {
			t.Errorf("regional lifetime %#x is infinite", l)
		}
	}
	// "This allows for a longer extension length should more bits be required in the future" (RFC 3543 section 3.2).
	if r, _, err := Get[RevocationSupport](mustParse(t, request(t, "89 08 8000 00000007 abcd"))); err != nil || !r.Inform || r.Timestamp != 7 {
		t.Errorf("longer revocation support: %+v %v", r, err)
	}
	// RFC 3519 section 3.1: the last reserved field is kept, the receiver decides.
	if r, _, err := Get[UDPTunnelRequest](mustParse(t, request(t, "90 06 00 00 00 00 0001"))); err != nil || r.Reserved != 1 {
		t.Errorf("UDP tunnel request with reserved field set: %+v %v", r, err)
	}
}

// What is "sent as zero, ignored on reception" may hold anything: it reads as
// the same, and is written as zero again.
//
//rfc:3519#3.1-1
//rfc:3519#3.1-2
//rfc:3519#3.2-4
//rfc:3519#3.3-1
//rfc:3115#2.1-1
func TestReservedFieldsAreIgnored(t *testing.T) {
	for name, c := range map[string]struct {
		p             interface{ ParseBody([]byte) error }
		sent, dirtied string // the body
	}{
		"UDP Tunnel Request": {&UDPTunnelRequest{}, "00 c0 2f 0000", "ff ff 2f 0000"},
		"UDP Tunnel Reply":   {&UDPTunnelReply{}, "40 80 00 006e", "40 ff ff 006e"},
		"Tunnel Data":        {tunnelData{&TunnelData{}}, "04 2f 0000", "04 2f ffff"},
		"NVSE":               {&NVSE{}, "0000 00000009 0001 aa", "ffff 00000009 0001 aa"},
	} {
		if err := c.p.ParseBody(unhex(t, c.dirtied)); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		again, err := c.p.(interface{ AppendBody([]byte) ([]byte, error) }).AppendBody(nil)
		if err != nil || !bytes.Equal(again, unhex(t, c.sent)) {
			t.Errorf("%s: read as if it were %x, want %s; %v", name, again, c.sent, err)
		}
	}
	// The critical one's octet stands in the frame.
	v, _, err := Get[CVSE](mustParse(t, request(t, "26 ff 0006 00000009 0001")))
	if err != nil || v.Vendor != 9 || v.VendorType != 1 {
		t.Errorf("CVSE: %+v, %v", v, err)
	}
	if b, err := AppendExt(nil, &v); err != nil || b[1] != 0 {
		t.Errorf("CVSE: written as %x, %v", b, err)
	}
}

// tunnelData is the header with an extension's names for reading and writing.
type tunnelData struct{ *TunnelData }

func (d tunnelData) ParseBody(b []byte) error            { return d.ParseFixed(b) }
func (d tunnelData) AppendBody(b []byte) ([]byte, error) { return d.AppendFixed(b) }

// What strangers send must be refused with its place and class, and never panic.
func TestParseErrors(t *testing.T) {
	long := bytes.Repeat([]byte{0}, MaxExtensions+1)
	for name, c := range map[string]struct {
		b    []byte
		off  int
		want error
	}{
		"nothing":                     {nil, 0, ErrShort},
		"unassigned message type":     {[]byte{2, 0, 0, 0}, 0, ErrType},
		"short fixed part":            {[]byte{1, 0, 0}, 3, ErrShort},
		"extension of one octet":      {request(t, "83"), 24, ErrShort},
		"length beyond the datagram":  {request(t, "83 05 41"), 24, ErrLength},
		"long header cut":             {request(t, "83 01 41 24 01 00"), 27, ErrShort},
		"long length too large":       {request(t, "24 01 ffff 00"), 24, ErrLength},
		"CVSE length too large":       {request(t, "26 00 0007 00000009 0001"), 24, ErrLength},
		"too many":                    {append(request(t, ""), long...), 24 + MaxExtensions, ErrTooMany},
		"option of no 8-octet units":  {append(make21(t), 0x15, 0), 20, ErrLength},
		"option longer than the rest": {append(make21(t), 0x15, 2, 1, 0, 0, 0, 0, 0), 20, ErrLength},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Parse(c.b)
			var p *ParseError
			if m != nil || !errors.Is(err, c.want) || !errors.As(err, &p) || p.Off != c.off {
				t.Errorf("got %v, want %v at offset %d", err, c.want, c.off)
			}
		})
	}
}

func make21(t *testing.T) []byte {
	b, err := NewMessage(&FastBindingAck{}).Seal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A payload that contradicts its format is refused; truncated anywhere it never reads as whole.
func TestPayloadErrors(t *testing.T) {
	for _, c := range []struct {
		name, exts string
		read       func(m *Message) error
		want       error
	}{
		{"NAI of no octet", "83 00", readOf[NAI], ErrLength},
		{"challenge of no octet", "84 00", readOf[Challenge], ErrLength},
		{"GRE key of 3 octets", "30 00 0003 000001", readOf[GREKey], ErrShort},
		{"GRE key of 5 octets", "30 00 0005 0000000100", readOf[GREKey], ErrLength},
		{"UDP tunnel request of 5 octets", "90 05 00 00 00 00 00", readOf[UDPTunnelRequest], ErrShort},
		{"encapsulating delivery with data", "82 01 00", readOf[EncapsulatingDelivery], ErrLength},
		{"key nonce of 15 octets", "29 01 001d 00000e10 00000101 0000012c 0002 303132333435363738396162636465", readOf[MobileForeignKeyReply], ErrLength},
		{"message string of no octet", "91 01 01", readOf[MessageString], ErrLength},
		{"Ethernet address of 5 octets", "8a 06 03 0200000000", readOf[LinkLayerAddress], ErrLength},
		{"capability that solicits nobody", "99 02 01 20", readOf[RouteOptimizationCapability], ErrShort},
		{"flow with no binding", "9a 02 0003 01 00 01", readOf[FlowBinding], ErrValue},
		{"flow with nine bindings", "9a 02 000c 01 09 010203040506070809 01", readOf[FlowBinding], ErrValue},
		{"replay style of length 2, as printed", "8d 02 0001", readOf[ReplayStyle], ErrShort},
	} {
		m := mustParse(t, request(t, c.exts))
		if err := c.read(m); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func readOf[T any, P interface {
	*T
	Payload
}](m *Message) error {
	_, n, err := Get[T, P](m)
	if err == nil && n == 0 {
		return ErrAbsent
	}
	return err
}

// Get reads the first and counts them all; GetAll keeps the order; a subtype nobody serves is not taken for another.
func TestGet(t *testing.T) {
	m := mustParse(t, request(t, "86 08 0000 00000009 0001  86 08 0000 0000000a 0002  91 03 01 4141  91 03 03 4242  94 06 00 18 0a140700  94 08 01 00 18 00 0a140700"))
	if v, n, err := Get[NVSE](m); err != nil || n != 2 || v.Vendor != 9 {
		t.Errorf("first NVSE: %+v, %d, %v", v, n, err)
	}
	if all, err := GetAll[NVSE](m); err != nil || len(all) != 2 || all[0].Vendor != 9 || all[1].Vendor != 10 {
		t.Errorf("all NVSE: %+v, %v", all, err)
	}
	if v, n, err := Get[MessageString](m); err != nil || n != 1 || v.Text != "AA" {
		t.Errorf("message string: %+v, %d, %v", v, n, err)
	}
	if _, n, _ := Get[MobileNetworkRequest](m); n != 1 {
		t.Errorf("%d mobile network requests, want 1: an acknowledgement has the same type and another subtype", n)
	}
	if v, n, err := Get[GREKey](m); v != (GREKey{}) || n != 0 || err != nil {
		t.Errorf("absent GRE key: %+v, %d, %v", v, n, err)
	}
	e, _ := m.Find(ExtNVSE)
	if _, err := Decode[NAI](e); !errors.Is(err, ErrType) {
		t.Errorf("an NVSE read as NAI: %v", err)
	}
	if _, n, err := Get[ExperimentalSkippable](mustParse(t, request(t, "ff 00"))); n != 0 || err != nil {
		t.Errorf("a short extension without subtype is not subtype 0: %d, %v", n, err)
	}
	if _, n := m.FindSub(ExtMobileNetwork, 1); n != 1 {
		t.Errorf("FindSub: %d", n)
	}
}

// A datagram cut at any octet parses to an error or to whole extensions that tile what is left.
func TestTruncationAtEveryOctet(t *testing.T) {
	var exts []byte
	for _, g := range goldenExts {
		if _, ok := g.p.(*NewIPv4Address); !ok {
			exts = append(exts, unhex(t, g.hex)...)
		}
	}
	whole := append(request(t, ""), exts...)
	for n := range whole {
		b := whole[:n:n]
		DescribeOctets(b)
		if m, err := Parse(b); err == nil {
			checkTiles(t, m)
		}
	}
	checkTiles(t, mustParse(t, whole))
}

// checkTiles: the fixed part and the extensions cover the datagram without gap or overlap.
func checkTiles(t testing.TB, m *Message) {
	t.Helper()
	at := m.Fixed
	for _, e := range m.Exts {
		if e.Off != at || e.End <= e.Off || e.End > len(m.Raw) || !bytes.HasSuffix(m.Raw[:e.End], e.Body) {
			t.Fatalf("extension %+v does not follow offset %d", e, at)
		}
		at = e.End
	}
	if r := messageRow(m.Type); r.Extensions && at != len(m.Raw) {
		t.Fatalf("%d octets after the last extension", len(m.Raw)-at)
	}
	if m.Rest != len(m.Raw) {
		t.Fatalf("Rest %d, want %d", m.Rest, len(m.Raw))
	}
}

// Messages without extensions give their data untouched.
func TestOpaqueMessages(t *testing.T) {
	m := mustParse(t, unhex(t, "04 04 0000 45000014 83"))
	if len(m.Exts) != 0 || !bytes.Equal(m.Data(), unhex(t, "4500001483")) {
		t.Errorf("tunnel data: %+v", m)
	}
	m = mustParse(t, unhex(t, "ff 83 05"))
	if len(m.Exts) != 0 || !bytes.Equal(m.Data(), []byte{0x83, 5}) {
		t.Errorf("experimental message: %+v", m)
	}
}

// A clone outlives the datagram.
func TestClone(t *testing.T) {
	b := request(t, "83 01 41 00 20 08 00000100 deadbeef 91 06 01 71756f7461")
	want := bytes.Clone(b)
	c := mustParse(t, b).Clone()
	clear(b)
	if !bytes.Equal(c.Raw, want) || !reflect.DeepEqual(c, mustParse(t, want)) {
		t.Errorf("the clone changed with the datagram: %+v", c)
	}
	if n, _, err := Get[NAI](c); err != nil || n.Value != "A" {
		t.Errorf("NAI of the clone: %+v %v", n, err)
	}
}

// Parsing into a used Message leaves nothing of the message before.
func TestParseReuse(t *testing.T) {
	m := mustParse(t, request(t, "83 01 41 84 01 05"))
	before := cap(m.Exts)
	if err := m.Parse(request(t, "84 01 06")); err != nil {
		t.Fatal(err)
	}
	if len(m.Exts) != 1 || m.Exts[0].Type != ExtChallenge || cap(m.Exts) != before {
		t.Errorf("%+v", m.Exts)
	}
	if err := m.Parse(unhex(t, "02")); err == nil || len(m.Exts) != 0 || m.Fixed != 0 {
		t.Errorf("after an error: %+v %v", m, err)
	}
}
