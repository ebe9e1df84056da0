package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"careof/internal/buildinfo"
	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/host/drive"
	"careof/internal/host/plane"
	"careof/internal/host/plane/tun"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/wire/encap"
	"careof/wire/mip4"
)

var _ control.Backend = (*daemon)(nil)

// Subscribe implements [control.Backend].
func (d *daemon) Subscribe(after *uint64) ([]control.Event, <-chan control.Event, func()) {
	return d.hub.subscribe(after)
}

// Ready implements [control.Backend]: the daemon has started, has its device,
// can make registrations durable, and its machines answer.
func (d *daemon) Ready(ctx context.Context) error {
	if d.starting() {
		return errStarting
	}
	if d.plane != nil && !d.plane.Status().Up {
		return errDevice
	}
	if err := d.store.Trouble(); err != nil {
		return storeTrouble(err)
	}
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	for _, one := range []struct {
		driver   *drive.Driver
		question any
	}{{d.home, ha.ListStages{}}, {d.foreign, fa.ListStages{}}, {d.mobile, mn.ListStages{}}} {
		if one.driver == nil {
			continue
		}
		if _, err := one.driver.Command(ctx, one.question); err != nil {
			return fmt.Errorf("a machine does not answer: %w", err)
		}
	}
	return nil
}

// storeTrouble says what a store that cannot write means.
func storeTrouble(err error) error {
	return fmt.Errorf("no registration is accepted (home agents deny with code 130) until records can be written again: %w (make room there; careof goes on by itself)", err)
}

// readyLimit is how long a machine that serves may take to answer.
const readyLimit = 3 * time.Second

// errStarting answers who comes too early.
var errStarting = errors.New("the daemon is still starting")

// Show implements [control.Backend].
func (d *daemon) Show(ctx context.Context, what, argument string) (any, error) {
	if d.starting() {
		return nil, errStarting
	}
	show, known := map[string]func(context.Context, string) (any, error){
		"status":         func(ctx context.Context, _ string) (any, error) { return d.status(ctx) },
		"bindings":       func(ctx context.Context, _ string) (any, error) { return d.bindings(ctx) },
		"binding":        d.binding,
		"registrations":  func(ctx context.Context, _ string) (any, error) { return d.registrations(ctx) },
		"visitors":       func(ctx context.Context, _ string) (any, error) { return d.visitors(ctx) },
		"advertisements": func(ctx context.Context, _ string) (any, error) { return d.advertisements(ctx) },
		"agents":         func(ctx context.Context, _ string) (any, error) { return d.agents(ctx) },
		"uplinks":        func(ctx context.Context, _ string) (any, error) { return d.uplinks(ctx) },
		"networks":       func(ctx context.Context, _ string) (any, error) { return d.networks(ctx) },
		"host":           func(ctx context.Context, _ string) (any, error) { return d.hostConfiguration(ctx) },
		"associations":   func(ctx context.Context, _ string) (any, error) { return d.associations(ctx) },
		"enrolled":       func(context.Context, string) (any, error) { return d.enrolled(), nil },
		"blocked":        func(ctx context.Context, _ string) (any, error) { return d.blocked(ctx) },
		"pool":           func(ctx context.Context, _ string) (any, error) { return d.pool(ctx) },
		"aaa":            func(ctx context.Context, _ string) (any, error) { return d.shownAAA(ctx), nil },
		"stages":         func(ctx context.Context, _ string) (any, error) { return d.stages(ctx) },
		"counters":       func(ctx context.Context, _ string) (any, error) { return d.counters(ctx) },
		"plane":          func(ctx context.Context, _ string) (any, error) { return d.entries(ctx), nil },
		"config":         func(context.Context, string) (any, error) { return settings(d.live.config().Values()), nil },
		"topology":       func(ctx context.Context, _ string) (any, error) { return d.topology(ctx) },
		"timeline":       func(_ context.Context, node string) (any, error) { return d.timeline(node) },
	}[what]
	if !known {
		return nil, fmt.Errorf("%w: there is no %q to show (%s)", control.ErrNotFound, what, strings.Join(control.Names, ", "))
	}
	return show(ctx, argument)
}

