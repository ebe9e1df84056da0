package translator

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"careof/internal/host/plane/nstest"
)

// What the kernel knows of an uplink becomes its path, and the router's link-layer
// address is part of that as soon as somebody has asked for it.
func TestThePathThatTheKernelKnows(t *testing.T) {
	host, router := nstest.New(t, "host"), nstest.New(t, "router")
	nstest.Join(t, host, "up0", router, "down0", 1400)
	for node, at := range map[*nstest.Node][2]string{host: {"up0", "2001:db8:6::5/64"}, router: {"down0", "2001:db8:6::1/64"}} {
		node.Sysctl("net/ipv6/conf/"+at[0]+"/accept_dad", 0)
		node.Address(at[0], at[1])
	}
	host.Route("::/0", "2001:db8:6::1", "up0", "")
	p := prefix(t, "64:ff9b::/96")
	told := make(chan Path, 16)
	var f *Finder
	host.Do(func() {
		var err error
		f, err = Open(Config{Links: []Link{{"up0", p}}, Tell: func(link string, p Path, ok bool) {
			if link == "up0" && ok {
				told <- p
			}
		}})
		if err != nil {
			t.Error(err)
		}
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		f.Close()
	})
	f.Want("up0", true)
	await := func(what string, is func(Path) bool) {
		t.Helper()
		patience := time.After(30 * time.Second)
		for {
			select {
			case p := <-told:
				if is(p) {
					return
				}
			case <-patience:
				t.Fatal("never told: " + what)
			}
		}
	}
	source := netip.MustParseAddr("2001:db8:6::5")
	await("the path", func(got Path) bool { return got.Source == source && got.Prefix == p && got.MTU == 1400 })
	host.Do(func() {
		c, err := net.Dial("udp6", "[64:ff9b::198.51.100.1]:434")
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if _, err := c.Write([]byte{0}); err != nil {
			t.Error(err)
		}
	})
	hw := router.Link("down0").Attrs().HardwareAddr
	await("the router", func(got Path) bool { return bytes.Equal(got.Router[:], hw) })
}
