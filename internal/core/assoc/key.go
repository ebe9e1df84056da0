package assoc

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
)

// A Key is secret key material. It never prints itself: every way of
// formatting it gives a short fingerprint.
type Key struct{ octets string }

// NewKey makes a key of a copy of octets.
//
//rfc:5944#5.1-3
func NewKey(octets []byte) Key { return Key{string(octets)} }

// ParseKey reads hexadecimal digits, with an optional "hex:" in front; space
// around them is ignored. An error never quotes the key.
func ParseKey(s string) (Key, error) {
	s = strings.TrimPrefix(strings.TrimSpace(s), "hex:")
	var space [64]byte
	octets, err := hex.AppendDecode(space[:0], []byte(s))
	if err != nil {
		return Key{}, fmt.Errorf("assoc: key is not an even number of hexadecimal digits")
	}
	if len(octets) == 0 {
		return Key{}, fmt.Errorf("assoc: key is empty")
	}
	return Key{string(octets)}, nil
}

// Len is the key's length in octets.
func (k Key) Len() int { return len(k.octets) }

// Reveal returns the secret in hexadecimal, for writing a key file.
func (k Key) Reveal() string { return hex.EncodeToString([]byte(k.octets)) }

// Octets returns a copy of the secret for a protocol of the host that needs it
// as it is: RADIUS.
func (k Key) Octets() []byte { return []byte(k.octets) }

// Equal tells whether two keys are the same. It is for comparing
// configurations, not for checking a peer's knowledge.
func (k Key) Equal(other Key) bool { return k.octets == other.octets }

// String returns a fingerprint: enough to see whether two ends have the same
// key, of no use to find it.
func (k Key) String() string {
	if len(k.octets) == 0 {
		return "no key"
	}
	sum := sha256.Sum256(append([]byte("careof key fingerprint\x00"), k.octets...))
	return "key#" + hex.EncodeToString(sum[:4])
}

// GoString, Format, LogValue and MarshalText keep the secret out of %#v, %x,
// logs and JSON.
func (k Key) GoString() string             { return k.String() }
func (k Key) Format(f fmt.State, _ rune)   { fmt.Fprint(f, k.String()) }
func (k Key) LogValue() slog.Value         { return slog.StringValue(k.String()) }
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }
