package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// section is a part of a text, from its heading to the next one.
func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("there is no section %q", heading)
	}
	part, _, _ := strings.Cut(rest, "\n## ")
	return part
}

// threeCommands are those that the README promises, each with its host.
func threeCommands(t *testing.T) (text string, commands [][2]string) {
	t.Helper()
	text = section(t, guides(t)["../README.md"], "Three commands")
	for _, s := range steps(t, "README.md", text) {
		for _, line := range lines(s.block) {
			commands = append(commands, [2]string{s.host, line})
		}
	}
	if len(commands) != 3 {
		t.Fatalf("the README promises three commands and has %d: %q", len(commands), commands)
	}
	return text, commands
}

// TestTheThreeCommandsOfTheREADME follows that section of the README on two
// machines that have the package: from nothing to a working tunnel, which lives
// on when the Wi-Fi is lost.
func TestTheThreeCommandsOfTheREADME(t *testing.T) {
	t.Parallel()
	text, _ := threeCommands(t)
	newFollower(t).follow("README.md", text, "")
}

// TestTheThreeCommandsInTwoBareNamespaces types the same three commands into two
// network namespaces, of a VPS and a van, on which there is nothing but the
// program: no package, no user, no service manager, no file. As the README says,
// --run then stands in place of --start.
func TestTheThreeCommandsInTwoBareNamespaces(t *testing.T) {
	t.Parallel()
	_, commands := threeCommands(t)
	b := newBare(t)
	var token string
	for _, c := range commands {
		host := map[string]string{"server": "vps", "node": "van"}[c[0]]
		if host == "" {
			t.Fatalf("%q is typed on %q", c[1], c[0])
		}
		line := strings.TrimPrefix(c[1], "sudo ")
		if token != "" {
			line = regexp.MustCompile(`careof1-\w+`).ReplaceAllString(line, token)
		}
		line, stays := cutWord(line, "--start")
		if stays {
			b.stays(host, line+" --run")
			continue
		}
		out := b.until(host, line)
		if m := regexp.MustCompile(`(?m)^careof1-\S+$`).FindString(out); m != "" {
			token = m
		}
	}
	if token == "" {
		t.Fatal("no command printed a token")
	}
	b.until("vps", "ping -q -c 1 -W 2 10.10.0.2")
	b.until("van", "ping -q -c 1 -W 2 -I 10.10.0.2 198.51.100.254") // what lies beyond the server, by masquerading
	if out := b.until("van", "careof show registrations"); !strings.Contains(out, "encrypted") {
		t.Errorf("the tunnel is not encrypted:\n%s", out)
	}
}

func cutWord(line, word string) (string, bool) {
	before, after, found := strings.Cut(line, " "+word)
	return before + after, found
}

// A bare is two network namespaces and a router between them.
type bare struct {
	t      *testing.T
	folder string
	pid    string
}

// bareNetwork joins vps and van by a router, and gives each an /etc, a /run and a
// /var/lib with nothing of careof in it. It says "up" and stays until its input
// ends.
const bareNetwork = `set -eu
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mkdir /run/netns
for n in vps van isp; do
	ip netns add $n
	ip -n $n link set lo up
	mkdir -p "$1/$n/etc" "$1/$n/lib"
	cp /etc/hosts /etc/protocols /etc/services "$1/$n/etc" 2>/dev/null || true
	ip netns exec $n sh -c "mount --bind '$1/$n/etc' /etc && mount --bind '$1/$n/lib' /var/lib && mount -t tmpfs tmpfs /run && echo \$\$ >'$1/$n.new' && mv '$1/$n.new' '$1/$n.pid' && exec sleep infinity" &
done
wire() {
	ip link add eth0 netns "$1" type veth peer name "$1" netns isp
	ip -n "$1" address add "$2" dev eth0
	ip -n isp address add "$3" dev "$1"
	ip -n "$1" link set eth0 up
	ip -n isp link set "$1" up
	ip -n "$1" route add default via "${3%/*}"
}
wire vps 198.51.100.1/24 198.51.100.254/24
wire van 203.0.113.50/24 203.0.113.1/24
ip netns exec isp sysctl -qw net.ipv4.ip_forward=1
for n in vps van isp; do until [ -s "$1/$n.pid" ]; do sleep 0.05; done; done
echo up
cat >/dev/null
`

func newBare(t *testing.T) *bare {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("namespaces of machines need root")
	}
	for _, program := range []string{"ip", "nsenter", "ping", "mount"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program, " is not installed")
		}
	}
	b := &bare{t: t, folder: t.TempDir()}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(b.folder, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(b.folder, "bin", "careof")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", bareNetwork, "sh", b.folder)
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
	b.pid = fmt.Sprint(cmd.Process.Pid)
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill() // it may end by itself before that, and with it all that runs there
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "up\n" {
		t.Fatalf("the network: %q, %v", line, err)
	}
	return b
}

func (b *bare) at(ctx context.Context, host, line string) *exec.Cmd {
	b.t.Helper()
	pid, err := os.ReadFile(filepath.Join(b.folder, host+".pid"))
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "nsenter", "-t", b.pid, "-m", "-n", "-p", "--",
		"nsenter", "-t", strings.TrimSpace(string(pid)), "-m", "-n", "--", "sh", "-c", line)
	cmd.Env = append(os.Environ(), "CAREOF_SOCKET=", "PATH="+filepath.Join(b.folder, "bin")+":/usr/sbin:/usr/bin:/sbin:/bin")
	cmd.WaitDelay = time.Second
	return cmd
}

// stays starts what goes on until the test ends.
func (b *bare) stays(host, line string) {
	b.t.Helper()
	cmd := b.at(context.WithoutCancel(b.t.Context()), host, "exec "+line)
	log, err := os.Create(filepath.Join(b.folder, host+".log"))
	if err != nil {
		b.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	err = cmd.Start()
	log.Close()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// until types a line until it succeeds, for as long as a person would try.
func (b *bare) until(host, line string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), perseverance)
	defer cancel()
	for {
		var out, complaint bytes.Buffer
		cmd := b.at(ctx, host, line)
		cmd.Stdout, cmd.Stderr = &out, &complaint
		err := cmd.Run()
		if err == nil {
			b.t.Logf("%s# %s\n%s", host, line, out.String())
			return out.String()
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			for _, n := range []string{"vps", "van"} {
				log, _ := os.ReadFile(filepath.Join(b.folder, n+".log"))
				b.t.Logf("what %s said:\n%s", n, log)
			}
			b.t.Fatalf("%s# %s: %v\n%s%s", host, line, err, out.String(), complaint.String())
		}
	}
}
