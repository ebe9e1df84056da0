package fa

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/proto/mip4/advertise"
	"careof/wire/adv4"
	"careof/wire/encap"
)

// Defaults of a [Config].
const (
	DefaultPort        = 434
	DefaultMaxLifetime = 10 * time.Minute
	// DefaultPendingTime: "The foreign agent MAY delete any pending
	// Registration Request after the request has been pending for more than 7
	// seconds" (RFC 5944 section 3.7.1).
	DefaultPendingTime = 7 * time.Second
	// DefaultPendingPerNode: "a maximum number of pending registrations that
	// it is willing to maintain (typically 5)" (section 3.7.1).
	DefaultPendingPerNode = 5
	DefaultMaxPending     = 16384
	DefaultMaxVisitors    = 4096
	DefaultRecent         = 64
)

// A Config configures a foreign agent. Zero values mean the defaults named.
type Config struct {
	// Links are the interfaces that visitors attach to.
	Links []string
	// CareOfAddresses are the addresses that are lent to visitors, the
	// preferred one first: unicast addresses of this host that home agents
	// can reach. "Each foreign agent MUST be configured with a care-of
	// address" (RFC 5944 section 3.7.1).
	CareOfAddresses []netip.Addr
	// Port is the UDP port of registration: 434.
	Port uint16

	// Interval is the longest time between two advertisements: 10 seconds.
	Interval time.Duration
	// Advertise are links to advertise on other than as Links say: how, and
	// the home links of a home agent in the same process. A link of Links
	// that is missing gets an ordinary foreign agent's advertisements.
	Advertise []advertise.Link

	// MaxLifetime is the longest lifetime that is relayed: 10 minutes.
	MaxLifetime time.Duration
	// ReverseTunnel says what is done with the T bit (RFC 3024).
	ReverseTunnel forward.ReverseTunnel
	// DirectDeliveryOnly refuses the encapsulating delivery style of RFC 3024
	// section 5.2 with code 79.
	DirectDeliveryOnly bool
	// Encapsulations are the tunnels that the data plane can receive: all
	// when empty. IP-in-IP is always among them (RFC 5944 section 4.2.2).
	Encapsulations []encap.Kind

	HomeAgents  []HomeAgent  // with which an association is shared
	MobileNodes []MobileNode // with which an association is shared
	// OwnHomeAgents are the addresses of a home agent in the same process: a
	// request for one of them is not sent to a stranger of the same name.
	OwnHomeAgents []netip.Addr

	// AllowHomeAgents are the home agents to which requests are relayed: all
	// when nil. Others are "administratively prohibited", code 65.
	AllowHomeAgents []netip.Prefix

	// StrictReservedBits denies requests with the r or x bit set (code 70)
	// instead of ignoring the bits. RFC 5944 says both.
	StrictReservedBits bool

	MaxVisitors    int           // 4096: the next one is refused with code 66
	MaxPending     int           // 16384: the next one takes the place of the oldest stranger's
	PendingPerNode int           // 5: the next one is refused with code 66
	PendingTime    time.Duration // 7 seconds
	Recent         int           // registrations remembered to be shown: 64
}

// A HomeAgent is one that shares a security association with this agent.
type HomeAgent struct {
	Address netip.Addr
	Keys    []*assoc.Association // the oldest first; a request is signed with the last
}

// A MobileNode is a visitor that shares a security association with this
// agent. Its requests must carry the Mobile-Foreign authentication.
type MobileNode struct {
	ident.Node
	Keys []*assoc.Association // the oldest first
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
	if c.Interval == 0 {
		c.Interval = advertise.DefaultInterval
	}
	if c.MaxLifetime == 0 {
		c.MaxLifetime = DefaultMaxLifetime
	}
	if c.PendingTime == 0 {
		c.PendingTime = DefaultPendingTime
	}
	if len(c.Encapsulations) == 0 {
		c.Encapsulations = []encap.Kind{encap.IPIP, encap.Minimal, encap.GRE}
	}
	if !slices.Contains(c.Encapsulations, encap.IPIP) {
		c.Encapsulations = append([]encap.Kind{encap.IPIP}, c.Encapsulations...)
	}
	def(&c.MaxVisitors, DefaultMaxVisitors)
	def(&c.MaxPending, DefaultMaxPending)
	def(&c.PendingPerNode, DefaultPendingPerNode)
	def(&c.Recent, DefaultRecent)
	return c
}

