package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/host/discovery"
	"careof/wire/mip4"
)

// visiting is what a mobile node hears and says below IP, to register through a
// foreign agent: on a visited link it may have no address at all, the agent's
// advertisement names the link-layer address to send to, and the reply may come
// to a home address that the node does not have yet.
type visiting struct {
	set  *discovery.Set
	port uint16       // from which requests through foreign agents are sent
	hold *net.UDPConn // holds the port, or the kernel would answer the replies with "port unreachable"
}

// openVisiting opens it, unless the configuration uses no foreign agent. The
// uplinks must be named: nothing is heard below IP on an interface that the
// configuration does not give to the node.
func (d *daemon) openVisiting() error {
	c := d.cfg.MobileNode
	if c == nil || !c.ForeignAgents.Any && len(c.ForeignAgents.Allow) == 0 || len(c.Uplinks) == 0 {
		return nil
	}
	hold, err := net.ListenUDP("udp4", &net.UDPAddr{})
	if err != nil {
		return fmt.Errorf("mobile-node: foreign agents: %w", err)
	}
	v := &visiting{hold: hold, port: netip.MustParseAddrPort(hold.LocalAddr().String()).Port()}
	var links []string
	for _, u := range c.Uplinks {
		links = append(links, u.Interface)
	}
	v.set, err = discovery.New(links, v.port, discovery.Receiver{
		Discovery: func(ev engine.Discovery) {
			d.taps.discovery(false, ev.Link, ev.Src, ev.Dst, ev.TTL, ev.Data)
			d.mobile.Discovery(ev)
		},
		Signal: func(p engine.Packet) {
			if fromForeignAgent(p) {
				d.taps.message(false, p.Link, p.Src, p.Dst, p.TTL, p.Data)
				d.mobile.Packet(p)
			}
		},
	})
	if err != nil {
		hold.Close()
		return err
	}
	d.visiting = v
	return nil
}

// fromForeignAgent tells whether a message is one that a foreign agent has for its
// visitor: a reply, a notification, or a home agent's wish in the suite's own words.
func fromForeignAgent(p engine.Packet) bool {
	if len(p.Data) == 0 {
		return false
	}
	t := mip4.MessageType(p.Data[0])
	return t == mip4.TypeRegistrationReply || t == mip4.TypeExperimentalMessage || toMobileNode(p)
}

func (d *daemon) closeVisiting() {
	if d.visiting != nil {
		d.visiting.set.Close()
		d.visiting.hold.Close()
		d.visiting = nil
	}
}

// visitingLink listens on an uplink that has appeared. Where that is not
// allowed the node goes without foreign agents there.
func (d *daemon) visitingLink(l engine.Link) {
	if d.visiting == nil {
		return
	}
	if err := d.visiting.set.LinkChanged(l); err != nil {
		d.hub.note(note.Note{Kind: note.Failed, Level: note.Warn, Role: roleMobileNode, Link: l.Name, Why: err.Error()})
	}
}

// sendMobile sends for the mobile node: to a foreign agent by its link-layer
// address, to anybody else by the uplink's socket.
func (d *daemon) sendMobile(m engine.Send) error {
	if m.HW == (engine.HardwareAddr{}) || d.visiting == nil {
		return d.sendUplink(m)
	}
	if m.Src.Port() == 0 {
		m.Src = netip.AddrPortFrom(m.Src.Addr(), d.visiting.port)
	}
	return d.visiting.set.SendTo(m)
}

// sendUplink sends from an uplink's socket, whose port the programs know.
func (d *daemon) sendUplink(m engine.Send) error {
	err := d.sockets.Send(m)
	if m.Fresh && !m.Aside {
		err = errors.Join(err, d.plane.PortMoved(m.Link))
	}
	return err
}
