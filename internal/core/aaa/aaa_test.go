package aaa_test

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/ident"
)

func key(t testing.TB, s string) assoc.Key {
	t.Helper()
	k, err := assoc.ParseKey(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

const keyOf16 = "000102030405060708090a0b0c0d0e0f"

// covered is a payload of 24 zero octets, and the type, subtype, length and SPI
// of the extension.
func covered(spi string) []byte {
	b, _ := hex.DecodeString("24010014" + spi)
	return append(make([]byte, 24), b...)
}

// The RFC has no vectors; these were computed with another implementation of MD5
// and HMAC.
//
//rfc:4721#6
//rfc:4721#8
func TestMobileAAAAuthenticators(t *testing.T) {
	challenge, _ := hex.DecodeString("a1b2c3d4")
	shared, err := assoc.New(256, assoc.HMACMD5, key(t, keyOf16), assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		secret  aaa.Secret
		covered []byte
		want    string
	}{
		{aaa.CHAP(key(t, keyOf16)), covered("00000002"), "3dbda6510d6bc4daec6e9666e1318c5c"},
		{aaa.Shared(shared), covered("00000100"), "50b70628cede462266b06e0f972559f8"},
	} {
		signer := aaa.Signer{Secret: c.secret, Challenge: challenge}
		got := signer.Sign(nil, c.covered)
		if hex.EncodeToString(got) != c.want || signer.Size() != len(got) {
			t.Errorf("%v: %x, want %s", c.secret, got, c.want)
		}
		p := aaa.Proof{SPI: c.secret.SPI(), Covered: c.covered, Challenge: challenge, Authenticator: got}
		if !c.secret.Verify(p) {
			t.Errorf("%v does not verify its own", c.secret)
		}
		for what, break1 := range map[string]func(*aaa.Proof){
			"another SPI":       func(p *aaa.Proof) { p.SPI++ },
			"other data":        func(p *aaa.Proof) { p.Covered = p.Covered[1:] },
			"half of it":        func(p *aaa.Proof) { p.Authenticator = p.Authenticator[:8] },
			"no authenticator":  func(p *aaa.Proof) { p.Authenticator = nil },
			"another challenge": func(p *aaa.Proof) { p.Challenge = []byte{1, 2, 3, 4} },
		} {
			bad := p
			break1(&bad)
			if c.secret.Verify(bad) && !(what == "another challenge" && !c.secret.IsCHAP()) {
				t.Errorf("%v verifies with %s", c.secret, what)
			}
		}
	}
}

// "Least-order 237 octets from Challenge": a longer one is cut at its front, a
// shorter one is never padded, and what a RADIUS server computes is the same.
//
//rfc:4721#8
func TestCHAPWithChallengesOfEveryLength(t *testing.T) {
	k := key(t, keyOf16)
	raw, _ := hex.DecodeString(keyOf16)
	data := covered("00000002")
	for _, n := range []int{1, 4, 236, 237, 238, 255} {
		challenge := make([]byte, n)
		for i := range challenge {
			challenge[i] = byte(i + 1)
		}
		attribute := assoc.CHAPChallenge(data, challenge)
		if want := min(16+n, 253); len(attribute) != want {
			t.Errorf("a challenge of %d octets makes an attribute of %d, want %d", n, len(attribute), want)
		}
		server := md5.Sum(append(append([]byte{challenge[0]}, raw...), attribute...)) // RFC 2865 section 5.3
		if got := k.CHAP(nil, data, challenge); string(got) != string(server[:]) {
			t.Errorf("a challenge of %d octets: the node has %x, a RADIUS server %x", n, got, server)
		}
	}
}

func TestASecretDoesNotPrintItself(t *testing.T) {
	if s := aaa.CHAP(key(t, keyOf16)).String(); strings.Contains(s, "0102") || !strings.Contains(s, "key#") {
		t.Errorf("printed as %q", s)
	}
}

func TestABookKnowsOnlyItsSubscribers(t *testing.T) {
	sa, _ := assoc.New(300, assoc.HMACSHA256, key(t, keyOf16), assoc.Timestamps)
	secret := aaa.CHAP(key(t, keyOf16))
	b := aaa.Book{"van7@fleet.example": {Secrets: []aaa.Secret{secret}, Grant: aaa.Grant{Associations: []*assoc.Association{sa}}}}
	data := covered("00000002")
	ask := aaa.Authenticate{Subject: aaa.Subject{NAI: "van7@fleet.example"}, Proof: aaa.Proof{
		SPI: 2, Covered: data, Challenge: []byte{1, 2, 3, 4}, Authenticator: aaa.Signer{Secret: secret, Challenge: []byte{1, 2, 3, 4}}.Sign(nil, data),
	}}
	if g, err := b.Answer(ask, nil); err != nil || len(g.Associations) != 1 {
		t.Errorf("a subscriber: %+v, %v", g, err)
	}
	ask.Proof.Challenge = []byte{1, 2, 3, 5}
	if _, err := b.Answer(ask, nil); !errors.Is(err, aaa.ErrRejected) {
		t.Errorf("another challenge: %v", err)
	}
	ask.NAI = "van8@fleet.example"
	if _, err := b.Answer(ask, nil); !errors.Is(err, aaa.ErrRejected) {
		t.Errorf("a stranger: %v", err)
	}
	for spi, want := range map[uint32]bool{300: true, 301: false} {
		if _, err := b.Answer(aaa.Authorise{Subject: aaa.Subject{NAI: "van7@fleet.example"}, SPI: spi}, nil); (err == nil) != want {
			t.Errorf("SPI %d: %v", spi, err)
		}
	}
}

// The RFC has no vectors; these were computed with another implementation.
//
//rfc:3957#5
func TestKeysAreDerivedFromNonceAndIdentity(t *testing.T) {
	nonce, _ := hex.DecodeString("101112131415161718191a1b1c1d1e1f")
	home := netip.MustParseAddr("10.0.0.1")
	for _, c := range []struct {
		nai  ident.NAI
		want string
	}{
		{"mn@example.com", "60a73423f37b8e71c29b55672ddf2be04d4bf761"},
		{"", "d372b61c100e35bbeb6ef98d5646ad81441e39c1"}, // then the home address counts
	} {
		if got := aaa.CHAP(key(t, keyOf16)).Derive(nonce, aaa.Identity(c.nai, home)).Reveal(); got != c.want {
			t.Errorf("%q: %s, want %s", c.nai, got, c.want)
		}
	}
}

// Each key has a nonce of its own of at least 128 bits, and the node's SPI towards
// the node, the agent's towards the agent.
//
//rfc:3957#5
//rfc:3957#6.2
//rfc:3957#6.4
func TestABookMakesTheKeysThatAreAskedFor(t *testing.T) {
	shared, _ := assoc.New(512, assoc.HMACMD5, key(t, keyOf16), assoc.Timestamps)
	secret := aaa.Shared(shared)
	b := aaa.Book{"van7@fleet.example": {Secrets: []aaa.Secret{secret}}}
	data := covered("00000200")
	ask := aaa.Authenticate{
		Subject: aaa.Subject{NAI: "van7@fleet.example"},
		Proof:   aaa.Proof{SPI: 512, Covered: data, Authenticator: aaa.Signer{Secret: secret}.Sign(nil, data)},
		Wishes:  aaa.KeyWishes{MobileHome: aaa.KeyWish{MobileSPI: 900, AgentSPI: 901}, MobileForeign: aaa.KeyWish{MobileSPI: 902}},
	}
	g, err := b.Answer(ask, rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	home, foreign := g.Keys.MobileHome, g.Keys.MobileForeign
	if home == nil || foreign == nil || g.Keys.ForeignHome != nil {
		t.Fatalf("keys: %+v", g.Keys)
	}
	if a := home.Association; a.SPI() != 901 || a.Outbound().SPI() != 900 || a.Algorithm() != assoc.HMACSHA1 || home.AAASPI != 512 {
		t.Errorf("home: %v, AAA SPI %d", a, home.AAASPI)
	}
	if a := foreign.Association; a.SPI() != 902 || a.Outbound().SPI() != 902 {
		t.Errorf("foreign: %v", a)
	}
	if len(home.Nonce) < 16 || string(home.Nonce) == string(foreign.Nonce) || home.Association.Key().Equal(foreign.Association.Key()) {
		t.Error("the keys have no nonces of their own")
	}
	if k := secret.Derive(home.Nonce, []byte("van7@fleet.example")); !k.Equal(home.Association.Key()) {
		t.Error("the node makes another key of the nonce")
	}
	ask.Proof.Covered = data[1:]
	if g, err := b.Answer(ask, rand.NewChaCha8([32]byte{1})); err == nil || g.Keys.MobileHome != nil {
		t.Error("a stranger gets keys")
	}
}
