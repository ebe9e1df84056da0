package wireguard

import (
	"net/netip"
	"slices"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/proto/mip4/mn"
	"careof/wire/encap"
	"careof/wire/mip4"
)

type mobile struct {
	cfg Config
	// known are the home agents' keys, as they last told them: so data can
	// follow a request at once when the node moves.
	known map[netip.Addr]forward.PublicKey
}

// addMobile adds the feature to a mobile node.
func addMobile(cfg Config, n *mn.Node) error {
	m := &mobile{cfg: cfg, known: make(map[netip.Addr]forward.PublicKey)}
	n.Request.Add(Name, "key", m.request)
	n.Accepted.Add(Name, "key", m.accepted)
	return nil
}

// request tells this node's key. Of the tunnels that may come of the request
// only encrypted ones remain: data that follow it go through none other.
func (m *mobile) request(x *mn.Attempt) engine.Verdict {
	if x.Request.Lifetime == 0 {
		return engine.Next()
	}
	x.Add(mip4.ZoneHome, extension(m.cfg.Own))
	key := m.known[x.Registration.Key.HomeAgent]
	x.Tunnels = slices.DeleteFunc(x.Tunnels, func(t forward.Tunnel) bool { return t.Encap != encap.UDP || !key.IsValid() })
	for i := range x.Tunnels {
		x.Tunnels[i].Inside, x.Tunnels[i].PeerKey = encap.WireGuard, key
	}
	return engine.Next()
}

// accepted reads the home agent's key. Without one, or without the UDP tunnel
// that it belongs to, the reply counts for a denial.
func (m *mobile) accepted(x *mn.Response) engine.Verdict {
	agent := x.Registration.Key.HomeAgent
	key, told := find(x.Message)
	switch {
	case !told:
		delete(m.known, agent)
		return engine.Deny(uint8(mip4.CodeHAEncapsulationUnavailable), "the home agent does not encrypt")
	case !key.IsValid() || key == m.cfg.Own || x.Encap != encap.UDP:
		delete(m.known, agent)
		return engine.Deny(uint8(mip4.CodeHAEncapsulationUnavailable), "the home agent's answer about encryption makes no sense")
	}
	m.known[agent] = key
	x.Inside, x.PeerKey = encap.WireGuard, key
	return engine.Next()
}
