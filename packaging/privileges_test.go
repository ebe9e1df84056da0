package packaging_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/daemon"
	"careof/internal/host/beside"
	"careof/internal/host/firewall"
	"careof/internal/host/plane/bpf"
	"careof/internal/host/route"
)

// The test program is also the daemon, and, in namespaces, itself again.
const roleVariable = "CAREOF_PACKAGING_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) == "programs" {
		if err := bpf.Supported(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if os.Getenv(roleVariable) == "daemon" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		c, err := config.Load(os.Args[1])
		if err == nil {
			err = daemon.Run(ctx, c, daemon.NewLogger(os.Stderr))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// capabilities are those of the unit.
var capabilities = map[string]uintptr{
	"CAP_NET_ADMIN": unix.CAP_NET_ADMIN, "CAP_NET_RAW": unix.CAP_NET_RAW, "CAP_NET_BIND_SERVICE": unix.CAP_NET_BIND_SERVICE,
}

const (
	nobody = 65534
	limit  = 60 * time.Second
)

// TestTheUnitsCapabilitiesAreEnough starts the daemon in each role as another
// user, with the capabilities of the unit and no others to be had, and takes
// away what it leaves as the removal of the package does.
func TestTheUnitsCapabilitiesAreEnough(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("starting a program as another user needs root")
	}
	if os.Getenv(roleVariable) != "inside" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), roleVariable+"=inside")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
		runtime.LockOSThread() // the parent-death signal is the thread's
		defer runtime.UnlockOSThread()
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	stage(t)
	for _, c := range []struct{ name, text, device string }{
		{"home agent", `[home-agent]
address = "198.51.100.1"
local-address = "192.0.2.1"
interfaces = ["up0"]
[[home-agent.network]]
prefix = "192.0.2.0/24"
[[home-agent.mobile-node]]
home-address = "192.0.2.5"
KEY
`, "careof1"},
		{"foreign agent", `[foreign-agent]
interfaces = ["up0"]
care-of-address = "192.0.2.1"
`, "careof2"},
		{"mobile node", `[mobile-node]
home-address = "10.10.0.5"
home-agent = "198.51.100.1"
KEY
[[mobile-node.uplink]]
interface = "up0"
`, "careof0"},
	} {
		t.Run(c.name, func(t *testing.T) { start(t, c.text, c.device) })
	}
	removal(t)
}

// The drop-in for eBPF gives what programs need, and the unit alone does not.
func TestTheDropInIsEnoughForPrograms(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("starting a program as another user needs root")
	}
	if err := bpf.Supported(); err != nil {
		t.Skip(err)
	}
	dropIn := read(t, "systemd/ebpf.conf")
	for _, want := range []string{"AmbientCapabilities=CAP_BPF CAP_PERFMON\n", "CapabilityBoundingSet=CAP_BPF CAP_PERFMON\n", "SystemCallFilter=bpf\n"} {
		if !strings.Contains(dropIn, want) {
			t.Errorf("the drop-in does not say %q", want)
		}
	}
	keep := slices.Collect(maps.Values(capabilities))
	for _, c := range []struct {
		name   string
		keep   []uintptr
		enough bool
	}{{"unit", keep, false}, {"unit and drop-in", append(slices.Clone(keep), unix.CAP_BPF, unix.CAP_PERFMON), true}} {
		d := launchAs(t, "programs", c.keep)
		select {
		case <-d.ended:
		case <-time.After(limit):
			t.Fatalf("%s: no answer", c.name)
		}
		if enough := d.err == nil; enough != c.enough {
			t.Errorf("%s: enough for programs: %v, want %v\n%s", c.name, enough, c.enough, d.log)
		}
	}
}

// stage makes the namespaces a small machine with one network.
func stage(t *testing.T) {
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	check("mounts", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	check("/run", unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"))
	// ProtectSystem=strict; /proc and what is mounted above stay as they are.
	check("read-only", unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	// udev makes it so; a container may not have one.
	if info, err := os.Stat("/dev/net/tun"); err == nil && info.Mode().Perm() != 0o666 {
		check("/dev/net", unix.Mount("tmpfs", "/dev/net", "tmpfs", 0, "mode=755"))
		check("/dev/net/tun", unix.Mknod("/dev/net/tun", unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200))))
		check("/dev/net/tun", os.Chmod("/dev/net/tun", 0o666))
	}
	check("veth", netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "up0"}, PeerName: "peer0"}))
	for _, name := range []string{"lo", "up0", "peer0"} {
		link, err := netlink.LinkByName(name)
		check(name, err)
		check(name, netlink.LinkSetUp(link))
		if name == "up0" {
			check(name, netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(24, 32)}}))
			check(name, netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.IPv4(192, 0, 2, 254)}))
		}
	}
}

