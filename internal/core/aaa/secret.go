package aaa

import (
	"crypto/hmac"
	"crypto/md5"
	"fmt"

	"careof/internal/core/assoc"
)

// A Secret is what a mobile node shares with its AAA server: it makes and
// verifies Mobile-AAA authenticators (RFC 4721 section 6).
type Secret struct {
	association *assoc.Association // nil: CHAP
	key         assoc.Key
}

// CHAP is a secret for CHAP-style authentication: SPI [assoc.CHAPSPI]. It "is
// less secure than HMAC-MD5 and MUST be avoided whenever possible" (RFC 4721
// section 12): RADIUS servers know no other.
//
//rfc:4721#8
//rfc:4721#9
func CHAP(key assoc.Key) Secret { return Secret{key: key} }

// Shared is a secret for an SPI from 256 on, and any of our algorithms; HMAC-MD5
// is the RFC's.
//
//rfc:4721#6
//rfc:4721#6-5
func Shared(a *assoc.Association) Secret { return Secret{association: a, key: a.Key()} }

// IsCHAP says whether the secret is for CHAP-style authentication.
func (s Secret) IsCHAP() bool { return s.association == nil }

// SPI selects the secret.
func (s Secret) SPI() uint32 {
	if s.IsCHAP() {
		return assoc.CHAPSPI
	}
	return s.association.SPI()
}

// String describes the secret without telling it.
func (s Secret) String() string {
	if s.IsCHAP() {
		return fmt.Sprintf("spi %d chap %v", s.SPI(), s.key)
	}
	return s.association.String()
}

// Verify tells, in constant time, whether the proof was made with the secret.
//
//rfc:4721#6
//rfc:4721#8
func (s Secret) Verify(p Proof) bool {
	if p.SPI != s.SPI() {
		return false
	}
	if !s.IsCHAP() {
		return s.association.Verify(p.Covered, p.Authenticator)
	}
	var sum [md5.Size]byte
	return hmac.Equal(s.key.CHAP(sum[:0], p.Covered, p.Against()), p.Authenticator)
}

// A Signer makes the authenticators of one request; it is what a draft is
// authenticated with.
type Signer struct {
	Secret
	Challenge []byte // that is answered; nil in a direct registration
}

// Size is the length of the authenticator in octets.
func (s Signer) Size() int {
	if s.IsCHAP() {
		return md5.Size
	}
	return s.association.Size()
}

// Sign appends the authenticator over covered to dst.
//
//rfc:4721#6
//rfc:4721#8
func (s Signer) Sign(dst, covered []byte) []byte {
	if s.IsCHAP() {
		return s.key.CHAP(dst, covered, Proof{Challenge: s.Challenge}.Against())
	}
	return s.association.Sign(dst, covered)
}
