package bpf

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// attachment is a program on one link.
type attachment struct {
	name   string // of the link
	index  int
	device int // the tunnel device's index
	egress bool
	link   link.Link // TCX; nil for a classic filter
	pin    string    // of the link; empty without one
}

// pinName is the file of a link's pin.
func pinName(name string, egress bool) string {
	if egress {
		return "egress_" + name
	}
	return "ingress_" + name
}

// attach puts a program on a link, in the place of one that an earlier process
// left there: packets meet one or the other.
func (p *Plane) attach(name string, index int, egress bool, prog *ebpf.Program) (*attachment, error) {
	a := &attachment{name: name, index: index, device: p.device, egress: egress}
	if p.pins != "" {
		a.pin = filepath.Join(p.pins, pinName(name, egress))
	}
	if !p.config.Classic {
		unpinned, err := a.attachTCX(prog)
		if unpinned != nil {
			p.trouble = unpinned
		}
		if err == nil || !errors.Is(err, ebpf.ErrNotSupported) {
			return a, err
		}
	}
	return a, a.attachClassic(prog)
}

// attachTCX tells apart why the program is not there, and why it is not pinned.
func (a *attachment) attachTCX(prog *ebpf.Program) (unpinned, err error) {
	pin := a.pin
	if pin != "" {
		if err := clearLinkPin(pin); err != nil {
			return nil, err
		}
		if l, err := link.LoadPinnedLink(pin, nil); err == nil {
			if a.holds(l) && l.Update(prog) == nil {
				a.link = l
				return nil, nil
			}
			l.Close()
			os.Remove(pin) // of a device that is gone
		}
	}
	kind := ebpf.AttachTCXIngress
	if a.egress {
		kind = ebpf.AttachTCXEgress
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: a.index, Program: prog, Attach: kind})
	if err != nil {
		return nil, fmt.Errorf("bpf: attach to %s: %w", a.name, err)
	}
	a.link = l
	if pin != "" {
		unpinned = pinError(pin, l.Pin(pin))
	}
	return unpinned, nil
}

// holds reports whether a link is on this interface still.
func (a *attachment) holds(l link.Link) bool {
	info, err := l.Info()
	if err != nil || info.TCX() == nil {
		return false
	}
	return int(info.TCX().Ifindex) == a.index
}

// close lets go of the link; a pinned one and a classic filter stay.
func (a *attachment) close() error {
	if a.link == nil {
		return nil
	}
	return a.link.Close()
}

// remove takes the program off the link.
func (a *attachment) remove() error {
	if a.link == nil {
		err := netlink.FilterDel(a.filter(0))
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) {
			return nil
		}
		return err
	}
	if a.pin != "" {
		if err := os.Remove(a.pin); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return a.link.Close()
}

// avoidLinks tells the programs which of the present links to avoid.
func (p *Plane) avoidLinks() error {
	if p.config.AvoidVirtual {
		p.settings.Avoided = 1
	}
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("bpf: links: %w", err)
	}
	for _, l := range links {
		if err := p.avoid(l); err != nil {
			return err
		}
	}
	return nil
}

// Attend tells the programs whether a daemon serves now: while one does, they
// leave sending on virtual Ethernet and bridges to it, where that is configured.
// They notice by themselves when the process ends. [Plane.Close] takes it back.
func (p *Plane) Attend(serves bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	return p.attend(serves && p.config.AvoidVirtual)
}

func (p *Plane) attend(serves bool) error {
	var err error
	if serves {
		err = p.o.Attended.Put(uint32(0), p.o.EncapsulateAttended)
	} else if err = p.o.Attended.Delete(uint32(0)); errors.Is(err, ebpf.ErrKeyNotExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("bpf: who sends: %w", err)
	}
	return nil
}

// avoid tells the programs whether to avoid a link.
func (p *Plane) avoid(l netlink.Link) error {
	index := uint32(l.Attrs().Index)
	var err error
	if p.config.AvoidVirtual && (l.Type() == "veth" || l.Type() == "bridge") {
		err = p.o.Avoided.Put(index, uint32(1))
	} else if err = p.o.Avoided.Delete(index); errors.Is(err, ebpf.ErrKeyNotExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("bpf: %s: %w", l.Attrs().Name, err)
	}
	return nil
}

// underlay tells how frames of a link begin. ok is false for a link whose
// packets no program can read.
func underlay(l netlink.Link) (ethernet, ok bool) {
	switch l.Attrs().EncapType {
	case "ether", "loopback":
		return true, true
	case "none", "ppp", "rawip", "ipip":
		return false, true
	}
	return false, false
}
