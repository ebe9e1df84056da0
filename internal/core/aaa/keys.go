package aaa

import (
	"crypto/hmac"
	"crypto/sha1"
	"fmt"
	"io"
	"net/netip"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/ident"
)

// KeyWishes are the keys that an agent wants with an answer, since the mobile
// node has asked for them (RFC 3957 section 3), or since it shares none with the
// other agent. AAA may give others too: "the AAA server MAY provide unsolicited
// key material via mobility agents".
type KeyWishes struct {
	MobileHome    KeyWish // extension 42
	MobileForeign KeyWish // extension 40
	ForeignHome   KeyWish // MobileSPI is the foreign agent's, AgentSPI the home agent's
}

// A KeyWish is one key. The zero value wants none.
type KeyWish struct {
	// MobileSPI is the mobile node's choice: it stands in the authenticators that
	// the node receives.
	MobileSPI uint32
	// AgentSPI is the agent's choice: it stands in those that the agent receives.
	// 0: AAA chooses.
	AgentSPI uint32
}

// Wanted says whether the key is wanted.
func (w KeyWish) Wanted() bool { return w.MobileSPI != 0 }

// SessionKeys are keys that AAA has made for one mobile node. Nil: not given.
type SessionKeys struct {
	MobileHome    *SessionKey
	MobileForeign *SessionKey
	ForeignHome   *SessionKey
}

// A SessionKey is one of them, as its agent uses it.
type SessionKey struct {
	// Association is the agent's: its SPI stands in what the agent receives, and
	// that of [assoc.Association.Outbound] in what it sends.
	Association *assoc.Association
	Lifetime    time.Duration // from now on
	// AAASPI and Nonce go to the mobile node, which makes the key of them. A key
	// between foreign agent and home agent has none.
	AAASPI uint32
	Nonce  []byte
}

// NonceSize is the length of our key generation nonces in octets: "a random value
// of at least 128 bits" (RFC 3957 section 5).
const NonceSize = 20

// A KeyPolicy says what keys are made for a subscriber. Zero fields mean the
// defaults.
type KeyPolicy struct {
	Lifetime  time.Duration   // [DefaultKeyLifetime]
	Algorithm assoc.Algorithm // HMACSHA1, the one that everybody has, or HMACMD5: RFC 3957 has no number for others
	Replay    assoc.Style     // Timestamps
}

// DefaultKeyLifetime is how long a key that AAA makes holds.
const DefaultKeyLifetime = 4 * time.Hour

func (p KeyPolicy) withDefaults() KeyPolicy {
	if p.Lifetime == 0 {
		p.Lifetime = DefaultKeyLifetime
	}
	if p.Algorithm == 0 {
		p.Algorithm = assoc.HMACSHA1
	}
	if p.Replay == 0 {
		p.Replay = assoc.Timestamps
	}
	return p
}

// Identity is the mobile node identifier that goes into a key: "the MN's NAI, if
// present in the Registration Request, or the Home Address from the Registration
// Request otherwise" (RFC 3957 section 5).
//
//rfc:3957#5
func Identity(nai ident.NAI, homeAddress netip.Addr) []byte {
	if nai != "" {
		return []byte(nai)
	}
	if !homeAddress.Is4() {
		return make([]byte, 4)
	}
	a := homeAddress.As4()
	return a[:]
}

// Derive makes the key of a nonce: "key = HMAC-SHA1 (AAA-key, {Key Generation
// Nonce || mobile node identifier})" (RFC 3957 section 5), 20 octets.
//
//rfc:3957#5
func (s Secret) Derive(nonce, identity []byte) assoc.Key {
	h := hmac.New(sha1.New, s.key.Octets())
	h.Write(nonce)
	h.Write(identity)
	return assoc.NewKey(h.Sum(nil))
}

// Make makes the keys that an agent wants for a mobile node, each of a nonce of
// its own. identity is that of [Identity].
//
//rfc:3957#5
//rfc:3957#3
func (p KeyPolicy) Make(secret Secret, identity []byte, w KeyWishes, random io.Reader) (SessionKeys, error) {
	p = p.withDefaults()
	var keys SessionKeys
	for _, one := range []struct {
		wish    KeyWish
		key     **SessionKey
		derived bool
	}{{w.MobileHome, &keys.MobileHome, true}, {w.MobileForeign, &keys.MobileForeign, true}, {w.ForeignHome, &keys.ForeignHome, false}} {
		if !one.wish.Wanted() {
			continue
		}
		nonce := make([]byte, NonceSize)
		if _, err := io.ReadFull(random, nonce); err != nil {
			return SessionKeys{}, fmt.Errorf("aaa: no randomness for a key: %w", err)
		}
		k := &SessionKey{Lifetime: p.Lifetime}
		key := assoc.NewKey(nonce)
		if one.derived {
			key = secret.Derive(nonce, identity)
			k.AAASPI, k.Nonce = secret.SPI(), nonce
		}
		in := one.wish.AgentSPI
		if in == 0 {
			in = one.wish.MobileSPI
		}
		a, err := assoc.NewPair(in, one.wish.MobileSPI, p.Algorithm, key, p.Replay)
		if err != nil {
			return SessionKeys{}, fmt.Errorf("aaa: key: %w", err)
		}
		k.Association = a
		*one.key = k
	}
	return keys, nil
}
