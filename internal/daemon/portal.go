package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/control"
	"careof/internal/core/note"
	"careof/internal/host/dhcp"
	"careof/internal/host/names"
	"careof/internal/host/portal"
	"careof/internal/host/route"
	"careof/internal/proto/mip4/mn"
)

// Notes about networks that show a page before they let anybody out.
const (
	portalFound note.Kind = "captive-portal"
	portalOpen  note.Kind = "captive-portal-passed"
)

// portalEvery is between looks at whether the node is registered, and checks of
// the networks while it is not.
const portalEvery = 3 * time.Second

// longestPass bounds how long programs may reach a portal past the tunnel.
const longestPass = time.Hour

// A captivity is a network that wants its guests to sign in.
type captivity struct {
	page string    // where
	api  string    // of its own (RFC 8908); empty: it has named none
	pass time.Time // until when programs may reach the page past the tunnel; zero: they may not
}

func (c *captivity) words(link string, now time.Time) string {
	at := c.page
	if at == "" {
		at = "a page that it does not name"
	}
	if now.Before(c.pass) {
		return fmt.Sprintf("the network wants its guests to sign in at %s: programs here may, until %s", at, c.pass.Local().Format(time.TimeOnly))
	}
	return fmt.Sprintf("the network wants its guests to sign in at %s: careof portal %s lets a browser here do that", at, link)
}

// portals are the captive networks, by uplink.
type portals struct {
	mu      sync.Mutex
	captive map[string]captivity
}

func (p *portals) of(link string) (captivity, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, there := p.captive[link]
	return c, there
}

// set keeps how a network stands, and tells whether it was captive before.
func (p *portals) set(link string, now *captivity) (before bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was, before := p.captive[link]
	if now == nil {
		delete(p.captive, link)
		return before
	}
	if p.captive == nil {
		p.captive = make(map[string]captivity)
	}
	if now.pass.IsZero() {
		now.pass = was.pass
	}
	p.captive[link] = *now
	return before
}

// watchPortals checks, while the node is registered over nothing, whether the
// networks of its uplinks are captive. When one has opened, the node registers
// over it at once. A pass ends with its time, with the portal, and with the
// first registration, whatever that is over.
func (d *daemon) watchPortals(ctx context.Context) {
	tick := time.NewTicker(portalEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		list, err := ask[mn.UplinkInfo](ctx, d.mobile, mn.ListUplinks{})
		if err != nil {
			continue
		}
		registered := slices.ContainsFunc(list, func(u mn.UplinkInfo) bool { return u.Active })
		for _, u := range list {
			known, captive := d.portals.of(u.Link)
			if captive && !known.pass.IsZero() && (registered || !u.Usable || !time.Now().Before(known.pass)) {
				d.endPass(u.Link)
			}
			switch {
			case u.Active, !u.Usable:
				d.portals.set(u.Link, nil)
			case !registered || captive:
				d.checkPortal(ctx, u.Link)
			}
		}
	}
}

// apiOf is the API of the network's portal, as its DHCP server has named it.
// open says that it has said that there is none.
func (d *daemon) apiOf(link string) (api string, open bool) {
	l, _ := d.leases.Load().Status(link)
	if !l.Has {
		return "", false
	}
	if l.Lease.Portal == dhcp.Unrestricted {
		return "", true
	}
	return l.Lease.Portal, false
}

// checkPortal asks how a network stands: its own API, and when that says nothing
// the page that the configuration names.
//
//rfc:8910#2
//rfc:8910#3
func (d *daemon) checkPortal(ctx context.Context, link string) {
	dial := d.names.Over(link)
	now := captivity{}
	state := portal.Unknown
	api, open := d.apiOf(link)
	if api != "" {
		if a, err := portal.Ask(ctx, dial, nil, api); err == nil {
			if now.api, state = api, portal.Open; a.Captive {
				state, now.page = portal.Captive, a.Page
			}
		}
	}
	if page := d.cfg.MobileNode.PortalCheck; page != "" && !open && (state == portal.Unknown || state == portal.Captive && now.page == "") {
		if s, where, err := portal.Check(ctx, dial, page); err == nil && s != portal.Unknown {
			state, now.page = s, where
		}
	}
	switch state {
	case portal.Captive:
		if before := d.portals.set(link, &now); !before {
			d.hub.note(note.Note{Kind: portalFound, Level: note.Warn, Link: link, Why: now.words(link, time.Now())})
		}
	case portal.Open:
		if before := d.portals.set(link, nil); !before {
			return
		}
		d.endPass(link)
		d.hub.note(note.Note{Kind: portalOpen, Level: note.Info, Link: link})
		if links := d.live.linksOf([]string{link}); len(links) == 1 {
			links[0].Attachment++ // it is another network now
			d.mobile.Link(links[0], false)
		}
	}
}

