package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// enumString returns the word of v, and Type(v) for a value without one.
func enumString[V ~uint8](v V, name string, words []string) string {
	if int(v) < len(words) {
		return words[v]
	}
	return name + "(" + strconv.Itoa(int(v)) + ")"
}

// A NATTraversal says when tunnels go through UDP port 434 (RFC 3519).
type NATTraversal uint8

// When to use UDP encapsulation.
const (
	NATTraversalAuto  NATTraversal = iota // when a NAT is detected
	NATTraversalForce                     // always (the F bit)
	NATTraversalOff                       // never, as if RFC 3519 were not there
)

var natTraversalWords = []string{"auto", "force", "off"}

func (n NATTraversal) String() string { return enumString(n, "NATTraversal", natTraversalWords) }

// An Assignment says what a mobile node asks of the network that assigns it a
// home agent.
type Assignment uint8

// Assignments.
const (
	AssignmentOff  Assignment = iota // it names its home agent
	AssignmentAny                    // 0.0.0.0: one anywhere
	AssignmentHome                   // 255.255.255.255: one in the home domain
)

var assignmentWords = []string{"off", "any", "home"}

func (a Assignment) String() string { return enumString(a, "Assignment", assignmentWords) }

// A Switch is on or off.
type Switch uint8

// The positions.
const (
	On Switch = iota
	Off
)

var switchWords = []string{"on", "off"}

func (s Switch) String() string { return enumString(s, "Switch", switchWords) }

// GREKeys says for which visitors a foreign agent asks for a GRE key (RFC 6245).
type GREKeys uint8

// For whom.
const (
	GREKeysAsked  GREKeys = iota // for those that ask for GRE
	GREKeysAlways                // for all that use its care-of address
	GREKeysOff                   // for nobody
)

var greKeysWords = []string{"asked", "always", "off"}

func (g GREKeys) String() string { return enumString(g, "GREKeys", greKeysWords) }

// A Revocation says whether a binding may be ended at both ends at once (RFC 3543).
type Revocation uint8

// With whom.
const (
	RevocationAllowed  Revocation = iota // with peers that know how
	RevocationRequired                   // others are refused
	RevocationOff                        // with nobody
)

var revocationWords = []string{"allowed", "required", "off"}

func (r Revocation) String() string { return enumString(r, "Revocation", revocationWords) }

// A PathValidation says whether new outer addresses of mobile nodes answer a
// challenge before many packets go there.
type PathValidation uint8

// Of which nodes.
const (
	PathValidationAuto     PathValidation = iota // of those that say that they can
	PathValidationRequired                       // others are refused
	PathValidationOff                            // of none
)

var pathValidationWords = []string{"auto", "required", "off"}

func (v PathValidation) String() string { return enumString(v, "PathValidation", pathValidationWords) }

// UplinkAddress says who gives an uplink its address.
type UplinkAddress uint8

// Who.
const (
	AddressHost UplinkAddress = iota // whoever configures this host's links
	AddressDHCP                      // the mobile node, by DHCP
	AddressAuto                      // the mobile node, when nobody else does
)

var uplinkAddressWords = []string{"host", "dhcp", "auto"}

func (v UplinkAddress) String() string { return enumString(v, "UplinkAddress", uplinkAddressWords) }

// WireGuard says to whom a home agent grants encrypted tunnels.
type WireGuard uint8

// To whom.
const (
	WireGuardAllowed  WireGuard = iota // to nodes that ask
	WireGuardRequired                  // and others are refused
	WireGuardOff                       // to nobody
)

var wireGuardWords = []string{"allowed", "required", "off"}

func (w WireGuard) String() string { return enumString(w, "WireGuard", wireGuardWords) }

// RelayInformation is a part of what a DHCP relay tells the servers (RFC 3046).
type RelayInformation uint8

// The parts.
const (
	RelayCircuitID RelayInformation = iota
	RelayRemoteID
)

var relayInformationWords = []string{"circuit-id", "remote-id"}

func (r RelayInformation) String() string {
	return enumString(r, "RelayInformation", relayInformationWords)
}

// HomeDHCP says how a mobile node uses the DHCP server of its home network.
type HomeDHCP uint8

