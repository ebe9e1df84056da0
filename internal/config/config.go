package config

import (
	"log/slog"
	"net/netip"
	"time"

	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/wire/encap"
	"careof/wire/nat64"
)

// A Config is a whole configuration, checked and with its defaults filled in.
type Config struct {
	File           string // the file it was read from
	Version        int
	StateDirectory string // the store; created if missing

	Control Control
	Log     Log
	Plane   Plane
	SNMP    SNMP

	Enrolment *Enrolment // nil: nobody joins
	AAA       *AAA       // nil: nobody is asked

	// The roles; nil when the file has no section for one.
	HomeAgent    *HomeAgent
	ForeignAgent *ForeignAgent
	MobileNode   *MobileNode

	// Warnings are what is allowed but worth a look, announced at start.
	Warnings Problems

	lines lineTable
}

// Control is the [control] section: where the API is served.
type Control struct {
	Socket string
	Group  string // may read; root may change

	Listen    netip.AddrPort // of the API over TCP; invalid: there is none
	TLSCert   string         // files as they can be opened; "": no TLS
	TLSKey    string
	ReadToken Token // may read
	AllToken  Token // may change too

	cert, key, readFile, allFile string // as written
}

// Log is the [log] section.
type Log struct {
	Level  slog.Level
	Levels map[string]slog.Level // by subsystem; see [Subsystems]
}

// For returns the level of a subsystem.
func (l Log) For(subsystem string) slog.Level {
	if level, ok := l.Levels[subsystem]; ok {
		return level
	}
	return l.Level
}

// Plane is the [plane] section: the data plane.
type Plane struct {
	Kind   PlaneKind
	Device string
	BPFFS  string
	// ClampMSS lowers the segment size that TCP connections through the device
	// announce to what fits.
	ClampMSS bool
}

// Enrolment is the [enrolment] section.
type Enrolment struct {
	Listen    netip.AddrPort // TCP
	Address   string         // host:port that tokens lead to; empty: the home agent's address and Listen's port
	HomeAgent string         // as nodes write it down; empty: its first address
}

// SNMP is the [snmp] section.
type SNMP struct {
	Master string // of AgentX: "unix:PATH" or "tcp:HOST:PORT"; empty for no SNMP
}

// HomeAgent is the [home-agent] section.
type HomeAgent struct {
	Addresses            []netip.Addr // its identity; at least one
	LocalAddress         netip.Addr   // where it is bound behind a 1:1 NAT; invalid otherwise
	Port                 uint16
	Interfaces           []string // home links; empty for a virtual home network
	MaxLifetime          time.Duration
	ReverseTunnel        forward.ReverseTunnel
	NATTraversal         NATTraversal
	ForcedUDP            Switch
	NATLifetime          time.Duration // zero: MaxLifetime
	Keepalive            time.Duration
	Encapsulations       []encap.Kind
	WireGuard            WireGuard
	SimultaneousBindings int
	GREKeys              Switch
	Revocation           Revocation
	PathValidation       PathValidation
	StrictReservedBits   bool
	Broadcasts           []BroadcastCategory
	Multicast            Switch
	FailureReplies       time.Duration // least time between two replies with code 131 to a node; 0: none
	Shards               int           // machines that share the nodes; 0: one for each processor
	ReceiveSockets       int           // that share the port, each with a reader
	RequestsPerSource    int           // a second, from an address at which nobody is bound; 0: any number
	RequestsPerNode      int           // a second, authentic and fresh; 0: any number
	Canary               time.Duration // how often the home agent tries itself; 0: never
	CanaryAddress        netip.Addr
	NodesFile            string // as written; its nodes are in MobileNodes
	Masquerade           Switch // nodes with private addresses reach the world by this host's

	Identity ident.NAI // its own name (RFC 3846); may be empty

	Networks       []Network
	MobileNodes    []MobileNodePeer
	ForeignAgents  []ForeignAgentPeer
	MobileNetworks Switch       // RFC 5177
	PrefixPools    []PrefixPool // RFC 6626
	Services       []Service    // RFC 5446
	DefaultService Switch

	Assignment  bool            // nodes may register that name no home agent (RFC 4433)
	Capacity    int             // nodes; 0: any number
	PoolMembers []HomeAgentPeer // the other home agents of the pool

	DHCP *DHCPRelay // nil: none

	Messages         []MessageText
	VendorExtensions []OpaqueExtension
	Experiments      []OpaqueExtension

	Notifying // RFC 6098
}

