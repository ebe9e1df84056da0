package live

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	folderPrefix = "careof-lab-"
	// heldFile is locked for as long as the laboratory's process lives: the
	// kernel lets go of it whatever the process died of.
	heldFile = "held"
)

// directory makes the laboratory's folder. One among the temporary files comes
// with a lock, and those of laboratories that were killed go.
func directory(path string) (string, *os.File, error) {
	if path != "" {
		if err := os.RemoveAll(path); err != nil {
			return "", nil, err
		}
		return path, nil, os.MkdirAll(path, 0o700)
	}
	clearStale(os.TempDir())
	path, err := os.MkdirTemp("", folderPrefix)
	if err != nil {
		return "", nil, err
	}
	// Under another name until it is locked, so that nobody clears it before.
	making := filepath.Join(path, heldFile+".new")
	f, err := os.OpenFile(making, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err == nil {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			err = os.Rename(making, filepath.Join(path, heldFile))
		}
	}
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("hold %s: %w", path, err), os.RemoveAll(path))
	}
	return path, f, nil
}

// clearStale removes the folders of laboratories that nobody holds any more.
// One that cannot be removed is somebody else's, or is for the next time.
func clearStale(temporary string) {
	list, _ := filepath.Glob(filepath.Join(temporary, folderPrefix+"*", heldFile))
	for _, path := range list {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.RemoveAll(filepath.Dir(path))
		}
		f.Close()
	}
}
