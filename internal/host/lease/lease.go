package lease

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"careof/internal/core/engine"
)

// A Lease is what a network has given a link, or its own network a home address,
// and until when. Times are of the wall clock: a lease outlives the process.
type Lease struct {
	Address netip.Prefix `json:"address"`          // a home address has no network here
	Gateway netip.Addr   `json:"gateway,omitzero"` // the first router; invalid: none
	Server  netip.Addr   `json:"server"`
	DNS     []netip.Addr `json:"dns,omitempty"`

	GatewayHW engine.HardwareAddr `json:"gateway_hw,omitzero"` // zero: not learned
	Portal    string              `json:"portal,omitempty"`    // URI of the captive portal's API (RFC 8910)

	// Of a home network: its domain, as the server says it, and what it leads to,
	// but for everything.
	Domain string         `json:"domain,omitempty"`
	Routes []netip.Prefix `json:"routes,omitempty"`

	Renew  time.Time `json:"renew"`  // T1
	Rebind time.Time `json:"rebind"` // T2
	Until  time.Time `json:"until"`
}

// same tells whether a lease gives what the other one does. When it ends, and the
// link-layer address of the gateway, are no part of that.
func (l Lease) same(o Lease) bool {
	return l.Address == o.Address && l.Gateway == o.Gateway && l.Server == o.Server && l.Portal == o.Portal && l.Domain == o.Domain &&
		slices.Equal(l.DNS, o.DNS) && slices.Equal(l.Routes, o.Routes)
}

// later is the lease by a clock that was set.
func (l Lease) later(by time.Duration) Lease {
	l.Renew, l.Rebind, l.Until = l.Renew.Add(by), l.Rebind.Add(by), l.Until.Add(by)
	return l
}

const (
	// leastLease and leastRebind keep a server from making the client ask all the
	// time.
	leastLease  = 10 * time.Second
	leastRebind = 2 * time.Second
	mostServers = 3
	mostRoutes  = 32
)

var errLease = errors.New("dhcp: no lease that can be used")

// leaseOf reads a lease of an offer or an acknowledgment, of a link when there is
// no home address. A link takes no route but the default one: others would win
// over the tunnel. What network a home address is in is the home agent's to say.
func leaseOf(now time.Time, p *dhcpv4.DHCPv4, home netip.Addr) (Lease, error) {
	l := read(p)
	address := l.Address.Addr()
	mask := p.SubnetMask()
	if mask == nil && address.IsValid() {
		mask = p.YourIPAddr.DefaultMask()
	}
	bits, size := mask.Size()
	network := netip.PrefixFrom(address, bits)
	switch {
	case !l.Server.IsValid():
		return l, fmt.Errorf("%w: it has no server identifier", errLease)
	case !unicast(address):
		return l, fmt.Errorf("%w: %v is no host's address", errLease, address)
	case home.IsValid():
	case size != 32 || bits < 1:
		return l, fmt.Errorf("%w: its mask is none", errLease)
	case bits < 31 && (address == network.Masked().Addr() || address == Last(network)):
		return l, fmt.Errorf("%w: %v is no host's address in a network of /%d", errLease, address, bits)
	default:
		l.Address, l.Domain, l.Routes, l.Portal = network, "", nil, portalOf(p)
	}
	return l, l.last(now, p)
}

// read reads what a server says of any client, but for times.
func read(p *dhcpv4.DHCPv4) Lease {
	l := Lease{Server: addrOf(p.ServerIdentifier()), Domain: p.DomainName()}
	if a := addrOf(p.YourIPAddr); a.IsValid() {
		l.Address = netip.PrefixFrom(a, a.BitLen())
	}
	for _, ip := range p.DNS() {
		if s := addrOf(ip); unicast(s) && len(l.DNS) < mostServers {
			l.DNS = append(l.DNS, s)
		}
	}
	// "If the DHCP server returns both a Classless Static Routes option and a
	// Router option, the DHCP client MUST ignore the Router option." (RFC 3442)
	routes := p.ClasslessStaticRoute()
	if routes == nil {
		for _, ip := range p.Router() {
			l.through(ip)
		}
	}
	for _, r := range routes {
		ones, _ := r.Dest.Mask.Size()
		to := netip.PrefixFrom(addrOf(r.Dest.IP), ones).Masked()
		switch {
		case ones == 0:
			l.through(r.Router)
		case len(l.Routes) < mostRoutes && leads(to) && !slices.Contains(l.Routes, to):
			// Through a tunnel there is no next hop but its other end: the routers of
			// these mean nothing.
			l.Routes = append(l.Routes, to)
		}
	}
	return l
}

// through takes the first router that can be one.
func (l *Lease) through(router []byte) {
	if a := addrOf(router); !l.Gateway.IsValid() && unicast(a) && a != l.Address.Addr() {
		l.Gateway = a
	}
}

// nowhere are networks that no route leads to.
var nowhere = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/3"),
}

// leads says whether a route may lead to a prefix.
func leads(to netip.Prefix) bool {
	return !slices.ContainsFunc(nowhere, func(n netip.Prefix) bool { return to.Bits() >= n.Bits() && n.Contains(to.Addr()) })
}

// last has the lease begin now; an error says that it is too short to be used.
//
//rfc:2131#4.4.5
func (l *Lease) last(now time.Time, p *dhcpv4.DHCPv4) error {
	lasts := p.IPAddressLeaseTime(0)
	if lasts < leastLease {
		return fmt.Errorf("%w: it lasts %v", errLease, lasts)
	}
	// "T1 defaults to (0.5 * duration_of_lease). T2 defaults to (0.875 *
	// duration_of_lease)." (RFC 2131 section 4.4.5)
	t1, t2 := p.IPAddressRenewalTime(lasts/2), p.IPAddressRebindingTime(lasts/8*7)
	if t2 < leastRebind || t2 >= lasts {
		t2 = lasts / 8 * 7
	}
	if t1 <= 0 || t1 >= t2 {
		t1 = t2 / 2
	}
	now = now.Round(0)
	l.Renew, l.Rebind, l.Until = now.Add(t1), now.Add(t2), now.Add(lasts)
	return nil
}

// optionPortal is the Captive-Portal option, a URI (RFC 8910 section 2.1).
const optionPortal = dhcpv4.GenericOptionCode(114)

// portalOf is the URI of a captive portal's API, empty when there is none or
// it cannot be one.
//
//rfc:8910#2.1
//rfc:8910#5-1
func portalOf(p *dhcpv4.DHCPv4) string {
	const most = 255
	b := p.Options.Get(optionPortal)
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return ""
		}
	}
	if _, err := url.Parse(string(b)); err != nil || len(b) > most {
		return ""
	}
	return string(b)
}

// Unrestricted is the URI of a network that says that it has no captive portal
// (RFC 8910 section 2).
const Unrestricted = "urn:ietf:params:capport:unrestricted"

func addrOf(ip []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// unicast tells whether an address can be a host's on a link.
func unicast(a netip.Addr) bool {
	return a.Is4() && !a.IsMulticast() && !a.IsLoopback() && a.As4()[0] != 0 && a.As4()[0] < 240
}

// Usable tells whether a lease that was written down can be one.
func (l Lease) Usable() bool { return unicast(l.Address.Addr()) && l.Server.IsValid() }

// Last is an IPv4 network's broadcast address.
func Last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}
