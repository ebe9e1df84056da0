package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
)

func contents(t *testing.T, s *Store, role string) (list []string) {
	t.Helper()
	if err := s.Load(role, func(r engine.Record) error {
		list = append(list, fmt.Sprintf("%s=%s", r.Key, r.Value))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

func rec(key, value string) engine.Record {
	r := engine.Record{Key: []byte(key)}
	if value != "" {
		r.Value = []byte(value)
	}
	return r
}

func TestWhatWasAppliedIsThereAfterReopening(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, batch := range [][]engine.Record{
		{rec("b", "2"), rec("a", "1"), rec("c", "3")},
		{rec("b", ""), rec("a", "4")},
	} {
		if err := s.Apply("home-agent", batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Apply("mobile-node", []engine.Record{rec("a", "other")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got, want := fmt.Sprint(contents(t, s, "home-agent")), "[a=4 c=3]"; got != want {
		t.Errorf("home agent's records are %s, want %s in key order", got, want)
	}
	if got, want := fmt.Sprint(contents(t, s, "mobile-node")), "[a=other]"; got != want {
		t.Errorf("mobile node's records are %s, want %s: roles do not see each other's", got, want)
	}
}

// Keys of enrolled nodes are in the store; a state directory that somebody made
// for everybody to enter shows them to nobody.
func TestTheStoreIsNobodyElses(t *testing.T) {
	for _, before := range []bool{false, true} {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if before { // as earlier versions made it
			if err := os.Mkdir(filepath.Join(dir, "store"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if i, err := os.Stat(filepath.Join(dir, "store")); err != nil || i.Mode().Perm() != 0o700 {
			t.Errorf("there before %v: mode %v, %v", before, i.Mode(), err)
		}
	}
}

func TestSecondDaemonIsTold(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	second, err := Open(dir)
	if err == nil {
		second.Close()
		t.Fatal("a second Open of the same directory succeeded")
	}
	if !errors.Is(err, ErrInUse) {
		t.Errorf("error is %v, want ErrInUse", err)
	}
}

// Pebble would end the process: a nearly full disk must refuse before it is full.
func TestANearlyFullDiskRefusesAndNothingIsLost(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a small file system")
	}
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=40m"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Apply("home-agent", []engine.Record{rec("a", "1")}); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 30<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s.checked = time.Time{} // a second has passed
	if err := s.Apply("home-agent", []engine.Record{rec("b", "2")}); !errors.Is(err, ErrFull) {
		t.Errorf("error is %v, want ErrFull", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s.checked = time.Time{}
	if err := s.Apply("home-agent", []engine.Record{rec("c", "3")}); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if got, want := fmt.Sprint(contents(t, s, "home-agent")), "[a=1 c=3]"; got != want {
		t.Errorf("records are %s, want %s", got, want)
	}
}

// A daemon that starts on a full disk has what was bound before, and writes again
// once there is room. Where nothing was stored yet it does not start.
func TestOnAFullDiskWhatIsThereCanBeRead(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a small file system")
	}
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=40m"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	ballast := filepath.Join(dir, "ballast")
	fill := func() {
		t.Helper()
		f, err := os.Create(ballast)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for err == nil { // to the last octet
			_, err = f.Write(make([]byte, 1<<16))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
	fill()
	if s, err := Open(dir); !errors.Is(err, ErrFull) && !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("a first start on a full disk: %v, %v", s, err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply("home-agent", []engine.Record{rec("a", "1"), rec("b", "2")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fill()
	if s, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	defer func() { s.Close() }()
	if got, want := fmt.Sprint(contents(t, s, "home-agent")), "[a=1 b=2]"; got != want {
		t.Errorf("on the full disk records are %s, want %s", got, want)
	}
	if err := s.Apply("home-agent", []engine.Record{rec("a", "3")}); !errors.Is(err, ErrFull) {
		t.Errorf("error is %v, want ErrFull", err)
	}
	if err := s.Trouble(); !errors.Is(err, ErrFull) {
		t.Errorf("the trouble is %v, want ErrFull", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s.checked = time.Time{} // a second has passed
	if err := s.Trouble(); err != nil {
		t.Errorf("with room again the trouble is %v", err)
	}
	if err := s.Apply("home-agent", []engine.Record{rec("c", "3")}); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(contents(t, s, "home-agent")), "[a=1 b=2 c=3]"; got != want {
		t.Errorf("afterwards records are %s, want %s", got, want)
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.db.Set(formatKey, []byte{format + 1}, nil); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if s, err := Open(dir); err == nil {
		s.Close()
		t.Fatal("a store of a newer format was opened")
	}
}

// What failed is trouble until a write goes well, and that is tried without
// anybody registering.
func TestAFailedWriteIsTroubleUntilOneGoesWell(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	broken := errors.New("input/output error")
	if err := s.wrote(broken); !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
	s.tried = time.Now()
	if err := s.Trouble(); !errors.Is(err, broken) {
		t.Errorf("right after it failed, the trouble is %v", err)
	}
	s.tried = time.Time{} // a second has passed
	if err := s.Trouble(); err != nil {
		t.Errorf("with writes that go well, the trouble is %v", err)
	}
}
