package names

import (
	"bufio"
	"net/netip"
	"os"
	"strings"
)

// HostServers6 are the IPv6 ones of them, for networks that have IPv6 alone.
func HostServers6(file string) []netip.Addr { return hostServers(file, netip.Addr.Is6) }

// HostServers are the name servers that programs of this host ask (resolv.conf):
// the IPv4 ones that are elsewhere. What cannot be read has none.
func HostServers(file string) []netip.Addr { return hostServers(file, netip.Addr.Is4) }

func hostServers(file string, is func(netip.Addr) bool) (list []netip.Addr) {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil && is(a) && !a.IsLoopback() && !a.IsUnspecified() {
			list = append(list, a)
		}
	}
	return list
}
