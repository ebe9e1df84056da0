package netns

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestDelayIsTwentyFiveMillisecondsEachWay(t *testing.T) {
	p := newPair(t, Conditions{Delay: 25 * time.Millisecond})
	echo(t, p.b, "10.0.0.2:7")
	conn := listen(t, p.a, "10.0.0.1:0")
	ask(t, conn, "10.0.0.2:7") // resolves addresses
	var times []time.Duration
	for range 20 {
		_, rtt := ask(t, conn, "10.0.0.2:7")
		if rtt < 50*time.Millisecond {
			t.Fatalf("an answer came after %s; 25 ms each way are 50 ms", rtt)
		}
		times = append(times, rtt)
	}
	slices.Sort(times)
	t.Logf("RTT over 2 x 25 ms: median %s, worst %s", times[len(times)/2], times[len(times)-1])
	if times[0] > 60*time.Millisecond {
		t.Errorf("the best of 20 answers took %s", times[0])
	}
}

func TestDelayLineIsNeverEarlyAndKeepsOrder(t *testing.T) {
	l := must(newDelayLine())(t)
	defer l.Close()
	const count = 200
	late := make([]time.Duration, 0, count)
	order := make([]int, 0, count)
	done := make(chan struct{})
	for i := range count {
		due := l.now() + 25*time.Millisecond
		l.at(due, func() {
			late = append(late, l.now()-due)
			order = append(order, i)
			if len(order) == count {
				close(done)
			}
		})
		pause(t.Context(), time.Millisecond)
	}
	<-done
	if !slices.IsSorted(order) {
		t.Error("functions ran out of order: ", order)
	}
	slices.Sort(late)
	if late[0] < 0 {
		t.Error("a function ran early by ", -late[0])
	}
	t.Logf("later than 25 ms by: median %s, 99 %% %s, worst %s", late[count/2], late[count*99/100], late[count-1])
}

func TestDelayLineRunsWhatIsDueAtTheSameTimeInOrderOfInsertion(t *testing.T) {
	l := must(newDelayLine())(t)
	defer l.Close()
	due := l.now() + 5*time.Millisecond
	var order []int
	done := make(chan struct{})
	for i := range 100 {
		l.at(due, func() { order = append(order, i) })
	}
	l.at(due, func() { close(done) })
	<-done
	if len(order) != 100 || !slices.IsSorted(order) {
		t.Error(order)
	}
}

func TestLossOfCarrierIsALinkEvent(t *testing.T) {
	p := newPair(t, Conditions{})
	events := make(chan Interface, 16)
	stop := must(p.a.WatchInterfaces(func(i Interface) { events <- i }))(t)
	defer stop()
	wait := func(running bool) {
		t.Helper()
		timeout := time.After(limit)
		for {
			select {
			case e := <-events:
				if e.Name == "eth0" && e.Up && e.Running == running {
					return
				}
			case <-timeout:
				t.Fatalf("no event with running=%v", running)
			}
		}
	}
	ok(t, p.pa.SetCarrier(false))
	wait(false)
	if i := must(p.a.Interface("eth0"))(t); !i.Up || i.Running {
		t.Errorf("without carrier: %+v", i)
	}
	ok(t, p.pa.SetCarrier(true))
	wait(true)
	echo(t, p.b, "10.0.0.2:7")
	ask(t, listen(t, p.a, "10.0.0.1:0"), "10.0.0.2:7")
}

func TestPartitionStopsTrafficWithoutALinkEvent(t *testing.T) {
	p := newPair(t, Conditions{})
	echo(t, p.b, "10.0.0.2:7")
	conn := listen(t, p.a, "10.0.0.1:0")
	ask(t, conn, "10.0.0.2:7")
	p.segment.SetUp(false)
	if !silent(t, conn, "10.0.0.2:7") {
		t.Error("an answer came through a parted segment")
	}
	if i := must(p.a.Interface("eth0"))(t); !i.Running {
		t.Error("the node noticed the partition: ", i)
	}
	if c := p.segment.Counts(); c.Fates[Cut] == 0 {
		t.Errorf("nothing was counted as cut: %+v", c)
	}
	p.segment.SetUp(true)
	ask(t, conn, "10.0.0.2:7")
}

