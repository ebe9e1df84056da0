package live

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// A laboratory that was killed leaves its folder; the next one clears it, and
// leaves alone the ones that live and the ones that were kept.
func TestFoldersOfKilledLaboratoriesAreCleared(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	killed, lock, err := directory("")
	if err != nil {
		t.Fatal(err)
	}
	lock.Close() // as the kernel does when the process is gone
	living, held, err := directory("")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	kept := filepath.Join(os.TempDir(), folderPrefix+"kept")
	if err := os.Mkdir(kept, 0o700); err != nil {
		t.Fatal(err)
	}
	_, again, err := directory("")
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if _, err := os.Stat(killed); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder of a killed laboratory is there (%v)", err)
	}
	for _, path := range []string{living, kept} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}
