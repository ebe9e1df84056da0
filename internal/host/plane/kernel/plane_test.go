package kernel

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"careof/internal/core/forward"
	"careof/internal/host/plane/nstest"
	"careof/wire/encap"
)

// fakeLinks is a kernel that the test holds.
type fakeLinks struct {
	made   map[string]device
	mtus   map[string]int
	routes map[netip.Prefix]string
	fail   map[string]error // by what is called
	closed bool
}

func newLinks() *fakeLinks {
	return &fakeLinks{made: map[string]device{}, mtus: map[string]int{}, routes: map[netip.Prefix]string{}, fail: map[string]error{}}
}

func (f *fakeLinks) devices() (map[string]device, error) { return maps.Clone(f.made), nil }
func (f *fakeLinks) add(name string, d device, mtu int) error {
	if err := f.fail["add"]; err != nil {
		return err
	}
	if _, taken := f.made[name]; taken {
		return fmt.Errorf("%s is there", name)
	}
	for _, other := range f.made {
		if other == d {
			return fmt.Errorf("there is a device of %+v", d)
		}
	}
	f.made[name], f.mtus[name] = d, mtu
	return nil
}
func (f *fakeLinks) setMTU(name string, mtu int) error { f.mtus[name] = mtu; return nil }
func (f *fakeLinks) remove(name string) error {
	if _, ok := f.made[name]; !ok {
		return fmt.Errorf("no %s", name)
	}
	delete(f.made, name)
	maps.DeleteFunc(f.routes, func(_ netip.Prefix, to string) bool { return to == name })
	return nil
}
func (f *fakeLinks) lead(p netip.Prefix, name string) error {
	if _, ok := f.made[name]; !ok {
		return fmt.Errorf("route to %q, which is not there", name)
	}
	f.routes[p] = name
	return f.fail["lead"]
}
func (f *fakeLinks) release(p netip.Prefix) error { delete(f.routes, p); return nil }
func (f *fakeLinks) withdraw() error              { return nil }
func (f *fakeLinks) traffic(string) (forward.Counters, error) {
	return forward.Counters{SentPackets: 3, SentBytes: 300}, nil
}
func (f *fakeLinks) underlay(string) (int, error) { return 1400, nil }
func (f *fakeLinks) close() error                 { f.closed = true; return nil }

// where is the device that a home address is led to.
func (f *fakeLinks) where(a string) (device, bool) {
	name, ok := f.routes[netip.MustParsePrefix(a+"/32")]
	return f.made[name], ok
}

// fakeSlow is a user-space plane that only remembers.
type fakeSlow struct{ entries map[forward.Key]forward.Entry }

func (f *fakeSlow) Apply(_ context.Context, changes []forward.Change) error {
	for _, c := range changes {
		switch c.Op {
		case forward.Put:
			f.entries[c.Entry.Key] = c.Entry
		case forward.Delete:
			delete(f.entries, c.Entry.Key)
		}
	}
	return nil
}
func (f *fakeSlow) List(context.Context) iter.Seq[forward.Entry] {
	return func(yield func(forward.Entry) bool) {
		for _, k := range slices.Sorted(maps.Keys(f.entries)) {
			e := f.entries[k]
			e.Tunnels = slices.Clone(e.Tunnels)
			if !yield(e) {
				return
			}
		}
	}
}
func (f *fakeSlow) Events() <-chan forward.Event              { return nil }
func (f *fakeSlow) Counters(forward.Key) (c forward.Counters) { c.SentPackets = 1; return c }
func (f *fakeSlow) Use(forward.Key) forward.Use               { return forward.Use{} }
func (f *fakeSlow) Close() error                              { return nil }

type bench struct {
	*testing.T
	p     *Plane
	links *fakeLinks
	slow  *fakeSlow
	clock time.Time
	rings time.Duration // the timer, 0: not set
}

func newBench(t *testing.T, l *fakeLinks) *bench {
	b := &bench{T: t, links: l, slow: &fakeSlow{entries: map[forward.Key]forward.Entry{}}, clock: time.Unix(1000, 0)}
	var err error
	if b.p, err = open(b.slow, l); err != nil {
		t.Fatal(err)
	}
	b.p.now = func() time.Time { return b.clock }
	b.p.after = func(d time.Duration, _ func()) func() bool {
		b.rings = d
		return func() bool { b.rings = 0; return true }
	}
	return b
}

func (b *bench) apply(op forward.Op, e forward.Entry, until time.Time) error {
	return b.p.Apply(context.Background(), []forward.Change{{Op: op, Entry: e, Until: until}})
}

func (b *bench) put(e forward.Entry) {
	b.Helper()
	if err := b.apply(forward.Put, e, time.Time{}); err != nil {
		b.Fatal(err)
	}
}

func tunnel(kind encap.Kind, peer string) forward.Tunnel {
	return forward.Tunnel{Encap: kind, Local: netip.MustParseAddrPort("192.0.2.1:434"), Peer: netip.AddrPortFrom(netip.MustParseAddr(peer), 434)}
}

