package daemon

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"sync"
	"syscall"
	"time"

	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/core/engine"
	"careof/internal/core/realm"
	"careof/internal/proto/mip4/advertise"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/internal/proto/mip4/standard"
	"careof/internal/roles"
)

var _ control.Reloader = (*daemon)(nil)

// live is what a reload replaces, and what it needs to know.
type live struct {
	reloading sync.Mutex // held by the one reload at a time

	mu      sync.Mutex
	cfg     *config.Config         // in force
	links   map[string]engine.Link // as last told
	waiting *waiting               // a reload that undoes itself; nil: none
	undone  bool                   // the file is not what is in force

	enrolled []config.MobileNodePeer // guarded by reloading
	// gone are the nodes that a reload has taken away, by name: whether they had
	// home addresses of their own. Guarded by reloading.
	gone map[string]bool
}

// waiting is a reload that has to be confirmed.
type waiting struct {
	before *config.Config
	until  time.Time
	timer  *time.Timer
}

func (l *live) config() *config.Config {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cfg
}

func (l *live) inForce(c *config.Config) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cfg = c
}

func (l *live) link(s engine.Link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.links == nil {
		l.links = make(map[string]engine.Link)
	}
	if s.Gone {
		delete(l.links, s.Name)
		return
	}
	s.Addresses, s.Gateways = slices.Clone(s.Addresses), slices.Clone(s.Gateways)
	l.links[s.Name] = s
}

// linksOf are the states of the links with these names, as far as they are known.
func (l *live) linksOf(names []string) (list []engine.Link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range names {
		if s, there := l.links[name]; there {
			list = append(list, s)
		}
	}
	return list
}

// own says of nodes, by name, whether they have a home address of their own.
func own(c *config.HomeAgent) map[string]bool {
	list := make(map[string]bool, len(c.MobileNodes))
	for i := range c.MobileNodes {
		n := &c.MobileNodes[i]
		list[n.Identity().String()] = n.HomeAddress.IsValid()
	}
	return list
}

// remember notes the nodes that next does not have any more.
func (l *live) remember(now, next *config.HomeAgent) {
	gone := own(now)
	for name := range own(next) {
		delete(gone, name)
	}
	if l.gone == nil {
		l.gone = gone
		return
	}
	maps.Copy(l.gone, gone)
}

// strays names a node that would be another machine's than the one that knows
// its replay mark and whether it is blocked: see [ha.MobileNode.Shard]. Empty:
// there is none.
func (l *live) strays(now, next *config.HomeAgent) string {
	known := own(now)
	for i := range next.MobileNodes {
		n := &next.MobileNodes[i]
		name := n.Identity().String()
		before, there := known[name]
		if !there {
			before, there = l.gone[name]
		}
		if there && before != n.HomeAddress.IsValid() {
			return name
		}
	}
	return ""
}

// warnings are what an operator should know of reloads.
func (l *live) warnings() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.waiting != nil:
		return []string{fmt.Sprintf("the last reload undoes itself at %s, unless `careof reload --keep` comes before", l.waiting.until.Format(time.TimeOnly))}
	case l.undone:
		return []string{"the last reload was undone: the configuration in force is not the file's"}
	}
	return nil
}

// take takes a reload that waits off the clock; nil when there is none.
func (l *live) take() *waiting {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.waiting
	l.waiting = nil
	if w != nil {
		w.timer.Stop()
	}
	return w
}

// pending is the reload that waits to be kept, nil when none does.
func (l *live) pending() *waiting {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting
}

// stop ends the clock of a reload that waits: the next start reads the file.
func (l *live) stop() { l.take() }

// applyLimit bounds how long a reload may take.
const applyLimit = 30 * time.Second

