package homedhcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"careof/internal/host/dhcp"
)

// A Lease is what a server of the home network has given the home address, and until when.
// Times are of the wall clock: a lease outlives the process.
type Lease struct {
	Address netip.Addr     `json:"address"`
	Server  netip.Addr     `json:"server"`
	Router  netip.Addr     `json:"router,omitzero"`
	DNS     []netip.Addr   `json:"dns,omitempty"`
	Domain  string         `json:"domain,omitempty"`
	Routes  []netip.Prefix `json:"routes,omitempty"` // what the home network leads to, but for everything

	Renew  time.Time `json:"renew"`  // T1
	Rebind time.Time `json:"rebind"` // T2
	Until  time.Time `json:"until"`
}

const (
	mostDNS    = 3
	mostRoutes = 32
)

var errLease = errors.New("homedhcp: no lease that can be used")

// same tells whether a lease says what another one does; when it ends is no part of that.
func (l Lease) same(o Lease) bool {
	return l.Address == o.Address && l.Server == o.Server && l.Router == o.Router && l.Domain == o.Domain &&
		slices.Equal(l.DNS, o.DNS) && slices.Equal(l.Routes, o.Routes)
}

// leaseOf reads an offer or an acknowledgment.
func leaseOf(now time.Time, p *dhcpv4.DHCPv4) (Lease, error) {
	l := configurationOf(p)
	if !l.Server.IsValid() || !l.Address.Is4() || l.Address.IsUnspecified() {
		return l, fmt.Errorf("%w: %v of server %v", errLease, l.Address, l.Server)
	}
	var err error
	l.Renew, l.Rebind, l.Until, err = dhcp.Times(now, p)
	return l, err
}

// configurationOf reads what a message says besides times. The name servers and the domain
// are as the server says them; who uses them looks at them.
func configurationOf(p *dhcpv4.DHCPv4) Lease {
	l := Lease{Server: addrOf(p.ServerIdentifier()), Address: addrOf(p.YourIPAddr), Domain: p.DomainName()}
	for _, ip := range p.DNS() {
		if a := addrOf(ip); a.Is4() && len(l.DNS) < mostDNS {
			l.DNS = append(l.DNS, a)
		}
	}
	if list := p.Router(); len(list) > 0 {
		l.Router = addrOf(list[0])
	}
	l.route(p)
	return l
}

// route reads the classless routes: "If the DHCP server returns both a Classless Static
// Routes option and a Router option, the DHCP client MUST ignore the Router option" (RFC
// 3442). Through a tunnel there is no next hop but its other end, so the routers in them
// mean nothing; that of the default route is the network's router. Whether everything goes
// through the tunnel is not the server's to say.
func (l *Lease) route(p *dhcpv4.DHCPv4) {
	routes := p.ClasslessStaticRoute()
	if len(routes) == 0 {
		return
	}
	l.Router = netip.Addr{}
	for _, r := range routes {
		if r == nil || r.Dest == nil {
			continue
		}
		ones, size := r.Dest.Mask.Size()
		to := netip.PrefixFrom(addrOf(r.Dest.IP), ones).Masked()
		switch {
		case size != 32 || !to.IsValid():
		case ones == 0:
			l.Router = addrOf(r.Router)
		case len(l.Routes) < mostRoutes && leads(to) && !slices.Contains(l.Routes, to):
			l.Routes = append(l.Routes, to)
		}
	}
}

// beside are networks that no route leads to.
var beside = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/3"),
}

// leads says whether a route may lead to a prefix.
func leads(to netip.Prefix) bool {
	return !slices.ContainsFunc(beside, func(b netip.Prefix) bool { return to.Bits() >= b.Bits() && b.Contains(to.Addr()) })
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// ReadLease reads what [Lease.Write] has written. A file that is not there, or cannot be
// read, is as good as none: the lease is asked for anew.
func ReadLease(path string) (l Lease) {
	const most = 1 << 16
	info, err := os.Stat(path)
	if err != nil || info.Size() > most {
		return Lease{}
	}
	b, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(b, &l) != nil || !l.Server.Is4() {
		return Lease{}
	}
	return l
}

// Write writes the lease down for the next process. That of no address removes the file.
func (l Lease) Write(path string) error {
	if !l.Address.IsValid() {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("homedhcp: %w", err)
		}
		return nil
	}
	b, err := json.MarshalIndent(l, "", "\t")
	if err != nil {
		return fmt.Errorf("homedhcp: %w", err)
	}
	fresh := path + ".new"
	if err := os.WriteFile(fresh, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("homedhcp: %w", err)
	}
	if err := os.Rename(fresh, path); err != nil {
		return fmt.Errorf("homedhcp: %w", err)
	}
	return nil
}
