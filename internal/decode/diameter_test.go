package decode

import (
	"bytes"
	"strings"
	"testing"

	"careof/wire/diameter"
)

func diameterMessage(t *testing.T) []byte {
	t.Helper()
	rrq := []byte{1, 0, 0, 100, 10, 0, 0, 7, 198, 51, 100, 1, 192, 0, 2, 1, 1, 2, 3, 4, 5, 6, 7, 8}
	m := diameter.NewRequest(diameter.AAMobileNode, diameter.MobileIPv4, diameter.SessionID.Text("s;1"), diameter.UserName.Text("alice@home.example"),
		diameter.OriginHost.Text("fa.visited.example"), diameter.MIPRegRequest.Octets(rrq), diameter.MIPFAToMNMSA.Group(diameter.MIPSessionKey.Text("topsecret")))
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// segment is an IPv4 packet with a TCP segment.
func segment(port uint16, payload []byte) []byte {
	n := 40 + len(payload)
	b := []byte{0x45, 0, byte(n >> 8), byte(n), 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0x9c, 0x40, byte(port >> 8), byte(port),
		0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0}
	return append(b, payload...)
}

func TestDiameterIsReadWithTheRequestInIt(t *testing.T) {
	one := diameterMessage(t)
	answer := diameter.NewRequest(diameter.DeviceWatchdog, 0).Answer(diameter.Success)
	two, err := answer.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		in    func() (*Report, error)
		wants []string
		not   []string
	}{
		{"octets alone", func() (*Report, error) { return Octets(one) }, []string{"Diameter message", "Diameter AMR of alice@home.example from fa.visited.example", "MIP-Reg-Request",
			"Home Address: 10.0.0.7", "RFC 4004 section 7.1", "MIP-Session-Key: [-M-] (9 octets)"}, []string{"topsecret", "746f70736563726574"}},
		{"two messages in a segment", func() (*Report, error) {
			return Octets(segment(3868, append(bytes.Clone(one), two...)))
		}, []string{"Diameter AMR of", "Diameter DWA 2001 DIAMETER_SUCCESS"}, nil},
		{"another port", func() (*Report, error) { return Octets(segment(13868, one)) }, []string{"Diameter AMR"}, nil},
		{"the begin of a message", func() (*Report, error) { return Octets(segment(3868, one[:40])) }, []string{"Diameter, 40 octets of"}, nil},
		{"something else on another port", func() (*Report, error) { return Octets(segment(80, []byte("GET / HTTP/1.1\r\n\r\n"))) }, []string{"Data"}, []string{"Diameter"}},
	} {
		r, err := c.in()
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var text bytes.Buffer
		if err := r.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		for _, w := range c.wants {
			if !strings.Contains(text.String(), w) {
				t.Errorf("%s: no %q in\n%s", c.name, w, text.String())
			}
		}
		for _, w := range c.not {
			if strings.Contains(text.String(), w) {
				t.Errorf("%s: %q in\n%s", c.name, w, text.String())
			}
		}
	}
}
