package assoc

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"hash"
	"strings"
)

// An Algorithm computes authenticators.
type Algorithm uint8

// Algorithms, with the length of their authenticators in octets.
const (
	HMACSHA256 Algorithm = iota + 1 // 32
	HMACSHA1                        // 20, RFC 3957
	HMACMD5                         // 16, the default of RFC 5944 section 5.1
	KeyedMD5                        // 16, "prefix+suffix" of RFC 2002, for old peers (RFC 5944 section 5.1)
	None                            // 0: neither sends nor requires an authenticator; insecure
)

// algorithms is the table behind names, sizes and computations.
var algorithms = [...]struct {
	name string
	size int
	hash func() hash.Hash
}{
	HMACSHA256: {"hmac-sha256", sha256.Size, sha256.New},
	HMACSHA1:   {"hmac-sha1", sha1.Size, sha1.New},
	HMACMD5:    {"hmac-md5", md5.Size, md5.New},
	KeyedMD5:   {"keyed-md5", md5.Size, md5.New},
	None:       {"none", 0, nil},
}

// ParseAlgorithm reads an algorithm's name as it stands in the configuration.
func ParseAlgorithm(name string) (Algorithm, error) {
	for a := HMACSHA256; int(a) < len(algorithms); a++ {
		if algorithms[a].name == name {
			return a, nil
		}
	}
	return 0, fmt.Errorf("assoc: unknown algorithm %q", strings.Clone(name)) // a name that is known costs no allocation
}

func (a Algorithm) String() string {
	if a == 0 || int(a) >= len(algorithms) {
		return fmt.Sprintf("Algorithm(%d)", uint8(a))
	}
	return algorithms[a].name
}

// MinimumSPI is the lowest SPI that an association may have: "SPI values 0
// through 255 are reserved" (RFC 4721 section 7; RFC 5944 section 1.6).
const MinimumSPI = 256

// An Association is a mobility security association: what two nodes share to
// authenticate messages to each other, under one SPI.
type Association struct {
	spi       uint32 // first what is small: a home agent has a million of them
	algorithm Algorithm
	replay    Style
	key       Key
	out       *Association // of another SPI, nil: the same in both directions
}

// New makes an association. None takes no key; every other algorithm needs one.
//
//rfc:5944#1.6-2
//rfc:5944#3.5.1-3
//rfc:5944#5.7-2
func New(spi uint32, algorithm Algorithm, key Key, replay Style) (*Association, error) {
	switch {
	case algorithm == 0 || int(algorithm) >= len(algorithms):
		return nil, fmt.Errorf("assoc: unknown algorithm %v", algorithm)
	case algorithm == None && key.Len() != 0:
		return nil, fmt.Errorf("assoc: algorithm none takes no key")
	case algorithm != None && key.Len() == 0:
		return nil, fmt.Errorf("assoc: SPI %d has no key", spi)
	case algorithm != None && spi < MinimumSPI:
		return nil, fmt.Errorf("assoc: SPI %d is reserved (RFC 4721 section 7), the lowest is %d", spi, MinimumSPI)
	case replay != Timestamps && replay != Nonces:
		return nil, fmt.Errorf("assoc: SPI %d has no replay protection style", spi)
	}
	return &Association{spi: spi, algorithm: algorithm, key: key, replay: replay}, nil
}

// NewPair makes an association whose two directions have SPIs of their own: in
// stands in what is received, out in what is sent. "A Mobility Security
// Association is a simplex connection" (RFC 3957 section 2).
//
//rfc:3957#2
func NewPair(in, out uint32, algorithm Algorithm, key Key, replay Style) (*Association, error) {
	a, err := New(in, algorithm, key, replay)
	if err != nil || in == out {
		return a, err
	}
	if a.out, err = New(out, algorithm, key, replay); err != nil {
		return nil, err
	}
	return a, nil
}

// Outbound is the association as it signs what is sent.
func (a *Association) Outbound() *Association {
	if a.out != nil {
		return a.out
	}
	return a
}

// SPI is the security parameter index that selects the association.
func (a *Association) SPI() uint32 { return a.spi }

