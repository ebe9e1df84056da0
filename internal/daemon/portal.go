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
	"unicode"

	"golang.org/x/sys/unix"

	"careof/internal/control"
	"careof/internal/core/note"
	"careof/internal/host/dhcp"
	"careof/internal/host/names"
	"careof/internal/host/route"
)

// Notes about networks that show a page before they let anybody out.
const (
	portalFound note.Kind = "captive-portal"
	portalOpen  note.Kind = "captive-portal-passed"
)

// longestPass bounds how long programs may reach a portal past the tunnel.
const longestPass = time.Hour

// A captivity is a network that wants its guests to sign in.
type captivity struct {
	page string    // where
	api  string    // of its own (RFC 8908); empty: it has named none
	pass time.Time // until when programs may reach the page past the tunnel; zero: they may not
}

func (c *captivity) words(link string, now time.Time) string {
	at, lets := " at "+c.page, fmt.Sprintf("careof portal %s lets a browser here do that", link)
	if c.page == "" {
		at, lets = ", and names no page that could be opened", fmt.Sprintf("careof portal %s --host HOST lets a browser here reach one that you know", link)
	}
	if now.Before(c.pass) {
		lets = "programs here may, until " + c.pass.Local().Format(time.TimeOnly)
	}
	return "the network wants its guests to sign in" + at + ": " + lets
}

// portals are the captive networks, by uplink.
type portals struct {
	mu      sync.Mutex
	captive map[string]captivity
	trouble map[string][portalAsks]trouble // with who is asked how they stand
}

// A trouble is something that has failed since then.
type trouble struct {
	why   string // empty: there is none
	since time.Time
}

// fails keeps what is wrong with who was asked about a network.
func (p *portals) fails(link string, why [portalAsks]string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.trouble == nil {
		p.trouble = make(map[string][portalAsks]trouble)
	}
	if why == ([portalAsks]string{}) {
		delete(p.trouble, link)
		return
	}
	list := p.trouble[link]
	for i := range list {
		switch t := &list[i]; {
		case why[i] == "":
			*t = trouble{}
		case t.why == "":
			*t = trouble{why[i], now}
		default:
			t.why = why[i]
		}
	}
	p.trouble[link] = list
}

// words are what there is to say of the portal of an uplink's network instead of
// why, or beside it.
func (p *portals) words(link, why string, now time.Time) string {
	if c, captive := p.of(link); captive {
		why = c.words(link, now)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.trouble[link] {
		if t.why != "" {
			why += fmt.Sprintf("; since %s %s", t.since.Local().Format(time.TimeOnly), t.why)
		}
	}
	return why
}

// unasked says that the API of a network's portal gives no answer.
func unasked(api string, err error) string {
	return fmt.Sprintf("the network names %s to say whether it wants a sign-in, and that is of no use: %s", api, printable(err))
}

// unreached says that the page of portal-check did not come.
func unreached(page string, err error) string {
	return fmt.Sprintf("the page of portal-check (%s) does not come, so it is not known whether the network wants a sign-in: %s", page, printable(err))
}

// printable is an error that may have the network's words in it: a terminal
// shows none but letters.
func printable(err error) string {
	const most = 240
	text := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.TrimPrefix(err.Error(), "portal: "))
	if len(text) > most {
		text = text[:most] + "..."
	}
	return text
}

// passing are the uplinks by which programs may reach a portal.
func (p *portals) passing() (links []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for link, c := range p.captive {
		if !c.pass.IsZero() {
			links = append(links, link)
		}
	}
	slices.Sort(links)
	return links
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

// endPasses is endPass for all uplinks: the node is registered.
func (d *daemon) endPasses() {
	for _, link := range d.portals.passing() {
		d.endPass(link)
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
		if err == nil && !slices.Contains(order.Hosts, host) {
			list, err = passable(d.guardLeases(), list)
		}
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
		if len(failures) == 0 {
			failures = append(failures, errors.New("the network names no page that could be opened"))
		}
		return none, fmt.Errorf("%w: it is not known where the portal is: %w (name it with --host)", control.ErrInvalid, errors.Join(failures...))
	}
	// A browser asks for the portal's name as any program does.
	servers := names.HostServers(resolvConf)
	if l, _ := d.leases.Load().Status(order.Uplink); l.Has {
		servers = append(servers, l.Lease.DNS...)
	}
	if six, ok := d.overSix(order.Uplink); ok {
		// In a network with IPv6 alone programs have IPv6 alone.
		servers = append(servers, names.HostServers6(resolvConf)...)
		servers = append(servers, six.Servers...)
	}
	for _, a := range servers {
		if a.IsLinkLocalUnicast() {
			continue // nothing leads away from the link
		}
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

// passable leaves of the addresses of a portal those that a network may name: it
// would draw what programs send to the home network, or to this host, past the
// tunnel with any other. Who knows better names the host himself.
func passable(g dhcp.Guard, list []netip.Addr) (out []netip.Addr, err error) {
	for _, a := range list {
		switch {
		case !a.IsGlobalUnicast(), a.Is6() && a.Zone() != "":
			err = fmt.Errorf("the network says that it is at %v, where no portal can be", a)
		case g.Has(a):
			err = fmt.Errorf("the network says that it is at %v, which is reached through the tunnel", a)
		default:
			out = append(out, a)
		}
	}
	if len(out) > 0 {
		err = nil
	}
	return out, err
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
