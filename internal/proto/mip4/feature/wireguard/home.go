package wireguard

import (
	"careof/internal/core/engine"
	"careof/internal/proto/mip4/ha"
	"careof/wire/encap"
	"careof/wire/mip4"
)

type home struct {
	cfg     Config
	granted *ha.Slot[bool]
}

// addHome adds the feature to a home agent.
func addHome(cfg Config, a *ha.Agent) error {
	h := &home{cfg: cfg, granted: new(ha.Slot[bool])}
	a.Bind.Add(Name, "key", h.bind)
	a.Reply.Add(Name, "key", h.reply)
	return nil
}

// bind encrypts the UDP tunnel that NAT traversal has settled. A half-bound one
// it leaves alone, for its first keepalive must tell the port in the clear; so
// it does anything that ends at a foreign agent.
func (h *home) bind(x *ha.Exchange) engine.Verdict {
	if x.Deregisters() {
		return engine.Next()
	}
	key, asked := find(x.Message)
	possible := x.Encap == encap.UDP && !x.AnyPort && x.Request.Flags.Has(mip4.FlagD)
	switch {
	case asked && (!key.IsValid() || key == h.cfg.Own):
		return engine.Deny(uint8(mip4.CodeHAPoorlyFormed), "that is no public key of the mobile node's")
	case asked && possible:
		x.Inside, x.PeerKey = encap.WireGuard, key
		*h.granted.Of(x) = true
	case h.cfg.Home == Required:
		return engine.Deny(uint8(mip4.CodeHAEncapsulationUnavailable), "only encrypted tunnels are granted")
	}
	return engine.Next()
}

// reply tells the home agent's key, before its authenticator.
func (h *home) reply(x *ha.Exchange) engine.Verdict {
	if x.Accepted() && *h.granted.Of(x) {
		x.Draft.Add(mip4.ZoneHome, extension(h.cfg.Own))
	}
	return engine.Next()
}
