package control

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A daemon that is killed and started anew in the same moment does not take the one
// that dies for another one; one that lives keeps the socket.
func TestADaemonThatDiesIsWaitedFor(t *testing.T) {
	const where = "CAREOF_TEST_SOCKET"
	if path := os.Getenv(where); path != "" {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		for {
			fmt.Println("ready, or asked")
			if _, err := l.Accept(); err != nil {
				t.Fatal(err)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "control.sock")
	other := exec.Command(os.Args[0], "-test.run=^TestADaemonThatDiesIsWaitedFor$")
	other.Env = append(os.Environ(), where+"="+path)
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	}()
	said := bufio.NewScanner(out)
	said.Scan()
	if s, err := Listen(path, "", nil); !errors.Is(err, ErrInUse) {
		t.Fatalf("beside a daemon that lives: %v, %v", s, err)
	}
	said.Scan()
	result := make(chan error, 1)
	go func() {
		s, err := Listen(path, "", nil)
		if err == nil {
			err = s.Close()
		}
		result <- err
	}()
	said.Scan() // it has been asked, and dies now
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Errorf("after one that was killed: %v", err)
	}
}
