package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"careof/internal/config"
	"careof/internal/daemon"
	"careof/internal/enrol"
)

func newJoin(e *env) *cobra.Command {
	var dir string
	var begin beginning
	var ends joining
	cmd := &cobra.Command{
		Use:   "join TOKEN",
		Short: "Become a mobile node: take address and key from a home agent for a token",
		Long: `Join takes a token of careof enrol to the home agent that made it, and writes this
node's careof.toml and its key. It never overwrites either.

The uplinks are the interfaces that can lead out: those with a default route, and
physical ones, in the order of the interfaces' numbers. Name them with --uplink, the
preferred one first, when that is not right.

A token may bring networks for this node's hosts along (careof enrol --prefix). Name
their interfaces with --lan, in the order of the prefixes; left out, it is the one
that has an address of the prefix.

With --start the daemon is enabled and started by the service manager; --run becomes
the daemon, in the foreground, for containers and hosts without one.

The token may be broken into several words, as mail programs do.`,
		Example: `  careof join careof1-NBSWY3DPEB3W64TMMQ...
  careof join --start --lan eth1 careof1-NBSWY3DPEB3W64TMMQ...
  careof join --uplink wlan0 --uplink wwan0 careof1-NBSWY3DPEB3W64TMMQ...`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			token, err := enrol.ParseToken(strings.Join(args, ""))
			if err != nil {
				return &exit{exitUsage, err}
			}
			if len(ends.uplinks) == 0 {
				if ends.uplinks, err = likelyUplinks(ends.lan); err != nil {
					return err
				}
			}
			if len(ends.uplinks) == 0 {
				return usagef("no interface here leads out: name the uplinks, for example --uplink wlan0")
			}
			if err := begin.possible(dir); err != nil {
				return err
			}
			if err := e.join(cmd.Context(), token, dir, ends, begin); err != nil {
				return err
			}
			return e.begin(cmd.Context(), begin, filepath.Join(dir, "careof.toml"))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&dir, "dir", "/etc/careof", "the `folder` of careof.toml and keys.d/")
	flags.StringArrayVar(&ends.uplinks, "uplink", nil, "an `interface` to use, the preferred one first; may be repeated")
	flags.StringArrayVar(&ends.lan, "lan", nil, "the `interface` of a network behind this node; may be repeated")
	begin.flags(cmd)
	must(cmd.MarkFlagDirname("dir"))
	return cmd
}

// joining is which interfaces are for what.
type joining struct{ uplinks, lan []string }

// joinLimit bounds joining in time.
const joinLimit = time.Minute

func (e *env) join(ctx context.Context, token enrol.Token, dir string, ends joining, begin beginning) (err error) {
	file := filepath.Join(dir, "careof.toml")
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already: move it away, or choose another folder with --dir; the token was not used", file)
	}
	// Everything that can fail here is tried before the token is used up.
	keys := filepath.Join(dir, "keys.d")
	absent := missing(keys)
	defer func() {
		if err != nil {
			// What has got a file meanwhile stays.
			for _, folder := range absent {
				_ = os.Remove(folder)
			}
		}
	}()
	if err := os.MkdirAll(keys, 0o700); err != nil {
		return fmt.Errorf("%w; the token was not used", err)
	}
	probe, err := os.CreateTemp(keys, ".join-*")
	if err != nil {
		return fmt.Errorf("%w; the token was not used", err)
	}
	probe.Close()
	os.Remove(probe.Name())

	ctx, cancel := context.WithTimeout(ctx, joinLimit)
	defer cancel()
	client := make([]byte, 16)
	if _, err := rand.Read(client); err != nil {
		return err
	}
	host, _ := os.Hostname()
	e.warnKeptIn(daemon.KeptIn)
	grant, err := enrol.Join(ctx, token, client, host)
	if errors.Is(err, enrol.ErrRefused) || errors.Is(err, enrol.ErrImpostor) {
		return err
	}
	if err != nil {
		return keptIn(err, daemon.KeptIn)
	}
	name := grant.NAI
	if name == "" {
		name = grant.HomeAddress.String()
	}
	keyFile, err := writeKey(keys, name, grant.Key)
	if err != nil {
		return err
	}
	lan, homeless := place(grant.Networks, ends)
	text := nodeConfiguration(grant, "keys.d/"+filepath.Base(keyFile), ends.uplinks, lan)
	if _, err := config.WriteSecret(dir, "careof.toml", text); err != nil {
		return err
	}
	if err := shareWithGroup(file); err != nil {
		return err
	}
	if _, err := config.Load(file); err != nil {
		return err
	}
	if e.output == outputJSON {
		return e.printJSON(map[string]any{"schema": 1, "home_address": grant.HomeAddress, "nai": grant.NAI, "home_agent": grant.HomeAgent, "file": file, "key_file": keyFile, "uplinks": ends.uplinks, "mobile_networks": lan})
	}
	fmt.Fprintf(e.stdout, "This node is %v at the home agent %s, over %s.\n%s and %s are written.\n",
		grant.HomeAddress, grant.HomeAgent, strings.Join(ends.uplinks, ", "), file, keyFile)
	for _, n := range lan {
		fmt.Fprintf(e.stdout, "The network behind it is %s, on %s.\n", networkNames([]netip.Prefix{n.Prefix}), n.Interface)
	}
	if len(homeless) > 0 {
		fmt.Fprintf(e.stderr, "No interface was named for %s: add [[mobile-node.mobile-network]] to %s, as it says at its end.\n", networkNames(homeless), file)
	}
	begin.hint(e, file)
	return nil
}

// missing are the folders on the way to path, and path, that are not there; the
// innermost comes first.
func missing(path string) (list []string) {
	for {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
			return list
		}
		list = append(list, path)
		path = filepath.Dir(path)
	}
}

