package handover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"careof/internal/lab/netns"
)

// The programs of strongSwan as Debian has them (strongswan-charon,
// strongswan-swanctl), the plugin that has ESP in user space, since many
// kernels have none (libcharon-extra-plugins), and the one with the algorithms,
// which Debian only recommends (libstrongswan-standard-plugins).
const (
	charon        = "/usr/lib/ipsec/charon"
	swanctl       = "/usr/sbin/swanctl"
	libipsec      = "/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so"
	algorithms    = "/usr/lib/ipsec/plugins/libstrongswan-openssl.so"
	ssChild       = "data"
	ssStartLimit  = 60 * time.Second
	ssOnlineLimit = 60 * time.Second
)

// ssOwn is the home agent's on ssInterface.
var ssOwn = netip.MustParsePrefix("192.0.2.200/32")

const ssInterface = "eth0"

// missingStrongSwan says what is not installed.
func missingStrongSwan() string {
	for _, path := range []string{charon, swanctl, libipsec, algorithms} {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return "not measured: " + path + " is missing (Debian: strongswan-charon, strongswan-swanctl, libcharon-extra-plugins, libstrongswan-standard-plugins)"
		}
	}
	if _, err := exec.LookPath("unshare"); err != nil {
		return "not measured: there is no unshare(1)"
	}
	return ""
}

// ssOptions is strongswan.conf: %s is the folder. It goes where the routes go, as
// the other references do; by default it would stay as long as it can. What
// concerns time has its defaults.
const ssOptions = `charon {
  prefer_best_path = yes
  load = random nonce openssl kdf kernel-libipsec kernel-netlink socket-default vici
  filelog {
    log {
      path = %[1]s/log
      flush_line = yes
      default = 1
    }
  }
  plugins {
    vici {
      socket = unix://%[1]s/vici
    }
  }
}
`

// ssConnections is swanctl.conf of each end: MOBIKE is on by default, dead peer
// detection is not.
var ssConnections = map[string]string{
	mobileNode: fmt.Sprintf(`connections {
  home {
    version = 2
    remote_addrs = %v
    vips = %v
    proposals = aes128-sha256-x25519
    local { auth = psk
      id = mn }
    remote { auth = psk
      id = ha }
    children { %s { remote_ts = %v
      esp_proposals = aes128gcm16 } }
  }
}
`, homeAt, homeAddress.Addr(), ssChild, peerNetwork) + ssSecret,
	homeAgent: fmt.Sprintf(`connections {
  nodes {
    version = 2
    local_addrs = %v
    pools = home
    proposals = aes128-sha256-x25519
    local { auth = psk
      id = ha }
    remote { auth = psk
      id = mn }
    children { %s { local_ts = %v
      esp_proposals = aes128gcm16 } }
  }
}
pools { home { addrs = %v } }
`, homeAt, ssChild, peerNetwork, homeAddress) + ssSecret,
}

const ssSecret = `secrets { ike { secret = "of the laboratory" } }
`

// An ssEnd is charon at one end.
type ssEnd struct {
	folder  string
	node    *netns.Node
	process *netns.Process
}

// openStrongSwan starts charon at both ends, with ESP in user space over a TUN
// device. The home agent's gives the node its home address.
func openStrongSwan(ctx context.Context, n *netns.Network) (end func(), online func() error, err error) {
	folder, err := os.MkdirTemp("", "careof-strongswan-")
	if err != nil {
		return func() {}, nil, fmt.Errorf("strongSwan: %w", err)
	}
	ends := make(map[string]*ssEnd)
	end = func() {
		for _, e := range ends {
			if e.process != nil {
				e.process.Kill()
				<-e.process.Done()
			}
		}
		os.RemoveAll(folder)
	}
	for _, name := range []string{homeAgent, mobileNode} {
		e := &ssEnd{folder: filepath.Join(folder, name), node: n.Node(name)}
		ends[name] = e
		if err := e.start(ctx, ssConnections[name]); err != nil {
			return end, nil, fmt.Errorf("strongSwan: %s: %w", name, err)
		}
	}
	if err := n.Node(homeAgent).SetSysctl("net/ipv4/ip_forward", "1"); err != nil {
		return end, nil, err
	}
	// The plugin wants an address of its host's own among those that it tunnels.
	if err := n.Node(homeAgent).AddAddress(ssInterface, ssOwn); err != nil {
		return end, nil, err
	}
	return end, func() error {
		ctx, cancel := context.WithTimeout(ctx, ssOnlineLimit)
		defer cancel()
		if err := ends[mobileNode].control(ctx, "--initiate", "--child", ssChild); err != nil {
			return fmt.Errorf("%w\nat the home agent:\n%s", err, ends[homeAgent].log())
		}
		return nil
	}, nil
}

// start starts charon with a configuration and waits until it has read it. Two
// of them share no /run, where charon has a file with its number.
func (e *ssEnd) start(ctx context.Context, connections string) error {
	if err := os.Mkdir(e.folder, 0o700); err != nil {
		return err
	}
	for name, text := range map[string]string{"strongswan.conf": fmt.Sprintf(ssOptions, e.folder), "swanctl.conf": connections} {
		if err := os.WriteFile(filepath.Join(e.folder, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	cmd := exec.Command("unshare", "--mount", "sh", "-c", "mount -t tmpfs none /run && exec "+charon)
	cmd.Env = append(os.Environ(), "STRONGSWAN_CONF="+filepath.Join(e.folder, "strongswan.conf"))
	var err error
	if e.process, err = e.node.Start(cmd); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, ssStartLimit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(filepath.Join(e.folder, "vici")); err == nil {
			break
		}
		select {
		case <-tick.C:
		case <-e.process.Done():
			return fmt.Errorf("charon ended:\n%s", e.log())
		case <-ctx.Done():
			return fmt.Errorf("charon is not ready: %w\n%s", ctx.Err(), e.log())
		}
	}
	return e.control(ctx, "--load-all", "--noprompt", "--file", filepath.Join(e.folder, "swanctl.conf"))
}

// control runs swanctl.
func (e *ssEnd) control(ctx context.Context, arguments ...string) error {
	cmd := exec.CommandContext(ctx, swanctl, append(arguments, "--uri", "unix://"+filepath.Join(e.folder, "vici"))...)
	cmd.Env = append(os.Environ(), "STRONGSWAN_CONF="+filepath.Join(e.folder, "strongswan.conf"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("strongSwan: swanctl %s: %w\n%s\n%s", arguments[0], err, out.String(), e.log())
	}
	return nil
}

// log is the end of what charon says.
func (e *ssEnd) log() string {
	b, _ := os.ReadFile(filepath.Join(e.folder, "log"))
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