func TestConditionsHoldForOneDirection(t *testing.T) {
	p := newPair(t, Conditions{})
	a, b := listen(t, p.a, "10.0.0.1:9"), listen(t, p.b, "10.0.0.2:9")
	echo(t, p.b, "10.0.0.2:7")
	ask(t, a, "10.0.0.2:7")
	p.pa.SetConditions(Conditions{Cut: true})
	a.WriteToUDPAddrPort([]byte("lost"), endpoint("10.0.0.2:9"))
	b.WriteToUDPAddrPort([]byte("heard"), endpoint("10.0.0.1:9"))
	if got := hear(t, a); got != "heard" {
		t.Errorf("the other direction was cut as well: %q", got)
	}
	p.pa.SetConditions(Conditions{})
	a.WriteToUDPAddrPort([]byte("goes behind it"), endpoint("10.0.0.2:9"))
	if got := hear(t, b); got != "goes behind it" {
		t.Errorf("%q passed in the direction that is cut", got)
	}
}

func TestLossAndDuplicationFollowTheSeed(t *testing.T) {
	fates := func(seed uint64) (lost, doubled int) {
		n := &Network{seed: seed}
		p := n.newPort("a/eth0", MAC{})
		p.SetConditions(Conditions{Loss: 0.2, Duplicate: 0.1})
		for range 2000 {
			_, copies, fate := p.schedule(0, 100)
			if fate == Lost {
				lost++
			}
			if copies == 2 {
				doubled++
			}
			p.underway.Store(0)
		}
		return lost, doubled
	}
	lost, doubled := fates(7)
	if lost < 300 || lost > 500 || doubled < 100 || doubled > 220 {
		t.Errorf("of 2000 frames %d were lost and %d doubled; want about 400 and 160", lost, doubled)
	}
	if l, d := fates(7); l != lost || d != doubled {
		t.Errorf("the same seed gave %d, %d and then %d, %d", lost, doubled, l, d)
	}
	if l, d := fates(8); l == lost && d == doubled {
		t.Error("another seed made no difference")
	}
}

func TestJitterReordersOnlyWhenAllowed(t *testing.T) {
	inversions := func(reorder bool) (count int) {
		n := &Network{seed: 3}
		p := n.newPort("a/eth0", MAC{})
		p.SetConditions(Conditions{Delay: 10 * time.Millisecond, Jitter: 5 * time.Millisecond, Reorder: reorder})
		var last time.Duration
		for i := range 500 {
			now := time.Duration(i) * time.Millisecond
			at, _, _ := p.schedule(now, 100)
			if at[0] < last {
				count++
			}
			if at[0] < now+10*time.Millisecond {
				t.Fatal("a frame is earlier than the delay")
			}
			last = at[0]
		}
		return count
	}
	if n := inversions(false); n != 0 {
		t.Errorf("%d frames overtook others without leave", n)
	}
	if n := inversions(true); n == 0 {
		t.Error("no frame overtook another")
	}
}

func TestRateAndQueueBoundALine(t *testing.T) {
	n := &Network{}
	p := n.newPort("a/eth0", MAC{})
	p.SetConditions(Conditions{Rate: 8_000_000, Queue: 10}) // 1000 octets in a millisecond
	for i := range 10 {
		at, _, fate := p.schedule(0, 1000)
		if want := time.Duration(i+1) * time.Millisecond; fate != Carried || at[0] != want {
			t.Errorf("frame %d arrives at %s (%s), want %s", i, at[0], fate, want)
		}
	}
	if _, _, fate := p.schedule(0, 1000); fate != QueueFull {
		t.Error("the eleventh frame was ", fate)
	}
}

