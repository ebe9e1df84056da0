// Package stock has other people's DHCP servers, for tests. Each serves the hosts
// on one device, and has its files in a folder: leases, and log.
package stock

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Need skips a test without a program; it says what to install.
func Need(t testing.TB, program string) {
	t.Helper()
	install := map[string]string{
		"dnsmasq": "dnsmasq-base", "kea-dhcp4": "kea-dhcp4-server", "dhclient": "isc-dhcp-client", "nft": "nftables", "ip": "iproute2",
		"NetworkManager": "network-manager", "pppd": "ppp", "nmcli": "network-manager", "dbus-daemon": "dbus-daemon", "unshare": "util-linux", "setpriv": "util-linux",
	}[program]
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("there is no %s: apt-get install %s", program, install)
	}
}

// Dnsmasq is a dnsmasq with what its options say. One that is to answer for names
// too has a port in them: it takes the option once.
func Dnsmasq(folder, device string, options ...string) *exec.Cmd {
	if !slices.ContainsFunc(options, func(o string) bool { return strings.HasPrefix(o, "--port=") }) {
		options = append(slices.Clone(options), "--port=0")
	}
	return exec.Command("dnsmasq", append([]string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--interface=" + device, "--bind-interfaces",
		"--no-ping", "--log-dhcp", "--dhcp-leasefile=" + filepath.Join(folder, "leases"), "--log-facility=" + filepath.Join(folder, "log"),
	}, options...)...)
}

// Kea is a Kea with what else its configuration says: members of "Dhcp4".
func Kea(folder, device, members string) (*exec.Cmd, error) {
	config := filepath.Join(folder, "kea.json")
	c := exec.Command("kea-dhcp4", "-c", config)
	c.Env = append(os.Environ(), "KEA_LOCKFILE_DIR="+folder, "KEA_PIDFILE_DIR="+folder)
	return c, os.WriteFile(config, fmt.Appendf(nil, `{"Dhcp4": {
		"interfaces-config": {"interfaces": [%q]},
		"lease-database": {"type": "memfile", "persist": true, "name": %q},
		"loggers": [{"name": "kea-dhcp4", "severity": "DEBUG", "debuglevel": 55, "output_options": [{"output": %q}]}],
		%s
	}}`, device, filepath.Join(folder, "leases"), filepath.Join(folder, "log"), members), 0o600)
}

// Run runs a server, where inside puts it, until stop or the test's end.
func Run(t testing.TB, inside func(func()), c *exec.Cmd) (stop func()) {
	t.Helper()
	inside(func() {
		if err := c.Start(); err != nil {
			t.Error(err)
		}
	})
	stop = func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// Show has a test that fails show what the server has logged.
func Show(t testing.TB, folder string) {
	const most = 20000
	t.Cleanup(func() {
		if b, err := os.ReadFile(filepath.Join(folder, "log")); t.Failed() && err == nil {
			t.Logf("the DHCP server:\n%s", b[max(0, len(b)-most):])
		}
	})
}
