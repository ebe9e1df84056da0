package daemon

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"careof/internal/control"
	"careof/internal/host/plane/nstest"
)

// shows follows a daemon's events; what it returns waits for the one that shows
// a text that a peer has sent.
func (n *foreignNet) shows(c *control.Client) func(text string) {
	ctx, cancel := context.WithCancel(context.Background())
	n.t.Cleanup(cancel)
	// From the oldest one that the daemon remembers: what happens now may have
	// happened before it has heard that somebody listens.
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://daemon/v1/events?after=0", nil)
	if err != nil {
		n.t.Fatal(err)
	}
	response, err := c.RoundTrip(request)
	if err != nil {
		n.t.Fatal(err)
	}
	events := make(chan []byte)
	go func() {
		defer response.Body.Close()
		for lines := bufio.NewScanner(response.Body); lines.Scan(); {
			select {
			case events <- bytes.Clone(lines.Bytes()):
			case <-ctx.Done():
				return
			}
		}
	}()
	return func(text string) {
		n.t.Helper()
		for end := time.After(patience); ; {
			select {
			case e := <-events:
				if bytes.Contains(e, []byte(`"notified"`)) && bytes.Contains(e, []byte(text)) {
					return
				}
			case <-end:
				n.t.Fatalf("no event shows %q", text)
			}
		}
	}
}

// tells sends a text that must be acknowledged, and shown at the other end.
func (n *foreignNet) tells(from *control.Client, order control.NotifyOrder, direction string, shown func(string)) {
	n.t.Helper()
	done, err := from.Notify(context.Background(), order)
	if err != nil || !done.Taken || !done.Over || done.Direction != direction {
		n.t.Fatalf("%s: %+v, %v", direction, done, err)
	}
	shown(direction + ": " + order.Text)
}

// cannot is an order that must fail, and say why.
func (n *foreignNet) cannot(from *control.Client, order control.NotifyOrder, kind error, why string) {
	n.t.Helper()
	if done, err := from.Notify(context.Background(), order); !errors.Is(err, kind) || !strings.Contains(err.Error(), why) {
		n.t.Errorf("%+v: %+v, %v; want %v with %q", order, done, err, kind, why)
	}
}

// Texts for people between real daemons, to, through and from a foreign agent,
// then directly from behind an address translator.
//
//rfc:6098#3.2
func TestAgentsAndNodesTellEachOther(t *testing.T) {
	n := newForeignNet(t)
	if err := n.mn.H.AddrDel(n.mn.Link("eth0"), &netlink.Addr{IPNet: &net.IPNet{IP: visitorHome.AsSlice(), Mask: net.CIDRMask(32, 32)}}); err != nil {
		t.Fatal(err)
	}
	ha, fa := n.haControl, n.control
	atHA, atFA := n.shows(ha), n.shows(fa)
	van := visitorHome.String()
	n.cannot(ha, control.NotifyOrder{Node: van, Text: "early"}, control.ErrNotFound, "is not registered here")
	n.cannot(fa, control.NotifyOrder{Node: van, Text: "early"}, control.ErrNotFound, "is no visitor")

	mn := n.daemon(n.mn, "mn", visitorText)
	atMN := n.shows(mn)
	n.registered(mn)
	n.tells(ha, control.NotifyOrder{Node: van, Text: "one"}, "home agent to mobile node", atMN)
	n.tells(ha, control.NotifyOrder{Node: van, Agent: true, Text: "two"}, "home agent to foreign agent", atFA)
	n.tells(mn, control.NotifyOrder{Text: "three"}, "mobile node to home agent", atHA)
	n.tells(mn, control.NotifyOrder{Agent: true, Text: "four"}, "mobile node to foreign agent", atFA)
	n.tells(fa, control.NotifyOrder{Node: van, Text: "five"}, "foreign agent to mobile node", atMN)
	n.tells(fa, control.NotifyOrder{Node: van, Agent: true, Text: "six"}, "foreign agent to home agent", atHA)
	n.cannot(ha, control.NotifyOrder{Node: van}, control.ErrInvalid, "1 to 254 octets")
	n.cannot(ha, control.NotifyOrder{Text: "whom?"}, control.ErrNotFound, "agents name the node")
	n.end("mn", syscall.SIGTERM)

	n.translate(n.r, "192.0.2.0/24")
	text, _, _ := strings.Cut(visitorText, "[[mobile-node.foreign-agent]]")
	mn = n.daemon(n.cn, "mn", text)
	atMN = n.shows(mn)
	// The node itself begins with what it kept of the last registration.
	n.until("the node has moved", func() bool {
		text, err := ha.Raw(context.Background(), "bindings", "")
		return err == nil && bytes.Contains(text, []byte(`"192.0.2.9"`))
	})
	n.registered(mn)
	n.tells(ha, control.NotifyOrder{Node: van, Text: "seven"}, "home agent to mobile node", atMN)
	n.tells(mn, control.NotifyOrder{Text: "eight"}, "mobile node to home agent", atHA)
	n.cannot(ha, control.NotifyOrder{Node: van, Agent: true, Text: "no"}, control.ErrInvalid, "no foreign agent")
	n.cannot(mn, control.NotifyOrder{Agent: true, Text: "no"}, control.ErrNotFound, "uses no foreign agent")
}

// registered waits until a node's registration stands.
func (n *foreignNet) registered(node *control.Client) {
	n.t.Helper()
	n.until("the node is registered", func() bool {
		text, err := node.Raw(context.Background(), "registrations", "")
		return err == nil && bytes.Contains(text, []byte(`"registered"`))
	})
}

// translate makes a router a translator for what comes from a network.
func (n *foreignNet) translate(router *nstest.Node, from string) {
	n.t.Helper()
	nft, err := exec.LookPath("nft")
	if err != nil {
		n.t.Skip("nft is missing: no address translator")
	}
	cmd := exec.Command(nft, "add table ip n; add chain ip n p { type nat hook postrouting priority 100; }; add rule ip n p ip saddr "+from+" masquerade")
	router.Do(func() {
		if out, err := cmd.CombinedOutput(); err != nil {
			n.t.Errorf("nft: %v: %s", err, out)
		}
	})
}
