package daemon

import (
	"crypto/ecdh"
	crand "crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"careof/internal/config"
	"careof/internal/core/forward"
	"careof/internal/host/plane/tun"
	"careof/wire/encap"
)

// secretFile is where the daemon keeps the key that its tunnels are encrypted
// with, in the state directory, as `wg genkey` writes one. It is made at the
// first start, and never leaves the host.
const secretFile = "wireguard.key"

// secret is this host's WireGuard key pair, empty without encrypted tunnels.
type secret struct {
	private *tun.Secret
	public  forward.PublicKey
}

// encrypts says whether a role may need a key.
func encrypts(c *config.Config) bool {
	return c.HomeAgent != nil && c.HomeAgent.WireGuard != config.WireGuardOff ||
		c.MobileNode != nil && c.MobileNode.Encapsulation.Kind == encap.WireGuard
}

// encryptsForAll says whether any node that asks gets an encrypted tunnel,
// wherever it is.
func encryptsForAll(c *config.HomeAgent) bool {
	return c.WireGuard != config.WireGuardOff && c.NATTraversal != config.NATTraversalOff && c.ForcedUDP != config.Off &&
		(len(c.Encapsulations) == 0 || slices.Contains(c.Encapsulations, encap.UDP))
}

// openSecret reads the key, or makes it.
func openSecret(c *config.Config) (secret, error) {
	if !encrypts(c) {
		return secret{}, nil
	}
	path := filepath.Join(c.StateDirectory, secretFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeSecret(path)
	}
	if err != nil {
		return secret{}, fmt.Errorf("wireguard key: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return secret{}, fmt.Errorf("wireguard key: %w", err)
	}
	if open := info.Mode().Perm() & 0o077; open != 0 {
		return secret{}, fmt.Errorf("wireguard key: %s can be read by others: its mode is %04o (chmod 600 %s; when somebody may have read it, remove it, and a new one is made)", path, info.Mode().Perm(), path)
	}
	octets, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(octets) != len(tun.Secret{}) {
		return secret{}, fmt.Errorf("wireguard key: %s is no key (remove it, and a new one is made)", path)
	}
	return secretOf(octets)
}

// makeSecret makes a key and keeps it, durable before it is used: the other
// ends are told the public one.
func makeSecret(path string) (secret, error) {
	key, err := ecdh.X25519().GenerateKey(crand.Reader)
	if err != nil {
		return secret{}, fmt.Errorf("wireguard key: %w", err)
	}
	fresh := path + ".new"
	if err := errors.Join(os.RemoveAll(fresh), writeSecret(fresh, base64.StdEncoding.EncodeToString(key.Bytes())+"\n")); err != nil {
		return secret{}, fmt.Errorf("wireguard key: %w", err)
	}
	if err := os.Rename(fresh, path); err != nil {
		return secret{}, fmt.Errorf("wireguard key: %w", err)
	}
	return secretOf(key.Bytes())
}

func writeSecret(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

func secretOf(octets []byte) (secret, error) {
	key, err := ecdh.X25519().NewPrivateKey(octets)
	if err != nil {
		return secret{}, fmt.Errorf("wireguard key: %w", err)
	}
	private := tun.Secret(octets)
	return secret{&private, forward.KeyOf([32]byte(key.PublicKey().Bytes()))}, nil
}
