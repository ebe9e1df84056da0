package diameter

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// The example of RFC 6733 section 4.4.1: padding within a group, and lengths.
//
//rfc:6733#4.4.1
func TestGroupedExampleOfTheRFC(t *testing.T) {
	a := Code(999999).Group(
		OriginHost.Text("example.com"),
		SessionID.Text("grump.example.com:33041;23432;893;0AF3B81"),
		SessionID.Text("grump.example.com:33054;23561;2358;0AF3B82"),
		Code(8341).Octets(make([]byte, 223-8)),
		Code(15930).Octets(make([]byte, 137-8)),
	)
	octets, err := appendList(nil, List{a})
	if err != nil {
		t.Fatal(err)
	}
	if len(octets) != 496 {
		t.Errorf("%d octets, the RFC says 496", len(octets))
	}
	inner, ok := a.Group()
	if !ok || len(inner) != 5 {
		t.Fatalf("group: %v %v", inner, ok)
	}
	for i, at := range []int{8, 28, 80, 132, 356} {
		if inner[i].Offset != at {
			t.Errorf("AVP %d at %d, the RFC draws it at %d", i, inner[i].Offset, at)
		}
	}
}

func testAMR() *Message {
	return NewRequest(AAMobileNode, MobileIPv4,
		SessionID.Text("fa.visited.example;1;2"),
		AuthApplicationID.Uint32(uint32(MobileIPv4)),
		UserName.Text("alice@home.example"),
		DestinationRealm.Text("home.example"),
		OriginHost.Text("fa.visited.example"),
		OriginRealm.Text("visited.example"),
		MIPRegRequest.Octets([]byte{1, 2, 3, 4, 5}),
		MIPMNAAAAuth.Group(MIPMNAAASPI.Uint32(1000), MIPAuthInputDataLength.Uint32(60), MIPAuthenticatorLength.Uint32(20), MIPAuthenticatorOffset.Uint32(66)),
		MIPHomeAgentAddress.Address(netip.MustParseAddr("192.0.2.1")),
		MIPFeatureVector.Uint32(uint32(MNHAKeyRequest|HomeAddressRequested)))
}

func TestARequestComesBackAsItWasMade(t *testing.T) {
	m := testAMR()
	m.HopByHop, m.EndToEnd = 7, 0xabc00001
	octets, err := m.Append([]byte("before"))
	if err != nil {
		t.Fatal(err)
	}
	octets = octets[len("before"):]
	if n, err := Size(octets[:4]); err != nil || n != len(octets) {
		t.Fatalf("Size: %d %v, want %d", n, err, len(octets))
	}
	got, err := Parse(octets)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Check(); err != nil {
		t.Fatal(err)
	}
	if got.Header != m.Header || got.Name() != "AMR" || got.Flags.String() != "RP--" {
		t.Errorf("header %+v, want %+v", got.Header, m.Header)
	}
	if s, ok := got.Text(UserName); s != "alice@home.example" || !ok {
		t.Errorf("User-Name %q %v", s, ok)
	}
	if a, ok := got.Address(MIPHomeAgentAddress); a != netip.MustParseAddr("192.0.2.1") || !ok {
		t.Errorf("MIP-Home-Agent-Address %v %v", a, ok)
	}
	auth, ok := got.Group(MIPMNAAAAuth)
	if spi, ok2 := auth.Uint32(MIPMNAAASPI); spi != 1000 || !ok || !ok2 {
		t.Errorf("MIP-MN-AAA-SPI %d", spi)
	}
	again, err := got.Append(nil)
	if err != nil || !bytes.Equal(again, octets) {
		t.Errorf("written again: %v\n%x\n%x", err, again, octets)
	}
}

// "SNTP … describes a procedure to extend the time to 2104. This procedure MUST be supported by all Diameter nodes."
//
//rfc:6733#4.3.1
func TestTimesGoOnAfter2036(t *testing.T) {
	for _, want := range []string{"1970-01-01T00:00:00Z", "2026-11-22T12:00:00Z", "2036-02-07T06:28:15Z", "2036-02-07T06:28:16Z", "2103-12-31T00:00:00Z"} {
		at, err := time.Parse(time.RFC3339, want)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := EventTimestamp.Time(at).Time(); !ok || !got.Equal(at) {
			t.Errorf("%s came back as %v", want, got)
		}
	}
}

