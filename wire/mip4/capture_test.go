package mip4

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"testing"
)

// A co-located node and its home agent, recorded between two other implementations: HMAC-MD5, SPI 256, key "1234567812345678".
var recordedAuthenticated = []struct {
	hex  string
	code Code // of replies
}{
	{"012600640a01010a0a0101140a010209eeacd6b0fb53000020140000010078a54c8fd4e5f64153eda1eed40b43fa", 0},
	{"038000000a01010a0a010114eeacd6b0fb5300002014000001003a84497a0db03ec719f4f4e0fedfa293", CodeHAUnspecified},
	{"012600640a01010a0a0101140a010209eeacd6b0fb630000201400000100fb3e68509db404fd19da5e308798da7c", 0},
	{"038300000a01010a0a010114eeacd6b0fb630000201400000100f57113f28924c122e26b3caad0d3c09b", CodeHAMobileNodeAuth},
	{"012600640a01010b0a0101140a010209000000010000000020140000010042b5c8fd046e67313e8af51f5d35b41b", 0},
	{"038500000a01010b0a010114000000010000000020140000010036327f86ef3dc7eadbc4d7565a09c35a", CodeIdentificationMismatch},
	{"012600000a01010a0a0101140a010209eeacd6b0fb730000201400000100907745b25c79dd25a64e447496dbaf30", 0},
	{"038000000a01010a0a010114eeacd6b0fb73000020140000010067456252b4bdf70bf28aeb642f020c37", CodeHAUnspecified},
	{"012a00640a01010a0a0101140a010209eeacd6b1111be800201400000100226417c76174247d86ee53003c94610b", 0},
	{"030000640a01010a0a010114eeacd6b1111be80020140000010081a11c22fbd6e65a71021752ffac68c6", CodeAccepted},
	{"012a00000a01010a0a0101140a010209eeacd6b424de40002014000001006f2da836f28cf67f3587e5c199630a77", 0},
	{"030000000a01010a0a010114eeacd6b424de4000201400000100f3a34bbdbcae1bf6a04a044773a8efa6", CodeAccepted},
}

// The authenticators of other implementations verify over exactly the octets that Covered gives.
//
//rfc:5944#3.5.1
func TestRecordedAuthenticators(t *testing.T) {
	// The third request and its reply were made with another key on purpose; the home agent said 131.
	wrongKey := map[int]bool{2: true}
	for i, r := range recordedAuthenticated {
		m := mustParse(t, unhex(t, r.hex))
		checkTiles(t, m)
		e, n := m.Find(ExtMobileHome)
		a, err := m.Authentication(e)
		if n != 1 || err != nil || a.SPI != 256 || len(a.Authenticator) != 16 {
			t.Fatalf("packet %d: %d authentication extensions, %+v, %v", i+1, n, a, err)
		}
		mac := hmac.New(md5.New, []byte("1234567812345678"))
		mac.Write(m.Covered(e))
		if good := hmac.Equal(mac.Sum(nil), a.Authenticator); good == wrongKey[i] {
			t.Errorf("packet %d: authenticator good is %v", i+1, good)
		}
		if !bytes.Equal(m.Head(), m.Raw) || len(m.Tail()) != 0 {
			t.Errorf("packet %d: all of it is covered, so all of it is head", i+1)
		}
		switch m.Type {
		case TypeRegistrationRequest:
			q, err := m.Request()
			if err != nil || !q.Flags.Has(FlagD) || q.HomeAgent != ip("10.1.1.20") || q.CareOfAddress != ip("10.1.2.9") {
				t.Errorf("packet %d: %+v %v", i+1, q, err)
			}
		case TypeRegistrationReply:
			p, err := m.Reply()
			if err != nil || p.Code != r.code || p.HomeAgent != ip("10.1.1.20") {
				t.Errorf("packet %d: %+v %v", i+1, p, err)
			}
		}
	}
}

// A registration through a foreign agent without authentication, recorded between two other implementations: the fixed part is all
// there is, and it is what the agent must relay.
func TestRecordedWithoutAuthentication(t *testing.T) {
	for _, h := range []string{
		"0100003cc0a80201c0a80002c0a800030317939f206fd568",
		"0100003cc0a80201c0a80002c0a800030319e746206fd568",
		"0300003cc0a80201c0a80002031bc540206fd568",
		"0300003cc0a80201c0a80002031cb05e206fd568",
	} {
		m := mustParse(t, unhex(t, h))
		if _, ok := m.LastAuthorizing(); ok || len(m.Exts) != 0 || !bytes.Equal(m.Head(), m.Raw) {
			t.Errorf("%s: %+v", h, m)
		}
	}
	q, _ := mustParse(t, unhex(t, "0100003cc0a80201c0a80002c0a800030317939f206fd568")).Request()
	want := RegistrationRequest{Lifetime: 60, HomeAddress: ip("192.168.2.1"), HomeAgent: ip("192.168.0.2"), CareOfAddress: ip("192.168.0.3"), Identification: 0x0317939f206fd568}
	if q != want {
		t.Errorf("got %+v, want %+v", q, want)
	}
}
