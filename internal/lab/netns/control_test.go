package netns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// held is a network with one node and a control socket.
func held(t *testing.T, commands map[string]Command) (*Network, *Node, string) {
	n := newNetwork(t)
	node := must(n.NewNode("a", NodeConfig{}))(t)
	path := filepath.Join(t.TempDir(), "lab.sock")
	must(n.Serve(path, commands))(t)
	return n, node, path
}

// output asks and returns what was written to the standard output.
func output(t *testing.T, path string, r Request) (string, int, error) {
	t.Helper()
	file := must(os.CreateTemp(t.TempDir(), "out"))(t)
	defer file.Close()
	null := must(os.Open(os.DevNull))(t)
	defer null.Close()
	code, err := askOn(path, r, [3]*os.File{null, file, os.Stderr})
	return string(must(os.ReadFile(file.Name()))(t)), code, err
}

func TestExecRunsInTheNodeOnTheClientsDescriptors(t *testing.T) {
	_, node, path := held(t, nil)
	var inside unix.Stat_t
	ok(t, unix.Fstat(node.Fd(), &inside))
	out, code, err := output(t, path, Request{Node: "a", Args: []string{"/proc/self/exe"}, Env: helper("inode").Env})
	if out != fmt.Sprintln(inside.Ino) || code != 0 || err != nil {
		t.Errorf("%q, %d, %v", out, code, err)
	}
}

func TestCommandOfTheHolder(t *testing.T) {
	_, _, path := held(t, map[string]Command{
		"greet": func(_ context.Context, args []string, w io.Writer) error {
			_, err := fmt.Fprintln(w, "hello", args)
			return err
		},
		"fail": func(context.Context, []string, io.Writer) error { return errors.New("no way") },
	})
	out, code, err := output(t, path, Request{Command: "greet", Args: []string{"you"}})
	if out != "hello [you]\n" || code != 0 || err != nil {
		t.Errorf("%q, %d, %v", out, code, err)
	}
	for _, row := range []struct {
		request Request
		code    int
		err     string
	}{
		{Request{Command: "fail"}, 1, "no way"},
		{Request{Command: "dance"}, 2, `no command "dance"`},
		{Request{Node: "z", Args: []string{"true"}}, 2, `no node "z"`},
		{Request{Node: "a"}, 2, "nothing to run"},
		{Request{Node: "a", Args: []string{"/nonexistent"}}, 127, "no such file"},
	} {
		_, code, err := output(t, path, row.request)
		if code != row.code || err == nil || !strings.Contains(err.Error(), row.err) {
			t.Errorf("%+v: %d, %v", row.request, code, err)
		}
	}
}

func TestClosingTheNetworkEndsItsClients(t *testing.T) {
	n, node, path := held(t, nil)
	r, w, err := os.Pipe()
	ok(t, err)
	defer r.Close()
	done := make(chan int, 1)
	go func() {
		code, _ := askOn(path, Request{Node: "a", Args: []string{"/proc/self/exe"}, Env: helper("sleep").Env}, [3]*os.File{w, w, w})
		w.Close()
		done <- code
	}()
	fmt.Fscan(r, new(string)) // "ready"
	ok(t, n.Close())
	if code := <-done; code != 128+int(syscall.SIGKILL) {
		t.Error("exit code ", code)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("the socket is still there: ", err)
	}
	if _, err := askOn(path, Request{}, [3]*os.File{r, r, r}); !errors.Is(err, ErrNotHeld) {
		t.Error("afterwards: ", err)
	}
	node.mu.Lock()
	defer node.mu.Unlock()
	if len(node.processes) != 0 {
		t.Error("processes are left")
	}
}

func TestProcessEndsWithItsClient(t *testing.T) {
	_, node, path := held(t, nil)
	client := helper("ask", path)
	stdout := must(client.StdoutPipe())(t)
	ok(t, client.Start())
	fmt.Fscan(stdout, new(string)) // "ready", from the process in the node
	node.mu.Lock()
	var processes []*Process
	for p := range node.processes {
		processes = append(processes, p)
	}
	node.mu.Unlock()
	if len(processes) != 1 {
		t.Fatal(len(processes), " processes")
	}
	ok(t, client.Process.Kill())
	client.Wait()
	select {
	case <-processes[0].Done():
	case <-within(t).Done():
		t.Error("the process outlived its client")
	}
}

// helperAsk is a client whose process in node a runs until it is killed.
func helperAsk() int {
	env := slices.Clone(os.Environ())
	for i, v := range env {
		if strings.HasPrefix(v, helperVariable+"=") {
			env[i] = helperVariable + "=sleep"
		}
	}
	code, _ := Ask(os.Args[1], Request{Node: "a", Args: []string{"/proc/self/exe"}, Env: env})
	return code
}

func TestOneHolderForALaboratory(t *testing.T) {
	n, _, path := held(t, nil)
	if _, err := n.Serve(path, nil); !errors.Is(err, ErrHeld) {
		t.Error(err)
	}
	// A dead holder leaves a socket that nobody listens on.
	stale := filepath.Join(t.TempDir(), "stale.sock")
	fd := must(unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0))(t)
	ok(t, unix.Bind(fd, &unix.SockaddrUnix{Name: stale}))
	ok(t, unix.Close(fd))
	must(n.Serve(stale, nil))(t)
}

func TestControlPathIsNoWayOut(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	for _, bad := range []string{"", "..", "a/b", ".hidden"} {
		if path, err := ControlPath(bad); err == nil {
			t.Errorf("%q gave %s", bad, path)
		}
	}
	path := must(ControlPath("demo"))(t)
	ok(t, os.Chmod(filepath.Dir(path), 0o777))
	if _, err := ControlPath("demo"); err == nil {
		t.Error("a directory that others may write was accepted")
	}
}
