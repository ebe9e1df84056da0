package config

import (
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"careof/internal/core/assoc"
	"careof/internal/core/ident"
	"careof/wire/encap"
)

// check looks at what only several values together can tell.
func (d *decoder) check(c *Config) {
	if c.HomeAgent == nil && c.ForeignAgent == nil && c.MobileNode == nil && (c.AAA == nil || c.AAA.Serve == nil) && len(d.problems) == 0 {
		d.problem("", "add [home-agent], [foreign-agent] or [mobile-node]", "there is no role in this file")
	}
	// A unix socket's name has 108 octets with its final zero.
	if len(c.Control.Socket) > 107 {
		d.problem("control.socket", "at most 107 characters", "the path is too long for a socket")
	}
	d.checkControl(&c.Control)
	if e := c.Enrolment; e != nil {
		d.checkEnrolment(e, c.HomeAgent)
	}
	if c.Plane.Kind == PlaneKernel && (c.ForeignAgent != nil || c.MobileNode != nil) {
		d.problem("plane.kind", `leave it out, or "auto"`, "kernel tunnel devices are for a home agent alone")
	}
	if h := c.HomeAgent; c.Plane.Kind == PlaneKernel && h != nil && h.SimultaneousBindings > 1 {
		d.problem("home-agent.simultaneous-bindings", `leave it out, or choose another plane.kind`, "kernel tunnel devices send no copies")
	}
	if h := c.HomeAgent; c.Plane.Kind == PlaneKernel && h != nil && h.Masquerade == On {
		d.problem("home-agent.masquerade", "leave one of the two out, and masquerade by a rule of your own", "the kernel has a device for each tunnel, and this is for one")
	}
	if h := c.HomeAgent; c.Plane.Kind == PlaneKernel && h != nil && h.DHCP != nil {
		d.problem("home-agent.dhcp", "leave one of the two out", "the kernel has a device for each tunnel, and the relay listens on one")
	}
	if h := c.HomeAgent; c.Plane.Kind == PlaneKernel && h != nil && h.HasMobileNetworks() {
		d.warn("plane.kind", `leave it out, or give mobile networks addresses that no visited network has`,
			"a node in a visited network with a mobile network's addresses, and no NAT before it, is not reached by kernel tunnel devices")
	}
	if h, f := c.HomeAgent, c.ForeignAgent; h != nil && f != nil {
		for _, a := range f.CareOfAddresses {
			if slices.Contains(h.Addresses, a) || h.LocalAddress == a {
				// Their messages to each other would come from the receiver itself.
				d.problem("foreign-agent.care-of-address", "give this host a second address", "%s is the home agent's address too", a)
			}
		}
	}
	d.checkAAA(c)
	if m := c.MobileNode; m != nil && m.AAA != nil {
		d.checkAAASecret("mobile-node.aaa", m.AAA)
	}
	if h := c.HomeAgent; h != nil {
		d.checkHomeAgent(h)
		d.checkMessages("home-agent.message", h.Messages)
		d.checkExtensions("home-agent.vendor-extension", h.VendorExtensions)
		d.checkExtensions("home-agent.experiment", h.Experiments)
	}
	if f := c.ForeignAgent; f != nil {
		d.checkForeignAgent(f)
		d.checkMessages("foreign-agent.message", f.Messages)
		d.checkExtensions("foreign-agent.vendor-extension", f.VendorExtensions)
		d.checkExtensions("foreign-agent.experiment", f.Experiments)
	}
	if m := c.MobileNode; m != nil {
		d.checkMobileNode(m, c.Plane.Device)
		d.checkExtensions("mobile-node.vendor-extension", m.VendorExtensions)
		d.checkExtensions("mobile-node.experiment", m.Experiments)
	}
}

