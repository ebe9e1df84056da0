package netns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NodeConfig describes a node. The zero value is an IPv4 host.
type NodeConfig struct {
	// Forward makes the node a router for IPv4, and for IPv6 if it has that.
	Forward bool
	// IPv6 leaves IPv6 on. Off, the node's interfaces stay silent until something is sent.
	IPv6 bool
}

// Node is a network namespace, held by a descriptor.
type Node struct {
	network *Network
	name    string
	fd      int
	netlink *netlink.Handle

	mu        sync.Mutex
	closed    bool
	processes map[*Process]bool
}

// NewNode makes a node with its loopback interface up.
func (n *Network) NewNode(name string, config NodeConfig) (*Node, error) {
	if err := n.claim(name); err != nil {
		return nil, err
	}
	node := &Node{network: n, name: name, fd: -1, processes: make(map[*Process]bool)}
	err := onThread(n.home, func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		node.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	if err == nil {
		node.netlink, err = netlink.NewHandleAt(vnetns.NsHandle(node.fd), unix.NETLINK_ROUTE)
	}
	if err == nil {
		err = node.prepare(config)
	}
	if err != nil {
		node.Close()
		return nil, fmt.Errorf("netns: new node %s: %w", name, err)
	}
	n.own(node)
	n.mu.Lock()
	n.nodes = append(n.nodes, node)
	n.mu.Unlock()
	return node, nil
}

// prepare makes the namespace independent of what the host has configured: a new namespace inherits some of it.
func (node *Node) prepare(config NodeConfig) error {
	// Forwarding first: changing it resets other settings of the interfaces.
	forward, no6 := "0", "1"
	if config.Forward {
		forward = "1"
	}
	if config.IPv6 {
		no6 = "0"
	}
	for _, s := range [][2]string{
		{"net/ipv4/ip_forward", forward},
		{"net/ipv4/conf/all/rp_filter", "0"},
		{"net/ipv4/conf/default/rp_filter", "0"},
		{"net/ipv4/ping_group_range", "0 0"},
	} {
		if err := node.SetSysctl(s[0], s[1]); err != nil {
			return err
		}
	}
	for _, s := range [][2]string{
		{"net/ipv6/conf/all/disable_ipv6", no6},
		{"net/ipv6/conf/default/disable_ipv6", no6},
		{"net/ipv6/conf/all/forwarding", forward},
	} {
		if err := node.SetSysctl(s[0], s[1]); err != nil && (config.IPv6 || !errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	return node.SetInterface("lo", true)
}

// Name is the node's name.
func (node *Node) Name() string { return node.name }

// Fd is the descriptor of the namespace, for libraries that take one. It stays the node's.
func (node *Node) Fd() int { return node.fd }

// Close ends the node's processes and lets the namespace go. Its interfaces are closed by their ports.
func (node *Node) Close() error {
	node.mu.Lock()
	if node.closed {
		node.mu.Unlock()
		return nil
	}
	node.closed = true
	var running []*Process
	for p := range node.processes {
		running = append(running, p)
	}
	node.mu.Unlock()
	for _, p := range running {
		p.Kill()
	}
	for _, p := range running {
		<-p.Done()
	}
	if node.netlink != nil {
		node.netlink.Close()
	}
	if node.fd < 0 {
		return nil
	}
	return os.NewSyscallError("close", unix.Close(node.fd))
}

// Do runs f on a thread that is in the node's namespace and waits for it. Sockets opened by f belong to the node for
// good, wherever they are used. Goroutines started by f are not in the namespace.
func (node *Node) Do(f func() error) error {
	return onThread(node.network.home, func() error {
		if err := unix.Setns(node.fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("netns: enter %s: %w", node.name, err)
		}
		return f()
	})
}

// onThread runs f on a thread of its own and takes that thread back to the namespace home afterwards. A thread that cannot
// return is not given back to the runtime: it ends with its goroutine.
func onThread(home int, f func() error) error {
	result := make(chan error, 1)
	go func() {
		err := errors.New("netns: the function left its goroutine")
		runtime.LockOSThread()
		defer func() {
			if unix.Setns(home, unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
			result <- err
		}()
		err = f()
	}()
	return <-result
}

// ListenUDP opens a UDP socket of the node.
func (node *Node) ListenUDP(local netip.AddrPort) (conn *net.UDPConn, err error) {
	err = node.Do(func() error {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(local))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("netns: %s: %w", node.name, err)
	}
	return conn, nil
}

// DialUDP opens a connected UDP socket of the node; an invalid local address lets the kernel choose.
func (node *Node) DialUDP(local, remote netip.AddrPort) (conn *net.UDPConn, err error) {
	var from *net.UDPAddr
	if local.IsValid() {
		from = net.UDPAddrFromAddrPort(local)
	}
	err = node.Do(func() error {
		conn, err = net.DialUDP("udp", from, net.UDPAddrFromAddrPort(remote))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("netns: %s: %w", node.name, err)
	}
	return conn, nil
}

// ListenTCP opens a listening TCP socket of the node.
func (node *Node) ListenTCP(local netip.AddrPort) (l *net.TCPListener, err error) {
	err = node.Do(func() error {
		l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(local))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("netns: %s: %w", node.name, err)
	}
	return l, nil
}

// DialTCP connects from the node; an invalid local address lets the kernel choose.
func (node *Node) DialTCP(ctx context.Context, local, remote netip.AddrPort) (conn *net.TCPConn, err error) {
	var dialer net.Dialer
	if local.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(local)
	}
	err = node.Do(func() error {
		// One literal address: the dialer opens its only socket on this thread.
		c, err := dialer.DialContext(ctx, "tcp", remote.String())
		if err == nil {
			conn = c.(*net.TCPConn)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("netns: %s: %w", node.name, err)
	}
	return conn, nil
}

// SetSysctl writes a kernel setting of the node, named with slashes ("net/ipv4/conf/eth0/rp_filter") or dots.
func (node *Node) SetSysctl(name, value string) error {
	path := sysctlPath(name)
	err := node.Do(func() error { return os.WriteFile(path, []byte(value), 0) })
	if err != nil {
		return fmt.Errorf("netns: %s: set %s: %w", node.name, name, err)
	}
	return nil
}

// Sysctl reads a kernel setting of the node.
func (node *Node) Sysctl(name string) (string, error) {
	path := sysctlPath(name)
	var value []byte
	err := node.Do(func() (err error) {
		value, err = os.ReadFile(path)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("netns: %s: read %s: %w", node.name, name, err)
	}
	return strings.TrimSpace(string(value)), nil
}

// sysctlPath takes dots for separators only when there is no slash: interface names may hold dots.
func sysctlPath(name string) string {
	if !strings.Contains(name, "/") {
		name = strings.ReplaceAll(name, ".", "/")
	}
	return filepath.Join("/proc/sys", name)
}
