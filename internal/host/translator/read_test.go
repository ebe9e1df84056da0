package translator

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"careof/wire/nat64"
)

var router = netip.MustParseAddr("fe80::1")

func prefix(t testing.TB, s string) nat64.Prefix {
	t.Helper()
	p, err := nat64.PrefixOf(netip.MustParsePrefix(s))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// advertisement is a router advertisement with options.
func advertisement(options ...[]byte) []byte {
	return append([]byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}, slices.Concat(options...)...)
}

func pref64(addr string, code, lifetime uint16) []byte {
	b := binary.BigEndian.AppendUint16([]byte{38, 2}, lifetime/8<<3|code)
	return append(b, netip.MustParseAddr(addr).AsSlice()[:12]...)
}

func rdnss(lifetime uint32, servers ...string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{25, byte(1 + 2*len(servers)), 0, 0}, lifetime)
	for _, s := range servers {
		b = append(b, netip.MustParseAddr(s).AsSlice()...)
	}
	return b
}

//rfc:8781#4
//rfc:8106#5.1
func TestAdvertisedPrefixesAndNameServers(t *testing.T) {
	m := advertisement([]byte{1, 1, 2, 0, 0, 0, 0, 1}, pref64("64:ff9b::", 0, 1800), pref64("2001:db8:122:344::", 1, 65528),
		pref64("2001:db8:122:300::", 2, 8), pref64("2001:db8:122::", 3, 8), pref64("2001:db8:100::", 4, 8), pref64("2001:db8::", 5, 0),
		rdnss(1<<32-1, "2001:db8::53", "fe80::53"))
	got, err := readAdvertisement(m, router, 255)
	if err != nil {
		t.Fatal(err)
	}
	want := []advertised{
		{prefix: prefix(t, "64:ff9b::/96"), lifetime: 1800 * time.Second}, {prefix: prefix(t, "2001:db8:122:344::/64"), lifetime: 65528 * time.Second},
		{prefix: prefix(t, "2001:db8:122:300::/56"), lifetime: 8 * time.Second}, {prefix: prefix(t, "2001:db8:122::/48"), lifetime: 8 * time.Second},
		{prefix: prefix(t, "2001:db8:100::/40"), lifetime: 8 * time.Second}, {prefix: prefix(t, "2001:db8::/32")},
		{server: netip.MustParseAddr("2001:db8::53"), lifetime: forever}, {server: netip.MustParseAddr("fe80::53"), lifetime: forever},
	}
	if !slices.Equal(got, want) {
		t.Errorf("read %+v, want %+v", got, want)
	}
}

// A router advertisement from beyond the link is none, nor is what has no
// well-formed options (RFC 4861 section 6.1.2).
//
//rfc:4861#6.1.2
func TestAdvertisementsThatAreRefused(t *testing.T) {
	good := pref64("64:ff9b::", 0, 1800)
	for name, c := range map[string]struct {
		m    []byte
		from string
		hops int
	}{
		"routed":                  {advertisement(good), "fe80::1", 254},
		"from a global address":   {advertisement(good), "2001:db8::1", 255},
		"short":                   {advertisement(good)[:15], "fe80::1", 255},
		"another code":            {append([]byte{134, 1}, advertisement(good)[2:]...), "fe80::1", 255},
		"a solicitation":          {append([]byte{133}, advertisement(good)[1:]...), "fe80::1", 255},
		"an option of length 0":   {advertisement(good, []byte{38, 0, 0, 0, 0, 0, 0, 0}), "fe80::1", 255},
		"an option without end":   {advertisement(good, []byte{38, 2, 0, 0, 0, 0, 0, 0}), "fe80::1", 255},
		"half an option's header": {advertisement(good, []byte{38}), "fe80::1", 255},
	} {
		if got, err := readAdvertisement(c.m, netip.MustParseAddr(c.from), c.hops); err == nil {
			t.Errorf("%s: read %+v", name, got)
		}
	}
}

// Options that nobody has defined are passed over, and the others of the same
// advertisement count.
//
//rfc:8781#4
func TestOptionsThatArePassedOver(t *testing.T) {
	good := pref64("64:ff9b::", 0, 1800)
	for name, bad := range map[string][]byte{
		"code 6":                pref64("64:ff9b::", 6, 1800),
		"code 7":                pref64("64:ff9b::", 7, 1800),
		"three units":           append([]byte{38, 3}, make([]byte, 22)...),
		"one unit":              {38, 1, 0, 8, 0, 0, 0, 0},
		"multicast":             pref64("ff02::", 0, 1800),
		"link-local":            pref64("fe80::", 1, 1800),
		"nothing":               pref64("::", 0, 1800),
		"bits 64 to 71":         pref64("2001:db8:0:0:100::", 0, 1800),
		"half a name server":    {25, 2, 0, 0, 0, 0, 7, 8, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0},
		"multicast server":      rdnss(60, "ff02::1"),
		"loopback for a server": rdnss(60, "::1"),
	} {
		got, err := readAdvertisement(advertisement(bad, good), router, 255)
		if err != nil || len(got) != 1 || got[0].prefix != prefix(t, "64:ff9b::/96") {
			t.Errorf("%s: read %+v, %v", name, got, err)
		}
	}
}

