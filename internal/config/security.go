package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"careof/internal/core/assoc"
)

// Security is what a section says about authenticating one peer.
type Security struct {
	// Associations are the security associations with the peer; the first
	// is the one to sign with, the others are accepted too, for rotation.
	Associations []*assoc.Association

	// Insecure and Source belong to algorithm none: registrations without
	// any authentication are taken from these addresses.
	Insecure bool
	Source   netip.Prefix

	asWritten *written // nil for a line of the nodes file: of a million of them the associations say it all
}

// written is what a table says of its associations.
type written struct {
	inline association   // spi, key, key-file, algorithm and replay of the table itself
	keys   []association // the [[….key]] tables
}

// written is what the table says, to be added to while it is read.
func (s *Security) written() *written {
	if s.asWritten != nil {
		return s.asWritten
	}
	if len(s.Associations) > 0 {
		a := s.Associations[0]
		return &written{inline: association{spi: a.SPI(), key: a.Key(), algorithm: a.Algorithm(), replay: a.Replay()}}
	}
	s.asWritten = new(written)
	return s.asWritten
}

// association is an association as it is written.
type association struct {
	spi       uint32
	key       assoc.Key
	keyFile   string
	algorithm assoc.Algorithm
	replay    assoc.Style
}

// written tells whether anything but the default was there.
func (a *association) written() bool {
	return a.spi != 0 || a.key.Len() != 0 || a.keyFile != "" || a.algorithm != 0
}

// A relation says between whom an association is.
type relation uint8

const (
	nodeAtHome relation = iota // the home agent's side of mobile node and home agent
	nodeAway                   // the mobile node's side of it
	agents                     // foreign agent and home agent, or mobile node and foreign agent
)

var (
	spiKind = Kind[uint32]{
		Name: "a number from 256 on",
		Parse: func(v any) (uint32, error) {
			n, ok := v.(int64)
			switch {
			case !ok:
				return 0, wrongType(v, "a number from 256 on", "")
			case n >= 0 && n < assoc.MinimumSPI:
				return 0, mistakef("0 to 255 are reserved (RFC 5944 section 1.6)", "SPI %d is too low, the lowest is %d", n, assoc.MinimumSPI)
			case n < 0 || n > math.MaxUint32:
				return 0, mistakef("careof keygen chooses one", "SPI %d does not fit 32 bits", n)
			}
			return uint32(n), nil
		},
		Format: formatSPI,
	}
	// keyKind never formats more than a fingerprint, and its mistakes never
	// quote what was written.
	keyKind = Kind[assoc.Key]{
		Name: `"hex:" and hexadecimal digits`,
		Parse: func(v any) (assoc.Key, error) {
			s, ok := v.(string)
			if !ok || !strings.HasPrefix(s, "hex:") {
				return assoc.Key{}, mistakef("careof keygen makes one", `must be "hex:" and hexadecimal digits`)
			}
			k, err := assoc.ParseKey(s)
			if err != nil {
				return assoc.Key{}, mistakef("careof keygen makes one", "%s", reason(err))
			}
			return k, nil
		},
		Format: func(k assoc.Key) string {
			if k.Len() == 0 {
				return ""
			}
			return strconv.Quote(k.String())
		},
	}
	algorithmKind = Word(assoc.ParseAlgorithm, "hmac-sha256", "hmac-sha1", "hmac-md5", "keyed-md5", "none")
	replayKind    = Word(assoc.ParseStyle, "timestamp", "nonce")
)

// associationRows are the keys of one association.
func associationRows[S any](at func(*S) *association, rel relation, spi int, keyFile string) Table[S] {
	t := Table[S]{
		Field("spi", spiKind, func(s *S) *uint32 { return &at(s).spi }, Help{
			Example: strconv.Itoa(spi), Shown: true,
			Doc: "The security parameter index: the number under which both ends keep the key. With a key it has to be given.",
		}),
		Field("key-file", String, func(s *S) *string { return &at(s).keyFile }, Help{
			Example: keyFile, Shown: true,
			Doc: "A file of mode 0600 with the key in hexadecimal. A relative name starts at this file's folder;\n" +
				"\"credential:NAME\" is a systemd credential. `careof keygen` makes one.",
		}),
		Field("key", keyKind, func(s *S) *assoc.Key { return &at(s).key }, Help{
			Example: `"hex:00112233445566778899aabbccddeeff"`,
			Doc:     "The key itself instead of a key-file, for a laboratory.",
		}),
		Field("algorithm", algorithmKind, func(s *S) *assoc.Algorithm { return &at(s).algorithm }, Help{
			Example: `"hmac-sha256"`, Shown: true,
			Doc: "How messages are authenticated; both ends must agree, so with a key it has to be given. hmac-md5 is what RFC 5944\n" +
				"makes every implementation know.",
		}),
	}
	style := Field("replay", replayKind, func(s *S) *assoc.Style { return &at(s).replay }, Help{
		Default: `"timestamp"`,
		Doc:     "How old messages are told from new ones (RFC 5944 section 5.7).",
	})
	if rel == agents {
		// Registrations are protected against replay between mobile node
		// and home agent only; the key has the default for what needs one.
		return t
	}
	return append(t, style)
}

