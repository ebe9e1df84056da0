package mip4

import "testing"

// The registration fast path is what the rate of the home agent rests on: read a request, sign a reply.
func BenchmarkReadRequest(b *testing.B) {
	raw := unhex(b, recordedAuthenticated[8].hex)
	raw = append(raw[:24:24], append(unhex(b, "83 0e 6d6e406578616d706c652e636f6d"), raw[24:]...)...)
	var m Message
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Parse(raw); err != nil {
			b.Fatal(err)
		}
		if _, err := m.Request(); err != nil {
			b.Fatal(err)
		}
		if _, n, err := Get[NAI](&m); n != 1 || err != nil {
			b.Fatal(n, err)
		}
		if e, ok := m.LastAuthorizing(); !ok || len(m.Covered(e)) == 0 {
			b.Fatal("no authenticator")
		}
	}
}

func BenchmarkWriteReply(b *testing.B) {
	out := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		d := NewReply(RegistrationReply{Lifetime: 600, HomeAddress: ip("10.0.0.5"), HomeAgent: ip("198.51.100.1"), Identification: 7})
		d.Add(ZoneHome, &NAI{Value: "mn@example.com"}).Authenticate(ExtMobileHome, fixedSigner{})
		if _, err := d.Append(out); err != nil {
			b.Fatal(err)
		}
	}
}

// fixedSigner costs nothing, so that the benchmark measures the codec.
type fixedSigner struct{}

func (fixedSigner) SPI() uint32 { return 256 }
func (fixedSigner) Size() int   { return 16 }
func (fixedSigner) Sign(dst, _ []byte) []byte {
	return append(dst, "0123456789abcdef"...)
}
