package daemon

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"careof/internal/control"
	"careof/internal/core/ident"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
)

// How much a picture can have before nobody can read it.
const (
	nodesShown  = 40
	placesShown = 10
)

// visitedBits is how long the prefix is that co-located care-of addresses are
// gathered in: what networks really are, nobody tells a home agent.
const visitedBits = 24

// timeline is what happened to a node, by its home address or NAI.
func (d *daemon) timeline(node string) (any, error) {
	if a, err := netip.ParseAddr(node); err == nil {
		return d.hub.timeline(a, ""), nil
	}
	return d.hub.timeline(netip.Addr{}, string(ident.NAI(node))), nil
}

// A picture is a topology that grows.
type picture struct {
	control.Topology
	at map[string]int // of a vertex, by its ID
}

func newPicture() *picture {
	return &picture{Topology: control.Topology{Vertices: []control.Vertex{}, Edges: []control.Edge{}}, at: make(map[string]int)}
}

// vertex adds one, unless it is there, and returns it for a while.
func (p *picture) vertex(v control.Vertex) *control.Vertex {
	i, there := p.at[v.ID]
	if !there {
		i = len(p.Vertices)
		p.at[v.ID] = i
		p.Vertices = append(p.Vertices, v)
	}
	return &p.Vertices[i]
}

func (p *picture) edge(e control.Edge) { p.Edges = append(p.Edges, e) }

// topology draws what the roles of this daemon know.
func (d *daemon) topology(ctx context.Context) (any, error) {
	p := newPicture()
	if d.home != nil {
		bindings, err := d.homeBindings(ctx)
		if err != nil {
			return nil, err
		}
		d.drawHome(p, bindings)
	}
	if d.foreign != nil {
		visitors, err := ask[fa.VisitorInfo](ctx, d.foreign, fa.ListVisitors{})
		if err != nil {
			return nil, err
		}
		d.drawForeign(p, visitors)
	}
	if d.mobile != nil {
		uplinks, err := ask[mn.UplinkInfo](ctx, d.mobile, mn.ListUplinks{})
		if err != nil {
			return nil, err
		}
		status, err := ask[mn.Status](ctx, d.mobile, mn.ShowStatus{})
		if err != nil {
			return nil, err
		}
		for _, s := range status {
			drawMobile(p, s, uplinks)
		}
	}
	return p.Topology, nil
}

// nameOf is what people call a node.
func nameOf(nai string, home netip.Addr) string {
	if nai != "" {
		return nai
	}
	if !home.IsValid() {
		return "no address yet"
	}
	return home.String()
}

func nodeID(home netip.Addr, nai string) string {
	if home.IsValid() {
		return "node " + home.String()
	}
	return "node " + nai
}

// A place is where nodes are attached, as a home agent sees it.
type place struct {
	control.Vertex
	nodes []ha.Binding
}

// placeOf says where a binding's tunnel ends.
func (d *daemon) placeOf(b *ha.Binding) control.Vertex {
	end := b.Endpoint.Addr()
	switch {
	case !strings.Contains(b.Flags, "D"):
		return control.Vertex{ID: "agent " + b.CareOfAddress.String(), Kind: "foreign-agent", Label: b.CareOfAddress.String(), Detail: "foreign agent"}
	case b.BehindNAT, end != b.CareOfAddress:
		return control.Vertex{ID: "nat " + end.String(), Kind: "network", Label: end.String(), Detail: "behind a NAT"}
	}
	prefix, err := end.Prefix(visitedBits)
	if err != nil {
		prefix = netip.PrefixFrom(end, end.BitLen())
	}
	return control.Vertex{ID: "network " + prefix.String(), Kind: "network", Label: prefix.String(), Detail: "visited network"}
}

