package doctor

import (
	"slices"

	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/core/forward"
	"careof/wire/encap"
)

// checkEncryption says who can read what goes through the tunnels.
func checkEncryption(p *patient) []control.Finding {
	if p.c == nil {
		return one(Skip, "the configuration has mistakes", "")
	}
	var out []control.Finding
	if m := p.c.MobileNode; m != nil {
		switch {
		case m.Encapsulation.Kind == encap.WireGuard && !forward.AllOf(m.Routes.Destinations()):
			out = append(out, control.Finding{Result: OK, Text: "what goes through the tunnel is encrypted; programs' packets to other destinations than routes names leave beside it, as they are",
				Fix: `leave routes out of [mobile-node], if all is to go through the tunnel`})
		case m.Encapsulation.Kind == encap.WireGuard:
			out = append(out, control.Finding{Result: OK, Text: "what goes through the tunnel is encrypted, and nothing leaves beside it"})
		default:
			out = append(out, control.Finding{Result: OK, Text: "what goes through the tunnel can be read on the way",
				Fix: `set encapsulation = "wireguard" in [mobile-node], if the home agent is one of this suite's`})
		}
	}
	if h := p.c.HomeAgent; h != nil {
		udp := h.NATTraversal != config.NATTraversalOff && h.ForcedUDP != config.Off && (len(h.Encapsulations) == 0 || slices.Contains(h.Encapsulations, encap.UDP))
		switch {
		case h.WireGuard == config.WireGuardOff:
			out = append(out, control.Finding{Result: OK, Text: "no node can have an encrypted tunnel", Fix: `leave wireguard out of [home-agent]`})
		case !udp:
			out = append(out, control.Finding{Result: Warn, Text: "nodes that encrypt will not register from everywhere: encrypted tunnels are UDP tunnels, which are not granted to all",
				Fix: `leave nat-traversal, forced-udp and encapsulations out of [home-agent]`})
		case h.WireGuard == config.WireGuardRequired:
			out = append(out, control.Finding{Result: OK, Text: "all tunnels are encrypted"})
		default:
			out = append(out, control.Finding{Result: OK, Text: "nodes that ask get encrypted tunnels"})
		}
	}
	return all(out, "there is no role whose tunnels could be encrypted from end to end")
}
