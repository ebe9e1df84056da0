package check

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/forward"
	"careof/internal/lab/world"
	"careof/wire/encap"
)

// Converged tells whether a mobile node stands as it should some time after
// the last fault: registered if and only if it has connectivity, both ends'
// tunnels the same, and packets getting through to and from a peer. It lets
// some time pass.
func Converged(w *world.World, mobile *world.Node, agent *world.Daemon, peer *world.Node) error {
	var near *forward.Entry
	for e := range mobile.Plane().List(context.Background()) {
		if e.Role == forward.MobileNode && e.Network == "" {
			near = &e
			break
		}
	}
	connected := slices.ContainsFunc(mobile.Interfaces(), func(i *world.Interface) bool {
		l := i.Link()
		return l.Up && len(l.Addresses) > 0 && len(l.Gateways) > 0
	})
	if near == nil {
		if connected {
			return fmt.Errorf("%s has connectivity but no home address", mobile.Name)
		}
		return nil
	}
	home := near.Inner.Addr()
	far := sending(agent.Node.Plane(), func(e forward.Entry) bool { return e.Role == forward.HomeAgent && e.Inner.Contains(home) })
	own := sending(mobile.Plane(), func(e forward.Entry) bool { return e.Key == near.Key })
	switch {
	case !connected && len(far) > 0:
		return fmt.Errorf("%s has no connectivity, but is bound to %v", mobile.Name, far[0].Peer)
	case !connected:
		return nil
	case near.HomeLink != "" && len(far) > 0:
		return fmt.Errorf("%s is at home, but still bound to %v", mobile.Name, far[0].Peer)
	case near.HomeLink == "" && len(own) == 0:
		return fmt.Errorf("%s has connectivity but no tunnel", mobile.Name)
	case near.HomeLink == "" && len(far) == 0:
		return fmt.Errorf("%s has connectivity but is not bound", mobile.Name)
	case near.HomeLink == "":
		for _, t := range own {
			if !slices.ContainsFunc(far, func(u forward.Tunnel) bool { return sameTunnel(t, u) }) {
				return fmt.Errorf("%s sends through %v-%v by %v, but the home agent has %v-%v by %v",
					mobile.Name, t.Local, t.Peer, t.Encap, far[0].Local, far[0].Peer, far[0].Encap)
			}
		}
	}
	outside := peer.SourceFor(home)
	if err := reaches(w, peer, outside, home, 1); err != nil {
		return fmt.Errorf("%s does not reach %s: %w", peer.Name, mobile.Name, err)
	}
	if err := reaches(w, mobile, home, outside, 2); err != nil {
		return fmt.Errorf("%s does not reach %s: %w", mobile.Name, peer.Name, err)
	}
	return nil
}

// sending lists the live sending tunnels of the entries that which picks.
func sending(p *world.Plane, which func(forward.Entry) bool) []forward.Tunnel {
	var list []forward.Tunnel
	for e := range p.List(context.Background()) {
		if !which(e) {
			continue
		}
		for _, t := range e.Tunnels {
			if t.Mode != forward.Receive && !t.AnyPort && p.Live(t) {
				list = append(list, t)
			}
		}
	}
	return list
}

// sameTunnel compares the two ends of a tunnel. In UDP a translator may stand
// between them.
func sameTunnel(near, far forward.Tunnel) bool {
	if near.Encap != far.Encap {
		return false
	}
	return near.Encap == encap.UDP || near.Local.Addr() == far.Peer.Addr() && near.Peer.Addr() == far.Local.Addr()
}

// reaches sends echo requests until one is answered.
func reaches(w *world.World, from *world.Node, src, dst netip.Addr, id uint16) error {
	answered := false
	for seq := range uint16(8) {
		if err := from.Ping(src, dst, id, seq, func(encap.Echo) { answered = true }); err != nil {
			w.Run(250 * time.Millisecond)
			continue
		}
		if w.RunUntil(500*time.Millisecond, func() bool { return answered }) {
			return nil
		}
	}
	return fmt.Errorf("8 echo requests from %v to %v are not answered", src, dst)
}