func entry(home string, tunnels ...forward.Tunnel) forward.Entry {
	return forward.Entry{Key: forward.Key(home), Role: forward.HomeAgent, Inner: netip.MustParsePrefix(home + "/32"), Tunnels: tunnels}
}

// A binding becomes a device and a route to it; bindings at one care-of address
// share the device, which goes with the last of them.
func TestBindingsShareTheDeviceOfTheirCareOfAddress(t *testing.T) {
	b := newBench(t, newLinks())
	keyed := tunnel(encap.GRE, "198.51.100.7")
	keyed.HasKey, keyed.Key = true, 9
	b.put(entry("10.0.0.1", tunnel(encap.IPIP, "198.51.100.7")))
	b.put(entry("10.0.0.2", tunnel(encap.IPIP, "198.51.100.7")))
	b.put(entry("10.0.0.3", keyed))
	if len(b.links.made) != 2 {
		t.Fatalf("devices %+v", b.links.made)
	}
	one, _ := b.links.where("10.0.0.1")
	two, _ := b.links.where("10.0.0.2")
	three, _ := b.links.where("10.0.0.3")
	if one != two || one.kind != encap.IPIP || one.peer != netip.MustParseAddr("198.51.100.7") || three.kind != encap.GRE || !three.hasKey || three.key != 9 {
		t.Errorf("devices %+v, %+v, %+v", one, two, three)
	}
	for name, mtu := range b.links.mtus {
		if want := map[encap.Kind]int{encap.IPIP: 1480, encap.GRE: 1472}[b.links.made[name].kind]; mtu != want {
			t.Errorf("%s has MTU %d, want %d", name, mtu, want)
		}
	}
	if c := b.p.Counters("10.0.0.3"); c.SentPackets != 4 {
		t.Errorf("counters %+v, want the device's and user space's", c)
	}
	if c := b.p.Counters("10.0.0.1"); c.SentPackets != 1 {
		t.Errorf("counters of a shared device %+v", c)
	}
	for i, want := range []int{2, 1, 0} {
		if err := b.apply(forward.Delete, entry(fmt.Sprintf("10.0.0.%d", i+1)), time.Time{}); err != nil {
			t.Fatal(err)
		}
		if len(b.links.made) != want || len(b.links.routes) != want {
			t.Errorf("after %d deletions: %v, %v", i+1, b.links.made, b.links.routes)
		}
	}
}

// A move leads to the new device before the old one goes.
func TestAMove(t *testing.T) {
	b := newBench(t, newLinks())
	b.put(entry("10.0.0.1", tunnel(encap.IPIP, "198.51.100.7")))
	old := tunnel(encap.IPIP, "198.51.100.7")
	old.Mode = forward.Receive
	b.put(entry("10.0.0.1", tunnel(encap.GRE, "198.51.100.8"), old))
	if d, ok := b.links.where("10.0.0.1"); !ok || d.kind != encap.GRE || len(b.links.made) != 1 {
		t.Errorf("led to %+v of %v", d, b.links.made)
	}
	// To UDP, which is user space's.
	b.put(entry("10.0.0.1", tunnel(encap.UDP, "198.51.100.9")))
	if len(b.links.made)+len(b.links.routes) != 0 {
		t.Errorf("left: %v, %v", b.links.made, b.links.routes)
	}
}

// User space does not receive what devices do, and the plane still lists what
// was applied.
func TestUserSpaceOnlySends(t *testing.T) {
	b := newBench(t, newLinks())
	e := entry("10.0.0.1", tunnel(encap.IPIP, "198.51.100.7"))
	b.put(e)
	if got := b.slow.entries["10.0.0.1"].Tunnels[0].Mode; got != forward.Send {
		t.Errorf("user space got mode %v", got)
	}
	if e.Tunnels[0].Mode != forward.Both {
		t.Error("the caller's entry was changed")
	}
	if got := slices.Collect(b.p.List(t.Context())); len(got) != 1 || !got[0].Equal(e) {
		t.Errorf("listed %+v", got)
	}
}

// The plane ends a tunnel by itself; an extension prolongs it, also after its
// end.
func TestUntil(t *testing.T) {
	b := newBench(t, newLinks())
	tun := tunnel(encap.IPIP, "198.51.100.7")
	tun.Until = b.clock.Add(time.Minute)
	b.put(entry("10.0.0.1", tun))
	if b.rings != time.Minute {
		t.Fatalf("the timer rings in %v", b.rings)
	}
	extend := func(d time.Duration) {
		t.Helper()
		if err := b.apply(forward.Extend, entry("10.0.0.1"), b.clock.Add(d)); err != nil {
			t.Fatal(err)
		}
	}
	extend(2 * time.Minute)
	b.clock = b.clock.Add(time.Minute)
	b.p.end()
	if _, ok := b.links.where("10.0.0.1"); !ok || b.rings != time.Minute {
		t.Fatalf("ended at its first end, or the timer (%v) does not ring", b.rings)
	}
	b.clock = b.clock.Add(time.Minute)
	b.p.end()
	if _, ok := b.links.where("10.0.0.1"); ok {
		t.Fatal("goes on after its end")
	}
	extend(time.Minute)
	if _, ok := b.links.where("10.0.0.1"); !ok || b.rings != time.Minute {
		t.Error("not extended")
	}
}

