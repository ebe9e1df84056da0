package live

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/lab/scene"
)

// play plays a scene in namespaces. It skips only where the privilege is
// missing; never as root.
func play(t *testing.T, s *scene.Scene, o Options) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	o.Command, o.Seed = command, 1
	err := Play(ctx, s, o, t.Logf)
	if os.Geteuid() != 0 && (errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EPERM)) {
		t.Skip("no privilege for namespaces: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The same scenes as in the simulated world, with kernels, processes and disks.
func TestScenes(t *testing.T) {
	for _, s := range scene.All() {
		if !Playable(s) {
			continue // it needs clocks or disks that only the simulated world has
		}
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			play(t, s, Options{})
		})
	}
}
