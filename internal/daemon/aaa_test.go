package daemon

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"careof/internal/control"
)

var grantingHomeText = with(pairHomeText, "home-agent", "shards = 3") + "[aaa]\nnas-identifier = \"ha1.test\"\n"

// An operator who asks AAA about a node hears too what the home agent would do
// with the answer: what it cannot use, it discards without a word to the node.
func TestAAATestSaysWhatTheHomeAgentWouldNotTake(t *testing.T) {
	n := wirePair(t)
	text := grantingHomeText
	cases := []struct{ nai, address, unfit string }{
		{"good@fleet.example", "10.10.0.9", ""},
		{"outside@fleet.example", "10.11.0.9", "10.11.0.9 lies in no home network"},
		{"network@fleet.example", "10.10.0.0", "10.10.0.0 cannot be a mobile node's"},
		{"another@fleet.example", "10.10.0.5", "is another node's"},
		{"none@fleet.example", "", "no home network has a pool"},
	}
	for _, c := range cases {
		text += "[[aaa.subscriber]]\nnai = \"" + c.nai + "\"\nsecret = \"a-long-secret\"\n"
		if c.address != "" {
			text += "home-address = \"" + c.address + "\"\n"
		}
		text += "[[aaa.subscriber.key]]\nspi = 256\nkey = \"hex:00112233445566778899aabbccddee00\"\nalgorithm = \"hmac-sha256\"\n"
	}
	home := n.daemon(n.ha, "ha", text)
	for _, c := range cases {
		done, err := home.TestAAA(t.Context(), control.AAATestOrder{NAI: c.nai})
		if err != nil || !done.Key.Granted || (done.Key.Unfit == "") != (c.unfit == "") || !strings.Contains(done.Key.Unfit, c.unfit) {
			t.Errorf("%s: %+v, %v, want %q", c.nai, done.Key, err, c.unfit)
		}
	}
}

const namedMobileText = `[mobile-node]
nai = "good%[2]s@fleet.example"
home-agent = "198.51.100.1"
spi = 256
key = "hex:00112233445566778899aabbccddee00"
algorithm = "hmac-sha256"
lifetime = "4s"
[[mobile-node.uplink]]
interface = "eth0"
`

// A node that AAA alone knows begins without an address and renews with the one
// that it was granted, whichever that is: it is one node to the home agent, with one
// binding and one replay mark.
func TestANodeOfAAAIsOneNodeWithAndWithoutItsAddress(t *testing.T) {
	n := wirePair(t)
	text := grantingHomeText
	for i := range 3 {
		text += fmt.Sprintf("[[aaa.subscriber]]\nnai = \"good%d@fleet.example\"\nsecret = \"a-long-secret\"\nhome-address = \"10.10.0.%d\"\n", i, 20+i)
		text += "[[aaa.subscriber.key]]\nspi = 256\nkey = \"hex:00112233445566778899aabbccddee00\"\nalgorithm = \"hmac-sha256\"\n"
	}
	n.settle()
	n.home = n.daemon(n.ha, "ha", text)
	for i := range 3 {
		address := netip.AddrFrom4([4]byte{10, 10, 0, byte(20 + i)})
		n.daemon(n.mn, "mn", strings.ReplaceAll(namedMobileText, "%[2]s", fmt.Sprint(i)))
		requests := make(map[string]bool)
		n.until("the node has renewed twice", func() bool {
			var its []control.Binding
			for _, b := range n.bindings() {
				if b.HomeAddress == address {
					its = append(its, b)
					requests[b.Identification] = true
				}
			}
			if len(its) > 1 {
				t.Fatalf("one node has %d bindings: %+v", len(its), its)
			}
			return len(requests) > 2
		})
		n.end("mn", syscall.SIGTERM)
	}
}

// The nodes that AAA brings are one machine's, so a home agent without AAA has to
// start anew to have some.
func TestAAAComesWithARestart(t *testing.T) {
	n := wirePair(t)
	without, _, _ := strings.Cut(grantingHomeText, "[aaa]")
	n.home = n.daemon(n.ha, "ha", without)
	n.write("ha", without+"[[aaa.subscriber]]\nnai = \"good@fleet.example\"\nsecret = \"a-long-secret\"\n")
	if done := n.reload(n.home, control.ReloadOrder{}); done.Applied || !strings.Contains(done.Restart, "aaa") {
		t.Errorf("%+v", done)
	}
}
