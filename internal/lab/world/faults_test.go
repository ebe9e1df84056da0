package world

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// watch calls a function with every observation.
type watch func(Observation)

func (w watch) Observe(o Observation) { w(o) }

// A daemon may die between any two steps of a commit. What was durable then is
// there afterwards; what was not is not; and no reply leaves before both.
func TestDeathWithinACommit(t *testing.T) {
	for _, c := range []struct {
		name    string
		when    func(Observation) bool
		durable bool
	}{
		{"before it is durable", func(o Observation) bool { s, ok := o.(Stepped); return ok && len(s.Actions) > 0 }, false},
		{"before it is applied", func(o Observation) bool { _, ok := o.(Durable); return ok }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, 31)
			now, replies := false, 0
			r.Observe(watch(func(o Observation) {
				switch o := o.(type) {
				case Sent:
					if o.Daemon == r.ha.daemon {
						replies++
					}
				case Stepped:
					now = now || o.Daemon == r.ha.daemon && c.when(o)
				case Durable:
					now = now || o.Daemon == r.ha.daemon && c.when(o)
				}
			}))
			r.move(r.access1)
			if !r.RunUntil(5*time.Second, func() bool { return now }) {
				r.fatal(t, "the moment did not come")
			}
			r.ha.daemon.Kill()
			r.mn.daemon.Kill()
			r.Run(time.Second)
			entries := 0
			for range r.ha.plane.List(context.Background()) {
				entries++
			}
			if got := len(r.ha.daemon.Store(0)) > 0; got != c.durable || entries != 0 || replies != 0 {
				t.Errorf("durable: %v, entries: %d, replies: %d", got, entries, replies)
			}
			if err := r.ha.daemon.Start(); err != nil {
				t.Fatal(err)
			}
			entries = 0
			for range r.ha.plane.List(context.Background()) {
				entries++
			}
			if (entries == 1) != c.durable {
				t.Errorf("after the restart there are %d entries", entries)
			}
		})
	}
}

// Whoever is cut off one way only, hears or is heard.
func TestPartitionInOneDirection(t *testing.T) {
	r := newRig(t, 32)
	r.move(r.access1)
	r.registered(t)
	r.Run(time.Second)
	up := r.StartFlow(r.mn, netip.AddrPortFrom(homeAddress, 7001), r.cn, netip.AddrPortFrom(cnAddress, 7000), 20*time.Millisecond, 100)
	down := r.StartFlow(r.cn, netip.AddrPortFrom(cnAddress, 7003), r.mn, netip.AddrPortFrom(homeAddress, 7002), 20*time.Millisecond, 100)
	r.Run(time.Second)
	r.access1.Partition(func(_, to *Interface) bool { return to == r.eth })
	began := r.Now()
	r.Run(2 * time.Second)
	u, d := up.Report(began, began+time.Second), down.Report(began, began+time.Second)
	if u.Lost != 0 || d.Lost != d.Sent {
		t.Errorf("uplink %+v, downlink %+v", u, d)
	}
	r.access1.Partition(nil)
	began = r.Now()
	r.Run(2 * time.Second)
	if d := down.Report(began, began+time.Second); d.Lost != 0 {
		t.Errorf("after the partition: %+v", d)
	}
}

