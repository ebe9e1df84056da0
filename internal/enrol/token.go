package enrol

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// A Secret is what a token proves.
type Secret [16]byte

// A Pin is the SHA-256 of the certificate at the enrolment address.
type Pin [sha256.Size]byte

// A Token is an invitation as it is handed to a node.
type Token struct {
	Address string // host:port of the home agent's enrolment
	Pin     Pin
	Secret  Secret
}

const (
	tokenPrefix  = "careof1-"
	checkLen     = 4
	maxTokenText = 512
)

// encoding has capital letters and digits only, which QR codes hold best and
// people read aloud without mistakes.
var encoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// ErrToken says that a text is no token, or not all of one.
var ErrToken = errors.New("enrol: this is no token, or a part of it is missing: copy all of it, from careof1- on")

// String writes the token: prefix, and in base32 pin, secret, address and a
// checksum of these.
func (t Token) String() string {
	b := append(t.Pin[:], t.Secret[:]...)
	b = append(b, t.Address...)
	sum := sha256.Sum256(b)
	return tokenPrefix + encoding.EncodeToString(append(b, sum[:checkLen]...))
}

// ParseToken reads a token. Spaces and line breaks within it, as mail programs
// make them, and small letters do no harm.
func ParseToken(text string) (Token, error) {
	text = strings.Join(strings.Fields(text), "")
	if len(text) > maxTokenText || len(text) < len(tokenPrefix) || !strings.EqualFold(text[:len(tokenPrefix)], tokenPrefix) {
		return Token{}, ErrToken
	}
	letters := strings.ToUpper(text[len(tokenPrefix):])
	b, err := encoding.DecodeString(letters)
	// The last letter has bits that say nothing; a wrong one may differ in these alone.
	if err != nil || encoding.EncodeToString(b) != letters || len(b) < len(Pin{})+len(Secret{})+checkLen {
		return Token{}, ErrToken
	}
	b, check := b[:len(b)-checkLen], b[len(b)-checkLen:]
	if sum := sha256.Sum256(b); string(sum[:checkLen]) != string(check) {
		return Token{}, ErrToken
	}
	var t Token
	copy(t.Pin[:], b)
	copy(t.Secret[:], b[len(t.Pin):])
	t.Address = string(b[len(t.Pin)+len(t.Secret):])
	host, port, err := net.SplitHostPort(t.Address)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || host == "" || bad != nil || n == 0 {
		return Token{}, fmt.Errorf("%w (it leads to %q)", ErrToken, t.Address)
	}
	return t, nil
}