func FuzzAdvertisement(f *testing.F) {
	f.Add(advertisement(pref64("64:ff9b::", 0, 1800), rdnss(60, "2001:db8::53")))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := readAdvertisement(b, router, 255)
		if err != nil && len(list) > 0 {
			t.Errorf("%v, and %+v", err, list)
		}
		for _, a := range list {
			if a.prefix.IsValid() == a.server.IsValid() || a.lifetime < 0 {
				t.Errorf("read %+v", a)
			}
		}
	})
}

// reply is a name server's answer.
func reply(t testing.TB, change func(*dnsmessage.Message), addresses ...string) []byte {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(question(77)); err != nil {
		t.Fatal(err)
	}
	m.Response = true
	for _, s := range addresses {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: wellKnown, Class: dnsmessage.ClassINET, TTL: 600},
			Body:   &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(s).As16()},
		})
	}
	if change != nil {
		change(&m)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Of an answer the prefix is what is around one of the name's two addresses,
// wherever that stands.
//
//rfc:7050#3
func TestAnswersOfATranslatorsNameServer(t *testing.T) {
	for want, addresses := range map[string][]string{
		"64:ff9b::/96":          {"64:ff9b::192.0.0.170", "64:ff9b::192.0.0.171"},
		"2001:db8:122:344::/64": {"2001:db8:122:344:c0:0:aa00::"},
		"2001:db8:122:300::/56": {"2001:db8:122:3c0:0:aa::"},
		"2001:db8:122::/48":     {"2001:db8:122:c000:0:aa00::"},
		"2001:db8:100::/40":     {"2001:db8:1c0:0:aa::"},
		"2001:db8::/32":         {"2001:db8:c000:aa::"},
		// In one of the two the other place holds such an address too.
		"2001:db8:c000:aa::/96": {"2001:db8:c000:aa::192.0.0.171", "2001:db8:c000:aa::192.0.0.170"},
	} {
		list, ttl, err := readAnswer(reply(t, nil, addresses...), 77)
		if err != nil || len(list) != 1 || list[0] != prefix(t, want) || ttl != 600*time.Second {
			t.Errorf("%v: read %v, %v, %v; want %s", addresses, list, ttl, err, want)
		}
	}
}

// A server that does not translate, and one that lies, tell of no translator; and
// what answers another question is no answer.
//
//rfc:7050#3
func TestAnswersThatTellOfNoTranslator(t *testing.T) {
	for name, c := range map[string]struct {
		answer []byte
		want   error
	}{
		"no address":     {reply(t, nil), errNoTranslator},
		"another one":    {reply(t, nil, "2001:db8::1"), errNoTranslator},
		"the name fails": {reply(t, func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeNameError }, "64:ff9b::192.0.0.170"), errNoTranslator},
		"of no network":  {reply(t, nil, "::192.0.0.170"), errNoTranslator},
		"multicast":      {reply(t, nil, "ff0e::192.0.0.170"), errNoTranslator},
		"another number": {reply(t, func(m *dnsmessage.Message) { m.ID++ }, "64:ff9b::192.0.0.170"), errNotOurs},
		"a question":     {reply(t, func(m *dnsmessage.Message) { m.Response = false }, "64:ff9b::192.0.0.170"), errNotOurs},
		"another name": {reply(t, func(m *dnsmessage.Message) {
			m.Questions[0].Name = dnsmessage.MustNewName("example.")
		}, "64:ff9b::192.0.0.170"), errNotOurs},
		"no question": {reply(t, func(m *dnsmessage.Message) { m.Questions = nil }, "64:ff9b::192.0.0.170"), errNotOurs},
		"cut":         {reply(t, nil, "64:ff9b::192.0.0.170")[:50], errNotOurs},
		"nothing":     {nil, errNotOurs},
	} {
		if list, _, err := readAnswer(c.answer, 77); !errors.Is(err, c.want) || len(list) > 0 {
			t.Errorf("%s: read %v, %v", name, list, err)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(reply(f, nil, "64:ff9b::192.0.0.170", "64:ff9b::192.0.0.171"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, ttl, err := readAnswer(b, 77)
		if (err == nil) != (len(list) > 0) || err == nil && (ttl < leastTTL || ttl > mostTTL) {
			t.Errorf("read %v, %v, %v", list, ttl, err)
		}
	})
}
