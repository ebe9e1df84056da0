package mip4

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// association is a security association with HMAC-MD5.
type association struct {
	spi uint32
	key string
}

func (a association) SPI() uint32 { return a.spi }
func (a association) Size() int   { return md5.Size }
func (a association) Sign(dst, covered []byte) []byte {
	mac := hmac.New(md5.New, []byte(a.key))
	mac.Write(covered)
	return mac.Sum(dst)
}

var (
	home    = association{256, "between node and home"}
	foreign = association{300, "between node and foreign"}
	agents  = association{400, "between the agents"}
	aaa     = association{500, "between node and AAA"}
)

// types prints the extensions of a message: "131 32 132 36/1 33".
func types(m *Message) string {
	var s []string
	for _, e := range m.Exts {
		if e.HasSub {
			s = append(s, fmt.Sprintf("%d/%d", e.Type, e.Sub))
		} else {
			s = append(s, fmt.Sprint(uint8(e.Type)))
		}
	}
	return strings.Join(s, " ")
}

func seal(t *testing.T, d *Draft) *Message {
	t.Helper()
	b, err := d.Seal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := d.Seal()
	if err != nil || !bytes.Equal(b, again) {
		t.Fatalf("sealed twice: %x and %x, %v", b, again, err)
	}
	behind, err := d.Append([]byte("before"))
	if err != nil || !bytes.Equal(behind, append([]byte("before"), b...)) {
		t.Fatalf("appended behind other octets: %x, %v", behind, err)
	}
	return mustParse(t, b)
}

// verify checks the authenticator at the only extension t/sub.
func verify(t *testing.T, m *Message, et ExtType, sub uint8, a association) {
	t.Helper()
	for _, e := range m.Exts {
		if e.is(et, sub) {
			got, err := m.Authentication(e)
			if err != nil || got.SPI != a.spi || !hmac.Equal(got.Authenticator, a.Sign(nil, m.Covered(e))) {
				t.Errorf("%v: the authenticator does not verify: %+v %v", et, got, err)
			}
			return
		}
	}
	t.Errorf("no %v in %s", et, types(m))
}

// The zones come out in the RFC's order whatever the order of the calls, and each authenticator covers all that is before it.
//
//rfc:5944#3.6.1.3
//rfc:4721#6
//rfc:5944#3.2-3
//rfc:5944#3.3-3
func TestRequestOrder(t *testing.T) {
	d := NewRequest(RegistrationRequest{Flags: FlagD | FlagT, HomeAddress: ip("10.0.0.5"), HomeAgent: ip("198.51.100.1"), CareOfAddress: ip("203.0.113.9")})
	d.Authenticate(ExtMobileForeign, foreign)
	d.Add(ZoneForeign, &EncapsulatingDelivery{})
	d.Authenticate(ExtGeneralizedAuth, aaa)
	d.Add(ZoneAuthorizing, &Challenge{Value: []byte{1, 2, 3, 4}})
	d.Authenticate(ExtMobileHome, home)
	d.Add(ZoneHome, &NAI{Value: "van7@fleet.example"})
	d.Add(ZoneHome, &UDPTunnelRequest{})
	m := seal(t, d)
	if got, want := types(m), "131 144/0 32 132 36/1 130 33"; got != want {
		t.Fatalf("order %s, want %s", got, want)
	}
	verify(t, m, ExtMobileHome, 0, home)
	verify(t, m, ExtGeneralizedAuth, 1, aaa)
	verify(t, m, ExtMobileForeign, 0, foreign)
	if got := types(mustParse(t, m.Head())); got != "131 144/0 32 132 36/1" {
		t.Errorf("the head ends with the last authorization-enabling extension, got %s", got)
	}
	if tail := m.Tail(); len(tail) != 2 || tail[0].Type != ExtEncapsulatingDelivery || tail[1].Type != ExtMobileForeign {
		t.Errorf("tail %+v", tail)
	}
}

