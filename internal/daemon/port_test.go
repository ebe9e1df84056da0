package daemon

import (
	"bytes"
	"encoding/binary"
	"strings"
	"sync/atomic"
	"testing"
)

// A visited network lets UDP port 434 through in neither direction. With
// another port at both ends the node registers and is reached, and nothing at
// all goes to or from 434.
func TestANetworkThatBlocksPort434(t *testing.T) {
	n := wirePair(t)
	n.settle()
	next := n.r.Packets("tomn")
	n.home = n.daemon(n.ha, "ha", with(pairHomeText, "home-agent", "port = 8434"))
	n.mobile = n.daemon(n.mn, "mn", with(pairMobileText, "mobile-node", "home-agent-port = 8434\nencapsulation = \"udp\""))
	var stop atomic.Bool
	heard := make(chan [2]int)
	go func() {
		var to434, to8434 int
		for !stop.Load() {
			for p := next(); p != nil; p = next() {
				if p = bytes.Clone(p); len(p) < 24 || p[0] != 0x45 || p[9] != 17 {
					continue
				}
				for _, at := range []int{20, 22} {
					switch binary.BigEndian.Uint16(p[at:]) {
					case 434:
						to434++
					case 8434:
						to8434++
					}
				}
			}
		}
		heard <- [2]int{to434, to8434}
	}()
	n.registered()
	n.says("by another port")
	stop.Store(true)
	if seen := <-heard; seen[0] != 0 || seen[1] < 4 {
		t.Errorf("%d packets of port 434, %d of port 8434", seen[0], seen[1])
	}
	if b := n.bindings(); len(b) != 1 || !strings.HasPrefix(b[0].Encapsulation, "udp") {
		t.Errorf("the bindings are %+v", b)
	}
}
