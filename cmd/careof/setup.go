package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"careof/internal/config"
)

// A foundation is what a new home agent is made of.
type foundation struct {
	address string // as the world calls it
	network string
	pool    string
	port    uint16 // of enrolment
}

func newSetup(e *env) *cobra.Command {
	var want foundation
	var dir string
	var begin beginning
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Make this machine a home agent: write its configuration",
		Long: `Setup writes the careof.toml of a home agent that mobile nodes can join (careof enrol
invites them): with this machine's address, a home network of private addresses that
overlaps none of this machine's, and masquerading, so that the nodes reach the
Internet through it. It never overwrites.

On a cloud machine whose own address is private, say with --address what the world
calls it.

With --start the daemon is enabled and started by the service manager; --run becomes
the daemon, in the foreground, for containers and hosts without one.`,
		Example: `  careof setup --start
  careof setup --address 198.51.100.1 --network 10.77.0.0/24`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := begin.possible(dir); err != nil {
				return err
			}
			file, err := e.setUp(want, dir, begin)
			if err != nil {
				return err
			}
			return e.begin(cmd.Context(), begin, file)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&want.address, "address", "", "the `address` that nodes reach this machine at (default: its own)")
	flags.StringVar(&want.network, "network", "", "the home `network`, a prefix (default: one that is free here, such as 10.10.0.0/24)")
	flags.StringVar(&want.pool, "prefix-pool", "", "a `prefix` from which networks of /24 behind mobile routers are assigned")
	flags.Uint16Var(&want.port, "enrolment-port", 4434, "the TCP `port` at which nodes join")
	flags.StringVar(&dir, "dir", unitFolder, "the `folder` of careof.toml")
	must(cmd.MarkFlagDirname("dir"))
	begin.flags(cmd)
	return cmd
}

// homeNetworks are what is proposed, the first one that is free.
var homeNetworks = []string{"10.10.0.0/24", "10.77.0.0/24", "172.29.7.0/24", "192.168.177.0/24"}

func (e *env) setUp(want foundation, dir string, begin beginning) (string, error) {
	file := filepath.Join(dir, "careof.toml")
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is there already: move it away, or choose another folder with --dir", file)
	}
	own, err := ownAddress()
	if err != nil && want.address == "" {
		return "", err
	}
	address := own
	if want.address != "" {
		if address, err = netip.ParseAddr(want.address); err != nil || !address.Is4() {
			return "", usagef("--address takes an IPv4 address like 198.51.100.1")
		}
	}
	local := netip.Addr{}
	switch {
	case want.address == "" && inside(address):
		return "", usagef("this machine calls itself %v, which is a private address: say what the world calls it, --address 198.51.100.1 (or --address %v, when all nodes are inside)", address, address)
	case address != own && own.IsValid() && !assigned(address):
		local = own // behind a 1:1 NAT
	}
	network := want.network
	if network == "" {
		if network, err = freeNetwork(); err != nil {
			return "", err
		}
	}
	if p, err := netip.ParsePrefix(network); err != nil || !p.Addr().Is4() || p != p.Masked() {
		return "", usagef("--network takes an IPv4 prefix like 10.10.0.0/24")
	}
	text := want.configuration(address, local, network)
	if _, err := config.Parse(file, text); err != nil {
		return "", &exit{exitUsage, err}
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", err
	}
	if _, err := config.WriteSecret(dir, "careof.toml", text); err != nil {
		return "", err
	}
	if err := shareWithGroup(file); err != nil {
		return "", err
	}
	if e.output == outputJSON {
		return file, e.printJSON(map[string]any{"schema": 1, "address": address, "local_address": local, "network": network, "file": file})
	}
	fmt.Fprintf(e.stdout, "This machine is the home agent %v of %s; %s is written.\nLet UDP port 434 and TCP port %d in, in the provider's firewall too.\n", address, network, file, want.port)
	begin.hint(e, file)
	if !begin.run {
		fmt.Fprintf(e.stdout, "Then careof enrol invites a node.\n")
	}
	return file, nil
}

func (want foundation) configuration(address, local netip.Addr, network string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version = 1\n\n[home-agent]\naddress = %q\n", address)
	if local.IsValid() {
		fmt.Fprintf(&b, "local-address = %q      # what this machine calls itself, behind its provider's NAT\n", local)
	}
	fmt.Fprintf(&b, "masquerade = \"on\"      # nodes reach the Internet with this machine's address\n\n[[home-agent.network]]\nprefix = %q\n", network)
	if want.pool != "" {
		fmt.Fprintf(&b, "\n[[home-agent.prefix-pool]]\nprefix = %q\nlength = 24\n", want.pool)
	}
	fmt.Fprintf(&b, "\n[enrolment]\nlisten = %q\n", net.JoinHostPort("0.0.0.0", strconv.Itoa(int(want.port))))
	return b.String()
}

// ownAddress is the source of what goes to the Internet. Nothing is sent.
func ownAddress() (netip.Addr, error) {
	c, err := net.Dial("udp4", "192.0.2.1:9")
	if err != nil {
		return netip.Addr{}, fmt.Errorf("no way leads from here to the Internet, so this machine's address is not known (%w): say it with --address", err)
	}
	defer c.Close()
	at, err := netip.ParseAddrPort(c.LocalAddr().String())
	return at.Addr(), err
}

// inside tells addresses that the world cannot reach.
func inside(a netip.Addr) bool {
	shared := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10) // RFC 6598
	return a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsLoopback() || shared.Contains(a)
}

// assigned tells whether this machine has the address.
func assigned(a netip.Addr) bool {
	for _, p := range ownPrefixes() {
		if p.Addr() == a {
			return true
		}
	}
	return false
}

// ownPrefixes are the addresses of this machine with their networks.
func ownPrefixes() (list []netip.Prefix) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil // then nothing is known to be taken
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			list = append(list, p)
		}
	}
	return list
}

func freeNetwork() (string, error) {
	own := ownPrefixes()
next:
	for _, text := range homeNetworks {
		for _, p := range own {
			if p.Overlaps(netip.MustParsePrefix(text)) {
				continue next
			}
		}
		return text, nil
	}
	return "", usagef("each home network that is usually proposed overlaps one of this machine's: say --network PREFIX")
}
