package advertise

import (
	"fmt"
	"net/netip"
	"time"

	"careof/internal/core/engine"
	"careof/wire/adv4"
)

// The operator's commands. Each is the Value of an [engine.Command]; its
// comment names the Value of the [engine.Result].
type (
	// ListLinks is answered with []LinkStatus, in configuration order.
	ListLinks struct{}
	// Withdraw says on every link that the agent ceases: an advertisement
	// with an ICMP Lifetime of 0 (RFC 1256 section 4.3). It is answered with
	// the number of links. Nothing is sent there afterwards.
	Withdraw struct{ Foreign bool } // only where a foreign agent advertises
)

// LinkStatus is what is advertised on a link.
type LinkStatus struct {
	Link            string        `json:"link"`
	Active          bool          `json:"active"`
	Flags           string        `json:"flags"`
	CareOfAddresses []netip.Addr  `json:"care_of_addresses,omitempty"`
	Sequence        uint16        `json:"sequence"` // of the next advertisement
	Interval        time.Duration `json:"-"`
	Lifetime        uint16        `json:"registration_lifetime"` // seconds
}

// Status lists what is advertised on each link.
func (a *Advertiser) Status() []LinkStatus {
	list := []LinkStatus{}
	for _, p := range a.links {
		var x Announcement
		a.complete(p, &x)
		list = append(list, LinkStatus{
			Link: p.cfg.Name, Active: p.active(), Flags: x.Draft.Agent.Flags.String(),
			CareOfAddresses: x.Draft.Agent.CareOfAddresses, Sequence: p.sequence,
			Interval: a.cfg.Interval, Lifetime: x.Draft.Agent.Lifetime,
		})
	}
	return list
}

func (a *Advertiser) command(c engine.Command) {
	r := engine.Result{Ticket: c.Ticket}
	switch v := c.Value.(type) {
	case ListLinks:
		r.Value = a.Status()
	case Withdraw:
		r.Value = a.withdraw(v.Foreign)
	case Reconfigure:
		r.Err = a.Replace(v.Config)
	default:
		r.Err = fmt.Errorf("advertise: unknown command %T", c.Value)
	}
	a.out = append(a.out, r)
}

// withdraw sends the last advertisements: "it is recommended (but not required)
// that the router transmit a final multicast advertisement on the interface,
// identical to its previous transmission but with a Lifetime field of zero"
// (RFC 1256 section 4.3).
//
//rfc:1256#4.3
func (a *Advertiser) withdraw(foreign bool) (n int) {
	for _, p := range a.links {
		if foreign && !p.cfg.Foreign {
			continue
		}
		if p.active() {
			a.send(p, Announcement{To: p.multicast(), Final: true})
			n++
		}
		p.withdrawn, p.next = true, time.Time{}
	}
	return n
}

// FlagsOf are the flags that an advertisement on the link would carry now.
func (a *Advertiser) FlagsOf(link string) adv4.Flags {
	p := a.place(link)
	if p == nil {
		return 0
	}
	var x Announcement
	a.complete(p, &x)
	return x.Draft.Agent.Flags
}