func TestBlackHoleForLargeFrames(t *testing.T) {
	p := newPair(t, Conditions{MTU: 1000})
	echo(t, p.b, "10.0.0.2:7")
	conn, far := listen(t, p.a, "10.0.0.1:0"), listen(t, p.b, "10.0.0.2:9")
	ask(t, conn, "10.0.0.2:7")
	conn.WriteToUDPAddrPort(make([]byte, 1200), endpoint("10.0.0.2:9"))
	conn.WriteToUDPAddrPort([]byte("goes behind it"), endpoint("10.0.0.2:9"))
	if got := hear(t, far); got != "goes behind it" {
		t.Errorf("a packet with %d octets passed an MTU of 1000", len(got))
	}
	if c := p.segment.Counts(); c.Fates[TooBig] != 1 {
		t.Errorf("counted as too big: %d", c.Fates[TooBig])
	}
}

func TestTapSeesEveryFrameAndItsFate(t *testing.T) {
	p := newPair(t, Conditions{})
	echo(t, p.b, "10.0.0.2:7")
	conn := listen(t, p.a, "10.0.0.1:0")
	ask(t, conn, "10.0.0.2:7")
	var mu sync.Mutex
	var frames []Frame
	stop := p.segment.Tap(func(f Frame) {
		mu.Lock()
		defer mu.Unlock()
		frames = append(frames, f)
	})
	seen := func(from *Port, fate Fate) bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.ContainsFunc(frames, func(f Frame) bool {
			return f.From == from && f.Fate == fate && binary.BigEndian.Uint16(f.Data[12:]) == etherTypeIPv4 && !f.Time.IsZero()
		})
	}
	ask(t, conn, "10.0.0.2:7")
	if !seen(p.pa, Carried) || !seen(p.pb, Carried) {
		t.Error("request or answer is missing")
	}
	p.pa.SetConditions(Conditions{Cut: true})
	silent(t, conn, "10.0.0.2:7")
	if !seen(p.pa, Cut) {
		t.Error("the frame that was cut is missing")
	}
	stop()
	mu.Lock()
	before := len(frames)
	mu.Unlock()
	p.pa.SetConditions(Conditions{})
	ask(t, conn, "10.0.0.2:7")
	if len(frames) != before {
		t.Error("the tap went on after its end")
	}
}

func TestSwitchLearnsAndDoesNotFloodKnownAddresses(t *testing.T) {
	p := newPair(t, Conditions{})
	bystander := p.network.newPort("bystander/0", p.network.newMAC())
	var mu sync.Mutex
	var heard [][]byte
	bystander.sink = func(frame []byte) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, frame)
	}
	bystander.Move(p.segment)
	echo(t, p.b, "10.0.0.2:7")
	conn := listen(t, p.a, "10.0.0.1:0")
	for range 5 {
		ask(t, conn, "10.0.0.2:7")
	}
	mu.Lock()
	defer mu.Unlock()
	for _, f := range heard {
		if f[0]&1 == 0 {
			t.Errorf("a bystander heard a unicast frame: % x", f[:14])
		}
	}
	if !slices.ContainsFunc(heard, func(f []byte) bool { return bytes.Equal(f[:6], broadcastMAC[:]) }) {
		t.Error("the bystander heard no broadcast")
	}
}

func TestPortMovesToAnotherSegment(t *testing.T) {
	p := newPair(t, Conditions{})
	other := must(p.network.NewSegment("other", Conditions{}))(t)
	echo(t, p.b, "10.0.0.2:7")
	conn := listen(t, p.a, "10.0.0.1:0")
	ask(t, conn, "10.0.0.2:7")
	p.pa.Move(other)
	if !silent(t, conn, "10.0.0.2:7") {
		t.Error("still connected")
	}
	p.pb.Move(other)
	ask(t, conn, "10.0.0.2:7")
}

