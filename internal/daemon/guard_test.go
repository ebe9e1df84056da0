package daemon

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"careof/internal/config"
)

// guard does what `careof guard` does, in the mobile node.
func (n *pairNet) guard() bool {
	n.t.Helper()
	var installed bool
	cfg, err := config.Load(filepath.Join(n.dir, "mn.toml"))
	if err == nil {
		n.mn.Do(func() { installed, err = Guard(cfg) })
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return installed
}

// Between the boot and the first registration nothing leaves with the visited
// address: the guard keeps programs in before the network is there, and the daemon
// takes its rules over (threat T24). So it is with a home address that the home
// agent gives, too.
func TestTheGuardHoldsUntilTheDaemonRuns(t *testing.T) {
	for name, address := range map[string]string{"a home address of its own": "home-address = \"10.10.0.5\"\n", "one that is given": "nai = \"van7@fleet.example\"\n"} {
		t.Run(name, func(t *testing.T) {
			n := wirePair(t)
			n.settle()
			silent := n.programs()
			own := "home-address = \"10.10.0.5\"\n"
			home := strings.Replace(strings.Replace(pairHomeText, own, address, 1), "prefix = ", "pool = [\"10.10.0.100-10.10.0.110\"]\nprefix = ", 1)
			mobile := strings.Replace(pairMobileText, own, address, 1)
			n.write("mn", mobile)
			if !n.guard() {
				t.Fatal("nothing was installed")
			}
			silent("guarded")
			if n.guard() {
				t.Error("a second guard has changed something")
			}
			var kept []string
			var err error
			n.mn.Do(func() { kept, err = KeptIn() })
			if err != nil || len(kept) != 1 {
				t.Fatalf("%v keep something in, %v", kept, err)
			}
			n.mobile = n.daemon(n.mn, "mn", mobile)
			silent("with a daemon that has not registered")
			if n.guard() {
				t.Error("a guard beside a daemon has changed something")
			}
			n.home = n.daemon(n.ha, "ha", home)
			n.registered()
			silent("registered")
		})
	}
}

// Who will not start the daemon takes the guard's rules away.
func TestTheGuardIsReleased(t *testing.T) {
	n := wirePair(t)
	n.settle()
	silent := n.programs()
	n.write("mn", with(pairMobileText, "mobile-node", "encapsulation = \"wireguard\""))
	n.guard()
	silent("guarded")
	n.mn.Do(func() {
		if err := Release("careof0"); err != nil {
			t.Error(err)
		}
	})
	n.mn.Do(func() {
		if kept, err := KeptIn(); err != nil || len(kept) > 0 {
			t.Errorf("%v still keep something in, %v", kept, err)
		}
	})
	if _, err := Guard(&config.Config{}); !errors.Is(err, ErrNoNode) {
		t.Errorf("without a mobile node: %v", err)
	}
}