// Every tunnel of an entry gets a copy; one that drains gets none.
func TestCopiesToSeveralTunnels(t *testing.T) {
	w := New(33)
	lan := w.AddSegment("lan", Properties{})
	node := func(name, a string) *Node {
		n := w.AddNode(name)
		i := n.AddInterface("eth0")
		i.Plug(lan)
		i.Configure(prefix(a), netip.Addr{})
		return n
	}
	ha := node("ha", "198.51.100.1/24")
	got := make(map[string]int)
	tunnel := func(name, a string, mode forward.Mode) forward.Tunnel {
		n := node(name, a+"/24")
		n.AddPlane()
		w.Observe(watch(func(o Observation) {
			if d, ok := o.(Delivered); ok && d.Node == n {
				got[name]++
			}
		}))
		return forward.Tunnel{Local: addrPort("198.51.100.1:0"), Peer: netip.AddrPortFrom(addr(a), 0), Encap: encap.IPIP, Mode: mode}
	}
	entry := forward.Entry{Key: "x", Role: forward.HomeAgent, Inner: netip.PrefixFrom(homeAddress, 32), Tunnels: []forward.Tunnel{
		tunnel("one", "198.51.100.2", forward.Both), tunnel("two", "198.51.100.3", forward.Send), tunnel("drains", "198.51.100.4", forward.Receive),
	}}
	if err := ha.AddPlane().Apply(t.Context(), []forward.Change{{Op: forward.Put, Entry: entry}}); err != nil {
		t.Fatal(err)
	}
	if err := ha.SendUDP(addrPort("198.51.100.1:1"), netip.AddrPortFrom(homeAddress, 2), []byte("x")); err != nil {
		t.Fatal(err)
	}
	w.Run(time.Second)
	if got["one"] != 1 || got["two"] != 1 || got["drains"] != 0 {
		t.Errorf("copies: %v", got)
	}
}

// A packet that goes in circles ends, and its sender is told.
func TestTimeToLive(t *testing.T) {
	w := New(34)
	lan := w.AddSegment("lan", Properties{})
	node := func(name, a, gateway string) *Node {
		n := w.AddNode(name)
		n.Forward = true
		i := n.AddInterface("eth0")
		i.Plug(lan)
		i.Configure(prefix(a), addr(gateway))
		return n
	}
	host := node("host", "10.0.0.1/24", "10.0.0.2")
	node("left", "10.0.0.2/24", "10.0.0.3")
	node("right", "10.0.0.3/24", "10.0.0.2")
	told := 0
	host.errors = append(host.errors, func(p []byte) {
		if ip, err := encap.ParseIPv4(p); err == nil && encap.ICMPType(p[ip.HeaderLen]) == encap.TimeExceeded {
			told++
		}
	})
	if err := host.SendUDP(addrPort("10.0.0.1:1"), addrPort("203.0.113.1:2"), []byte("x")); err != nil {
		t.Fatal(err)
	}
	w.Run(5 * time.Second)
	if told != 1 {
		t.Errorf("the sender was told %d times", told)
	}
	if w.Events() > 1000 {
		t.Errorf("%d events for one packet", w.Events())
	}
}

// Faults of a segment happen as often as they are asked for, and are counted.
func TestSegmentFaults(t *testing.T) {
	w := New(35)
	lan := w.AddSegment("lan", Properties{Delay: time.Millisecond, Jitter: 10 * time.Millisecond})
	node := func(name, a string) *Node {
		n := w.AddNode(name)
		i := n.AddInterface("eth0")
		i.Plug(lan)
		i.Configure(prefix(a), netip.Addr{})
		return n
	}
	a, b := node("a", "10.0.0.1/24"), node("b", "10.0.0.2/24")
	lan.Introduce()
	lan.Loss, lan.Duplicate, lan.Corrupt = 0.2, 0.1, 0.05
	f := w.StartFlow(a, addrPort("10.0.0.1:1"), b, addrPort("10.0.0.2:2"), time.Millisecond, 100)
	w.Run(4 * time.Second)
	f.Stop()
	w.Run(time.Second)
	r := f.Report(0, 5*time.Second)
	within := func(what string, got, of int, p float64) {
		t.Helper()
		if x := float64(got) / float64(of); x < p*0.7 || x > p*1.3 {
			t.Errorf("%s: %d of %d, wanted %.0f %%", what, got, of, 100*p)
		}
	}
	within("lost", lan.Counts.Lost, r.Sent, 0.2)
	within("twice", r.Duplicates, r.Received, 0.1*0.95*0.95)
	within("corrupted", lan.Counts.Corrupted, r.Sent, 0.05*0.88)
	if b.Counts.Malformed == 0 {
		t.Error("nothing arrived with a bad checksum")
	}
}
