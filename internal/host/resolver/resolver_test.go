package resolver

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var home = Settings{Servers: []netip.Addr{netip.MustParseAddr("10.10.0.53"), netip.MustParseAddr("10.10.0.54")}, Domain: "fleet.example", Everything: true}

const visited = "# of the network manager\nnameserver 192.0.2.53\nsearch hotel.example\noptions edns0 trust-ad\n"

const during = marker + "\n# What was here comes back when it is not.\n" +
	"search fleet.example\nnameserver 10.10.0.53\nnameserver 10.10.0.54\noptions edns0 trust-ad\n"

type rig struct {
	t   *testing.T
	cfg Config
}

func newRig(t *testing.T) *rig {
	dir := t.TempDir()
	return &rig{t, Config{Kind: File, Device: "careof0", File: filepath.Join(dir, "resolv.conf"), Record: filepath.Join(dir, "dns")}}
}

func (r *rig) put(content string) {
	r.t.Helper()
	if err := os.WriteFile(r.cfg.File, []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) is(what, want string) {
	r.t.Helper()
	b, err := os.ReadFile(r.cfg.File)
	if err != nil || string(b) != want {
		r.t.Errorf("%s: %q, %v; want %q", what, b, err, want)
	}
}

func give(t *testing.T, r *Resolver, s Settings, want bool) {
	t.Helper()
	if done, err := r.Give(t.Context(), s); err != nil || done != want {
		t.Fatalf("give: %v, %v", done, err)
	}
}

func takeBack(t *testing.T, r *Resolver, want bool) {
	t.Helper()
	if done, err := r.TakeBack(t.Context()); err != nil || done != want {
		t.Fatalf("take back: %v, %v", done, err)
	}
}

func TestTheFileComesBack(t *testing.T) {
	g := newRig(t)
	g.put(visited)
	r := New(g.cfg)
	takeBack(t, r, false)
	give(t, r, home, true)
	g.is("given", during)
	give(t, r, home, false)
	shorter := Settings{Servers: home.Servers[:1]}
	give(t, r, shorter, true)
	g.is("given less", marker+"\n# What was here comes back when it is not.\nnameserver 10.10.0.53\noptions edns0 trust-ad\n")
	takeBack(t, r, true)
	g.is("taken back", visited)
	if r.Given() != nil {
		t.Errorf("still %+v", r.Given())
	}
	takeBack(t, r, false)
}

// The next process takes back what one left that was killed, whenever that was.
func TestWhatAKilledProcessGaveIsTakenBack(t *testing.T) {
	g := newRig(t)
	g.put(visited)
	give(t, New(g.cfg), home, true)
	other := g.cfg
	other.Kind, other.File = Resolved, "/nonexistent" // whatever is configured by now
	takeBack(t, New(other), true)
	g.is("taken back", visited)

	// Killed between writing down and doing.
	if err := New(g.cfg).write(record{File: g.cfg.File, Before: []byte("nonsense")}); err != nil {
		t.Fatal(err)
	}
	takeBack(t, New(g.cfg), true)
	g.is("never given", visited)
}

// A DHCP client writes the file after a move: the home network's servers stay in force,
// and the file that it wrote is what comes back.
func TestWhatOthersWriteMeanwhileIsWhatComesBack(t *testing.T) {
	g := newRig(t)
	g.put(visited)
	r := New(g.cfg)
	give(t, r, home, true)
	train := "nameserver 198.51.100.53\n"
	g.put(train)
	give(t, r, home, true)
	g.is("given again", strings.Replace(during, "options edns0 trust-ad\n", "", 1))
	takeBack(t, r, true)
	g.is("taken back", train)

	give(t, r, home, true)
	g.put(visited) // and then nobody repairs it
	takeBack(t, r, true)
	g.is("left alone", visited)
}

func TestAFileThatWasNotThereGoesAgain(t *testing.T) {
	g := newRig(t)
	r := New(g.cfg)
	give(t, r, home, true)
	takeBack(t, r, true)
	if _, err := os.Stat(g.cfg.File); err == nil {
		t.Error("it is still there")
	}
}

// A symbolic link stays one.
func TestASymbolicLinkStaysOne(t *testing.T) {
	g := newRig(t)
	real := g.cfg.File + ".real"
	if err := os.WriteFile(real, []byte(visited), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, g.cfg.File); err != nil {
		t.Fatal(err)
	}
	r := New(g.cfg)
	give(t, r, home, true)
	g.is("given", during)
	takeBack(t, r, true)
	g.is("taken back", visited)
	if to, err := os.Readlink(g.cfg.File); err != nil || to != real {
		t.Errorf("%q, %v", to, err)
	}
}

// systemd-resolved is told by resolvectl about the tunnel's device alone; a program in
// its place writes down what it was told.
func TestResolvedIsToldAboutTheDevice(t *testing.T) {
	g := newRig(t)
	dir := t.TempDir()
	said := filepath.Join(dir, "said")
	if err := os.WriteFile(filepath.Join(dir, "resolvectl"), []byte("#!/bin/sh\necho \"$@\" >>"+said+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	g.cfg.Kind = Auto
	r := New(g.cfg)
	r.run = dir
	if r.resolved() {
		t.Error("it is taken to run")
	}
	if err := os.WriteFile(filepath.Join(dir, "resolv.conf"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	give(t, r, home, true)
	give(t, r, home, false)
	give(t, r, Settings{Servers: home.Servers[:1], Domain: "fleet.example"}, true)
	takeBack(t, New(g.cfg), true)
	b, err := os.ReadFile(said)
	if err != nil {
		t.Fatal(err)
	}
	want := `dns careof0 10.10.0.53 10.10.0.54
domain careof0 fleet.example ~.
default-route careof0 yes
dns careof0 10.10.0.53
domain careof0 fleet.example
default-route careof0 no
revert careof0
`
	if string(b) != want {
		t.Errorf("it was told\n%s", b)
	}
}

// What is refused is told, and tried again.
func TestARefusalIsAnError(t *testing.T) {
	g := newRig(t)
	g.cfg.File = filepath.Join(t.TempDir(), "missing", "resolv.conf")
	r := New(g.cfg)
	if _, err := r.Give(context.Background(), home); err == nil || r.Given() != nil {
		t.Errorf("%v, %+v", err, r.Given())
	}
	takeBack(t, r, true)
}
