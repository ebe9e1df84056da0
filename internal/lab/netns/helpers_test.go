package netns

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// helpers are the programs that this test program can be, by the value of helperVariable.
var helpers = map[string]func() int{
	"sleep":    helperSleep,
	"inode":    helperInode,
	"rootless": helperRootless,
	"enter":    helperEnter,
	"stay":     helperStay,
	"ask":      helperAsk,
}

func helper(name string, args ...string) *exec.Cmd {
	cmd := Self(args...)
	cmd.Env = append(os.Environ(), helperVariable+"="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

// helperSleep runs until it is killed.
func helperSleep() int {
	fmt.Println("ready")
	select {}
}

// helperInode prints the namespace it runs in.
func helperInode() int {
	inode, err := namespaceInode()
	if err != nil {
		return 1
	}
	fmt.Println(inode)
	return 0
}

// helperRootless runs as root in a mount namespace of its own: it makes the TUN device accessible to everybody there, as it
// is on a desktop, and becomes an ordinary user.
func helperRootless() int {
	steps := func() error {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("private mounts: %w", err)
		}
		if err := unix.Mount("tmpfs", "/dev/net", "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("tmpfs on /dev/net: %w", err)
		}
		mode := uint32(0o666)
		if os.Args[1] == "closed" {
			mode = 0o600
		}
		unix.Umask(0)
		return unix.Mknod(tunPath, unix.S_IFCHR|mode, int(unix.Mkdev(10, 200)))
	}
	if err := steps(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cmd := helper("enter")
	cmd.Stdout = os.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if err := cmd.Run(); err != nil {
		return 1
	}
	return 0
}

// helperEnter is what the demonstration does: enter, build, exchange packets, tell about it.
func helperEnter() int {
	uid := os.Geteuid()
	code, inside, err := Enter()
	if err != nil {
		fmt.Println("refused:", err)
		return 0
	}
	if !inside {
		fmt.Println("outside as", uid)
		return code
	}
	err = exchange()
	fmt.Println("inside as", uid, "result", err)
	return 0
}

// exchange builds two nodes and passes a packet between them.
func exchange() error {
	n, err := New(Config{})
	if err != nil {
		return err
	}
	defer n.Close()
	s, err := n.NewSegment("lan", Conditions{})
	if err != nil {
		return err
	}
	for i, name := range []string{"a", "b"} {
		node, err := n.NewNode(name, NodeConfig{})
		if err != nil {
			return err
		}
		at := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 24)
		if _, err := node.Attach(s, "eth0", PortConfig{Addresses: []netip.Prefix{at}}); err != nil {
			return err
		}
	}
	stream, err := StartStream(StreamConfig{Client: n.Node("a"), Server: n.Node("b"), Listen: netip.MustParseAddrPort("10.0.0.2:5000")})
	if err != nil {
		return err
	}
	defer stream.Stop(0)
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if len(stream.Down().Arrivals()) > 3 {
			return nil
		}
	}
	return fmt.Errorf("no packets")
}

// helperStay enters, says which process it is, and stays until it is killed.
func helperStay() int {
	code, inside, err := Enter()
	if err != nil {
		fmt.Println("refused:", err)
		return 1
	}
	if !inside {
		return code
	}
	fmt.Println(os.Getpid())
	select {}
}

// needRealRoot skips where the tests themselves run without root, in a user namespace: there is no mknod, and no other user
// to become.
func needRealRoot(t *testing.T) {
	t.Helper()
	users := must(os.ReadFile("/proc/self/uid_map"))(t)
	if os.Geteuid() != 0 || !slices.Equal(strings.Fields(string(users)), []string{"0", "0", "4294967295"}) {
		t.Skip("needs root to make the device and to become an ordinary user")
	}
}

func TestLaboratoryWorksWithoutRoot(t *testing.T) {
	needRealRoot(t)
	cmd := helper("rootless", "open")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	out, err := cmd.Output()
	want := "inside as 0 result <nil>\noutside as 65534\n"
	if err != nil || string(out) != want {
		t.Errorf("got %q, want %q (%v)", out, want, err)
	}
}

func TestDeviceThatIsNotAccessibleIsExplained(t *testing.T) {
	needRealRoot(t)
	cmd := helper("rootless", "closed")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	out, err := cmd.Output()
	if err != nil || !strings.HasPrefix(string(out), "refused: ") || !strings.Contains(string(out), "sudo") ||
		!strings.Contains(string(out), tunPath) {
		t.Errorf("got %q (%v)", out, err)
	}
}