// How.
const (
	HomeDHCPOff   HomeDHCP = iota
	HomeDHCPOn             // it asks (DHCPINFORM)
	HomeDHCPLease          // it has a lease for its home address
)

var homeDHCPWords = []string{"off", "on", "lease"}

func (h HomeDHCP) String() string { return enumString(h, "HomeDHCP", homeDHCPWords) }

// DNS says who on a mobile node is given the home network's name servers.
type DNS uint8

// Who.
const (
	DNSOff        DNS = iota // nobody, and they are not asked for
	DNSResolved              // systemd-resolved
	DNSResolvConf            // resolv.conf
	DNSAuto                  // systemd-resolved where it runs, else resolv.conf
)

var dnsWords = []string{"off", "resolved", "resolv.conf", "auto"}

func (d DNS) String() string { return enumString(d, "DNS", dnsWords) }

// Advertise says how agent advertisements are sent.
type Advertise uint8

// How they are sent.
const (
	AdvertiseMulticast Advertise = iota // to 224.0.0.1, now and then
	AdvertiseBroadcast                  // to 255.255.255.255, now and then
	AdvertiseSolicited                  // only when somebody asks
)

var advertiseWords = []string{"multicast", "broadcast", "solicited"}

func (a Advertise) String() string { return enumString(a, "Advertise", advertiseWords) }

// A PlaneKind is an implementation of the data plane.
type PlaneKind uint8

// The data planes.
const (
	PlaneAuto   PlaneKind = iota // the best that the probes allow
	PlaneBPF                     // eBPF programs on careof0 and the underlay
	PlaneTUN                     // user space, on a TUN device
	PlaneKernel                  // the kernel's ipip and gre devices
)

var planeKindWords = []string{"auto", "bpf", "tun", "kernel"}

func (p PlaneKind) String() string { return enumString(p, "PlaneKind", planeKindWords) }

// A Profile sets how eagerly a mobile node watches its links.
type Profile uint8

// The profiles.
const (
	ProfileDefault Profile = iota
	ProfileFast            // notices a dead path in 250 ms, at the price of more probes
	ProfileBattery         // probes rarely
	ProfileOff             // probes nothing
)

var profileWords = []string{"default", "fast", "battery", "off"}

func (p Profile) String() string { return enumString(p, "Profile", profileWords) }

// A Range is a run of addresses, both ends included.
type Range struct{ First, Last netip.Addr }

// String writes a range as it stands in the configuration.
func (r Range) String() string {
	if r.First == r.Last {
		return r.First.String()
	}
	return r.First.String() + "-" + r.Last.String()
}

