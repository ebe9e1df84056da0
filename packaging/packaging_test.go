// Package packaging_test checks what a package installs: units, drop-ins,
// examples, and the package itself.
package packaging_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"careof/internal/config"
)

// tool finds a program of the system, which only some systems have.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(name, " is not installed")
	}
	return path
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// worstExposure is what systemd-analyze may say of the units at most: "OK"
// ends at 5, and what a network daemon cannot do without makes about 2.
const worstExposure = 3.0

var exposure = regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`)

func TestTheUnitsAreASandbox(t *testing.T) {
	analyze := tool(t, "systemd-analyze")
	for _, unit := range []string{"systemd/careof.service", "systemd/careof@.service", "systemd/careof-guard.service", "systemd/careof-guard@.service"} {
		out, err := exec.Command(analyze, "security", "--offline=true", "--no-pager", unit).CombinedOutput()
		found := exposure.FindSubmatch(out)
		if err != nil || found == nil {
			t.Fatalf("%s: %v\n%s", unit, err, out)
		}
		if level, err := strconv.ParseFloat(string(found[1]), 64); err != nil || level > worstExposure {
			t.Errorf("%s: exposure level %s, want at most %v\n%s", unit, found[1], worstExposure, out)
		}
	}
}

func TestTheUnitsAreValid(t *testing.T) {
	analyze := tool(t, "systemd-analyze")
	dir := t.TempDir()
	for _, name := range []string{"careof.service", "careof@.service", "careof-guard.service", "careof-guard@.service"} {
		// The program need not be installed where the test runs.
		text := strings.ReplaceAll(read(t, "systemd/"+name), "/usr/bin/careof ", "/bin/true ")
		path := filepath.Join(dir, strings.Replace(name, "@", "@van", 1))
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput()
		// It speaks of the system's other units too.
		if err != nil || bytes.Contains(out, []byte("careof")) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// TestTheUnitsDoTheSame keeps the instance's unit from lagging behind.
func TestTheUnitsDoTheSame(t *testing.T) {
	settings := func(name string) []string {
		var out []string
		for line := range strings.Lines(read(t, name)) {
			if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "Description=") {
				out = append(out, strings.ReplaceAll(line, "%i", "careof"))
			}
		}
		return out
	}
	for _, name := range []string{"careof", "careof-guard"} {
		one, instance := settings("systemd/"+name+".service"), settings("systemd/"+name+"@.service")
		if !slices.Equal(one, instance) {
			t.Errorf("%s.service:\n%s\n%[1]s@.service:\n%[3]s", name, one, instance)
		}
	}
}

// keyFile finds what the examples name as key.
var keyFile = regexp.MustCompile(`key-file = "([^"]+)"`)