//rfc:6733#7.1.5
//rfc:6733#7.5
func TestCheckSaysWhatIsWrongAndWhere(t *testing.T) {
	without := func(c Code) func(*Message) {
		return func(m *Message) {
			for i := range m.List {
				if m.List[i].Code == c {
					m.List = append(m.List[:i:i], m.List[i+1:]...)
					return
				}
			}
		}
	}
	with := func(a AVP) func(*Message) { return func(m *Message) { m.List = append(m.List, a) } }
	for _, c := range []struct {
		name   string
		break_ func(*Message)
		want   ResultCode
		failed string
		errbit bool
	}{
		{"a missing User-Name", without(UserName), MissingAVP, `User-Name ""`, true},
		{"a number that is missing has a zero-filled value", without(AuthApplicationID), MissingAVP, "Auth-Application-Id 0 (Diameter common message)", true},
		{"twice what may be there once", with(UserName.Text("bob")), AVPOccursTooManyTimes, `User-Name "bob"`, true},
		{"an unknown AVP with the M bit", with(AVP{Code: 9999, Flags: AVPMandatory, Data: []byte{1}}), AVPUnsupported, "AVP(9999) 01", true},
		{"a vendor's AVP is none of ours", with(AVP{Code: UserName, Vendor: 10415, Flags: AVPMandatory | AVPVendor}), AVPUnsupported, "vendor 10415 AVP 1", true},
		{"a vendor of 0", with(AVP{Code: UserName, Flags: AVPMandatory | AVPVendor}), InvalidAVPBits, "", true},
		{"a number of three octets", with(OriginStateID.Octets([]byte{1, 2, 3})), InvalidAVPLength, "Origin-State-Id 010203", true},
		{"a text that is not UTF-8", with(AcctMultiSessionID.Octets([]byte{0xff})), InvalidAVPValue, "", true},
		{"a host with a line feed", with(DestinationHost.Text("a\nb")), InvalidAVPValue, "", true},
		{"an IPv4 address of five octets", with(MIPMobileNodeAddress.Octets([]byte{0, 1, 1, 2, 3, 4, 5})), InvalidAVPLength, "", true},
		{"a group without its SPI", with(MIPOriginatingForeignAAA.Group(OriginRealm.Text("x"))), MissingAVP, "MIP-Originating-Foreign-AAA (8 octets)", true},
		{"an application that is not the header's", func(m *Message) { m.Application = 3 }, InvalidAVPValue, "", true},
		{"the E bit in a request", func(m *Message) { m.Flags |= FlagError }, InvalidHeaderBits, "", true},
		{"a request that must be proxiable and is not", func(m *Message) { m.Flags &^= FlagProxiable }, InvalidHeaderBits, "", true},
		{"a command that nobody knows", func(m *Message) { m.Command = 4711 }, CommandUnsupported, "", true},
	} {
		m := testAMR()
		c.break_(m)
		octets, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(octets)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var e *Error
		if !errors.As(got.Check(), &e) || e.Code != c.want {
			t.Errorf("%s: %v, want %v", c.name, e, c.want)
			continue
		}
		a := got.Refuse(e, OriginHost.Text("h"), OriginRealm.Text("r"))
		if r, _ := a.Result(); r != c.want || (a.Flags&FlagError != 0) != c.errbit || a.IsRequest() {
			t.Errorf("%s: answered with %v, flags %v", c.name, r, a.Flags)
		}
		if g, _ := a.Group(FailedAVP); c.failed != "" && (len(g) != 1 || !strings.HasPrefix(g[0].String(), c.failed)) {
			t.Errorf("%s: Failed-AVP %v, want %s", c.name, g, c.failed)
		}
		if a.Command == 4711 {
			continue
		}
		if err := a.Check(); err != nil {
			t.Errorf("%s: the answer is wrong itself: %v", c.name, err)
		}
	}
}

//rfc:6733#4.1
func TestAnUnknownAVPWithoutTheMBitIsIgnored(t *testing.T) {
	m := testAMR()
	m.List = append(m.List, AVP{Code: 9999, Data: []byte{1}}, AVP{Code: UserName, Vendor: 10415, Flags: AVPVendor})
	octets, _ := m.Append(nil)
	got, err := Parse(octets)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Check(); err != nil {
		t.Error(err)
	}
}

//rfc:6733#6.2
func TestAnAnswerRepeatsWhatItMust(t *testing.T) {
	m := testAMR()
	m.HopByHop, m.EndToEnd, m.Flags = 1, 2, m.Flags|FlagRetransmitted
	one, two := ProxyInfo.Group(ProxyHost.Text("p1"), ProxyState.Octets([]byte("1"))), ProxyInfo.Group(ProxyHost.Text("p2"), ProxyState.Octets([]byte("2")))
	m.List = append(m.List, one, two)
	a := m.Answer(UnableToDeliver, OriginHost.Text("h"), OriginRealm.Text("r"))
	if a.HopByHop != 1 || a.EndToEnd != 2 || a.Flags != FlagProxiable|FlagError || a.Name() != "AMA" || a.Application != MobileIPv4 {
		t.Errorf("header %+v", a.Header)
	}
	if id, _ := a.Text(SessionID); id != "fa.visited.example;1;2" || a.List[0].Code != SessionID {
		t.Errorf("Session-Id %q at the place of %v", id, a.List[0].Code)
	}
	all := a.All(ProxyInfo)
	if len(all) != 2 || !bytes.Equal(all[0].Data, one.Data) || !bytes.Equal(all[1].Data, two.Data) {
		t.Errorf("Proxy-Info %v", all)
	}
}

func TestFramingErrors(t *testing.T) {
	good, err := testAMR().Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		break_ func([]byte) []byte
		want   ResultCode
		at     int
	}{
		{"version 2", func(b []byte) []byte { b[0] = 2; return b }, UnsupportedVersion, 0},
		{"a length that is no multiple of 4", func(b []byte) []byte { b[3]++; return b }, InvalidMessageLength, 1},
		{"a length below the header's", func(b []byte) []byte { b[2], b[3] = 0, 16; return b }, InvalidMessageLength, 1},
		{"a length of 16 MiB", func(b []byte) []byte { b[1] = 0xff; return b }, InvalidMessageLength, 1},
		{"fewer octets than said", func(b []byte) []byte { return b[:len(b)-4] }, InvalidMessageLength, 1},
		{"an AVP that ends behind the message", func(b []byte) []byte { b[20+5] = 1; return b }, InvalidAVPLength, 20},
		{"an AVP shorter than its header", func(b []byte) []byte { b[20+7] = 7; return b }, InvalidAVPLength, 20},
	} {
		_, err := Parse(c.break_(bytes.Clone(good)))
		var e *Error
		if !errors.As(err, &e) || e.Code != c.want || e.Offset != c.at {
			t.Errorf("%s: %v, want %v at %d", c.name, err, c.want, c.at)
		}
	}
}

func TestKeysAreNotPrinted(t *testing.T) {
	if s := MIPSessionKey.Text("secret").String(); strings.Contains(s, "secret") || strings.Contains(s, "736563") {
		t.Error(s)
	}
}