// ask puts a question to a role and joins the shards' lists. A role that does
// not run has nothing to list.
func ask[T any](ctx context.Context, driver *drive.Driver, question any) ([]T, error) {
	list := []T{}
	if driver == nil {
		return list, nil
	}
	answers, err := driver.Command(ctx, question)
	if errors.Is(err, ha.ErrNotFound) {
		return nil, fmt.Errorf("%w: %s", control.ErrNotFound, strings.TrimPrefix(err.Error(), ha.ErrNotFound.Error()+": "))
	}
	if err != nil {
		return nil, err
	}
	for _, a := range answers {
		switch a := a.(type) {
		case []T:
			list = append(list, a...)
		case T:
			list = append(list, a)
		}
	}
	return list, nil
}

func (d *daemon) bindings(ctx context.Context) (any, error) {
	list, err := d.homeBindings(ctx)
	if err != nil {
		return nil, err
	}
	return d.showBindings(list), nil
}

// homeBindings are the home agent's bindings, by home address.
func (d *daemon) homeBindings(ctx context.Context) ([]ha.Binding, error) {
	list, err := ask[ha.Binding](ctx, d.home, ha.ListBindings{})
	slices.SortStableFunc(list, func(a, b ha.Binding) int { return a.HomeAddress.Compare(b.HomeAddress) })
	return list, err
}

func (d *daemon) binding(ctx context.Context, who string) (any, error) {
	if who == "" {
		return nil, fmt.Errorf("%w: which binding? Give a home address or a NAI", control.ErrNotFound)
	}
	if d.home == nil {
		return nil, fmt.Errorf("%w: this daemon is no home agent", control.ErrNotFound)
	}
	node := ident.Node{NAI: ident.NAI(who)}
	if a, err := netip.ParseAddr(who); err == nil {
		node = ident.Node{HomeAddress: a}
	}
	list, err := ask[ha.Binding](ctx, d.home, ha.ShowBinding{Node: node})
	if err != nil {
		return nil, err
	}
	return d.showBindings(list), nil
}

func (d *daemon) showBindings(list []ha.Binding) []control.Binding {
	out := make([]control.Binding, 0, len(list))
	for _, b := range list {
		state := "active"
		if b.HalfBound {
			state = "half-bound"
		}
		out = append(out, control.Binding{
			HomeAddress: b.HomeAddress, NAI: b.NAI, CareOfAddress: b.CareOfAddress, Endpoint: control.Endpoint(b.Endpoint),
			Encapsulation: b.Encapsulation, ReverseTunnel: b.ReverseTunnel, NAT: b.BehindNAT, State: state,
			Granted: control.Seconds(b.Granted), Remaining: control.Seconds(b.Left), Since: b.Since,
			Redundant: b.Redundant, Standby: b.Standby,
			Validated: b.Validated, Unvalidated: b.Unvalidated,
			Identification: b.Identification, Encrypted: b.Encrypted, Networks: b.Networks,
			Counters: d.plane.Counters(forward.Key(b.Key)),
		})
	}
	return out
}

