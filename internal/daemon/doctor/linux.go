package doctor

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/host/dhcp"
	"careof/internal/host/plane/bpf"
)

// Linux probes the host and the network namespace of the calling thread.
type Linux struct{}

var _ Probes = Linux{}

// Sysctl implements [Probes].
func (Linux) Sysctl(name string) (string, error) {
	text, err := os.ReadFile("/proc/sys/" + name)
	return strings.TrimSpace(string(text)), err
}

// Exists implements [Probes].
func (Linux) Exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Link implements [Probes].
func (Linux) Link(name string) (Link, bool) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return Link{}, false
	}
	out := Link{MTU: l.Attrs().MTU, Up: l.Attrs().Flags&net.FlagUp != 0 && l.Attrs().OperState != netlink.OperDown}
	addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
	if err == nil {
		for _, a := range addrs {
			if v, ok := netip.AddrFromSlice(a.IP.To4()); ok {
				out.Addresses = append(out.Addresses, v)
			}
		}
	}
	return out, true
}

// Addresses implements [Probes].
func (Linux) Addresses() (list []netip.Addr) {
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if v, ok := netip.AddrFromSlice(a.IP.To4()); ok {
			list = append(list, v)
		}
	}
	return list
}

// OpenTUN implements [Probes].
func (Linux) OpenTUN() error {
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// EBPF implements [Probes].
func (Linux) EBPF() error { return bpf.Supported() }

// BPFFS implements [Probes].
func (Linux) BPFFS(dir string) error {
	// The directory itself is made by the daemon.
	for dir != "/" && dir != "." {
		var s unix.Statfs_t
		if err := unix.Statfs(dir, &s); err == nil {
			if s.Type == unix.BPF_FS_MAGIC {
				return nil
			}
			break
		}
		dir = filepath.Dir(dir)
	}
	return bpf.ErrNoBPFFS
}

// AgentX implements [Probes].
func (Linux) AgentX(ctx context.Context, master string) error {
	network, address, _ := strings.Cut(master, ":")
	dialer := net.Dialer{Timeout: 2 * time.Second}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// Capabilities implements [Probes].
func (Linux) Capabilities() (uint64, error) {
	text, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(v), 16, 64)
		}
	}
	return 0, fmt.Errorf("doctor: /proc tells no capabilities")
}

// Clock implements [Probes].
func (Linux) Clock() (bool, time.Time, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return false, time.Now(), fmt.Errorf("doctor: adjtimex: %w", err)
	}
	return state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0, time.Now(), nil
}

// Disk implements [Probes].
func (Linux) Disk(dir string) (free, total uint64, writable bool, err error) {
	at := dir
	for {
		if _, err = os.Stat(at); err == nil || at == "/" || at == "." {
			break
		}
		at = filepath.Dir(at)
	}
	var s unix.Statfs_t
	if err := unix.Statfs(at, &s); err != nil {
		return 0, 0, false, err
	}
	size := uint64(s.Bsize)
	return s.Bavail * size, s.Blocks * size, unix.Access(at, unix.W_OK) == nil, nil
}

// Input implements [Probes]. Rules are read as far as they name a UDP port or
// a protocol; what they are narrowed to besides is not looked at.
func (Linux) Input() ([]Chain, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil, err
	}
	var out []Chain
	for _, chain := range chains {
		if chain.Hooknum == nil || *chain.Hooknum != *nftables.ChainHookInput || chain.Table.Family == nftables.TableFamilyIPv6 ||
			strings.HasPrefix(chain.Table.Name, "careof_") || chain.Type != nftables.ChainTypeFilter {
			continue
		}
		one := Chain{
			Table: families[chain.Table.Family] + " " + chain.Table.Name, Name: chain.Name,
			Drops:    chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop,
			Accepted: make(map[string]bool), Dropped: make(map[string]bool),
		}
		rules, err := c.GetRules(chain.Table, chain)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			one.read(r.Exprs)
		}
		out = append(out, one)
	}
	return out, nil
}

