package daemon

import (
	"context"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/core/note"
	"careof/internal/host/netspace"
	"careof/internal/host/resolver"
	"careof/internal/proto/mip4/feature/hostconfig"
	"careof/internal/proto/mip4/mn"
)

// Notes about the name servers of this host.
const (
	dnsGiven     note.Kind = "dns-given"
	dnsTakenBack note.Kind = "dns-taken-back"
	dnsFailed    note.Kind = "dns-failed"
)

const (
	// dnsEvery is between looks at what the host has, for others may change it.
	dnsEvery = 5 * time.Second
	// dnsGrace is how long a node may be without a registration, as on a move,
	// before the host has its own name servers back.
	dnsGrace = 10 * time.Second
	// dnsFarewell bounds what happens at the end.
	dnsFarewell = 5 * time.Second
)

// dns is what the host asks for names.
type dns struct {
	mu       sync.Mutex
	resolver *resolver.Resolver
	trouble  string // that was told last

	space    *netspace.Space // where the home network's DHCP server is asked
	informed informed
}

var resolverKinds = map[config.DNS]resolver.Kind{
	config.DNSAuto: resolver.Auto, config.DNSResolved: resolver.Resolved, config.DNSResolvConf: resolver.File,
}

// openDNS takes back what a process left that was killed, whatever is configured now,
// before anybody here asks for a name.
func (d *daemon) openDNS(ctx context.Context) error {
	c := d.cfg.MobileNode
	if c == nil {
		return nil
	}
	one := &dns{resolver: resolver.New(resolver.Config{
		Kind: resolverKinds[c.DNS], Device: d.cfg.Plane.Device, File: c.ResolvConf,
		Record: filepath.Join(d.cfg.StateDirectory, "dns"),
	})}
	d.report(one, dnsTakenBack, "an earlier process had not done so")(one.resolver.TakeBack(ctx))
	if c.DNS == config.DNSOff {
		return nil
	}
	d.dns = one
	var err error
	one.space, err = netspace.Here()
	return err
}

func (d *daemon) closeDNS() {
	if d.dns != nil && d.dns.space != nil {
		d.dns.space.Close()
	}
}

// report makes a note of what was done, and of a trouble when it is another one than
// before.
func (d *daemon) report(one *dns, kind note.Kind, why string) func(bool, error) {
	return func(done bool, err error) {
		switch {
		case err != nil && err.Error() != one.trouble:
			one.trouble = err.Error()
			d.hub.note(note.Note{Kind: dnsFailed, Level: note.Warn, Why: one.trouble})
		case err == nil:
			one.trouble = ""
			if done {
				d.hub.note(note.Note{Kind: kind, Level: note.Info, Why: why})
			}
		}
	}
}

// watchDNS gives the host the home network's name servers while the node is registered
// and knows them, until ctx ends; then it takes them back.
func (d *daemon) watchDNS(ctx, last context.Context) {
	_, events, cancel := d.hub.subscribe(nil)
	defer cancel()
	tick := time.NewTicker(dnsEvery)
	defer tick.Stop()
	end := time.Now() // of the last registration
	for {
		select {
		case <-ctx.Done():
			farewell, enough := context.WithTimeout(context.WithoutCancel(last), dnsFarewell)
			defer enough()
			d.takeBack(farewell, "the daemon ends")
			return
		case e := <-events:
			if e.Role != roleMobileNode {
				continue
			}
		case <-tick.C:
		}
		state, told, err := d.told(ctx)
		if err != nil {
			continue
		}
		now := time.Now()
		switch state.State {
		case "registered":
			end = now
			if len(told.Servers) > 0 {
				d.give(ctx, told, state.Routes)
			} else {
				d.takeBack(ctx, "the home agent names no name servers any more")
			}
		case "home", "deregistered":
			d.takeBack(ctx, "the node is at home, or was told to stay away")
		default:
			if now.Sub(end) >= dnsGrace {
				d.takeBack(ctx, "the node is not registered")
			}
		}
	}
}

// told is how the node stands, and what it was told by the home agent that it is
// registered with.
func (d *daemon) told(ctx context.Context) (state mn.Status, told hostconfig.Told, err error) {
	states, err := ask[mn.Status](ctx, d.mobile, mn.ShowStatus{})
	if err != nil || len(states) == 0 || states[0].State != "registered" {
		return append(states, mn.Status{})[0], told, err
	}
	list, err := ask[hostconfig.Told](ctx, d.mobile, hostconfig.Show{})
	told = append(list, told)[0]
	d.dns.mu.Lock()
	defer d.dns.mu.Unlock()
	d.dns.informed.complete(&told)
	return states[0], told, err
}

func (d *daemon) give(ctx context.Context, told hostconfig.Told, routes []netip.Prefix) {
	s := resolver.Settings{Servers: told.Servers, Domain: told.Domain}
	for _, p := range routes {
		s.Everything = s.Everything || p.Bits() <= 1
	}
	d.dns.mu.Lock()
	defer d.dns.mu.Unlock()
	d.report(d.dns, dnsGiven, told.Configuration.String())(d.dns.resolver.Give(ctx, s))
}

func (d *daemon) takeBack(ctx context.Context, why string) {
	d.dns.mu.Lock()
	defer d.dns.mu.Unlock()
	d.report(d.dns, dnsTakenBack, why)(d.dns.resolver.TakeBack(ctx))
}

// hostConfiguration is what a mobile node was told, and what became of it.
func (d *daemon) hostConfiguration(ctx context.Context) (any, error) {
	out := []control.HostConfiguration{}
	if d.dns == nil {
		return out, nil
	}
	_, t, err := d.told(ctx)
	if err != nil {
		return nil, err
	}
	if t.By.IsValid() {
		one := control.HostConfiguration{
			HomeAgent: t.By, Prefix: t.Prefix, Router: t.Router, Domain: t.Domain, DHCPServer: t.DHCPServer, URL: t.URL,
		}
		for _, a := range t.Servers {
			one.NameServers = append(one.NameServers, a.String())
		}
		d.dns.mu.Lock()
		n := &d.dns.informed
		if n.server.IsValid() && n.server == t.DHCPServer {
			one.Informed = n.at
		}
		if n.tenancy != "" {
			one.Lease = &control.HomeLease{State: n.tenancy, Server: n.lease.Server, Renew: n.lease.Renew, Until: n.lease.Until, Routes: n.lease.Routes}
		}
		if g := d.dns.resolver.Given(); g != nil {
			one.Resolver = g.Way
		}
		d.dns.mu.Unlock()
		out = append(out, one)
	}
	return out, nil
}
