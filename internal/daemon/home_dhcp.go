package daemon

import (
	"context"
	"net/netip"
	"reflect"
	"time"

	"careof/internal/core/note"
	"careof/internal/host/inform"
	"careof/internal/proto/mip4/feature/hostconfig"
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
		err = d.inform(ctx, state.HomeAddress, here.server, state.NAI)
		if next = time.Now().Add(homeDHCPEvery); err != nil {
			next = time.Now().Add(homeDHCPAgain)
			if ctx.Err() == nil {
				d.hub.note(note.Note{Kind: homeDHCPFailed, Level: note.Warn, Why: err.Error()})
			}
		}
	}
}

func (d *daemon) inform(ctx context.Context, home, server netip.Addr, name string) error {
	if name == "" {
		name = home.String()
	}
	a, err := inform.Ask(ctx, d.dns.space, inform.Question{Device: d.cfg.Plane.Device, Home: home, Server: server, Client: name})
	if err != nil {
		return err
	}
	said := hostconfig.Configuration{Servers: a.Servers, Router: a.Router, Domain: a.Domain}.Sane()
	d.dns.mu.Lock()
	news := d.dns.informed.server != server || !reflect.DeepEqual(d.dns.informed.said, said)
	d.dns.informed = informed{server, time.Now(), said}
	d.dns.mu.Unlock()
	if news {
		d.hub.note(note.Note{Kind: homeDHCP, Level: note.Info, Role: "", Why: server.String() + " says: " + said.String()})
	}
	return nil
}
