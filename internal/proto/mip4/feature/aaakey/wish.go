package aaakey

import (
	"bytes"
	"math/rand/v2"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/wire/mip4"
)

// Wished is the SPI of the request for a key, extension 40 or 42; false when there
// is none that counts. It "MUST appear in the Registration Request before the
// MN-AAA Authentication extension" (RFC 3957 sections 6.1 and 6.3), which vouches
// for it.
//
//rfc:3957#6.1
//rfc:3957#6.3
func Wished(m *mip4.Message, t mip4.ExtType) (spi uint32, ok bool) {
	e, n := m.FindSub(t, 1)
	by, vouched := m.FindSub(mip4.ExtGeneralizedAuth, mip4.AuthMobileAAA)
	if n != 1 || vouched != 1 || e.Off > by.Off {
		return 0, false
	}
	if t == mip4.ExtMobileHomeKeyRequest {
		q, err := mip4.Decode[mip4.MobileHomeKeyRequest](e)
		return q.SPI, err == nil && q.SPI >= assoc.MinimumSPI
	}
	q, err := mip4.Decode[mip4.MobileForeignKeyRequest](e)
	return q.SPI, err == nil && q.SPI >= assoc.MinimumSPI
}

// Proof is what a message's Mobile-AAA authenticator proves, with the challenge
// that it has answered; false when there is none.
func Proof(m *mip4.Message) (aaa.Proof, bool) {
	e, n := m.FindSub(mip4.ExtGeneralizedAuth, mip4.AuthMobileAAA)
	if n != 1 {
		return aaa.Proof{}, false
	}
	auth, err := m.Authentication(e)
	if err != nil {
		return aaa.Proof{}, false
	}
	p := aaa.Proof{SPI: auth.SPI, Covered: bytes.Clone(m.Covered(e)), Authenticator: bytes.Clone(auth.Authenticator)}
	if c, there := m.Find(mip4.ExtChallenge); there == 1 {
		p.Challenge = bytes.Clone(c.Body)
	}
	return p, true
}

// NewSPI chooses an SPI that is nobody's yet.
func NewSPI(rng *rand.Rand, taken func(uint32) bool) uint32 {
	for {
		if spi := rng.Uint32(); spi >= assoc.MinimumSPI && (taken == nil || !taken(spi)) {
			return spi
		}
	}
}

// algorithms are the ones that RFC 3957 section 6 has numbers for.
var algorithms = [...]assoc.Algorithm{mip4.KeyHMACMD5: assoc.HMACMD5, mip4.KeyHMACSHA1: assoc.HMACSHA1}

// Number is an algorithm's number in extensions 41 and 43, 0 when it has none.
func Number(a assoc.Algorithm) mip4.KeyAlgorithm {
	for n, known := range algorithms {
		if known == a && a != 0 {
			return mip4.KeyAlgorithm(n)
		}
	}
	return 0
}

func algorithmOf(n mip4.KeyAlgorithm) assoc.Algorithm {
	if int(n) >= len(algorithms) {
		return 0
	}
	return algorithms[n]
}

// styles are the replay methods of RFC 3957 section 4.
var styles = [...]assoc.Style{mip4.KeyReplayTimestamps: assoc.Timestamps, mip4.KeyReplayNonces: assoc.Nonces}

func styleOf(n mip4.KeyReplay) assoc.Style {
	if int(n) >= len(styles) {
		return 0
	}
	return styles[n]
}

// HomeReply is extension 43 for a key: what the node makes it of.
//
//rfc:3957#6.4
func HomeReply(k *aaa.SessionKey) *mip4.MobileHomeKeyReply {
	replay := mip4.KeyReplayTimestamps
	if k.Association.Replay() == assoc.Nonces {
		replay = mip4.KeyReplayNonces
	}
	return &mip4.MobileHomeKeyReply{
		Lifetime: wholeSeconds(k.Lifetime), AAASPI: k.AAASPI, HomeAgentSPI: k.Association.SPI(),
		Algorithm: Number(k.Association.Algorithm()), Replay: replay, Nonce: k.Nonce,
	}
}

// foreignReply is extension 41 for a key.
//
//rfc:3957#6.2
func foreignReply(k *aaa.SessionKey) *mip4.MobileForeignKeyReply {
	return &mip4.MobileForeignKeyReply{
		Lifetime: wholeSeconds(k.Lifetime), AAASPI: k.AAASPI, ForeignAgentSPI: k.Association.SPI(),
		Algorithm: Number(k.Association.Algorithm()), Nonce: k.Nonce,
	}
}
