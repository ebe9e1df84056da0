package live

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"careof/internal/control"
	"careof/internal/core/note"
	"careof/internal/host/dhcp/stock"
	"careof/internal/lab/netns"
	"careof/internal/lab/scene"
	"careof/internal/lab/topology"
	"careof/wire/encap"
)

// A networkManager is NetworkManager on a node, with a bus, files and processes of
// its own: nothing of this machine's is touched.
type networkManager struct {
	t      *testing.T
	node   *netns.Node
	folder string // what the node has for /etc, /run and so on
	runs   *netns.Process
}

// managerScript is run in a mount namespace. The bus ends with NetworkManager, which
// is its parent. There is no udev, and NetworkManager waits for none where it cannot
// write to /sys.
const managerScript = `set -e
mount --make-rprivate /
mount --bind %[1]s/etc /etc
mount --bind %[1]s/run /run
mount --bind %[1]s/state /var/lib/NetworkManager
mount -t sysfs -o ro sysfs /sys
rm -f /run/dbus/system_bus_socket /run/dbus/ready
mkfifo /run/dbus/ready
setpriv --pdeathsig KILL dbus-daemon --config-file=/etc/bus.conf --nofork --nopidfile --print-address=3 3>/run/dbus/ready &
read address </run/dbus/ready
exec NetworkManager --no-daemon
`

const managerBus = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/> <allow own="*"/>
    <allow send_type="method_call"/> <allow send_type="signal"/> <allow send_requested_reply="true"/>
    <allow receive_type="method_call"/> <allow receive_type="signal"/> <allow receive_requested_reply="true"/>
  </policy>
</busconfig>
`

const managerConfiguration = `[main]
plugins=keyfile
dhcp=internal
dns=default
rc-manager=file
no-auto-default=*

[keyfile]
unmanaged-devices=except:interface-name:eth*
`

// newNetworkManager starts NetworkManager with a profile for each of the interfaces:
// Ethernet, by DHCP.
func newNetworkManager(t *testing.T, node *netns.Node, configuration string, interfaces ...string) *networkManager {
	t.Helper()
	folder, err := os.MkdirTemp("", "careof-nm") // short: the bus is a socket in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	m := &networkManager{t: t, node: node, folder: folder}
	for _, d := range []string{"etc/NetworkManager/system-connections", "run/dbus", "run/NetworkManager", "state"} {
		if err := os.MkdirAll(filepath.Join(folder, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	packaged, err := os.ReadFile("../../../packaging/NetworkManager/50-careof.conf")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"script": fmt.Sprintf(managerScript, folder), "etc/bus.conf": managerBus,
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "etc/group": "root:x:0:\n", "etc/resolv.conf": "",
		"etc/NetworkManager/NetworkManager.conf": managerConfiguration + configuration + string(packaged),
	}
	for _, i := range interfaces {
		files["etc/NetworkManager/system-connections/"+i+".nmconnection"] = fmt.Sprintf("[connection]\nid=%[1]s\ntype=ethernet\ninterface-name=%[1]s\n[ipv4]\nmethod=auto\n[ipv6]\nmethod=disabled\n", i)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(filepath.Join(folder, "log"))
			t.Logf("NetworkManager:\n%s", b[max(0, len(b)-20000):])
		}
		m.stop()
	})
	m.start()
	return m
}

// start waits until NetworkManager answers.
func (m *networkManager) start() {
	m.t.Helper()
	log, err := os.OpenFile(filepath.Join(m.folder, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer log.Close()
	c := exec.Command("unshare", "--mount", "sh", filepath.Join(m.folder, "script"))
	c.Stdout, c.Stderr = log, log
	if m.runs, err = m.node.Start(c); err != nil {
		m.t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		out, err := m.nmcli("-t", "-f", "RUNNING", "general")
		if err == nil && strings.TrimSpace(out) == "running" {
			return
		}
		select {
		case <-m.runs.Done():
			m.t.Fatal("NetworkManager has ended")
		default:
		}
		if time.Now().After(end) {
			m.t.Fatalf("NetworkManager does not answer: %s: %v", out, err)
		}
	}
}

// stop ends it at once; what it has configured stays.
func (m *networkManager) stop() {
	m.runs.Kill()
	<-m.runs.Done()
}

// nmcli is what its user would type.
func (m *networkManager) nmcli(arguments ...string) (string, error) {
	c := exec.Command("nmcli", arguments...)
	c.Env = append(os.Environ(), "LC_ALL=C", "DBUS_SYSTEM_BUS_ADDRESS=unix:path="+filepath.Join(m.folder, "run/dbus/system_bus_socket"))
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	p, err := m.node.Start(c)
	if err == nil {
		err = p.Wait()
	}
	return out.String(), err
}

// says has nmcli do something that has to work.
func (m *networkManager) says(arguments ...string) string {
	m.t.Helper()
	out, err := m.nmcli(arguments...)
	if err != nil {
		m.t.Fatalf("nmcli %s: %v\n%s", strings.Join(arguments, " "), err, out)
	}
	return out
}

// ethernet gives a node an Ethernet interface in front of one of the laboratory's, which
// no network manager would take for a cable.
func ethernet(t *testing.T, node *netns.Node, port, iface string) {
	t.Helper()
	inside(t, node, exec.Command("sh", "-ec", fmt.Sprintf(`