// Reload implements [control.Reloader].
func (d *daemon) Reload(ctx context.Context, order control.ReloadOrder) (control.Reload, error) {
	if d.starting() {
		return control.Reload{}, errStarting
	}
	d.live.reloading.Lock()
	defer d.live.reloading.Unlock()
	// It is not left half done when the client goes away.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), applyLimit)
	defer cancel()
	out := control.Reload{File: d.cfg.File, Problems: []config.Problem{}, Warnings: []config.Problem{}, Changes: []control.ReloadChange{}}
	switch {
	case order.Keep:
		if d.live.take() == nil {
			return out, fmt.Errorf("%w: no reload waits to be kept: it was undone, or never asked for with --confirm", control.ErrNotFound)
		}
		d.log.Info("the reload is kept")
		out.Kept = true
		return out, nil
	case order.Undo:
		w := d.live.take()
		if w == nil {
			return out, fmt.Errorf("%w: no reload waits to be undone", control.ErrNotFound)
		}
		return out, d.undo(ctx, w, &out)
	}
	next, err := config.Load(d.cfg.File)
	var problems config.Problems
	if errors.As(err, &problems) {
		out.Problems = problems
		return out, nil
	}
	if err != nil {
		return out, err
	}
	next = d.withEnrolled(next)
	out.Warnings = append(out.Warnings, next.Warnings...)
	now := d.live.config()
	for _, c := range config.Diff(now, next) {
		out.Changes = append(out.Changes, control.ReloadChange{Change: c, Live: c.Live()})
	}
	if out.Restart, err = d.needsRestart(now, next, out.Changes); err != nil || out.Restart != "" || order.DryRun {
		return out, err
	}
	if order.Confirm < 0 || time.Duration(order.Confirm) > 24*time.Hour {
		return out, fmt.Errorf("%w: a reload waits at most 24h to be confirmed", control.ErrInvalid)
	}
	before := now
	if w := d.live.pending(); w != nil {
		// What nobody has kept yet must not become the thing to go back to.
		switch {
		case len(out.Changes) == 0 && order.Confirm == 0:
			out.Until = w.until
			return out, nil
		case order.Confirm == 0:
			return out, fmt.Errorf("%w: the reload before this one waits to be kept until %s: careof reload --keep or --undo first, or reload --confirm again",
				control.ErrInvalid, w.until.Local().Format(time.TimeOnly))
		}
		before = w.before
		d.live.take()
	}
	if err := d.apply(ctx, now, next, &out); err != nil {
		return out, err
	}
	out.Applied = true
	d.log.Info("reloaded", "changes", len(out.Changes), "nodes_added", out.Added, "nodes_removed", out.Removed, "bindings_ended", out.Ended)
	for _, w := range next.Warnings {
		d.log.Warn(w.String())
	}
	d.live.mu.Lock()
	defer d.live.mu.Unlock()
	d.live.undone = false
	if order.Confirm > 0 && (len(out.Changes) > 0 || before != now) {
		after := time.Duration(order.Confirm)
		w := &waiting{before: before, until: time.Now().Add(after)}
		w.timer = time.AfterFunc(after, func() { d.unconfirmed(w) })
		d.live.waiting, out.Until = w, w.until
	}
	return out, nil
}

// unconfirmed undoes a reload that nobody has kept in time.
func (d *daemon) unconfirmed(w *waiting) {
	d.live.reloading.Lock()
	defer d.live.reloading.Unlock()
	d.live.mu.Lock()
	still := d.live.waiting == w
	if still {
		d.live.waiting = nil
	}
	d.live.mu.Unlock()
	if !still {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), applyLimit)
	defer cancel()
	var out control.Reload
	if err := d.undo(ctx, w, &out); err != nil {
		d.log.Error("cannot undo the reload", "error", err)
	}
}

func (d *daemon) undo(ctx context.Context, w *waiting, out *control.Reload) error {
	now := d.live.config()
	// Nodes that have joined since are none of the reload's business.
	w.before = d.withEnrolled(w.before)
	for _, c := range config.Diff(now, w.before) {
		out.Changes = append(out.Changes, control.ReloadChange{Change: c, Live: true})
	}
	if err := d.apply(ctx, now, w.before, out); err != nil {
		return err
	}
	d.live.mu.Lock()
	d.live.undone, out.Undone = true, true
	d.live.mu.Unlock()
	d.log.Warn("the reload was undone: the configuration in force is the one before, and not the file's", "file", d.cfg.File)
	return nil
}