// drawHome draws a home agent's networks, itself, the visited networks and
// foreign agents, and the nodes that were bound or moved last.
func (d *daemon) drawHome(p *picture, bindings []ha.Binding) {
	c := d.cfg.HomeAgent
	self := p.vertex(control.Vertex{ID: "agent " + c.Addresses[0].String(), Kind: "home-agent", Label: c.Addresses[0].String(), Detail: "home agent", Self: true}).ID
	for _, n := range c.Networks {
		id := p.vertex(control.Vertex{ID: "home " + n.Prefix.String(), Kind: "home-network", Label: n.Prefix.String(), Detail: "home network"}).ID
		p.edge(control.Edge{From: id, To: self, Kind: "attachment", Active: true})
	}
	p.Nodes += len(bindings)
	places := make(map[string]*place)
	for _, b := range bindings {
		v := d.placeOf(&b)
		at := places[v.ID]
		if at == nil {
			at = &place{Vertex: v}
			places[v.ID] = at
		}
		at.nodes = append(at.nodes, b)
	}
	sorted := make([]*place, 0, len(places))
	for _, at := range places {
		sorted = append(sorted, at)
	}
	// The fullest first.
	slices.SortFunc(sorted, func(a, b *place) int {
		if c := cmp.Compare(len(b.nodes), len(a.nodes)); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	if len(sorted) > placesShown {
		rest := &place{Vertex: control.Vertex{ID: "elsewhere", Kind: "network", Label: fmt.Sprintf("%d more networks", len(sorted)-placesShown+1), Detail: "elsewhere"}}
		for _, at := range sorted[placesShown-1:] {
			rest.nodes = append(rest.nodes, at.nodes...)
		}
		sorted = append(sorted[:placesShown-1], rest)
	}
	// Their order in the picture must not change with every move.
	slices.SortFunc(sorted, func(a, b *place) int { return strings.Compare(a.ID, b.ID) })
	for _, at := range sorted {
		v := p.vertex(at.Vertex)
		v.Nodes = len(at.nodes)
		p.edge(control.Edge{From: self, To: at.ID, Kind: "tunnel", Encapsulation: encapsulationsOf(at.nodes), Active: true})
	}
	for _, at := range sorted {
		for _, b := range latest(at.nodes, max(1, nodesShown/max(1, len(sorted)))) {
			state := "active"
			if b.HalfBound {
				state = "half-bound"
			}
			node := p.vertex(control.Vertex{ID: nodeID(b.HomeAddress, b.NAI), Kind: "mobile-node", Label: nameOf(b.NAI, b.HomeAddress), Detail: b.HomeAddress.String() + " at " + b.CareOfAddress.String(), State: state}).ID
			p.edge(control.Edge{From: at.ID, To: node, Kind: "attachment", Encapsulation: b.Encapsulation, Active: true})
			p.Shown++
		}
	}
}

// latest are the n bindings that became true last, in the order of their home
// addresses.
func latest(list []ha.Binding, n int) []ha.Binding {
	if len(list) > n {
		list = slices.Clone(list)
		slices.SortStableFunc(list, func(a, b ha.Binding) int { return b.Since.Compare(a.Since) })
		list = list[:n]
		slices.SortStableFunc(list, func(a, b ha.Binding) int { return a.HomeAddress.Compare(b.HomeAddress) })
	}
	return list
}

func encapsulationsOf(list []ha.Binding) string {
	var kinds []string
	for _, b := range list {
		if !slices.Contains(kinds, b.Encapsulation) {
			kinds = append(kinds, b.Encapsulation)
		}
	}
	slices.Sort(kinds)
	return strings.Join(kinds, ", ")
}

// drawForeign draws the home agents of the visitors, the foreign agent, its
// links, and the visitors.
func (d *daemon) drawForeign(p *picture, visitors []fa.VisitorInfo) {
	c := d.cfg.ForeignAgent
	v := p.vertex(control.Vertex{ID: "agent " + c.CareOfAddresses[0].String(), Kind: "foreign-agent", Label: c.CareOfAddresses[0].String(), Detail: "foreign agent", Self: true})
	v.Self = true
	self := v.ID
	for _, link := range c.Interfaces {
		id := p.vertex(control.Vertex{ID: "link " + link, Kind: "link", Label: link, Detail: "visited link"}).ID
		p.edge(control.Edge{From: self, To: id, Kind: "attachment", Active: true})
	}
	p.Nodes += len(visitors)
	homes := make(map[netip.Addr]bool)
	for i, one := range visitors {
		if !homes[one.HomeAgent] && len(homes) < placesShown {
			homes[one.HomeAgent] = true
			home := p.vertex(control.Vertex{ID: "agent " + one.HomeAgent.String(), Kind: "home-agent", Label: one.HomeAgent.String(), Detail: "home agent"}).ID
			if one.State == "accepted" {
				p.edge(control.Edge{From: home, To: self, Kind: "tunnel", Encapsulation: one.Encapsulation, Active: true})
			}
		}
		link := p.vertex(control.Vertex{ID: "link " + one.Link, Kind: "link", Label: one.Link, Detail: "visited link"})
		link.Nodes++
		if i >= nodesShown {
			continue
		}
		at := link.ID
		node := p.vertex(control.Vertex{ID: nodeID(one.HomeAddress, one.NAI), Kind: "mobile-node", Label: nameOf(one.NAI, one.HomeAddress), Detail: one.HW, State: one.State}).ID
		p.edge(control.Edge{From: at, To: node, Kind: "attachment", Active: one.State == "accepted"})
		p.Shown++
	}
}

// drawMobile draws a mobile node, its uplinks, and the agents that it uses.
func drawMobile(p *picture, s mn.Status, uplinks []mn.UplinkInfo) {
	node := p.vertex(control.Vertex{ID: nodeID(s.HomeAddress, s.NAI), Kind: "mobile-node", Label: nameOf(s.NAI, s.HomeAddress), Detail: "this node", Self: true, State: s.State}).ID
	p.Nodes++
	p.Shown++
	agent := ""
	if s.HomeAgent.IsValid() {
		agent = p.vertex(control.Vertex{ID: "agent " + s.HomeAgent.String(), Kind: "home-agent", Label: s.HomeAgent.String(), Detail: "home agent"}).ID
	}
	for _, u := range uplinks {
		state, detail := "usable", "uplink"
		switch {
		case !u.Usable:
			state, detail = "unusable", u.Why
		case u.Home:
			state, detail = "home", "the home network"
		case u.CareOfAddress.IsValid():
			detail = u.CareOfAddress.String()
		}
		link := p.vertex(control.Vertex{ID: "uplink " + u.Link, Kind: "uplink", Label: u.Link, Detail: detail, State: state}).ID
		p.edge(control.Edge{From: link, To: node, Kind: "attachment", Active: u.Active || u.Home && u.Usable})
		if !u.Active || agent == "" {
			continue
		}
		from := agent
		if s.ForeignAgent.IsValid() {
			from = p.vertex(control.Vertex{ID: "agent " + s.CareOfAddress.String(), Kind: "foreign-agent", Label: s.CareOfAddress.String(), Detail: "foreign agent"}).ID
			p.edge(control.Edge{From: agent, To: from, Kind: "tunnel", Encapsulation: s.Encapsulation, Active: true})
			p.edge(control.Edge{From: from, To: link, Kind: "attachment", Active: true})
			continue
		}
		p.edge(control.Edge{From: from, To: link, Kind: "tunnel", Encapsulation: s.Encapsulation, Active: true})
	}
}
