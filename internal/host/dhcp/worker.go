package dhcp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"careof/internal/core/engine"
	"careof/internal/host/arp"
	"careof/internal/host/clock"
	"careof/internal/host/lease"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// A worker runs the machine of one link.
type worker struct {
	Link
	client *Client
	luck   *rand.Rand

	changed    chan struct{}
	frames     chan []byte // from below IP
	messages   chan []byte // from the socket of the lease's address
	keep, drop chan struct{}
	ended      chan struct{}

	mu     sync.Mutex
	latest engine.Link
	told   bool
	status Status

	// Of the worker's goroutine.
	watch   clock.Watch
	machine *lease.Machine
	applied *lease.Lease   // what the link has of ours
	ours    []netip.Prefix // addresses that the link had of us, the last ones
	link    engine.Link
	patient time.Time // until then an Auto link is left to others
	started bool      // the machine was told that the link is up
	mended  time.Time // when what somebody had taken from the link was last put back
	mend    time.Time // when to look again; zero: not
	raw     *rawSocket
	unicast *leaseSocket
}

func (w *worker) poke() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *worker) run() {
	defer close(w.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer w.hangUp()
	for {
		var out []lease.Action
		select {
		case <-w.keep:
			return
		case <-w.drop:
			if w.machine != nil {
				w.do(w.machine.Release(w.now(clock.Now())))
			}
			return
		case <-w.changed:
			w.mu.Lock()
			l, told := w.latest, w.told
			w.mu.Unlock()
			if told {
				out = w.linkChanged(w.now(clock.Now()), l)
			}
		case b := <-w.frames:
			out = w.frame(w.now(clock.Now()), b)
		case b := <-w.messages:
			if p, err := dhcpv4.FromBytes(b); err == nil && w.started {
				out = w.machine.Message(w.now(clock.Now()), true, p)
			}
		case <-timer.C:
			out = w.wake(w.now(clock.Now()))
		}
		w.attend() // before what is answered is sent
		w.do(out)
		w.settle()
		timer.Stop()
		if at := w.deadline(); !at.IsZero() {
			timer.Reset(max(0, time.Until(at)))
		}
	}
}

// now is the time of day. When the clock was set, everything that is not over
// moves with it.
func (w *worker) now(at engine.Now) time.Time {
	by := w.watch.Jumped(at)
	if by == 0 {
		return at.Wall
	}
	for _, t := range []*time.Time{&w.patient, &w.mended, &w.mend} {
		if !t.IsZero() {
			*t = t.Add(by)
		}
	}
	if w.machine != nil {
		w.do(w.machine.ClockSet(at.Wall, by))
	}
	return at.Wall
}

func (w *worker) deadline() time.Time {
	var at time.Time
	if w.machine != nil {
		at = w.machine.Deadline()
	}
	for _, t := range []time.Time{w.patient, w.mend} {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	return at
}

func (w *worker) linkChanged(now time.Time, l engine.Link) (out []lease.Action) {
	before := w.link
	w.link = l
	if l.Gone || l.HW == (engine.HardwareAddr{}) {
		// Without a link-layer address there is nobody to ask this way.
		w.machine, w.applied, w.started, w.patient = nil, nil, false, time.Time{}
		w.hangUp()
		return nil
	}
	if w.machine == nil || before.HW != l.HW {
		// Another link-layer address is another client to the server.
		if w.machine != nil {
			out = w.machine.Release(now)
		}
		past := w.client.past(w.Name)
		has := len(past) > 0 && now.Before(past[0].Until) && slices.Contains(l.Addresses, past[0].Address)
		w.machine, w.started = lease.ForLink(l.HW, w.luck, past, has, w.client.never), false
		if has {
			w.applied = &past[0]
			w.own(past[0].Address)
		}
	}
	switch {
	case !l.Up:
		w.machine.Down()
		w.started, w.patient = false, time.Time{}
	case w.Auto && w.configured(l):
		if _, has := w.machine.Lease(); has || w.started {
			out = append(out, w.machine.Release(now)...)
		}
		w.started, w.patient = false, time.Time{}
	case w.started && l.Attachment == before.Attachment:
		return w.repair(now)
	case w.Auto && !w.started:
		if _, has := w.machine.Lease(); has {
			w.started = true
			return append(out, w.machine.Up(now)...)
		}
		if w.patient.IsZero() {
			w.patient = now.Add(w.client.patience)
		}
	default:
		w.started = true
		out = append(out, w.machine.Up(now)...)
	}
	return out
}

// own remembers an address as ours: the watcher may still tell of one that was
// just taken away.
func (w *worker) own(a netip.Prefix) {
	w.ours = append(w.ours[max(0, len(w.ours)-lease.MostPast):], a)
}

// configured tells whether somebody else has given the link an address.
func (w *worker) configured(l engine.Link) bool {
	return slices.ContainsFunc(l.Addresses, func(a netip.Prefix) bool {
		return !slices.Contains(w.ours, a) && !a.Addr().IsLinkLocalUnicast()
	})
}

func (w *worker) wake(now time.Time) (out []lease.Action) {
	if !w.patient.IsZero() && !now.Before(w.patient) {
		w.patient = time.Time{}
		switch {
		case managed(w.Name, w.client.index(w.Name)):
			w.patient = now.Add(w.client.patience)
		case w.machine != nil && !w.started:
			w.started = true
			out = w.machine.Up(now)
		}
	}
	if w.machine != nil {
		out = append(out, w.machine.Wake(now)...)
	}
	if !w.mend.IsZero() && !now.Before(w.mend) {
		out = append(out, w.repair(now)...)
	}
	return out
}

// mendPause is the least time between two repairs of a link: who takes the
// address away again and again is not fought faster than that.
const mendPause = time.Second

// repair puts back what somebody has taken from the link that the lease gave it:
// the server knows nothing of that, and a renewal changes nothing. A link that
// is ours only while nobody else wants it is left alone for a while.
func (w *worker) repair(now time.Time) []lease.Action {
	w.mend = time.Time{}
	if !w.started || w.applied == nil || !now.Before(w.applied.Until) {
		return nil
	}
	l := *w.applied
	address, route, err := w.client.present(w.Name, w.Metric, l)
	if err != nil || address && route {
		return nil // a link that is going away is told of
	}
	if w.Auto && !address {
		w.started, w.patient = false, now.Add(w.client.patience)
		return w.machine.Lost()
	}
	if next := w.mended.Add(mendPause); now.Before(next) {
		w.mend = next
		return nil
	}
	w.mended = now
	if err := errors.Join(w.extend(l), w.client.route(w.Name, w.Metric, l)); err != nil {
		w.client.tell(Event{Link: w.Name, Lease: l, Why: err.Error()})
		w.mend = now.Add(mendPause)
	}
	return nil
}

func (w *worker) frame(now time.Time, b []byte) []lease.Action {
	if !w.started {
		return nil
	}
	if p, _, _, err := arp.ParseFrame(b); err == nil {
		return w.machine.Heard(now, p)
	}
	if p := messageOf(b); p != nil {
		return w.machine.Message(now, true, p)
	}
	return nil
}

// do does what the machine wants.
func (w *worker) do(actions []lease.Action) {
	for _, a := range actions {
		var err error
		var about lease.Lease
		switch a := a.(type) {
		case lease.Send:
			err = w.send(a)
		case lease.Ask:
			if err = w.listen(); err == nil {
				err = w.raw.send(arp.AppendFrame(nil, a.To, w.link.HW, a.Packet))
			}
		case lease.Configure:
			about, err = a.Lease, w.configure(a.Lease)
			if err == nil {
				w.client.tell(Event{Link: w.Name, Lease: a.Lease})
			}
		case lease.Extend:
			about, err = a.Lease, w.extend(a.Lease)
			w.applied = &a.Lease
			// A link that was switched off has lost its routes.
			if _, route, e := w.client.present(w.Name, w.Metric, a.Lease); err == nil && e == nil && !route {
				err = w.client.route(w.Name, w.Metric, a.Lease)
			}
		case lease.Withdraw:
			about, err = a.Lease, w.withdraw(a.Lease)
			w.client.tell(Event{Link: w.Name, Lease: a.Lease, Lost: true, Why: a.Why})
		}
		if err != nil && about.Address.IsValid() {
			w.client.tell(Event{Link: w.Name, Lease: about, Why: err.Error()})
		}
		// What could not be sent is sent again: a link that is going down
		// takes nothing.
	}
	if len(actions) > 0 && w.machine != nil && slices.ContainsFunc(actions, isAboutLease) {
		if err := w.client.remember(w.Name, w.machine.Past()); err != nil {
			w.client.tell(Event{Link: w.Name, Why: err.Error()})
		}
	}
}

func isAboutLease(a lease.Action) bool {
	switch a.(type) {
	case lease.Configure, lease.Extend, lease.Withdraw:
		return true
	}
	return false
}

// attend keeps the socket below IP only while it is needed.
func (w *worker) attend() {
	switch {
	case w.machine != nil && w.machine.Listening():
		// A link that is going down has no socket, and hears nothing.
		_ = w.listen()
	case w.raw != nil:
		w.raw.close()
		w.raw = nil
	}
}

// settle shows how the link stands after a step.
func (w *worker) settle() {
	w.attend()
	var s Status
	if w.machine != nil {
		s.State, s.Why = w.machine.State(), w.machine.Why()
		s.Lease, s.Has = w.machine.Lease()
	}
	w.mu.Lock()
	w.status = s
	w.mu.Unlock()
}

func (w *worker) hangUp() {
	if w.raw != nil {
		w.raw.close()
	}
	if w.unicast != nil {
		w.unicast.close()
	}
	w.raw, w.unicast = nil, nil
}

// managed tells whether a network manager of this host says that a link is its
// own: it configures it sooner or later, and would not like company.
func managed(link string, index int) bool { return Manager(link, index) != "" }

// Manager is the network manager of this host that says that a link is its own;
// empty when none does.
func Manager(link string, index int) string {
	if b, err := os.ReadFile(fmt.Sprintf("/run/systemd/netif/links/%d", index)); err == nil &&
		strings.Contains(string(b), "ADMIN_STATE=") && !strings.Contains(string(b), "ADMIN_STATE=unmanaged") {
		return "systemd-networkd"
	}
	b, err := os.ReadFile(fmt.Sprintf("/run/NetworkManager/devices/%d", index))
	if err == nil && strings.Contains(string(b), "managed=true") && index > 0 && link != "" {
		return "NetworkManager"
	}
	return ""
}
