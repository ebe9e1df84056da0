package agentx

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOpenHasTheLayoutOfTheRFC holds an Open against the drawing of section
// 6.2.1, octet by octet.
//
//rfc:2741#6.2.1
func TestOpenHasTheLayoutOfTheRFC(t *testing.T) {
	got := AppendOpen(nil, Header{Packet: 7}, 5, OID{1, 3, 6, 1, 2, 1, 44}, "mip")
	want := []byte{
		1, 1, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 24,
		5, 0, 0, 0,
		2, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 44,
		0, 0, 0, 3, 'm', 'i', 'p', 0,
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n% x, want\n% x", got, want)
	}
}

func parse(t *testing.T, b []byte) *Request {
	t.Helper()
	h, err := ParseHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseRequest(h, b[HeaderLen:])
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestMessagesRoundTrip(t *testing.T) {
	name := OID{1, 3, 6, 1, 2, 1, 44, 1, 1, 1, 0}
	ranges := []Range{{Start: name, End: OID{1, 3, 6, 1, 2, 1, 45}, Include: true}, {Start: OID{1, 3, 7}}, {Start: OID{2}, End: nil}}
	if got := parse(t, AppendGet(nil, Header{Type: GetNext, Session: 3}, ranges)); cmp.Diff(ranges, got.Ranges) != "" || got.Session != 3 || got.Type != GetNext {
		t.Errorf("GetNext: %+v", got)
	}
	if got := parse(t, AppendGetBulk(nil, Header{}, 1, 20, ranges)); got.NonRepeaters != 1 || got.MaxRepetitions != 20 || len(got.Ranges) != 3 {
		t.Errorf("GetBulk: %+v", got)
	}
	values := []VarBind{
		{name, Int(-1)}, {name, Count(1<<32 + 5)}, {name, Gauge(1 << 40)}, {name, Ticks(9)}, {name, Octets([]byte("abcde"))},
		{name, Address(netip.MustParseAddr("10.10.0.5"))}, {name, Identifier(OID{1, 3, 6, 1, 6})}, {name, Value{Type: Counter64, Number: 1 << 40}},
		{name, Value{Type: EndOfMIBView}},
	}
	got := parse(t, AppendResponse(nil, Header{Packet: 9}, Reply{Error: NotWritable, Index: 2, Variables: values}))
	want := Reply{Error: NotWritable, Index: 2, Variables: values}
	if diff := cmp.Diff(want, got.Reply); diff != "" || got.Packet != 9 {
		t.Errorf("Response (-want +got):\n%s", diff)
	}
	if values[1].Value.Number != 5 || values[2].Value.Number != 0xffffffff {
		t.Error("a counter wraps and a gauge stays")
	}
}

// TestBothByteOrders reads what a master on a machine of the other kind sends.
//
//rfc:2741#6.1
func TestBothByteOrders(t *testing.T) {
	little := []byte{1, 13, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0}
	if r := parse(t, little); r.Type != Ping || r.Session != 1 || r.Transaction != 2 || r.Packet != 3 {
		t.Errorf("%+v", r)
	}
}

func TestBrokenMessagesAreRefused(t *testing.T) {
	good := AppendGet(nil, Header{Type: Get}, []Range{{Start: OID{1, 3, 6, 1, 2, 1}}})
	for n := HeaderLen; n < len(good); n++ {
		h, err := ParseHeader(good)
		if err != nil {
			t.Fatal(err)
		}
		h.Payload = n - HeaderLen
		if _, err := ParseRequest(h, good[HeaderLen:n]); err == nil && n > HeaderLen {
			t.Errorf("cut to %d octets: no error", n)
		}
	}
	huge := bytes.Clone(good)
	huge[16] = 0x7f
	if _, err := ParseHeader(huge); err == nil {
		t.Error("a payload of 2 GB is announced, and believed")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(AppendGet(nil, Header{Type: Get}, []Range{{Start: OID{1, 3, 6, 1, 2, 1, 44}}}))
	f.Add(AppendResponse(nil, Header{}, Reply{Variables: []VarBind{{OID{1, 3}, Octets([]byte("x"))}}}))
	f.Add(AppendOpen(nil, Header{}, 1, OID{1}, "x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if err != nil || h.Payload > len(b)-HeaderLen {
			return
		}
		r, err := ParseRequest(h, b[HeaderLen:HeaderLen+h.Payload])
		if err != nil {
			return
		}
		for _, v := range r.Ranges {
			_ = v.Start.String()
		}
	})
}
