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
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"careof/internal/config"
	"careof/internal/enrol"
)

func newJoin(e *env) *cobra.Command {
	var dir string
	var uplinks []string
	cmd := &cobra.Command{
		Use:   "join TOKEN",
		Short: "Become a mobile node: take address and key from a home agent for a token",
		Long: `Join takes a token of careof enrol to the home agent that made it, and writes this
node's careof.toml and its key. It never overwrites either.

The uplinks are the interfaces that can lead out: those with a default route, and
physical ones, in the order of the interfaces' numbers. Name them with --uplink, the
preferred one first, when that is not right.

The token may be broken into several words, as mail programs do.`,
		Example: `  careof join careof1-NBSWY3DPEB3W64TMMQ...
  careof join --uplink wlan0 --uplink wwan0 careof1-NBSWY3DPEB3W64TMMQ...`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			token, err := enrol.ParseToken(strings.Join(args, ""))
			if err != nil {
				return &exit{exitUsage, err}
			}
			if len(uplinks) == 0 {
				if uplinks, err = likelyUplinks(); err != nil {
					return err
				}
			}
			if len(uplinks) == 0 {
				return usagef("no interface here leads out: name the uplinks, for example --uplink wlan0")
			}
			return e.join(cmd.Context(), token, dir, uplinks)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&dir, "dir", "/etc/careof", "the `folder` of careof.toml and keys.d/")
	flags.StringArrayVar(&uplinks, "uplink", nil, "an `interface` to use, the preferred one first; may be repeated")
	must(cmd.MarkFlagDirname("dir"))
	return cmd
}

// joinLimit bounds joining in time.
const joinLimit = time.Minute

func (e *env) join(ctx context.Context, token enrol.Token, dir string, uplinks []string) error {
	file := filepath.Join(dir, "careof.toml")
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already: move it away, or choose another folder with --dir; the token was not used", file)
	}
	// Everything that can fail here is tried before the token is used up.
	keys := filepath.Join(dir, "keys.d")
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
	grant, err := enrol.Join(ctx, token, client, host)
	if err != nil {
		return err
	}
	name := grant.NAI
	if name == "" {
		name = grant.HomeAddress.String()
	}
	keyFile, err := config.WriteSecret(keys, name, hex.EncodeToString(grant.Key)+"\n")
	if err != nil {
		return err
	}
	text := nodeConfiguration(grant, "keys.d/"+filepath.Base(keyFile), uplinks)
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
		return e.printJSON(map[string]any{"schema": 1, "home_address": grant.HomeAddress, "nai": grant.NAI, "home_agent": grant.HomeAgent, "file": file, "key_file": keyFile, "uplinks": uplinks})
	}
	fmt.Fprintf(e.stdout, "This node is %v at the home agent %s, over %s.\n%s and %s are written. Start it:\n\n    systemctl enable --now careof      # or: careof run -c %s\n",
		grant.HomeAddress, grant.HomeAgent, strings.Join(uplinks, ", "), file, keyFile, file)
	return nil
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
func nodeConfiguration(g enrol.Grant, keyFile string, uplinks []string) string {
	var b strings.Builder
	b.WriteString("version = 1\n\n[mobile-node]\n")
	if g.HomeAddress.IsValid() {
		fmt.Fprintf(&b, "home-address = %q\n", g.HomeAddress)
	}
	if g.NAI != "" {
		fmt.Fprintf(&b, "nai = %q\n", g.NAI)
	}
	fmt.Fprintf(&b, "home-agent = %q\n", g.HomeAgent)
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
	return b.String()
}

// likelyUplinks are the interfaces that can lead out: with a default route, or
// of a device.
func likelyUplinks() ([]string, error) {
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
		if i.Flags&net.FlagLoopback == 0 && (err == nil || slices.Contains(routed, i.Name)) {
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