// checkEnrolment looks at what joining nodes will be told.
func (d *decoder) checkEnrolment(e *Enrolment, h *HomeAgent) {
	if h == nil {
		d.problem("enrolment", "add [home-agent], or remove this section", "only a home agent enrols nodes")
		return
	}
	if e.Address != "" {
		host, port, err := net.SplitHostPort(e.Address)
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || host == "" || bad != nil || n == 0 {
			d.problem("enrolment.address", `write "vps.example:4434"`, "%q is not a host and a port", e.Address)
		}
	}
	if e.HomeAgent != "" {
		if _, err := HostKind.Parse(e.HomeAgent); err != nil {
			d.problem("enrolment.home-agent", "write an address or a name", "%q is neither", e.HomeAgent)
		}
	}
	if len(h.Networks) == 0 {
		d.problem("enrolment", "add [[home-agent.network]]", "there is no home network to take addresses from")
	}
}

// checkServices looks at what nodes may register for.
func (d *decoder) checkServices(h *HomeAgent) {
	seen := map[string]bool{}
	for i := range h.Services {
		s := &h.Services[i]
		path := indexed("home-agent.service", i)
		switch {
		case s.Name == "" || len(s.Name) > 255 || !utf8.ValidString(s.Name):
			d.problem(path+".name", "at most 255 octets of UTF-8", "is no name of a service")
		case seen[s.Name]:
			d.problem(path+".name", "remove one of the two", "%q is there twice", s.Name)
		}
		seen[s.Name] = true
		if s.Network.IsValid() && !slices.ContainsFunc(h.Networks, func(n Network) bool { return n.Prefix == s.Network && len(n.Pool) > 0 }) {
			d.problem(path+".network", "add [[home-agent.network]] with it and a pool", "%s is no home network with a pool", s.Network)
		}
	}
	if h.DefaultService == Off && len(h.Services) == 0 {
		d.problem("home-agent.default-service", "add [[home-agent.service]]", "without services nobody would be served")
	}
}

// checkTold looks at what nodes of a home network are told (RFC 4332).
func (d *decoder) checkTold(path string, n *Network) {
	if len(n.DNS) > 2 {
		d.problem(path+".dns", "leave all but two out", "RFC 4332 has room for two name servers, and there are %d", len(n.DNS))
	}
	if n.Router.IsValid() && !n.Prefix.Contains(n.Router) {
		d.problem(path+".router", "it is an address in the prefix", "%s is not inside %s", n.Router, n.Prefix)
	}
	if n.Domain != "" && !isDomain(n.Domain) {
		d.problem(path+".domain", `write it like "fleet.example"`, "%q is no domain", n.Domain)
	}
}

// isDomain says whether a domain can be told: at most 245 octets, in labels of
// letters, digits, "-" and "_".
func isDomain(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return false
		}
	}
	return len(s) <= 245
}

func (d *decoder) checkHomeAgent(h *HomeAgent) {
	const at = "home-agent"
	if h.LocalAddress.IsValid() {
		if len(h.Addresses) > 1 {
			d.problem(at+".local-address", "leave all but one address out", "stands for one address, but there are %d", len(h.Addresses))
		} else if slices.Contains(h.Addresses, h.LocalAddress) {
			d.warn(at+".local-address", "leave it out", "is the address itself: there is no NAT to cross")
		}
	}
	if len(h.Encapsulations) > 0 && !slices.Contains(h.Encapsulations, encap.UDP) {
		switch h.NATTraversal {
		case NATTraversalForce:
			d.problem(at+".encapsulations", `add "udp", or set nat-traversal = "off"`, "nat-traversal forces UDP, which is not granted")
		case NATTraversalAuto:
			d.warn(at+".encapsulations", `add "udp", or set nat-traversal = "off"`, "nodes behind a NAT will be denied: udp is not granted")
		}
	}
	if h.WireGuard == WireGuardRequired && (h.NATTraversal == NATTraversalOff || h.ForcedUDP == Off || len(h.Encapsulations) > 0 && !slices.Contains(h.Encapsulations, encap.UDP)) {
		d.problem(at+".wireguard", `leave nat-traversal, forced-udp and encapsulations out`, "encrypted tunnels are UDP tunnels, which are not granted to everybody")
	}
	d.checkNetworks(h)
	d.checkRelay(h)
	d.checkPrefixPools(h)
	d.checkServices(h)
	if h.NodesFile != "" {
		d.readNodes(h)
	}
	d.checkNodes(at+".mobile-node", h)
	if i := slices.IndexFunc(h.MobileNodes, func(p MobileNodePeer) bool { return !p.HomeAddress.IsValid() }); i >= 0 && len(h.PoolMembers) > 0 {
		d.warn(at+".pool-member", "give each node a home-address, the same at all", "%s has no home address, and the home agents of a pool do not know which ones the others have given out", h.MobileNodes[i].NAI)
	}
	members := map[netip.Addr]int{}
	for i := range h.PoolMembers {
		p := &h.PoolMembers[i]
		path := indexed(at+".pool-member", i)
		d.unique(members, path+".address", at+".pool-member", p.Address, i)
		if slices.Contains(h.Addresses, p.Address) || p.Address.IsValid() && p.Address == h.LocalAddress {
			d.problem(path+".address", "list the other home agents", "%s is this home agent's own address", p.Address)
		}
		d.associate(path, &p.Security, agents)
	}
	seen := map[netip.Addr]int{}
	for i := range h.ForeignAgents {
		p := &h.ForeignAgents[i]
		path := indexed(at+".foreign-agent", i)
		d.unique(seen, path+".address", at+".foreign-agent", p.Address, i)
		d.associate(path, &p.Security, agents)
	}
}

