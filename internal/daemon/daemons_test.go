package daemon

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"careof/internal/control"
	"careof/internal/host/plane/nstest"
)

// Real daemons, by their names, with their files in one folder.
type daemons struct {
	t       *testing.T
	dir     string
	process map[string]*exec.Cmd
}

func newDaemons(t *testing.T) daemons {
	return daemons{t: t, dir: t.TempDir(), process: make(map[string]*exec.Cmd)}
}

// write puts a configuration where the daemon of that name finds it. In it
// %[1]s is the folder; state and socket are of that name.
func (d *daemons) write(name, text string) string {
	d.t.Helper()
	file := filepath.Join(d.dir, name+".toml")
	own := fmt.Sprintf("version = 1\nstate-directory = \"%[1]s/%[2]s-state\"\n[control]\nsocket = \"%[1]s/%[2]s.sock\"\n", d.dir, name)
	if err := os.WriteFile(file, []byte(own+strings.ReplaceAll(text, "%[1]s", d.dir)), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return file
}

// daemon starts a daemon in a node, and waits until it answers.
func (d *daemons) daemon(node *nstest.Node, name, text string) *control.Client {
	d.t.Helper()
	d.write(name, text)
	d.start(node, name, "/proc/self/exe")
	d.t.Cleanup(func() {
		if d.process[name] != nil {
			d.end(name, syscall.SIGTERM)
		}
	})
	return d.answers(name)
}

// start runs a program as the daemon of that name.
func (d *daemons) start(node *nstest.Node, name, program string) {
	d.t.Helper()
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), daemonVariable+"="+filepath.Join(d.dir, name+".toml"))
	cmd.Stderr = new(bytes.Buffer)
	node.Do(func() {
		if err := cmd.Start(); err != nil {
			d.t.Error(err)
		}
	})
	d.process[name] = cmd
}

// end stops the daemon of that name, which has to end well unless it is killed.
func (d *daemons) end(name string, how syscall.Signal) {
	d.t.Helper()
	cmd := d.process[name]
	delete(d.process, name)
	cmd.Process.Signal(how)
	if err := cmd.Wait(); err != nil && how != syscall.SIGKILL || d.t.Failed() {
		d.t.Errorf("%s: %v\n%s", name, err, cmd.Stderr)
	}
}

// answers waits until the daemon of that name does.
func (d *daemons) answers(name string) *control.Client {
	d.t.Helper()
	client := control.NewClient(filepath.Join(d.dir, name+".sock"))
	d.until(name+" answers", func() bool {
		_, err := client.Raw(context.Background(), "status", "")
		return err == nil
	})
	return client
}

// until waits for something that the test cannot be told of.
func (d *daemons) until(what string, is func() bool) {
	d.t.Helper()
	for end := time.Now().Add(patience); !is(); {
		if time.Now().After(end) {
			d.t.Fatalf("never: %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}
