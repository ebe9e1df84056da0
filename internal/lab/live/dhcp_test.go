package live

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"careof/internal/core/note"
	"careof/internal/host/dhcp/stock"
	"careof/internal/lab/netns"
	"careof/internal/lab/scene"
	"careof/internal/lab/topology"
)

// A lessee is a stock DHCP client of a node. What it would run to configure the
// link is ours: the stock script does the same, and writes the machine's
// resolv.conf on top.
type lessee struct {
	t      *testing.T
	node   *netns.Node
	folder string
	runs   *netns.Process
}

const clientScript = `#!/bin/sh
case $reason in
PREINIT) ip link set dev $interface up ;;
BOUND|RENEW|REBIND|REBOOT)
	if [ -n "$old_ip_address" ] && [ "$old_ip_address" != "$new_ip_address" ]; then ip -4 addr flush dev $interface; fi
	ip -4 addr replace $new_ip_address/$new_subnet_mask dev $interface valid_lft $new_dhcp_lease_time preferred_lft $new_dhcp_lease_time
	ip -4 route replace default via $new_routers dev $interface metric 100 ;;
RELEASE|EXPIRE|FAIL|STOP) ip -4 addr flush dev $interface ;;
esac
echo "$reason $new_ip_address" >>%s/reasons
`

func newLessee(t *testing.T, node *netns.Node) *lessee {
	t.Helper()
	c := &lessee{t: t, node: node, folder: t.TempDir()}
	for name, text := range map[string]string{
		"script":        fmt.Sprintf(clientScript, c.folder),
		"dhclient.conf": "initial-interval 1; backoff-cutoff 1; retry 1; timeout 20;\n",
		"reasons":       "",
	} {
		if err := os.WriteFile(filepath.Join(c.folder, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *lessee) command(iface string, options ...string) *exec.Cmd {
	in := func(name string) string { return filepath.Join(c.folder, name) }
	return exec.Command("dhclient", append(options, "-4", "-cf", in("dhclient.conf"), "-lf", in("leases"), "-pf", in("pid"), "-sf", in("script"), iface)...)
}

// ask has the client ask for an address and keep it.
func (c *lessee) ask(iface string) {
	c.t.Helper()
	var err error
	if c.runs, err = c.node.Start(c.command(iface, "-d")); err != nil {
		c.t.Fatal(err)
	}
}

// release gives the address back to the server, which the stock client does in
// a second process. That would end the first one, if it did not find its file with
// the process number empty: the first writes that anew with every renewal.
func (c *lessee) release(iface string) {
	c.t.Helper()
	c.stop()
	if err := os.Remove(filepath.Join(c.folder, "pid")); err != nil {
		c.t.Fatal(err)
	}
	p, err := c.node.Start(c.command(iface, "-r"))
	if err != nil {
		c.t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		c.t.Fatalf("release: %v", err)
	}
}

// stop ends the client without a word to the server.
func (c *lessee) stop() {
	c.runs.Kill()
	<-c.runs.Done()
}

// reasons lists what the client has done to the link so far: the words of
// dhclient-script(8), each with the address.
func (c *lessee) reasons() []string {
	b, err := os.ReadFile(filepath.Join(c.folder, "reasons"))
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

func (c *lessee) count(reason string) (n int) {
	for _, r := range c.reasons() {
		if word, _, _ := strings.Cut(r, " "); word == reason {
			n++
		}
	}
	return n
}

// serve starts a stock DHCP server on a router. Its leases are to be renewed
// after three seconds: it would take no less. Its files are in the folder.
func serve(t *testing.T, router *netns.Node, network netip.Prefix) (folder string) {
	t.Helper()
	a := network.Masked().Addr().As4()
	at := func(last byte) string { a[3] = last; return netip.AddrFrom4(a).String() }
	folder = t.TempDir()
	stock.Show(t, folder)
	keep(t, router, stock.Dnsmasq(folder, "lan", "--dhcp-range="+at(150)+","+at(199)+",255.255.255.0,2m", "--dhcp-option=option:T1,3s", "--dhcp-authoritative"))
	return folder
}

// A stock DHCP client configures the links, from stock DHCP servers; careof
// takes its care-of addresses from whoever configures the link. A connection
// survives the moves, and a renewal that changes nothing is none of the home
// agent's business.
func TestAddressesComeFromAStockDHCPServer(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"dnsmasq", "dhclient", "ip"} {
		stock.Need(t, name)
	}
	top := topology.Default()
	networks := map[string]netip.Prefix{"hotspot": {}, "gate": {}}
	for i := range top.Segments {
		// The laboratory gives no address.
		top.Segments[i].FirstLease = netip.Addr{}
	}
	l := build(t, top, Options{Kernel: true})
	stage := NewStage(t.Context(), l, t.Logf)
	defer stage.Close()
	for router := range networks {
		networks[router] = top.Node(router).Interface("lan").Address.Masked()
		serve(t, l.Network.Node(router), networks[router])
	}
	client := newLessee(t, l.Network.Node("mn"))
	defer func() {
		if t.Failed() {
			t.Logf("the DHCP client: %q", client.reasons())
		}
		client.stop()
	}()
	registered := func(router string, udp bool) {
		t.Helper()
		stage.Until("registered from the network of "+router, 20*time.Second, func() bool {
			b := stage.Binding("mn")
			return b.Registered && networks[router].Contains(b.CareOf) && b.UDP == udp
		})
		if last := client.reasons(); !strings.HasSuffix(last[len(last)-1], " "+stage.Binding("mn").CareOf.String()) {
			t.Errorf("registered with %v; the client has done %q", stage.Binding("mn").CareOf, last)
		}
	}
	asked := func() (n int) {
		for _, e := range l.Events("mn") {
			if e.Kind == note.Requesting {
				n++
			}
		}
		return n
	}
	// renewals lets two renewals pass, so that the first has had time to show.
	renewals := func() {
		t.Helper()
		before, renewed := asked(), client.count("RENEW")
		stage.Until("two renewals are through", 30*time.Second, func() bool { return client.count("RENEW") >= renewed+2 })
		if after := asked(); after != before {
			t.Errorf("%d registration requests because of renewals that changed nothing", after-before)
		}
	}

	err := scene.Perform(&scene.Scene{Name: "dhcp", Play: func(scene.Lab) {
		stage.Plug("mn", "wlan0", "access1")
		client.ask("wlan0")
		registered("hotspot", false)
		renewals()
		stream := stage.Stream("mn", "cn", 200_000)
		flows := func() {
			t.Helper()
			before := stream.Progress()
			stage.Until("the connection goes on", 15*time.Second, func() bool { return stream.Progress() > before || stream.Done() })
		}
		flows()
		// The cable goes, and the client with it.
		stage.Unplug("mn", "wlan0")
		client.stop()
		stage.Plug("mn", "wlan0", "access2")
		client.ask("wlan0")
		registered("gate", true)
		flows()
		renewals()
		// The link stays up; only the client says that the network is another one.
		client.release("wlan0")
		stage.Shift("mn", "wlan0", "access1")
		client.ask("wlan0")
		registered("hotspot", false)
		flows()
		stage.Until("the stream has arrived whole, or is broken", 40*time.Second, func() bool { return stream.Done() || stream.Broken() != "" })
		if stream.Broken() != "" {
			stage.Fatalf("the stream is dead: %s", stream.Broken())
		}
	}}, stage)
	if err != nil {
		t.Error(err)
	}
	t.Logf("the DHCP client: %q", client.reasons())
}