// checkRelay looks at [home-agent.dhcp].
func (d *decoder) checkRelay(h *HomeAgent) {
	const at = "home-agent.dhcp"
	if h.DHCP == nil || len(h.Addresses) == 0 {
		return
	}
	if a := h.RelayAddress(); slices.Contains(h.DHCP.Servers, a) {
		d.problem(at+".server", "name it by another address of this host, and give the relay its own with address", "%s is the relay's own address", a)
	}
	if len(h.Networks) == 0 {
		d.problem(at, "add a [[home-agent.network]]", "the relay is for nodes of home networks, and there is none")
	}
	for i := range h.Networks {
		if h.Networks[i].DHCPServer.IsValid() {
			d.problem(indexed("home-agent.network", i)+".dhcp-server", "leave it out", "nodes are told the relay's address (home-agent.dhcp), and ask through it")
		}
	}
}

func (d *decoder) checkNetworks(h *HomeAgent) {
	const at = "home-agent.network"
	for i := range h.Networks {
		n := &h.Networks[i]
		if !n.Prefix.IsValid() {
			continue
		}
		path := indexed(at, i)
		if !isHomeNetwork(n.Prefix) {
			d.problem(path+".prefix", "at least /8, of addresses that hosts can have", "%s cannot be a home network", n.Prefix)
			continue
		}
		for j := range i {
			if other := h.Networks[j].Prefix; other.IsValid() && other.Overlaps(n.Prefix) {
				d.problem(path+".prefix", "make one of the two smaller, or remove it", "overlaps %s on line %d", other, d.lines.find(indexed(at, j)+".prefix"))
			}
		}
		d.checkTold(path, n)
		for k, r := range n.Pool {
			if !n.Prefix.Contains(r.First) || !n.Prefix.Contains(r.Last) {
				d.problem(path+".pool", "a pool is a part of the prefix above it", "%s is not inside %s", r, n.Prefix)
				continue
			}
			if n.Prefix.Bits() <= 30 {
				for _, a := range []netip.Addr{n.Prefix.Addr(), lastOf(n.Prefix)} {
					if r.Contains(a) {
						d.problem(path+".pool", "begin and end one address further in", "%s contains %s, which no node can have", r, a)
					}
				}
			}
			for _, a := range append(slices.Clone(h.Addresses), h.LocalAddress) {
				if a.IsValid() && r.Contains(a) {
					d.problem(path+".pool", "leave that address out of the pool", "%s contains the home agent's own address %s", r, a)
				}
			}
			for _, other := range n.Pool[:k] {
				if other.Overlaps(r) {
					d.problem(path+".pool", "make one of the two smaller", "%s overlaps %s", r, other)
				}
			}
		}
	}
}

