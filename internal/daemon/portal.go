package daemon

import (
	"context"
	"sync"
	"time"

	"careof/internal/core/note"
	"careof/internal/host/dhcp"
	"careof/internal/host/portal"
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

// portals are the captive ones, by uplink: where they want their guests.
type portals struct {
	mu    sync.Mutex
	pages map[string]string
}

func (p *portals) page(link string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pages[link]
}

// set keeps how a network stands, and tells what it was before.
func (p *portals) set(link, page string) (before string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before = p.pages[link]
	if p.pages == nil {
		p.pages = make(map[string]string)
	}
	if p.pages[link] = page; page == "" {
		delete(p.pages, link)
	}
	return before
}

// watchPortals checks, while the node is registered over nothing, whether the
// networks of its uplinks are captive. When one has opened, the node registers
// over it at once.
func (d *daemon) watchPortals(ctx context.Context) {
	empty := d.cfg.MobileNode.PortalCheck
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
		registered := false
		for _, u := range list {
			registered = registered || u.Active
		}
		for _, u := range list {
			switch {
			case u.Active, !u.Usable:
				d.portals.set(u.Link, "")
			case !registered || d.portals.page(u.Link) != "":
				d.checkPortal(ctx, u.Link, empty)
			}
		}
	}
}

func (d *daemon) checkPortal(ctx context.Context, link, empty string) {
	state, page, err := portal.Check(ctx, d.names.Over(link), empty)
	if err != nil || state == portal.Unknown {
		return // the network says nothing about itself
	}
	if l, _ := d.leases.Status(link); state == portal.Captive && l.Has && l.Lease.Portal != "" && l.Lease.Portal != dhcp.Unrestricted {
		page += " (its API: " + l.Lease.Portal + ")" // RFC 8910
	}
	before := d.portals.set(link, page)
	switch {
	case state == portal.Captive && before == "":
		d.hub.note(note.Note{Kind: portalFound, Level: note.Warn, Link: link, Why: "the network wants its guests to sign in at " + page})
	case state == portal.Open && before != "":
		d.hub.note(note.Note{Kind: portalOpen, Level: note.Info, Link: link})
		if links := d.live.linksOf([]string{link}); len(links) == 1 {
			links[0].Attachment++ // it is another network now
			d.mobile.Link(links[0], false)
		}
	}
}
