package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"careof/internal/core/note"
	"careof/internal/host/clock"
	"careof/internal/host/homedhcp"
	"careof/internal/host/lease"
	"careof/internal/proto/mip4/feature/hostconfig"
	"careof/internal/proto/mip4/mn"
)

// Notes about the lease of the home address.
const (
	homeLease     note.Kind = "home-lease"
	homeLeaseLost note.Kind = "home-lease-lost"
)

// A tenancy is the lease of the home address, and who keeps it.
type tenancy struct {
	d       *daemon
	path    string
	watch   clock.Watch
	machine *lease.Machine // nil before the first registration
	home    netip.Addr
	here    whereabouts
	conn    *homedhcp.Conn // nil while the node is not registered
	heard   chan reply
	trouble string // with the port, that was told last
	led     bool   // the routes of a lease were told to the node
}

// A reply is what came in at the client's port.
type reply struct {
	from    netip.Addr
	message *dhcpv4.DHCPv4
}

// whereabouts is where the node is registered from, and how packets come to it there.
type whereabouts struct {
	server, careOf, agent netip.Addr // at home the server is everybody
	link                  string
}

// atHome is where a node is on its home link: the servers there hear it themselves.
func (t *tenancy) atHome(ctx context.Context, state mn.Status) (w whereabouts) {
	if l := homedhcp.ReadLease(t.path); l.Address.Addr() != state.HomeAddress {
		return w // none has begun away from home, and none begins here
	}
	uplinks, err := ask[mn.UplinkInfo](ctx, t.d.mobile, mn.ListUplinks{})
	for _, u := range uplinks {
		if err == nil && u.Home {
			w = whereabouts{server: homedhcp.Everybody, link: u.Link}
		}
	}
	return w
}

// watchHomeLease keeps a lease for the home address while the node is registered.
func (d *daemon) watchHomeLease(ctx context.Context) {
	_, events, cancel := d.hub.subscribe(nil)
	defer cancel()
	tick := time.NewTicker(dnsEvery)
	defer tick.Stop()
	due := time.NewTimer(0)
	defer due.Stop()
	t := &tenancy{d: d, path: filepath.Join(d.cfg.StateDirectory, "home-lease.json"), heard: make(chan reply, 8)}
	defer t.hangUp()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if e.Role == roleMobileNode {
				t.look(ctx)
			}
		case <-tick.C:
			t.look(ctx)
		case m := <-t.heard:
			if t.machine != nil && t.conn != nil {
				t.do(ctx, t.machine.Message(t.now(ctx), m.from == t.here.server || t.here.server == homedhcp.Everybody, m.message))
			}
		case <-due.C:
			if t.machine != nil {
				t.do(ctx, t.machine.Wake(t.now(ctx)))
			}
		}
		due.Stop()
		if t.machine != nil {
			if at := t.machine.Deadline(); !at.IsZero() {
				due.Reset(max(0, time.Until(at)))
			}
		}
	}
}

// now is the time of day. When the clock was set, the lease lasts as long as before.
func (t *tenancy) now(ctx context.Context) time.Time {
	at := clock.Now()
	if by := t.watch.Jumped(at); by != 0 && t.machine != nil {
		t.do(ctx, t.machine.ClockSet(at.Wall, by))
	}
	return at.Wall
}

// look sees whether the node has registered, from where, or is not any more.
func (t *tenancy) look(ctx context.Context) {
	state, told, err := t.d.told(ctx)
	if err != nil {
		return
	}
	now := whereabouts{server: told.DHCPServer, careOf: state.CareOfAddress, agent: state.ForeignAgent, link: t.d.comesIn(state)}
	switch {
	case state.State == "home":
		now = t.atHome(ctx, state)
	case state.State != "registered" || !now.server.IsValid():
		now = whereabouts{}
	}
	if now == t.here && state.HomeAddress == t.home {
		return
	}
	t.hangUp()
	t.here = now
	if t.machine != nil {
		t.machine.Down()
	}
	if now == (whereabouts{}) {
		return
	}
	if t.machine == nil || t.home != state.HomeAddress {
		t.machine, t.home = lease.ForHome(state.HomeAddress, nodeName(state), luck(), homedhcp.ReadLease(t.path)), state.HomeAddress
		t.use(ctx, lease.Without{}) // what a process before had: nobody has answered yet
	}
	if t.conn, err = homedhcp.Listen(ctx, t.d.dns.space, t.home, now.link); err != nil {
		t.here = whereabouts{} // again with the next look, to which a note leads
		if t.trouble != err.Error() {
			t.trouble = err.Error()
			t.d.hub.note(note.Note{Kind: homeDHCPFailed, Level: note.Warn, Role: roleMobileNode, Why: t.trouble})
		}
		return
	}
	t.trouble = ""
	go t.hear(t.conn)
	t.do(ctx, t.machine.Up(t.now(ctx)))
}

