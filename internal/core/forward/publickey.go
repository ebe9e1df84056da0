package forward

import (
	"encoding/base64"
	"unique"
)

// A PublicKey is a WireGuard public key, an X25519 point. It is as small as a
// pointer and comparable; the zero value is none.
type PublicKey struct{ of unique.Handle[[32]byte] }

// KeyOf is the public key with these octets. All zero is none: it is the key of
// nobody, and no secret comes of it.
func KeyOf(octets [32]byte) PublicKey {
	if octets == ([32]byte{}) {
		return PublicKey{}
	}
	return PublicKey{unique.Make(octets)}
}

// IsValid says whether there is a key.
func (k PublicKey) IsValid() bool { return k != PublicKey{} }

// Octets is the key itself; all zero when there is none.
func (k PublicKey) Octets() [32]byte {
	if !k.IsValid() {
		return [32]byte{}
	}
	return k.of.Value()
}

// String is the key as WireGuard's tools write it: in base64.
func (k PublicKey) String() string {
	if !k.IsValid() {
		return "none"
	}
	b := k.of.Value()
	return base64.StdEncoding.EncodeToString(b[:])
}

// Secured says whether what goes through the tunnel is encrypted.
func (t *Tunnel) Secured() bool { return t.PeerKey.IsValid() }
