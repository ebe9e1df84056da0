package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"testing"
	"time"

	"careof/internal/host/store"
)

// waits hears that a daemon waits.
type waits struct{ heard chan struct{} }

func (w waits) Write(b []byte) (int, error) {
	w.heard <- struct{}{}
	return len(b), nil
}

// A daemon that is started while a killed one still has the store open waits for its
// end, and says so; one that lives keeps it.
func TestAStoreOfADaemonThatDiesIsWaitedFor(t *testing.T) {
	const where = "CAREOF_TEST_STORE"
	if dir := os.Getenv(where); dir != "" {
		if _, err := store.Open(dir); err != nil {
			t.Fatal(err)
		}
		fmt.Println("ready")
		time.Sleep(time.Hour) // until it is killed
	}
	dir := t.TempDir()
	other := exec.Command(os.Args[0], "-test.run=^TestAStoreOfADaemonThatDiesIsWaitedFor$")
	other.Env = append(os.Environ(), where+"="+dir)
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
	if said := bufio.NewScanner(out); !said.Scan() || said.Text() != "ready" {
		t.Fatalf("the other one says %q", said.Text())
	}
	hears := waits{make(chan struct{}, 2)}
	log := slog.New(slog.NewTextHandler(hears, nil))
	if _, err := openStore(dir, log); !errors.Is(err, store.ErrInUse) {
		t.Fatalf("beside a daemon that lives: %v", err)
	}
	select {
	case <-hears.heard:
	default:
		t.Error("it does not say that it waits")
	}
	result := make(chan error, 1)
	go func() {
		s, err := openStore(dir, log)
		if err == nil {
			err = s.Close()
		}
		result <- err
	}()
	select {
	case <-hears.heard:
	case err := <-result:
		t.Fatalf("it has not waited: %v", err)
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Errorf("after one that was killed: %v", err)
	}
}