ip link add %[2]s type veth peer name p-%[2]s
ip link add b-%[2]s type bridge
ip link set p-%[2]s master b-%[2]s
ip link set %[1]s master b-%[2]s
ip link set b-%[2]s up
`, port, iface)))
}

// cable plugs such an interface in, or pulls it out.
func cable(t *testing.T, node *netns.Node, iface string, in bool) {
	t.Helper()
	state := "down"
	if in {
		state = "up"
	}
	inside(t, node, exec.Command("ip", "link", "set", "p-"+iface, state))
}

// A chatter is a program that does all it can to get out beside the tunnel, all the
// time: bound to nothing, to each uplink, and to each uplink's address.
func chatter(t *testing.T, node *netns.Node, to netip.AddrPort, interfaces ...string) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	send := func(d net.Dialer) {
		_ = node.Do(func() error {
			c, err := d.DialContext(ctx, "udp4", to.String())
			if err == nil {
				_, err = c.Write([]byte("chatter"))
				c.Close()
			}
			return err
		})
	}
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			send(net.Dialer{})
			for _, name := range interfaces {
				send(net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
					return raw.Control(func(fd uintptr) { _ = syscall.BindToDevice(int(fd), name) })
				}})
				addresses, _ := node.Addresses(name)
				for _, a := range addresses {
					send(net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(a.Addr(), 0))})
				}
			}
		}
	}()
}

// NetworkManager configures the uplinks; careof takes its care-of addresses from
// there, and neither fights the other: not over a renewal, a profile that goes and
// comes, another metric, an end and a new start of NetworkManager. Whatever it
// does to routes, nothing leaves beside the tunnel.
func TestNetworkManagerConfiguresTheUplinks(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"dnsmasq", "ip", "NetworkManager", "nmcli", "dbus-daemon", "unshare", "setpriv"} {
		stock.Need(t, name)
	}
	if users, _ := os.ReadFile("/proc/self/uid_map"); !bytes.Contains(users, []byte("4294967295")) {
		t.Skip("NetworkManager wants a root who is one outside of a user namespace too")
	}
	top := topology.Default()
	for i := range top.Segments {
		top.Segments[i].FirstLease = netip.Addr{}
	}
	ha, mn := top.Node("ha"), top.Node("mn")
	ha.Config = strings.Replace(ha.Config, "pool =", "dns = \"10.10.0.53\"\npool =", 1)
	folder := t.TempDir()
	file := filepath.Join(folder, "resolv.conf")
	mn.Config = strings.NewReplacer("wlan0", "eth0", "wwan0", "eth1",
		"[mobile-node]\n", "[mobile-node]\nroutes = \"full\"\nfail-back = \"1s\"\nprofile = \"off\"\ndns = \"resolv.conf\"\nresolv-conf = \""+file+"\"\n").Replace(mn.Config)
	l := build(t, top, Options{Kernel: true})
	stage := NewStage(t.Context(), l, t.Logf)
	defer stage.Close()
	networks, logs := map[string]netip.Prefix{}, map[string]string{}
	for _, router := range []string{"hotspot", "gate"} {
		networks[router] = top.Node(router).Interface("lan").Address.Masked()
		logs[router] = serve(t, l.Network.Node(router), networks[router])
	}
	node, cn := l.Network.Node("mn"), address(t, top.Node("cn"))
	ethernet(t, node, "wlan0", "eth0")
	ethernet(t, node, "wwan0", "eth1")
	// It looks whether the network lets it out, over each uplink by itself, and prefers
	// one where it does: to do that is none of its business here.
	m := newNetworkManager(t, node, "[connectivity]\nuri=http://"+cn+"/empty\ninterval=1\n", "eth0", "eth1")
	if err := os.Symlink(filepath.Join(m.folder, "etc/resolv.conf"), file); err != nil {
		t.Fatal(err)
	}
	var packets []func() [][]byte
	for _, segment := range []string{"access1", "access2"} {
		packets = append(packets, stage.Record(segment))
	}
	leaked := func() (out []string) {
		for _, list := range packets {
			for _, b := range list() {
				if ip, err := encap.ParseIPv4(b); err == nil && ip.Dst == netip.MustParseAddr(cn) {
					out = append(out, fmt.Sprintf("%v to %v, protocol %d", ip.Src, ip.Dst, ip.Protocol))
				}
			}
		}
		return out
	}
	// renewals counts what a server has granted: the first time, and again.
	renewals := func(router string) int {
		b, _ := os.ReadFile(filepath.Join(logs[router], "log"))
		return bytes.Count(b, []byte("DHCPACK("))
	}
	in := func(router string) bool { return networks[router].Contains(stage.Binding("mn").CareOf) }
	registered := func(router string) {
		t.Helper()
		stage.Until("registered from the network of "+router, 60*time.Second, func() bool { return in(router) })
	}
	asked := func() (n int) {
		for _, e := range l.Events("mn") {
			if e.Kind == note.Requesting {
				n++
			}
		}
		return n
	}
	// quietly does something that is none of the home agent's business.
	quietly := func(what string, do func()) {
		t.Helper()
		before := asked()
		do()
		if after := asked(); after != before {
			t.Errorf("%d registration requests because of %s", after-before, what)
		}
	}

	err := scene.Perform(&scene.Scene{Name: "networkmanager", Play: func(scene.Lab) {
		stage.Plug("mn", "wlan0", "access1")
		cable(t, node, "eth0", true)
		registered("hotspot")
		chatter(t, node, netip.MustParseAddrPort(cn+":9"), "eth0", "eth1")
		stream := stage.LongStream("mn", "cn", 1_000_000, 45*time.Second)
		flows := func() {
			t.Helper()
			before := stream.Progress()
			stage.Until("the connection goes on", 60*time.Second, func() bool { return stream.Progress() > before || stream.Done() })
		}
		flows()
		named := func() bool {
			b, _ := os.ReadFile(file)
			return strings.Contains(string(b), "nameserver 10.10.0.53\n")
		}
		stage.Until("programs ask the home network's name server", 60*time.Second, named)
		quietly("renewals that changed nothing", func() {
			before := renewals("hotspot")
			stage.Until("two renewals are through", 60*time.Second, func() bool { return renewals("hotspot") >= before+2 })
		})
		quietly("another metric", func() {
			m.says("connection", "modify", "eth0", "ipv4.route-metric", "700")
			m.says("device", "reapply", "eth0")
			const unreachable = 20000 // what it adds where it finds that nothing gets out
			stage.Until("the default route has the metric", 60*time.Second, func() bool {
				routes, err := node.Routes()
				return err == nil && slices.ContainsFunc(routes, func(r netns.Route) bool { return r.Metric%unreachable == 700 && r.Prefix.Bits() == 0 })
			})
			flows()
		})
		// A second cable: nothing to be done, but to stand by.
		stage.Plug("mn", "wwan0", "access2")
		cable(t, node, "eth1", true)
		stage.Until("the second uplink stands by", 60*time.Second, func() bool {
			var uplinks []control.Uplink
			return l.Daemon("mn").Show("uplinks", "", &uplinks) == nil &&
				slices.ContainsFunc(uplinks, func(u control.Uplink) bool { return u.Interface == "eth1" && u.State == "standby" })
		})
		if !in("hotspot") {
			t.Error("the node has moved to an uplink that is preferred less")
		}
		for range 2 {
			m.says("connection", "down", "eth0")
			registered("gate")
			flows()
			m.says("connection", "up", "eth0")
			registered("hotspot")
			flows()
		}
		quietly("the end of NetworkManager and a new one", func() {
			m.stop()
			flows()
			m.start()
			stage.Until("NetworkManager has its devices again", 60*time.Second, func() bool {
				return strings.Count(m.says("-t", "-f", "STATE,DEVICE", "device"), "connected:eth") == 2
			})
			flows()
		})
		// The cable, and not the profile.
		cable(t, node, "eth0", false)
		registered("gate")
		flows()
		// While nobody serves, NetworkManager configures as it likes.
		stage.Kill("mn")
		cable(t, node, "eth0", true)
		stage.Until("NetworkManager has configured the link", 60*time.Second, func() bool {
			addresses, err := node.Addresses("eth0")
			return err == nil && len(addresses) > 0
		})
		m.says("connection", "down", "eth1")
		m.says("connection", "up", "eth1")
		stage.Start("mn")
		registered("hotspot")
		flows()
		stage.Until("programs ask the home network's name server again", 60*time.Second, named)
		stage.Until("the stream has arrived whole, or is broken", 90*time.Second, func() bool { return stream.Done() || stream.Broken() != "" })
		if stream.Broken() != "" {
			stage.Fatalf("the stream is dead: %s", stream.Broken())
		}
	}}, stage)
	if err != nil {
		t.Error(err)
	}
	if out := leaked(); len(out) > 0 {
		t.Errorf("%d packets have left beside the tunnel, such as %s", len(out), out[0])
	}
}
