package dhcp

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	crand "crypto/rand"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
	"careof/internal/host/lease"
	"careof/internal/host/netspace"
)

// A Link is one that the client may configure.
type Link struct {
	Name string
	// Auto leaves the link to others: only when it has had no address for a
	// while, and nobody says that he manages it, the client begins; and it lets
	// go when somebody else gives the link an address.
	Auto bool
	// Metric is of the default route in the main table.
	Metric int
}

// An Event is what happened to a link's lease.
type Event struct {
	Link  string
	Lease lease.Lease
	Lost  bool   // it is not in use any more
	Why   string // it was lost, or could not be put to use
}

// A Status is how the client of a link stands.
type Status struct {
	State lease.State
	Lease lease.Lease
	Has   bool   // the link has what the lease says
	Why   string // what was wrong with the last lease that was offered
}

// A Guard is what no network may give or draw to itself.
type Guard struct {
	// Never are addresses that no link may have: with the home agent's own, its
	// packets would go to this host, over whatever uplink.
	Never []netip.Addr
	// Tunnelled are the networks that are reached through the tunnel: no lease
	// makes a part of them a network of the link.
	Tunnelled []netip.Prefix
}

// Has tells whether no network may give or draw an address to itself.
func (g Guard) Has(a netip.Addr) bool {
	return slices.Contains(g.Never, a) || slices.ContainsFunc(g.Tunnelled, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Config is what a [Client] is made with.
type Config struct {
	Memory string // file of the leases of past networks
	Links  []Link
	Tell   func(Event)
	Guard  func() Guard // at present; nil: there is nothing to guard
}

// A Client runs the machines of links on the kernel. It belongs to one network
// namespace, and is safe for concurrent use.
type Client struct {
	space  *netspace.Space
	handle *netlink.Handle
	tell   func(Event)
	guard  func() Guard

	patience time.Duration

	replacing sync.Mutex // of links; taken before mu

	mu      sync.Mutex
	book    *book
	workers map[string]*worker
	running sync.WaitGroup
}

// Open makes a client for the calling thread's network namespace. Nothing
// happens before [Client.LinkChanged] tells of links.
func Open(c Config) (*Client, error) {
	space, err := netspace.Here()
	if err != nil {
		return nil, fmt.Errorf("dhcp: %w", err)
	}
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		space.Close()
		return nil, fmt.Errorf("dhcp: netlink: %w", err)
	}
	cl := &Client{space: space, handle: handle, tell: c.Tell, guard: c.Guard, patience: patience, book: openBook(c.Memory), workers: make(map[string]*worker)}
	if cl.guard == nil {
		cl.guard = func() Guard { return Guard{} }
	}
	cl.Reconfigure(c.Links)
	return cl, nil
}

// Reconfigure replaces the links. The lease of one that is not ours any more is
// given back; of one that is new LinkChanged has to tell.
func (c *Client) Reconfigure(links []Link) {
	c.replacing.Lock()
	defer c.replacing.Unlock()
	wanted := make(map[string]bool)
	for _, l := range links {
		wanted[l.Name] = true
		old := c.worker(l.Name)
		if old != nil && old.Link == l {
			continue
		}
		w := &worker{
			Link: l, client: c, changed: make(chan struct{}, 1), frames: make(chan []byte, 32), messages: make(chan []byte, 32),
			keep: make(chan struct{}), drop: make(chan struct{}), ended: make(chan struct{}), luck: luck(),
		}
		if old != nil {
			close(old.keep) // the next one takes over what the link has
			<-old.ended
			old.mu.Lock()
			w.latest, w.told = old.latest, old.told
			old.mu.Unlock()
			w.poke()
		}
		c.mu.Lock()
		c.workers[l.Name] = w
		c.mu.Unlock()
		c.running.Go(w.run)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(c.workers)) {
		if !wanted[name] {
			close(c.workers[name].drop)
			delete(c.workers, name)
		}
	}
}

func (c *Client) worker(link string) *worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.workers[link]
}

// LinkChanged tells the present state of a link.
func (c *Client) LinkChanged(l engine.Link) {
	w := c.worker(l.Name)
	if w == nil {
		return
	}
	w.mu.Lock()
	w.latest, w.told = l, true
	w.mu.Unlock()
	w.poke()
}

// Status tells how a link stands, and whether it is one of the client's. There
// may be no client.
func (c *Client) Status(link string) (Status, bool) {
	if c == nil {
		return Status{}, false
	}
	w := c.worker(link)
	if w == nil {
		return Status{}, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status, true
}

// Close ends the client. What the links have stays, for the next start.
func (c *Client) Close() error {
	c.replacing.Lock()
	defer c.replacing.Unlock()
	c.mu.Lock()
	for _, name := range slices.Sorted(maps.Keys(c.workers)) {
		close(c.workers[name].keep)
	}
	clear(c.workers)
	c.mu.Unlock()
	c.running.Wait()
	c.handle.Close()
	return c.space.Close()
}

// never tells whether no link may have an address.
func (c *Client) never(a netip.Addr) bool { return slices.Contains(c.guard().Never, a) }

// past is what is remembered of a link.
func (c *Client) past(link string) []lease.Lease {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.book.links[link])
}

// remember writes down what is to be remembered of a link.
func (c *Client) remember(link string, m []lease.Lease) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := slices.Collect(maps.Keys(c.workers))
	return c.book.keep(link, m, append(known, link))
}

// luck is seeded by the operating system: transaction identifiers must not be
// guessed.
func luck() *rand.Rand {
	var seed [32]byte
	// crypto/rand.Read never returns an error.
	_, _ = crand.Read(seed[:])
	return rand.New(rand.NewChaCha8(seed))
}

// patience is how long an Auto link is left to others without an address.
const patience = 10 * time.Second
