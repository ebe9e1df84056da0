package aaa_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"layeh.com/radius"

	question "careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/host/aaa"
	"careof/internal/host/aaa/aaatest"
)

// Debian's FreeRADIUS makes the keys that a node asks for of nonces: agent and node
// have the same ones, each question has others, and they come encrypted.
//
//rfc:3957#5
func TestFreeRADIUSMakesKeysOfNonces(t *testing.T) {
	ports := freePorts(t, 2)
	aaatest.FreeRADIUS(t, func(f func()) { f() }, "port = 1812", "port = "+ports[0], "port = 1813", "port = "+ports[1])
	c := aaa.NewRADIUS(aaa.RADIUSConfig{Timeout: 5 * time.Second, KeyLifetime: time.Hour, Servers: []aaa.Server{
		{Address: netip.MustParseAddrPort("127.0.0.1:" + ports[0]), Secret: []byte(aaatest.Secret)},
	}})
	q := asking()
	q.Wishes = question.KeyWishes{
		MobileHome:    question.KeyWish{MobileSPI: 1000, AgentSPI: 2000},
		MobileForeign: question.KeyWish{MobileSPI: 1001, AgentSPI: 2001},
	}
	secret := question.CHAP(assoc.NewKey([]byte("van7-password")))
	seen := make(map[string]bool)
	for range 3 {
		g, err := c.Answer(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range []struct {
			name    string
			key     *question.SessionKey
			in, out uint32
		}{{"MN-HA", g.Keys.MobileHome, 2000, 1000}, {"MN-FA", g.Keys.MobileForeign, 2001, 1001}} {
			if one.key == nil {
				t.Fatalf("no %s key", one.name)
			}
			want, err := assoc.NewPair(one.in, one.out, assoc.HMACSHA1, secret.Derive(one.key.Nonce, []byte(q.NAI)), assoc.Timestamps)
			if err != nil {
				t.Fatal(err)
			}
			if !one.key.Association.Equal(want) || one.key.Lifetime != time.Hour || one.key.AAASPI != 2 || len(one.key.Nonce) != 20 {
				t.Errorf("%s: %+v, want the association %v", one.name, one.key, want)
			}
			if seen[string(one.key.Nonce)] {
				t.Errorf("%s: a nonce is there twice", one.name)
			}
			seen[string(one.key.Nonce)] = true
		}
	}
	q.Wishes.MobileHome = question.KeyWish{}
	if g, err := c.Answer(t.Context(), q); err != nil || g.Keys.MobileHome != nil || g.Keys.MobileForeign == nil {
		t.Errorf("granted %+v, %v: one key is wanted", g.Keys, err)
	}
}

// Key material that is none refuses the node, as an answer that cannot be read.
func TestKeysThatAreNone(t *testing.T) {
	vsa := func(n byte, v ...byte) *radius.AVP {
		return &radius.AVP{Type: 26, Attribute: append([]byte{0, 0, 0x7e, 0xd9, n, byte(2 + len(v))}, v...)}
	}
	for what, with := range map[string][]*radius.AVP{
		"a key in clear":         {vsa(6, make([]byte, 20)...), vsa(7, make([]byte, 20)...)},
		"a nonce of four octets": {vsa(6, 1, 2, 3, 4), vsa(7, append([]byte{0x80, 0}, make([]byte, 32)...)...)},
		"no salt":                {vsa(6, make([]byte, 20)...), vsa(7, make([]byte, 34)...)},
	} {
		f := serve(t, func(_ []byte, p *radius.Packet) [][]byte {
			return [][]byte{signed(t, p, radius.CodeAccessAccept, with...)}
		})
		q := asking()
		q.Wishes.MobileHome = question.KeyWish{MobileSPI: 1000, AgentSPI: 2000}
		if g, err := client(f.server()).Answer(t.Context(), q); err == nil {
			t.Errorf("%s: granted %+v", what, g.Keys)
		}
	}
}

// A stock FreeRADIUS that speaks WiMAX, with the dictionary that it comes with: a
// home agent that asks in those attributes gets the key that the server's list has,
// or the one that its module "wimax" makes of a root key, each under its SPI; and
// a foreign agent gets the home agent.
func TestFreeRADIUSSpeaksWiMAX(t *testing.T) {
	const listed, rooted = "rail1@fleet.example", "bus9@fleet.example"
	emsk := bytes.Repeat([]byte{0x5a}, 64)
	mac := func(key []byte, parts ...string) []byte {
		h := hmac.New(sha256.New, key)
		for _, p := range parts {
			h.Write([]byte(p))
		}
		return h.Sum(nil)
	}
	// MIP-RK, of the EMSK, and and the SPI of that, as the module has it.
	const usage = "miprk@wimaxforum.org\x00\x02\x00\x01"
	first := mac(emsk, usage)
	root := append(first, mac(emsk, string(first), usage)...)
	rootSPI := binary.BigEndian.Uint32(mac(root, "SPI CMIP PMI"))
	homeAgent := netip.MustParseAddr("198.51.100.1")
	users := rooted + `	Service-Type == Authorize-Only, Auth-Type := Accept
	EAP-MSK = 0x` + hex.EncodeToString(make([]byte, 64)) + `,
	EAP-EMSK = 0x` + hex.EncodeToString(emsk) + `,
	WiMAX-MN-NAI = "` + rooted + `",
	WiMAX-IP-Technology = CMIP4,
	WiMAX-hHA-IP-MIP4 = 198.51.100.1,
	Session-Timeout = 3600

` + rooted + `	Service-Type == Framed-User, Cleartext-Password := "bus9-password"
	WiMAX-hHA-IP-MIP4 = 198.51.100.1

` + listed + `	Service-Type == Authorize-Only, WiMAX-RRQ-MN-HA-SPI == 300, WiMAX-RRQ-HA-IP == 198.51.100.1, Auth-Type := Accept
	WiMAX-RRQ-MN-HA-SPI = 300,
	WiMAX-RRQ-MN-HA-Key = 0x000102030405060708090a0b0c0d0e0f10111213,
	WiMAX-MN-hHA-MIP4-SPI = 301,
	WiMAX-MN-hHA-MIP4-Key = 0x131211100f0e0d0c0b0a09080706050403020100
`
	ports := freePorts(t, 2)
	aaatest.FreeRADIUSWith(t, func(f func()) { f() }, map[string]string{"careof.users": users}, "port = 1812", "port = "+ports[0], "port = 1813", "port = "+ports[1],
		"	chap {\n	}\n", "	chap {\n	}\n	wimax {\n	}\n", "	post-auth {\n", "	post-auth {\n		wimax\n")
	c := aaa.NewRADIUS(aaa.RADIUSConfig{Timeout: 5 * time.Second, Algorithm: assoc.HMACSHA1, Servers: []aaa.Server{
		{Address: netip.MustParseAddrPort("127.0.0.1:" + ports[0]), Secret: []byte(aaatest.Secret), Dialect: aaa.WiMAX},
	}})
	under := func(spi uint32, key []byte) *assoc.Association {
		a, err := assoc.New(spi, assoc.HMACSHA1, assoc.NewKey(key), assoc.Timestamps)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	up := []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}
	down := slices.Clone(up)
	slices.Reverse(down)
	g, err := c.Answer(t.Context(), question.Authorise{SPI: 300, Subject: question.Subject{NAI: listed, HomeAgent: homeAgent}})
	if want := []*assoc.Association{under(300, up), under(301, down)}; err != nil || !slices.EqualFunc(g.Associations, want, (*assoc.Association).Equal) {
		t.Errorf("associations %v, %v, want %v", g.Associations, err, want)
	}
	// FreeRADIUS 3.2.1 makes another MN-HA key each time: it digests where the name
	// is instead of the name. The SPI is right.
	g, err = c.Answer(t.Context(), question.Authorise{SPI: rootSPI, Subject: question.Subject{NAI: rooted, HomeAgent: homeAgent}})
	if err != nil || len(g.Associations) != 1 || g.Associations[0].SPI() != rootSPI || g.Associations[0].Key().Len() != sha1.Size {
		t.Errorf("associations %v, %v, want SPI %d", g.Associations, err, rootSPI)
	}
	for spi, ha := range map[uint32]netip.Addr{302: homeAgent, 300: netip.MustParseAddr("198.51.100.2")} {
		if _, err := c.Answer(t.Context(), question.Authorise{SPI: spi, Subject: question.Subject{NAI: listed, HomeAgent: ha}}); !errors.Is(err, question.ErrRejected) {
			t.Errorf("SPI %d at home agent %v: %v", spi, ha, err)
		}
	}
	proven := asking()
	proven.NAI = rooted
	proven.Proof.Authenticator = assoc.NewKey([]byte("bus9-password")).CHAP(nil, proven.Proof.Covered, proven.Proof.Challenge)
	if g, err := c.Answer(t.Context(), proven); err != nil || g.HomeAgent != homeAgent {
		t.Errorf("granted %+v, %v", g, err)
	}
}