// start runs one daemon until it is ready, looks at it, and ends it.
func start(t *testing.T, text, device string) {
	// Of t.TempDir's folders, other users cannot enter the outer ones.
	dir, err := os.MkdirTemp("/run", "careof")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "careof.sock")
	const key = "spi = 256\nkey = \"hex:00112233445566778899aabbccddeeff\"\nalgorithm = \"hmac-sha256\"\n"
	text = strings.Replace(text, "KEY\n", key, 1)
	text = fmt.Sprintf("version = 1\nstate-directory = %q\n[control]\nsocket = %q\ngroup = \"nogroup\"\n[plane]\ndevice = %q\n%s", dir, socket, device, text)
	file := filepath.Join(dir, "careof.toml")
	if err := errors.Join(os.WriteFile(file, []byte(text), 0o644), os.Chown(dir, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	d := launch(t, file)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	client := control.NewClient(socket)
	for {
		if _, err := client.Raw(ctx, "status", ""); err == nil {
			break
		} else if ctx.Err() != nil {
			t.Fatalf("not ready: %v\n%s", err, d.log)
		}
		select {
		case <-d.ended:
			t.Fatalf("it ended: %v\n%s", d.err, d.log)
		case <-time.After(20 * time.Millisecond):
		}
	}
	status := read(t, fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	for _, want := range []string{"Uid:\t65534\t65534\t65534\t65534", "CapEff:\t0000000000003400", "CapBnd:\t0000000000003400", "NoNewPrivs:\t1"} {
		if !strings.Contains(status, want) {
			t.Errorf("the daemon does not run with %s:\n%s", want, status)
		}
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the group cannot read the socket: %v, %v", info.Mode(), err)
	}
	if got := strings.TrimSpace(read(t, "/proc/sys/net/ipv4/conf/"+device+"/rp_filter")); got != "2" {
		t.Errorf("rp_filter of %s is %s", device, got)
	}
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-d.ended:
	case <-ctx.Done():
		t.Fatalf("it does not end\n%s", d.log)
	}
	log := d.log.String()
	if d.err != nil || strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") {
		t.Errorf("it ended with %v\n%s", d.err, log)
	}
}

// running is the daemon; log and err are there once it has ended.
type running struct {
	cmd   *exec.Cmd
	log   *strings.Builder
	ended chan struct{}
	err   error
}

// launch starts the daemon as systemd does for the unit.
func launch(t *testing.T, file string) *running {
	unit := read(t, "systemd/careof.service")
	var keep []uintptr
	for name, number := range capabilities {
		if !strings.Contains(unit, name) {
			t.Errorf("the unit does not give %s", name)
		}
		keep = append(keep, number)
	}
	return launchAs(t, "daemon", keep, file)
}

// launchAs starts this program in another part, with some capabilities and no
// others to be had.
func launchAs(t *testing.T, part string, keep []uintptr, arguments ...string) *running {
	d := &running{cmd: exec.Command("/proc/self/exe", arguments...), log: &strings.Builder{}, ended: make(chan struct{})}
	d.cmd.Env = append(os.Environ(), roleVariable+"="+part)
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: nobody, Gid: nobody},
		AmbientCaps: keep,
		Pdeathsig:   unix.SIGKILL,
	}
	started := make(chan error, 1)
	go func() {
		// This thread loses its bounding set for good, and ends with the
		// goroutine because it stays locked.
		runtime.LockOSThread()
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		for c := uintptr(0); c <= unix.CAP_LAST_CAP && err == nil; c++ {
			if !slices.Contains(keep, c) {
				err = unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
			}
		}
		if err == nil {
			err = d.cmd.Start()
		}
		started <- err
		if err != nil {
			return
		}
		d.err = d.cmd.Wait()
		close(d.ended)
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.cmd.Process.Kill() })
	return d
}

// removal runs the package's script on what the mobile node has left.
func removal(t *testing.T) {
	for _, name := range []string{"ip", "nft"} {
		tool(t, name)
	}
	ours := func() (left []string) {
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			rules, err := netlink.RuleList(family)
			if err != nil {
				t.Error("rules: ", err)
			}
			for _, r := range rules {
				if r.Protocol == route.Protocol {
					left = append(left, fmt.Sprint(r))
				}
			}
			routes, err := netlink.RouteListFiltered(family, &netlink.Route{Protocol: route.Protocol}, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
			if err != nil {
				t.Error("routes: ", err)
			}
			for _, r := range routes {
				left = append(left, fmt.Sprint(r))
			}
		}
		if link, err := netlink.LinkByName("careof0"); err == nil {
			left = append(left, link.Attrs().Name)
		}
		for _, table := range []string{firewall.TableName("careof0"), beside.TableName("careof0")} {
			if exec.Command("nft", "list", "table", "ip", table).Run() == nil {
				left = append(left, table)
			}
		}
		return left
	}
	if before := ours(); len(before) < 4 {
		t.Errorf("the mobile node has left only %v", before)
	}
	cmd := exec.Command("sh", "debian/postrm", "remove")
	cmd.Env = append(os.Environ(), "DPKG_ROOT=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("postrm: %v\n%s", err, out)
	}
	if after := ours(); len(after) > 0 {
		t.Errorf("after removal there is still %v", after)
	}
}