// needsRestart says why the changes cannot be applied to what runs; empty when
// they can. An error is a mistake that only the roles see.
func (d *daemon) needsRestart(now, next *config.Config, changes []control.ReloadChange) (string, error) {
	for _, c := range changes {
		if !c.Live {
			return c.Key + " cannot change while the daemon runs", nil
		}
	}
	if serves(now) != serves(next) {
		return "whether this host is an AAA server cannot change while the daemon runs", nil
	}
	features := make(map[string][2]standard.Config)
	if now.HomeAgent != nil {
		if d.home.Shards() > 1 {
			if node := d.live.strays(now.HomeAgent, next.HomeAgent); node != "" {
				return "whether " + node + " has a home address of its own cannot change while the daemon runs", nil
			}
		}
		_, before := homeConfig(now)
		whole, after := homeConfig(next)
		features[roleHomeAgent] = [2]standard.Config{before, after}
		if _, err := standard.HomeAgent(whole, standard.Features(after), luck()); err != nil {
			return "", fmt.Errorf("%s: home-agent: %w", next.File, err)
		}
	}
	if now.ForeignAgent != nil {
		_, before := roles.ForeignAgent(now.ForeignAgent, now.HomeAgent)
		agent, after := roles.ForeignAgent(next.ForeignAgent, next.HomeAgent)
		features[roleForeignAgent] = [2]standard.Config{before, after}
		if _, err := standard.ForeignAgent(agent, standard.Features(after), luck()); err != nil {
			return "", fmt.Errorf("%s: foreign-agent: %w", next.File, err)
		}
	}
	if serves(next) {
		if _, err := realm.New(roles.Realm(next.AAA, d.aaa.diameter.identity, crand.Reader)); err != nil {
			return "", fmt.Errorf("%s: aaa.serve: %w", next.File, err)
		}
	}
	if now.MobileNode != nil {
		_, before := d.mobileConfig(now.MobileNode)
		node, after := d.mobileConfig(next.MobileNode)
		features[roleMobileNode] = [2]standard.Config{before, after}
		if _, err := standard.MobileNode(node, standard.Features(after), luck()); err != nil {
			return "", fmt.Errorf("%s: mobile-node: %w", next.File, err)
		}
	}
	for _, role := range d.roles() {
		if f := features[role]; !reflect.DeepEqual(f[0], f[1]) {
			return "a feature of the " + role + " cannot change while the daemon runs", nil
		}
	}
	return "", nil
}

func uplinkNames(c *config.MobileNode) (names []string) {
	for _, u := range c.Uplinks {
		names = append(names, u.Interface)
	}
	return names
}

// apply makes what runs agree with next. When a part of it fails, what was
// done is taken back.
func (d *daemon) apply(ctx context.Context, now, next *config.Config, out *control.Reload) error {
	if err := d.applyParts(ctx, next, out); err != nil {
		var none control.Reload
		return errors.Join(fmt.Errorf("the reload was taken back: %w", err), d.applyParts(ctx, now, &none))
	}
	if !reflect.DeepEqual(now.Log, next.Log) {
		d.hub.levels.Store(&next.Log) // else levels that were set by hand stay
	}
	d.live.inForce(next)
	select {
	case d.renamed <- struct{}{}: // a modem that had no name before was never looked at
	default:
	}
	if d.home != nil && d.home.Shards() > 1 {
		d.live.remember(now.HomeAgent, next.HomeAgent)
	}
	return nil
}

