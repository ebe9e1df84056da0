package binding

import (
	"net/netip"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// What a list gives back is what it was given, in every field, whether it can
// be packed or not.
func TestNothingOfABindingIsLost(t *testing.T) {
	now := time.Unix(1000, 5)
	careOf, peer, agent := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddrPort("198.51.100.1:4000"), netip.MustParseAddrPort("203.0.113.1:434")
	whole := func() Binding {
		b := Binding{
			ID: ByCareOf(careOf), CareOfAddress: careOf, Source: peer, Identification: 1 << 63, Since: now,
			Tunnel: forward.Tunnel{
				Local: agent, Peer: peer, AnyPort: true, Encap: encap.UDP, Inside: encap.GRE, HasKey: true,
				Key: 1 << 31, KeyIn: 3, Mode: forward.Send, Wrap: agent.Addr(), MTU: 1400,
			},
			Broadcast: true, Decapsulates: true, Flags: 0xff,
			Validated: time.Unix(900, 0),
			ReplyTo:   ReplyTo{Link: "eth0", Src: agent, Dst: peer, HW: [6]byte{1, 2, 3, 4, 5, 6}},
		}
		b.Grant(now.Add(time.Second), time.Hour)
		return b
	}
	one := whole()
	filled := func(v reflect.Value, name string) {
		for i := range v.NumField() {
			switch v.Type().Field(i).Name {
			case "Budget", "Spare", "Copies", "Checksum", "PeerKey":
				continue // of what is not packed, and of entries
			}
			if f := v.Field(i); f.IsZero() && name+v.Type().Field(i).Name != "Tunnel.Link" && v.Type().Field(i).Name != "Until" {
				t.Errorf("%s%s is zero: the test has not heard of it", name, v.Type().Field(i).Name)
			}
		}
	}
	filled(reflect.ValueOf(one), "")
	filled(reflect.ValueOf(one.Tunnel), "Tunnel.")
	filled(reflect.ValueOf(one.ReplyTo), "ReplyTo.")
	for name, c := range map[string]struct {
		change func(*Binding)
		packed bool
	}{
		"whole":                      {func(*Binding) {}, true},
		"by number":                  {func(b *Binding) { b.ID = ByNumber(3) }, true},
		"infinite":                   {func(b *Binding) { b.Grant(now, Infinite) }, true},
		"nothing that may be absent": {func(b *Binding) { b.Tunnel.Wrap, b.ReplyTo.Src, b.Tunnel.MTU = netip.Addr{}, netip.AddrPort{}, 0 }, true},
		"another destination":        {func(b *Binding) { b.ReplyTo.Dst = agent }, false},
		"not validated":              {func(b *Binding) { b.Tunnel.Budget, b.Validated = 300, time.Time{} }, false},
		"an underlay":                {func(b *Binding) { b.Tunnel.Link = "wan0" }, false},
		"encryption":                 {func(b *Binding) { b.Tunnel.Inside, b.Tunnel.PeerKey = encap.WireGuard, forward.KeyOf([32]byte{1}) }, false},
		"a large MTU":                {func(b *Binding) { b.Tunnel.MTU = 1 << 16 }, false},
		"IPv6": {func(b *Binding) {
			b.CareOfAddress = netip.MustParseAddr("2001:db8::1")
			b.ID = ByCareOf(b.CareOfAddress)
		}, false},
	} {
		b := whole()
		c.change(&b)
		var l List
		l.Put(b, false, now)
		if got, there := l.Get(b.ID); !there || !got.equal(&b) {
			t.Errorf("%s: there %v\n%+v, put was\n%+v", name, there, got, b)
		}
		if (l.only != nil) != c.packed {
			t.Errorf("%s: packed %v", name, l.only != nil)
		}
	}
	if n := unsafe.Sizeof(packed{}); n > 112 {
		t.Errorf("a packed binding has %d octets, more than its size class", n)
	}
}
