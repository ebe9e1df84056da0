package dhcp

import (
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
	machine *Machine
	applied *Lease         // what the link has of ours
	ours    []netip.Prefix // addresses that the link had of us, the last ones
	link    engine.Link
	patient time.Time // until then an Auto link is left to others
	started bool      // the machine was told that the link is up
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
		var out []Action
		select {
		case <-w.keep:
			return
		case <-w.drop:
			if w.machine != nil {
				w.do(w.machine.Release(time.Now()))
			}
			return
		case <-w.changed:
			w.mu.Lock()
			l, told := w.latest, w.told
			w.mu.Unlock()
			if told {
				out = w.linkChanged(time.Now(), l)
			}
		case b := <-w.frames:
			out = w.frame(time.Now(), b)
		case b := <-w.messages:
			if p, err := dhcpv4.FromBytes(b); err == nil && w.started {
				out = w.machine.Message(time.Now(), p)
			}
		case <-timer.C:
			out = w.wake(time.Now())
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

func (w *worker) deadline() time.Time {
	var at time.Time
	if w.machine != nil {
		at = w.machine.Deadline()
	}
	if !w.patient.IsZero() && (at.IsZero() || w.patient.Before(at)) {
		at = w.patient
	}
	return at
}

func (w *worker) linkChanged(now time.Time, l engine.Link) (out []Action) {
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
		w.machine, w.started = NewMachine(l.HW, w.luck, past, has), false
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
	w.ours = append(w.ours[max(0, len(w.ours)-mostPast):], a)
}

// configured tells whether somebody else has given the link an address.
func (w *worker) configured(l engine.Link) bool {
	return slices.ContainsFunc(l.Addresses, func(a netip.Prefix) bool {
		return !slices.Contains(w.ours, a) && !a.Addr().IsLinkLocalUnicast()
	})
}

func (w *worker) wake(now time.Time) (out []Action) {
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
	return out
}

func (w *worker) frame(now time.Time, b []byte) []Action {
	if !w.started {
		return nil
	}
	if p, _, _, err := arp.ParseFrame(b); err == nil {
		return w.machine.Heard(now, p)
	}
	if p := messageOf(b); p != nil {
		return w.machine.Message(now, p)
	}
	return nil
}

// do does what the machine wants.
func (w *worker) do(actions []Action) {
	for _, a := range actions {
		var err error
		var lease Lease
		switch a := a.(type) {
		case Send:
			err = w.send(a)
		case Ask:
			if err = w.listen(); err == nil {
				err = w.raw.send(arp.AppendFrame(nil, a.To, w.link.HW, a.Packet))
			}
		case Configure:
			lease, err = a.Lease, w.configure(a.Lease)
			if err == nil {
				w.client.tell(Event{Link: w.Name, Lease: a.Lease})
			}
		case Extend:
			lease, err = a.Lease, w.extend(a.Lease)
		case Withdraw:
			lease, err = a.Lease, w.withdraw(a.Lease)
			w.client.tell(Event{Link: w.Name, Lease: a.Lease, Lost: true, Why: a.Why})
		}
		if err != nil && lease.Address.IsValid() {
			w.client.tell(Event{Link: w.Name, Lease: lease, Why: err.Error()})
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

func isAboutLease(a Action) bool {
	switch a.(type) {
	case Configure, Extend, Withdraw:
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
		s.State = w.machine.State()
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