// checkNodes checks the nodes of the main file; those of the nodes file have
// been checked line by line, and are looked at here for what is shared.
func (d *decoder) checkNodes(at string, h *HomeAgent) {
	addresses, names := new(ident.Addresses), map[ident.NAI]int{}
	addresses.Reserve(len(h.MobileNodes))
	type claim struct {
		prefix netip.Prefix
		node   int
	}
	var claims []claim
	for i := range h.MobileNodes {
		p := &h.MobileNodes[i]
		if line := d.fileLine(i); line > 0 {
			if d.unremarkable(p, h, addresses, names, i) {
				continue
			}
			path := indexed(at, i)
			f := &decoder{file: d.nodesFile, lines: lineTable{path: line}}
			f.checkNode(path, at, p, h, addresses, names, i, d)
			d.problems = append(d.problems, f.problems...)
			d.warnings = append(d.warnings, f.warnings...)
			continue
		}
		path := indexed(at, i)
		d.checkNode(path, at, p, h, addresses, names, i, d)
		d.associate(path, &p.Security, nodeAtHome)
		for _, prefix := range p.Prefixes {
			for _, c := range claims {
				if c.prefix.Overlaps(prefix) {
					d.problem(path+".prefixes", "a prefix belongs to one node", "%s overlaps %s of %s", prefix, c.prefix, h.MobileNodes[c.node].Identity())
				}
			}
			for _, a := range append(slices.Clone(h.Addresses), h.LocalAddress) {
				if a.IsValid() && prefix.Contains(a) {
					d.problem(path+".prefixes", "a mobile network has other addresses", "%s contains the home agent's own address %s", prefix, a)
				}
			}
			claims = append(claims, claim{prefix, i})
		}
	}
}

// unremarkable takes a node of which checkNode would say nothing: that is
// found out without a word about where it stands, for a million of them.
func (d *decoder) unremarkable(p *MobileNodePeer, h *HomeAgent, addresses *ident.Addresses, names map[ident.NAI]int, i int) bool {
	a := p.HomeAddress
	if !a.IsValid() {
		return false
	}
	if _, taken := addresses.Get(a); taken || slices.Contains(h.Addresses, a) || a == h.LocalAddress {
		return false
	}
	if _, taken := names[p.NAI]; taken && p.NAI != "" {
		return false
	}
	inside := false
	for k := range h.Networks {
		n := &h.Networks[k]
		if !n.Prefix.IsValid() || !n.Prefix.Contains(a) {
			continue
		}
		if inside = true; n.Prefix.Bits() <= 30 && (a == n.Prefix.Addr() || a == lastOf(n.Prefix)) {
			return false
		}
		for _, r := range n.Pool {
			if r.Contains(a) {
				return false
			}
		}
	}
	if !inside {
		return false
	}
	addresses.Put(a, i)
	if p.NAI != "" {
		names[p.NAI] = i
	}
	return true
}

// checkNode checks one node's identity. d reports, main knows where the other
// nodes stand.
func (d *decoder) checkNode(path, list string, p *MobileNodePeer, h *HomeAgent, addresses *ident.Addresses, names map[ident.NAI]int, i int, main *decoder) {
	if !p.HomeAddress.IsValid() && p.NAI == "" {
		if !d.wrong(path+".home-address") && !d.wrong(path+".nai") {
			d.problem(path, `for example home-address = "10.10.0.5"`, "needs a home-address, a nai, or both")
		}
		return
	}
	if p.NAI != "" {
		if first, taken := names[p.NAI]; taken {
			d.problem(path+".nai", "remove one of the two", "%s is there twice, first %s", p.NAI, main.whereNode(list, first))
		} else {
			names[p.NAI] = i
		}
	}
	a := p.HomeAddress
	if !a.IsValid() {
		pool := slices.ContainsFunc(h.Networks, func(n Network) bool { return len(n.Pool) > 0 })
		// A wrong address or pool is reported already.
		if !pool && !d.wrong(path+".home-address") && !main.anyProblem("home-agent.network") {
			d.problem(path, "add a pool to a [[home-agent.network]], or a home-address here", "%s has no home address, and there is no pool to take one from", p.NAI)
		}
		return
	}
	if first, taken := addresses.Get(a); taken {
		d.problem(path+".home-address", "remove one of the two", "%s is there twice, first %s", a, main.whereNode(list, first))
	} else {
		addresses.Put(a, i)
	}
	if slices.Contains(h.Addresses, a) || a == h.LocalAddress {
		d.problem(path+".home-address", "give the node another one", "%s is the home agent's own address", a)
		return
	}
	inside := false
	for _, n := range h.Networks {
		if !n.Prefix.IsValid() || !n.Prefix.Contains(a) {
			continue
		}
		inside = true
		if n.Prefix.Bits() <= 30 && (a == n.Prefix.Addr() || a == lastOf(n.Prefix)) {
			d.problem(path+".home-address", "give the node another one", "%s is the network or broadcast address of %s", a, n.Prefix)
		}
		for _, r := range n.Pool {
			if r.Contains(a) {
				d.problem(path+".home-address", "take it out of the pool", "%s lies in the pool %s and could be given to another node", a, r)
			}
		}
	}
	if !inside && !main.anyProblem("home-agent.network") {
		d.problem(path+".home-address", "add a [[home-agent.network]] that contains it", "%s is in none of the home networks", a)
	}
}

