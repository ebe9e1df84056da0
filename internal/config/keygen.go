package config

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"careof/internal/core/assoc"
	"careof/internal/core/ident"
)

// A KeygenRequest says for whom an association is made.
type KeygenRequest struct {
	Node      string // home address or NAI
	HomeAgent string // address or name; "" leaves the mobile node's end to be filled in
	Algorithm string // "" for hmac-sha256
	SPI       uint32 // 0 for a random one
	Inline    bool   // the key stands in the tables, not in a file
}

// A Pair is a new security association, as both ends write it down.
type Pair struct {
	SPI        uint32
	Algorithm  assoc.Algorithm
	Key        assoc.Key
	KeyFile    string // relative to the configuration's folder; "" when inline
	HomeAgent  string // TOML for the home agent
	MobileNode string // TOML for the mobile node
}

// keyOctets is the length of new keys: that of the algorithm's digest, which
// is as much as HMAC can use (RFC 2104 section 3).
var keyOctets = map[assoc.Algorithm]int{
	assoc.HMACSHA256: 32, assoc.HMACSHA1: 20, assoc.HMACMD5: 16, assoc.KeyedMD5: 16,
}

// NewPair makes an association with a key and, when none is asked for, an SPI
// taken from random.
func NewPair(random io.Reader, r KeygenRequest) (*Pair, error) {
	var identity ident.Node
	if a, err := netip.ParseAddr(r.Node); err == nil {
		if identity.HomeAddress, err = parseAddress(a.String()); err != nil {
			return nil, fmt.Errorf("config: %s: %w", r.Node, err)
		}
	} else if strings.Trim(r.Node, "0123456789.") == "" {
		// It could be an NAI, but nobody means one by 10.10.0.300.
		return nil, fmt.Errorf("config: %q is no IPv4 address (for example \"192.0.2.1\"), and a name of digits and dots is no name for a node", r.Node)
	} else if identity.NAI, err = ident.ParseNAI(r.Node); err != nil {
		return nil, fmt.Errorf("config: %q is neither an address nor an NAI: %w", r.Node, err)
	}
	if r.HomeAgent != "" {
		if _, err := HostKind.Parse(r.HomeAgent); err != nil {
			return nil, fmt.Errorf("config: home agent: %w", err)
		}
	}
	p := &Pair{SPI: r.SPI}
	if r.Algorithm == "" {
		r.Algorithm = assoc.HMACSHA256.String()
	}
	algorithm, err := algorithmKind.Parse(r.Algorithm)
	if err != nil {
		return nil, fmt.Errorf("config: algorithm: %w", err)
	}
	if keyOctets[algorithm] == 0 {
		return nil, fmt.Errorf("config: algorithm %s takes no key", algorithm)
	}
	p.Algorithm = algorithm
	octets := make([]byte, keyOctets[algorithm])
	if _, err := io.ReadFull(random, octets); err != nil {
		return nil, fmt.Errorf("config: random key: %w", err)
	}
	p.Key = assoc.NewKey(octets)
	for p.SPI < assoc.MinimumSPI {
		if r.SPI != 0 {
			return nil, fmt.Errorf("config: SPI %d is reserved (RFC 5944 section 1.6), the lowest is %d", r.SPI, assoc.MinimumSPI)
		}
		var four [4]byte
		if _, err := io.ReadFull(random, four[:]); err != nil {
			return nil, fmt.Errorf("config: random SPI: %w", err)
		}
		p.SPI = binary.BigEndian.Uint32(four[:])
	}

	key := fmt.Sprintf("key = %q", "hex:"+p.Key.Reveal())
	if !r.Inline {
		p.KeyFile = "keys.d/" + fileName(identity)
		key = fmt.Sprintf("key-file = %q", p.KeyFile)
	}
	who := fmt.Sprintf("nai = %q\n", identity.NAI)
	if identity.HomeAddress.IsValid() {
		who = fmt.Sprintf("home-address = %q\n", identity.HomeAddress)
	}
	security := fmt.Sprintf("spi = %d\n%s\nalgorithm = %q\n", p.SPI, key, p.Algorithm)
	p.HomeAgent = "[[home-agent.mobile-node]]\n" + who + security
	agent := "# home-agent = \"198.51.100.1\"   # fill in the home agent's address or name\n"
	if r.HomeAgent != "" {
		agent = fmt.Sprintf("home-agent = %q\n", r.HomeAgent)
	}
	p.MobileNode = "[mobile-node]\n" + who + agent + security
	return p, nil
}

// fileName is the node's name as far as it may stand in a file's name.
func fileName(node ident.Node) string { return safeName(node.String()) }

func safeName(name string) string {
	name = strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == '@':
			return c
		}
		return '-'
	}, name)
	if name = strings.TrimLeft(name, "."); name == "" {
		return "node"
	}
	return name
}

// WriteKey writes the key file below dir, with mode 0600, and returns its
// path. It never overwrites: a key that is in use would be lost. There is
// nothing to write for an inline key.
func (p *Pair) WriteKey(dir string) (string, error) {
	if p.KeyFile == "" {
		return "", nil
	}
	path := filepath.Join(dir, p.KeyFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("config: key folder: %w", err)
	}
	if err := writeSecret(path, p.Key.Reveal()+"\n"); err != nil {
		return "", err
	}
	return path, nil
}

// WriteSecret writes a file of mode 0600 for somebody into dir, and returns its
// path: name as far as it may stand in a file's name. It never overwrites.
func WriteSecret(dir, name, text string) (string, error) {
	path := filepath.Join(dir, safeName(name))
	return path, writeSecret(path, text)
}

// A there says that a file is there already, which is not overwritten.
type there struct{ path string }

func (t *there) Error() string {
	return fmt.Sprintf("config: %s is there already: move it away, or choose another folder", t.path)
}

func (t *there) Unwrap() error { return fs.ErrExist }

func writeSecret(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return &there{path}
	} else if err != nil {
		return fmt.Errorf("config: key file: %w", err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, follow(f, filepath.Dir(path)), f.Close()); err != nil {
		return fmt.Errorf("config: key file: %w", err)
	}
	return nil
}

// follow gives a file that root makes to the owner of its folder: packages
// give that to the daemon's user, who could not read the key else.
func follow(f *os.File, dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	return f.Chown(int(owner.Uid), int(owner.Gid))
}
