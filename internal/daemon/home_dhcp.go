package daemon

import (
	"context"
	"net/netip"
	"reflect"
	"time"

	"careof/internal/core/note"
	"careof/internal/host/inform"
	"careof/internal/host/lease"
	"careof/internal/proto/mip4/feature/hostconfig"
	"careof/internal/proto/mip4/mn"
)

// Notes about the home network's DHCP server.
const (
	homeDHCP       note.Kind = "home-dhcp"
	homeDHCPFailed note.Kind = "home-dhcp-failed"
)

const (
	// homeDHCPEvery is between two questions from one place, and homeDHCPAgain
	// between those that nobody answers.
	homeDHCPEvery = 30 * time.Minute
	homeDHCPAgain = time.Minute
)

// informed is what the home network's DHCP server has said last.
type informed struct {
	server netip.Addr
	at     time.Time
	said   hostconfig.Configuration

	// With a lease of the home address: how its client stands, and the lease itself.
	tenancy string
	lease   lease.Lease
}

// complete puts what the DHCP server says in the place of what the home agent said.
func (n *informed) complete(t *hostconfig.Told) {
	if !n.server.IsValid() || n.server != t.DHCPServer {
		return
	}
	if len(n.said.Servers) > 0 {
		t.Servers = n.said.Servers
	}
	if n.said.Router.IsValid() {
		t.Router = n.said.Router
	}
	if n.said.Domain != "" {
		t.Domain = n.said.Domain
	}
}

// comesIn is the link by which packets for the home address come in: the tunnel's device,
// or that to a foreign agent which delivers them plain.
func (d *daemon) comesIn(state mn.Status) string {
	if state.ForeignAgent.IsValid() && state.Encapsulation == "" {
		return state.Link
	}
	return d.cfg.Plane.Device
}

// watchHomeDHCP asks the home network's DHCP server through the tunnel, from each place
// that the node registers from.
func (d *daemon) watchHomeDHCP(ctx context.Context) {
	_, events, cancel := d.hub.subscribe(nil)
	defer cancel()
	tick := time.NewTicker(dnsEvery)
	defer tick.Stop()
	type place struct{ server, careOf netip.Addr }
	var last place
	var next time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if e.Role != roleMobileNode {
				continue
			}
		case <-tick.C:
		}
		state, told, err := d.told(ctx)
		here := place{told.DHCPServer, state.CareOfAddress}
		if err != nil || !here.server.IsValid() || here == last && time.Now().Before(next) {
			continue
		}
		last = here
		err = d.inform(ctx, state, here.server)
		if next = time.Now().Add(homeDHCPEvery); err != nil {
			next = time.Now().Add(homeDHCPAgain)
			if ctx.Err() == nil {
				d.hub.note(note.Note{Kind: homeDHCPFailed, Level: note.Warn, Why: err.Error()})
			}
		}
	}
}

func (d *daemon) inform(ctx context.Context, state mn.Status, server netip.Addr) error {
	a, err := inform.Ask(ctx, d.dns.space, inform.Question{Link: d.comesIn(state), Home: state.HomeAddress, Server: server, Client: nodeName(state)})
	if err != nil {
		return err
	}
	said := hostconfig.Configuration{Servers: a.Servers, Router: a.Router, Domain: a.Domain}.Sane()
	d.dns.mu.Lock()
	news := d.dns.informed.server != server || !reflect.DeepEqual(d.dns.informed.said, said)
	d.dns.informed = informed{server: server, at: time.Now(), said: said}
	d.dns.mu.Unlock()
	if news {
		d.hub.note(note.Note{Kind: homeDHCP, Level: note.Info, Role: "", Why: server.String() + " says: " + said.String()})
	}
	return nil
}
