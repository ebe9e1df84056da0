package live

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"careof/internal/control"
	"careof/internal/lab/netns"
	"careof/internal/lab/topology"
)

// dhcpServers are stock DHCP servers, which tell the name server and the domain fleet.example
// to who has an address in 10.10.0.0/24.
var dhcpServers = []struct {
	program, install string
	command          func(program, folder, nameServer string) (*exec.Cmd, error)
}{
	{"dnsmasq", "dnsmasq-base", func(program, folder, nameServer string) (*exec.Cmd, error) {
		return exec.Command(program, "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--port=0",
			"--interface=eth0", "--bind-interfaces", "--dhcp-range=10.10.0.150,10.10.0.199,255.255.255.0,2m", "--no-ping", "--log-dhcp",
			"--dhcp-option=option:dns-server,"+nameServer, "--dhcp-option=option:domain-name,fleet.example",
			"--dhcp-leasefile="+filepath.Join(folder, "leases"), "--log-facility="+filepath.Join(folder, "log")), nil
	}},
	{"kea-dhcp4", "kea-dhcp4-server", func(program, folder, nameServer string) (*exec.Cmd, error) {
		config := filepath.Join(folder, "kea.json")
		c := exec.Command(program, "-c", config)
		c.Env = append(os.Environ(), "KEA_LOCKFILE_DIR="+folder, "KEA_PIDFILE_DIR="+folder)
		return c, os.WriteFile(config, fmt.Appendf(nil, `{"Dhcp4": {
			"interfaces-config": {"interfaces": ["eth0"]},
			"lease-database": {"type": "memfile", "persist": false},
			"loggers": [{"name": "kea-dhcp4", "severity": "DEBUG", "debuglevel": 55, "output_options": [{"output": %q}]}],
			"subnet4": [{"subnet": "10.10.0.0/24", "pools": [{"pool": "10.10.0.150-10.10.0.199"}], "option-data": [
				{"name": "domain-name-servers", "data": %q}, {"name": "domain-name", "data": "fleet.example"}]}]
		}}`, filepath.Join(folder, "log"), nameServer), 0o600)
	}},
}

// A stock DHCP server on the home link tells the node, through the tunnel, about its home
// network; after a move it is asked again, and what it says by then holds.
func TestTheHomeNetworksDHCPServerIsAskedThroughTheTunnel(t *testing.T) {
	for _, server := range dhcpServers {
		t.Run(server.program, func(t *testing.T) {
			t.Parallel()
			program, err := exec.LookPath(server.program)
			if err != nil {
				t.Skipf("there is no %s: apt-get install %s", server.program, server.install)
			}
			plan := topology.HomeLink()
			ha, mn := plan.Node("ha"), plan.Node("mn")
			ha.Config = strings.Replace(ha.Config, "[[home-agent.network]]\n", "[[home-agent.network]]\ndhcp-server = \"10.10.0.7\"\ndns = \"10.10.0.52\"\n", 1)
			file := filepath.Join(t.TempDir(), "resolv.conf")
			mn.Config = strings.Replace(mn.Config, "[mobile-node]\n", "[mobile-node]\ndns = \"resolv.conf\"\nhome-dhcp = \"on\"\nresolv-conf = \""+file+"\"\n", 1)
			l := build(t, plan, Options{})
			s := NewStage(l, t.Logf)
			defer s.Close()
			folder := t.TempDir()
			start := func(nameServer string) *netns.Process {
				t.Helper()
				c, err := server.command(program, folder, nameServer)
				if err != nil {
					t.Fatal(err)
				}
				p, err := s.node("neighbour").Start(c)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { p.Kill(); <-p.Done() })
				return p
			}
			t.Cleanup(func() {
				if b, err := os.ReadFile(filepath.Join(folder, "log")); t.Failed() && err == nil {
					t.Logf("the DHCP server:\n%s", b)
				}
			})
			asks := func(nameServer string) func() bool {
				return func() bool {
					b, err := os.ReadFile(file)
					return err == nil && strings.Contains(string(b), "search fleet.example\nnameserver "+nameServer+"\n")
				}
			}
			first := start("10.10.0.53")
			s.Plug("mn", "wlan0", "access1")
			s.Until("the server is asked", 60*time.Second, asks("10.10.0.53"))
			var shown []control.HostConfiguration
			if err := l.Daemon("mn").Show("host", "", &shown); err != nil {
				t.Fatal(err)
			}
			if len(shown) != 1 || shown[0].Informed.IsZero() || shown[0].Domain != "fleet.example" || strings.Join(shown[0].NameServers, " ") != "10.10.0.53" {
				t.Errorf("show host: %+v", shown)
			}
			first.Kill()
			<-first.Done()
			start("10.10.0.54")
			s.Unplug("mn", "wlan0")
			s.Plug("mn", "wlan0", "access2")
			s.Until("the server is asked after a move", 60*time.Second, asks("10.10.0.54"))
		})
	}
}