func TestTheExamplesAreValid(t *testing.T) {
	examples, err := filepath.Glob("examples/*.toml")
	if err != nil || len(examples) < 5 {
		t.Fatalf("%d examples, error %v", len(examples), err)
	}
	for _, example := range examples {
		text, dir := read(t, example), t.TempDir()
		for _, name := range keyFile.FindAllStringSubmatch(text, -1) {
			path := filepath.Join(dir, name[1])
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(strings.Repeat("5a", 32)+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c, err := config.Parse(filepath.Join(dir, filepath.Base(example)), text)
		if err != nil {
			t.Errorf("%s: %v", example, err)
		} else if len(c.Warnings) > 0 {
			t.Errorf("%s: %v", example, c.Warnings)
		}
	}
}

// program stands for careof where only its being there matters.
const program = "#!/bin/sh\necho \"careof $*\"\n"

// build makes a package of a format and returns its path.
func build(t *testing.T, format string) string {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "program")
	if err := os.WriteFile(binary, []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("../scripts/package", "amd64")
	cmd.Env = append(os.Environ(), "BINARY="+binary, "OUT="+dir, "FORMATS="+format, "VERSION=1.2.3", "SOURCE_DATE_EPOCH=1795305600")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("scripts/package: %v\n%s", err, out)
	}
	return filepath.Join(dir, "careof_1.2.3_amd64."+format)
}

func TestAPackageIsTheSameEveryTime(t *testing.T) {
	for _, format := range []string{"deb", "rpm"} {
		if a, b := read(t, build(t, format)), read(t, build(t, format)); a != b {
			t.Errorf("two %s packages of the same program differ", format)
		}
	}
}

// TestTheRPMIsInstalledAndRemoved leaves its scripts out: they are for the
// system that the database is of. A shell reads them.
func TestTheRPMIsInstalledAndRemoved(t *testing.T) {
	tool(t, "rpm")
	file, root := build(t, "rpm"), t.TempDir()
	rpm := func(args ...string) string {
		t.Helper()
		args = append([]string{"--root=" + root, "--dbpath=/rpmdb", "--nodeps", "--noscripts"}, args...)
		out, err := exec.Command("rpm", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("rpm %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if os.Geteuid() != 0 {
		t.Skip("installing needs root")
	}
	rpm("--install", "--ignorearch", "--ignoreos", file)
	for path, mode := range map[string]os.FileMode{
		"usr/bin/careof":                                0o755,
		"usr/lib/systemd/system/careof.service":         0o644,
		"usr/lib/systemd/system/careof@.service":        0o644,
		"usr/lib/sysusers.d/careof.conf":                0o644,
		"usr/share/man/man8/careof-run.8.gz":            0o644,
		"usr/share/zsh/site-functions/_careof":          0o644,
		"usr/share/licenses/careof/LICENSE":             0o644,
		"usr/share/doc/careof/examples/home-agent.toml": 0o644,
	} {
		if info, err := os.Stat(filepath.Join(root, path)); err != nil {
			t.Error(err)
		} else if info.Mode() != mode {
			t.Errorf("%s: mode %v, want %v", path, info.Mode(), mode)
		}
	}
	rpm("--erase", "careof")
	if _, err := os.Stat(filepath.Join(root, "usr/bin/careof")); err == nil {
		t.Error("after removal, the program is still there")
	}
	for _, script := range []string{"post", "preun", "postun"} {
		if out, err := exec.Command("sh", "-n", "rpm/"+script).CombinedOutput(); err != nil {
			t.Errorf("rpm/%s: %v\n%s", script, err, out)
		}
	}
}

func TestAPackageIsInstalledAndRemoved(t *testing.T) {
	for _, name := range []string{"dpkg", "systemd-sysusers", "systemd-tmpfiles"} {
		tool(t, name)
	}
	if os.Geteuid() != 0 {
		t.Skip("installing needs root")
	}
	deb, root := build(t, "deb"), t.TempDir()
	for _, dir := range []string{"etc", "var/lib/dpkg/info", "var/lib/dpkg/updates"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	dpkg := func(args ...string) {
		t.Helper()
		// Scripts without a chroot act on DPKG_ROOT, and leave this
		// system's services alone.
		args = append([]string{"--root=" + root, "--force-script-chrootless", "--force-depends", "--log=/dev/null"}, args...)
		if out, err := exec.Command("dpkg", args...).CombinedOutput(); err != nil {
			t.Fatalf("dpkg %v: %v\n%s", args, err, out)
		}
	}
	dpkg("--install", deb)
	for path, mode := range map[string]os.FileMode{
		"usr/bin/careof": 0o755,
		"etc/careof":     0o750 | os.ModeDir, "etc/careof/keys.d": 0o700 | os.ModeDir,
		"lib/systemd/system/careof.service": 0o644, "lib/systemd/system/careof@.service": 0o644,
		"lib/systemd/network/50-careof.network": 0o644, "usr/lib/NetworkManager/conf.d/50-careof.conf": 0o644,
		"usr/share/man/man1/careof.1.gz": 0o644, "usr/share/man/man8/careof-run.8.gz": 0o644, "usr/share/man/man5/careof.toml.5.gz": 0o644,
		"usr/share/doc/careof/examples/home-agent.toml": 0o644, "usr/share/doc/careof/configuration.md": 0o644,
		"usr/share/doc/careof/examples/lab/cloud.toml": 0o644, "usr/share/doc/careof/images/concept.svg": 0o644,
		"usr/share/bash-completion/completions/careof": 0o644,
	} {
		info, err := os.Stat(filepath.Join(root, path))
		if err != nil {
			t.Error(err)
		} else if info.Mode() != mode {
			t.Errorf("%s: mode %v, want %v", path, info.Mode(), mode)
		}
	}
	if users := read(t, filepath.Join(root, "etc/passwd")); !strings.Contains(users, "careof:") {
		t.Errorf("there is no user careof:\n%s", users)
	}
	if got := read(t, filepath.Join(root, "usr/share/bash-completion/completions/careof")); got != "careof completion bash\n" {
		t.Errorf("the completion is %q", got)
	}

	// What the administrator and the daemon made is another matter.
	configuration, state := filepath.Join(root, "etc/careof/careof.toml"), filepath.Join(root, "var/lib/careof/store")
	if err := os.WriteFile(configuration, []byte("version = 1\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(state, 0o755); err != nil {
		t.Fatal(err)
	}
	dpkg("--remove", "careof")
	for path, stays := range map[string]bool{"usr/bin/careof": false, "lib/systemd/system/careof.service": false, "etc/careof/careof.toml": true, "var/lib/careof/store": true} {
		if _, err := os.Stat(filepath.Join(root, path)); (err == nil) != stays {
			t.Errorf("after removal, %s: %v", path, err)
		}
	}
	dpkg("--purge", "careof")
	if _, err := os.Stat(state); err == nil {
		t.Error("after purging, there is still state")
	}
	if _, err := os.Stat(configuration); err != nil {
		t.Error("purging took the administrator's configuration: ", err)
	}
}
