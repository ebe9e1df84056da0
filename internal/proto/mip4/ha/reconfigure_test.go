package ha_test

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

// reconfigure gives the agent another configuration.
func (d *driver) reconfigure(cfg ha.Config) ha.Reconfigured {
	d.t.Helper()
	var records []engine.Record
	for _, k := range slices.Sorted(maps.Keys(d.store)) {
		records = append(records, engine.Record{Key: []byte(k), Value: d.store[k]})
	}
	r := d.command(ha.Reconfigure{Config: cfg, Records: records})
	if r.Err != nil {
		d.t.Fatal(r.Err)
	}
	return r.Value.(ha.Reconfigured)
}

func TestANodeThatStaysKeepsItsBindingAndTheDataPlaneIsLeftAlone(t *testing.T) {
	d := newDriver(t, config(t))
	d.want(mip4.CodeAccepted, d.req())
	d.want(mip4.CodeAccepted, d.van())
	before, changes := d.bindings(), len(d.changes)
	cfg := config(t)
	cfg.MaxLifetime = 42 * time.Second
	cfg.Nodes = append(cfg.Nodes[:2:2], ha.MobileNode{
		Node: ident.Node{HomeAddress: netip.MustParseAddr("10.10.0.77")},
		Keys: []*assoc.Association{mustAssoc(t, 277, "77-77-77-77-77-7", assoc.Timestamps)},
	})
	if got := d.reconfigure(cfg); got != (ha.Reconfigured{Added: 1, Removed: 3}) {
		t.Errorf("reconfigured %+v", got)
	}
	after := d.bindings()
	if len(after) != 2 || after[0].Identification != before[0].Identification || after[1].HomeAddress != before[1].HomeAddress {
		t.Errorf("bindings were %+v and are %+v", before, after)
	}
	if len(d.changes) != changes {
		t.Errorf("the data plane was told %+v", d.changes[changes:])
	}
	// New limits hold from the next registration on, for everybody.
	if p := d.want(mip4.CodeAccepted, d.req()); p.Lifetime != 42 {
		t.Errorf("granted %d s, want 42", p.Lifetime)
	}
	r := d.req()
	r.home, r.careOf, r.src = netip.MustParseAddr("10.10.0.77"), careOf2, netip.AddrPortFrom(careOf2, 40000)
	r.key = mustAssoc(t, 277, "77-77-77-77-77-7", assoc.Timestamps)
	d.want(mip4.CodeAccepted, r)
}

func TestANodeThatGoesIsUnboundAtOnceAndAStrangerFromThenOn(t *testing.T) {
	d := newDriver(t, config(t))
	d.want(mip4.CodeAccepted, d.req())
	d.want(mip4.CodeAccepted, d.van())
	d.kinds()
	cfg := config(t)
	cfg.Nodes = cfg.Nodes[2:]
	if got := d.reconfigure(cfg); got != (ha.Reconfigured{Removed: 2, Ended: 2}) {
		t.Errorf("reconfigured %+v", got)
	}
	if len(d.bindings()) != 0 || len(d.plane) != 0 {
		t.Errorf("still bound: %v, %v", d.bindings(), d.plane)
	}
	if k := d.kinds(); !slices.Equal(k, []note.Kind{note.Unbound, note.Unbound}) {
		t.Errorf("told %v", k)
	}
	d.silence(d.req())
	d.silence(d.van())
	for _, a := range d.command(ha.ListAssociations{}).Value.([]ha.Association) {
		if a.Peer == home.String() {
			t.Error("its association is still listed")
		}
	}
}

//rfc:5944#5.7
func TestTheReplayMarkOutlivesARemovalFromTheConfiguration(t *testing.T) {
	without := config(t)
	without.Nodes = without.Nodes[1:]

	d := newDriver(t, config(t))
	captured := d.req()
	d.want(mip4.CodeAccepted, captured)
	d.reconfigure(without)
	d.reconfigure(config(t))
	captured.careOf, captured.src = careOf2, netip.AddrPortFrom(careOf2, 40000)
	d.want(mip4.CodeIdentificationMismatch, captured)
	d.want(mip4.CodeAccepted, d.req())

	// The same with a restart between: only the store remembers.
	captured = d.req()
	d.want(mip4.CodeAccepted, captured)
	d = d.restart(without, time.Second)
	d.reconfigure(config(t))
	if len(d.bindings()) != 0 {
		t.Error("a binding of an earlier process came back")
	}
	captured.careOf, captured.src = careOf2, netip.AddrPortFrom(careOf2, 40000)
	d.want(mip4.CodeIdentificationMismatch, captured)
}

