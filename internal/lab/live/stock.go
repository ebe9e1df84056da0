package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// startStock starts a stock server in its folder, and waits until it has said the
// word by which it is ready. What it says is kept in the folder's file log.
func (l *Lab) startStock(ctx context.Context, node, server, word, dir string, cmd *exec.Cmd) error {
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("live: %w", err)
	}
	said := &herald{file: log, word: word, heard: make(chan struct{})}
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, said, said
	p, err := l.Network.Node(node).Start(cmd)
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
	return fmt.Errorf("live: %s of %s did not start: %w\n%s", server, node, err, said.all())
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
