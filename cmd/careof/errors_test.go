package main

import (
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

	"github.com/cockroachdb/pebble/v2"
)

// said is the shape of every error that a person gets: careof: where: what is
// wrong (what to do).
var said = regexp.MustCompile(`^careof: (\S.*?): (.+) \(([^()]+(?:\([^()]*\)[^()]*)*)\)$`)

// wellSaid fails unless an error has that shape and says where it is.
func wellSaid(t *testing.T, output, where string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(output), "\n")
	message := lines[len(lines)-1]
	if !strings.HasPrefix(message, "careof: ") {
		message = "careof: " + message
	}
	switch m := said.FindStringSubmatch(message); {
	case m == nil && strings.Contains(message, ": must be "):
		// What it must be is what to do.
	case m == nil:
		t.Errorf("want `careof: where: what (what to do)`, got %q", output)
	case !strings.Contains(message, where):
		t.Errorf("%q does not say where: %q", message, where)
	case len(strings.Fields(m[3])) < 2:
		t.Errorf("%q does not say what to do", message)
	case strings.Count(message, "careof: ") > 1+strings.Count(message, "chown -R careof: "):
		t.Errorf("%q names the program twice", message)
	}
}

const (
	general = "version = 1\nstate-directory = \"DIR/state\"\n[control]\nsocket = \"DIR/s.sock\"\n[plane]\nkind = \"tun\"\n"
	agent   = "[home-agent]\naddress = \"198.51.100.1\"\n[[home-agent.network]]\nprefix = \"10.10.0.0/24\"\n"
	node    = "[[home-agent.mobile-node]]\nhome-address = \"10.10.0.5\"\nspi = 256\nalgorithm = \"hmac-sha256\"\n"
	key     = "key = \"hex:00112233445566778899aabbccddeeff\"\n"
	mobile  = "[mobile-node]\nhome-address = \"10.10.0.5\"\nhome-agent = \"198.51.100.1\"\nspi = 256\nalgorithm = \"hmac-sha256\"\n" + key
	uplink  = "[[mobile-node.uplink]]\ninterface = \"wlan0\"\n"
	visited = "[foreign-agent]\ninterfaces = [\"lo\"]\ncare-of-address = \"198.51.100.1\"\n"
)