// nodeName is who a node is to DHCP servers.
func nodeName(state mn.Status) string {
	if state.NAI != "" {
		return state.NAI
	}
	return state.HomeAddress.String()
}

// hearPause keeps a port that has nothing but errors from being asked all the time.
const hearPause = 100 * time.Millisecond

// hear hands over what comes in until the port is closed.
func (t *tenancy) hear(conn *homedhcp.Conn) {
	b := make([]byte, 1<<16)
	for {
		n, from, err := conn.Receive(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(hearPause)
			continue
		}
		if m, err := dhcpv4.FromBytes(b[:n]); err == nil {
			select {
			case t.heard <- reply{from, m}:
			default: // a server says it again
			}
		}
	}
}

func (t *tenancy) hangUp() {
	if t.conn != nil {
		t.conn.Close()
		t.conn = nil
	}
}

// do does what the machine wants, and tells what it has to say.
func (t *tenancy) do(ctx context.Context, actions []lease.Action) {
	tell := func(k note.Kind, level note.Level, why string) {
		t.d.hub.note(note.Note{Kind: k, Level: level, Role: roleMobileNode, Why: why})
	}
	write := func(l lease.Lease) {
		if err := homedhcp.WriteLease(t.path, l); err != nil {
			tell(homeDHCPFailed, note.Warn, err.Error())
		}
	}
	for _, a := range actions {
		switch a := a.(type) {
		case lease.Send:
			if t.conn != nil {
				// What could not be sent is sent again.
				_ = t.conn.Send(a.Message.ToBytes(), t.here.server)
			}
		case lease.Configure:
			tell(homeLease, note.Info, fmt.Sprintf("%s of %s until %s", t.home, a.Lease.Server, a.Lease.Until.Format(time.DateTime)))
			write(a.Lease)
		case lease.Extend:
			write(a.Lease)
		case lease.Withdraw:
			tell(homeLeaseLost, note.Warn, t.home.String()+": "+a.Why)
			write(lease.Lease{})
		case lease.Without:
			tell(homeDHCPFailed, note.Warn, fmt.Sprintf("a lease for %s: %s", t.home, a.Why))
		case lease.Inform:
			tell(homeDHCP, note.Info, a.Lease.Server.String()+" says: "+configuration(a.Lease).String())
		}
		t.use(ctx, a)
	}
}

func configuration(l lease.Lease) hostconfig.Configuration {
	return hostconfig.Configuration{Servers: l.DNS, Router: l.Gateway, Domain: l.Domain}.Sane()
}

// use gives the host what the lease says: name servers and domain by way of [daemon.told],
// routes as destinations of the tunnel.
func (t *tenancy) use(ctx context.Context, a lease.Action) {
	l, has := t.machine.Lease()
	_, nothing := a.(lease.Send)
	t.d.dns.mu.Lock()
	n := &t.d.dns.informed
	n.tenancy = t.machine.State().String()
	switch a := a.(type) {
	case lease.Configure, lease.Extend:
		n.at = time.Now()
	case lease.Withdraw:
		n.server, n.lease = netip.Addr{}, lease.Lease{}
	case lease.Inform:
		n.server, n.said, n.at = t.here.server, configuration(a.Lease), time.Now()
	}
	if has && !nothing {
		n.server, n.said, n.lease = t.here.server, configuration(l), l
	}
	t.d.dns.mu.Unlock()
	if nothing || len(l.Routes) == 0 && !t.led {
		return
	}
	t.led = len(l.Routes) > 0
	if _, err := ask[mn.Status](ctx, t.d.mobile, mn.Lead{Routes: l.Routes}); err != nil && ctx.Err() == nil {
		t.d.hub.note(note.Note{Kind: homeDHCPFailed, Level: note.Warn, Role: roleMobileNode, Why: "its routes: " + err.Error()})
	}
}