// writeKey writes a node's key beside those of before: a node that joins anew, as
// the same one, must not fail when its token is used.
func writeKey(folder, name string, key []byte) (file string, err error) {
	text := hex.EncodeToString(key) + "\n"
	for i := 1; ; i++ {
		free := name
		if i > 1 {
			free = fmt.Sprintf("%s-%d", name, i)
		}
		file, err = config.WriteSecret(folder, free, text)
		if err == nil || !errors.Is(err, fs.ErrExist) || i > 99 {
			return file, err
		}
	}
}

// shareWithGroup lets the group of a file's folder read it: packages make
// that the daemon's. There is no secret in it.
func shareWithGroup(file string) error {
	info, err := os.Stat(filepath.Dir(file))
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		if err := os.Chown(file, -1, int(owner.Gid)); err != nil {
			return err
		}
	}
	return os.Chmod(file, 0o640)
}

// nodeConfiguration is the mobile node's configuration.
func nodeConfiguration(g enrol.Grant, keyFile string, uplinks []string, lan []mobileNetwork) string {
	var b strings.Builder
	b.WriteString("version = 1\n\n[mobile-node]\n")
	if g.HomeAddress.IsValid() {
		fmt.Fprintf(&b, "home-address = %q\n", g.HomeAddress)
	}
	if g.NAI != "" {
		fmt.Fprintf(&b, "nai = %q\n", g.NAI)
	}
	fmt.Fprintf(&b, "home-agent = %q\n", g.HomeAgent)
	if g.Port != 0 {
		fmt.Fprintf(&b, "home-agent-port = %d\n", g.Port)
	}
	if g.Network.IsValid() {
		fmt.Fprintf(&b, "home-network = %q\n", g.Network)
	}
	fmt.Fprintf(&b, "spi = %d\nkey-file = %q\nalgorithm = %q\n", g.SPI, keyFile, g.Algorithm)
	if g.WireGuardKey != "" {
		b.WriteString("encapsulation = \"wireguard\"\n")
	}
	b.WriteString("path-validation = \"on\"\n") // the home agent is one of this suite's
	for i, u := range uplinks {
		fmt.Fprintf(&b, "\n[[mobile-node.uplink]]\ninterface = %q\npriority = %d\n", u, max(1, 100-10*i))
	}
	for _, n := range lan {
		fmt.Fprintf(&b, "\n[[mobile-node.mobile-network]]\ninterface = %q\n", n.Interface)
		if n.Prefix.IsValid() {
			fmt.Fprintf(&b, "prefix = %q\n", n.Prefix)
		}
	}
	if _, homeless := split(g.Networks, lan); len(homeless) > 0 {
		b.WriteString("\n# Name the interfaces of these networks, and take the # away:\n")
		for _, p := range homeless {
			b.WriteString("#\n# [[mobile-node.mobile-network]]\n# interface = \"lan\"\n")
			if p.IsValid() {
				fmt.Fprintf(&b, "# prefix = %q\n", p)
			}
		}
	}
	return b.String()
}

// A mobileNetwork is a network behind the node, and the interface of its hosts.
type mobileNetwork struct {
	Interface string       `json:"interface"`
	Prefix    netip.Prefix `json:"prefix,omitzero"`
}

// place finds an interface for each mobile network: those that were named, in
// their order, and else the one that has an address of it. homeless are the
// networks that have none.
func place(networks []netip.Prefix, ends joining) (placed []mobileNetwork, homeless []netip.Prefix) {
	named := ends.lan
	for _, p := range networks {
		name := interfaceIn(p, ends.uplinks)
		if len(named) > 0 {
			name, named = named[0], named[1:]
		}
		if name != "" {
			placed = append(placed, mobileNetwork{name, p})
		}
	}
	return split(networks, placed)
}

// split tells the networks that have no interface from those that have.
func split(networks []netip.Prefix, placed []mobileNetwork) ([]mobileNetwork, []netip.Prefix) {
	return placed, slices.DeleteFunc(slices.Clone(networks), func(p netip.Prefix) bool {
		return slices.ContainsFunc(placed, func(n mobileNetwork) bool { return n.Prefix == p })
	})
}

// interfaceIn is the interface with an address of a prefix, none of the uplinks.
func interfaceIn(p netip.Prefix, uplinks []string) string {
	interfaces, err := net.Interfaces()
	if err != nil || !p.IsValid() {
		return ""
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil || slices.Contains(uplinks, i.Name) {
			continue
		}
		for _, a := range addrs {
			if own, err := netip.ParsePrefix(a.String()); err == nil && p.Contains(own.Addr()) {
				return i.Name
			}
		}
	}
	return ""
}

// likelyUplinks are the interfaces that can lead out: with a default route, or
// of a device; none of those behind this node.
func likelyUplinks(lan []string) ([]string, error) {
	routed, err := defaultRoutes()
	if err != nil {
		return nil, err
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, i := range interfaces {
		_, err := os.Stat("/sys/class/net/" + i.Name + "/device")
		if i.Flags&net.FlagLoopback == 0 && !slices.Contains(lan, i.Name) && (err == nil || slices.Contains(routed, i.Name)) {
			names = append(names, i.Name)
		}
	}
	return names, nil
}

// defaultRoutes are the interfaces of IPv4 default routes.
func defaultRoutes() ([]string, error) {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var names []string
	for s := bufio.NewScanner(f); s.Scan(); {
		// Iface Destination Gateway …: destination and mask zero.
		if fields := strings.Fields(s.Text()); len(fields) > 7 && fields[1] == "00000000" && fields[7] == "00000000" {
			names = append(names, fields[0])
		}
	}
	return names, nil
}
