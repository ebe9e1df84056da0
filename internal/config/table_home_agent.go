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
	reverseTunnelKind = Enum[forward.ReverseTunnel](forward.ReverseTunnelWords[:]...)
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
	Field("reverse-tunnel", reverseTunnelKind, func(h *HomeAgent) *forward.ReverseTunnel { return &h.ReverseTunnel }, Help{
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
	Field("receive-sockets", Int[int](1, 64), func(h *HomeAgent) *int { return &h.ReceiveSockets }, Help{
		Default: "1",
		Doc: "How many sockets share the port at each address, each with a reader of its own; the kernel gives all that comes from one\n" +
			"address and port to one of them. One reads some 600,000 messages a second; more are for hosts with many processors,\n" +
			"or with much Tunnel Data over UDP in user space.",
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
			"does not depend on it. Nodes without a home address of their own are all the first one's, which has the pools. With [aaa], or a\n" +
			"prefix-pool, there is one.",
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
	optional("dhcp", Table[DHCPRelay]{
		Field("server", OneOrList(Address), func(r *DHCPRelay) *[]netip.Addr { return &r.Servers }, Help{
			Required: true, Example: `"10.10.0.67"`,
			Doc: "The DHCP servers that everything is relayed to; answers are taken from them alone.",
		}),
		Field("address", Address, func(r *DHCPRelay) *netip.Addr { return &r.Address }, Help{
			Example: `"10.10.0.1"`,
			Doc: "The relay's address (giaddr), one of this host that the servers can answer to and that the nodes are told as their DHCP\n" +
				"server. Left out, it is the home agent's. Outside of a home network it goes with that network's prefix (RFC 3527).",
		}),
		Field("information", List(Enum[RelayInformation](relayInformationWords...)), func(r *DHCPRelay) *[]RelayInformation { return &r.Information }, Help{
			Default: `["circuit-id", "remote-id"]`,
			Doc: "What the servers are told with each message (option 82, RFC 3046): circuit-id is the node's home address as text,\n" +
				"remote-id its NAI, or its home address when it has none. Empty for nothing.",
		}),
	}, func(h *HomeAgent) **DHCPRelay { return &h.DHCP }, Help{
		Doc: "A DHCP relay for nodes that are away: what they say to DHCP servers through their tunnels goes to the home network's\n" +
			"servers, and the answers come back the same way (mobile-node.home-dhcp = \"lease\").",
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
	Field("masquerade", switchKind, func(h *HomeAgent) *Switch { return &h.Masquerade }, Help{
		Default: `"off"`,
		Doc: "Whether packets of nodes and mobile networks with private addresses (RFC 1918, RFC 6598) leave to the world with this\n" +
			"host's own address, so that nodes reach the Internet through it. Not to the interfaces of home links. careof setup writes it.",
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

func formatSPI(spi uint32) string {
	if spi == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(spi), 10)
}
