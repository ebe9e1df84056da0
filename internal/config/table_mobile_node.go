package config

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/wire/nat64"
)

var mobileNodeTable = append(append(append(Table[MobileNode]{
	Field("home-address", Address, func(m *MobileNode) *netip.Addr { return &m.HomeAddress }, Help{
		Example: `"10.10.0.5"`, Shown: true,
		Doc: "The address that stays. Left out, with nai, the home agent assigns one (RFC 2794).",
	}),
	Field("nai", NAI, func(m *MobileNode) *ident.NAI { return &m.NAI }, Help{
		Example: `"van7@fleet.example"`,
		Doc:     "The node's network access identifier.",
	}),
	Field("home-agent", OneOrList(HostKind), func(m *MobileNode) *[]Host { return &m.HomeAgents }, Help{
		Example: `"198.51.100.1"`, Shown: true,
		Doc: "Where to register: an address or a name, or a list. Left out, with home-network, it is discovered.",
	}),
	Field("assignment", Enum[Assignment](assignmentWords...), func(m *MobileNode) *Assignment { return &m.Assignment }, Help{
		Default: `"off"`,
		Doc: "Whether the network assigns the home agent (RFC 4433): home asks for one at home, any for the best anywhere. The node\n" +
			"asks those of home-agent first, goes where they send it, and stays until the session ends. With a foreign agent that\n" +
			"knows one, home-agent may be left out. All have the node's one key. It needs nai.",
	}),
	Field("home-network", Prefix, func(m *MobileNode) *netip.Prefix { return &m.HomeNetwork }, Help{
		Example: `"10.10.0.0/24"`,
		Doc: "The home network: to notice the return home, and to discover a home agent by\n" +
			"a request to its directed broadcast address (RFC 5944 section 3.6.1.2).",
	}),
	Field("lifetime", lifetimeKind, func(m *MobileNode) *time.Duration { return &m.Lifetime }, Help{
		Default: `"10m"`,
		Doc:     "The registration lifetime to ask for. The home agent may grant less.",
	}),
}, securityRows(func(m *MobileNode) *Security { return &m.Security }, nodeAway, 256, `"keys.d/home"`)...),
	Field("routes", routesKind, func(m *MobileNode) *Routes { return &m.Routes }, Help{
		Default: `"full"`,
		Doc:     "What goes through the tunnel: everything, or the listed prefixes.",
	}),
	Field("nat-traversal", natTraversalKind, func(m *MobileNode) *NATTraversal { return &m.NATTraversal }, Help{
		Default: `"auto"`,
		Doc:     "When to tunnel in UDP port 434 (RFC 3519): when a NAT is seen, always, or never.",
	}),
	Field("encapsulation", Word(parseEncapsulation, "auto", "ipip", "gre", "minimal", "udp", "wireguard"), func(m *MobileNode) *Encapsulation { return &m.Encapsulation }, Help{
		Default: `"auto"`,
		Doc: "The encapsulation to ask for. auto asks for IP-in-IP, and for UDP when a NAT is seen. wireguard encrypts, and only that\n" +
			"encrypts: nothing then leaves but through an encrypted tunnel, no foreign agent is used, and a home agent that does not\n" +
			"know how is not registered with. careof join writes it where the home agent knows how.",
	}),
	Field("revocation", switchKind, func(m *MobileNode) *Switch { return &m.Revocation }, Help{
		Default: `"on"`,
		Doc:     "Whether the home agent is asked to tell when it ends a direct registration (RFC 3543).",
	}),
	Field("notifications", switchKind, func(m *MobileNode) *Switch { return &m.Notifications }, notificationsHelp),
	Field("notification-wait", notificationWait, func(m *MobileNode) *time.Duration { return &m.NotificationWait }, notificationWaitHelp),
	Field("notification-longest-wait", notificationWait, func(m *MobileNode) *time.Duration { return &m.NotificationLongest }, notificationLongestHelp),
	Field("path-validation", switchKind, func(m *MobileNode) *Switch { return &m.PathValidation }, Help{
		Default: `"off"`,
		Doc: "Whether the home agent is told that this node answers challenges: it then sends much to a new outer address only when\n" +
			"that has answered, and tells which address it sees. Home agents that know nothing of this skip it.",
	}),
	Field("redundant", OneOrList(classKind), func(m *MobileNode) *[]forward.Class { return &m.Redundant }, Help{
		Example: `["dscp ef", "udp 5060"]`,
		Doc: "Packets that go over two uplinks at a time, both ways, so that what one of them loses is not lost: by DSCP, by port of\n" +
			"UDP or TCP, or \"net 203.0.113.0/24\" for what goes there or comes from there. The home agent must be one of careof.",
	}),
	Field("profile", Enum[Profile](profileWords...), func(m *MobileNode) *Profile { return &m.Profile }, Help{
		Default: `"default"`,
		Doc: "How eagerly paths are probed while there is more than one uplink: default notices within a second that nothing comes\n" +
			"back any more, fast within 250 ms at the price of 25 probes a second, battery within 15 s of use; off probes nothing.\n" +
			"With fast and a careof home agent a second uplink is registered, too, unless it is metered: when an answer is overdue,\n" +
			"all packets go over both, for ten seconds and longer, so that less is lost than it takes to be sure.",
	}),
	Field("path-mtu-discovery", switchKind, func(m *MobileNode) *Switch { return &m.PathMTUDiscovery }, Help{
		Default: `"on"`,
		Doc: "Whether the node finds out how long packets the path to its home agent carries (RFC 8899), since the ICMP messages\n" +
			"that would tell are often dropped: one packet of the full length after each move, and one a second while packets go\n" +
			"(every ten over a metered uplink, every 15 with the profile battery).",
	}),
	Field("portal-check", portalURL, func(m *MobileNode) *string { return &m.PortalCheck }, Help{
		Example: `"http://connectivity.example/empty"`,
		Doc: "A page that answers 204, to find out whether a network wants its guests to sign in first (a captive portal). It is asked\n" +
			"for over each uplink while the node is not registered. Left out, nobody is asked.",
	}),
	Field("fail-back", Duration(time.Second, time.Hour), func(m *MobileNode) *time.Duration { return &m.FailBack }, Help{
		Default: `"30s"`,
		Doc: "How long an uplink over which nothing came back must answer again before it is preferred again. It doubles with each\n" +
			"failure within ten minutes of the one before, up to eight times.",
	}),
	Field("home-agent-timeout", silence, func(m *MobileNode) *time.Duration { return &m.HomeAgentTimeout }, Help{
		Example: `"20s"`,
		Doc: "How long a home agent may be silent until the node registers with another one of home-agent that answers over the same\n" +
			"path; off waits for the next renewal. By default ten seconds, with the profile fast five, with battery and over metered\n" +
			"uplinks a minute, with off for ever. Half of that after the last packet the node begins to ask.",
	}),
	Field("reverse-tunnel", Enum[Asking](askingWords...), func(m *MobileNode) *Asking { return &m.ReverseTunnel }, Help{
		Default: `"required"`,
		Doc: "Whether packets from the home address go through the tunnel too (RFC 3024): required, preferred (go without when it is\n" +
			"refused), or off: they then leave directly, which networks with ingress filters do not let through.",
	}),
	Field("delivery", Enum[Delivery](deliveryWords...), func(m *MobileNode) *Delivery { return &m.Delivery }, Help{
		Default: `"direct"`,
		Doc: "How packets for the reverse tunnel reach a foreign agent (RFC 3024 section 5): direct, encapsulating (broadcasts and\n" +
			"multicasts too), or mixed (only those, where the agent knows how; else as encapsulating).",
	}),
	Field("direct", List(Prefix), func(m *MobileNode) *[]netip.Prefix { return &m.Direct }, Help{
		Example: `["203.0.113.0/24"]`,
		Doc: "Destinations that are reached over the visited link and not through the tunnel (RFC 3024 section 5.4).\n" +
			"Through a foreign agent this needs the encapsulating style.",
	}),
	Field("broadcasts", switchKind, func(m *MobileNode) *Switch { return &m.Broadcasts }, Help{
		Default: `"off"`,
		Doc:     "Whether to ask for the home network's broadcasts (B bit).",
	}),
	Field("multicast", Enum[MulticastPath](multicastWords...), func(m *MobileNode) *MulticastPath { return &m.Multicast }, Help{
		Default: `"home"`,
		Doc: "Where multicast goes when a program names no interface: home through the tunnel, or over the visited link with the\n" +
			"care-of address. A program that names the interface has its way.",
	}),
	Field("foreign-agents", foreignAgentsKind, func(m *MobileNode) *ForeignAgents { return &m.ForeignAgents }, Help{
		Default: `"any"`,
		Doc:     "The foreign agents to register through, by address or care-of address, where a listed uplink has no address of its own.",
	}),
	tables("foreign-agent", append(Table[ForeignAgentPeer]{
		Field("address", Address, func(p *ForeignAgentPeer) *netip.Addr { return &p.Address }, Help{
			Required: true, Example: `"203.0.113.1"`,
			Doc: "The foreign agent's address, or a care-of address of it.",
		}),
	}, securityRows(func(p *ForeignAgentPeer) *Security { return &p.Security }, agents, 301, `"keys.d/visitor"`)...),
		func(m *MobileNode) *[]ForeignAgentPeer { return &m.ForeignAgentPeers },
		func(p *ForeignAgentPeer) string { return p.Address.String() }, Help{
			Doc: "A foreign agent that shares a key with this node (RFC 5944 section 3.5.3). It is not allowed by being listed here.",
		}),
	Field("home-agent-port", Int[uint16](1, math.MaxUint16), func(m *MobileNode) *uint16 { return &m.Port }, Help{
		Default: "434",
		Doc: "The home agents' UDP port (home-agent.port there), for networks that block 434. All of the tunnel goes that way with\n" +
			"encapsulation = \"udp\".",
	}),
	Field("service", String, func(m *MobileNode) *string { return &m.Service }, Help{
		Example: `"ims"`,
		Doc:     "The service that this node registers for (RFC 5446). Left out, it is the home agent's default.",
	}),
	Field("dns", Enum[DNS](dnsWords...), func(m *MobileNode) *DNS { return &m.DNS }, Help{
		Default: `"off"`,
		Doc: "Whether the node asks its home agent for host configuration (RFC 4332), and who is given the home network's name\n" +
			"servers while it is registered: systemd-resolved, the file resolv-conf, or (auto) the former where it runs. What was\n" +
			"there before comes back when the node is not registered, at the end, and at the next start after a crash.",
	}),
	Field("home-dhcp", Enum[HomeDHCP](homeDHCPWords...), func(m *MobileNode) *HomeDHCP { return &m.HomeDHCP }, Help{
		Default: `"off"`,
		Doc: "With dns: how the DHCP server that the home agent names is used through the tunnel. on: it is asked (DHCPINFORM) after\n" +
			"each registration from another place, and every half hour. lease: the node has a lease for its home address, through the\n" +
			"home agent's relay (home-agent.dhcp), renews it at each place and in time, and has the home network's classless routes\n" +
			"lead through the tunnel. What the server says comes before what the home agent says.",
	}),
	Field("resolv-conf", String, func(m *MobileNode) *string { return &m.ResolvConf }, Help{
		Default: `"/etc/resolv.conf"`,
		Doc:     "The file that programs have their name servers from. It is written in place.",
	}),
	optional("aaa", append(aaaSecretRows(func(s *AAASecret) *AAASecret { return s }, `"keys.d/aaa"`),
		Field("keys", Bool, func(s *AAASecret) *bool { return &s.Keys }, Help{
			Example: "true",
			Doc: "Ask AAA for keys (RFC 3957): with the home agent, where mobile-node.spi and its key are left out, and with foreign\n" +
				"agents. Needs mobile-node.nai.",
		})), func(m *MobileNode) **AAASecret { return &m.AAA }, Help{
		Doc: "What this node shares with its AAA server, to answer foreign agents' challenges with, or to prove itself to its home agent.",
	}),
	tables("uplink", Table[Uplink]{
		Field("interface", Interface, func(u *Uplink) *string { return &u.Interface }, Help{
			Required: true, Example: `"wlan0"`,
			Doc: "The interface.",
		}),
		Field("address", Enum[UplinkAddress](uplinkAddressWords...), func(u *Uplink) *UplinkAddress { return &u.Address }, Help{
			Default: `"host"`,
			Doc: "Who gives the interface its address and default route. host: whoever configures this host's links (NetworkManager,\n" +
				"networkd, ifupdown). dhcp: the mobile node itself, by DHCPv4. auto: likewise, but only when the interface has been up\n" +
				"for 10 s without an address and no network manager says that it is his.",
		}),
		Field("priority", Int[int](0, 1000), func(u *Uplink) *int { return &u.Priority }, Help{
			Default: "100",
			Doc:     "The uplink of the highest priority that works is used.",
		}),
		Field("cost", Int[int](0, 1000), func(u *Uplink) *int { return &u.Cost }, Help{
			Default: "0",
			Doc: "Of uplinks of equal priority the one of the lowest cost is used; of equal cost the one in use, until another has been\n" +
				"better by a third and 20 ms for fail-back. A per cent of loss counts for 10 ms.",
		}),
		Field("metered", Bool, func(u *Uplink) *bool { return &u.Metered }, Help{
			Default: "false",
			Doc:     "Whether every octet is paid for: the uplink is probed less, and hardly while no packets go.",
		}),
		Field("max-loss", Int[int](0, 99), func(u *Uplink) *int { return &u.MaxLoss }, Help{
			Default: "0",
			Doc:     "The loss in per cent from which on another uplink that works is preferred, whatever its priority; 0 for never.",
		}),
		Field("max-round-trip", Duration(0, time.Minute), func(u *Uplink) *time.Duration { return &u.MaxRoundTrip }, Help{
			Default: `"0s"`,
			Doc:     "Likewise the round trip to the home agent; 0s for never.",
		}),
		Field("nat64-prefix", translatorPrefix, func(u *Uplink) *TranslatorPrefix { return &u.NAT64 }, Help{
			Default: `"auto"`, Example: `"64:ff9b::/96"`,
			Doc: "The prefix of the network's translator (NAT64), over which the uplink is used while it has IPv6 and no IPv4 address.\n" +
				"auto: what routers advertise (RFC 8781) or name servers tell (RFC 7050); off: such an uplink is not used.",
		}),
	}, func(m *MobileNode) *[]Uplink { return &m.Uplinks }, func(u *Uplink) string { return u.Interface }, Help{
		Doc: "A link to the Internet. There may be several.",
	}),
	Field("mobile-networks", Enum[NetworkMode](networkModeWords...), func(m *MobileNode) *NetworkMode { return &m.NetworkMode }, Help{
		Default: `"explicit"`,
		Doc: "Whether a mobile router names its networks in every request, or leaves it to the home agent to know them (RFC 5177\n" +
			"section 5); the latter is for a routing protocol through the tunnel.",
	}),
	tables("mobile-network", Table[MobileNetwork]{
		Field("interface", Interface, func(n *MobileNetwork) *string { return &n.Interface }, Help{
			Required: true, Example: `"lan0"`,
			Doc: "The interface of its hosts. It is no uplink.",
		}),
		Field("prefix", Prefix, func(n *MobileNetwork) *netip.Prefix { return &n.Prefix }, Help{
			Example: `"10.20.7.0/24"`, Shown: true,
			Doc: "The network's prefix. Left out, the home agent assigns one (RFC 6626), and the interface gets its first address.",
		}),
		Field("length", Int[int](9, 30), func(n *MobileNetwork) *int { return &n.Length }, Help{
			Example: "24",
			Doc:     "The length to ask for when prefix is left out; a hint to the home agent.",
		}),
	}, func(m *MobileNode) *[]MobileNetwork { return &m.Networks }, func(n *MobileNetwork) string { return n.Interface }, Help{
		Doc: "A network behind this node, which is a mobile router then (RFC 5177). There may be several.",
	}),
), extensionRows(func(m *MobileNode) *[]OpaqueExtension { return &m.VendorExtensions },
	func(m *MobileNode) *[]OpaqueExtension { return &m.Experiments }, PartyHomeAgent, PartyForeignAgent)...)

