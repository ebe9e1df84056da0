package mn

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/ident"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// Config is what a mobile node is told at its start. New fills in defaults
// and refuses contradictions.
type Config struct {
	// HomeAddress is the node's home address; invalid when the home agent
	// shall choose one for the NAI (RFC 2794).
	HomeAddress netip.Addr
	// HomeNetwork is the home address with the home network's prefix
	// length: "A mobile node MUST be configured ... with a netmask" (RFC 5944
	// section 3.6). It is needed to discover a home agent and to recognise
	// the home link; a node whose home network is virtual may leave it out.
	HomeNetwork netip.Prefix
	// HomeLink is the one interface that may be attached to the home
	// network; empty lets any uplink be. It needs HomeNetwork.
	HomeLink string
	// NAI names the node (RFC 2794), empty for none.
	NAI ident.NAI

	// HomeAgents are tried in turn. With none, one is discovered by a
	// request to the directed broadcast address of HomeNetwork.
	HomeAgents []HomeAgent
	// Port is the UDP port of the home agents, for registrations and for
	// tunnels in UDP; 0 means 434. Foreign agents always have 434.
	Port uint16
	// Association is shared with every home agent that has none of its own.
	Association *assoc.Association
	// Assigned says that the network may assign a home agent (RFC 4433): what is
	// in HomeAgents are the ones to ask first. The node stays with the one that
	// has accepted it, and needs none at all where a foreign agent knows one.
	Assigned bool
	// KeysOnDemand: a feature brings associations with home agents that have none
	// here (RFC 3957). Until then requests carry no Mobile-Home authenticator, and
	// replies of home agents are discarded.
	KeysOnDemand bool

	// Routes are the destinations that go through the tunnel; none means all.
	Routes []netip.Prefix
	// Uplinks are the interfaces to use; none means every interface.
	Uplinks []UplinkConfig

	// Encrypted says that nothing leaves but through an encrypted tunnel: a
	// registration that an earlier configuration left with another is not taken
	// up. The feature that encrypts sees to new ones.
	Encrypted bool

	// ForeignAgents says through which foreign agents the node may register
	// where it has no address of its own, or an agent requires it. The zero
	// value uses none.
	ForeignAgents ForeignAgents

	// Lifetime is asked for in requests: whole seconds up to 65534 s, or
	// Infinite. The default is 10 minutes.
	Lifetime time.Duration
	// Encapsulation is asked for: IPIP (also when 0), GRE or Minimal.
	Encapsulation encap.Kind
	// ReverseTunnel says what is asked for, and whether to go without it.
	ReverseTunnel ReverseTunnel
	// Broadcast asks for the home network's broadcasts too (B bit).
	Broadcast bool
	// Direct are destinations that are reached over the visited link and not
	// through the reverse tunnel (RFC 3024 section 5.4).
	Direct []netip.Prefix
	// LocalGroups sends multicasts over the visited link where the node has an
	// address of its own there, unless a program says otherwise.
	LocalGroups bool
	// Simultaneous is how many uplinks register at a time with the S bit, 1
	// (also when 0) to 3. The home agent then sends every packet that often.
	Simultaneous int

	// RetransmitCap bounds the time between retransmissions; it is also
	// bounded by the requested lifetime (RFC 5944 section 3.6.3). The default
	// is one minute.
	RetransmitCap time.Duration
}

// A HomeAgent is one home agent that the node may use.
type HomeAgent struct {
	Address     netip.Addr         // or
	Name        string             // a name that resolves to IPv4 addresses
	Association *assoc.Association // nil: that of the Config
}

// An UplinkConfig lets an interface be used.
type UplinkConfig struct {
	Interface string
	Priority  int // the greater one is preferred
	Cost      int // of equal priorities the lesser cost is preferred; ties go to the lesser name

	// What a feature that measures paths is told: whether every octet is paid
	// for, and from which loss (in per cent) and round trip on another uplink is
	// to be preferred; 0 for never.
	Metered      bool
	MaxLoss      int
	MaxRoundTrip time.Duration
}

// ReverseTunnel is the policy on reverse tunnelling (RFC 3024).
type ReverseTunnel uint8

const (
	ReverseRequired  ReverseTunnel = iota // ask for it and do not register without it
	ReversePreferred                      // ask for it, go without it when refused
	ReverseOff                            // do not ask for it
)

var reverseNames = [...]string{"required", "preferred", "off"}

func (r ReverseTunnel) String() string {
	if int(r) < len(reverseNames) {
		return reverseNames[r]
	}
	return fmt.Sprintf("ReverseTunnel(%d)", uint8(r))
}

// Infinite asks for a registration that does not expire.
const Infinite time.Duration = mip4.LifetimeInfinite * time.Second