// A foreign agent forwards the head octet for octet, strips the rest and adds its own extensions and 34.
//
//rfc:5944#3.7.2.2
//rfc:3024#3.3
//rfc:3024#3.3-1
//rfc:6245#4.1-7
func TestRelayedRequest(t *testing.T) {
	d := NewRequest(RegistrationRequest{Flags: FlagT, HomeAddress: ip("10.0.0.5")}).Add(ZoneHome, &NAI{Value: "a@b"}).AddRaw(ZoneHome, unhex(t, "c8 01 07"))
	in := seal(t, d.Authenticate(ExtMobileHome, home).Add(ZoneForeign, &EncapsulatingDelivery{}).Authenticate(ExtMobileForeign, foreign))
	out := seal(t, RelayDraft(in.Head()).Add(ZoneForeign, &RevocationSupport{Timestamp: 1}).Add(ZoneForeign, &GREKey{Key: 7}).Authenticate(ExtForeignHome, agents))
	if got, want := types(out), "131 200 32 137 48/0 34"; got != want {
		t.Fatalf("relayed %s, want %s", got, want)
	}
	if !bytes.Equal(out.Head(), in.Head()) || !bytes.HasPrefix(out.Raw, in.Head()) {
		t.Error("the head was touched")
	}
	verify(t, out, ExtMobileHome, 0, home)
	verify(t, out, ExtForeignHome, 0, agents)
	// Without any authentication all extensions are the head.
	bare := mustParse(t, request(t, "83 01 41"))
	if got := types(mustParse(t, bare.Head())); got != "131" {
		t.Errorf("head without authentication: %q", got)
	}
	delivery := mustParse(t, request(t, "83 01 41 82 00 c8 00"))
	if got := types(mustParse(t, delivery.Head())); got != "131" {
		t.Errorf("head before a 130 without a 32: %q", got)
	}
	withForeign := mustParse(t, request(t, "83 01 41 21 05 00000100 aa"))
	if got := types(mustParse(t, withForeign.Head())); got != "131" {
		t.Errorf("head before a 33 without a 32: %q", got)
	}
}

// A home agent's reply: 32 covers what is for the node, 34 covers also what is for the agent.
//
//rfc:5944#3.8.3.3
//rfc:6245#4.2
func TestReplyOrder(t *testing.T) {
	d := NewReply(RegistrationReply{Code: CodeAccepted, Lifetime: 600, HomeAddress: ip("10.0.0.5"), HomeAgent: ip("198.51.100.1")})
	d.Authenticate(ExtForeignHome, agents).Add(ZoneForeign, &GREKey{Key: 7}).Add(ZoneHome, &NAI{Value: "a@b"})
	d.Add(ZoneForeign, &UDPTunnelReply{Keepalive: 110}).Add(ZoneForeign, &Challenge{Value: []byte{1}}).Authenticate(ExtMobileHome, home)
	d.SetReply(func(r *RegistrationReply) { r.Lifetime = 300 })
	m := seal(t, d)
	if got, want := types(m), "131 32 48/0 44/0 132 34"; got != want {
		t.Fatalf("order %s, want %s", got, want)
	}
	if r, err := m.Reply(); err != nil || r.Lifetime != 300 {
		t.Errorf("the changed lifetime must be in the message: %+v %v", r, err)
	}
	verify(t, m, ExtMobileHome, 0, home)
	verify(t, m, ExtForeignHome, 0, agents)
}

// Which extension authorizes depends on the recipient of the message.
//
//rfc:5944#1.6
//rfc:4857#11
//rfc:4988#8
func TestAuthorizationEnabling(t *testing.T) {
	regional := seal(t, NewMessage(&RegionalRequest{}).AuthenticateGeneralized(AuthMobileGFA, aaa).Add(ZoneForeign, &HierarchicalFA{Address: ip("192.0.2.1")}).AuthenticateGeneralized(AuthForeignForeign, agents))
	if got := types(regional); got != "36/3 140 36/2" {
		t.Fatalf("regional registration: %s", got)
	}
	verify(t, regional, ExtGeneralizedAuth, AuthForeignForeign, agents)
	if got := types(mustParse(t, regional.Head())); got != "36/3" {
		t.Errorf("36/3 authorizes a regional registration: head %s", got)
	}
	fast := seal(t, NewMessage(&FastBindingUpdate{}).AuthenticateGeneralized(AuthMobilePAR, aaa))
	if _, ok := fast.LastAuthorizing(); !ok {
		t.Error("36/4 authorizes a fast binding update")
	}
	plain := seal(t, NewRequest(RegistrationRequest{}).AuthenticateGeneralized(AuthMobileGFA, aaa))
	if _, ok := plain.LastAuthorizing(); ok {
		t.Error("36/3 does not authorize a registration request")
	}
	other := seal(t, NewRequest(RegistrationRequest{}).Authenticate(ExtForeignHome, agents))
	if _, ok := other.LastAuthorizing(); ok {
		t.Error("34 does not authorize a registration request")
	}
}