func TestClosedPortTakesItsInterfaceAway(t *testing.T) {
	p := newPair(t, Conditions{})
	ok(t, p.pa.Close())
	if _, err := p.a.Interface("eth0"); err == nil {
		t.Error("the interface is still there")
	}
	must(p.a.Attach(p.segment, "eth0", PortConfig{}))(t)
}

func TestNodeIsIndependentOfTheHost(t *testing.T) {
	n := newNetwork(t)
	host := must(n.NewNode("host", NodeConfig{}))(t)
	router := must(n.NewNode("router", NodeConfig{Forward: true}))(t)
	for _, row := range []struct {
		node       *Node
		name, want string
	}{
		{host, "net.ipv4.ip_forward", "0"},
		{router, "net.ipv4.ip_forward", "1"},
		{host, "net/ipv4/conf/default/rp_filter", "0"},
		{host, "net.ipv6.conf.all.disable_ipv6", "1"},
	} {
		if got := must(row.node.Sysctl(row.name))(t); got != row.want {
			t.Errorf("%s: %s is %s, want %s", row.node.Name(), row.name, got, row.want)
		}
	}
	if i := must(host.Interface("lo"))(t); !i.Up {
		t.Error("the loopback interface is down")
	}
	var before, inside, after unix.Stat_t
	ok(t, unix.Stat("/proc/thread-self/ns/net", &before))
	ok(t, host.Do(func() error { return unix.Stat("/proc/thread-self/ns/net", &inside) }))
	ok(t, unix.Stat("/proc/thread-self/ns/net", &after))
	if inside.Ino == before.Ino || after.Ino != before.Ino {
		t.Error("Do did not enter the namespace, or did not leave it")
	}
}

func TestAddressesRoutesAndNeighbours(t *testing.T) {
	p := newPair(t, Conditions{})
	ok(t, p.a.AddAddress("eth0", prefix("10.1.0.1/16")))
	ok(t, p.a.AddRoute(Route{Prefix: prefix("0.0.0.0/0"), Via: addr("10.0.0.2"), Metric: 10}))
	ok(t, p.a.AddRoute(Route{Prefix: prefix("192.0.2.0/24"), Interface: "eth0", Source: addr("10.1.0.1")}))
	ok(t, p.a.SetNeighbour("eth0", addr("10.0.0.9"), MAC{2, 0, 0, 0, 0, 9}))
	if got := must(p.a.Addresses("eth0"))(t); !slices.Equal(got, []netip.Prefix{prefix("10.0.0.1/24"), prefix("10.1.0.1/16")}) {
		t.Error("addresses: ", got)
	}
	want := []Route{
		{Prefix: prefix("0.0.0.0/0"), Via: addr("10.0.0.2"), Interface: "eth0", Metric: 10},
		{Prefix: prefix("10.0.0.0/24"), Interface: "eth0", Source: addr("10.0.0.1")},
		{Prefix: prefix("10.1.0.0/16"), Interface: "eth0", Source: addr("10.1.0.1")},
		{Prefix: prefix("192.0.2.0/24"), Interface: "eth0", Source: addr("10.1.0.1")},
	}
	if got := must(p.a.Routes())(t); !slices.Equal(got, want) {
		t.Errorf("routes\n got %+v\nwant %+v", got, want)
	}
	if mac, known, err := p.a.Neighbour("eth0", addr("10.0.0.9")); err != nil || !known || mac != (MAC{2, 0, 0, 0, 0, 9}) {
		t.Error("neighbour: ", mac, known, err)
	}
	ok(t, p.a.RemoveRoute(want[0]))
	ok(t, p.a.RemoveAddress("eth0", prefix("10.1.0.1/16")))
	if got := must(p.a.Routes())(t); len(got) != 1 {
		t.Error("left: ", got)
	}
}