const (
	// drain is how long the tunnel of a replaced registration still takes
	// packets: those that were under way when the home agent switched.
	drain = 2 * time.Second
	// minimumInterval: "The minimum time between Registration Requests MUST
	// NOT be less than 1 second" (RFC 5944 section 3.6.3).
	minimumInterval = time.Second
	// processing: "at least an additional 100 milliseconds to allow for
	// processing the messages before responding" (RFC 5944 section 3.6.3).
	processing = 100 * time.Millisecond
)

// complete checks the configuration and fills in defaults.
func (c *Config) complete() error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	if c.HomeAddress.IsUnspecified() {
		c.HomeAddress = netip.Addr{}
	}
	switch {
	case c.HomeAddress.IsValid() && !unicast(c.HomeAddress):
		bad("home address %v is not an IPv4 unicast address", c.HomeAddress)
	case !c.HomeAddress.IsValid() && c.NAI == "":
		bad("neither home address nor NAI")
	}
	if c.HomeNetwork.IsValid() {
		if !c.HomeNetwork.Addr().Is4() {
			bad("home network %v is not IPv4", c.HomeNetwork)
		}
		c.HomeNetwork = c.HomeNetwork.Masked()
		if c.HomeAddress.IsValid() && !c.HomeNetwork.Contains(c.HomeAddress) {
			bad("home address %v is not in the home network %v", c.HomeAddress, c.HomeNetwork)
		}
	} else {
		if c.HomeLink != "" {
			bad("a home link needs the home network's prefix")
		}
		if len(c.HomeAgents) == 0 && !c.Assigned {
			bad("discovering a home agent needs the home network's prefix")
		}
	}
	if c.Assigned && c.NAI == "" {
		bad("a home agent is assigned to a NAI")
	}
	if c.KeysOnDemand && c.Association == nil {
		c.Association = unkeyed
	}
	if c.Association == nil && (c.Assigned || len(c.HomeAgents) == 0) {
		bad("no mobility security association")
	}
	agents := make([]HomeAgent, len(c.HomeAgents))
	for i, a := range c.HomeAgents {
		if a.Association == nil {
			a.Association = c.Association
		}
		switch {
		case a.Association == nil:
			bad("home agent %d has no mobility security association", i+1)
		case a.Address.IsValid() == (a.Name != ""):
			bad("home agent %d needs an address or a name", i+1)
		case a.Address.IsValid() && !unicast(a.Address):
			bad("home agent address %v is not an IPv4 unicast address", a.Address)
		}
		agents[i] = a
	}
	c.HomeAgents = agents

	if len(c.Routes) == 0 {
		c.Routes = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
	}
	if c.Lifetime == 0 {
		c.Lifetime = 10 * time.Minute
	}
	if c.Lifetime < time.Second || c.Lifetime > Infinite {
		bad("lifetime %v is not between 1s and %v", c.Lifetime, Infinite-time.Second)
	}
	if c.Encapsulation == 0 {
		c.Encapsulation = encap.IPIP
	}
	if c.ReverseTunnel > ReverseOff {
		bad("unknown reverse tunnel policy %v", c.ReverseTunnel)
	}
	if c.Simultaneous == 0 {
		c.Simultaneous = 1
	}
	if c.Simultaneous < 1 || c.Simultaneous > 3 {
		bad("%d simultaneous registrations are not 1 to 3", c.Simultaneous)
	}
	if c.RetransmitCap == 0 {
		c.RetransmitCap = time.Minute
	}
	if c.RetransmitCap < minimumInterval {
		bad("retransmission cap %v is less than %v", c.RetransmitCap, minimumInterval)
	}
	for _, a := range c.ForeignAgents.Allow {
		if !unicast(a) {
			bad("foreign agent %v is not an IPv4 unicast address", a)
		}
	}
	for _, a := range c.ForeignAgents.Associations {
		switch {
		case !unicast(a.Address):
			bad("foreign agent %v is not an IPv4 unicast address", a.Address)
		case a.Association == nil || !a.Association.Authenticated():
			bad("foreign agent %v has no mobility security association", a.Address)
		}
	}
	seen := make(map[string]bool)
	for _, u := range c.Uplinks {
		if u.Interface == "" || seen[u.Interface] {
			bad("uplink %q is there twice or has no name", u.Interface)
		}
		seen[u.Interface] = true
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("mn: configuration: %w", err)
	}
	return nil
}

// unicast tells addresses that a node may have.
func unicast(a netip.Addr) bool {
	return a.Is4() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() &&
		a.As4()[0] < 240 && a.As4()[0] != 0
}

// directedBroadcast is the highest address of a prefix.
func directedBroadcast(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a)
}