// check finds the first mistake.
//
//rfc:5944#3.7.1-1
func (c *Config) check() error {
	switch {
	case len(c.Links) == 0:
		return errors.New("fa: no link for visitors")
	case len(c.CareOfAddresses) == 0:
		return errors.New("fa: no care-of address")
	case c.MaxLifetime < time.Second:
		return fmt.Errorf("fa: max-lifetime %v is less than a second", c.MaxLifetime)
	case c.PendingTime < time.Second || c.MaxPending < 1 || c.PendingPerNode < 1 || c.MaxVisitors < 1:
		return errors.New("fa: a limit is too small")
	}
	for _, a := range c.CareOfAddresses {
		if !unicast(a) {
			return fmt.Errorf("fa: care-of address %v is not an IPv4 unicast address", a)
		}
	}
	for i, h := range c.HomeAgents {
		if !unicast(h.Address) {
			return fmt.Errorf("fa: home agent %v is not an IPv4 unicast address", h.Address)
		}
		for _, other := range c.HomeAgents[:i] {
			if other.Address == h.Address {
				return fmt.Errorf("fa: home agent %v is there twice", h.Address)
			}
		}
		if err := checkKeys(h.Keys, h.Address.String()); err != nil {
			return err
		}
	}
	for i := range c.MobileNodes {
		n := &c.MobileNodes[i]
		if n.NAI == "" && !n.HomeAddress.IsValid() {
			return errors.New("fa: a mobile node has neither home address nor NAI")
		}
		if err := checkKeys(n.Keys, n.String()); err != nil {
			return err
		}
	}
	return nil
}

func checkKeys(keys []*assoc.Association, who string) error {
	if len(keys) == 0 {
		return fmt.Errorf("fa: %s has no security association", who)
	}
	for i, k := range keys {
		if !k.Authenticated() {
			return fmt.Errorf("fa: %s has an association without authentication; leave the peer out instead", who)
		}
		for _, other := range keys[:i] {
			if other.SPI() == k.SPI() {
				return fmt.Errorf("fa: %s has SPI %d twice", who, k.SPI())
			}
		}
	}
	return nil
}

// advertisement is how the agent advertises.
//
//rfc:6245#4.1-4
func (c *Config) advertisement() advertise.Config {
	out := advertise.Config{
		Links: slices.Clone(c.Advertise), Interval: c.Interval,
		RegistrationLifetime: c.MaxLifetime, CareOfAddresses: c.CareOfAddresses,
	}
	for _, l := range c.Links {
		if !slices.ContainsFunc(out.Links, func(o advertise.Link) bool { return o.Name == l }) {
			out.Links = append(out.Links, advertise.Link{Name: l, Foreign: true})
		}
	}
	// "'M' and 'G' bits ... implements receiving tunneled datagrams" (RFC 5944
	// section 2.1.1).
	if slices.Contains(c.Encapsulations, encap.Minimal) {
		out.Flags |= adv4.FlagM
	}
	if slices.Contains(c.Encapsulations, encap.GRE) {
		out.Flags |= adv4.FlagG
	}
	if c.ReverseTunnel != forward.ReverseTunnelRefused {
		out.Flags |= adv4.FlagT
	}
	return out
}

var (
	unspecified      = netip.AddrFrom4([4]byte{})
	limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	allAgents        = netip.AddrFrom4([4]byte{224, 0, 0, 11})
	classE           = netip.PrefixFrom(netip.AddrFrom4([4]byte{240}), 4)
	thisNetwork      = netip.PrefixFrom(netip.AddrFrom4([4]byte{0}), 8)
)

// unicast says whether a can be the address of one IPv4 host.
func unicast(a netip.Addr) bool {
	return a.Is4() && !a.IsMulticast() && !a.IsLoopback() && !classE.Contains(a) && !thisNetwork.Contains(a)
}

// none says whether an address field is empty.
func none(a netip.Addr) bool { return !a.IsValid() || a.IsUnspecified() }
