package control

import (
	"net/netip"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
)

// Status is the answer to GET /v1/status.
type Status struct {
	Version        string          `json:"version"`
	Started        time.Time       `json:"started"`
	ConfigFile     string          `json:"config_file"`
	StateDirectory string          `json:"state_directory"`
	Plane          string          `json:"plane"`
	Device         string          `json:"device"`
	MTU            int             `json:"mtu"` // of the device
	Roles          []RoleStatus    `json:"roles"`
	Warnings       []string        `json:"warnings,omitempty"`
	IPv6           string          `json:"ipv6,omitempty"` // what happens to IPv6 beside a full tunnel
	Forwarded      ForwardedStatus `json:"forwarded"`
}

// RoleStatus is one role of a daemon in one line.
type RoleStatus struct {
	Role    string `json:"role"`
	State   string `json:"state"` // "serving"; of a mobile node: registered, registering, home, returning, deregistered, idle
	Summary string `json:"summary"`
	Dropped uint64 `json:"dropped_messages"` // because the machine was behind
}

// ForwardedStatus is the sum over all entries and what belongs to none.
type ForwardedStatus struct {
	forward.Counters
	Entries   int    `json:"entries"`
	Strangers uint64 `json:"stranger_packets"` // tunnel packets that no live binding allows
}

// Binding is one mobility binding at a home agent, as it is used now.
type Binding struct {
	HomeAddress    netip.Addr       `json:"home_address"`
	NAI            string           `json:"nai,omitempty"`
	CareOfAddress  netip.Addr       `json:"care_of_address"`
	Endpoint       Endpoint         `json:"endpoint"` // where the tunnel goes
	Encapsulation  string           `json:"encapsulation"`
	ReverseTunnel  bool             `json:"reverse_tunnel"`
	NAT            bool             `json:"nat"`
	Validated      time.Time        `json:"validated,omitzero"`    // when the endpoint answered a challenge; none where it was not asked
	Redundant      []string         `json:"redundant,omitempty"`   // the packets that go to this binding and another of the node
	Standby        bool             `json:"standby,omitempty"`     // it gets these only, or nothing but what comes in
	Unvalidated    bool             `json:"unvalidated,omitempty"` // it was asked, and has not: little is sent there
	State          string           `json:"state"`                 // "active", "half-bound"
	Granted        Seconds          `json:"granted"`
	Remaining      Seconds          `json:"remaining"`
	Since          time.Time        `json:"since"`
	Identification string           `json:"identification"`
	Encrypted      bool             `json:"encrypted"`
	Networks       []netip.Prefix   `json:"networks,omitempty"` // behind a mobile router
	Counters       forward.Counters `json:"counters"`           // of the home address, all its bindings together
}

// HostConfiguration is what a mobile node was told about its home network (RFC 4332).
type HostConfiguration struct {
	HomeAgent   netip.Addr   `json:"home_agent"` // that told it
	Prefix      netip.Prefix `json:"prefix,omitzero"`
	Router      netip.Addr   `json:"router,omitzero"`
	NameServers []string     `json:"name_servers,omitempty"`
	Domain      string       `json:"domain,omitempty"`
	DHCPServer  netip.Addr   `json:"dhcp_server,omitzero"`
	URL         string       `json:"url,omitempty"`
	Informed    time.Time    `json:"informed,omitzero"`  // when the DHCP server last answered; what it said is above
	Lease       *HomeLease   `json:"lease,omitempty"`    // of the home address; none unless mobile-node.home-dhcp = "lease"
	Resolver    string       `json:"resolver,omitempty"` // where the host has the name servers now; empty: nowhere
}

// HomeLease is how a node's lease for its home address stands.
type HomeLease struct {
	State  string         `json:"state"`           // idle, selecting, requesting, bound, renewing, rebinding, refused
	Server netip.Addr     `json:"server,omitzero"` // that gave it; none without a lease
	Renew  time.Time      `json:"renew,omitzero"`  // when it is renewed
	Until  time.Time      `json:"until,omitzero"`
	Routes []netip.Prefix `json:"routes,omitempty"` // that it leads through the tunnel
}

// MobileNetwork is one mobile network: at a home agent one that is bound, at a
// mobile router one of its own.
type MobileNetwork struct {
	Role          string           `json:"role"`
	Prefix        netip.Prefix     `json:"prefix,omitzero"`          // none while the home agent has assigned none
	Interface     string           `json:"interface,omitempty"`      // mobile router: of its hosts
	HomeAddress   netip.Addr       `json:"home_address,omitzero"`    // the router's
	NAI           string           `json:"nai,omitempty"`            // the router's
	CareOfAddress netip.Addr       `json:"care_of_address,omitzero"` // the router's
	State         string           `json:"state"`                    // "served", or why it is not
	Counters      forward.Counters `json:"counters"`
}

