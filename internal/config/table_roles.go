package config

import (
	"math"
	"net/netip"
	"strconv"
	"time"

	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/wire/encap"
)

// A lifetime is counted in seconds in 16 bits; 0 deregisters and 65535 means
// infinity (RFC 5944 section 3.3), which is not for a file to give away.
const (
	minLifetime = 1 * time.Second
	maxLifetime = 65534 * time.Second
)

// minKeepalive keeps a typing mistake from flooding a radio link. The
// default, 110 seconds, is RFC 3519's (section 4.9).
const minKeepalive = 10 * time.Second

var (
	lifetimeKind      = Duration(minLifetime, maxLifetime)
	reverseTunnelKind = Enum[ReverseTunnel](reverseTunnelWords...)
	natTraversalKind  = Enum[NATTraversal](natTraversalWords...)
	switchKind        = Enum[Switch](switchWords...)
	encapKind         = Word(encap.ParseKind, "ipip", "gre", "minimal", "udp")
)

var homeAgentTable = append(Table[HomeAgent]{
	Field("address", OneOrList(Address), func(h *HomeAgent) *[]netip.Addr { return &h.Addresses }, Help{
		Required: true, Example: `"198.51.100.1"`,
		Doc: "The address that mobile nodes register with: the home agent's identity.",
	}),
	Field("local-address", Address, func(h *HomeAgent) *netip.Addr { return &h.LocalAddress }, Help{
		Example: `"10.0.0.4"`,
		Doc:     "Where the home agent is bound when a 1:1 NAT stands before it, as on most cloud machines.",
	}),
	Field("port", Int[uint16](1, math.MaxUint16), func(h *HomeAgent) *uint16 { return &h.Port }, Help{
		Default: "434",
		Doc:     "The UDP port. Another one gets through networks that block 434; all nodes need it then (home-agent-port), and foreign agents cannot be used.",
	}),
	Field("interfaces", List(Interface), func(h *HomeAgent) *[]string { return &h.Interfaces }, Help{
		Default: "[]",
		Doc:     "Home links: advertise there, and answer ARP for nodes that are away. Empty for a purely virtual home network.",
	}),
	Field("max-lifetime", lifetimeKind, func(h *HomeAgent) *time.Duration { return &h.MaxLifetime }, Help{
		Default: `"10m"`,
		Doc:     "The longest registration lifetime that is granted.",
	}),
	Field("reverse-tunnel", reverseTunnelKind, func(h *HomeAgent) *ReverseTunnel { return &h.ReverseTunnel }, Help{
		Default: `"allowed"`,
		Doc:     "Whether packets from the nodes come through the tunnel too (RFC 3024).",
	}),
	Field("strict-reserved-bits", Bool, func(h *HomeAgent) *bool { return &h.StrictReservedBits }, Help{
		Example: "true",
		Doc:     "Whether a request with a reserved bit set is denied (code 134, RFC 5944 section 3.8.2.3), or the bit ignored (section 3.3).",
	}),
	Field("nat-traversal", natTraversalKind, func(h *HomeAgent) *NATTraversal { return &h.NATTraversal }, Help{
		Default: `"auto"`,
		Doc:     "When to tunnel in UDP port 434 (RFC 3519): when a NAT is seen, always, or never.",
	}),
	Field("forced-udp", switchKind, func(h *HomeAgent) *Switch { return &h.ForcedUDP }, Help{
		Default: `"on"`,
		Doc:     "Whether a node may have UDP without a NAT (the F flag, RFC 3519 section 3.1.1); otherwise it is denied with code 129.",
	}),
	Field("nat-lifetime", lifetimeKind, func(h *HomeAgent) *time.Duration { return &h.NATLifetime }, Help{
		Example: `"60s"`,
		Doc: "The longest lifetime that is granted to nodes in UDP tunnels, if less than max-lifetime: so long can somebody on the way\n" +
			"keep what he has redirected (RFC 3519 section 6).",
	}),
	Field("keepalive", Duration(minKeepalive, math.MaxUint16*time.Second), func(h *HomeAgent) *time.Duration { return &h.Keepalive }, Help{
		Default: `"110s"`,
		Doc:     "How often a node behind a NAT keeps its mapping alive (RFC 3519 section 4.9).",
	}),
	Field("encapsulations", OneOrList(encapKind), func(h *HomeAgent) *[]encap.Kind { return &h.Encapsulations }, Help{
		Default: `["ipip", "gre", "minimal", "udp"]`,
		Doc:     "The encapsulations that are granted.",
	}),
	Field("wireguard", Enum[WireGuard](wireGuardWords...), func(h *HomeAgent) *WireGuard { return &h.WireGuard }, Help{
		Default: `"allowed"`,
		Doc: "Whether nodes get an encrypted tunnel when they ask for one: UDP with WireGuard in it, whose keys the registration\n" +
			"carries. required denies all others with code 139. The home agent's own key is made at the first start, in the state directory.",
	}),
	Field("simultaneous-bindings", Int[int](1, 3), func(h *HomeAgent) *int { return &h.SimultaneousBindings }, Help{
		Default: "1",
		Doc:     "How many care-of addresses one node may have at once by the S bit. Packets are duplicated to all of them.",
	}),
	Field("broadcasts", List(Enum[BroadcastCategory](broadcastWords...)), func(h *HomeAgent) *[]BroadcastCategory { return &h.Broadcasts }, Help{
		Default: `["directed", "limited"]`,
		Doc: "Which of the home network's broadcasts go to the nodes that ask for broadcasts, and from nodes to the home network:\n" +
			"those to its own broadcast address, those to 255.255.255.255. Empty for none.",
	}),
	Field("multicast", switchKind, func(h *HomeAgent) *Switch { return &h.Multicast }, Help{
		Default: `"on"`,
		Doc:     "Whether nodes can join the home link's multicast groups through their tunnels, and send to them (RFC 5944 section 4.4).",
	}),
	Field("gre-keys", switchKind, func(h *HomeAgent) *Switch { return &h.GREKeys }, Help{
		Default: `"on"`,
		Doc:     "Whether foreign agents may ask for a GRE key for each visitor (RFC 6245). Off discards such requests, as RFC 5944 has it.",
	}),
	Field("revocation", Enum[Revocation](revocationWords...), func(h *HomeAgent) *Revocation { return &h.Revocation }, Help{
		Default: `"allowed"`,
		Doc: "Whether the end of a binding is told to its other end at once, and acknowledged (RFC 3543): foreign agents with an\n" +
			"association, and nodes that register directly. required refuses others with code 129.",
	}),
	Field("notifications", switchKind, func(h *HomeAgent) *Switch { return &h.Notifications }, notificationsHelp),
	Field("notification-wait", notificationWait, func(h *HomeAgent) *time.Duration { return &h.NotificationWait }, notificationWaitHelp),
	Field("notification-longest-wait", notificationWait, func(h *HomeAgent) *time.Duration { return &h.NotificationLongest }, notificationLongestHelp),
	Field("path-validation", Enum[PathValidation](pathValidationWords...), func(h *HomeAgent) *PathValidation { return &h.PathValidation }, Help{
		Default: `"auto"`,
		Doc: "Whether a new outer address of a node gets more than three octets for each that came from there before it has answered\n" +
			"a challenge. auto: of the nodes that say that they can answer. required refuses others with code 129, and so protects\n" +
			"third parties from nodes that name them as their care-of address.",
	}),
	Field("failure-replies", Duration(time.Second, time.Hour), func(h *HomeAgent) *time.Duration { return &h.FailureReplies }, Help{
		Example: `"10s"`,
		Doc: "The least time between two replies with code 131 to one node, for requests that fail authentication and that no\n" +
			"foreign agent vouches for. Left out, there are none: strangers get silence (RFC 5944 section 3.8.2.1 allows both).",
	}),
	Field("requests-per-source", Int[int](0, 1000000), func(h *HomeAgent) *int { return &h.RequestsPerSource }, Help{
		Default: "1000",
		Doc: "How many messages a second are taken from one IP address at which no node is bound, with a burst of 4 seconds' worth;\n" +
			"0: any number. Renewals are not counted. Many nodes that come back at once behind one translator need more.",
	}),
	Field("requests-per-node", Int[int](0, 1000000), func(h *HomeAgent) *int { return &h.RequestsPerNode }, Help{
		Default: "32",
		Doc:     "How many authentic new requests of one node are taken in a second, with a burst of twice as many; 0: any number.",
	}),
	Field("shards", Int[int](0, 64), func(h *HomeAgent) *int { return &h.Shards }, Help{
		Default: "0",
		Doc: "Among how many machines, each on its own, the mobile nodes are divided; 0: one for each processor. What is stored\n" +
			"does not depend on it. Nodes without a home address of their own are all the first one's, which has the pools.",
	}),
	Field("canary", Duration(0, time.Hour), func(h *HomeAgent) *time.Duration { return &h.Canary }, Help{
		Default: `"10s"`,
		Doc: "How often the home agent tries itself: a message through its own socket that has to become durable, and a packet\n" +
			"through a tunnel and back. What fails is logged, and the service manager's watchdog is not fed. 0s: never.",
	}),
	Field("canary-address", Address, func(h *HomeAgent) *netip.Addr { return &h.CanaryAddress }, Help{
		Default: `"192.0.0.8"`,
		Doc:     "The address that the canary's packet goes to; by default the dummy address (RFC 7600). Two daemons on one host need two.",
	}),
	Field("nodes-file", String, func(h *HomeAgent) *string { return &h.NodesFile }, Help{
		Example: `"nodes"`,
		Doc: "For very many nodes: a file of mode 0600 with one line a node, `nai home-address spi algorithm key`.\n" +
			"\"-\" stands for a missing NAI or home address; # begins a comment.",
	}),
	Field("identity", NAI, func(h *HomeAgent) *ident.NAI { return &h.Identity }, Help{
		Example: `"ha1@home.example"`,
		Doc:     "The home agent's own name, host@realm, which mobile nodes are told (RFC 3846).",
	}),
	tables("network", Table[Network]{
		Field("prefix", Prefix, func(n *Network) *netip.Prefix { return &n.Prefix }, Help{
			Required: true, Example: `"10.10.0.0/24"`,
			Doc: "The home network's prefix.",
		}),
		Field("pool", OneOrList(Addresses), func(n *Network) *[]Range { return &n.Pool }, Help{
			Example: `["10.10.0.100-10.10.0.199"]`, Shown: true,
			Doc: "Addresses for nodes that have none and register by NAI (RFC 2794).",
		}),
		Field("router", Address, func(n *Network) *netip.Addr { return &n.Router }, Help{
			Example: `"10.10.0.1"`,
			Doc:     "The network's router, for nodes that ask for host configuration (RFC 4332).",
		}),
		Field("dns", OneOrList(Address), func(n *Network) *[]netip.Addr { return &n.DNS }, Help{
			Example: `["10.10.0.53"]`,
			Doc:     "Its name servers, two at most, for the same nodes (mobile-node.dns).",
		}),
		Field("domain", String, func(n *Network) *string { return &n.Domain }, Help{
			Example: `"fleet.example"`,
			Doc:     "Its domain, for the same nodes.",
		}),
		Field("dhcp-server", Address, func(n *Network) *netip.Addr { return &n.DHCPServer }, Help{
			Example: `"10.10.0.67"`,
			Doc:     "Its DHCP server, for the same nodes.",
		}),
	}, func(h *HomeAgent) *[]Network { return &h.Networks }, func(n *Network) string { return n.Prefix.String() }, Help{
		Doc: "A home network. There may be several.",
	}),
	tables("mobile-node", mobileNodePeerTable(true), func(h *HomeAgent) *[]MobileNodePeer { return &h.MobileNodes },
		mobileNodePeerID, Help{Doc: "A node that may register. There may be several."}),
	tables("foreign-agent", append(Table[ForeignAgentPeer]{
		Field("address", Address, func(p *ForeignAgentPeer) *netip.Addr { return &p.Address }, Help{
			Required: true, Example: `"203.0.113.1"`,
			Doc: "The foreign agent's address.",
		}),
	}, securityRows(func(p *ForeignAgentPeer) *Security { return &p.Security }, agents, 300, `"keys.d/fa1"`)...),
		func(h *HomeAgent) *[]ForeignAgentPeer { return &h.ForeignAgents },
		func(p *ForeignAgentPeer) string { return p.Address.String() }, Help{
			Doc: "A foreign agent that shares a key with this home agent (RFC 5944 section 3.5.4). Others may relay, but prove nothing.",
		}),
	Field("mobile-networks", switchKind, func(h *HomeAgent) *Switch { return &h.MobileNetworks }, Help{
		Default: `"on"`,
		Doc: "Whether nodes with prefixes are mobile routers, and what they ask for is answered (RFC 5177). Off behaves like a home\n" +
			"agent that never heard of it.",
	}),
	tables("service", Table[Service]{
		Field("name", String, func(s *Service) *string { return &s.Name }, Help{
			Required: true, Example: `"ims"`,
			Doc: "Its name, as nodes say it (mobile-node.service).",
		}),
		Field("nodes", List(String), func(s *Service) *[]string { return &s.Nodes }, Help{
			Example: `["van7@fleet.example", "@office.example"]`,
			Doc:     "Who may use it: names, realms after \"@\", home addresses. Left out, everybody may.",
		}),
		Field("network", Prefix, func(s *Service) *netip.Prefix { return &s.Network }, Help{
			Example: `"10.20.0.0/24"`,
			Doc:     "The home network whose pool has its nodes' addresses, and nobody else's. Left out, addresses come from the other pools.",
		}),
	}, func(h *HomeAgent) *[]Service { return &h.Services }, func(s *Service) string { return s.Name }, Help{
		Doc: "A service that nodes may register for (RFC 5446). Requests for any other are denied with code 151.",
	}),
	Field("default-service", switchKind, func(h *HomeAgent) *Switch { return &h.DefaultService }, Help{
		Default: `"on"`,
		Doc:     "With services: whether nodes that name none are served.",
	}),
	tables("prefix-pool", Table[PrefixPool]{
		Field("prefix", Prefix, func(p *PrefixPool) *netip.Prefix { return &p.Prefix }, Help{
			Required: true, Example: `"10.30.0.0/16"`,
			Doc: "The range that prefixes are cut from.",
		}),
		Field("length", Int[int](9, 30), func(p *PrefixPool) *int { return &p.Length }, Help{
			Required: true, Example: "24",
			Doc: "The length of each.",
		}),
		Field("per-node", Int[int](1, 64), func(p *PrefixPool) *int { return &p.PerNode }, Help{
			Default: "1",
			Doc:     "How many one node may have at a time.",
		}),
	}, func(h *HomeAgent) *[]PrefixPool { return &h.PrefixPools }, func(p *PrefixPool) string { return p.Prefix.String() }, Help{
		Doc: "Prefixes for mobile routers that ask for one (RFC 6626). Every node that may register may have them.",
	}),
	Field("assignment", Bool, func(h *HomeAgent) *bool { return &h.Assignment }, Help{
		Example: "true",
		Doc: "Whether nodes may register that name no home agent and take whichever answers (RFC 4433). With a capacity or a\n" +
			"pool-member they may.",
	}),
	Field("capacity", Int[int](0, 1<<24), func(h *HomeAgent) *int { return &h.Capacity }, Help{
		Default: "0",
		Doc: "How many nodes may be registered at a time; 0: any number. One more is sent to the pool-member with the fewest nodes\n" +
			"(code 143), or refused (130) when none has room or the node does not know RFC 4433. Machines have a part each (shards).",
	}),
	tables("pool-member", append(Table[HomeAgentPeer]{
		Field("address", Address, func(p *HomeAgentPeer) *netip.Addr { return &p.Address }, Help{
			Required: true, Example: `"198.51.100.2"`,
			Doc: "The other home agent's address.",
		}),
	}, securityRows(func(p *HomeAgentPeer) *Security { return &p.Security }, agents, 400, `"keys.d/pool"`)...),
		func(h *HomeAgent) *[]HomeAgentPeer { return &h.PoolMembers },
		func(p *HomeAgentPeer) string { return p.Address.String() }, Help{
			Doc: "Another home agent that serves the same nodes, with the key that the two share. Each lists all the others. They tell\n" +
				"each other every second that they live and how many nodes they have. See careof drain.",
		}),
	messageRow(func(h *HomeAgent) *[]MessageText { return &h.Messages }, 130),
}, extensionRows(func(h *HomeAgent) *[]OpaqueExtension { return &h.VendorExtensions },
	func(h *HomeAgent) *[]OpaqueExtension { return &h.Experiments }, PartyMobileNode, PartyForeignAgent)...)

