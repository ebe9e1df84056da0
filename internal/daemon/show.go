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
	"careof/internal/host/drive"
	"careof/internal/host/plane"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/wire/encap"
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
		"enrolled":       func(ctx context.Context, _ string) (any, error) { return d.enrolled(ctx) },
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
	list, err := d.mobileUplinks(ctx)
	if err != nil {
		return nil, err
	}
	out := []control.Uplink{}
	for _, u := range list {
		out = append(out, control.Uplink{
			Interface: u.Link, Priority: u.Priority, Usable: u.Usable, Active: u.Active, Home: u.Home,
			CareOfAddress: u.CareOfAddress, Gateways: u.Gateways, Lease: d.leaseOf(u.Link), NAT64: d.translatorOf(u.Link), Why: u.Why,
			Cost: u.Cost, Metered: u.Metered, State: u.State, RoundTrip: control.Seconds(u.Quality.RoundTrip),
			Probes: u.Quality.Probes, Loss: u.Quality.Loss, Answered: u.Answered,
			Measured: u.Measured, Probed: u.Quality.Probed, Keepalive: keepaliveOf(u.Keepalive),
			Doubts: u.Doubts.Times, InDoubt: control.Seconds(u.Doubts.Lasted),
		})
	}
	return out, nil
}

// mobileUplinks are a mobile node's, with what is known of portals.
func (d *daemon) mobileUplinks(ctx context.Context) ([]mn.UplinkInfo, error) {
	list, err := ask[mn.UplinkInfo](ctx, d.mobile, mn.ListUplinks{})
	for i := range list {
		list[i].Why = d.portals.words(list[i].Link, list[i].Why, time.Now())
	}
	return list, err
}

func keepaliveOf(k mn.Keepalive) *control.Keepalive {
	if k.Interval == 0 {
		return nil
	}
	return &control.Keepalive{Interval: control.Seconds(k.Interval), Assigned: control.Seconds(k.Assigned), Learnt: k.Interval != k.Assigned}
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
				Mode: modeName(&e, t), HalfBound: t.AnyPort, MTU: t.MTU,
			})
		}
		out = append(out, one)
	}
	return out
}

var modeNames = map[forward.Mode]string{forward.Both: "both", forward.Receive: "draining", forward.Send: "send"}

// modeName says what a tunnel of an entry is for.
func modeName(e *forward.Entry, t forward.Tunnel) string {
	switch {
	case t.Mode == forward.Receive && t.Copies:
		return "copies" // of redundant packets, and nothing else, goes there
	case t.Mode == forward.Receive && e.Numbered:
		return "receive" // nothing goes there but in doubt; or it is draining
	}
	return modeNames[t.Mode]
}

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
			if e.Key == canaryKey {
				continue // the daemon's own, from its first round on
			}
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
		uplinks, err := d.mobileUplinks(ctx)
		if err != nil {
			return nil, err
		}
		for _, s := range states {
			out.Roles = append(out.Roles, control.RoleStatus{Role: roleMobileNode, State: s.State, Dropped: d.mobile.Dropped(), Summary: mobileSummary(s, uplinks)})
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

// summaryUplinks is of how many uplinks a summary says why they are of no use.
const summaryUplinks = 4

// mobileSummary is a mobile node in one line. What it had before its uplink went is
// told as that.
func mobileSummary(s mn.Status, uplinks []mn.UplinkInfo) string {
	var words []string
	if s.HomeAddress.IsValid() {
		words = append(words, fmt.Sprintf("home address %v", s.HomeAddress))
	} else {
		words = append(words, "no home address yet")
	}
	registered := s.State == "registered"
	switch {
	case !s.CareOfAddress.IsValid():
	case registered:
		words = append(words, fmt.Sprintf("at %v on %s", s.CareOfAddress, s.Link))
	default:
		words = append(words, fmt.Sprintf("last at %v on %s", s.CareOfAddress, s.Link))
	}
	if s.HomeAgent.IsValid() {
		words = append(words, fmt.Sprintf("home agent %v", s.HomeAgent))
	}
	if s.Encapsulation != "" && registered {
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
	if p := s.Problem; p != nil {
		words = append(words, fmt.Sprintf("problem at %s: %d %s", p.At.Local().Format(time.TimeOnly), p.Code, p.Meaning))
	}
	switch s.State {
	case "home", "returning", "deregistered":
		return strings.Join(words, ", ")
	}
	if !registered && len(uplinks) == 0 {
		words = append(words, "none of its uplinks is there")
	}
	told := 0
	for _, u := range uplinks {
		if registered && (!u.Active || answers(u)) {
			continue
		}
		if told++; told > summaryUplinks {
			words = append(words, fmt.Sprintf("and %d uplinks more (careof show uplinks)", len(uplinks)-summaryUplinks))
			break
		}
		words = append(words, u.Link+": "+u.Why)
	}
	return strings.Join(words, ", ")
}