func TestForbiddenNamespacesAreExplained(t *testing.T) {
	old := restrictions
	defer func() { restrictions = old }()
	path := filepath.Join(t.TempDir(), "restrict")
	ok(t, os.WriteFile(path, []byte("1\n"), 0o600))
	restrictions = append(restrictions[:0:0], restrictions[3])
	restrictions[0].path = path
	err := forbidden(unix.EPERM)
	for _, word := range []string{"is 1", "sudo", restrictions[0].hint, unix.EPERM.Error()} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q lacks %q", err, word)
		}
	}
}

func TestInnerProgramDiesWithTheOuter(t *testing.T) {
	newNetwork(t) // skips without privilege
	cmd := helper("stay")
	stdout := must(cmd.StdoutPipe())(t)
	ok(t, cmd.Start())
	var inner int
	if _, err := fmt.Fscan(stdout, &inner); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(inner, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	ok(t, cmd.Process.Kill())
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(poll, int(limit.Milliseconds())); n != 1 {
		t.Error("the inner program lives on: ", n, err)
	}
	cmd.Wait()
}

func TestTerminationIsPassedToTheInnerProgram(t *testing.T) {
	newNetwork(t)
	cmd := helper("stay")
	stdout := must(cmd.StdoutPipe())(t)
	ok(t, cmd.Start())
	var inner int
	if _, err := fmt.Fscan(stdout, &inner); err != nil {
		t.Fatal(err)
	}
	ok(t, cmd.Process.Signal(syscall.SIGTERM))
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 128+int(syscall.SIGTERM) {
		t.Error(cmd.ProcessState)
	}
}

func TestProcessRunsInTheNodeAndEndsWithIt(t *testing.T) {
	n := newNetwork(t)
	node := must(n.NewNode("a", NodeConfig{}))(t)
	var inside unix.Stat_t
	ok(t, unix.Fstat(node.Fd(), &inside))
	cmd := helper("inode")
	var out strings.Builder
	cmd.Stdout = &out
	p := must(node.Start(cmd))(t)
	ok(t, p.Wait())
	if out.String() != fmt.Sprintln(inside.Ino) {
		t.Errorf("ran in %q, want %d", out.String(), inside.Ino)
	}
	sleeper := helper("sleep")
	stdout := must(sleeper.StdoutPipe())(t)
	p = must(node.Start(sleeper))(t)
	fmt.Fscan(stdout, new(string))
	ok(t, node.Close())
	if code := p.ExitCode(); code != 128+int(syscall.SIGKILL) {
		t.Error("exit code ", code)
	}
	if _, err := node.Start(helper("inode")); err == nil {
		t.Error("a closed node started a process")
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	build := func() {
		n := must(New(Config{}))(t)
		inside, outside := must(n.NewSegment("in", Conditions{Delay: time.Millisecond}))(t), must(n.NewSegment("out", Conditions{}))(t)
		a, b := must(n.NewNode("a", NodeConfig{}))(t), must(n.NewNode("b", NodeConfig{Forward: true}))(t)
		must(a.Attach(inside, "eth0", PortConfig{Addresses: []netip.Prefix{prefix("10.0.0.2/24")}}))(t)
		must(b.Attach(outside, "eth0", PortConfig{Addresses: []netip.Prefix{prefix("198.51.100.2/24")}}))(t)
		r := must(n.NewRouter("r"))(t)
		must(r.Attach(inside, "in", RouterPortConfig{Address: prefix("10.0.0.1/24")}))(t)
		must(r.Attach(outside, "out", RouterPortConfig{Address: prefix("198.51.100.1/24")}))(t)
		ok(t, a.AddRoute(Route{Prefix: prefix("0.0.0.0/0"), Via: addr("10.0.0.1")}))
		ok(t, b.AddRoute(Route{Prefix: prefix("10.0.0.0/24"), Via: addr("198.51.100.1")}))
		ok(t, b.Masquerade("eth0"))
		stop := must(a.WatchInterfaces(func(Interface) {}))(t)
		must(a.Start(helper("sleep")))(t)
		transfer := must(StartTransfer(within(t), TransferConfig{Client: a, Server: b, Listen: endpoint("198.51.100.2:80"), Down: -1}))(t)
		stream := must(StartStream(StreamConfig{Client: a, Server: b, Listen: endpoint("198.51.100.2:5000")}))(t)
		settled(t, "traffic", func() bool { _, down := transfer.Received(); return down > 0 && len(stream.Down().Arrivals()) > 0 })
		transfer.Abort()
		stream.Stop(0)
		stop()
		ok(t, n.Close())
		ok(t, n.Close())
	}
	newNetwork(t) // skips without privilege
	build()       // what the runtime opens once
	ignore := goleak.IgnoreCurrent()
	before := descriptors(t)
	for range 3 {
		build()
	}
	goleak.VerifyNone(t, ignore)
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func descriptors(t *testing.T) int {
	return len(must(os.ReadDir("/proc/self/fd"))(t))
}
