package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestBothEndsOfANewPairAgree puts what keygen prints into two configurations.
func TestBothEndsOfANewPairAgree(t *testing.T) {
	// The first SPI drawn is reserved, so that a second one must be.
	random := bytes.NewReader(append(bytes.Repeat([]byte{7}, 32), 0, 0, 0, 255, 0, 0, 1, 1))
	p, err := NewPair(random, KeygenRequest{Node: "van7@fleet.example", HomeAgent: "ha.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	if p.SPI != 257 || p.KeyFile != "keys.d/van7@fleet.example" || p.Key.Len() != 32 {
		t.Errorf("%+v", p)
	}
	dir := t.TempDir()
	path, err := p.WriteKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
	if _, err := p.WriteKey(dir); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("overwriting: %v", err)
	}
	home, err := Parse(filepath.Join(dir, "ha.toml"), "version = 1\n[home-agent]\naddress = \"198.51.100.1\"\n[[home-agent.network]]\nprefix = \"10.10.0.0/24\"\npool = \"10.10.0.100\"\n"+p.HomeAgent)
	if err != nil {
		t.Fatal(err)
	}
	node, err := Parse(filepath.Join(dir, "mn.toml"), "version = 1\n"+p.MobileNode+"[[mobile-node.uplink]]\ninterface = \"wlan0\"\n")
	if err != nil {
		t.Fatal(err)
	}
	a, b := home.HomeAgent.MobileNodes[0], node.MobileNode
	if a.Identity() != b.Identity() || a.Associations[0].String() != b.Associations[0].String() || a.Associations[0].Key().Len() != 32 {
		t.Errorf("home agent has %v %v, mobile node %v %v", a.Identity(), a.Associations, b.Identity(), b.Associations)
	}
}

func TestKeygenRefuses(t *testing.T) {
	for _, c := range []struct {
		r    KeygenRequest
		want string
	}{
		{KeygenRequest{Node: "a b"}, "neither an address nor an NAI"},
		{KeygenRequest{Node: "10.10.0.300"}, "no IPv4 address"},
		{KeygenRequest{Node: "2001:db8::1"}, "no IPv4 address"},
		{KeygenRequest{Node: "10.10.0.5", SPI: 255}, "reserved"},
		{KeygenRequest{Node: "10.10.0.5", Algorithm: "none"}, "takes no key"},
		{KeygenRequest{Node: "10.10.0.5", Algorithm: "md5"}, "is not one of"},
		{KeygenRequest{Node: "10.10.0.5", HomeAgent: "not a host"}, "home agent"},
	} {
		if _, err := NewPair(bytes.NewReader(make([]byte, 100)), c.r); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.r, err, c.want)
		}
	}
	p, err := NewPair(bytes.NewReader(bytes.Repeat([]byte{1}, 100)), KeygenRequest{Node: "../../etc/passwd", Inline: false})
	if err != nil || p.KeyFile != "keys.d/-..-etc-passwd" {
		t.Errorf("a hostile name: %+v, %v", p, err)
	}
}

// TestRootMakesKeysForTheDaemonsUser: packages give keys.d to the user that the
// daemon runs as, and administrators run keygen as root.
func TestRootMakesKeysForTheDaemonsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving files away needs root")
	}
	const user, group = 65534, 65533
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys.d")
	if err := errors.Join(os.Mkdir(keys, 0o700), os.Chown(keys, user, group)); err != nil {
		t.Fatal(err)
	}
	p, err := NewPair(bytes.NewReader(bytes.Repeat([]byte{1}, 100)), KeygenRequest{Node: "10.10.0.5"})
	if err != nil {
		t.Fatal(err)
	}
	path, err := p.WriteKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if s := info.Sys().(*syscall.Stat_t); s.Uid != user || s.Gid != group || info.Mode() != 0o600 {
		t.Errorf("the key belongs to %d:%d with mode %v", s.Uid, s.Gid, info.Mode())
	}
}