func (d *daemon) registrations(ctx context.Context) (any, error) {
	nodes, err := ask[mn.Status](ctx, d.mobile, mn.ShowStatus{})
	if err != nil {
		return nil, err
	}
	out := []control.Registration{}
	for _, n := range nodes {
		for _, r := range n.Registered {
			out = append(out, control.Registration{
				Role: roleMobileNode, HomeAddress: n.HomeAddress, NAI: n.NAI, HomeAgent: r.HomeAgent, Uplink: r.Link, CareOfAddress: r.CareOfAddress, ForeignAgent: r.ForeignAgent,
				State: r.State, Code: r.Code, Why: r.Meaning, Active: r.Active, Encapsulation: r.Encapsulation, Encrypted: r.Encrypted,
				Granted: control.Seconds(r.Granted), Remaining: control.Seconds(r.Left), RoundTrip: control.Seconds(r.Took),
				Time: r.Since, SPI: r.SPI, Message: r.Message, Outer: r.Outer,
			})
		}
	}
	answered, err := ask[ha.Registration](ctx, d.home, ha.ListRegistrations{})
	if err != nil {
		return nil, err
	}
	// Each machine remembers its own, the latest first.
	slices.SortStableFunc(answered, func(a, b ha.Registration) int { return b.Time.Compare(a.Time) })
	for _, r := range answered {
		out = append(out, control.Registration{
			Role: roleHomeAgent, HomeAddress: r.HomeAddress, NAI: r.NAI, CareOfAddress: r.CareOfAddress, Source: r.Source,
			State: r.Meaning, Code: r.Code, Why: r.Why, Time: r.Time, SPI: r.SPI, Granted: control.Seconds(r.Granted),
		})
	}
	relayed, err := ask[fa.Registration](ctx, d.foreign, fa.ListRegistrations{})
	if err != nil {
		return nil, err
	}
	for _, r := range relayed {
		out = append(out, control.Registration{
			Role: roleForeignAgent, HomeAddress: r.HomeAddress, NAI: r.NAI, HomeAgent: r.HomeAgent, CareOfAddress: r.CareOfAddress,
			Uplink: r.Link, Source: r.Source, State: r.Meaning, Code: r.Code, Time: r.Time,
			Granted: control.Seconds(r.Granted), RoundTrip: control.Seconds(r.Took),
		})
	}
	return out, nil
}

func (d *daemon) uplinks(ctx context.Context) (any, error) {
	list, err := ask[mn.UplinkInfo](ctx, d.mobile, mn.ListUplinks{})
	if err != nil {
		return nil, err
	}
	out := []control.Uplink{}
	for _, u := range list {
		if c, captive := d.portals.of(u.Link); captive {
			u.Why = c.words(u.Link, time.Now())
		}
		out = append(out, control.Uplink{
			Interface: u.Link, Priority: u.Priority, Usable: u.Usable, Active: u.Active, Home: u.Home,
			CareOfAddress: u.CareOfAddress, Gateways: u.Gateways, Lease: d.leaseOf(u.Link), Why: u.Why,
			Cost: u.Cost, Metered: u.Metered, State: u.State, RoundTrip: control.Seconds(u.Quality.RoundTrip),
			Probes: u.Quality.Probes, Loss: u.Quality.Loss, Answered: u.Answered,
		})
	}
	return out, nil
}

func (d *daemon) associations(ctx context.Context) (any, error) {
	out := []control.Association{}
	home, err := ask[ha.Association](ctx, d.home, ha.ListAssociations{})
	if err != nil {
		return nil, err
	}
	for _, a := range home {
		out = append(out, control.Association{Role: roleHomeAgent, Peer: a.Peer, SPI: a.SPI, Algorithm: a.Algorithm,
			Replay: a.Replay, Fingerprint: a.Fingerprint, Insecure: a.Insecure})
	}
	foreign, err := ask[fa.Association](ctx, d.foreign, fa.ListAssociations{})
	if err != nil {
		return nil, err
	}
	for _, a := range foreign {
		out = append(out, control.Association{Role: roleForeignAgent, Peer: a.Peer, SPI: a.SPI, Algorithm: a.Algorithm,
			Replay: a.Replay, Fingerprint: a.Fingerprint})
	}
	mobile, err := ask[mn.AssociationInfo](ctx, d.mobile, mn.ListAssociations{})
	if err != nil {
		return nil, err
	}
	for _, a := range mobile {
		out = append(out, control.Association{Role: roleMobileNode, Peer: a.Peer, SPI: a.SPI, Algorithm: a.Algorithm,
			Replay: a.Replay, Fingerprint: a.Fingerprint, Insecure: a.Insecure})
	}
	return out, nil
}

