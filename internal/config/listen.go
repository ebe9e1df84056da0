package config

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A Token is a password of a program. Only its digest is kept, so that it
// cannot be shown by mistake.
type Token struct {
	sum [sha256.Size]byte
	set bool
}

// NewToken makes a token of its text.
func NewToken(text string) Token { return Token{sha256.Sum256([]byte(text)), true} }

// Set tells whether there is a token at all.
func (t Token) Set() bool { return t.set }

// Matches tells whether text is the token, in a time that does not tell how
// much of it is right.
func (t Token) Matches(text string) bool {
	sum := sha256.Sum256([]byte(text))
	return t.set && subtle.ConstantTimeCompare(t.sum[:], sum[:]) == 1
}

func (t Token) String() string {
	if !t.set {
		return "none"
	}
	return "REDACTED"
}

// tokenLength is how long a token must be. One of 20 random letters and
// digits is never guessed.
const tokenLength = 20

// addrPort reads an IP address with a port.
var addrPort = Kind[netip.AddrPort]{
	Name: "an address and a port",
	Parse: func(v any) (netip.AddrPort, error) {
		s, ok := v.(string)
		if !ok {
			return netip.AddrPort{}, wrongType(v, "an address and a port", `"127.0.0.1:8434"`)
		}
		a, err := netip.ParseAddrPort(s)
		if err != nil {
			return a, mistakef(`for example "127.0.0.1:8434" or "[::1]:8434"`, "%q is no IP address with a port", s)
		}
		if a.Port() == 0 {
			return a, mistakef("for example 127.0.0.1:8434", "port 0 cannot be listened on")
		}
		return a, nil
	},
	Format: func(a netip.AddrPort) string {
		if !a.IsValid() {
			return ""
		}
		return strconv.Quote(a.String())
	},
}

// checkControl checks who could reach the API over TCP, and reads the tokens.
func (d *decoder) checkControl(c *Control) {
	const at = "control"
	if !c.Listen.IsValid() {
		for _, row := range []struct{ name, value string }{
			{"tls-cert", c.cert}, {"tls-key", c.key}, {"token-file", c.readFile}, {"admin-token-file", c.allFile},
		} {
			if row.value != "" && !d.wrong(at+".listen") {
				d.problem(at+"."+row.name, `add listen = "127.0.0.1:8434", or leave it out`, "means nothing without listen")
			}
		}
		return
	}
	d.checkTLS(c)
	// Any user of this host can connect to a loopback address, and so can
	// what a web browser was made to load: there is no listening without one.
	if c.readFile == "" && c.allFile == "" {
		d.problem(at+".token-file", "`openssl rand -hex 32` makes one", "is missing: whoever can connect could read everything")
	}
	for _, row := range []struct {
		name, file string
		token      *Token
	}{{"token-file", c.readFile, &c.ReadToken}, {"admin-token-file", c.allFile, &c.AllToken}} {
		if row.file == "" {
			continue
		}
		content, err := d.readSecret(row.file, 4096)
		if err != nil {
			d.mistake(at+"."+row.name, withHint(err, "`openssl rand -hex 32` makes one"))
			continue
		}
		text := strings.TrimSpace(string(content))
		if len(text) < tokenLength || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
			d.problem(at+"."+row.name, "`openssl rand -hex 32` makes one", "%s must have at least %d letters and digits on one line", row.file, tokenLength)
			continue
		}
		*row.token = NewToken(text)
	}
	if c.ReadToken.Set() && c.ReadToken == c.AllToken {
		d.problem(at+".admin-token-file", "make two tokens", "is the same token as the one that may only read")
	}
}

func (d *decoder) checkTLS(c *Control) {
	const at = "control"
	switch {
	case c.cert == "" && c.key == "":
		if !c.Listen.Addr().IsLoopback() {
			d.problem(at+".listen", "add tls-cert and tls-key, or listen on 127.0.0.1", "%s can be reached from other hosts, and there is no TLS: tokens would go in the clear", c.Listen)
		}
	case c.cert == "":
		d.problem(at+".tls-cert", "the certificate with its chain, as PEM", "is missing beside tls-key")
	case c.key == "":
		d.problem(at+".tls-key", "the certificate's key, as PEM, in a file of mode 0600", "is missing beside tls-cert")
	default:
		key, err := d.readSecret(c.key, 1<<20)
		if err != nil {
			d.mistake(at+".tls-key", withHint(err, "your certificate authority's tool wrote it"))
			return
		}
		cert, err := readFile(d.resolve(c.cert), 1<<20)
		if err != nil {
			d.mistake(at+".tls-cert", withHint(err, "your certificate authority's tool wrote it"))
			return
		}
		if _, err := tls.X509KeyPair(cert, key); err != nil {
			d.problem(at+".tls-cert", "both are PEM files: the certificate with its chain, and its key", "%s and %s do not make a certificate: %v", c.cert, c.key, err)
			return
		}
		c.TLSCert, c.TLSKey = d.resolve(c.cert), d.secretPath(c.key)
	}
}

// withHint gives a mistake about a file another hint: keygen does not make it.
func withHint(err error, hint string) error {
	var m *mistake
	if errors.As(err, &m) && strings.HasPrefix(m.hint, "careof keygen") {
		return &mistake{m.text, hint}
	}
	return err
}

// secretPath is where [decoder.readSecret] finds a name.
func (d *decoder) secretPath(name string) string {
	if rest, ok := strings.CutPrefix(name, credential); ok {
		return filepath.Join(os.Getenv("CREDENTIALS_DIRECTORY"), rest)
	}
	return d.resolve(name)
}

// readFile reads a regular file of a bounded size.
func readFile(path string, limit int64) ([]byte, error) {
	f, _, err := openRegular(path)
	if errors.Is(err, errIrregular) {
		return nil, mistakef("name a file: no folder, pipe or device", "%s is no regular file", path)
	}
	if err != nil {
		return nil, fileMistake(path, err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fileMistake(path, err)
	}
	if int64(len(content)) > limit {
		return nil, mistakef("is it the right file?", "%s is longer than %d bytes", path, limit)
	}
	return content, nil
}
