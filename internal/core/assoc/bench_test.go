package assoc

import (
	"crypto/hmac"
	"crypto/sha256"
	"math/rand/v2"
	"testing"
)

// BenchmarkVerify is one authenticator of a Registration Request checked.
func BenchmarkVerify(b *testing.B) {
	covered := make([]byte, 54)
	for a := HMACSHA256; a < None; a++ {
		b.Run(a.String(), func(b *testing.B) {
			sa, err := New(256, a, NewKey(make([]byte, 32)), Timestamps)
			if err != nil {
				b.Fatal(err)
			}
			authenticator := sa.Sign(nil, covered)
			b.ReportAllocs()
			for b.Loop() {
				if !sa.Verify(covered, authenticator) {
					b.Fatal("does not verify")
				}
			}
		})
	}
}

// TestSigningIsHMACWhateverTheLengths compares with the standard library's
// HMAC, at the borders of what is computed on the stack too.
func TestSigningIsHMACWhateverTheLengths(t *testing.T) {
	luck := rand.New(rand.NewPCG(1, 2))
	octets := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(luck.Uint32())
		}
		return b
	}
	for _, a := range []Algorithm{HMACSHA256, HMACSHA1, HMACMD5} {
		for _, keyLen := range []int{1, 16, 32, 63, 64, 65, 200} {
			for _, n := range []int{0, 1, 54, 63, 64, signedOnStack - hmacBlock - 1, signedOnStack - hmacBlock, signedOnStack - hmacBlock + 1, 1500} {
				key, covered := octets(keyLen), octets(n)
				sa, err := New(256, a, NewKey(key), Timestamps)
				if err != nil {
					t.Fatal(err)
				}
				h := hmac.New(algorithms[a].hash, key)
				h.Write(covered)
				want := h.Sum([]byte("x"))
				// As a draft signs: into the memory behind what is covered.
				space := append(make([]byte, 0, n+sha256.Size), covered...)
				if got := sa.Sign(space, space[:n:n]); string(got[n:]) != string(want[1:]) || string(got[:n]) != string(covered) {
					t.Errorf("%v with a key of %d octets over %d: %x, want %x", a, keyLen, n, got[n:], want[1:])
				}
			}
		}
	}
}
