package bpf_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"careof/internal/host/plane/bpf"
	"careof/internal/host/plane/nstest"
)

// A process without privileges is told that the plane is not to be had, and a
// privileged one on this kernel that it is.
func TestSupported(t *testing.T) {
	if os.Getenv("CAREOF_TEST_UNPRIVILEGED") != "" {
		if base := os.Getenv("CAREOF_TEST_PROVEN"); base != "" {
			if err := bpf.SupportedAgain(base, "careof0"); err != nil {
				t.Errorf("an earlier process's word does not count: %v", err)
			}
			if err := bpf.SupportedAgain(base, "careof1"); !errors.Is(err, bpf.ErrUnsupported) {
				t.Errorf("a device that nobody has left word for: %v", err)
			}
		}
		// /sys/fs/bpf is root's alone on most hosts, and this is what a daemon
		// without the programs asks for.
		if hidden := os.Getenv("CAREOF_TEST_HIDDEN"); hidden != "" {
			if err := bpf.Remove(hidden, "careof0"); err != nil {
				t.Errorf("without programs a daemon does not start, for it may not look where others keep theirs: %v", err)
			}
		}
		if err := bpf.Supported(); !errors.Is(err, bpf.ErrUnsupported) || !errors.Is(err, errors.ErrUnsupported) {
			t.Fatalf("error %v", err)
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	if err := bpf.Supported(); err != nil {
		t.Errorf("not supported for root: %v", err)
	}
	// A copy that anybody may run.
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "careof-probe-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(dir+"/probe", exe, 0o755), os.Chmod(dir+"/probe", 0o755)); err != nil { // whatever the umask
		t.Fatal(err)
	}
	// What was found to work is not tried again, which shows in that it takes no
	// privileges.
	base := dir + "/bpf"
	if err := os.Mkdir(base, 0o755); err != nil {
		t.Fatal(err)
	}
	nstest.MountBPF(t, base)
	if err := bpf.SupportedAgain(base, "careof0"); err != nil {
		t.Errorf("not supported for root: %v", err)
	}
	pins, err := filepath.Glob(base + "/careof0_*")
	if err != nil || len(pins) != 1 {
		t.Fatalf("%q, %v", pins, err)
	}
	if err := errors.Join(os.Chmod(base, 0o755), os.Chmod(pins[0], 0o755)); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(dir+"/probe", "-test.run", "^TestSupported$", "-test.v")
	child.Dir = "/"
	child.Env = append(os.Environ(), "CAREOF_TEST_UNPRIVILEGED=1", "CAREOF_TEST_PROVEN="+base, "CAREOF_TEST_HIDDEN="+t.TempDir())
	child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "PASS") {
		t.Errorf("unprivileged: %v\n%s", err, out)
	}
}
