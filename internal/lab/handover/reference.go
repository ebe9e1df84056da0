package handover

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"careof/internal/lab/live"
	"careof/internal/lab/netns"
	"careof/internal/lab/scene"
)

// The nodes and addresses of the built-in topology that a reference needs.
const (
	mobileNode, homeAgent = "mn", "ha"
)

var (
	homeAddress = netip.MustParsePrefix("10.10.0.5/32")
	homeAt      = netip.MustParseAddr("198.51.100.1")
	peerNetwork = netip.MustParsePrefix("192.0.2.0/24")
	everywhere  = netip.MustParsePrefix("0.0.0.0/0")
)

// A reference is another program that keeps a node reachable.
type reference struct {
	name string
	// missing says why it cannot be measured here; empty when it can.
	missing func() string
	// open starts it at both ends. Its close ends it; online, which may be nil, is
	// called when the node has its first uplink.
	open func(ctx context.Context, n *netns.Network) (close func(), online func() error, err error)
}

// references are measured beside careof, in this order.
var references = []reference{
	{"wireguard-go", func() string { return "" }, openWireGuard},
	{"strongSwan", missingStrongSwan, openStrongSwan},
}

// A stand is a laboratory in which another program stands in for our daemons.
// An interface that goes takes its default route with it, and one that comes
// brings it, as network managers do: the one with the lower metric is used.
type stand struct {
	*live.Stage
	online func() error // still to be called, or nil

	mu   sync.Mutex
	last string // the segment on which a packet of the flows was last seen
}

// leastOfFlow is how long a frame with one of their datagrams is at least: a
// sign of life of the program itself is shorter.
const leastOfFlow = 160

// watch follows where the packets go.
func (s *stand) watch() (stop func()) {
	var stops []func()
	for _, g := range s.Topology().Segments {
		if !g.FirstLease.IsValid() {
			continue // nobody moves there
		}
		stops = append(stops, s.Segment(g.Name).Tap(func(f netns.Frame) {
			if len(f.Data) >= leastOfFlow && f.Fate == netns.Carried {
				s.mu.Lock()
				s.last = g.Name
				s.mu.Unlock()
			}
		}))
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// Plug implements [scene.Lab].
func (s *stand) Plug(node, iface, segment string) {
	s.Stage.Plug(node, iface, segment)
	if online := s.online; online != nil {
		s.online = nil
		if err := online(); err != nil {
			s.Fatalf("%v", err)
		}
	}
}

// Unplug implements [scene.Lab].
func (s *stand) Unplug(node, iface string) {
	segment := s.Topology().Segment(s.Attached(node, iface))
	s.Stage.Unplug(node, iface)
	if segment != nil {
		// The kernel may have been quicker.
		_ = s.Network.Node(node).RemoveRoute(netns.Route{Prefix: everywhere, Via: segment.Gateway, Interface: iface})
	}
}

// uses is the interface over which packets go: not each program leaves an uplink
// for a better one.
func (s *stand) uses() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.Topology().Node(mobileNode).Interfaces {
		if at := s.Attached(mobileNode, i.Name); at != "" && at == s.last {
			return i.Name
		}
	}
	return ""
}

// settleLimit bounds how long a reference may take to move. MOBIKE sends a
// request again after up to a minute.
const settleLimit = 3 * time.Minute

// settle waits until datagrams arrive, sent after some time has passed since
// the move.
func (s *stand) settle(_ string, down scene.Flow) {
	moved := s.Now()
	s.Until("datagrams arrive after the move", settleLimit, func() bool {
		now := s.Now()
		return now-moved > 500*time.Millisecond && down.Report(now-400*time.Millisecond, now).Received > 10
	})
}

// against plays moves with a reference at both ends in place of the daemons: the
// same network, probes and instants.
func against(ctx context.Context, ref reference, s *scene.Scene, o Options, play func(scene.Roamer) []scene.Gap) (gaps []scene.Gap, err error) {
	t, err := s.Build()
	if err != nil {
		return nil, err
	}
	l, err := live.Build(ctx, t, live.Options{Seed: o.Seed, Command: o.Command})
	if err != nil {
		return nil, err
	}
	stage := live.NewStage(ctx, l, func(string, ...any) {})
	end := func() {}
	defer func() {
		stage.Close()
		end()
		err = errors.Join(err, l.Close())
	}()
	place := &scene.Scene{Name: ref.name, Play: func(scene.Lab) {
		stage.Fall(mobileNode)
		stage.Fall(homeAgent)
		r := &stand{Stage: stage}
		var err error
		if end, r.online, err = ref.open(ctx, l.Network); err != nil {
			stage.Fatalf("%v", err)
		}
		defer r.watch()()
		gaps = play(scene.Roamer{Lab: r, Uses: r.uses, Settle: r.settle})
	}}
	return gaps, scene.Perform(place, stage)
}