// Algorithm is the authentication algorithm.
func (a *Association) Algorithm() Algorithm { return a.algorithm }

// Replay is the style of replay protection: "the style is part of the
// mobility security association" (RFC 5944 section 5.7).
func (a *Association) Replay() Style { return a.replay }

// Key is the shared secret, which never prints itself.
func (a *Association) Key() Key { return a.key }

// Authenticated says whether messages carry an authenticator at all.
func (a *Association) Authenticated() bool { return a.algorithm != None }

// Size is the length of the authenticator in octets.
func (a *Association) Size() int { return algorithms[a.algorithm].size }

// Fetch reads the key from memory and returns something that depends on that it
// was read, and on no more of the key than its length.
func (a *Association) Fetch() int {
	n := len(a.key.octets)
	if n > 0 && a.key.octets[0] == 0 && a.key.octets[n-1] == 0 {
		n++
	}
	return n
}

// Sign appends the authenticator over covered to dst. What covered is:
// RFC 5944 section 3.5.1.
//
//rfc:5944#3.5.1
//rfc:5944#5.1
//rfc:5944#3.5.1-4
func (a *Association) Sign(dst, covered []byte) []byte {
	var space [signedOnStack]byte
	switch {
	case a.algorithm == None:
		return dst
	case a.algorithm == KeyedMD5:
		// RFC 2002 section 3.5.1: the digest of the key, the covered
		// octets, and the key again.
		b := append(append(append(space[:0], a.key.octets...), covered...), a.key.octets...)
		return a.digest(dst, b)
	case len(a.key.octets) > hmacBlock || hmacBlock+len(covered) > len(space):
		h := hmac.New(algorithms[a.algorithm].hash, []byte(a.key.octets))
		h.Write(covered)
		return append(dst, h.Sum(nil)...)
	}
	// HMAC (RFC 2104 section 2) on the stack: H(K ^ opad, H(K ^ ipad, text)).
	// A home agent does this twice for each registration, and everything
	// that is allocated for it is more than the computation itself.
	inner := space[:hmacBlock+len(covered)]
	pad(inner, a.key.octets, 0x36)
	copy(inner[hmacBlock:], covered)
	var outer [hmacBlock + sha256.Size]byte
	pad(outer[:], a.key.octets, 0x5c)
	return a.digest(dst, a.digest(outer[:hmacBlock], inner))
}

// hmacBlock is the block of all our hash functions (RFC 2104 section 2), in
// octets, and signedOnStack what is signed without an allocation, block and all.
const (
	hmacBlock     = 64
	signedOnStack = 512
)

// digest appends the hash of b to dst. It calls by name, not through the table:
// only then can b stay on the stack.
func (a *Association) digest(dst, b []byte) []byte {
	switch a.algorithm {
	case HMACSHA256:
		sum := sha256.Sum256(b)
		return append(dst, sum[:]...)
	case HMACSHA1:
		sum := sha1.Sum(b)
		return append(dst, sum[:]...)
	}
	sum := md5.Sum(b)
	return append(dst, sum[:]...)
}

// pad writes the key, filled with zeros to a block, XOR with an octet.
func pad(b []byte, key string, with byte) {
	for i := range hmacBlock {
		b[i] = with
	}
	for i := range len(key) {
		b[i] ^= key[i]
	}
}

// Verify tells, in constant time, whether authenticator is the one over
// covered. An association without authentication verifies nothing.
func (a *Association) Verify(covered, authenticator []byte) bool {
	if a.algorithm == None {
		return false
	}
	var space [sha256.Size]byte
	return hmac.Equal(a.Sign(space[:0], covered), authenticator)
}

// String describes the association without its secret.
func (a *Association) String() string {
	return fmt.Sprintf("spi %d %v %v %v", a.spi, a.algorithm, a.replay, a.key)
}

// Equal says whether two associations are the same, key included.
func (a *Association) Equal(o *Association) bool {
	return a.spi == o.spi && a.Outbound().spi == o.Outbound().spi && a.algorithm == o.algorithm && a.replay == o.replay && hmac.Equal([]byte(a.key.octets), []byte(o.key.octets))
}
