package hostconfig

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"careof/wire/mip4"
)

// reply is a reply with these extensions, which no authenticator covers.
func reply(t testing.TB, list ...mip4.Payload) *mip4.Message {
	t.Helper()
	d := mip4.NewReply(mip4.RegistrationReply{})
	for _, p := range list {
		d.Add(mip4.ZoneHome, p)
	}
	b, err := d.Seal()
	if err != nil {
		t.Fatal(err)
	}
	m, err := mip4.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The octets are those of RFC 4332 section 3: sub-types of 16 bits, a prefix length of
// 16 bits, and both name servers always.
//
//rfc:4332#3
//rfc:4332#3.2
//rfc:4332#3.3
func TestExtensionsAreLaidOutAsTheRFCHasThem(t *testing.T) {
	c := Configuration{PrefixLength: 24, Servers: []netip.Addr{netip.MustParseAddr("10.10.0.53")}, Domain: "a.b"}
	want := []string{"\x00\x01\x00\x18", "\x00\x02\x0a\x0a\x00\x35\x00\x00\x00\x00", "\x00\x06a.b"}
	list := c.extensions()
	if len(list) != len(want) {
		t.Fatalf("%d extensions", len(list))
	}
	for i, p := range list {
		if got := p.(*mip4.NVSE); got.Vendor != 9 || got.VendorType != 14 || string(got.Value) != want[i] {
			t.Errorf("%+v, want %x", got, want[i])
		}
	}
	if got := read(reply(t, list...)); !reflect.DeepEqual(got, c) {
		t.Errorf("read back %+v", got)
	}
}

// What a file of the host must not contain, or what is no host, is left out.
func TestNonsenseIsLeftOut(t *testing.T) {
	for _, one := range []mip4.Payload{
		item(PrefixLength, []byte{1, 24}), item(PrefixLength, []byte{0, 33}), item(PrefixLength, []byte{24}),
		item(DNSServer, []byte{127, 0, 0, 1, 224, 0, 0, 1}), item(DNSServer, []byte{10, 0, 0}), item(DNSServer, nil),
		item(DefaultGateway, []byte{255, 255, 255, 255}), item(DefaultGateway, []byte{0, 0, 0, 0}), item(DHCPServer, []byte{0, 1, 2, 3}),
		item(DNSSuffix, []byte("fleet.example\nnameserver 192.0.2.66")), item(DNSSuffix, []byte("a b")), item(DNSSuffix, []byte("a..b")), item(DNSSuffix, nil),
		item(DNSSuffix, []byte(strings.Repeat("a", 64))), item(ConfigurationURL, []byte("https://a b")), item(ConfigurationURL, []byte("\x1b[2J")),
		item(DHCPClientID, []byte("x")), item(4711, []byte("x")), request(),
		&mip4.NVSE{Vendor: Cisco, VendorType: HostConfiguration, Value: []byte{6}}, &mip4.NVSE{Vendor: Cisco, VendorType: 15, Value: []byte("\x00\x06a.b")},
	} {
		if c := read(reply(t, one)); c.Known() {
			t.Errorf("%+v gave %+v", one, c)
		}
	}
}

// A selector other than 0 means nothing yet.
//
//rfc:4332#3.1
func TestWhoAsksAsksForEverything(t *testing.T) {
	for content, want := range map[string]bool{"\x00\x00": true, "\x00\x01": false, "\x00": false, "\x00\x00\x00": false} {
		if got := asks(reply(t, item(Request, []byte(content)))); got != want {
			t.Errorf("%x: %v", content, got)
		}
	}
}