// A Network is a [[home-agent.network]] table: a home network.
type Network struct {
	Prefix netip.Prefix
	Pool   []Range // for nodes that ask for an address by NAI

	// What nodes are told that ask for it (RFC 4332).
	Router, DHCPServer netip.Addr
	DNS                []netip.Addr
	Domain             string
}

// DHCPRelay is the [home-agent.dhcp] section.
type DHCPRelay struct {
	Servers     []netip.Addr // at least one
	Address     netip.Addr   // invalid: the home agent's. See HomeAgent.RelayAddress
	Information []RelayInformation
}

// RelayAddress is the address of the DHCP relay on this host; invalid without one.
func (h *HomeAgent) RelayAddress() netip.Addr {
	switch {
	case h.DHCP == nil:
		return netip.Addr{}
	case h.DHCP.Address.IsValid():
		return h.DHCP.Address
	case h.LocalAddress.IsValid():
		return h.LocalAddress
	}
	return h.Addresses[0]
}

// A Service is a [[home-agent.service]] table: what nodes may register for.
type Service struct {
	Name    string
	Nodes   []string
	Network netip.Prefix
}

// A PrefixPool is a [[home-agent.prefix-pool]] table: prefixes for mobile
// routers that ask for one.
type PrefixPool struct {
	Prefix  netip.Prefix
	Length  int // of the prefixes that it is cut into
	PerNode int // how many one node may have
}

// A MobileNodePeer is a [[home-agent.mobile-node]] or
// [[foreign-agent.mobile-node]] table, or a line of the nodes file: a mobile
// node that may register. At least one of home address and NAI is set.
type MobileNodePeer struct {
	HomeAddress netip.Addr
	NAI         ident.NAI
	Prefixes    []netip.Prefix // what a mobile router may bring
	Security
}

// Identity is who the node is.
func (p *MobileNodePeer) Identity() ident.Node {
	return ident.Node{HomeAddress: p.HomeAddress, NAI: p.NAI}
}

// A ForeignAgentPeer is a [[home-agent.foreign-agent]] or
// [[mobile-node.foreign-agent]] table.
type ForeignAgentPeer struct {
	Address netip.Addr
	Security
}

// A HomeAgentPeer is a [[foreign-agent.home-agent]] or
// [[home-agent.pool-member]] table.
type HomeAgentPeer struct {
	Address netip.Addr
	Security
}

// ForeignAgent is the [foreign-agent] section.
type ForeignAgent struct {
	Interfaces            []string
	CareOfAddresses       []netip.Addr // at least one, the preferred one first
	Port                  uint16
	Advertise             Advertise
	AdvertiseInterval     time.Duration
	PrefixLengths         bool
	RequireRegistration   bool
	StrictReservedBits    bool
	Encapsulations        []encap.Kind
	EncapsulatingDelivery Switch
	GREKeys               GREKeys
	Revocation            Revocation
	AllowHomeAgents       []netip.Prefix // nil: all
	MaxVisitors           int
	MaxPending            int
	RequestsPerStation    int // a second, from a link-layer address that is no visitor's; 0: any number
	RequestsOfStrangers   int // a second, from all of those together; 0: any number
	MaxLifetime           time.Duration
	ReverseTunnel         forward.ReverseTunnel
	ChallengeWindow       int          // 0: no challenges (RFC 4721)
	AssignHomeAgents      []netip.Addr // for visitors that name none (RFC 4433)

	NATTraversal NATTraversal
	Keepalive    time.Duration // zero: what home agents say

	HomeAgents  []HomeAgentPeer
	MobileNodes []MobileNodePeer

	Messages         []MessageText
	VendorExtensions []OpaqueExtension
	Experiments      []OpaqueExtension

	Notifying // RFC 6098
}