// unique reports a second element with the same address.
func (d *decoder) unique(seen map[netip.Addr]int, path, list string, a netip.Addr, i int) {
	if !a.IsValid() {
		return
	}
	if first, taken := seen[a]; taken {
		d.problem(path, "remove one of the two", "%s is there twice, first %s", a, d.whereIs(indexed(list, first)))
		return
	}
	seen[a] = i
}

func (d *decoder) checkForeignAgent(f *ForeignAgent) {
	const at = "foreign-agent"
	for i, a := range f.CareOfAddresses {
		if slices.Contains(f.CareOfAddresses[:i], a) {
			d.problem(at+".care-of-address", "remove one of the two", "%s is there twice", a)
		}
	}
	seen := map[netip.Addr]int{}
	for i := range f.HomeAgents {
		p := &f.HomeAgents[i]
		path := indexed(at+".home-agent", i)
		d.unique(seen, path+".address", at+".home-agent", p.Address, i)
		d.associate(path, &p.Security, agents)
	}
	for i := range f.MobileNodes {
		p := &f.MobileNodes[i]
		path := indexed(at+".mobile-node", i)
		if !p.HomeAddress.IsValid() && p.NAI == "" && !d.wrong(path+".home-address") && !d.wrong(path+".nai") {
			d.problem(path, `for example home-address = "10.10.0.5"`, "needs a home-address, a nai, or both")
		}
		d.associate(path, &p.Security, agents)
	}
}