// securityRows are the keys of a table that describes a peer.
func securityRows[S any](at func(*S) *Security, rel relation, spi int, keyFile string) Table[S] {
	t := associationRows(func(s *S) *association { return &at(s).written().inline }, rel, spi, keyFile)
	for i := range t {
		if t[i].Name == "key" {
			t[i] = keyOrTables(t[i], at, rel, spi)
		}
	}
	if rel == agents {
		return t
	}
	t = append(t, Field("insecure", Bool, func(s *S) *bool { return &at(s).Insecure }, Help{
		Example: "true",
		Doc:     "Must be true beside algorithm = \"none\": anybody at the right address can then move the node. For teaching only.",
	}))
	if rel == nodeAtHome {
		t = append(t, Field("source", Prefix, func(s *S) *netip.Prefix { return &at(s).Source }, Help{
			Example: `"192.0.2.0/24"`,
			Doc:     "With algorithm = \"none\": the only addresses from which the node may register.",
		}))
	}
	return t
}

// keyOrTables extends the row of key: it is the key itself, or, as [[….key]]
// tables, several associations.
func keyOrTables[S any](row Row[S], at func(*S) *Security, rel relation, spi int) Row[S] {
	t := associationRows(func(a *association) *association { return a }, rel, spi, "")
	row.Doc += "\nOr [[….key]] tables, each with spi, key-file or key, and algorithm: several keys, so that they can be rotated.\n" +
		"The first one signs, all are accepted."
	single, values := row.set, row.values
	row.set = func(d *decoder, path string, s *S, v any) {
		switch v.(type) {
		case map[string]any, []any, []map[string]any:
			for i, m := range elements(d, path, "key", v) {
				var a association
				decodeTable(d, indexed(path, i), t, m, &a)
				w := at(s).written()
				w.keys = append(w.keys, a)
			}
		default:
			single(d, path, s, v)
		}
	}
	row.values = func(path string, s *S, out []Value) []Value {
		out = values(path, s, out)
		for i := range at(s).written().keys {
			a := &at(s).written().keys[i]
			out = tableValues(path+"["+formatSPI(a.spi)+"]", t, a, out)
		}
		return out
	}
	return row
}

// associate checks what the table at path says and makes its associations.
func (d *decoder) associate(path string, s *Security, rel relation) {
	w := s.written()
	if w.inline.written() || len(w.keys) == 0 {
		d.makeAssociation(path, s, &w.inline, rel)
	}
	for i := range w.keys {
		d.makeAssociation(indexed(path+".key", i), s, &w.keys[i], rel)
	}
	seen := map[uint32]bool{}
	for _, a := range s.Associations {
		if a.Authenticated() && seen[a.SPI()] {
			d.problem(path+".spi", "each key of a peer needs its own", "SPI %d is there twice", a.SPI())
		}
		seen[a.SPI()] = true
	}
	none := len(s.Associations) > 0 && !s.Associations[0].Authenticated()
	if s.Insecure && !none && len(s.Associations) > 0 {
		d.problem(path+".insecure", "leave it out", "has no meaning without algorithm = \"none\"")
	}
	if s.Source.IsValid() && !none && len(s.Associations) > 0 {
		d.problem(path+".source", "leave it out", "has no meaning without algorithm = \"none\"")
	}
}

func (d *decoder) makeAssociation(path string, s *Security, a *association, rel relation) {
	if a.replay == 0 {
		a.replay = assoc.Timestamps
	}
	before := len(d.problems)
	if a.algorithm == assoc.None {
		d.checkNone(path, s, a, rel)
	} else {
		if a.spi == 0 && !d.wrong(path+".spi") {
			d.problem(path+".spi", "careof keygen makes an association for both ends", "is missing")
		}
		if a.algorithm == 0 && !d.wrong(path+".algorithm") {
			d.problem(path+".algorithm", `for example algorithm = "hmac-sha256"`, "is missing")
		}
		d.loadKey(path, a)
	}
	if len(d.problems) > before || d.wrong(path+".spi") || d.wrong(path+".algorithm") || d.wrong(path+".key") {
		return
	}
	made, err := assoc.New(a.spi, a.algorithm, a.key, a.replay)
	if err != nil {
		d.problem(path, "", "%s", reason(err))
		return
	}
	s.Associations = append(s.Associations, made)
	switch {
	case a.algorithm == assoc.None:
		d.warn(path+".algorithm", "for teaching only", "registrations are not authenticated: anybody at the right address can move this node")
	case a.algorithm == assoc.KeyedMD5:
		d.warn(path+".algorithm", "use it only for a peer that knows nothing better", "keyed-md5 is obsolete")
	}
	// "a key size of 128 bits" is what every implementation must support
	// (RFC 5944 section 5.1).
	if a.key.Len() > 0 && a.key.Len() < 16 {
		d.warn(path+".key", "careof keygen makes a longer one", "the key has only %d bits", a.key.Len()*8)
	}
}

