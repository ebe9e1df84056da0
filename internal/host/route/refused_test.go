package route

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/host/beside"
)

func prefixes(list ...string) (out []netip.Prefix) {
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// What programs may not send by an uplink is what is for the tunnel, wherever the
// node is: the visited link is reached, and where its packets go without a tunnel.
func TestWhatProgramsMayNotSend(t *testing.T) {
	tunnels := []forward.Tunnel{{Link: "wlan0"}}
	link := prefixes("192.168.8.0/24")
	for name, c := range map[string]struct {
		entry forward.Entry
		want  beside.Want
		other forward.Entry // of another home address
	}{
		"away": {entry: away(all), want: beside.Want{Through: prefixes("0.0.0.0/0"), Uplinks: []beside.Uplink{{Name: "wlan0", To: link}}}},
		"with a list of routes": {entry: away(prefixes("10.0.0.0/8")...),
			want: beside.Want{Through: prefixes("10.0.0.0/8"), Uplinks: []beside.Uplink{{Name: "wlan0", To: link}}}},
		"with nothing for the tunnel": {entry: away()},
		"at home":                     {entry: forward.Entry{HomeLink: "wlan0", Routes: prefixes("0.0.0.0/0")}},
		"with one home address at home": {entry: forward.Entry{HomeLink: "wlan0", Routes: prefixes("0.0.0.0/0")},
			want:  beside.Want{Through: prefixes("0.0.0.0/0"), Uplinks: []beside.Uplink{{Name: "wlan0", To: link, From: prefixes("10.10.0.5/32")}}},
			other: forward.Entry{Inner: netip.MustParsePrefix("10.20.0.5/32"), Routes: prefixes("0.0.0.0/0"), Tunnels: []forward.Tunnel{{Link: "wlan0"}}}},
		"with destinations beside the tunnel": {entry: forward.Entry{Routes: prefixes("0.0.0.0/0"), Direct: prefixes("192.0.2.0/24"), Tunnels: tunnels},
			want: beside.Want{Through: prefixes("0.0.0.0/0"), Uplinks: []beside.Uplink{{Name: "wlan0", To: prefixes("192.0.2.0/24", "192.168.8.0/24")}}}},
		"with a foreign agent for its router": {
			entry: forward.Entry{Routes: prefixes("0.0.0.0/0"), Deliver: forward.Deliver{Link: "wlan0", Via: netip.MustParseAddr("192.168.8.7")}},
			want:  beside.Want{Through: prefixes("0.0.0.0/0"), Uplinks: []beside.Uplink{{Name: "wlan0", To: link, From: prefixes("10.10.0.5/32")}}}},
	} {
		t.Run(name, func(t *testing.T) {
			k := newFake()
			keeper := mobile(t, k)
			c.entry.Key, c.entry.Role, c.entry.Inner = "home", forward.MobileNode, homeHost
			do(t, keeper.Put(c.entry))
			if c.other.Inner.IsValid() {
				c.other.Key, c.other.Role = "other", forward.MobileNode
				do(t, keeper.Put(c.other))
			}
			if got := k.beside; !slices.Equal(got.Through, c.want.Through) || !slices.EqualFunc(got.Uplinks, c.want.Uplinks, func(a, b beside.Uplink) bool {
				return a.Name == b.Name && slices.Equal(a.To, b.To) && slices.Equal(a.From, b.From) && len(a.Passages) == len(b.Passages)
			}) {
				t.Errorf("have %+v\nwant %+v", got, c.want)
			}
			// On a link that is down nothing is reached.
			do(t, keeper.Uplink(engine.Link{Name: "wlan0"}))
			for _, u := range k.beside.Uplinks {
				if slices.Contains(u.To, link[0]) {
					t.Errorf("a link that is down: %+v", u)
				}
			}
			do(t, keeper.Withdraw())
			if len(k.beside.Uplinks) != 0 {
				t.Errorf("left: %+v", k.beside)
			}
		})
	}
}

// Routes by which a network draws packets out of the tunnel are told; those to
// private networks, and links as they are, are not.
func TestRoutesThatDrawPacketsOutAreWarnedOf(t *testing.T) {
	halves := away(all)
	halves.Routes = prefixes("0.0.0.0/1", "128.0.0.0/1")
	for dst, warned := range map[string]bool{
		"0.0.0.0/1": true, "203.0.113.0/24": true, "10.0.0.0/8": false, "172.16.0.0/12": false, "10.0.0.0/7": true, "100.64.0.0/10": false,
	} {
		k := newFake()
		keeper := mobile(t, k)
		k.links["wlan0"] = append(k.links["wlan0"], Route{Table: mainTable, Dst: netip.MustParsePrefix(dst), Via: netip.MustParseAddr("192.168.8.1"), Link: "wlan0"})
		do(t, keeper.Uplink(engine.Link{Name: "wlan0", Up: true, Addresses: prefixes("192.168.8.100/24")}))
		is := func() bool {
			return slices.ContainsFunc(keeper.Status().Warnings, func(w string) bool { return strings.Contains(w, dst+" leave beside the tunnel") })
		}
		if is() {
			t.Errorf("%s: warned of while there is no tunnel", dst)
		}
		do(t, keeper.Put(away(all)))
		if is() != warned {
			t.Errorf("%s: warned of: %v, want %v", dst, is(), warned)
		}
		do(t, keeper.Put(halves))
		if is() != warned {
			t.Errorf("%s: warned of: %v, want %v, when all is said in halves", dst, is(), warned)
		}
	}
}

// A visited network inside the home network draws packets for its hosts; that is told
// while the node is away, and of no other network.
func TestAVisitedNetworkInsideTheHomeNetworkIsWarnedOf(t *testing.T) {
	keeper := mobile(t, newFake())
	for home, warned := range map[string]bool{"192.168.0.0/16": true, "10.10.0.0/24": false} {
		e := away(all)
		e.HomeNetwork = netip.MustParsePrefix(home)
		do(t, keeper.Put(e))
		is := func() bool {
			return slices.ContainsFunc(keeper.Status().Warnings, func(w string) bool { return strings.Contains(w, "the home network "+home) })
		}
		if is() != warned {
			t.Errorf("home network %s: warned of: %v", home, is())
		}
		e.HomeLink = "wlan0"
		do(t, keeper.Put(e))
		if is() {
			t.Errorf("home network %s: warned of at home", home)
		}
	}
}