// TestMistakesInAConfigurationSayWhatToDo makes mistakes that people make.
func TestMistakesInAConfigurationSayWhatToDo(t *testing.T) {
	for _, c := range []struct{ name, text, where string }{
		{"a key file is missing", general + agent + node + `key-file = "keys.d/none"`, "careof.toml:15: home-agent.mobile-node.key-file: "},
		{"others can read a key", general + agent + node + `key-file = "open"`, "careof.toml:15: home-agent.mobile-node.key-file: "},
		{"a key is no hexadecimal number", general + agent + node + `key = "hex:xyz"`, "careof.toml:15: home-agent.mobile-node.key: "},
		{"a key is a password", general + agent + node + `key = "secret"`, "careof.toml:15: home-agent.mobile-node.key: "},
		{"there is no key", general + agent + node, "careof.toml:11: home-agent.mobile-node"},
		{"a key is unknown", general + agent + "max-lifetme = \"10m\"\n", "careof.toml:11: home-agent.network.max-lifetme: "},
		{"a section is unknown", general + "[home-agnet]\naddress = \"198.51.100.1\"\n" + mobile + uplink, "careof.toml:7: home-agnet: "},
		{"an address is none", general + strings.Replace(agent, "198.51.100.1", "198.51.100", 1), "careof.toml:8: home-agent.address: "},
		{"an address is this machine's own", general + strings.Replace(agent, "198.51.100.1", "127.0.0.1", 1), "careof.toml:8: home-agent.address: "},
		{"a prefix is none", general + strings.Replace(agent, "10.10.0.0/24", "10.10.0.0/33", 1), "careof.toml:10: home-agent.network.prefix: "},
		{"a prefix has host bits", general + strings.Replace(agent, "10.10.0.0/24", "10.10.0.7/24", 1), "careof.toml:10: home-agent.network.prefix: "},
		{"a home address is in no home network", general + agent + strings.Replace(node, "10.10.0.5", "10.11.0.5", 1) + key, "careof.toml:12: home-agent.mobile-node.home-address: "},
		{"two nodes have one home address", general + agent + node + key + node + key, "careof.toml:17: home-agent.mobile-node"},
		{"an SPI is reserved", general + agent + strings.Replace(node, "256", "255", 1) + key, "careof.toml:13: home-agent.mobile-node.spi: "},
		{"an algorithm is unknown", general + agent + strings.Replace(node, "hmac-sha256", "md5", 1) + key, "careof.toml:14: home-agent.mobile-node.algorithm: "},
		{"no algorithm is chosen", general + agent + "[[home-agent.mobile-node]]\nhome-address = \"10.10.0.5\"\nspi = 256\n" + key, "home-agent.mobile-node.algorithm: "},
		{"no authentication, by accident", general + agent + strings.Replace(node, "hmac-sha256", "none", 1), "home-agent.mobile-node"},
		{"a pool is not in the network", general + agent + "pool = [\"10.11.0.1-10.11.0.9\"]\n", "careof.toml:11: home-agent.network.pool"},
		{"a duration has no unit", general + strings.Replace(agent, "[[", "max-lifetime = 600\n[[", 1), "careof.toml:9: home-agent.max-lifetime: "},
		{"a duration is too long", general + strings.Replace(agent, "[[", "max-lifetime = \"48h\"\n[[", 1), "careof.toml:9: home-agent.max-lifetime: "},
		{"a port is none", general + strings.Replace(agent, "[[", "port = 70000\n[[", 1), "careof.toml:9: home-agent.port: "},
		{"there is no address", general + "[home-agent]\n", "careof.toml:7: home-agent.address: "},
		{"there is no role", general, "careof.toml: "},
		{"the version is missing", mobile + uplink, "careof.toml: version: "},
		{"the version is a later one", "version = 9\n" + mobile + uplink, "careof.toml:1: version: "},
		{"a quote is missing", "version = 1\n[home-agent]\naddress = \"198.51.100.1\n", "careof.toml:3: "},
		{"an address has no quotes", "version = 1\n[home-agent]\naddress = 198.51.100.1\n", "careof.toml:3: "},
		{"a key is there twice", "version = 1\nversion = 1\n", "careof.toml:2: "},
		{"an interface's name is too long", general + mobile + strings.Replace(uplink, "wlan0", "wlan0123456789abc", 1), "careof.toml:14: mobile-node.uplink.interface: "},
		{"an uplink is there twice", general + mobile + uplink + uplink, "mobile-node.uplink"},
		{"a node has neither address nor name", general + strings.Replace(mobile, "home-address = \"10.10.0.5\"\n", "", 1) + uplink, "mobile-node"},
		{"a socket's path is too long", strings.Replace(general, "s.sock", strings.Repeat("x", 120), 1) + mobile + uplink, "careof.toml:4: control.socket: "},
		{"the API is open to all", strings.Replace(general, "[plane]", "listen = \"127.0.0.1:8434\"\n[plane]", 1) + mobile + uplink, "control.token-file: "},
		{"tokens would go in the clear", strings.Replace(general, "[plane]", "listen = \"198.51.100.1:8434\"\ntoken-file = \"token\"\n[plane]", 1) + mobile + uplink, "careof.toml:5: control.listen: "},
		{"a level is unknown", general + "[log]\nlevel = \"verbose\"\n" + mobile + uplink, "careof.toml:8: log.level: "},
		{"a line of the nodes file is wrong", general + strings.Replace(agent, "[[", "nodes-file = \"nodes\"\n[[", 1), "nodes:2: "},
		{"tokens without a home agent", general + mobile + uplink + "[enrolment]\nlisten = \"0.0.0.0:4434\"\n", "enrolment"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{
				"careof.toml": strings.ReplaceAll(c.text, "DIR", dir), "open": "00112233445566778899aabbccddeeff\n",
				"token": strings.Repeat("a1", 20), "nodes": "# one a line\nvan7@fleet.example 10.10.0.7 256 hmac-sha256\n",
			} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(filepath.Join(dir, "open"), 0o644); err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			if code := Main([]string{"check", "-c", filepath.Join(dir, "careof.toml")}, strings.NewReader(""), &out, &out); code != exitUsage {
				t.Fatalf("exit code %d: %s", code, out.String())
			}
			for _, line := range strings.Split(strings.TrimSpace(strings.TrimPrefix(out.String(), "careof: ")), "\n") {
				wellSaid(t, line, dir)
			}
			if !strings.Contains(out.String(), c.where) {
				t.Errorf("want %q in\n%s", c.where, out.String())
			}
		})
	}
}

