package tun

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/forward"
	"careof/internal/host/plane/nstest"
	"careof/wire/encap"
)

// What the kernel has routed to the device before a daemon ends leaves, also what
// the daemon had no time to read yet: nobody would read it after it.
func TestFinishSendsWhatIsOnItsWay(t *testing.T) {
	const packets = 3 * maxArrivals
	host := nstest.New(t, "host")
	var dev Device
	host.Do(func() {
		var err error
		if dev, err = OpenDevice("tun0", 1500, false); err != nil {
			t.Error(err)
		}
	})
	if dev == nil {
		t.FailNow()
	}
	raw := &fakeRaw{out: make(chan []byte), closed: make(chan struct{}), mtu: 1500}
	p, err := New(Config{Device: dev, Datagrams: make(fakeDatagrams), raw: raw})
	if err != nil {
		dev.Close()
		t.Fatal(err)
	}
	defer p.Close()
	entry := agentEntry(toCareOf(forward.Tunnel{Encap: encap.IPIP}))
	if err := p.Apply(t.Context(), []forward.Change{{Op: forward.Put, Entry: entry}}); err != nil {
		t.Fatal(err)
	}
	host.Address("tun0", "192.0.2.1/24")
	host.Route(homeAddr.String()+"/32", "", "tun0", "")
	host.Do(func() {
		c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(homeAddr, 9)))
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for range packets {
			if _, err := c.Write([]byte("on its way")); err != nil {
				t.Error(err)
			}
		}
	})
	finished := make(chan struct{})
	go func() { p.Finish(); close(finished) }()
	sent, late := 0, time.After(20*time.Second)
	for over := false; !over; {
		select {
		case b := <-raw.out:
			if ip, err := encap.ParseIPv4(b[20:]); err == nil && ip.Dst == homeAddr {
				sent++
			}
		case <-finished:
			over = true
		case <-late:
			t.Fatal("it never finishes")
		}
	}
	if sent != packets {
		t.Errorf("%d of %d packets left", sent, packets)
	}
}