var families = map[nftables.TableFamily]string{
	nftables.TableFamilyIPv4: "ip", nftables.TableFamilyINet: "inet", nftables.TableFamilyNetdev: "netdev",
	nftables.TableFamilyBridge: "bridge", nftables.TableFamilyARP: "arp",
}

// read takes what a rule says about a UDP port or a protocol.
func (c *Chain) read(exprs []expr.Any) {
	var about []string
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Cmp:
			switch {
			case e.Op != expr.CmpOpEq:
			case len(e.Data) == 2:
				about = append(about, fmt.Sprintf("udp %d", binary.BigEndian.Uint16(e.Data)))
			case len(e.Data) == 1 && !bytes.Equal(e.Data, []byte{unix.IPPROTO_UDP}):
				about = append(about, fmt.Sprintf("protocol %d", e.Data[0]))
			}
		case *expr.Verdict:
			for _, a := range about {
				switch e.Kind {
				case expr.VerdictAccept:
					if !c.Dropped[a] {
						c.Accepted[a] = true
					}
				case expr.VerdictDrop:
					if !c.Accepted[a] {
						c.Dropped[a] = true
					}
				}
			}
			// One that takes everything decides for all that is left.
			if len(exprs) == 1 || len(exprs) == 2 && isCounter(exprs[0]) {
				c.Drops = e.Kind == expr.VerdictDrop
			}
		case *expr.Reject:
			for _, a := range about {
				if !c.Accepted[a] {
					c.Dropped[a] = true
				}
			}
		}
	}
}

func isCounter(e expr.Any) bool {
	_, is := e.(*expr.Counter)
	return is
}

// Bind implements [Probes].
func (Linux) Bind(at netip.AddrPort) error {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	return conn.Close()
}

// Resolve implements [Probes].
func (Linux) Resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	return net.DefaultResolver.LookupNetIP(ctx, "ip4", name)
}

// Mentions implements [Probes].
func (Linux) Mentions(word string, globs ...string) bool {
	for _, g := range globs {
		files, err := filepath.Glob(g)
		if err != nil {
			continue
		}
		for _, f := range files {
			if text, err := os.ReadFile(f); err == nil && bytes.Contains(text, []byte(word)) {
				return true
			}
		}
	}
	return false
}

// dhcpClients are programs that configure the links that they are told of.
var dhcpClients = []string{"dhclient", "udhcpc", "dhcpcd"}

// Gateways implements [Probes].
func (Linux) Gateways() (links []string) {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil
	}
	for _, r := range routes {
		if r.Dst != nil && !r.Dst.IP.IsUnspecified() {
			continue
		}
		if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil && l.Attrs().RawFlags&unix.IFF_POINTOPOINT == 0 {
			links = append(links, l.Attrs().Name)
		}
	}
	slices.Sort(links)
	return slices.Compact(links)
}

// Configures implements [Probes].
func (Linux) Configures(link string) (who []string) {
	if i, err := net.InterfaceByName(link); err == nil {
		if m := dhcp.Manager(link, i.Index); m != "" {
			who = append(who, m)
		}
	}
	// Of the thread that asks: the first one's, /proc/self, may be in another.
	here, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return who
	}
	// What the system hides from this user is not found.
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return who
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil || len(text) == 0 {
			continue
		}
		words := strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
		name := filepath.Base(words[0])
		if i := strings.IndexByte(name, ':'); i > 0 {
			name = name[:i] // dhcpcd writes "dhcpcd: eth0 [ip4]" there
		}
		if !slices.Contains(dhcpClients, name) || !concerns(words, link) {
			continue
		}
		if there, err := os.Readlink(filepath.Join(filepath.Dir(f), "ns/net")); err == nil && there != here {
			continue // another network namespace's link of this name
		}
		who = append(who, name+" (process "+filepath.Base(filepath.Dir(f))+")")
	}
	slices.Sort(who)
	return who
}

// concerns tells whether a DHCP client's command line names a link.
func concerns(words []string, link string) bool {
	return slices.ContainsFunc(strings.Fields(strings.Join(words, " ")), func(w string) bool {
		return w == link || strings.TrimPrefix(w, "-i") == link || strings.TrimPrefix(w, "--interface=") == link
	})
}
