package daemon

import (
	"context"
	"fmt"

	"careof/internal/control"
	"careof/internal/core/note"
	"careof/internal/host/plane/tun"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// counters are those of all roles and of the data plane.
func (d *daemon) counters(ctx context.Context) (any, error) {
	home, err := ask[ha.Counter](ctx, d.home, ha.ListCounters{})
	if err != nil {
		return nil, err
	}
	var out []control.Counter
	at := make(map[string]int)
	add := func(name, meaning string, value uint64) {
		if i, there := at[name]; there {
			out[i].Value += value
			return
		}
		at[name] = len(out)
		out = append(out, control.Counter{Name: name, Value: value, Meaning: meaning})
	}
	for _, c := range home {
		add(roleHomeAgent+"."+c.Name, c.Help, c.Value)
	}
	if d.foreign != nil {
		a := d.foreign.Admission()
		add(roleForeignAgent+".messages_dropped", "messages of visitors and of their home agents dropped because there was too much of them", a.Dropped)
		add(roleForeignAgent+".messages_shed", "messages of strangers, dropped because there was too much", a.Shed)
		add(roleForeignAgent+".messages_limited", "messages above requests-per-station or requests-of-strangers", a.Limited)
	}
	if d.home != nil {
		a := d.home.Admission()
		add(roleHomeAgent+".messages_dropped", "messages of known peers dropped because there was too much of them", a.Dropped)
		add(roleHomeAgent+".messages_shed", "messages of addresses at which nobody is bound, dropped because there was too much", a.Shed)
		add(roleHomeAgent+".messages_limited", "messages above the limit of one source address (requests-per-source)", a.Limited)
	}
	foreign, err := ask[fa.Counter](ctx, d.foreign, fa.ListCounters{})
	if err != nil {
		return nil, err
	}
	for _, c := range foreign {
		add(roleForeignAgent+"."+c.Name, c.Help, c.Value)
	}
	mobile, err := ask[mn.Counter](ctx, d.mobile, mn.ListCounters{})
	if err != nil {
		return nil, err
	}
	for _, c := range mobile {
		add(roleMobileNode+"."+c.Name, mobileMeaning(c.Name), c.Value)
	}
	d.addRelayCounters(add)
	if d.plane != nil {
		for _, c := range planeCounters(d.plane.Status().Totals) {
			add(c.Name, c.Meaning, c.Value)
		}
	}
	out = append(append(out, d.aaaCounters()...), d.diameterCounters()...)
	return append(out, d.hub.counters()...), nil
}

// planeCounters are what the data plane counts beside its entries.
func planeCounters(t tun.Totals) []control.Counter {
	return []control.Counter{
		{Name: "plane.copies", Meaning: "copies of redundant packets, dropped because another one had come before", Value: t.Copies},
		{Name: "plane.copied_packets", Meaning: "redundant packets that were sent over another path besides, once for each such path", Value: t.Copied},
		{Name: "plane.copied_bytes", Meaning: "the octets of these, without headers of the tunnel", Value: t.CopiedBytes},
		{Name: "plane.withheld", Meaning: "packets for an address that has not answered a challenge yet, beyond what it may be sent until then", Value: t.Withheld},
		{Name: "plane.tunnelless", Meaning: "packets of a node that had no tunnel at that moment; they are kept in", Value: t.Tunnelless},
		{Name: "plane.returned", Meaning: "packets that were too long or had been under way for too long; their senders are told", Value: t.Returned},
		{Name: "plane.overruns", Meaning: "packets for which an encrypted tunnel's queue had no room, or above what may go to many", Value: t.Overruns},
		{Name: "plane.strangers", Meaning: "tunnel packets that no live binding allows", Value: t.Strangers},
		{Name: "plane.malformed", Meaning: "tunnel packets that are none", Value: t.Malformed},
		{Name: "plane.unbound", Meaning: "packets for or from an address without a binding", Value: t.Unbound},
		{Name: "plane.loops", Meaning: "packets that would have gone in a circle", Value: t.Loops},
		{Name: "plane.congested", Meaning: "packets dropped because congestion could not be signalled (RFC 6040)", Value: t.Congested},
		{Name: "plane.errors_relayed", Meaning: "ICMP errors relayed to original senders", Value: t.ErrorsRelayed},
		{Name: "plane.events_lost", Meaning: "events that nobody read in time", Value: t.EventsLost},
		{Name: "plane.send_errors", Meaning: "packets refused by a socket or the device", Value: t.SendErrors},
	}
}

// mobileMeaning says what a counter of the mobile node counts: notes by kind,
// denials by code.
func mobileMeaning(name string) string {
	var code uint8
	if _, err := fmt.Sscanf(name, "refused-%d", &code); err == nil {
		return mip4.Code(code).String()
	}
	return note.Kind(name).Meaning()
}