// agents shows the mobility agents that the mobile node hears.
func (d *daemon) agents(ctx context.Context) (any, error) {
	list, err := ask[mn.AgentInfo](ctx, d.mobile, mn.ListAgents{})
	if err != nil {
		return nil, err
	}
	out := []control.Agent{}
	for _, a := range list {
		out = append(out, control.Agent{
			Interface: a.Link, Address: a.Address, Flags: a.Flags, CareOfAddresses: a.CareOfAddresses, Prefixes: a.Prefixes,
			MaxLifetime: control.Seconds(a.Longest), Heard: a.Heard, Expires: a.Expires, Shunned: a.Shunned, InUse: a.InUse,
		})
	}
	return out, nil
}

func (d *daemon) stages(ctx context.Context) (any, error) {
	home, err := ask[engine.StageInfo](ctx, d.home, ha.ListStages{})
	if err != nil {
		return nil, err
	}
	machines := 1 // which have the same stages
	if d.home != nil {
		machines = d.home.Shards()
	}
	mobile, err := ask[engine.StageInfo](ctx, d.mobile, mn.ListStages{})
	if err != nil {
		return nil, err
	}
	foreign, err := ask[engine.StageInfo](ctx, d.foreign, fa.ListStages{})
	if err != nil {
		return nil, err
	}
	list := append(home[:len(home)/machines], foreign...)
	return append(list, mobile...), nil
}

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
		{Name: "plane.withheld", Meaning: "packets for an address that has not answered a challenge yet, beyond what it may be sent until then", Value: t.Withheld},
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

func (d *daemon) entries(ctx context.Context) []control.Entry {
	out := []control.Entry{}
	if d.plane == nil {
		return out
	}
	for e := range d.plane.List(ctx) {
		one := control.Entry{Key: string(e.Key), Inner: e.Inner, Tunnels: []control.Tunnel{}, Counters: d.plane.Counters(e.Key)}
		if e.Deliver.Link != "" {
			one.Deliver = &control.NextHop{Interface: e.Deliver.Link, LinkLayerAddress: e.Deliver.HW.String(), Address: e.Deliver.Via}
		}
		for _, t := range e.Tunnels {
			kind := t.Encap.String()
			if t.Secured() {
				kind = t.Inside.String()
			} else if t.Encap == encap.UDP && t.Inside != 0 && t.Inside != encap.IPIP {
				kind += "+" + t.Inside.String()
			}
			one.Tunnels = append(one.Tunnels, control.Tunnel{
				Local: control.Endpoint(t.Local), Peer: control.Endpoint(t.Peer), Encapsulation: kind,
				Mode: modeNames[t.Mode], HalfBound: t.AnyPort, MTU: t.MTU,
			})
		}
		out = append(out, one)
	}
	return out
}

var modeNames = map[forward.Mode]string{forward.Both: "both", forward.Receive: "draining", forward.Send: "send"}

func settings(values []config.Value) []control.Setting {
	out := []control.Setting{}
	for _, v := range values {
		out = append(out, control.Setting{Key: v.Key, Value: v.Text})
	}
	return out
}

