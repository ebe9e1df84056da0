package live

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"careof/internal/daemon"
	"careof/internal/lab/topology"
)

// A daemon that is stopped keeps programs in, until somebody says that it will not
// be started again.
func TestAHostIsLetOutAgain(t *testing.T) {
	t.Parallel()
	plan := topology.Default()
	server := address(t, plan.Node("cn")) + ":8080"
	l := build(t, plan, Options{Kernel: true})
	s := NewStage(t.Context(), l, t.Logf)
	defer s.Close()
	var listener net.Listener
	if err := l.Network.Node("cn").Do(func() (err error) {
		listener, err = net.Listen("tcp4", server)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	s.Plug("mn", "wlan0", "access1")
	s.Until("the node is registered", 30*time.Second, func() bool { return s.Binding("mn").Registered })
	node := l.Network.Node("mn")
	in := func(f func() error) error { return node.Do(f) }
	kept := func() (list []string) {
		t.Helper()
		if err := in(func() (err error) { list, err = daemon.KeptIn(); return err }); err != nil {
			t.Fatal(err)
		}
		return list
	}
	if list := kept(); len(list) != 0 {
		t.Errorf("%v keep something in while the daemon serves", list)
	}
	if err := in(func() error { return daemon.Release(device) }); !errors.Is(err, daemon.ErrServes) {
		t.Errorf("released beside a daemon that serves: %v", err)
	}
	s.Kill("mn")
	s.Until("the rules of a stopped daemon are seen", 30*time.Second, func() bool { return slices.Equal(kept(), []string{device}) })
	dial := func() error {
		return in(func() error {
			c, err := net.DialTimeout("tcp4", server, 2*time.Second)
			if err == nil {
				c.Close()
			}
			return err
		})
	}
	if err := dial(); err == nil {
		t.Fatal("a program got out while the daemon is dead")
	}
	if err := in(func() error { return daemon.Release(device) }); err != nil {
		t.Fatal(err)
	}
	if list := kept(); len(list) != 0 {
		t.Errorf("%v still keep something in", list)
	}
	if err := dial(); err != nil {
		t.Errorf("programs do not get out: %v", err)
	}
	// The next start puts everything back.
	s.Start("mn")
	s.Until("the node is registered again", 60*time.Second, func() bool { return s.Binding("mn").Registered })
	if err := in(func() error {
		c, err := (&net.Dialer{Timeout: 5 * time.Second}).Dial("tcp4", server)
		if err != nil {
			return err
		}
		defer c.Close()
		if at := c.LocalAddr().String(); !strings.HasPrefix(at, "10.10.0.5:") {
			t.Errorf("sent from %s, beside the tunnel", at)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