// endPass has programs reach nothing past the tunnel any more.
func (d *daemon) endPass(link string) {
	d.portals.mu.Lock()
	if c, there := d.portals.captive[link]; there {
		c.pass = time.Time{}
		d.portals.captive[link] = c
	}
	d.portals.mu.Unlock()
	if err := d.plane.Pass(link, nil); err != nil {
		d.hub.note(note.Note{Kind: note.Failed, Level: note.Error, Link: link, Why: "the way past the tunnel to the network's portal stays open: " + err.Error()})
	}
}

var _ control.Concierge = (*daemon)(nil)

// Portal implements [control.Concierge].
func (d *daemon) Portal(ctx context.Context, order control.PortalOrder) (control.Portal, error) {
	var none control.Portal
	if d.cfg.MobileNode == nil {
		return none, fmt.Errorf("%w: this daemon is no mobile node", control.ErrInvalid)
	}
	c, there := d.portals.of(order.Uplink)
	if !there {
		return none, fmt.Errorf("%w: no captive portal is known at %s (careof show uplinks tells)", control.ErrNotFound, order.Uplink)
	}
	if order.Close {
		d.endPass(order.Uplink)
		return control.Portal{Uplink: order.Uplink, Page: c.page}, nil
	}
	good := time.Duration(order.For)
	if good <= 0 || good > longestPass {
		return none, fmt.Errorf("%w: at most %v", control.ErrInvalid, longestPass)
	}
	hosts := append(order.Hosts, hostOf(c.page)...)
	hosts = append(hosts, hostOf(c.api)...)
	out := control.Portal{Uplink: order.Uplink, Page: c.page, Until: time.Now().Add(good)}
	var passages []route.Passage
	var failures []error
	for _, host := range hosts {
		list, err := d.names.LookupOver(ctx, order.Uplink, host)
		if err != nil {
			failures = append(failures, err)
		}
		for _, a := range list {
			if !slices.Contains(out.Addresses, a) {
				out.Addresses = append(out.Addresses, a)
				passages = append(passages, route.Passage{To: a, Protocol: unix.IPPROTO_TCP})
			}
		}
	}
	if len(passages) == 0 {
		return none, fmt.Errorf("%w: it is not known where the portal is: %w (name it with --host)", control.ErrInvalid, errors.Join(failures...))
	}
	// A browser asks for the portal's name as any program does.
	servers := names.HostServers(resolvConf)
	if l, _ := d.leases.Load().Status(order.Uplink); l.Has {
		servers = append(servers, l.Lease.DNS...)
	}
	for _, a := range servers {
		passages = append(passages, route.Passage{To: a, Protocol: unix.IPPROTO_UDP, Port: 53}, route.Passage{To: a, Protocol: unix.IPPROTO_TCP, Port: 53})
	}
	c.pass = out.Until
	d.portals.set(order.Uplink, &c)
	if err := d.plane.Pass(order.Uplink, passages); err != nil {
		d.endPass(order.Uplink)
		return none, err
	}
	slices.SortFunc(out.Addresses, netip.Addr.Compare)
	return out, nil
}

// resolvConf names the servers that programs ask.
const resolvConf = "/etc/resolv.conf"

// hostOf is the host of an address of the web, if there is one.
func hostOf(page string) []string {
	if at, err := url.Parse(page); err == nil && strings.HasPrefix(at.Scheme, "http") && at.Hostname() != "" {
		return []string{at.Hostname()}
	}
	return nil
}
