package live

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/lab/netns"
)

// rawSender opens a socket of a node that sends whole IP packets, whatever
// source address they claim.
func rawSender(node *netns.Node) (send func([]byte) error, stop func(), err error) {
	var fd int
	err = node.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("live: raw socket: %w", err)
	}
	send = func(packet []byte) error {
		if len(packet) < 20 {
			return errors.New("live: too short for an IP packet")
		}
		to, _ := netip.AddrFromSlice(packet[16:20])
		if err := unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: to.As4()}); err != nil {
			return fmt.Errorf("live: send to %v: %w", to, err)
		}
		return nil
	}
	return send, func() { unix.Close(fd) }, nil
}

// device is the daemon's default tunnel device.
const device = "careof0"

// forget makes a node's kernel forget what a daemon told it, as a reboot does:
// tunnel device, policy rules and their routes, neighbour proxies, firewall and
// what was learnt about neighbours. What the laboratory configured stays.
func forget(node *netns.Node) error {
	return node.Do(func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("live: %w", err)
		}
		defer h.Close()
		var errs []error
		if link, err := h.LinkByName(device); err == nil {
			errs = append(errs, h.LinkDel(link))
		}
		rules, err := h.RuleList(unix.AF_INET)
		errs = append(errs, err)
		for _, r := range rules {
			if r.Table != unix.RT_TABLE_LOCAL && r.Table != unix.RT_TABLE_MAIN && r.Table != unix.RT_TABLE_DEFAULT {
				errs = append(errs, h.RuleDel(&r))
			}
		}
		routes, err := h.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		errs = append(errs, err)
		for _, r := range routes {
			if r.Table != unix.RT_TABLE_LOCAL && r.Table != unix.RT_TABLE_MAIN {
				errs = append(errs, h.RouteDel(&r))
			}
		}
		for _, flags := range []int{0, netlink.NTF_PROXY} {
			neighbours, err := h.NeighListExecute(netlink.Ndmsg{Family: unix.AF_INET, Flags: uint8(flags)})
			errs = append(errs, err)
			for _, n := range neighbours {
				if n.State&netlink.NUD_NOARP == 0 {
					errs = append(errs, h.NeighDel(&n))
				}
			}
		}
		errs = append(errs, forgetFirewall(node))
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("live: reboot %s: %w", node.Name(), err)
		}
		return nil
	})
}

func forgetFirewall(node *netns.Node) error {
	c, err := nftables.New(nftables.WithNetNSFd(node.Fd()))
	if err != nil {
		return err
	}
	c.FlushRuleset()
	return c.Flush()
}
