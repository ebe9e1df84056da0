package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideVariable tells the program that Enter has started it. Its value is the inode of the network namespace outside, so
// that a variable left over from elsewhere deceives nobody.
const insideVariable = "CAREOF_LAB_OUTSIDE"

// Enter runs the calling program again, with the same arguments, in namespaces of its own, and waits for it. Call it first
// thing in main:
//
//	code, inside, err := netns.Enter()
//	if err != nil || !inside {
//		… print err, exit with code
//	}
//
// For an ordinary user these are a user, a network and a mount namespace, for root a network and a mount namespace: so
// nothing that the laboratory does touches the host. Interrupts and terminations are passed on to the inner program, and
// it is killed when the outer one dies. Namespaces end with the last process in them, so nothing is left behind in any
// case. The inner program is not in the terminal's foreground group: it must not read from the terminal.
//
// The error says what is missing and what to do about it when the kernel or the administrator forbids this.
func Enter() (code int, inside bool, err error) {
	if outside := os.Getenv(insideVariable); outside != "" {
		here, err := namespaceInode()
		if err != nil {
			return 1, false, err
		}
		if outside != here {
			os.Unsetenv(insideVariable)
			return settle()
		}
	}
	if err := tunReady(); err != nil {
		return 1, false, err
	}
	outside, err := namespaceInode()
	if err != nil {
		return 1, false, err
	}
	if os.Geteuid() != 0 {
		code, err = rerun(outside, true)
		return code, false, err
	}
	code, err = rerun(outside, false)
	if errors.Is(err, unix.EPERM) { // root without CAP_SYS_ADMIN, as in many containers
		code, err = rerun(outside, true)
	}
	return code, false, err
}

func namespaceInode() (string, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &st); err != nil {
		return "", fmt.Errorf("netns: /proc/self/ns/net: %w", err)
	}
	return strconv.FormatUint(st.Ino, 10), nil
}

// settle is the first thing done inside.
func settle() (int, bool, error) {
	// Without this, mounts made here could reach the host's tree.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return 1, false, forbidden(err)
	}
	return 0, true, nil
}

// rerun starts the program in new namespaces and waits for it.
func rerun(outside string, user bool) (int, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = os.Args
	cmd.Env = append(os.Environ(), insideVariable+"="+outside)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// A process group of its own: Ctrl-C reaches it once, through this process, and not twice.
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true,
	}
	if user {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	// The parent-death signal is tied to the thread that forks.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 1, forbidden(err)
	}
	ended := make(chan struct{})
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		for {
			select {
			case s := <-signals:
				cmd.Process.Signal(s)
			case <-ended:
				return
			}
		}
	}()
	err := cmd.Wait()
	close(ended)
	<-passed
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 1, fmt.Errorf("netns: wait for the laboratory: %w", err)
	}
	return exitCode(cmd.ProcessState), nil
}

// restrictions are the settings by which systems forbid user namespaces to ordinary users.
var restrictions = []struct {
	path, forbids string
	hint          string
}{
	{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1"},
	{"/proc/sys/user/max_user_namespaces", "0", "sudo sysctl user.max_user_namespaces=10000"},
	{"/proc/sys/user/max_net_namespaces", "0", "sudo sysctl user.max_net_namespaces=10000"},
	{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"},
}

// forbidden explains why namespaces could not be made.
func forbidden(err error) error {
	reason, hint := "", ""
	for _, r := range restrictions {
		value, readErr := os.ReadFile(r.path)
		if readErr == nil && strings.TrimSpace(string(value)) == r.forbids {
			reason = fmt.Sprintf(" (%s is %s)", strings.ReplaceAll(strings.TrimPrefix(r.path, "/proc/sys/"), "/", "."), r.forbids)
			hint = ", or allow it with: " + r.hint
			break
		}
	}
	who := "an ordinary user"
	if os.Geteuid() == 0 {
		who = "this root user"
	}
	return fmt.Errorf("netns: this system does not let %s make namespaces%s: run the same command with sudo%s: %w", who, reason, hint, err)
}
