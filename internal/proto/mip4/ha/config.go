package ha

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/wire/encap"
)

// Defaults of a [Config].
const (
	DefaultPort        = 434
	DefaultMaxLifetime = 10 * time.Minute
	DefaultParked      = 1024
	DefaultRecent      = 64
	MaxSimultaneous    = 3
	ParkTime           = 5 * time.Second // how long an exchange waits for an answer
)

// A Config configures a home agent. Zero values mean the defaults named. It is
// not changed after New.
type Config struct {
	// Addresses are the identities of the home agent: the unicast addresses
	// that mobile nodes know it by. At least one.
	Addresses []netip.Addr
	// LocalAddress is the address that the host really has when a 1:1 NAT
	// stands before it. Tunnels then start there; messages and comparisons
	// use the identity. Invalid: none.
	LocalAddress netip.Addr
	// Port is the UDP port of data tunnels: 434.
	Port uint16

	// Links are the home links' interfaces.
	Links []string
	// Device is the tunnel device: what comes in from it has come through a
	// tunnel. Empty: that is not to be told apart.
	Device string
	// Networks are the home networks. Every home address lies in one.
	Networks []Network
	// ForeignCareOf are the care-of addresses of a foreign agent in the same
	// process: addresses of this host that may be bound all the same.
	ForeignCareOf []netip.Addr
	// OtherHomeNetworks are home networks of other home agents. A care-of
	// address must not lie in them, or packets might go in circles.
	OtherHomeNetworks []netip.Prefix

	// MaxLifetime is the longest lifetime granted: 10 minutes.
	// binding.Infinite grants what is asked for.
	MaxLifetime time.Duration
	// ReverseTunnel says what is done with the T bit (RFC 3024).
	ReverseTunnel forward.ReverseTunnel
	// Encapsulations are the ones offered: all when empty. encap.UDP stands
	// for NAT traversal.
	Encapsulations []encap.Kind
	// SimultaneousBindings is the most bindings that one home address may
	// have, 1 to 3. 1 means that simultaneous bindings are not supported.
	SimultaneousBindings int

	Nodes         []MobileNode
	ForeignAgents []ForeignAgent

	// StrictReservedBits denies requests with the r or x bit set (code 134)
	// instead of ignoring the bits. RFC 5944 says both.
	StrictReservedBits bool
	// Window is how far a timestamp may be off: 7 seconds.
	Window time.Duration
	// BadAuthenticatorInterval is the least time between two replies with
	// code 131 to one mobile node for requests that failed authentication
	// and that no foreign agent vouched for. RFC 5944 only allows them
	// ("MAY"); zero, the default, sends none: strangers get silence.
	BadAuthenticatorInterval time.Duration

	// RequestsPerNode is how many authentic new requests of one node are
	// taken in a second, with a burst of twice as many; 0: any number.
	RequestsPerNode int

	// MaxParked bounds the exchanges that wait for an answer: 1024.
	MaxParked int
	// Recent is how many registrations are remembered to be shown: 64.
	Recent int

	// Shard is this machine's number among Shards, which share the nodes; see
	// [Route]. Shards 0 means 1.
	Shard, Shards int
}

// A Network is a home network.
type Network struct {
	Prefix netip.Prefix
	// Link is the home link where the network is attached. Empty: the only
	// interface of Config.Links, if there is exactly one, else the first of
	// them that turns out to have an address in the network.
	Link string
	// Virtual networks have no home link although there are Links.
	Virtual bool
	// Pool are the addresses for nodes that ask for one by NAI (RFC 2794).
	Pool []Range
	// Reserved: the pool is for requests alone that a feature leads to it.
	Reserved bool
}

// A Range is a range of addresses, both ends included.
type Range struct{ From, To netip.Addr }

// A MobileNode is a node that the home agent serves. NAI, home address and
// SPIs belong together: nobody gets another one's home address.
type MobileNode struct {
	ident.Node
	// Keys are the node's security associations; several for rotation, the
	// oldest first. One association with algorithm none stands alone.
	Keys []*assoc.Association
	// Source is where requests without authentication must come from. Only
	// with algorithm none, and then required.
	Source netip.Prefix
	// Prefixes are the mobile networks that the node may bring (RFC 5177).
	Prefixes []netip.Prefix
}

// A ForeignAgent is one that the home agent knows. Without keys it is merely
// allowed to relay for co-located care-of addresses.
type ForeignAgent struct {
	Address netip.Addr
	Keys    []*assoc.Association
}

// withDefaults fills in the defaults.
func (c Config) withDefaults() Config {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	if c.Port == 0 {
		c.Port = DefaultPort
	}
	if c.MaxLifetime == 0 {
		c.MaxLifetime = DefaultMaxLifetime
	}
	if c.Window == 0 {
		c.Window = assoc.DefaultWindow
	}
	if len(c.Encapsulations) == 0 {
		c.Encapsulations = encap.Kinds()
	}
	def(&c.SimultaneousBindings, 1)
	def(&c.MaxParked, DefaultParked)
	def(&c.Recent, DefaultRecent)
	def(&c.Shards, 1)
	c.Networks = slices.Clone(c.Networks)
	for i := range c.Networks {
		n := &c.Networks[i]
		n.Prefix = n.Prefix.Masked()
		if n.Link == "" && !n.Virtual && len(c.Links) == 1 {
			n.Link = c.Links[0]
		}
		if n.Virtual {
			n.Link = ""
		}
	}
	return c
}

