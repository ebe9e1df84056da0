package live

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"careof/internal/control"
	"careof/internal/lab/topology"
)

// A node has its home network's name servers while it is registered, over moves and
// whatever the visited networks' DHCP clients write; a killed daemon's are taken back by
// the next one, and all are when it ends.
func TestNameServersAreGivenAndTakenBack(t *testing.T) {
	t.Parallel()
	plan := topology.Default()
	ha, mn := plan.Node("ha"), plan.Node("mn")
	ha.Config = strings.Replace(ha.Config, "pool =", "dns = \"10.10.0.53\"\nrouter = \"10.10.0.1\"\ndomain = \"fleet.example\"\npool =", 1)
	file := filepath.Join(t.TempDir(), "resolv.conf")
	mn.Config = strings.Replace(mn.Config, "[mobile-node]\n", "[mobile-node]\ndns = \"resolv.conf\"\nresolv-conf = \""+file+"\"\n", 1)
	write := func(content string) {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	has := func(content string) func() bool {
		return func() bool {
			b, err := os.ReadFile(file)
			return err == nil && string(b) == content
		}
	}
	given := func() bool {
		b, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(b), "search fleet.example\nnameserver 10.10.0.53\n") && !strings.Contains(string(b), "192.0.2.")
	}
	const hotel, train = "nameserver 192.0.2.53\n", "nameserver 192.0.2.54\n"
	write(hotel)
	l := build(t, plan, Options{})
	s := NewStage(t.Context(), l, t.Logf)
	defer s.Close()
	s.Plug("mn", "wlan0", "access1")
	s.Until("the name servers are given", 20*time.Second, given)
	var shown []control.HostConfiguration
	if err := l.Daemon("mn").Show("host", "", &shown); err != nil {
		t.Fatal(err)
	}
	if len(shown) != 1 || shown[0].Resolver != file || shown[0].HomeAgent.String() != "198.51.100.1" || shown[0].Prefix.String() != "10.10.0.0/24" ||
		shown[0].Router.String() != "10.10.0.1" || shown[0].Domain != "fleet.example" || strings.Join(shown[0].NameServers, " ") != "10.10.0.53" {
		t.Errorf("show host: %+v", shown)
	}
	s.Unplug("mn", "wlan0")
	s.Plug("mn", "wlan0", "access2")
	write(train)
	s.Until("they are given again after a move", 20*time.Second, given)

	s.Kill("mn")
	if !given() {
		t.Fatal("a killed daemon takes nothing back")
	}
	s.Start("mn")
	s.Until("they are given again after a crash", 20*time.Second, given)
	s.Unplug("mn", "wlan0")
	s.Until("they are taken back without a registration", 40*time.Second, has(train))
	s.Plug("mn", "wlan0", "access1")
	s.Until("they are given once more", 40*time.Second, given)
	d := l.Daemon("mn")
	if err := d.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-d.process.Done()
	if !has(train)() {
		b, _ := os.ReadFile(file)
		t.Errorf("after the end there is still %q", b)
	}
}