// A revocation between agents ends with 34, towards a co-located node with 32.
//
//rfc:3543#3.3
func TestRevocationOrder(t *testing.T) {
	r := Revocation{FromHomeAgent: true, HomeAddress: ip("10.0.0.5"), Identifier: 7}
	m := seal(t, NewMessage(&r).Add(ZoneHome, &MessageString{From: MessageFromHomeAgent, Text: "bye"}).Authenticate(ExtForeignHome, agents))
	if got := types(m); got != "145/1 34" {
		t.Errorf("to an agent: %s", got)
	}
	verify(t, m, ExtForeignHome, 0, agents)
	m = seal(t, NewMessage(&r).Authenticate(ExtMobileHome, home))
	if got := types(m); got != "32" {
		t.Errorf("to a node: %s", got)
	}
	verify(t, m, ExtMobileHome, 0, home)
}

type badSigner struct {
	association
	size int
}

func (s badSigner) Size() int { return s.size }

// A draft that breaks the RFC's order or a format cannot be sealed.
func TestDraftErrors(t *testing.T) {
	q := func() *Draft { return NewRequest(RegistrationRequest{}) }
	for name, c := range map[string]struct {
		d    *Draft
		want error
	}{
		"NAI after 32":                  {q().Add(ZoneForeign, &NAI{Value: "a@b"}), ErrZone},
		"delivery style before 32":      {q().Add(ZoneHome, &EncapsulatingDelivery{}), ErrZone},
		"home extension on a relay":     {RelayDraft([]byte{1}).Add(ZoneHome, &NAI{Value: "a@b"}), ErrZone},
		"raw octets before a relay":     {RelayDraft([]byte{1}).AddRaw(ZoneAuthorizing, []byte{0}), ErrZone},
		"32 on a relay":                 {RelayDraft([]byte{1}).Authenticate(ExtMobileHome, home), ErrZone},
		"no such zone":                  {q().AddRaw(zoneCount, []byte{0}), ErrZone},
		"two 32":                        {q().Authenticate(ExtMobileHome, home).Authenticate(ExtMobileHome, home), ErrDuplicate},
		"33 and 34":                     {q().Authenticate(ExtMobileForeign, foreign).Authenticate(ExtForeignHome, agents), ErrDuplicate},
		"authenticate with 131":         {q().Authenticate(ExtNAI, home), ErrType},
		"no association":                {q().Authenticate(ExtMobileHome, nil), ErrAbsent},
		"NAI of 256 octets":             {q().Add(ZoneHome, &NAI{Value: strings.Repeat("a", 256)}), ErrLength},
		"vendor value of 248 octets":    {q().Add(ZoneHome, &NVSE{Value: make([]byte, 248)}), ErrTooLong},
		"message string of 255 octets":  {q().Add(ZoneHome, &MessageString{From: 1, Text: strings.Repeat("a", 255)}), ErrLength},
		"IPv6 home agent":               {q().Add(ZoneHome, &DynamicHA{Kind: 1, Address: ip("2001:db8::1")}), ErrAddress},
		"IPv6 care-of address":          {NewRequest(RegistrationRequest{CareOfAddress: ip("2001:db8::1")}), ErrAddress},
		"unassigned subtype":            {q().Add(ZoneHome, &DynamicHA{Kind: 3}), ErrValue},
		"fast binding of 1024 s":        {NewMessage(&FastBindingUpdate{Lifetime: 1024}), ErrValue},
		"authenticator of 252 octets":   {q().Authenticate(ExtMobileHome, badSigner{home, 252}), ErrTooLong},
		"authenticator of no octet":     {q().Authenticate(ExtMobileHome, badSigner{home, 0}), ErrTooLong},
		"nothing to relay":              {RelayDraft(nil), ErrShort},
		"set the reply of a request":    {q().SetReply(func(*RegistrationReply) {}), ErrType},
		"set the request of a reply":    {NewReply(RegistrationReply{}).SetRequest(func(*RegistrationRequest) {}), ErrType},
		"the first error is remembered": {q().Add(ZoneForeign, &NAI{Value: "a"}).Authenticate(ExtNAI, home), ErrZone},
		"flow with nine bindings":       {q().Add(ZoneHome, &FlowBinding{BindingIDs: make([]byte, 9)}), ErrValue},
		"route optimization code 32":    {q().Add(ZoneHome, &RouteOptimizationReply{Code: 32}), ErrValue},
	} {
		b, err := c.d.Seal()
		if !errors.Is(err, c.want) || len(b) != 0 {
			t.Errorf("%s: %x, %v, want %v", name, b, err, c.want)
		}
	}
	if b, err := q().Add(ZoneHome, &NVSE{Value: make([]byte, 247)}).Seal(); err != nil || len(b) != 24+2+255 {
		t.Errorf("the longest vendor value, 247 octets, must fit: %d octets, %v", len(b), err)
	}
	// A panic only for a programmer's mistake: an association that lies about its size.
	defer func() {
		if recover() == nil {
			t.Error("a signer that writes more than it promised must not go unnoticed")
		}
	}()
	_, _ = q().Authenticate(ExtMobileHome, badSigner{home, 12}).Seal()
}

