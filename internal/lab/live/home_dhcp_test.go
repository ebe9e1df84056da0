package live

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"careof/internal/control"
	"careof/internal/host/dhcp/stock"
	"careof/internal/lab/netns"
	"careof/internal/lab/topology"
)

// A homeServer is a stock DHCP server on the home link.
type homeServer struct {
	program string
	command func(folder, nameServer string) (*exec.Cmd, error)
	lease   string // of the home address, in the file, by one that lends it
}

// servers are a dnsmasq with options and a Kea with members of its configuration, in which
// NS stands for the name server that they tell.
func servers(options []string, members string) []homeServer {
	return []homeServer{
		{"dnsmasq", func(folder, nameServer string) (*exec.Cmd, error) {
			c := stock.Dnsmasq(folder, "eth0", options...)
			for i := range c.Args {
				c.Args[i] = strings.Replace(c.Args[i], "NS", nameServer, 1)
			}
			return c, nil
		}, " 10.10.0.5 "},
		{"kea-dhcp4", func(folder, nameServer string) (*exec.Cmd, error) {
			return stock.Kea(folder, "eth0", strings.Replace(members, "NS", nameServer, 1))
		}, "10.10.0.5,"},
	}
}

// keep runs a server on a node until stop or the test's end.
func keep(t *testing.T, node *netns.Node, c *exec.Cmd) (stop func()) {
	t.Helper()
	p, err := node.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		select {
		case <-p.Done():
			t.Errorf("%s on %s has ended", c.Args[0], node.Name())
		default:
		}
		p.Kill()
		<-p.Done()
	})
	t.Cleanup(stop)
	return stop
}

// at makes the neighbour its host: start starts it there, and stop, which the test's end
// calls too, ends it. A test that fails shows what it has logged.
func (h homeServer) at(t *testing.T, s *Stage) (folder string, start func(nameServer string) (stop func())) {
	t.Helper()
	folder = t.TempDir()
	stock.Show(t, folder)
	return folder, func(nameServer string) (stop func()) {
		t.Helper()
		c, err := h.command(folder, nameServer)
		if err != nil {
			t.Fatal(err)
		}
		return keep(t, s.node("neighbour"), c)
	}
}

// has says whether a resolv.conf has what the home network's server tells.
func has(file, nameServer string) bool {
	b, err := os.ReadFile(file)
	return err == nil && strings.Contains(string(b), "search fleet.example\nnameserver "+nameServer+"\n")
}

// dhcpServers tell the name server and the domain fleet.example to who has an address in
// 10.10.0.0/24.
var dhcpServers = servers([]string{
	"--dhcp-range=10.10.0.150,10.10.0.199,255.255.255.0,2m", "--dhcp-option=option:dns-server,NS", "--dhcp-option=option:domain-name,fleet.example",
}, `"subnet4": [{"subnet": "10.10.0.0/24", "pools": [{"pool": "10.10.0.150-10.10.0.199"}], "option-data": [
		{"name": "domain-name-servers", "data": "NS"}, {"name": "domain-name", "data": "fleet.example"}]}]`)

// A stock DHCP server on the home link tells the node, through the tunnel, about its home
// network; after a move it is asked again, and what it says by then holds.
func TestTheHomeNetworksDHCPServerIsAskedThroughTheTunnel(t *testing.T) {
	t.Parallel()
	for _, server := range dhcpServers {
		t.Run(server.program, func(t *testing.T) {
			t.Parallel()
			stock.Need(t, server.program)
			plan := topology.HomeLink()
			ha, mn := plan.Node("ha"), plan.Node("mn")
			ha.Config = strings.Replace(ha.Config, "[[home-agent.network]]\n", "[[home-agent.network]]\ndhcp-server = \"10.10.0.7\"\ndns = \"10.10.0.52\"\n", 1)
			file := filepath.Join(t.TempDir(), "resolv.conf")
			mn.Config = strings.Replace(mn.Config, "[mobile-node]\n", "[mobile-node]\ndns = \"resolv.conf\"\nhome-dhcp = \"on\"\nresolv-conf = \""+file+"\"\n", 1)
			l := build(t, plan, Options{})
			s := NewStage(t.Context(), l, t.Logf)
			defer s.Close()
			_, start := server.at(t, s)
			stop := start("10.10.0.53")
			s.Plug("mn", "wlan0", "access1")
			s.Until("the server is asked", 60*time.Second, func() bool { return has(file, "10.10.0.53") })
			var shown []control.HostConfiguration
			if err := l.Daemon("mn").Show("host", "", &shown); err != nil {
				t.Fatal(err)
			}
			if len(shown) != 1 || shown[0].Informed.IsZero() || shown[0].Domain != "fleet.example" || strings.Join(shown[0].NameServers, " ") != "10.10.0.53" {
				t.Errorf("show host: %+v", shown)
			}
			stop()
			start("10.10.0.54")
			s.Unplug("mn", "wlan0")
			s.Plug("mn", "wlan0", "access2")
			s.Until("the server is asked after a move", 60*time.Second, func() bool { return has(file, "10.10.0.54") })
		})
	}
}
