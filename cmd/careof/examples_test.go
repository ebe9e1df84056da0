package main

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"careof/internal/lab/topology"
)

const examples = "../../packaging/examples"

// talkers are the connections that must outlive everything that is tried in an
// example's laboratory.
var talkers = map[string][]struct{ correspondent, mobile, address string }{
	"behind-nat":     {{"cn", "mn", "10.10.0.5"}},
	"cloud":          {{"cn", "mn", "10.10.0.100"}},
	"foreign-agents": {{"cn", "mn", "10.10.0.5"}},
	"gre-keys":       {{"cn1", "mn1", "10.10.0.5"}, {"cn2", "mn2", "10.10.0.5"}},
	"lan":            {{"neighbour", "mn", "192.168.10.50"}},
	"van":            {{"cn", "laptop", "10.20.7.10"}},
}

// routers are the nodes by whose moves others move.
var routers = map[string]string{"laptop": "mn"}

// TestEveryExampleHasALaboratory finds examples that nothing runs.
func TestEveryExampleHasALaboratory(t *testing.T) {
	files, err := filepath.Glob(examples + "/*.toml")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d examples, error %v", len(files), err)
	}
	labs, err := filepath.Glob(examples + "/lab/*.toml")
	if err != nil || len(labs) != len(talkers) {
		t.Errorf("%d laboratories, and %d that a test plays (error %v)", len(labs), len(talkers), err)
	}
	var used []string
	for _, lab := range labs {
		top, err := topology.Load(lab)
		if err != nil {
			t.Error(err)
			continue
		}
		if want := strings.TrimSuffix(filepath.Base(lab), ".toml"); top.Name != want || talkers[want] == nil || len(top.Try) < 3 {
			t.Errorf("%s: is called %q, has %d lines to try; who talks to whom: %v", lab, top.Name, len(top.Try), talkers[want])
		}
		for _, n := range top.Nodes {
			used = append(used, filepath.Base(n.ConfigFile))
		}
	}
	for _, file := range files {
		if name := filepath.Base(file); !slices.Contains(used, name) {
			t.Errorf("no laboratory of %s/lab runs %s", examples, name)
		}
	}
}

// TestTheExamplesRun does in each example's laboratory what the laboratory says
// that one might try, word for word, and holds a TCP connection all the time.
func TestTheExamplesRun(t *testing.T) {
	t.Parallel()
	if !namespaces() {
		t.Skip("namespaces cannot be made here")
	}
	labs, err := filepath.Glob(examples + "/lab/*.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, lab := range labs {
		t.Run(strings.TrimSuffix(filepath.Base(lab), ".toml"), func(t *testing.T) {
			t.Parallel()
			play(t, lab)
		})
	}
}

// play brings a laboratory up and tries everything.
func play(t *testing.T, lab string) {
	top, err := topology.Load(lab)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+folder, "CAREOF_SOCKET=")
		return cmd
	}
	run := func(args ...string) {
		t.Helper()
		out, err := command(args...).CombinedOutput()
		if err != nil {
			logs, _ := filepath.Glob(folder + "/careof/lab/*.log")
			for _, log := range logs {
				text, _ := os.ReadFile(log)
				t.Logf("%s", text)
			}
			t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
		t.Logf("$ %s\n%s", strings.Join(args, " "), out)
	}
	in := func(node string, args ...string) *exec.Cmd {
		return command(append([]string{"careof", "lab", "exec", node, "--"}, args...)...)
	}
	t.Cleanup(func() { _ = command("careof", "lab", "down").Run() })
	run("careof", "lab", "up", "--detach", "-f", lab)
	var talking []*conversation
	for _, line := range top.Try {
		run("sh", "-c", line)
		for _, p := range talkers[top.Name] {
			if strings.HasPrefix(line, "careof lab move "+cmp.Or(routers[p.mobile], p.mobile)+" ") && !slices.ContainsFunc(talking, func(c *conversation) bool { return c.what == p.correspondent+" and "+p.mobile }) {
				talking = append(talking, converse(t, p.correspondent, p.mobile, p.address, in))
			}
		}
		for _, c := range talking {
			c.goesOn(t, line)
		}
	}
	if len(talking) != len(talkers[top.Name]) {
		t.Errorf("%d connections, want %d: nobody moved", len(talking), len(talkers[top.Name]))
	}
}