// Registration is one registration: at a mobile node what it asked for and
// holds, at a home agent one that was answered lately.
type Registration struct {
	Role          string         `json:"role"`
	HomeAddress   netip.Addr     `json:"home_address,omitzero"`
	NAI           string         `json:"nai,omitempty"`
	HomeAgent     netip.Addr     `json:"home_agent,omitzero"`
	Uplink        string         `json:"uplink,omitempty"`
	CareOfAddress netip.Addr     `json:"care_of_address,omitzero"`
	ForeignAgent  netip.Addr     `json:"foreign_agent,omitzero"` // mobile node: it goes through this one
	Source        netip.AddrPort `json:"source,omitzero"`        // home agent: of the request
	Outer         netip.AddrPort `json:"outer,omitzero"`         // mobile node: the outer address that the home agent sees
	State         string         `json:"state"`                  // mobile node: registered, requesting …; home agent: the code in words
	Active        bool           `json:"active"`                 // mobile node: packets leave here
	Encapsulation string         `json:"encapsulation,omitempty"`
	Encrypted     bool           `json:"encrypted,omitempty"` // mobile node: nobody on the way can read what goes through the tunnel
	Granted       Seconds        `json:"granted"`
	Remaining     Seconds        `json:"remaining"`
	RoundTrip     Seconds        `json:"round_trip"`
	Time          time.Time      `json:"time,omitzero"` // when it was answered
	SPI           uint32         `json:"spi"`
	Code          uint8          `json:"code"` // mobile node: with what it was refused last, while it is
	Why           string         `json:"why,omitempty"`
	Message       string         `json:"message,omitempty"` // mobile node: what an agent says to the user (RFC 4917)
}

// Visitor is one mobile node at a foreign agent: an accepted registration, or
// a request that waits for its home agent.
type Visitor struct {
	HomeAddress      netip.Addr       `json:"home_address,omitzero"`
	NAI              string           `json:"nai,omitempty"`
	HomeAgent        netip.Addr       `json:"home_agent"`
	CareOfAddress    netip.Addr       `json:"care_of_address"`
	Source           netip.AddrPort   `json:"source"` // of its last request
	Flags            string           `json:"flags"`  // letters of RFC 5944 section 3.3
	Interface        string           `json:"interface"`
	LinkLayerAddress string           `json:"link_layer_address"`
	State            string           `json:"state"` // "accepted", "pending"
	Encapsulation    string           `json:"encapsulation,omitempty"`
	GREKey           string           `json:"gre_key,omitempty"` // in and out, hexadecimal; one when they are equal
	Delivery         string           `json:"delivery_style"`    // "none": no reverse tunnel; "direct", "encapsulating"
	Requested        Seconds          `json:"requested"`
	Granted          Seconds          `json:"granted"`
	Remaining        Seconds          `json:"remaining"`
	Since            time.Time        `json:"since"`
	Identification   string           `json:"identification"`
	Authenticated    bool             `json:"authenticated"` // to the foreign agent, by a key that they share
	Counters         forward.Counters `json:"counters"`
}

// Advertisement is what an agent on this host says of itself on one link.
type Advertisement struct {
	Interface       string       `json:"interface"`
	Active          bool         `json:"active"` // the link is up and has an address
	Flags           string       `json:"flags"`  // letters of RFC 5944 section 2.1.1
	CareOfAddresses []netip.Addr `json:"care_of_addresses"`
	Sequence        uint16       `json:"sequence"` // of the next one
	Interval        Seconds      `json:"interval"`
	MaxLifetime     Seconds      `json:"max_lifetime"` // of registrations
}

// Agent is a mobility agent that a mobile node hears.
type Agent struct {
	Interface       string         `json:"interface"`
	Address         netip.Addr     `json:"address"`
	Flags           string         `json:"flags"`             // letters of RFC 5944 section 2.1.1
	CareOfAddresses []netip.Addr   `json:"care_of_addresses"` // those that may be used
	Prefixes        []netip.Prefix `json:"prefixes"`
	MaxLifetime     Seconds        `json:"max_lifetime"` // of registrations
	Heard           time.Time      `json:"heard"`
	Expires         time.Time      `json:"expires"`
	Shunned         time.Time      `json:"shunned,omitzero"` // it denied service; until then others are preferred
	InUse           bool           `json:"in_use"`
}

