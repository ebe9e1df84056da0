package dhcp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"careof/internal/core/engine"
)

// A Lease is what a network has given a link, and until when. Times are of the
// wall clock: a lease outlives the process.
type Lease struct {
	Address   netip.Prefix        `json:"address"`
	Gateway   netip.Addr          `json:"gateway,omitzero"`    // the first router; invalid: none
	GatewayHW engine.HardwareAddr `json:"gateway_hw,omitzero"` // zero: not learned
	Server    netip.Addr          `json:"server"`
	DNS       []netip.Addr        `json:"dns,omitempty"`
	Portal    string              `json:"portal,omitempty"` // URI of the captive portal's API (RFC 8910)

	Renew  time.Time `json:"renew"`  // T1
	Rebind time.Time `json:"rebind"` // T2
	Until  time.Time `json:"until"`
}

// same tells whether a lease gives the link what the other one does. When it
// ends, and the link-layer address of the gateway, are no part of that.
func (l Lease) same(o Lease) bool {
	return l.Address == o.Address && l.Gateway == o.Gateway && l.Server == o.Server && l.Portal == o.Portal && slices.Equal(l.DNS, o.DNS)
}

const (
	// leastLease keeps a server from making the link ask all the time.
	leastLease = 10 * time.Second
	// mostServers bounds the name servers that are kept.
	mostServers = 3
)

var errLease = errors.New("dhcp: no lease that can be used")

// leaseOf reads a lease of an offer or an acknowledgment.
func leaseOf(now time.Time, p *dhcpv4.DHCPv4) (Lease, error) {
	l := Lease{Server: addrOf(p.ServerIdentifier())}
	address := addrOf(p.YourIPAddr)
	mask := p.SubnetMask()
	if mask == nil && address.IsValid() {
		mask = p.YourIPAddr.DefaultMask()
	}
	bits, size := mask.Size()
	switch {
	case !l.Server.IsValid():
		return l, fmt.Errorf("%w: it has no server identifier", errLease)
	case !unicast(address):
		return l, fmt.Errorf("%w: %v is no host's address", errLease, address)
	case size != 32 || bits < 1:
		return l, fmt.Errorf("%w: its mask is none", errLease)
	}
	l.Address = netip.PrefixFrom(address, bits)
	for _, a := range p.Router() {
		if g := addrOf(a); unicast(g) && g != address {
			l.Gateway = g
			break
		}
	}
	// "If the DHCP server returns both a Classless Static Routes option and a
	// Router option, the DHCP client MUST ignore the Router option." (RFC 3442)
	// Of the routes only the default one is taken: others would win over the
	// tunnel.
	if routes := p.ClasslessStaticRoute(); routes != nil {
		l.Gateway = netip.Addr{}
		for _, r := range routes {
			if r == nil || r.Dest == nil || r.Dest.Mask == nil {
				continue
			}
			if ones, _ := r.Dest.Mask.Size(); ones == 0 && unicast(addrOf(r.Router)) {
				l.Gateway = addrOf(r.Router)
				break
			}
		}
	}
	for _, a := range p.DNS() {
		if s := addrOf(a); unicast(s) && len(l.DNS) < mostServers {
			l.DNS = append(l.DNS, s)
		}
	}
	l.Portal = portalOf(p)
	var err error
	l.Renew, l.Rebind, l.Until, err = Times(now, p)
	return l, err
}

// Times are when a lease that begins now is to be renewed with its server (T1) and
// with any (T2), and when it ends; an error says that it is too short to be used.
func Times(now time.Time, p *dhcpv4.DHCPv4) (renew, rebind, until time.Time, err error) {
	lasts := p.IPAddressLeaseTime(0)
	if lasts < leastLease {
		return renew, rebind, until, fmt.Errorf("%w: it lasts %v", errLease, lasts)
	}
	// "T1 defaults to (0.5 * duration_of_lease). T2 defaults to (0.875 *
	// duration_of_lease)." (RFC 2131 section 4.4.5)
	t1, t2 := p.IPAddressRenewalTime(lasts/2), p.IPAddressRebindingTime(lasts/8*7)
	if t2 <= 0 || t2 >= lasts {
		t2 = lasts / 8 * 7
	}
	if t1 <= 0 || t1 >= t2 {
		t1 = t2 / 2
	}
	now = now.Round(0)
	return now.Add(t1), now.Add(t2), now.Add(lasts), nil
}

// optionPortal is the Captive-Portal option, a URI (RFC 8910 section 2.1).
const optionPortal = dhcpv4.GenericOptionCode(114)

// portalOf is the URI of a captive portal's API, empty when there is none or
// it cannot be one.
//
//rfc:8910#2.1
func portalOf(p *dhcpv4.DHCPv4) string {
	const most = 255
	b := p.Options.Get(optionPortal)
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return ""
		}
	}
	if len(b) > most {
		return ""
	}
	return string(b)
}

// Unrestricted is the URI of a network that says that it has no captive portal
// (RFC 8910 section 2).
const Unrestricted = "urn:ietf:params:capport:unrestricted"

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// unicast tells whether an address can be a host's on a link.
func unicast(a netip.Addr) bool {
	return a.Is4() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a.As4()[0] != 0 && a.As4()[0] < 240
}

// private are the networks that may be connected directly however large they
// are: nothing that a tunnel is for lies there.
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("100.64.0.0/10"),
}

// connected tells whether the lease's network becomes a route over the link. A
// network that names public addresses as its own would have what is sent to
// them in the clear: they are reached through the gateway, and so through the
// tunnel. Without a gateway a small one is let in.
func (l Lease) connected() bool {
	const small = 24
	network := l.Address.Masked()
	for _, p := range private {
		if p.Bits() <= network.Bits() && p.Contains(network.Addr()) {
			return true
		}
	}
	return !l.Gateway.IsValid() && network.Bits() >= small
}
