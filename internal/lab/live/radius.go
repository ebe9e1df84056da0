package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"careof/internal/lab/topology"
	"careof/packaging/examples/freeradius"
)

// startRADIUS starts a stock FreeRADIUS on a node, with the node's users, and
// waits until it serves. It writes careof.accounting and log to the node's
// folder.
func (l *Lab) startRADIUS(ctx context.Context, n *topology.Node) error {
	program, err := exec.LookPath("freeradius")
	if err != nil {
		return fmt.Errorf("live: node %s: there is no freeradius: apt-get install freeradius", n.Name)
	}
	dir := filepath.Join(l.Directory, n.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("live: %w", err)
	}
	here := strings.NewReplacer("/etc/freeradius/careof", dir, "/run/freeradius", dir, "/var/log/freeradius", dir)
	for name, text := range map[string]string{
		"careof.conf": here.Replace(freeradius.Configuration), "dictionary": freeradius.Dictionary, "careof.users": n.Config,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("live: %w", err)
		}
	}
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("live: %w", err)
	}
	said := &herald{file: log, word: "Ready to process requests", heard: make(chan struct{})}
	cmd := exec.Command(program, "-f", "-d", dir, "-n", "careof", "-l", "stdout")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, said, said
	p, err := l.Network.Node(n.Name).Start(cmd)
	if err != nil {
		log.Close()
		return err
	}
	l.stock = append(l.stock, p)
	l.ears.Go(func() {
		<-p.Done()
		log.Close()
	})
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	select {
	case <-said.heard:
		return nil
	case <-p.Done():
		err = errors.New("it ended")
	case <-ctx.Done():
		err = ctx.Err()
	}
	return fmt.Errorf("live: FreeRADIUS of %s did not start: %w\n%s", n.Name, err, said.all())
}

// A herald keeps what a program says, and tells when it has said a word.
type herald struct {
	file *os.File
	word string

	mu    sync.Mutex
	text  bytes.Buffer
	heard chan struct{} // closed then
	once  sync.Once
}

// Write implements [io.Writer].
func (h *herald) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.heard:
	default:
		h.text.Write(b)
		if bytes.Contains(h.text.Bytes(), []byte(h.word)) {
			h.once.Do(func() { close(h.heard) })
		}
	}
	return h.file.Write(b)
}

func (h *herald) all() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}