func (d *daemon) applyParts(ctx context.Context, next *config.Config, out *control.Reload) error {
	if d.plane != nil {
		if err := d.plane.Reconfigure(d.planeConfig(next)); err != nil {
			return err
		}
	}
	d.reconfigureAAA(next)
	if err := d.reconfigureRealm(ctx, next, out); err != nil {
		return err
	}
	if d.home != nil {
		if err := d.reconfigureHome(ctx, next, out); err != nil {
			return err
		}
	}
	if d.advertiser != nil {
		advertisement, _ := roles.Advertisement(next.HomeAgent)
		if _, err := d.advertiser.Command(ctx, advertise.Reconfigure{Config: advertisement}); err != nil {
			return err
		}
	}
	if d.foreign != nil {
		agent, _ := roles.ForeignAgent(next.ForeignAgent, next.HomeAgent)
		if _, err := d.foreign.Command(ctx, fa.Reconfigure{Config: agent}); err != nil {
			return err
		}
	}
	if d.mobile != nil {
		node, _ := d.mobileConfig(next.MobileNode)
		if _, err := d.mobile.Command(ctx, mn.Reconfigure{Config: node}); err != nil {
			return err
		}
		if d.visiting != nil {
			d.visiting.set.SetLinks(uplinkNames(next.MobileNode))
		}
		d.leases.Load().Reconfigure(leased(next.MobileNode))
		// Uplinks that are new were never heard of.
		d.linking.Lock()
		defer d.linking.Unlock()
		d.translators.reconfigure(next.MobileNode)
		links := d.live.linksOf(uplinkNames(next.MobileNode))
		for i, l := range links {
			seen := d.translated(l)
			d.sockets.Addresses(seen)
			if err := d.plane.LinkChanged(seen); err != nil {
				return err
			}
			d.visitingLink(l)
			d.leases.Load().LinkChanged(l)
			d.mobile.Link(seen, i+1 < len(links))
		}
	}
	return nil
}

func (d *daemon) reconfigureHome(ctx context.Context, next *config.Config, out *control.Reload) error {
	whole, _ := homeConfig(next)
	var records []engine.Record
	if len(next.HomeAgent.MobileNodes) > 0 && news(d.live.config(), next) {
		// One of an earlier process may be among the new nodes.
		err := d.store.Load(roleHomeAgent, func(r engine.Record) error {
			records = append(records, engine.Record{Key: slices.Clone(r.Key), Value: slices.Clone(r.Value)})
			return nil
		})
		if err != nil {
			return err
		}
	}
	answers, err := d.home.Command(ctx, ha.Reconfigure{Config: whole, Records: records})
	if err != nil {
		return err
	}
	if route := agentRoute(whole, shards(next)); route != nil {
		d.home.Reroute(route)
	}
	for _, a := range answers {
		if r, ok := a.(ha.Reconfigured); ok {
			out.Added, out.Removed, out.Ended = out.Added+r.Added, out.Removed+r.Removed, out.Ended+r.Ended
		}
	}
	d.listenNetworks(next.HomeAgent)
	return nil
}

// news says whether next has mobile nodes that now has not.
func news(now, next *config.Config) bool {
	known := make(map[string]bool)
	for i := range now.HomeAgent.MobileNodes {
		known[now.HomeAgent.MobileNodes[i].Identity().String()] = true
	}
	return slices.ContainsFunc(next.HomeAgent.MobileNodes, func(n config.MobileNodePeer) bool { return !known[n.Identity().String()] })
}

// hangup reloads at SIGHUP, for those who are used to it.
func (d *daemon) hangup(ctx context.Context) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	defer signal.Stop(signals)
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		done, err := d.Reload(ctx, control.ReloadOrder{})
		for _, p := range done.Problems {
			d.log.Error(p.String())
		}
		switch {
		case err != nil:
			d.log.Error("nothing was reloaded", "error", err)
		case len(done.Problems) > 0:
			d.log.Error("nothing was reloaded: the configuration has mistakes", "file", done.File)
		case done.Restart != "":
			d.log.Warn("nothing was reloaded: a restart is needed", "why", done.Restart)
		}
	}
}