// Authentication and Covered on what is no proper authentication extension.
func TestMalformedAuthentication(t *testing.T) {
	for _, c := range []struct {
		exts string
		want error
	}{
		{"20 00", ErrLength}, {"20 03 000001", ErrLength}, {"20 04 00000100", ErrLength},
		{"24 01 0013 00000100 000102030405060708090a0b0c0d0e", ErrLength}, {"83 04 61626364", ErrType},
	} {
		m := mustParse(t, request(t, c.exts))
		if _, err := m.Authentication(m.Exts[0]); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.exts, err, c.want)
		}
	}
	for _, exts := range []string{"20 03 000001", "83 04 61626364"} {
		m := mustParse(t, request(t, exts))
		if got := m.Covered(m.Exts[0]); got != nil {
			t.Errorf("%s covers %x", exts, got)
		}
	}
}

// The Mobile-AAA authenticator for a CHAP-style server and by HMAC-MD5, over a payload of 24 zero octets and challenge a1b2c3d4
// with key 00..0f.
//
//rfc:4721#8
//rfc:4721#6
func TestMobileAAAVectors(t *testing.T) {
	key := make([]byte, 16)
	for i := range key {
		key[i] = byte(i)
	}
	payload := make([]byte, 24)
	m := &Message{Type: TypeRegistrationRequest, Raw: append(payload, unhex(t, "24010014 00000002 3dbda6510d6bc4daec6e9666e1318c5c")...), Fixed: 24}
	e, err := frame(m.Type, m.Raw, 24)
	if err != nil {
		t.Fatal(err)
	}
	m.Exts = []Ext{e}
	challenge := unhex(t, "a1b2c3d4")
	inner := md5.Sum(m.Covered(e))
	if want := unhex(t, "070ac3e982d2b2ca376913e237f7cde3"); !bytes.Equal(inner[:], want) {
		t.Errorf("MD5 of the covered octets %x, want %x", inner, want)
	}
	outer := md5.Sum(bytes.Join([][]byte{challenge[:1], key, inner[:], challenge}, nil))
	a, err := m.Authentication(e)
	if err != nil || a.SPI != 2 || !bytes.Equal(outer[:], a.Authenticator) {
		t.Errorf("CHAP authenticator %x, want %x (%v)", outer, a.Authenticator, err)
	}
	signer := association{256, string(key)}
	b, err := RelayDraft(make([]byte, 24)).Seal()
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, unhex(t, "24010014 00000100")...)
	if got, want := signer.Sign(nil, b), unhex(t, "50b70628cede462266b06e0f972559f8"); !bytes.Equal(got, want) {
		t.Errorf("HMAC-MD5 %x, want %x", got, want)
	}
}

// The correspondent's authenticator protects exactly the listed fields: neither Subtype nor Reserved.
//
//rfc:6521#5.3
func TestCoveredCorrespondent(t *testing.T) {
	m := mustParse(t, request(t, "83 01 41 31 16 02 00 0007 0009 30313233343536373839616263646566"))
	e, _ := m.Find(ExtRouteOptimization)
	got, ok := m.CoveredCorrespondent(nil, e)
	want := append(append([]byte(nil), m.Raw[:27]...), unhex(t, "31 16 0007 0009")...)
	if !ok || !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
	if _, ok := m.CoveredCorrespondent(nil, m.Exts[0]); ok {
		t.Error("an NAI covers nothing")
	}
}