// Uplink is one interface that a mobile node may use, and why it does or not.
type Uplink struct {
	Interface     string       `json:"interface"`
	Priority      int          `json:"priority"`
	Usable        bool         `json:"usable"`
	Active        bool         `json:"active"`
	Home          bool         `json:"home"` // it is attached to the home network
	CareOfAddress netip.Addr   `json:"care_of_address,omitzero"`
	Gateways      []netip.Addr `json:"gateways"`
	Lease         *Lease       `json:"lease,omitempty"` // of DHCP; absent when others configure the interface
	NAT64         string       `json:"nat64,omitempty"` // how an interface with IPv6 alone is used; absent for others
	Cost          int          `json:"cost"`
	Metered       bool         `json:"metered"`
	State         string       `json:"state"`             // in-use, standby, held, dead, unusable
	Why           string       `json:"why"`               // it is so
	RoundTrip     Seconds      `json:"round_trip"`        // of probes; 0 while unknown
	Probes        int          `json:"probes"`            // the last ones, that loss is of
	Loss          float64      `json:"loss"`              // the part of them that was not answered, 0 to 1
	Answered      time.Time    `json:"answered,omitzero"` // when a probe last was
	Measured      time.Time    `json:"measured,omitzero"` // when that loss was known last
	Probed        bool         `json:"probed"`            // it goes on being measured; a single uplink is not
	Keepalive     *Keepalive   `json:"keepalive,omitempty"`
	Doubts        int          `json:"doubts"`   // how often it was in use and in doubt, so that packets went over another one as well (profile fast)
	InDoubt       Seconds      `json:"in_doubt"` // for how long in all
}

// Keepalive is how often the NAT of an uplink's network is reminded of the tunnel;
// absent where there is none.
type Keepalive struct {
	Interval Seconds `json:"interval"`           // in use, or what was learnt of this network and will be
	Assigned Seconds `json:"assigned,omitempty"` // what the home agent says; absent while not registered over it
	Learnt   bool    `json:"learnt"`             // the interval is one that this network's NAT allows
}

// Lease is how the DHCP client of an uplink stands.
type Lease struct {
	State   string       `json:"state"` // as RFC 2131 names it
	Address netip.Prefix `json:"address,omitzero"`
	Server  netip.Addr   `json:"server,omitzero"`
	Until   time.Time    `json:"until,omitzero"`
	Why     string       `json:"why,omitempty"` // what was wrong with the last lease that was offered
}

// Association is one security association, without its key.
type Association struct {
	Role        string `json:"role"`
	Peer        string `json:"peer"`
	SPI         uint32 `json:"spi"`
	Algorithm   string `json:"algorithm"`
	Replay      string `json:"replay"`
	Fingerprint string `json:"fingerprint"`
	Insecure    bool   `json:"insecure"`
}

// Counter is one count since the daemon's start.
type Counter struct {
	Name    string `json:"name"`
	Value   uint64 `json:"value"`
	Meaning string `json:"meaning,omitempty"`
}

// Endpoint is an end of a tunnel: an address, and a port where the tunnel has
// ports.
type Endpoint netip.AddrPort

// Addr is the endpoint's address.
func (e Endpoint) Addr() netip.Addr { return netip.AddrPort(e).Addr() }

// Port is the endpoint's port, 0 where its tunnel has none.
func (e Endpoint) Port() uint16 { return netip.AddrPort(e).Port() }

func (e Endpoint) String() string {
	if e.Port() == 0 {
		return e.Addr().String()
	}
	return netip.AddrPort(e).String()
}

// MarshalText implements encoding.TextMarshaler.
func (e Endpoint) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (e *Endpoint) UnmarshalText(b []byte) error {
	if a, err := netip.ParseAddr(string(b)); err == nil {
		*e = Endpoint(netip.AddrPortFrom(a, 0))
		return nil
	}
	a, err := netip.ParseAddrPort(string(b))
	*e = Endpoint(a)
	return err
}

// Entry is one forwarding entry of the data plane.
type Entry struct {
	Key      string           `json:"key"`
	Inner    netip.Prefix     `json:"inner"`
	Tunnels  []Tunnel         `json:"tunnels"`
	Deliver  *NextHop         `json:"deliver,omitempty"` // of plain packets: a visitor, or the foreign agent visited
	Counters forward.Counters `json:"counters"`
}

// NextHop is a neighbour that packets are handed to without ARP.
type NextHop struct {
	Interface        string     `json:"interface"`
	LinkLayerAddress string     `json:"link_layer_address"`
	Address          netip.Addr `json:"address,omitzero"`
}

// Tunnel is one tunnel of an entry.
type Tunnel struct {
	Local         Endpoint `json:"local"`
	Peer          Endpoint `json:"peer"`
	Encapsulation string   `json:"encapsulation"`
	Mode          string   `json:"mode"`
	HalfBound     bool     `json:"half_bound,omitempty"`
	MTU           int      `json:"mtu,omitempty"`
}

// Stage describes one stage of a role's processing and who takes part in it.
type Stage = engine.StageInfo

// Setting is one value of the configuration in force.
type Setting struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}