// Contains tells whether a lies in the range.
func (r Range) Contains(a netip.Addr) bool {
	return r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

// Overlaps tells whether the ranges share an address.
func (r Range) Overlaps(other Range) bool {
	return r.First.Compare(other.Last) <= 0 && other.First.Compare(r.Last) <= 0
}

// Addresses reads "192.0.2.100-192.0.2.199", or one address, or a prefix.
var Addresses = Kind[Range]{
	Name: `a range such as "192.0.2.100-192.0.2.199"`,
	Parse: func(v any) (Range, error) {
		s, ok := v.(string)
		if !ok {
			return Range{}, wrongType(v, "a range of addresses", `"192.0.2.100-192.0.2.199"`)
		}
		if strings.Contains(s, "/") {
			p, err := Prefix.Parse(s)
			if err != nil {
				return Range{}, err
			}
			return Range{p.Addr(), lastOf(p)}, nil
		}
		first, last, found := strings.Cut(s, "-")
		if !found {
			last = first
		}
		var r Range
		var err error
		if r.First, err = parseAddress(strings.TrimSpace(first)); err != nil {
			return Range{}, err
		}
		if r.Last, err = parseAddress(strings.TrimSpace(last)); err != nil {
			return Range{}, err
		}
		if r.Last.Less(r.First) {
			return Range{}, mistakef(fmt.Sprintf("did you mean \"%s-%s\"?", r.Last, r.First), "the range %s ends before it begins", s)
		}
		return r, nil
	},
	Format: func(r Range) string {
		if !r.First.IsValid() {
			return ""
		}
		return strconv.Quote(r.String())
	},
}

// lastOf is the last address of an IPv4 prefix: its broadcast address.
func lastOf(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(a)
}

// A Host is where a home agent is found: an address, or a name to look up.
type Host struct {
	Addr netip.Addr // invalid when Name is set
	Name string
}

// String is the address or the name.
func (h Host) String() string {
	if h.Name != "" {
		return h.Name
	}
	return h.Addr.String()
}

// HostKind reads an IPv4 address or a host name.
var HostKind = Kind[Host]{
	Name: "an IPv4 address or a host name",
	Parse: func(v any) (Host, error) {
		s, ok := v.(string)
		if !ok {
			return Host{}, wrongType(v, "an IPv4 address or a host name", `"198.51.100.1"`)
		}
		if a, err := parseAddress(s); err == nil {
			return Host{Addr: a}, nil
		} else if !isHostName(s) {
			if strings.ContainsFunc(s, unicode.IsLetter) && !strings.ContainsAny(s, ":/") {
				return Host{}, mistakef("labels of letters, digits and hyphens, with a dot between two, as in \"ha.example.net\"", "%q is no host name", s)
			}
			return Host{}, err
		}
		return Host{Name: strings.TrimSuffix(s, ".")}, nil
	},
	Format: func(h Host) string {
		if h == (Host{}) {
			return ""
		}
		return strconv.Quote(h.String())
	},
}

// isHostName checks RFC 1123's shape. A last label without a letter is an
// address with a mistake in it, not a name.
func isHostName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range label {
			if !(c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') {
				return false
			}
		}
	}
	return strings.ContainsAny(strings.ToLower(labels[len(labels)-1]), "abcdefghijklmnopqrstuvwxyz")
}

// Routes says what a mobile node sends through its tunnel.
type Routes struct {
	Full     bool // everything
	Prefixes []netip.Prefix
}

// Destinations are the prefixes, also of everything, which none stand for.
func (r Routes) Destinations() []netip.Prefix {
	if r.Full || len(r.Prefixes) == 0 {
		return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
	}
	return r.Prefixes
}

var routesKind = Kind[Routes]{
	Name: `"full", or a list of IPv4 prefixes`,
	Parse: func(v any) (Routes, error) {
		if s, ok := v.(string); ok {
			if s == "full" {
				return Routes{Full: true}, nil
			}
			return Routes{}, mistakef(`write "full", or a list such as ["192.0.2.0/24"]`, "%q is not understood", s)
		}
		ps, err := OneOrList(Prefix).Parse(v)
		return Routes{Prefixes: ps}, err
	},
	Format: func(r Routes) string {
		if r.Full {
			return `"full"`
		}
		return List(Prefix).Format(r.Prefixes)
	},
}

// ForeignAgents says which foreign agents a mobile node registers through.
type ForeignAgents struct {
	Any   bool
	Allow []netip.Addr // when not Any; empty for none
}

var foreignAgentsKind = Kind[ForeignAgents]{
	Name: `"any", "none", or a list of IPv4 addresses`,
	Parse: func(v any) (ForeignAgents, error) {
		if s, ok := v.(string); ok {
			switch s {
			case "any":
				return ForeignAgents{Any: true}, nil
			case "none":
				return ForeignAgents{Allow: []netip.Addr{}}, nil
			}
			return ForeignAgents{}, mistakef(`write "any", "none", or a list of addresses`, "%q is not understood", s)
		}
		allow, err := List(Address).Parse(v)
		return ForeignAgents{Allow: allow}, err
	},
	Format: func(f ForeignAgents) string {
		switch {
		case f.Any:
			return `"any"`
		case len(f.Allow) == 0:
			return `"none"`
		}
		return List(Address).Format(f.Allow)
	},
}

// portalURL is the page by which a captive portal shows.
var portalURL = Kind[string]{
	Name: "an http URL",
	Parse: func(v any) (string, error) {
		s, err := String.Parse(v)
		if err != nil {
			return "", err
		}
		if u, err := url.Parse(s); err != nil || u.Scheme != "http" || u.Hostname() == "" {
			return "", mistakef("portals answer plain HTTP only: \"http://connectivity.example/empty\"", "%q is no http URL", s)
		}
		return s, nil
	},
	Format: formatString,
}
