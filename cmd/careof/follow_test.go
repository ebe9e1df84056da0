package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A guide that is followed says in comments, which no reader sees, who does what
// stands in the block after it:
//
//	<!-- on server -->                   its commands are typed at this host
//	<!-- on node: shows 203.0.113.50 --> and what the last one prints comes to have these words
//	<!-- on node, meanwhile -->          they go on while the reader does the next thing
//	<!-- file server /etc/careof/careof.toml -->
//	<!-- not followed: why -->
//
// and by itself, for what the reader does with his hands or with other machines:
//
//	<!-- hands isp: ip link set wifi down -->
//
// Each may end in "when NAME": it is for that telling of the guide only.
var directive = regexp.MustCompile(`^<!-- (on|file|hands|not followed)\b(.*?)( when (\w+))? -->$`)

// A step is one thing that a follower does.
type step struct {
	kind         string // of directive
	host, detail string // detail: the file's path, the command, or the words that show
	meanwhile    bool
	only         string // the telling that it is for; empty for all
	block        string
	line         int
}

// steps reads a guide.
func steps(t *testing.T, name, text string) (list []step) {
	t.Helper()
	var next *step
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		if m := directive.FindStringSubmatch(lines[i]); m != nil {
			s := step{kind: m[1], only: m[4], line: i + 1}
			rest := strings.TrimSpace(m[2])
			switch s.kind {
			case "on":
				s.host, s.detail, _ = strings.Cut(rest, ": shows ")
				s.host, s.meanwhile = strings.CutSuffix(s.host, ", meanwhile")
			case "file":
				s.host, s.detail, _ = strings.Cut(rest, " ")
			case "hands":
				s.host, s.detail, _ = strings.Cut(rest, ": ")
				list = append(list, s)
				continue
			}
			next = &s
			continue
		}
		if !strings.HasPrefix(lines[i], "```") {
			if next != nil && strings.TrimSpace(lines[i]) != "" {
				t.Fatalf("%s:%d: no block follows what is to be done", name, next.line)
			}
			continue
		}
		language, begin := strings.TrimPrefix(lines[i], "```"), i+1
		for i++; lines[i] != "```"; i++ {
		}
		switch {
		case next != nil:
			next.block = strings.Join(lines[begin:i], "\n") + "\n"
			if next.kind != "not followed" {
				list = append(list, *next)
			}
			next = nil
		case language == "sh" || language == "toml" || language == "nft":
			t.Errorf("%s:%d: nobody follows this block", name, begin)
		}
	}
	return list
}

// found are what programs print and later commands and files need: a guide has
// an example in its place.
var found = []struct{ printed, written *regexp.Regexp }{
	{regexp.MustCompile(`spi = (\d+)`), regexp.MustCompile(`2021155563`)},
	{regexp.MustCompile(`(careof1-\S+)`), regexp.MustCompile(`careof1-\w+`)},
}

// A follower does what a guide says, on machines that are made of namespaces.
type follower struct {
	t        *testing.T
	folder   string
	pid      string // of the network
	replaced []string
	ending   []*exec.Cmd
}

