package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/decode"
	"careof/internal/lab/labtest"
	"careof/internal/lab/netns"
)

// The test program is also the programs that the tests start: see helpers.
const helperVariable = "CAREOF_DEMO_TEST_HELPER"

var helpers = map[string]func() error{
	"demo":     helperDemo,
	"rootless": helperRootless,
}

func TestMain(m *testing.M) {
	labtest.Daemon()
	name := os.Getenv(helperVariable)
	if name == "" {
		os.Exit(m.Run())
	}
	if err := helpers[name](); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func helper(name string, args ...string) *exec.Cmd {
	cmd := netns.Self(args...)
	cmd.Env = append(os.Environ(), helperVariable+"="+name)
	return cmd
}

// helperDemo is what careof lab demo does. Its arguments are the directory and
// the number of moves.
func helperDemo() error {
	code, inside, err := netns.Enter()
	if err != nil {
		return err
	}
	if !inside {
		fmt.Printf("outside as %d\n", os.Geteuid())
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	o := Options{Directory: os.Args[1], Out: os.Stdout, Command: labtest.Command}
	if _, err := fmt.Sscan(os.Args[2], &o.Moves); err != nil {
		return err
	}
	r, err := Run(ctx, o)
	if err != nil {
		return err
	}
	if err := r.Write(os.Stdout); err != nil {
		return err
	}
	if broken := r.Broken(); len(broken) > 0 {
		return fmt.Errorf("broken: %q", broken)
	}
	return nil
}

// helperRootless runs as root in a mount namespace of its own: it makes the
// TUN device accessible to everybody there, as it is on a desktop, and becomes
// an ordinary user.
func helperRootless() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := unix.Mount("tmpfs", "/dev/net", "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("tmpfs on /dev/net: %w", err)
	}
	unix.Umask(0)
	if err := unix.Mknod("/dev/net/tun", unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200))); err != nil {
		return fmt.Errorf("the TUN device: %w", err)
	}
	unix.Umask(0o022)
	cmd := helper("demo", os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd.Run()
}

const nobody = 65534

// needRoot skips where there is no privilege to make the namespaces, or the
// device, or to become somebody else; never as root.
func needRoot(t *testing.T) {
	t.Helper()
	users, err := os.ReadFile("/proc/self/uid_map")
	if os.Geteuid() != 0 || err != nil || !slices.Equal(strings.Fields(string(users)), []string{"0", "0", "4294967295"}) {
		t.Skip("needs root, to be an ordinary user as well")
	}
}

// moves make every kind of handover at least once.
const moves = 6

// limit bounds one demonstration.
const limit = 150 * time.Second

