package daemon

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"careof/internal/config"
	"careof/internal/host/plane/bpf"
)

// What is in the way of a pin is told with its path and what to do, and is not
// taken for missing privileges, though opening it was not permitted.
func TestAPinInTheWayIsNotTakenForMissingPrivileges(t *testing.T) {
	const path = "/sys/fs/bpf/careof/careof0_4026531840/agents"
	err := fmt.Errorf("%w: %s: %w", bpf.ErrPins, path, fs.ErrPermission)
	said := (&daemon{cfg: &config.Config{}}).failed(planeKey(err), err).Error()
	for _, want := range []string{"plane.bpffs", path, "remove what is there"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q does not say %q", said, want)
		}
	}
	if strings.Contains(said, "CAP_NET_ADMIN") {
		t.Errorf("%q asks for privileges", said)
	}
}