// newFollower builds the machines of docs/testdata/network.sh.
func newFollower(t *testing.T, environment ...string) *follower {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("setting up machines needs root")
	}
	for _, program := range []string{"ip", "nft", "nsenter", "setpriv", "ping", "mount", "curl", "python3", "dnsmasq", "dhclient"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program, " is not installed")
		}
	}
	// Not t.TempDir: others than root must get through.
	dir, err := os.MkdirTemp("", "follow")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The test's own folder may be closed to the daemon's user.
	program := filepath.Join(dir, "program")
	if err := copyProgram(program, self); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "../../docs/testdata/network.sh", program, dir)
	cmd.Env = append(append(os.Environ(), "CAREOF_SOCKET="), environment...)
	// The end of its first process is the end of all.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f := &follower{t: t, folder: dir, pid: fmt.Sprint(cmd.Process.Pid)}
	t.Cleanup(func() {
		in.Close()
		for _, c := range f.ending {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
		_ = cmd.Process.Kill() // it may end by itself before that
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "up\n" {
		t.Fatalf("the network: %q, %v", line, err)
	}
	return f
}

func copyProgram(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// newReader follows guides that need no machines: everything happens "here".
func newReader(t *testing.T) *follower {
	t.Helper()
	if !namespaces() {
		t.Skip("namespaces cannot be made here")
	}
	f := &follower{t: t, folder: t.TempDir()}
	t.Cleanup(func() {
		_ = f.at(context.Background(), here, "careof lab down").Run()
		for _, c := range f.ending {
			_ = c.Process.Signal(os.Interrupt)
			_ = c.Wait()
		}
	})
	return f
}

// here is the reader's own machine.
const here = "here"

// at makes a command of a host's shell.
func (f *follower) at(ctx context.Context, host, line string) *exec.Cmd {
	f.t.Helper()
	if host == here {
		cmd := exec.CommandContext(ctx, "sh", "-c", line)
		cmd.Dir = f.folder
		cmd.Env = append(os.Environ(), "CAREOF_SOCKET=", "XDG_RUNTIME_DIR="+f.folder)
		return cmd
	}
	pid, err := os.ReadFile(filepath.Join(f.folder, host+".pid"))
	if err != nil {
		f.t.Fatalf("there is no host %q: %v", host, err)
	}
	cmd := exec.CommandContext(ctx, "nsenter", "-t", f.pid, "-m", "-n", "-p", "--",
		"nsenter", "-t", strings.TrimSpace(string(pid)), "-m", "-n", "--", "sh", "-c", "cd \"$HOME\"\n"+line)
	cmd.Env = append(os.Environ(), "CAREOF_SOCKET=", "PATH="+filepath.Join(f.folder, "bin")+":/usr/sbin:/usr/bin:/sbin:/bin", "HOME="+filepath.Join(f.folder, host, "home"), "FOLDER="+f.folder)
	cmd.WaitDelay = time.Second // what a command leaves running may keep its output
	return cmd
}

// known puts what programs have printed in the place of the guide's examples.
func (f *follower) known(text string) string {
	for i, r := range f.replaced {
		if r != "" {
			text = found[i].written.ReplaceAllString(text, r)
		}
	}
	return text
}

func (f *follower) learn(output string) {
	f.replaced = append(f.replaced, make([]string, len(found)-len(f.replaced))...)
	for i := range found {
		if all := found[i].printed.FindAllStringSubmatch(output, -1); all != nil {
			f.replaced[i] = all[len(all)-1][1]
		}
	}
}

// perseverance is how long a reader tries a line, or waits for it to end: a
// scene of the laboratory takes most of a minute on a busy machine.
const perseverance = 3 * time.Minute

// run types a line until it succeeds and shows what it should, for as long as a
// person would try.
func (f *follower) run(where, host, line, shows string, patient bool) {
	f.t.Helper()
	line = f.known(line)
	ctx, cancel := context.WithTimeout(f.t.Context(), perseverance)
	defer cancel()
	for {
		out, err := f.at(ctx, host, line).CombinedOutput()
		if err == nil && strings.Contains(string(out), shows) {
			f.learn(string(out))
			f.t.Logf("%s$ %s\n%s", host, line, out)
			return
		}
		if ctx.Err() != nil || !patient && shows == "" {
			for _, host := range []string{"server", "node"} {
				log, _ := os.ReadFile(filepath.Join(f.folder, host, "lib", "careof.log"))
				f.t.Logf("the log of %s:\n%s", host, log)
			}
			f.t.Fatalf("%s: %s$ %s: %v; should show %q\n%s", where, host, line, err, shows, out)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// lines are the commands of a block: a backslash continues one, and what is
// after a # is for people.
func lines(block string) (list []string) {
	for _, line := range strings.Split(strings.ReplaceAll(block, "\\\n", ""), "\n") {
		if line, _, _ = strings.Cut(line, " #"); strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list
}

// waits tells whether a command asks for something that may take a moment.
func waits(line string) bool {
	line = strings.TrimPrefix(line, "sudo ")
	return strings.HasPrefix(line, "careof show") || strings.HasPrefix(line, "careof decode") || strings.HasPrefix(line, "ping ") || strings.HasPrefix(line, "curl ")
}

// follow does everything that a guide says, in one telling of it.
func (f *follower) follow(name, text, telling string) {
	f.t.Helper()
	done := 0
	for _, s := range steps(f.t, name, text) {
		if s.only != "" && s.only != telling {
			continue
		}
		done++
		where := fmt.Sprintf("%s:%d", name, s.line)
		switch s.kind {
		case "hands":
			f.run(where, s.host, s.detail, "", true)
		case "file":
			f.write(where, s)
		case "on":
			for _, host := range strings.Split(s.host, ", ") {
				all := lines(s.block)
				for i, line := range all {
					shows := ""
					if i == len(all)-1 {
						shows = s.detail
					}
					if s.meanwhile {
						f.meanwhile(where, host, line)
					} else {
						f.run(where, host, line, shows, waits(line))
					}
				}
			}
		}
	}
	if done < 5 {
		f.t.Errorf("%s: only %d steps", name, done)
	}
}

// write puts a file where an administrator would.
func (f *follower) write(where string, s step) {
	f.t.Helper()
	cmd := f.at(f.t.Context(), s.host, "cat >"+s.detail+" && case "+s.detail+" in /etc/careof/*) chown root:careof "+s.detail+"; chmod 640 "+s.detail+";; esac")
	cmd.Stdin = strings.NewReader(f.known(s.block))
	if out, err := cmd.CombinedOutput(); err != nil {
		f.t.Fatalf("%s: %v\n%s", where, err, out)
	}
}

// meanwhile starts what goes on until the guide is through.
func (f *follower) meanwhile(where, host, line string) {
	f.t.Helper()
	cmd := f.at(context.WithoutCancel(f.t.Context()), host, "exec "+strings.TrimPrefix(f.known(line), "sudo "))
	out, err := os.Create(filepath.Join(f.folder, map[bool]string{false: host + "/home"}[host == here], "meanwhile"))
	if err != nil {
		f.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Start()
	out.Close()
	if err != nil {
		f.t.Fatalf("%s: %s$ %s: %v", where, host, line, err)
	}
	f.ending = append(f.ending, cmd)
}