func (d *decoder) checkMobileNode(m *MobileNode, device string) {
	const at = "mobile-node"
	if !m.HomeAddress.IsValid() && m.NAI == "" && !d.wrong(at+".home-address") && !d.wrong(at+".nai") {
		d.problem(at, `for example home-address = "10.10.0.5"`, "needs a home-address, a nai, or both")
	}
	if m.Assignment != AssignmentOff && m.NAI == "" && !d.wrong(at+".nai") {
		d.problem(at+".assignment", `add nai = "van7@fleet.example"`, "a home agent is assigned to a name (RFC 4433 section 3.3), and there is no nai")
	}
	if len(m.HomeAgents) == 0 && !d.wrong(at+".home-agent") && m.Assignment == AssignmentOff {
		if !m.HomeNetwork.IsValid() {
			d.problem(at+".home-agent", "or home-network, to discover one", "is missing")
		} else if !m.HomeAddress.IsValid() {
			d.problem(at+".home-agent", "name the home agent, or give the home-address", "a home agent can be discovered only by a node that knows its home address")
		}
	}
	if m.HomeDHCP != HomeDHCPOff && m.DNS == DNSOff {
		d.problem(at+".home-dhcp", `add dns = "auto"`, "the node asks nobody about its home network, for dns is off")
	}
	if m.DNS != DNSOff && !filepath.IsAbs(m.ResolvConf) {
		d.problem(at+".resolv-conf", `for example "/etc/resolv.conf"`, "%q is no absolute path", m.ResolvConf)
	}
	if m.HomeNetwork.IsValid() && m.HomeAddress.IsValid() && !m.HomeNetwork.Contains(m.HomeAddress) {
		d.problem(at+".home-address", "one of home-address and home-network is wrong", "%s is not inside the home network %s", m.HomeAddress, m.HomeNetwork)
	}
	for _, h := range m.HomeAgents {
		if h.Addr.IsValid() && h.Addr == m.HomeAddress {
			d.problem(at+".home-address", "ask the home agent for the address that it has for this node", "%s is the home agent's address", m.HomeAddress)
		}
	}
	if m.NATTraversal == NATTraversalOff && m.Encapsulation.Kind == encap.UDP {
		d.problem(at+".encapsulation", `set nat-traversal = "force"`, "udp needs NAT traversal, which is off")
	}
	if m.Encapsulation.Kind == encap.WireGuard {
		if m.NATTraversal == NATTraversalOff {
			d.problem(at+".encapsulation", `leave nat-traversal out`, "wireguard travels in UDP and needs NAT traversal, which is off")
		}
		if m.ReverseTunnel != AskRequired {
			d.problem(at+".encapsulation", `leave reverse-tunnel out`, "wireguard encrypts what goes through the tunnel, and without a reverse tunnel the node's own packets would not")
		}
		if len(m.Direct) > 0 {
			d.problem(at+".direct", `take it out, or choose another encapsulation`, "wireguard lets nothing out in the clear, and this would")
		}
	}
	if m.NATTraversal == NATTraversalForce && !m.Encapsulation.Auto && m.Encapsulation.Kind != encap.UDP && m.Encapsulation.Kind != encap.WireGuard && m.Encapsulation.Kind != 0 {
		d.warn(at+".encapsulation", "", "%s is what the UDP tunnel will carry: nat-traversal forces UDP", m.Encapsulation.Kind)
	}
	if w := m.Security.written(); m.AAA == nil || !m.AAA.Keys || w.inline.written() || len(w.keys) > 0 {
		d.associate(at, &m.Security, nodeAway)
	} else if m.NAI == "" && !d.wrong(at+".nai") {
		d.problem(at+".aaa.keys", "add nai, or a key with the home agent", "home agents ask AAA for keys by name")
	}
	if len(m.Associations) > 0 && m.Associations[0].Algorithm() == assoc.None && m.NAI != "" && !m.HomeAddress.IsValid() {
		d.warn(at+".nai", "", "without authentication anybody can take this name")
	}
	agentsSeen := map[netip.Addr]int{}
	for i := range m.ForeignAgentPeers {
		p := &m.ForeignAgentPeers[i]
		path := indexed(at+".foreign-agent", i)
		d.unique(agentsSeen, path+".address", at+".foreign-agent", p.Address, i)
		d.associate(path, &p.Security, agents)
	}
	if len(m.Uplinks) == 0 && !d.anyProblem(at+".uplink") {
		d.problem(at+".uplink", `add [[mobile-node.uplink]] with interface = "wlan0"`, "there is no link to move between")
	}
	seen := map[string]bool{}
	for i, u := range m.Uplinks {
		path := indexed(at+".uplink", i) + ".interface"
		switch {
		case u.Interface == "":
		case u.Interface == "lo":
			d.problem(path, "name one that leads to other hosts, such as wlan0", "%s leads nowhere but to this host", u.Interface)
		case seen[u.Interface]:
			d.problem(path, "remove one of the two", "%s is there twice", u.Interface)
		case u.Interface == device:
			d.problem(path, "name the interface below it, such as wlan0", "%s is the tunnel device itself (plane.device)", u.Interface)
		}
		seen[u.Interface] = true
	}
	d.checkMobileNetworks(m, seen, device)
}

// anyProblem tells whether a problem with this key or below it was reported.
func (d *decoder) anyProblem(key string) bool {
	return slices.ContainsFunc(d.problems, func(p Problem) bool {
		return p.Key == key || len(p.Key) > len(key) && p.Key[:len(key)+1] == key+"."
	})
}
