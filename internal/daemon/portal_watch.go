package daemon

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"careof/internal/control"
	"careof/internal/core/note"
	"careof/internal/host/lease"
	"careof/internal/host/portal"
	"careof/internal/proto/mip4/mn"
)

// portalEvery is between looks at whether the node is registered, and checks of
// the networks while it is not.
const portalEvery = 3 * time.Second

// A finding is what a check has told of an uplink's network.
type finding struct {
	state     portal.State
	page, api string             // of a network that is captive
	wrong     [portalAsks]string // with whom was asked, in words
}

// Who is asked how a network stands.
const (
	askAPI = iota
	askPage
	portalAsks
)

// A portalWatch has the networks of a node's uplinks checked side by side: one
// that answers late, or not at all, holds up no other.
type portalWatch struct {
	uplinks func(context.Context) ([]mn.UplinkInfo, error)
	ask     func(ctx context.Context, link string) finding
	found   func(link string, f finding)
	look    func(u mn.UplinkInfo, registered bool) (ask bool) // whether a network is to be asked
	now     func()                                            // the node is registered, and was not before
	events  <-chan control.Event

	checks  map[string]*portalCheck
	answers chan portalAnswer
}

// A portalCheck is under way.
type portalCheck struct {
	careOf netip.Addr // in which network
	cancel context.CancelFunc
}

type portalAnswer struct {
	link string
	of   *portalCheck
	finding
}

// run watches until ctx ends, and ends when the last check has.
func (w *portalWatch) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tick := time.NewTicker(portalEvery)
	defer tick.Stop()
	w.checks, w.answers = make(map[string]*portalCheck), make(chan portalAnswer)
	registered := false
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-w.answers:
			if w.checks[a.link] == a.of { // nobody has lost interest meanwhile
				delete(w.checks, a.link)
				w.found(a.link, a.finding)
			}
			a.of.cancel()
			continue
		case e := <-w.events:
			if e.Role == roleMobileNode && (e.Kind == note.Registered || e.Kind == note.Home) && !registered {
				registered = true
				w.now()
			}
			continue
		case <-tick.C:
		}
		list, err := w.uplinks(ctx)
		if err != nil {
			continue
		}
		was := registered
		registered = slices.ContainsFunc(list, func(u mn.UplinkInfo) bool { return answers(u) || u.Home })
		if registered && !was {
			w.now()
		}
		for _, u := range list {
			c := w.checks[u.Link]
			ask := w.look(u, registered)
			if c != nil && (!ask || c.careOf != u.CareOfAddress) {
				c.cancel()
				delete(w.checks, u.Link)
				c = nil
			}
			if !ask || c != nil {
				continue
			}
			c = &portalCheck{careOf: u.CareOfAddress}
			checking, cancel := context.WithCancel(ctx)
			c.cancel = cancel
			w.checks[u.Link] = c
			running.Go(func() {
				answer := portalAnswer{u.Link, c, w.ask(checking, u.Link)}
				select {
				case w.answers <- answer:
				case <-ctx.Done():
				}
			})
		}
	}
}

// watchPortals checks, while the node is registered over nothing or the home agent
// does not answer any more, whether the networks of its uplinks are captive. When one has opened, the node registers
// over it at once. A pass ends with its time, with the portal, and when the node
// is registered, whatever that is over.
func (d *daemon) watchPortals(ctx context.Context) {
	_, events, unsubscribe := d.hub.subscribe(nil)
	defer unsubscribe()
	w := portalWatch{
		uplinks: func(ctx context.Context) ([]mn.UplinkInfo, error) {
			return ask[mn.UplinkInfo](ctx, d.mobile, mn.ListUplinks{})
		},
		ask: d.checkPortal, found: d.portalAnswered, look: d.lookAtPortal, now: d.endPasses, events: events,
	}
	w.run(ctx)
}

// answers tells whether the node is registered over an uplink, as far as is known:
// a network may begin to want a sign-in while a registration lasts.
func answers(u mn.UplinkInfo) bool { return u.Active && u.Unanswered < 2 }

// lookAtPortal ends what is over at an uplink, and tells whether its network is
// to be asked.
func (d *daemon) lookAtPortal(u mn.UplinkInfo, registered bool) bool {
	known, captive := d.portals.of(u.Link)
	if captive && !known.pass.IsZero() && (answers(u) || !u.Usable || !time.Now().Before(known.pass)) {
		d.endPass(u.Link)
	}
	switch {
	case answers(u), !u.Usable:
		if d.portals.set(u.Link, nil) && u.Usable {
			// The node's own requests have found it out.
			d.hub.note(note.Note{Kind: portalOpen, Level: note.Info, Link: u.Link})
		}
	case !registered || captive:
		return true
	}
	d.portals.fails(u.Link, [portalAsks]string{}, time.Time{}) // it is not asked any more
	return false
}

// apiOf is the API of the network's portal, as its DHCP server has named it.
// open says that it has said that there is none.
func (d *daemon) apiOf(link string) (api string, open bool) {
	l, _ := d.leases.Load().Status(link)
	if !l.Has {
		return "", false
	}
	if l.Lease.Portal == lease.Unrestricted {
		return "", true
	}
	return l.Lease.Portal, false
}

// checkPortal asks how a network stands: its own API, and when that says nothing
// the page that the configuration names.
//
//rfc:8908#5-9
//rfc:8908#6-1
//rfc:8910#3
func (d *daemon) checkPortal(ctx context.Context, link string) (f finding) {
	dial := d.names.Over(link)
	api, open := d.apiOf(link)
	if api != "" {
		a, err := portal.Ask(ctx, dial, nil, api)
		switch {
		case err != nil:
			f.wrong[askAPI] = unasked(api, err)
		case a.Captive:
			f.api, f.page, f.state = api, a.Page, portal.Captive
		default:
			f.api, f.state = api, portal.Open
		}
	}
	if page := d.cfg.MobileNode.PortalCheck; page != "" && !open && (f.state == portal.Unknown || f.state == portal.Captive && f.page == "") {
		s, where, err := portal.Check(ctx, dial, page)
		switch {
		case err != nil:
			f.wrong[askPage] = unreached(page, err)
		case s != portal.Unknown && f.state == portal.Unknown:
			f.state, f.page = s, where
		case s == portal.Captive:
			f.page = where
		}
	}
	return f
}

// portalAnswered keeps what a check has told.
func (d *daemon) portalAnswered(link string, f finding) {
	d.portals.fails(link, f.wrong, time.Now())
	switch f.state {
	case portal.Unknown:
		// "the client SHOULD continue to apply the most recent valid content it
		// had received" (RFC 8908 section 5).
	case portal.Captive:
		now := captivity{page: f.page, api: f.api}
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
			d.mobile.Link(d.translated(links[0]), false)
		}
	}
}
