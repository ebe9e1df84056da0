package ha_test

import (
	"net/netip"
	"reflect"
	"testing"

	"careof/internal/core/assoc"
)

// A subscriber with a valid key asks for what is another's: by the other's home
// address, under the other's SPI, as the other's name, and with its own name and
// the other's address. None of it moves, ends or answers anything.
//
//rfc:5944#3.8.2.1
func TestAKeyOpensNobodyElsesBinding(t *testing.T) {
	d := newDriver(t, config(t))
	d.want(0, d.req())
	address := d.want(0, d.van()).HomeAddress
	before := d.bindings()
	thief := func(spi uint32) *assoc.Association { return mustAssoc(t, spi, "bus-bus-bus-bus-", assoc.Timestamps) }
	for _, c := range []struct {
		what string
		spi  uint32
		home netip.Addr
		nai  string
	}{
		{"the address of a node", 258, home, ""},
		{"the address of a node, under its SPI", 256, home, ""},
		{"the name of a node", 258, netip.IPv4Unspecified(), "van@fleet"},
		{"the name of a node, under its SPI", 257, netip.IPv4Unspecified(), "van@fleet"},
		{"its own name, and the address of a node", 258, home, "bus@fleet"},
		{"its own name, and the address that another one got", 258, address, "bus@fleet"},
	} {
		for _, lifetime := range []uint16{300, 0} {
			r := d.req()
			r.home, r.nai, r.lifetime, r.key = c.home, c.nai, lifetime, thief(c.spi)
			r.careOf = netip.MustParseAddr("192.0.2.66")
			r.src = netip.AddrPortFrom(r.careOf, 434)
			if p := d.send(r); p != nil && p.Code < 128 {
				t.Errorf("%s, lifetime %d: code %d", c.what, lifetime, p.Code)
			}
			if after := d.bindings(); !reflect.DeepEqual(after, before) {
				t.Fatalf("%s, lifetime %d: the bindings were %+v and are %+v", c.what, lifetime, before, after)
			}
		}
	}
}
