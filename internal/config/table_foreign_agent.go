package config

import (
	"math"
	"net/netip"
	"time"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

var foreignAgentTable = append(Table[ForeignAgent]{
	Field("interfaces", OneOrList(Interface), func(f *ForeignAgent) *[]string { return &f.Interfaces }, Help{
		Required: true, Example: `["eth1"]`,
		Doc: "The links that visitors attach to.",
	}),
	Field("care-of-address", OneOrList(Address), func(f *ForeignAgent) *[]netip.Addr { return &f.CareOfAddresses }, Help{
		Required: true, Example: `"203.0.113.1"`,
		Doc: "The end of the tunnels: an address of this machine that home agents can reach. Or a list, the preferred one first.",
	}),
	Field("port", Int[uint16](1, math.MaxUint16), func(f *ForeignAgent) *uint16 { return &f.Port }, Help{
		Default: "434",
		Doc:     "The UDP port. Only a laboratory needs another one.",
	}),
	Field("advertise", Enum[Advertise](advertiseWords...), func(f *ForeignAgent) *Advertise { return &f.Advertise }, Help{
		Default: `"multicast"`,
		Doc:     "How the agent makes itself known: to all systems' multicast group, to the limited broadcast address, or only when asked.",
	}),
	Field("advertise-interval", Duration(3*time.Second, 1800*time.Second), func(f *ForeignAgent) *time.Duration { return &f.AdvertiseInterval }, Help{
		Default: `"10s"`,
		Doc:     "The longest time between two advertisements (RFC 1256 section 4.1).",
	}),
	Field("prefix-lengths", Bool, func(f *ForeignAgent) *bool { return &f.PrefixLengths }, Help{
		Example: "true",
		Doc: "Whether advertisements tell the prefix lengths of the agent's addresses, by which mobile nodes notice a move\n" +
			"(RFC 5944 section 2.4.2.2). All agents of a subnet do, or none does.",
	}),
	Field("require-registration", Bool, func(f *ForeignAgent) *bool { return &f.RequireRegistration }, Help{
		Example: "true",
		Doc:     "Whether also nodes with an address of their own are asked to register here (the R bit, RFC 5944 section 2.1.1).",
	}),
	Field("strict-reserved-bits", Bool, func(f *ForeignAgent) *bool { return &f.StrictReservedBits }, Help{
		Example: "true",
		Doc:     "Whether a request with a reserved bit set is denied (code 70, RFC 5944 section 3.7.2.1), or the bit ignored (section 3.3).",
	}),
	Field("max-lifetime", lifetimeKind, func(f *ForeignAgent) *time.Duration { return &f.MaxLifetime }, Help{
		Default: `"10m"`,
		Doc:     "The longest registration lifetime that is relayed.",
	}),
	Field("reverse-tunnel", reverseTunnelKind, func(f *ForeignAgent) *forward.ReverseTunnel { return &f.ReverseTunnel }, Help{
		Default: `"allowed"`,
		Doc:     "Whether visitors' packets go back through the tunnel (RFC 3024).",
	}),
	Field("encapsulating-delivery", switchKind, func(f *ForeignAgent) *Switch { return &f.EncapsulatingDelivery }, Help{
		Default: `"on"`,
		Doc:     "Whether visitors may tunnel to the agent what shall go back (RFC 3024 section 5.2). Off denies it with code 79.",
	}),
	Field("encapsulations", OneOrList(Word(encap.ParseKind, "ipip", "gre", "minimal")), func(f *ForeignAgent) *[]encap.Kind { return &f.Encapsulations }, Help{
		Default: `["ipip", "gre", "minimal"]`,
		Doc:     "The encapsulations that are advertised (M and G bits) and relayed. IP-in-IP is always among them.",
	}),
	Field("gre-keys", Enum[GREKeys](greKeysWords...), func(f *ForeignAgent) *GREKeys { return &f.GREKeys }, Help{
		Default: `"asked"`,
		Doc: "For whom a GRE key is agreed with the home agent (RFC 6245): visitors that ask for GRE, all that use the\n" +
			"care-of address, or nobody.",
	}),
	Field("revocation", Enum[Revocation](revocationWords...), func(f *ForeignAgent) *Revocation { return &f.Revocation }, Help{
		Default: `"allowed"`,
		Doc: "Whether home agents with an association may end visits at once, and hear of visits that end here (RFC 3543, the X bit\n" +
			"of advertisements). required refuses visitors of others with code 65.",
	}),
	Field("notifications", switchKind, func(f *ForeignAgent) *Switch { return &f.Notifications }, notificationsHelp),
	Field("notification-wait", notificationWait, func(f *ForeignAgent) *time.Duration { return &f.NotificationWait }, notificationWaitHelp),
	Field("notification-longest-wait", notificationWait, func(f *ForeignAgent) *time.Duration { return &f.NotificationLongest }, notificationLongestHelp),
	Field("challenge-window", Int[int](0, 64), func(f *ForeignAgent) *int { return &f.ChallengeWindow }, Help{
		Default: "0",
		Doc: "How many of the last advertised challenges visitors may answer (RFC 4721); 2 is that RFC's default. 0: there are no challenges.\n" +
			"With challenges, a visitor needs a key of this agent or one of AAA ([mobile-node.aaa]); others are denied with code 105.",
	}),
	Field("assign-home-agents", OneOrList(Address), func(f *ForeignAgent) *[]netip.Addr { return &f.AssignHomeAgents }, Help{
		Example: `["198.51.100.1", "198.51.100.2"]`,
		Doc: "The home agents that visitors are sent to that name none (RFC 4433 section 5.2), the first that answers. AAA's choice\n" +
			"goes before. Without either such visitors are denied with code 90.",
	}),
	Field("allow-home-agents", List(Prefix), func(f *ForeignAgent) *[]netip.Prefix { return &f.AllowHomeAgents }, Help{
		Example: `["198.51.100.0/24"]`,
		Doc:     "The home agents to which requests are relayed. Left out, all; requests for others are denied with code 65.",
	}),
	Field("max-visitors", Int[int](1, 1<<20), func(f *ForeignAgent) *int { return &f.MaxVisitors }, Help{
		Default: "4096",
		Doc:     "How many visitors there may be. Then the agent says that it is busy, and denies further ones with code 66.",
	}),
	Field("max-pending", Int[int](1, 1<<20), func(f *ForeignAgent) *int { return &f.MaxPending }, Help{
		Default: "16384",
		Doc:     "How many requests may wait for a reply. A further one takes the place of the oldest one of a stranger.",
	}),
	Field("requests-per-station", Int[int](0, 1000000), func(f *ForeignAgent) *int { return &f.RequestsPerStation }, Help{
		Default: "100",
		Doc: "How many messages a second are taken from one link-layer address that is no visitor's, with a burst of 4 seconds'\n" +
			"worth; 0: any number.",
	}),
	Field("requests-of-strangers", Int[int](0, 1000000), func(f *ForeignAgent) *int { return &f.RequestsOfStrangers }, Help{
		Default: "2000",
		Doc: "How many messages a second are taken from all of those together; 0: any number. What they ask is relayed, and a flood\n" +
			"must not fill the way to the home agents that visitors need too. Those above are dropped without an answer.",
	}),
	Field("nat-traversal", natTraversalKind, func(f *ForeignAgent) *NATTraversal { return &f.NATTraversal }, Help{
		Default: `"auto"`,
		Doc: "Whether to ask home agents to tunnel in UDP port 434 (RFC 3519 section 4.5): auto asks when the care-of address\n" +
			"is private and the home agent's is not, force always: the agent is behind a NAT.",
	}),
	Field("keepalive", Duration(minKeepalive, math.MaxUint16*time.Second), func(f *ForeignAgent) *time.Duration { return &f.Keepalive }, Help{
		Example: `"60s"`,
		Doc:     "The longest time between two packets that keep a NAT's mapping alive. Left out, home agents say it.",
	}),
	tables("home-agent", append(Table[HomeAgentPeer]{
		Field("address", Address, func(p *HomeAgentPeer) *netip.Addr { return &p.Address }, Help{
			Required: true, Example: `"198.51.100.1"`,
			Doc: "The home agent's address.",
		}),
	}, securityRows(func(p *HomeAgentPeer) *Security { return &p.Security }, agents, 300, `"keys.d/fa1"`)...),
		func(f *ForeignAgent) *[]HomeAgentPeer { return &f.HomeAgents },
		func(p *HomeAgentPeer) string { return p.Address.String() }, Help{
			Doc: "A home agent that shares a key with this foreign agent.",
		}),
	tables("mobile-node", mobileNodePeerTable(false), func(f *ForeignAgent) *[]MobileNodePeer { return &f.MobileNodes },
		mobileNodePeerID, Help{Doc: "A visitor that shares a key with this foreign agent."}),
	messageRow(func(f *ForeignAgent) *[]MessageText { return &f.Messages }, 66),
}, extensionRows(func(f *ForeignAgent) *[]OpaqueExtension { return &f.VendorExtensions },
	func(f *ForeignAgent) *[]OpaqueExtension { return &f.Experiments }, PartyHomeAgent, PartyMobileNode)...)
