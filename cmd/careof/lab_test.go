package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestLabScripts runs testdata/lab/*.txtar: laboratories by hand. They need
// root, or user namespaces and the TUN device.
func TestLabScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/lab",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    exits,
			"waitfile": waitFile,
		},
		Condition: func(condition string) (bool, error) { return condition == "namespaces" && namespaces(), nil },
		Setup: func(env *testscript.Env) error {
			env.Setenv("CAREOF_SOCKET", env.WorkDir+"/none.sock")
			env.Setenv("XDG_RUNTIME_DIR", env.WorkDir)
			env.Defer(func() {
				// A script that failed has not taken its laboratory down.
				down := exec.Command("careof", "lab", "down")
				down.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+env.WorkDir)
				_ = down.Run()
			})
			return nil
		},
	})
}

// namespaces tells whether laboratories can be built here. As root they must.
func namespaces() bool {
	if os.Geteuid() == 0 {
		return true
	}
	probe := exec.Command("careof", "lab", "demo", "--moves", "1", "--quiet", "--dir", os.TempDir())
	out, err := probe.CombinedOutput()
	return err == nil || !strings.Contains(string(out), "run the same command with sudo")
}

// waitFile waits until a file has content.
func waitFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitfile FILE")
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for {
		if info, err := os.Stat(ts.MkAbs(args[0])); err == nil && info.Size() > 0 {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			ts.Fatalf("%s stays empty", args[0])
		}
	}
}
