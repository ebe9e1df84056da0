package bpf_test

import (
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
	"careof/internal/host/plane/bpf"
	"careof/internal/host/plane/nstest"
	"careof/internal/host/plane/tun"
	"careof/internal/host/sock"
)

// On kernels without TCX two daemons share an underlay: neither takes the
// other's filter, at a start, at an end, or when it removes what was left. What
// an earlier build or a device that is gone has left goes.
func TestClassicFiltersOfTwoDaemons(t *testing.T) {
	if err := bpf.Supported(); err != nil {
		t.Skip(err)
	}
	n, other := nstest.New(t, "ha"), nstest.New(t, "other")
	nstest.Join(t, n, "wan0", other, "eth0", 1500)
	open := func(device string) (p *bpf.Plane) {
		n.Do(func() {
			dev, err := tun.OpenDevice(device, 1420, false)
			if err != nil {
				t.Error(err)
				return
			}
			slow, err := tun.New(tun.Config{Device: dev, Datagrams: sock.New(sock.Receiver{}, 0)})
			if err != nil {
				t.Error(err)
				return
			}
			if p, err = bpf.Open(bpf.Config{Slow: slow, Device: device, Capacity: 16, Classic: true}); err != nil {
				t.Error(err)
				return
			}
			if err := p.Link(engine.Link{Name: "wan0", Up: true}); err != nil {
				t.Error(err)
			}
		})
		if t.Failed() {
			t.FailNow()
		}
		return p
	}
	handles := func() (list []int) {
		filters, err := n.H.FilterList(n.Link("wan0"), netlink.HANDLE_MIN_INGRESS)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range filters {
			if b, ok := f.(*netlink.BpfFilter); ok {
				list = append(list, int(b.Handle))
			}
		}
		slices.Sort(list)
		return list
	}
	index := func(device string) int { return n.Link(device).Attrs().Index }
	first := open("careof0")
	defer func() { first.Close() }()
	// An earlier build's, and one of a device that is gone.
	for _, handle := range []uint32{1, 4321} {
		filter := &netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: index("wan0"), Parent: netlink.HANDLE_MIN_INGRESS, Handle: handle, Protocol: unix.ETH_P_ALL, Priority: 434},
			Fd:          first.Programs()[1].FD(), Name: "careof", DirectAction: true,
		}
		if err := n.H.FilterAdd(filter); err != nil {
			t.Fatal(err)
		}
	}
	second := open("careof1")
	want := []int{index("careof0"), index("careof1")}
	slices.Sort(want)
	if got := handles(); !slices.Equal(got, want) {
		t.Fatalf("filters %v, want %v", got, want)
	}
	own := index("careof0")
	n.Do(func() {
		if err := bpf.Remove("", "careof1"); err != nil {
			t.Error(err)
		}
	})
	if got := handles(); !slices.Equal(got, []int{own}) {
		t.Errorf("after one was removed: filters %v, want %d", got, own)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if got := handles(); !slices.Equal(got, []int{own}) {
		t.Errorf("after the second's end: filters %v, want %d", got, own)
	}
}