func (d *daemon) status(ctx context.Context) (any, error) {
	out := control.Status{Version: buildinfo.Read().Version, Started: d.started, ConfigFile: d.cfg.File, StateDirectory: d.cfg.StateDirectory}
	var p plane.Status
	if d.plane != nil {
		p = d.plane.Status()
		out.Plane, out.Device, out.MTU, out.Warnings = p.Kind, p.Device, p.MTU, p.Routes.Warnings
		if err := d.plane.Trouble(); err != nil {
			out.Warnings = append(out.Warnings, err.Error())
		}
	}
	out.Warnings = append(out.Warnings, d.live.warnings()...)
	if err := d.store.Trouble(); err != nil {
		out.Warnings = append(out.Warnings, storeTrouble(err).Error())
	}
	if d.snmp != nil {
		if err := d.snmp.Trouble(); err != nil {
			out.Warnings = append(out.Warnings, err.Error())
		}
	}
	for _, w := range d.live.config().Warnings {
		out.Warnings = append(out.Warnings, w.String())
	}
	if d.plane != nil {
		for e := range d.plane.List(ctx) {
			c := d.plane.Counters(e.Key)
			f := &out.Forwarded
			f.Entries++
			f.SentPackets, f.SentBytes = f.SentPackets+c.SentPackets, f.SentBytes+c.SentBytes
			f.ReceivedPackets, f.ReceivedBytes = f.ReceivedPackets+c.ReceivedPackets, f.ReceivedBytes+c.ReceivedBytes
			f.DroppedPackets += c.DroppedPackets
		}
	}
	out.Forwarded.Strangers = p.Totals.Strangers
	if d.home != nil {
		counts, err := ask[ha.Count](ctx, d.home, ha.CountBindings{})
		if err != nil {
			return nil, err
		}
		bindings := 0
		for _, c := range counts {
			bindings += c.Bindings
		}
		out.Roles = append(out.Roles, control.RoleStatus{Role: roleHomeAgent, State: "serving", Dropped: d.home.Dropped(),
			Summary: fmt.Sprintf("%d mobile nodes known, %d bindings", len(d.live.config().HomeAgent.MobileNodes), bindings)})
	}
	if d.foreign != nil {
		visitors, err := ask[fa.VisitorInfo](ctx, d.foreign, fa.ListVisitors{})
		if err != nil {
			return nil, err
		}
		accepted := 0
		for _, v := range visitors {
			if v.State == "accepted" {
				accepted++
			}
		}
		out.Roles = append(out.Roles, control.RoleStatus{Role: roleForeignAgent, State: "serving", Dropped: d.foreign.Dropped(),
			Summary: fmt.Sprintf("care-of address %v, %d visitors, %d pending", d.cfg.ForeignAgent.CareOfAddresses[0], accepted, len(visitors)-accepted)})
	}
	if d.mobile != nil {
		states, err := ask[mn.Status](ctx, d.mobile, mn.ShowStatus{})
		if err != nil {
			return nil, err
		}
		for _, s := range states {
			out.Roles = append(out.Roles, control.RoleStatus{Role: roleMobileNode, State: s.State, Dropped: d.mobile.Dropped(), Summary: mobileSummary(s)})
		}
		out.IPv6 = ipv6Words[p.Routes.IPv6]
	}
	if one, serves := d.serverStatus(ctx); serves {
		out.Roles = append(out.Roles, one)
	}
	return out, nil
}

// ipv6Words says what becomes of IPv6 beside a tunnel that carries only IPv4.
var ipv6Words = map[string]string{
	"blocked": "blocked: all IPv4 goes through the tunnel, and IPv6 must not leak beside it",
	"open":    "not touched: it goes beside the tunnel",
	"absent":  "this host has none",
}

func mobileSummary(s mn.Status) string {
	var words []string
	if s.HomeAddress.IsValid() {
		words = append(words, fmt.Sprintf("home address %v", s.HomeAddress))
	} else {
		words = append(words, "no home address yet")
	}
	if s.CareOfAddress.IsValid() {
		words = append(words, fmt.Sprintf("at %v on %s", s.CareOfAddress, s.Link))
	}
	if s.HomeAgent.IsValid() {
		words = append(words, fmt.Sprintf("home agent %v", s.HomeAgent))
	}
	if s.Encapsulation != "" {
		secrecy := "not encrypted"
		if s.Encrypted {
			secrecy = "encrypted"
		}
		words = append(words, "tunnel "+s.Encapsulation+", "+secrecy)
	}
	for _, r := range s.Registered {
		if r.Message != "" {
			words = append(words, fmt.Sprintf("message %q", r.Message))
		}
	}
	if s.Problem != nil {
		words = append(words, fmt.Sprintf("problem: %d %s", s.Problem.Code, s.Problem.Meaning))
	}
	return strings.Join(words, ", ")
}