func mobileNodePeerID(p *MobileNodePeer) string { return p.Identity().String() }

func mobileNodePeerTable(home bool) Table[MobileNodePeer] {
	t := Table[MobileNodePeer]{
		Field("home-address", Address, func(p *MobileNodePeer) *netip.Addr { return &p.HomeAddress }, Help{
			Example: `"10.10.0.5"`, Shown: true,
			Doc: "The node's address. It may be left out when nai is there.",
		}),
		Field("nai", NAI, func(p *MobileNodePeer) *ident.NAI { return &p.NAI }, Help{
			Example: `"van7@fleet.example"`,
			Doc:     "The node's network access identifier (RFC 2794).",
		}),
	}
	if !home {
		return append(t, securityRows(func(p *MobileNodePeer) *Security { return &p.Security }, agents, 301, `"keys.d/visitor"`)...)
	}
	t = append(t, securityRows(func(p *MobileNodePeer) *Security { return &p.Security }, nodeAtHome, 256, `"keys.d/van7"`)...)
	return append(t, Field("prefixes", List(Prefix), func(p *MobileNodePeer) *[]netip.Prefix { return &p.Prefixes }, Help{
		Example: `["10.20.7.0/24"]`,
		Doc:     "The networks behind the node, when it is a mobile router.",
	}))
}

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
	Field("reverse-tunnel", reverseTunnelKind, func(f *ForeignAgent) *ReverseTunnel { return &f.ReverseTunnel }, Help{
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
	Field("encapsulation", Kind[Encapsulation]{
		Name: "one of auto, ipip, gre, minimal, udp or wireguard",
		Parse: func(v any) (Encapsulation, error) {
			if v == "auto" {
				return Encapsulation{Auto: true}, nil
			}
			if v == encap.WireGuard.String() {
				return Encapsulation{Kind: encap.WireGuard}, nil
			}
			k, err := encapKind.Parse(v)
			return Encapsulation{Kind: k}, err
		},
		Format: func(e Encapsulation) string {
			if e.Auto {
				return `"auto"`
			}
			return encapKind.Format(e.Kind)
		},
	}, func(m *MobileNode) *Encapsulation { return &m.Encapsulation }, Help{
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
			"back any more, fast within 250 ms at the price of 25 probes a second, battery within 15 s of use; off probes nothing.",
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
	Field("home-dhcp", switchKind, func(m *MobileNode) *Switch { return &m.HomeDHCP }, Help{
		Default: `"off"`,
		Doc: "With dns: whether the DHCP server that the home agent names (home-agent.network.dhcp-server) is asked too, through the\n" +
			"tunnel (DHCPINFORM): after each registration from another place, and every half hour. What it says comes first.",
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

func formatSPI(spi uint32) string {
	if spi == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(spi), 10)
}
