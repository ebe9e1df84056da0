package names

import (
	"bufio"
	"net/netip"
	"os"
	"strings"
)

// HostServers are the name servers that programs of this host ask (resolv.conf):
// the IPv4 ones that are elsewhere. What cannot be read has none.
func HostServers(file string) (list []netip.Addr) {
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
		if a, err := netip.ParseAddr(fields[1]); err == nil && a.Is4() && !a.IsLoopback() && !a.IsUnspecified() {
			list = append(list, a)
		}
	}
	return list
}
