package bpf

import (
	"net"

	"github.com/vishvananda/netlink"

	"careof/internal/core/engine"
)

// Link tells the present state of a link, and puts the program that
// decapsulates on those that are up. The tunnel device does not concern it.
func (p *Plane) Link(l engine.Link) error {
	if l.Name == p.config.Device || l.Name == "lo" {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	return p.space.Do(func() error {
		delete(p.links, l.Name)
		dev, err := netlink.LinkByName(l.Name)
		if l.Gone || err != nil {
			a := p.ingress[l.Name]
			delete(p.ingress, l.Name)
			if a == nil {
				return nil
			}
			return a.remove()
		}
		if err := p.avoid(dev); err != nil {
			return err
		}
		index := dev.Attrs().Index
		a := p.ingress[l.Name]
		if a != nil && a.index == index {
			return nil
		}
		if a != nil {
			delete(p.ingress, l.Name)
			if err := a.remove(); err != nil {
				return err
			}
		}
		ethernet, ok := underlay(dev)
		if !ok {
			return nil
		}
		// A link with a new name: a program is on a link once, and would go with the
		// old name when that is told to be gone.
		for name, old := range p.ingress {
			if old.index == index {
				delete(p.ingress, name)
				if err := old.remove(); err != nil {
					return err
				}
			}
		}
		prog := p.o.DecapsulatePlain
		if ethernet {
			prog = p.o.DecapsulateEther
		}
		if a, err = p.attach(l.Name, index, false, prog); err != nil {
			return err
		}
		p.ingress[l.Name] = a
		return nil
	})
}

// lookup tells about an underlay. p.mu is held.
func (p *Plane) lookup(name string) (underLink, bool) {
	if l, ok := p.links[name]; ok {
		return l, true
	}
	var l underLink
	err := p.space.Do(func() error {
		dev, err := netlink.LinkByName(name)
		if err == nil {
			l = underLink{dev.Attrs().Index, dev.Attrs().MTU}
		}
		return err
	})
	if err != nil {
		return l, false
	}
	p.links[name] = l
	return l, true
}