func (d *decoder) checkNone(path string, s *Security, a *association, rel relation) {
	switch {
	case rel == agents:
		d.problem(path+".algorithm", "leave the table out: agents need no association", "none is for mobile nodes and their home agent only")
		return
	case a.key.Len() > 0 || a.keyFile != "":
		d.problem(path+".algorithm", "leave the key out, or choose hmac-sha256", "none takes no key")
	case len(s.written().keys) > 0:
		d.problem(path+".algorithm", "remove the keys, or choose hmac-sha256", "none cannot stand beside keys")
	}
	if !s.Insecure {
		d.problem(path+".algorithm", "write insecure = true if you mean it", "none lets anybody move this node")
	}
	if rel == nodeAtHome && !s.Source.IsValid() && !d.wrong(path+".source") {
		d.problem(path+".source", `for example source = "192.0.2.0/24"`, "is missing: algorithm none needs the addresses from which the node may register")
	}
}

// wrong tells whether a problem with this very key has been reported, so that
// a wrong value is not reported as missing as well.
func (d *decoder) wrong(path string) bool {
	line, key := d.lines[path], keyOf(path)
	for _, p := range d.problems {
		if line > 0 && p.Line == line && p.Key == key && p.File == d.file {
			return true
		}
	}
	return false
}

// loadKey reads the key file, and checks that there is exactly one key.
func (d *decoder) loadKey(path string, a *association) {
	switch {
	case a.key.Len() > 0 && a.keyFile != "":
		d.problem(path+".key", "keep one", "key and key-file are both there")
	case a.keyFile != "":
		key, err := d.readKeyFile(a.keyFile)
		if err != nil {
			d.mistake(path+".key-file", err)
			return
		}
		a.key = key
	case a.key.Len() == 0 && !d.wrong(path+".key") && !d.wrong(path+".key-file"):
		d.problem(path+".key-file", "careof keygen makes one", "is missing")
	}
}

// credential begins the name of a key that systemd provides (LoadCredential=).
const credential = "credential:"

// readKeyFile reads a key from a file beside the configuration, or from a
// systemd credential. The error never quotes the content.
func (d *decoder) readKeyFile(name string) (assoc.Key, error) {
	content, err := d.readSecret(name, 4096)
	if err != nil {
		return assoc.Key{}, err
	}
	key, err := assoc.ParseKey(string(content))
	if err != nil {
		return assoc.Key{}, mistakef("careof keygen makes one", "%s: %s", name, reason(err))
	}
	return key, nil
}

// readSecret reads a file that nobody else may read.
func (d *decoder) readSecret(name string, limit int64) ([]byte, error) {
	path := d.resolve(name)
	if rest, ok := strings.CutPrefix(name, credential); ok {
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return nil, mistakef("add LoadCredential= to the unit", "there are no systemd credentials here: CREDENTIALS_DIRECTORY is not set")
		}
		if rest == "" || strings.ContainsRune(rest, '/') {
			return nil, mistakef("the name that stands in LoadCredential=", "%q is no name of a credential", rest)
		}
		path = filepath.Join(dir, rest)
	}
	f, info, err := openRegular(path)
	if errors.Is(err, errIrregular) {
		return nil, mistakef("name a file: no folder, pipe or device", "%s is no regular file", path)
	}
	if err != nil {
		return nil, fileMistake(path, err)
	}
	defer f.Close()
	// systemd itself guards credentials, and may show them as group-readable
	// because of the access list that it sets.
	if open := info.Mode().Perm() & 0o077; open != 0 && !strings.HasPrefix(name, credential) {
		return nil, mistakef("chmod 600 "+path, "%s can be read by others: its mode is %04o", path, info.Mode().Perm())
	}
	var b bytes.Buffer
	b.Grow(int(min(info.Size(), limit)) + bytes.MinRead)
	_, err = b.ReadFrom(io.LimitReader(f, limit+1))
	content := b.Bytes()
	if err != nil {
		return nil, fileMistake(path, err)
	}
	if int64(len(content)) > limit {
		return nil, mistakef("is it the right file?", "%s is longer than %d bytes", path, limit)
	}
	return content, nil
}

// resolve makes a name in the file one that can be opened.
func (d *decoder) resolve(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(d.dir, name)
}

func fileMistake(path string, err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err
	}
	hint := ""
	if errors.Is(err, fs.ErrNotExist) {
		hint = "careof keygen makes one"
	}
	return mistakef(hint, "%s", fmt.Sprintf("cannot read %s: %v", path, err))
}
