package netns

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Config describes a network.
type Config struct {
	// Seed decides what is lost, duplicated and reordered, together with the names of segment and port.
	Seed uint64
}

// Network owns nodes, segments and routers, and the one goroutine that delivers all frames.
type Network struct {
	seed uint64
	home int // the namespace that the process lives in, to return to
	line *delayLine

	mu       sync.Mutex
	closed   bool
	names    map[string]bool
	nodes    []*Node
	owned    []io.Closer // in order of creation; closed in reverse
	lastPort uint16
}

// New returns an empty network. The process needs CAP_SYS_ADMIN and CAP_NET_ADMIN in its user namespace: as root, or
// after [Enter].
func New(config Config) (*Network, error) {
	if err := tunReady(); err != nil {
		return nil, err
	}
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("netns: open the present namespace: %w", err)
	}
	line, err := newDelayLine()
	if err != nil {
		unix.Close(home)
		return nil, err
	}
	return &Network{seed: config.Seed, home: home, line: line, names: make(map[string]bool)}, nil
}

// Close ends the processes, closes the ports and lets the namespaces go. Sockets that the caller opened through a node
// are the caller's.
func (n *Network) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	owned := n.owned
	n.mu.Unlock()
	var errs []error
	for i := len(owned) - 1; i >= 0; i-- {
		errs = append(errs, owned[i].Close())
	}
	errs = append(errs, n.line.Close(), os.NewSyscallError("close", unix.Close(n.home)))
	return errors.Join(errs...)
}

// Node finds a node by its name, nil if there is none.
func (n *Network) Node(name string) *Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, node := range n.nodes {
		if node.name == name {
			return node
		}
	}
	return nil
}

// Nodes lists the nodes in order of creation.
func (n *Network) Nodes() []*Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]*Node(nil), n.nodes...)
}

// claim reserves a name for a node, segment or router.
func (n *Network) claim(name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return errors.New("netns: the network is closed")
	case name == "":
		return errors.New("netns: a name is needed")
	case n.names[name]:
		return fmt.Errorf("netns: the name %q is taken", name)
	}
	n.names[name] = true
	return nil
}

func (n *Network) own(c io.Closer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.owned = append(n.owned, c)
}

// newMAC gives locally administered addresses in order of creation.
func (n *Network) newMAC() MAC {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lastPort++
	return MAC{0x02, 0xca, 0x7e, 0x0f, byte(n.lastPort >> 8), byte(n.lastPort)}
}

// rand gives the random source of one named thing.
func (n *Network) rand(name string) *rand.Rand {
	h := fnv.New64a()
	io.WriteString(h, name)
	return rand.New(rand.NewPCG(n.seed, h.Sum64()))
}
