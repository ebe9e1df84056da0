package daemon

import (
	"errors"
	"log/slog"
	"os"

	"careof/internal/control"
	"careof/internal/host/store"
)

// openStore opens the store, after the end of a daemon that is dying: one that was
// killed closes its socket before it lets go of the rest.
func openStore(dir string, log *slog.Logger) (*store.Store, error) {
	s, err := store.Open(dir)
	var held *store.Held
	if !errors.As(err, &held) || held.Pid == os.Getpid() {
		return s, err
	}
	log.Info("another daemon has the store open; waiting for its end", "path", held.Path, "pid", held.Pid)
	if held.Pid != 0 && !control.Ends(held.Pid) {
		return s, err
	}
	return store.Open(dir)
}
