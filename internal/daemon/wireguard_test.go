package daemon

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"careof/internal/control"
	"careof/internal/host/plane/nstest"
)

// newSecuredNet is a newPairNet whose node encrypts.
func newSecuredNet(t *testing.T, home string) *pairNet {
	t.Helper()
	n := wirePair(t)
	n.settle()
	n.home = n.daemon(n.ha, "ha", pairHomeText+home)
	n.mobile = n.daemon(n.mn, "mn", with(pairMobileText, "mobile-node", "encapsulation = \"wireguard\""))
	n.registered()
	return n
}

// says sends a word from the correspondent until the node has said it back.
func (n *pairNet) says(word string) {
	n.t.Helper()
	var far, near *net.UDPConn
	var err error
	n.mn.Do(func() {
		far, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.10.0.5:7")))
	})
	if err != nil {
		n.t.Fatal(err)
	}
	defer far.Close()
	n.cn.Do(func() {
		near, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.10.0.5:7")))
	})
	if err != nil {
		n.t.Fatal(err)
	}
	defer near.Close()
	go func() {
		buf := make([]byte, 2000)
		for {
			c, from, err := far.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			far.WriteToUDPAddrPort(buf[:c], from)
		}
	}()
	buf := make([]byte, 2000)
	n.until("the node says "+word, func() bool {
		near.Write([]byte(word))
		near.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		c, err := near.Read(buf)
		return err == nil && string(buf[:c]) == word
	})
}

// T23, with real daemons and their whole way: keys are made, kept and never
// shown; nothing of what is said is on the wire; show says that it is encrypted;
// and when either end is killed and started again, what is said gets through
// again.
func TestAnEncryptedTunnel(t *testing.T) {
	for _, kind := range []string{"tun", "auto"} {
		t.Run(kind, func(t *testing.T) {
			plane := fmt.Sprintf("[plane]\nkind = %q\nbpffs = %q\n", kind, nstest.BPFFS(t))
			n := newSecuredNet(t, plane)
			next := n.r.Packets("tomn")
			var stop atomic.Bool
			heard := make(chan [][]byte)
			go func() {
				var all [][]byte
				for !stop.Load() {
					for p := next(); p != nil; p = next() {
						all = append(all, bytes.Clone(p))
					}
				}
				heard <- all
			}()
			n.says("plainly said, over and over again")
			stop.Store(true)
			sealed := 0
			for _, p := range <-heard {
				if bytes.Contains(p, []byte("plainly")) {
					t.Fatalf("to be read on the way: % x", p)
				}
				if bytes.Contains(p, []byte{4, 0, 0, 0}) {
					sealed++
				}
			}
			if sealed < 2 {
				t.Errorf("%d encrypted packets were seen", sealed)
			}
			b := n.bindings()
			if len(b) != 1 || b[0].Encapsulation != "wireguard" || !b[0].Encrypted {
				t.Errorf("the bindings are %+v", b)
			}
			var list []control.Registration
			if err := n.mobile.Show(t.Context(), "registrations", "", &list); err != nil || len(list) != 1 || list[0].Encapsulation != "wireguard" {
				t.Errorf("the registrations are %+v, %v", list, err)
			}
			keys := make(map[string]string)
			for _, name := range []string{"ha", "mn"} {
				file := filepath.Join(n.dir, name+"-state", secretFile)
				info, err := os.Stat(file)
				if err != nil || info.Mode().Perm() != 0o600 {
					t.Fatalf("%s: %v, %v", file, info, err)
				}
				text, _ := os.ReadFile(file)
				keys[name] = string(text)
			}
			for _, end := range []string{"ha", "mn"} {
				n.end(end, syscall.SIGKILL)
				n.start(map[string]*nstest.Node{"ha": n.ha, "mn": n.mn}[end], end, "/proc/self/exe")
				n.answers(end)
				began := time.Now()
				n.says("said after " + end + " was killed")
				t.Logf("%s: %s killed, through again after %v", kind, end, time.Since(began).Round(time.Millisecond))
				text, _ := os.ReadFile(filepath.Join(n.dir, end+"-state", secretFile))
				if string(text) != keys[end] {
					t.Errorf("%s has another key after its restart", end)
				}
			}
		})
	}
}