func TestAKeyIsRotatedUnderALiveBinding(t *testing.T) {
	d := newDriver(t, config(t))
	d.want(mip4.CodeAccepted, d.req())
	next := mustAssoc(t, 1256, "another-key-here", assoc.Timestamps)
	cfg := config(t)
	cfg.Nodes[0].Keys = []*assoc.Association{next}
	d.reconfigure(cfg)
	if len(d.bindings()) != 1 {
		t.Fatal("the binding is gone")
	}
	d.silence(d.req())
	r := d.req()
	r.key = next
	d.want(mip4.CodeAccepted, r)
}

func TestAnAssignedAddressStaysWhileThePoolHasIt(t *testing.T) {
	d := newDriver(t, config(t))
	had := d.want(mip4.CodeAccepted, d.van()).HomeAddress
	cfg := config(t)
	cfg.Networks[0].Pool[0].To = netip.MustParseAddr("10.10.0.120")
	d.reconfigure(cfg)
	if b := d.bindings(); len(b) != 1 || b[0].HomeAddress != had {
		t.Fatalf("bindings are %+v", b)
	}
	cfg = config(t)
	cfg.Networks[0].Pool = []ha.Range{{From: netip.MustParseAddr("10.10.0.200"), To: netip.MustParseAddr("10.10.0.201")}}
	if got := d.reconfigure(cfg); got.Ended != 1 {
		t.Errorf("reconfigured %+v", got)
	}
	if p := d.want(mip4.CodeAccepted, d.van()); p.HomeAddress != netip.MustParseAddr("10.10.0.200") {
		t.Errorf("assigned %v", p.HomeAddress)
	}
}

func TestAnAddressCanGoFromANodeToAnother(t *testing.T) {
	d := newDriver(t, config(t))
	d.want(mip4.CodeAccepted, d.req())
	cfg := config(t)
	cfg.Nodes = cfg.Nodes[1:]
	cfg.Nodes[0].HomeAddress = home // van@fleet gets it
	d.reconfigure(cfg)
	d.silence(d.req())
	r := d.van()
	r.home = home
	if p := d.want(mip4.CodeAccepted, r); p.HomeAddress != home {
		t.Errorf("assigned %v", p.HomeAddress)
	}
	if _, there := d.entry(home); !there {
		t.Error("nothing is forwarded")
	}
}

func TestWhatIsRefusedChangesNothing(t *testing.T) {
	for name, change := range map[string]func(*ha.Config){
		"another address":   func(c *ha.Config) { c.Addresses[0] = netip.MustParseAddr("198.51.100.2") },
		"another link":      func(c *ha.Config) { c.Links = []string{"eth1"} },
		"a node twice":      func(c *ha.Config) { c.Nodes = append(c.Nodes, c.Nodes[0]) },
		"outside a network": func(c *ha.Config) { c.Nodes[0].HomeAddress = netip.MustParseAddr("10.99.0.1") },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDriver(t, config(t))
			d.want(mip4.CodeAccepted, d.req())
			cfg := config(t)
			cfg.MaxLifetime = time.Second
			change(&cfg)
			if r := d.command(ha.Reconfigure{Config: cfg}); r.Err == nil {
				t.Fatal("taken")
			}
			if p := d.want(mip4.CodeAccepted, d.req()); p.Lifetime != 300 || len(d.bindings()) != 1 {
				t.Errorf("granted %d s, bindings %v", p.Lifetime, d.bindings())
			}
		})
	}
}

// A request that waits for an earlier one's commit must not bring a node back
// that went meanwhile.
func TestARequestInTheQueueOfANodeThatGoesIsNotAccepted(t *testing.T) {
	d := newDriver(t, config(t))
	d.hold = true
	d.send(d.req())
	d.now.Wall = d.now.Wall.Add(time.Second)
	second := d.req()
	second.careOf, second.src = careOf2, netip.AddrPortFrom(careOf2, 40000)
	d.send(second)
	cfg := config(t)
	cfg.Nodes = cfg.Nodes[1:]
	d.reconfigure(cfg)
	d.release()
	if len(d.bindings()) != 0 || len(d.plane) != 0 {
		t.Errorf("bound: %v, %v", d.bindings(), d.plane)
	}
}