// workspace is a directory for the files and one for temporary files, of a user.
func workspace(t *testing.T, uid int) (dir, tmp string) {
	t.Helper()
	// Not t.TempDir, whose folder only this user may enter.
	for _, d := range []*string{&dir, &tmp} {
		made, err := os.MkdirTemp("", "careof-demo-test-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(made) })
		if err := os.Chown(made, uid, uid); err != nil {
			t.Fatal(err)
		}
		*d = made
	}
	return dir, tmp
}

func TestDemonstration(t *testing.T) {
	demonstrate(t, os.Geteuid(), func(dir string) *exec.Cmd { return helper("demo", dir, fmt.Sprint(moves)) })
}

func TestDemonstrationWithoutRoot(t *testing.T) {
	needRoot(t)
	demonstrate(t, nobody, func(dir string) *exec.Cmd {
		cmd := helper("rootless", dir, fmt.Sprint(moves))
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
		return cmd
	})
}

// attempts on a machine that may be too busy to judge. That nothing is lost
// when the new link comes first is asserted in virtual time; here it needs
// daemons that get the processor within a few milliseconds.
const attempts = 4

// busy tells whether only a busy machine may have made a demonstration fail.
func busy(out []byte) bool {
	return bytes.Contains(out, []byte("too busy to judge")) || bytes.Contains(out, []byte("made before it broke and lost"))
}

// demonstrate runs the demonstration and checks what it tells and leaves.
func demonstrate(t *testing.T, uid int, command func(dir string) *exec.Cmd) {
	dir, tmp := workspace(t, uid)
	var out bytes.Buffer
	var err error
	for range attempts {
		cmd := command(dir)
		cmd.Env = append(cmd.Env, "TMPDIR="+tmp)
		out.Reset()
		cmd.Stdout, cmd.Stderr = &out, &out
		timer := time.AfterFunc(limit, func() { cmd.Process.Kill() })
		err = cmd.Run()
		timer.Stop()
		t.Logf("\n%s", out.String())
		if err == nil || !busy(out.Bytes()) {
			break
		}
	}
	skipForbidden(t, out.Bytes())
	if err != nil {
		t.Fatal("the demonstration failed: ", err)
	}
	for _, want := range []string{
		fmt.Sprintf(`(?m)^outside as %d$`, uid),
		`mn: I am at 203\.0\.113\.50 now \(wlan0\), please send me the packets for 10\.10\.0\.5`,
		`ha: 10\.10\.0\.5 has moved to 192\.168\.8\.10\d, behind a NAT`,
		`(?m)^3 handovers, break before make`, `(?m)^2 handovers, make before break`,
		`longest silence, median +\d+\.\d ms +\d+\.\d ms`,
		`bytes lost +0 +0`, `the same at both ends +yes +yes`, `resets +0`,
	} {
		if !regexp.MustCompile(want).Match(out.Bytes()) {
			t.Errorf("the output lacks %q", want)
		}
	}
	if n := len(regexp.MustCompile(`(?m) gap +\d+ ms down, +\d+ ms up   lost +\d+ down, +\d+ up   twice 0`).FindAll(out.Bytes(), -1)); n != moves {
		t.Errorf("%d handovers are told, not %d", n, moves)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("%v is left behind (%v)", left, err)
	}
	checkDrawing(t, filepath.Join(dir, "topology.svg"))
	checkCapture(t, filepath.Join(dir, "demo.pcapng"))
}

// skipForbidden skips where an ordinary user may not make namespaces; never as
// root.
func skipForbidden(t *testing.T, out []byte) {
	t.Helper()
	if os.Geteuid() != 0 && bytes.Contains(out, []byte("run the same command with sudo")) {
		t.Skipf("no privilege for namespaces: %s", out)
	}
}

func checkDrawing(t *testing.T, path string) {
	t.Helper()
	svg, err := os.ReadFile(path)
	if err != nil || !bytes.HasPrefix(svg, []byte("<svg")) || !bytes.Contains(svg, []byte("access2")) {
		t.Errorf("topology.svg is no drawing of the network (%v)", err)
	}
}

// comments that a capture of the demonstration has on its packets.
var comments = []string{
	"handover 1, break before make: from wlan0 on access1 to wwan0 on access2",
	"Registration Request", "Registration Reply",
	"mn: I am at 203.0.113.50 now",
	"ha: 10.10.0.5 has moved to 203.0.113.50",
	"mn: the home agent agreed after",
}

func checkCapture(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	report, err := decode.Capture(f)
	if err != nil {
		t.Fatal("demo.pcapng: ", err)
	}
	var all strings.Builder
	for _, p := range report.Packets {
		io.WriteString(&all, p.Comment+"\n")
	}
	for _, c := range comments {
		if !strings.Contains(all.String(), c) {
			t.Errorf("no packet of demo.pcapng has the comment %q", c)
		}
	}
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Log("tshark is not installed: only our own reader has read the capture")
		return
	}
	out, err := exec.Command(tshark, "-r", path, "-Y", "mip", "-T", "fields", "-e", "mip.type", "-e", "frame.comment").Output()
	if err != nil {
		t.Fatal("tshark: ", err)
	}
	if n := bytes.Count(out, []byte("\n")); n < 2*moves {
		t.Errorf("tshark finds %d registration messages", n)
	}
	for _, c := range comments[1:] {
		if !bytes.Contains(out, []byte(c)) {
			t.Errorf("tshark does not show the comment %q", c)
		}
	}
}

// TestInterruptLeavesNothingBehind interrupts the demonstration amid its moves.
func TestInterruptLeavesNothingBehind(t *testing.T) {
	dir, tmp := workspace(t, os.Geteuid())
	cmd := helper("demo", dir, "1000")
	cmd.Env = append(cmd.Env, "TMPDIR="+tmp)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	cmd.Stdout, cmd.Stderr = write, write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	timer := time.AfterFunc(limit, func() { cmd.Process.Kill() })
	defer timer.Stop()
	var all bytes.Buffer
	b := make([]byte, 4096)
	interrupted := false
	for {
		// The pipe ends when the last process that could write to it is gone.
		n, err := read.Read(b)
		all.Write(b[:n])
		if err != nil {
			break
		}
		if !interrupted && bytes.Contains(all.Bytes(), []byte("handover 2,")) {
			interrupted = true
			cmd.Process.Signal(os.Interrupt)
		}
	}
	cmd.Wait()
	skipForbidden(t, all.Bytes())
	if !interrupted || cmd.ProcessState.ExitCode() != 1 || !bytes.Contains(all.Bytes(), []byte(context.Canceled.Error())) {
		t.Errorf("%v\n%s", cmd.ProcessState, all.Bytes())
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("%v is left behind (%v)", left, err)
	}
}