// translatorPrefix reads the prefix of a NAT64.
var translatorPrefix = Kind[TranslatorPrefix]{
	Name: "an IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits, \"auto\", or \"off\"",
	Parse: func(v any) (TranslatorPrefix, error) {
		const example = `"64:ff9b::/96", or leave it out`
		switch s, ok := v.(string); {
		case !ok:
			return TranslatorPrefix{}, wrongType(v, "an IPv6 prefix", example)
		case s == "auto":
			return TranslatorPrefix{}, nil
		case s == "off":
			return TranslatorPrefix{Off: true}, nil
		default:
			p, err := netip.ParsePrefix(s)
			if err != nil {
				return TranslatorPrefix{}, mistakef("for example "+example, "%q is no IPv6 prefix", s)
			}
			out, err := nat64.PrefixOf(p)
			if err != nil {
				return TranslatorPrefix{}, mistakef("for example "+example, "%s", strings.TrimPrefix(err.Error(), "nat64: "))
			}
			return TranslatorPrefix{Prefix: out}, nil
		}
	},
	Format: func(p TranslatorPrefix) string {
		switch {
		case p.Off:
			return `"off"`
		case p.Prefix.IsValid():
			return strconv.Quote(p.Prefix.String())
		}
		return `"auto"`
	},
}

// The least time that is longer than a home agent's restart.
const leastSilence = 4 * time.Second

// silence reads how long a home agent may be silent.
var silence = Kind[time.Duration]{
	Name: "a duration of at least 4s, or \"off\"",
	Parse: func(v any) (time.Duration, error) {
		if v == "off" {
			return -1, nil
		}
		return Duration(leastSilence, 24*time.Hour).Parse(v)
	},
	Format: func(d time.Duration) string {
		if d < 0 {
			return `"off"`
		}
		return Duration(leastSilence, 24*time.Hour).Format(d)
	},
}
