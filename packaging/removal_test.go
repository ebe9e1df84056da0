package packaging_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Removing the package takes away what the daemons of all instances left in
// the kernel, whatever their devices are called, and nothing of others.
func TestRemovalTakesEveryInstancesDeviceAway(t *testing.T) {
	for _, name := range []string{"ip", "nft", "unshare", "mount", "umount"} {
		tool(t, name)
	}
	if os.Geteuid() != 0 {
		t.Skip("making devices needs root")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("there are no TUN devices here: ", err)
	}
	const setting = `set -e
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/careof-bpf
mount -t tmpfs none /run/careof-bpf
mount -t tmpfs none /sys/fs/bpf && mkdir -p /sys/fs/bpf/careof/careof1_1
for device in careof0 careof1 home9 vpn0; do ip tuntap add $device mode tun; ip link set $device up; done
for table in careof_careof0 careof_careof1 careof_home9 careof_visit_careof1 filter; do nft add table ip $table; done
ip tuntap add tunnel7 mode tun; ip link set tunnel7 alias 'KERNEL' # as if it were of another type
ip route add 10.10.0.0/24 dev careof0 proto 143
ip route add 10.11.0.0/24 dev vpn0
ip rule add from 10.10.0.5 table 4340 protocol 143
unset DPKG_ROOT
SCRIPT
echo "devices $(ip -o link show | sed -n 's/^[0-9]*: \([^:@]*\)[:@].*/\1/p' | sort | tr '\n' ' ')"
echo "tables $(nft list tables ip | tr '\n' ' ')"
echo "routes $(ip route show table all proto 143) $(ip rule show | grep 10.10.0.5)"
echo "vpn $(ip route show dev vpn0)"
echo "pins $(ls /sys/fs/bpf) $(ls -d /run/careof* 2>/dev/null)"
`
	for _, script := range []string{"debian/postrm remove", "rpm/postun 0"} {
		cmd := exec.Command("unshare", "-n", "-m", "sh", "-c", strings.NewReplacer("SCRIPT", "sh "+script, "KERNEL", kernelAlias).Replace(setting))
		cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
		b, err := cmd.CombinedOutput()
		out := string(b)
		if err != nil {
			if strings.Contains(out, "Operation not permitted") || strings.Contains(out, "Operation not supported") {
				t.Skipf("no privilege or no kernel for it: %s", out)
			}
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
		for _, want := range []string{"devices lo vpn0 \n", "tables table ip filter \n", "routes  \n", "vpn 10.11.0.0/24", "pins  \n"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: there should be %q in what it left:\n%s", script, want, out)
			}
		}
	}
}

// kernelAlias begins the alias of devices that plane.kind = "kernel" makes.
const kernelAlias = "careof careof0"

// Before the package goes no instance runs any more, and none is started at the next
// boot. systemctl itself says what it makes of the scripts' words: it takes patterns for
// what runs, and none for what is enabled.
func TestRemovalStopsAndDisablesEveryInstance(t *testing.T) {
	for _, name := range []string{"systemctl", "unshare", "mount"} {
		tool(t, name)
	}
	if os.Geteuid() != 0 {
		t.Skip("a mount namespace needs root")
	}
	const setting = `set -e
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/systemd/system /run/bin /run/root/etc/systemd/system
cp systemd/*.service /run/root/etc/systemd/system/
systemctl=$(command -v systemctl)
$systemctl -q --root=/run/root enable careof.service careof@two.service careof-guard.service careof-guard@two.service
cat >/run/bin/systemctl <<END
#!/bin/sh
case "\$*" in
*disable*) exec $systemctl --root=/run/root "\$@" ;;
*) echo "systemctl \$*" ;;
esac
END
chmod +x /run/bin/systemctl
PATH=/run/bin:$PATH
unset DPKG_ROOT
SCRIPT
echo "enabled $(find /run/root/etc/systemd/system -type l | sort | tr '\n' ' ')"
`
	for _, script := range []string{"debian/prerm remove", "rpm/preun 0"} {
		cmd := exec.Command("unshare", "-m", "sh", "-c", strings.Replace(setting, "SCRIPT", "sh "+script, 1))
		cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
		b, err := cmd.CombinedOutput()
		out := string(b)
		if err != nil {
			if strings.Contains(out, "Operation not permitted") {
				t.Skipf("no privilege for it: %s", out)
			}
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
		if !strings.Contains(out, "enabled \n") {
			t.Errorf("%s leaves instances to be started at the next boot:\n%s", script, out)
		}
		for _, instances := range []string{"careof@*.service", "careof-guard@*.service"} {
			if !strings.Contains(out, "systemctl stop careof.service") || !strings.Contains(out, instances) {
				t.Errorf("%s does not stop %s:\n%s", script, instances, out)
			}
		}
	}
}
