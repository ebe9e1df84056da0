package route

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"careof/wire/encap"
)

// set writes a sysctl if it has another value. Where the kernel has none, or
// does not let us, only must makes that an error.
func (k *Keeper) set(name, value string, must bool) error {
	have, err := k.kernel.Sysctl(name)
	if err == nil && have == value {
		return nil
	}
	if err == nil {
		if err = k.kernel.SetSysctl(name, value); err == nil {
			// Said once: what somebody keeps setting back is put right at
			// every reconciliation.
			said := fmt.Sprintf("%s = %s (was %s)", strings.ReplaceAll(name, "/", "."), value, have)
			if !slices.Contains(k.changed, said) {
				k.changed = append(k.changed, said)
			}
		}
	}
	if err != nil && must {
		return fmt.Errorf("route: sysctl %s: %w", strings.ReplaceAll(name, "/", "."), err)
	}
	return nil
}

// sysctls sets what the device and the role need.
func (k *Keeper) sysctls() error {
	dev := "net/ipv4/conf/" + k.c.Device + "/"
	// Packets come out of a tunnel from anywhere.
	if err := k.set(dev+"rp_filter", "2", true); err != nil {
		return err
	}
	// Two nodes that talk to each other through us are not to be redirected.
	k.without("send_redirects", k.c.Device)
	k.without("accept_redirects", k.c.Device)
	// No router solicitations and listener reports into an IPv4 tunnel.
	k.set("net/ipv6/conf/"+k.c.Device+"/disable_ipv6", "1", false)
	for _, link := range k.c.HomeLinks {
		// The kernel waits up to 0.8 s before it answers for others, in case
		// the node itself is there. It is not. (A user namespace has no such
		// setting; there the wait remains.)
		k.set("net/ipv4/neigh/"+link+"/proxy_delay", "0", false)
	}
	if !k.c.Forward {
		v, err := k.kernel.Sysctl("net/ipv4/ip_forward")
		k.forwarding = err == nil && v == "1"
		return nil
	}
	if err := k.set("net/ipv4/ip_forward", "1", true); err != nil {
		return err
	}
	k.forwarding = true
	return nil
}

// without switches a setting off for one link. Of these settings the kernel
// takes the one for "all" or the link's own, whichever is on. Other links have
// their own, which stays as it is.
func (k *Keeper) without(name, link string) {
	k.set("net/ipv4/conf/all/"+name, "0", false)
	k.set("net/ipv4/conf/"+link+"/"+name, "0", false)
}

// tune prepares an uplink for a move: with promote_secondaries, removing its
// first address does not take others of the subnet along.
func (k *Keeper) tune(link string) {
	k.set("net/ipv4/conf/"+link+"/promote_secondaries", "1", false)
}

// tuneARP keeps a mobile node silent about its home address on links away from
// home and lets it speak at home. RFC 5944 section 4.6: "while the mobile node
// is away from home, it MUST NOT reply to ARP Requests in which the target IP
// address is its own home address" but for a foreign agent's. Linux would
// answer on every link for every address of the host (arp_ignore 0), and ask
// with any of them (arp_announce 0).
//
//rfc:5944#4.6
func (k *Keeper) tuneARP() {
	if len(k.c.HomeAddresses) == 0 && len(k.mobile) == 0 {
		return
	}
	home := make(map[string]bool)
	for _, e := range k.mobile {
		if e.HomeLink != "" {
			home[e.HomeLink] = true
		}
	}
	for _, link := range k.c.Uplinks {
		if link == "" {
			continue // the slot of one that has gone
		}
		ignore, announce := "1", "2"
		if home[link] {
			ignore, announce = "0", "0"
		}
		k.set("net/ipv4/conf/"+link+"/arp_ignore", ignore, false)
		k.set("net/ipv4/conf/"+link+"/arp_announce", announce, false)
	}
}

// warnings names settings of the host that will hurt.
func (k *Keeper) warnings() []string {
	var out []string
	for _, link := range k.c.Uplinks {
		if link == "" {
			continue // the slot of one that has gone
		}
		// The larger of the two counts.
		if (k.value("net/ipv4/conf/all/rp_filter") == "1" || k.value("net/ipv4/conf/"+link+"/rp_filter") == "1") &&
			k.value("net/ipv4/conf/"+link+"/rp_filter") != "2" && len(k.uplinks[link].routes) == 0 {
			out = append(out, fmt.Sprintf("%s: rp_filter is strict and the link has no routes: its tunnels will be filtered", link))
		}
		if k.value("net/ipv4/conf/all/arp_ignore") == "0" && k.value("net/ipv4/conf/"+link+"/arp_ignore") == "0" && !k.atHome(link) && len(k.homeAddresses()) > 0 {
			out = append(out, fmt.Sprintf("%s: arp_ignore is 0: the host answers for its home address there", link))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(k.mobile)) {
		e := k.mobile[key]
		if link := e.Deliver.Link; link != "" && e.HomeLink == "" && k.reverseFilter(e) == "0" && k.value("net/ipv4/conf/all/rp_filter") != "0" {
			out = append(out, fmt.Sprintf("net.ipv4.conf.all.rp_filter is not 0: while %s has no address, what comes through the foreign agent is filtered in the encapsulating style", link))
		}
	}
	// The device has no carrier without a daemon.
	for _, at := range []string{"all", k.c.Device} {
		if k.value("net/ipv4/conf/"+at+"/ignore_routes_with_linkdown") == "1" {
			out = append(out, fmt.Sprintf("net.ipv4.conf.%s.ignore_routes_with_linkdown is 1: nothing is forwarded while the daemon is restarted (hint: set it to 0, or for single links)", at))
		}
	}
	if k.c.Forward && k.value("net/ipv4/ip_forward") != "1" {
		out = append(out, "net.ipv4.ip_forward is 0: nothing is forwarded")
	}
	return append(out, k.drawnOut()...)
}

func (k *Keeper) atHome(link string) bool {
	for _, e := range k.mobile {
		if e.HomeLink == link {
			return true
		}
	}
	return false
}

func (k *Keeper) value(name string) string {
	v, err := k.kernel.Sysctl(name)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return v
}

const (
	// maxDeviceMTU is the longest packet that the user-space plane reads.
	maxDeviceMTU = 9000
	// minDeviceMTU is what IPv4 hosts must be able to receive (RFC 791).
	minDeviceMTU = 576
)

// DeviceMTU is the MTU of the tunnel device: the smallest underlay minus the
// largest overhead of the enabled encapsulations, so that the kernel fragments
// inner packets, or answers "fragmentation needed", before they are tunnelled.
// Without underlays it assumes Ethernet's.
func DeviceMTU(underlays []int, kinds []encap.Kind) int {
	mtu := 0
	for _, u := range underlays {
		if mtu == 0 || u < mtu {
			mtu = u
		}
	}
	if mtu == 0 {
		mtu = 1500
	}
	most := 0
	for _, k := range kinds {
		if k == encap.WireGuard {
			h := encap.Header{Kind: encap.UDP, Inner: k}
			// What is encrypted is filled up to a multiple of 16 octets.
			most = max(most, h.Overhead()+(mtu-h.Overhead())%16)
			continue
		}
		most = max(most, encap.Overhead(k, true))
	}
	return min(max(mtu-most, minDeviceMTU), maxDeviceMTU)
}

// SetMTU sets the device's MTU when it has another one.
func (k *Keeper) SetMTU(mtu int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.kernel.SetMTU(k.c.Device, mtu)
}