// A trial is a host in namespaces of its own, a file, and what is done there.
// In the script $careof is the program and $dir the folder.
type trial struct{ name, text, script, where string }

const (
	start = `$careof run -c $dir/careof.toml`
	// first starts another daemon, of first.toml, and waits for it.
	first = `$careof run -c $dir/first.toml 2>$dir/first.log & other=$!
		trap 'kill $other; wait' EXIT
		for i in $(seq 600); do $careof --socket $dir/first.sock show status >/dev/null 2>&1 && break; sleep 0.1; done
		`
	// weak runs a command as nobody, without any right.
	weak = `setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all `
)

// try does what a trial says and returns what the last command said. What it
// does must fail.
func try(t *testing.T, c trial) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "careof")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Under this name, the test program is careof. Nobody may come to where it was built.
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	careof := filepath.Join(programs(t, program), "careof")
	other := strings.NewReplacer("s.sock", "first.sock", "/state", "/first", "198.51.100.1", "198.51.100.2", "kind = \"tun\"", "kind = \"tun\"\ndevice = \"careof9\"").
		Replace(general + agent + "canary = \"0s\"\n")
	other = strings.Replace(other, "[[home-agent.network]]", "canary = \"0s\"\n[[home-agent.network]]", 1)
	other = strings.Replace(strings.Replace(other, "/24\"\ncanary = \"0s\"\n", "/24\"\n", 1), "10.10.0.0", "10.99.0.0", 1)
	for name, text := range map[string]string{"careof.toml": c.text, "first.toml": other} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "DIR", dir)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", `mount --make-rprivate /
		ip link set lo up; ip address add 198.51.100.1/32 dev lo; ip address add 198.51.100.2/32 dev lo
		`+c.script)
	cmd.Env = append(os.Environ(), "careof="+careof, "dir="+dir, "CAREOF_SOCKET="+dir+"/s.sock")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("it did not fail:\n%s", out)
	}
	if err == nil {
		t.Errorf("it did not fail:\n%s", out)
	}
	return string(out)
}

var programFolder string

// programs is a folder with a copy of this program that every user may run.
func programs(t *testing.T, program []byte) string {
	if programFolder == "" {
		dir, err := os.MkdirTemp("", "careof-program")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "careof"), program, 0o755); err != nil {
			t.Fatal(err)
		}
		programFolder = dir
	}
	return programFolder
}

// needNamespaces skips where hosts of namespaces cannot be made.
func needNamespaces(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making hosts of namespaces needs root")
	}
	for _, program := range []string{"ip", "mount", "setpriv"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program, " is not installed")
		}
	}
	t.Cleanup(func() {
		if programFolder != "" {
			os.RemoveAll(programFolder)
			programFolder = ""
		}
	})
}

// TestFailuresAtStartSayWhatToDo starts a daemon where it cannot start.
func TestFailuresAtStartSayWhatToDo(t *testing.T) {
	needNamespaces(t)
	home := general + agent + node + key
	replace := func(text string, pairs ...string) string {
		out := strings.NewReplacer(pairs...).Replace(text)
		if out == text {
			t.Fatalf("%q is not in the text", pairs[0])
		}
		return out
	}
	for _, c := range []trial{
		{"the port is taken", replace(home, "198.51.100.1", "198.51.100.2"), first + start, "careof.toml:8: home-agent.address: "},
		{"the socket is taken", replace(home, "s.sock", "first.sock"), first + start, "careof.toml:4: control.socket: "},
		{"the state is taken", replace(home, "/state", "/first"), first + start, "careof.toml:2: state-directory: "},
		{"the device is taken", replace(home, "kind =", "device = \"careof9\"\nkind ="), first + start, "careof.toml:6: plane.device: "},
		{"the device is of another kind", replace(home, "kind =", "device = \"eth0\"\nkind ="), "ip link add eth0 type veth peer name eth1; " + start, "careof.toml:6: plane.device: "},
		{"the TCP port is taken", replace(home, "[plane]", "listen = \"127.0.0.1:8434\"\ntoken-file = \"token\"\n[plane]"),
			strings.Replace(first, "$careof", `(umask 077; echo 0123456789abcdef0123456789abcdef >$dir/token); sed -i 's,^.plane.$,listen = "127.0.0.1:8434"\ntoken-file = "token"\n&,' $dir/first.toml; $careof`, 1) + start, "careof.toml:5: control.listen: "},
		{"the port of tokens is taken", home + "[enrolment]\nlisten = \"198.51.100.2:4434\"\n",
			strings.Replace(first, "$careof", `printf '[enrolment]\nlisten = "198.51.100.2:4434"\n' >>$dir/first.toml; $careof`, 1) + start, "careof.toml:17: enrolment.listen: "},
		{"the TCP address is another host's", replace(home, "[plane]", "listen = \"203.0.113.9:8434\"\ntoken-file = \"token\"\ntls-cert = \"cert\"\ntls-key = \"token\"\n[plane]"), `(umask 077; echo 0123456789abcdef0123456789abcdef >$dir/token); cp $dir/token $dir/cert; ` + start, "careof.toml"},
		{"there are no TUN devices", home, "mount -t tmpfs tmpfs /dev/net; " + start, "careof.toml:5: plane.device: "},
		{"the user has no rights", home, "chmod 777 $dir; " + weak + start, "careof.toml:"},
		{"the user may not make the socket", home, weak + start, "careof.toml:4: control.socket: "},
		{"the state is another user's", home, "mkdir -m 700 $dir/state; chmod 777 $dir; " + weak + start, "careof.toml:2: state-directory: "},
		{"the state's folder is a file", home, "touch $dir/state; " + start, "careof.toml:2: state-directory: "},
		{"the disk may only be read", replace(home, "/state", "/ro/state"), "mkdir $dir/ro; mount -t tmpfs -o ro tmpfs $dir/ro; " + start, "careof.toml:2: state-directory: "},
		{"the disk is full", replace(home, "/state", "/small/state"), "mkdir $dir/small; mount -t tmpfs -o size=64k tmpfs $dir/small; " + start, "careof.toml:2: state-directory: "},
		{"the socket's folder cannot be made", replace(home, "s.sock", "careof.toml/s.sock"), start, "careof.toml:4: control.socket: "},
		{"the home agent's address is elsewhere", replace(home, "198.51.100.1", "203.0.113.9"), start, "careof.toml:8: home-agent.address: "},
		{"the local address is elsewhere", replace(home, "address = \"198.51.100.1\"", "address = \"198.51.100.1\"\nlocal-address = \"10.0.0.4\""), start, "careof.toml:9: home-agent.local-address: "},
		{"the care-of address is elsewhere", general + replace(visited, "198.51.100.1", "203.0.113.9", "\"lo\"", "\"eth0\""), "ip link add eth0 type veth peer name eth1; " + start, "careof.toml:9: foreign-agent.care-of-address: "},
		{"a home link is not there", replace(home, "address = \"198.51.100.1\"", "address = \"198.51.100.1\"\ninterfaces = [\"eth7\"]"), start, "careof.toml:9: home-agent.interfaces: "},
		{"a visitors' link is not there", general + replace(visited, "\"lo\"", "\"eth7\""), start, "careof.toml:8: foreign-agent.interfaces: "},
		{"there is no BPF file system", replace(home, "kind = \"tun\"", "kind = \"bpf\"\nbpffs = \"DIR/bpf\""), start, "careof.toml:7: plane.bpffs: "},
		{"another network's route is in the way", home, "ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up; ip route add 10.10.0.0/24 dev eth0; " + start, "careof.toml:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := try(t, c)
			wellSaid(t, errorOf(out), c.where)
		})
	}
	t.Run("a newer version wrote the state", func(t *testing.T) {
		dir := t.TempDir()
		db, err := pebble.Open(filepath.Join(dir, "store"), &pebble.Options{FormatMajorVersion: pebble.FormatNewest})
		if err == nil {
			err = db.Set([]byte("\x00format"), []byte{99}, pebble.Sync)
		}
		if err == nil {
			err = db.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		out := try(t, trial{text: replace(home, "DIR/state", dir), script: start})
		wellSaid(t, errorOf(out), "careof.toml:2: state-directory: ")
	})
}

// errorOf is what a command said last, without its log.
func errorOf(out string) string {
	i := strings.LastIndex(out, "careof: ")
	for i > 0 && out[i-1] != '\n' {
		i = strings.LastIndex(out[:i], "careof: ")
	}
	if i < 0 {
		return out
	}
	return out[i:]
}

// TestFailuresOfTheAPISayWhatToDo asks a running daemon for what it cannot do.
func TestFailuresOfTheAPISayWhatToDo(t *testing.T) {
	needNamespaces(t)
	script := first + "CAREOF_SOCKET=$dir/first.sock\n"
	questions := []struct{ command, where, do string }{
		{"$careof --socket $dir/none.sock show status", "none.sock", "is `careof run` running"},
		{weak + "$careof show status", "first.sock", "sudo"},
		{"chmod 666 $dir/first.sock; " + weak + "$careof show status", "", "sudo"},
		{"$careof show binding 10.99.0.7", "10.99.0.7", "careof show bindings"},
		{"$careof show binding van7@fleet.example", "van7@fleet.example", "careof show bindings"},
		{"$careof show nonsense", "nonsense", "status, bindings,"},
		{"$careof revoke 10.99.0.7", "10.99.0.7", "careof show associations"},
		{"$careof revoke nonsense", "nonsense", "careof show associations"},
		{"$careof unblock 10.99.0.7", "10.99.0.7", "careof show blocked"},
		{"$careof drain", "no pool", "home-agent.pool-member"},
		{"$careof enrol", "[enrolment]", "add it with listen"},
		{"$careof enrol remove 10.99.0.7", "10.99.0.7", "careof show enrolled"},
		{"$careof log level nonsense=debug", "nonsense", "registration, replay,"},
		{"$careof log level registration=loud", "loud", "debug, info, warn or error"},
		{"$careof log level loud", "loud", "debug, info, warn or error"},
		{"$careof log level nonsense loud", "nonsense", "debug, info, warn or error"},
		{"$careof reload --keep", "", "--confirm"},
		{"$careof reload --confirm 48h", "24h", "at most 24h"},
		{"sed -i s/198.51.100.2/nowhere/ $dir/first.toml; $careof reload", "first.toml:9: home-agent.address: ", "for example"},
		{"rm $dir/first.toml; $careof reload", "first.toml", "name the file with -c"},
		{"$careof capture -w $dir/none/x.pcapng", "none/x.pcapng", "name a file"},
		{"$careof capture -w $dir/x.pcapng --peer nonsense", "nonsense", "for example"},
		{"$careof join nonsense", "token", "copy all of it"},
		{"$careof check -c $dir/none.toml", "none.toml", "name the file"},
		{"$careof check -c $dir", "no regular file", "name the file with -c"},
		{"$careof decode $dir/none.pcapng", "none.pcapng", "neither a file nor hexadecimal"},
		{"$careof explain nonsense", "nonsense", "give a number or a word"},
		{"$careof show status -o xml", "xml", "table, wide or json"},
		{"$careof shw", "shw", "Did you mean"},
		{"$careof run --config-file x", "--config-file", "--help"},
	}
	for i, c := range questions {
		script += fmt.Sprintf("(%s) >$dir/out.txt 2>&1; echo \"== %d $?\"; cat $dir/out.txt\n", c.command, i)
	}
	out := try(t, trial{script: script + "false"})
	parts := regexp.MustCompile(`(?m)^== \d+ (\d+)\n`).Split(out, -1)[1:]
	codes := regexp.MustCompile(`(?m)^== \d+ (\d+)\n`).FindAllStringSubmatch(out, -1)
	if len(parts) != len(questions) {
		t.Fatalf("%d answers for %d questions:\n%s", len(parts), len(questions), out)
	}
	for i, q := range questions {
		t.Run(q.command, func(t *testing.T) {
			if codes[i][1] == "0" {
				t.Errorf("it did not fail: %s", parts[i])
			}
			if !strings.Contains(parts[i], q.where) || !strings.Contains(parts[i], q.do) {
				t.Errorf("want where, %q, and what to do, %q, in %q", q.where, q.do, parts[i])
			}
			if strings.Count(parts[i], "careof: ") > 1 {
				t.Errorf("%q names the program twice", parts[i])
			}
		})
	}
}