// What no device does is refused, and leaves nothing behind.
func TestRefused(t *testing.T) {
	for name, e := range map[string]forward.Entry{
		"simultaneous bindings": entry("10.0.0.1", tunnel(encap.IPIP, "198.51.100.7"), tunnel(encap.IPIP, "198.51.100.8")),
		"one of them over UDP":  entry("10.0.0.1", tunnel(encap.UDP, "198.51.100.7"), tunnel(encap.GRE, "198.51.100.8")),
		"a mobile node": {Key: "home", Role: forward.MobileNode, Inner: netip.MustParsePrefix("10.0.0.1/32"),
			Tunnels: []forward.Tunnel{tunnel(encap.IPIP, "198.51.100.7")}},
	} {
		b := newBench(t, newLinks())
		err := b.apply(forward.Put, e, time.Time{})
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), string(e.Key)) {
			t.Errorf("%s: error %v", name, err)
		}
		if len(b.links.made)+len(b.links.routes)+len(b.slow.entries) != 0 {
			t.Errorf("%s: something is left", name)
		}
	}
	b := newBench(t, newLinks())
	b.links.fail["add"] = errors.New("no device today")
	if err := b.apply(forward.Put, entry("10.0.0.1", tunnel(encap.IPIP, "198.51.100.7")), time.Time{}); err == nil {
		t.Error("a failure was not told")
	}
	b.links.fail = map[string]error{}
	b.put(entry("10.0.0.1", tunnel(encap.IPIP, "198.51.100.7")))
	if _, ok := b.links.where("10.0.0.1"); !ok {
		t.Error("the second attempt did nothing")
	}
}

// The next daemon takes over the devices that it needs, without a moment in
// which they are not there, and removes the others.
func TestRestart(t *testing.T) {
	l := newLinks()
	b := newBench(t, l)
	b.put(entry("10.0.0.1", tunnel(encap.IPIP, "198.51.100.7")))
	b.put(entry("10.0.0.2", tunnel(encap.IPIP, "198.51.100.8")))
	before := maps.Clone(l.made)
	if err := b.p.Close(); err != nil || !l.closed {
		t.Fatal(err)
	}
	if len(l.made) != 2 {
		t.Fatal("devices went with the process")
	}
	b = newBench(t, l)
	b.put(entry("10.0.0.2", tunnel(encap.IPIP, "198.51.100.8")))
	b.put(entry("10.0.0.3", tunnel(encap.GRE, "198.51.100.9")))
	if err := b.p.Reconcile(); err != nil {
		t.Fatal(err)
	}
	name := l.routes[netip.MustParsePrefix("10.0.0.2/32")]
	if len(l.made) != 2 || l.made[name] != before[name] {
		t.Errorf("devices %v, before %v", l.made, before)
	}
	if _, ok := l.where("10.0.0.1"); ok {
		t.Error("a route to a device that is gone")
	}
	if err := b.p.Withdraw(); err != nil || len(l.made)+len(l.routes) != 0 {
		t.Errorf("left after withdrawing: %v, %v, error %v", l.made, l.routes, err)
	}
}

// What netlink tells of a device is what it was made from.
func TestDescribe(t *testing.T) {
	for _, d := range []device{
		{kind: encap.IPIP, local: netip.MustParseAddr("192.0.2.1"), peer: netip.MustParseAddr("198.51.100.7")},
		{kind: encap.GRE, local: netip.MustParseAddr("192.0.2.1"), peer: netip.MustParseAddr("198.51.100.7")},
		{kind: encap.GRE, local: netip.MustParseAddr("192.0.2.1"), peer: netip.MustParseAddr("198.51.100.7"), hasKey: true, key: 0xfeedface},
	} {
		if got, ok := describe(d.form("x", "tag", 1400, 0)); !ok || got != d {
			t.Errorf("%+v became %+v", d, got)
		}
	}
	if _, ok := describe(&netlink.Dummy{}); ok {
		t.Error("a device of another kind")
	}
}

// A kernel without the devices says so, and nothing is left of the question.
func TestProbe(t *testing.T) {
	n := nstest.New(t, "host")
	n.Do(func() {
		if err := probe(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("error %v", err)
		}
		if _, err := netlink.LinkByName("coprobe0"); err == nil {
			t.Error("the device that was tried is still there")
		}
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/all/rp_filter", []byte("2"), 0); err != nil {
			t.Error(err)
		}
		// With this setting a device would take any inner source.
		if err := probe(); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "rp_filter") {
			t.Errorf("with a loose reverse path filter: error %v", err)
		}
	})
}
