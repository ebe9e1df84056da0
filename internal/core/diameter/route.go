package diameter

import (
	"slices"

	wire "careof/wire/diameter"
)

// route lists the peers that lead to where a request is going, connected or not, the best first.
//
//rfc:6733#6.1.6
func (n *Node) route(m *wire.Message) []*peer {
	var peers []*peer
	add := func(p *peer) {
		if p != nil && !slices.Contains(peers, p) {
			peers = append(peers, p)
		}
	}
	// "When a request is received, and the host encoded in the Destination-Host AVP is one that is present in the peer table, the
	// message SHOULD be forwarded to the peer."
	if host, ok := m.Text(wire.DestinationHost); ok {
		add(n.find(host))
	}
	realm, _ := m.Text(wire.DestinationRealm)
	if i := slices.IndexFunc(n.cfg.Routes, func(r Route) bool { return r.Realm != "" && Same(r.Realm, realm) }); i >= 0 {
		for _, host := range n.cfg.Routes[i].Peers {
			add(n.find(host))
		}
		return peers
	}
	for _, p := range n.peers {
		if realm != "" && Same(p.realm, realm) {
			add(p)
		}
	}
	for _, r := range n.cfg.Routes {
		for _, host := range r.Peers {
			if r.Realm == "" {
				add(n.find(host))
			}
		}
	}
	// Without any route of the configuration, every peer may know the way.
	if len(n.cfg.Routes) == 0 && realm != "" {
		for _, p := range n.peers {
			add(p)
		}
	}
	return peers
}

// rank orders peers by the state of their connections; none for one that must not be used.
func (p *peer) rank() (rank int, ok bool) {
	if p.open() == nil {
		return 0, false
	}
	switch p.dog.health {
	case okay:
		return 0, true
	case reopen:
		return 1, true
	}
	return 2, true
}

// supports: a request "MAY only be forwarded to a host that has explicitly advertised support for the application (or has advertised
// the Relay Application Id)".
//
//rfc:6733#5.3
func (p *peer) supports(a wire.Application) bool {
	return a == wire.Base || slices.Contains(p.apps, a) || slices.Contains(p.apps, wire.Relay)
}

// candidates are the peers that a request can be sent to now, the best first. Those in avoid are left out, and those that it has come
// by: "the agent MUST ignore such a route".
//
//rfc:6733#6.1.7
func (n *Node) candidates(r *request, avoid ...*peer) []*peer {
	var ranked [3][]*peer
	for _, p := range r.route {
		rank, ok := p.rank()
		if !ok || !p.supports(r.message.Application) || slices.Contains(avoid, p) || r.secure && !p.open().secure {
			continue
		}
		been := slices.ContainsFunc(r.message.All(wire.RouteRecord), func(a wire.AVP) bool { host, _ := a.Text(); return Same(host, p.Host) })
		if !been {
			ranked[rank] = append(ranked[rank], p)
		}
	}
	return slices.Concat(ranked[:]...)
}

// destination says whether a request is for this node, and what to answer when it is for nobody here.
//
//rfc:6733#6.1.4
func (n *Node) destination(m *wire.Message) (here bool, refuse wire.ResultCode) {
	host, hasHost := m.Text(wire.DestinationHost)
	realm, hasRealm := m.Text(wire.DestinationRealm)
	supported := m.Application == wire.Base || slices.Contains(n.cfg.Applications, m.Application)
	switch {
	case hasHost && Same(host, n.cfg.Host), !hasHost && !hasRealm, !hasHost && n.cfg.local(realm):
		if !supported {
			return true, wire.ApplicationUnsupported
		}
		return true, 0
	case n.cfg.Transit && hasRealm && m.Flags&wire.FlagProxiable != 0:
		return false, 0
	// "or because the Destination-Host AVP was given without the associated Destination-Realm AVP."
	case n.cfg.Transit, n.cfg.local(realm), !hasRealm:
		return false, wire.UnableToDeliver
	}
	return false, wire.RealmNotServed
}