// check finds the first mistake.
func (c *Config) check() error {
	switch {
	case len(c.Addresses) == 0:
		return fmt.Errorf("ha: no address")
	case c.MaxLifetime < time.Second:
		return fmt.Errorf("ha: max-lifetime %v is less than a second", c.MaxLifetime)
	case c.SimultaneousBindings < 1 || c.SimultaneousBindings > MaxSimultaneous:
		return fmt.Errorf("ha: %d simultaneous bindings, must be 1 to %d", c.SimultaneousBindings, MaxSimultaneous)
	case c.Shard < 0 || c.Shard >= c.Shards:
		return fmt.Errorf("ha: shard %d of %d", c.Shard, c.Shards)
	case c.LocalAddress.IsValid() && !unicast(c.LocalAddress):
		return fmt.Errorf("ha: local address %v is not an IPv4 unicast address", c.LocalAddress)
	}
	for _, a := range c.Addresses {
		if !unicast(a) {
			return fmt.Errorf("ha: address %v is not an IPv4 unicast address", a)
		}
	}
	for i, n := range c.Networks {
		if !n.Prefix.IsValid() || !n.Prefix.Addr().Is4() {
			return fmt.Errorf("ha: home network %v is not an IPv4 prefix", n.Prefix)
		}
		if n.Link != "" && !slices.Contains(c.Links, n.Link) {
			return fmt.Errorf("ha: home network %v is on link %q, which is none of the interfaces", n.Prefix, n.Link)
		}
		for _, other := range c.Networks[:i] {
			if n.Prefix.Overlaps(other.Prefix) {
				return fmt.Errorf("ha: home networks %v and %v overlap", other.Prefix, n.Prefix)
			}
		}
		for _, r := range n.Pool {
			if !n.Prefix.Contains(r.From) || !n.Prefix.Contains(r.To) || r.To.Less(r.From) {
				return fmt.Errorf("ha: pool %v-%v is not a range in %v", r.From, r.To, n.Prefix)
			}
		}
	}
	for i := range c.Nodes {
		if c.Shard != 0 {
			break // shard 0 does it for all
		}
		if err := c.checkNode(&c.Nodes[i]); err != nil {
			return err
		}
	}
	for i, f := range c.ForeignAgents {
		if !unicast(f.Address) {
			return fmt.Errorf("ha: foreign agent %v is not an IPv4 unicast address", f.Address)
		}
		for _, other := range c.ForeignAgents[:i] {
			if other.Address == f.Address {
				return fmt.Errorf("ha: foreign agent %v is there twice", f.Address)
			}
		}
		if err := checkKeys(f.Keys, f.Address.String()); err != nil {
			return err
		}
	}
	return nil
}

//rfc:5944#3.8.1-1
//rfc:5944#3.8.1-2
func (c *Config) checkNode(n *MobileNode) error {
	if n.NAI == "" && !n.HomeAddress.IsValid() {
		return fmt.Errorf("ha: a mobile node has neither home address nor NAI")
	}
	if len(n.Keys) == 0 {
		return fmt.Errorf("ha: mobile node %v has no security association", n)
	}
	if err := checkKeys(n.Keys, n.String()); err != nil {
		return err
	}
	open := !n.Keys[0].Authenticated()
	switch {
	case open && !n.Source.IsValid():
		return fmt.Errorf("ha: mobile node %v has algorithm none and no source prefix", n)
	case !open && n.Source.IsValid():
		return fmt.Errorf("ha: mobile node %v has a source prefix, which is for algorithm none", n)
	case !n.HomeAddress.IsValid():
		return nil
	}
	// "The home agent MUST be configured ... with the prefix size for the
	// home network" (RFC 5944 section 3.8.1).
	net, ok := c.network(n.HomeAddress)
	switch {
	case !ok:
		return fmt.Errorf("ha: home address %v lies in no home network", n.HomeAddress)
	case !net.assignable(n.HomeAddress) || c.own(n.HomeAddress):
		return fmt.Errorf("ha: home address %v cannot be a mobile node's", n.HomeAddress)
	}
	return nil
}

func checkKeys(keys []*assoc.Association, who string) error {
	for i, k := range keys {
		if !k.Authenticated() && len(keys) > 1 {
			return fmt.Errorf("ha: %s has algorithm none beside other keys", who)
		}
		for _, other := range keys[:i] {
			if other.SPI() == k.SPI() {
				return fmt.Errorf("ha: %s has SPI %d twice", who, k.SPI())
			}
		}
	}
	return nil
}

// network is the home network that a lies in.
func (c *Config) network(a netip.Addr) (*Network, bool) {
	for i := range c.Networks {
		if c.Networks[i].Prefix.Contains(a) {
			return &c.Networks[i], true
		}
	}
	return nil, false
}

// own says whether a is an address of this home agent.
func (c *Config) own(a netip.Addr) bool {
	return slices.Contains(c.Addresses, a) || (c.LocalAddress.IsValid() && a == c.LocalAddress)
}

// assignable says whether a can be a host's address in the network.
func (n *Network) assignable(a netip.Addr) bool {
	if n.Prefix.Bits() >= 31 {
		return n.Prefix.Contains(a)
	}
	return n.Prefix.Contains(a) && a != n.Prefix.Addr() && a != DirectedBroadcast(n.Prefix)
}

// DirectedBroadcast is the subnet-directed broadcast address of an IPv4 prefix.
func DirectedBroadcast(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(a)
}

var (
	limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	classE           = netip.PrefixFrom(netip.AddrFrom4([4]byte{240}), 4)
	thisNetwork      = netip.PrefixFrom(netip.AddrFrom4([4]byte{0}), 8)
)

// unicast says whether a can be the address of one IPv4 host.
func unicast(a netip.Addr) bool {
	return a.Is4() && !a.IsMulticast() && !a.IsLoopback() && !classE.Contains(a) && !thisNetwork.Contains(a)
}