// MobileNode is the [mobile-node] section. At least one of home address and
// NAI is set, and at least one of home agents and home network.
type MobileNode struct {
	HomeAddress      netip.Addr // invalid: the home agent assigns one (RFC 2794)
	NAI              ident.NAI
	HomeAgents       []Host       // empty: discovered (RFC 5944 section 3.6.1.2)
	HomeNetwork      netip.Prefix // for discovery and for noticing the return home; may be invalid
	Assignment       Assignment   // RFC 4433
	Lifetime         time.Duration
	Routes           Routes
	NATTraversal     NATTraversal
	Encapsulation    Encapsulation
	Profile          Profile
	PortalCheck      string // URL of a page that is empty; empty: not asked for
	FailBack         time.Duration
	HomeAgentTimeout time.Duration // how long it may be silent; 0: by profile; negative: for ever
	Revocation       Switch
	PathValidation   Switch
	Redundant        []forward.Class // go over two uplinks
	PathMTUDiscovery Switch
	ReverseTunnel    Asking
	Delivery         Delivery
	Direct           []netip.Prefix // reached directly, not through the tunnel
	Broadcasts       Switch
	Multicast        MulticastPath
	ForeignAgents    ForeignAgents
	Service          string // RFC 5446; empty: the default one
	DNS              DNS    // who is given the home network's name servers (RFC 4332)
	HomeDHCP         HomeDHCP
	ResolvConf       string     // the file, where it is resolv.conf
	AAA              *AAASecret // shared with an AAA server; nil: none
	Security

	ForeignAgentPeers []ForeignAgentPeer // with an association

	Port uint16 // of the home agents

	Uplinks []Uplink

	NetworkMode NetworkMode
	Networks    []MobileNetwork // behind a mobile router

	VendorExtensions []OpaqueExtension
	Experiments      []OpaqueExtension

	Notifying // RFC 6098
}

// Identity is who the node is.
func (m *MobileNode) Identity() ident.Node {
	return ident.Node{HomeAddress: m.HomeAddress, NAI: m.NAI}
}

// An Encapsulation is what a mobile node asks for.
type Encapsulation struct {
	Auto bool // IP-in-IP, and UDP when a NAT is seen
	Kind encap.Kind
}

// String is its name in the file.
func (e Encapsulation) String() string {
	if e.Auto {
		return "auto"
	}
	return e.Kind.String()
}

func parseEncapsulation(s string) (Encapsulation, error) {
	switch s {
	case "auto":
		return Encapsulation{Auto: true}, nil
	case encap.WireGuard.String():
		return Encapsulation{Kind: encap.WireGuard}, nil
	}
	k, err := encap.ParseKind(s)
	return Encapsulation{Kind: k}, err
}

// An Uplink is a [[mobile-node.uplink]] table.
type Uplink struct {
	Interface string
	Address   UplinkAddress
	Priority  int // the highest that works is used
	Cost      int // of equal priorities the lowest is used
	Metered   bool

	MaxLoss      int           // per cent; 0: no limit
	MaxRoundTrip time.Duration // 0: no limit

	NAT64 TranslatorPrefix // where the uplink has no IPv4 address
}

// A TranslatorPrefix says how IPv4 is reached over an uplink that has IPv6 alone;
// the zero value is that the node finds out.
type TranslatorPrefix struct {
	Off    bool
	Prefix nat64.Prefix // invalid: found out
}

// A MobileNetwork is a [[mobile-node.mobile-network]] table: a network behind a
// mobile router.
type MobileNetwork struct {
	Interface string
	Prefix    netip.Prefix // invalid: the home agent assigns one
	Length    int          // hint for that one; 0: none
}

// Values lists what is in force, key by key, in the order of the reference.
func (c *Config) Values() []Value {
	return tableValues("", rootTable, c, nil)
}
