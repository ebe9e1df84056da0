package ha

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/wire/mip4"
)

// ErrNotFound answers a command about a node or binding that is not there.
var ErrNotFound = errors.New("ha: not found")

// The operator's commands. Each is the Value of an [engine.Command]; its
// comment names the Value of the [engine.Result].
type (
	// ListBindings is answered with []Binding, by home address.
	ListBindings struct{}
	// ShowBinding is answered with []Binding of one node, or ErrNotFound.
	ShowBinding struct{ Node ident.Node }
	// ListRegistrations is answered with []Registration, the latest first.
	ListRegistrations struct{}
	// ListAssociations is answered with []Association, by node.
	ListAssociations struct{}
	// ListCounters is answered with []Counter.
	ListCounters struct{}
	// CountBindings is answered with Count. It costs far less than a list.
	CountBindings struct{}
	// ListStages is answered with []engine.StageInfo.
	ListStages struct{}
	// ListNetworks is answered with []BoundNetwork, by prefix.
	ListNetworks struct{}
	// ClearBinding ends a node's bindings at once: one, or all when
	// CareOfAddress is invalid. It is answered with Cleared when that is
	// true, or ErrNotFound.
	ClearBinding struct {
		Node          ident.Node
		CareOfAddress netip.Addr
	}
)

// Binding is a mobility binding as shown.
type Binding struct {
	HomeAddress    netip.Addr     `json:"home_address"`
	NAI            string         `json:"nai,omitempty"`
	ID             string         `json:"binding_id"`
	CareOfAddress  netip.Addr     `json:"care_of_address"`
	Endpoint       netip.AddrPort `json:"endpoint"` // port 0 unless in UDP
	Source         netip.AddrPort `json:"source"`   // of the last request
	Encapsulation  string         `json:"encapsulation"`
	HalfBound      bool           `json:"half_bound,omitempty"`
	ReverseTunnel  bool           `json:"reverse_tunnel"`
	BehindNAT      bool           `json:"behind_nat"`
	Redundant      []string       `json:"redundant,omitempty"`   // the packets that go to this binding and another
	Standby        bool           `json:"standby,omitempty"`     // and it gets no others
	Unvalidated    bool           `json:"unvalidated,omitempty"` // the endpoint has not answered a challenge: see Tunnel.Budget
	Validated      time.Time      `json:"validated,omitzero"`    // when it did
	Encrypted      bool           `json:"encrypted"`             // the data, not the signalling
	Flags          string         `json:"flags"`
	Lifetime       string         `json:"lifetime"`  // granted
	Remaining      string         `json:"remaining"` // "infinite" or a Go duration
	Granted        time.Duration  `json:"-"`         // Lifetime as a value; binding.Infinite
	Left           time.Duration  `json:"-"`         // Remaining as a value
	Since          time.Time      `json:"since"`
	Renewed        time.Time      `json:"renewed"`
	Identification string         `json:"identification"` // 16 hexadecimal digits
	Intercept      string         `json:"home_link,omitempty"`
	Key            string         `json:"key"`                // of the forwarding entry
	Networks       []netip.Prefix `json:"networks,omitempty"` // of a mobile router
}

// Registration is an answered request as shown.
type Registration struct {
	Time              time.Time      `json:"time"`
	HomeAddress       netip.Addr     `json:"home_address,omitzero"`
	NAI               string         `json:"nai,omitempty"`
	CareOfAddress     netip.Addr     `json:"care_of_address"`
	Source            netip.AddrPort `json:"source"`
	Code              uint8          `json:"code"`
	Meaning           string         `json:"meaning"`
	Why               string         `json:"why,omitempty"`
	SPI               uint32         `json:"spi"`
	Flags             string         `json:"flags"`
	RequestedLifetime string         `json:"requested_lifetime"`
	Lifetime          string         `json:"lifetime,omitempty"` // granted
	Granted           time.Duration  `json:"-"`                  // Lifetime as a value
}

// Association is a security association as shown: never its secret.
type Association struct {
	Peer        string `json:"peer"` // NAI or address
	Kind        string `json:"kind"` // "mobile-node" or "foreign-agent"
	SPI         uint32 `json:"spi"`
	Algorithm   string `json:"algorithm"`
	Replay      string `json:"replay"`
	Fingerprint string `json:"fingerprint"`
	Insecure    bool   `json:"insecure,omitempty"`
}

// Count is how many there are now.
type Count struct {
	Nodes    int // mobile nodes that may register
	Bound    int // of those, the ones with a binding
	Bindings int
}

// Cleared is the result of a ClearBinding.
type Cleared struct {
	Bindings int `json:"bindings"`
}

// lifetimeText is a lifetime for people and JSON.
func lifetimeText(d time.Duration) string {
	if d == binding.Infinite {
		return "infinite"
	}
	return d.Round(time.Millisecond).String()
}

func (a *Agent) baseCommands() {
	a.AddOrder(a.canary)
	engine.AddCommand(&a.Desk, func(ListBindings) (any, error) { return a.listBindings(), nil })
	engine.AddCommand(&a.Desk, func(ListRegistrations) (any, error) { return a.listRegistrations(), nil })
	engine.AddCommand(&a.Desk, func(ListAssociations) (any, error) { return a.listAssociations(), nil })
	engine.AddCommand(&a.Desk, func(ListCounters) (any, error) { return a.counters.list(), nil })
	engine.AddCommand(&a.Desk, func(CountBindings) (any, error) { return a.count(), nil })
	engine.AddCommand(&a.Desk, func(ListStages) (any, error) { return a.Stages(), nil })
	engine.AddCommand(&a.Desk, func(c ShowBinding) (any, error) {
		n := a.Find(c.Node)
		if n == nil || n.list.Len() == 0 {
			return nil, fmt.Errorf("%w: no binding of %v (careof show bindings lists who is bound)", ErrNotFound, c.Node)
		}
		return a.show(n), nil
	})
	engine.AddCommand(&a.Desk, func(c Reconfigure) (any, error) {
		done, err := a.reconfigure(c)
		return done, err
	})
	engine.AddCommand(&a.Desk, func(ListNetworks) (any, error) { return a.listNetworks(), nil })
	a.AddOrder(a.clearBinding)
}

// find looks a node up by NAI, else by home address.
// Find is the node of this shard that a command means, by NAI or else by home
// address; nil when there is none.
func (a *Agent) Find(who ident.Node) *Node {
	if who.NAI != "" {
		return a.byNAI[who.NAI]
	}
	return a.at(who.HomeAddress)
}

func (a *Agent) clearBinding(c engine.Command) bool {
	v, mine := c.Value.(ClearBinding)
	if !mine {
		return false
	}
	n := a.Find(v.Node)
	removed := 0
	if n != nil {
		id := binding.ID{}
		count := n.list.Len()
		if v.CareOfAddress.IsValid() {
			id, count = binding.ID{}, 0
			for _, b := range n.list.All() {
				if b.CareOfAddress == v.CareOfAddress {
					id, count = b.ID, 1
				}
			}
		}
		if count > 0 {
			// The result stands in the commit: the operator hears of it when
			// it is true.
			removed = a.Remove(n, id, ByOperator, engine.Result{Ticket: c.Ticket, Value: Cleared{count}})
		}
	}
	if removed == 0 {
		a.Do(engine.Result{Ticket: c.Ticket, Err: fmt.Errorf("%w: no binding of %v (careof show bindings lists who is bound)", ErrNotFound, v.Node)})
	}
	return true
}

func (a *Agent) count() (c Count) {
	for _, n := range a.nodes {
		if !n.removed {
			c.Nodes++
		}
		if bindings := n.list.Len(); bindings > 0 {
			c.Bound++
			c.Bindings += bindings
		}
	}
	return c
}

func (a *Agent) listBindings() []Binding {
	list := []Binding{}
	for _, n := range a.nodes {
		list = append(list, a.show(n)...)
	}
	slices.SortFunc(list, func(x, y Binding) int {
		if c := x.HomeAddress.Compare(y.HomeAddress); c != 0 {
			return c
		}
		return x.CareOfAddress.Compare(y.CareOfAddress)
	})
	return list
}

func (a *Agent) show(n *Node) []Binding {
	var list []Binding
	all := n.list.All()
	for _, b := range all {
		var classes []string
		standby := false
		if r := n.redundancy; r != nil && len(all) >= forward.Copyable {
			standby = b.ID != r.First
			for _, c := range r.Classes {
				classes = append(classes, c.String())
			}
		}
		list = append(list, Binding{
			Redundant: classes, Standby: standby,
			HomeAddress: n.home, NAI: string(n.config.NAI), ID: b.ID.String(),
			CareOfAddress: b.CareOfAddress, Endpoint: b.Tunnel.Peer, Source: b.Source,
			Encapsulation: tunnelName(b.Tunnel), HalfBound: b.Tunnel.AnyPort, Encrypted: b.Tunnel.Secured(),
			ReverseTunnel: mip4.RequestFlags(b.Flags).Has(mip4.FlagT),
			BehindNAT:     b.Source.Addr() != b.CareOfAddress && b.Tunnel.Peer.Addr() != b.CareOfAddress,
			Unvalidated:   b.Tunnel.Budget > 0, Validated: a.Now().WallOf(b.Validated),
			Flags:     mip4.RequestFlags(b.Flags).String(),
			Lifetime:  lifetimeText(b.Lifetime),
			Remaining: lifetimeText(b.Remaining(a.Now().Mono)),
			Granted:   b.Lifetime, Left: b.Remaining(a.Now().Mono),
			Since: a.Now().WallOf(b.Since), Renewed: a.Now().WallOf(b.Renewed),
			Identification: fmt.Sprintf("%016x", b.Identification),
			Intercept:      a.intercept(n), Key: string(n.Key()), Networks: slices.Clone(n.Networks()),
		})
	}
	return list
}

// listAssociations lists all shards' associations: each knows the whole
// configuration, and one speaks for it. Adopted nodes are each shard's own.
func (a *Agent) listAssociations() []Association {
	list := []Association{}
	add := func(peer, kind string, keys []*assoc.Association) {
		for _, k := range keys {
			list = append(list, Association{
				Peer: peer, Kind: kind, SPI: k.SPI(), Algorithm: k.Algorithm().String(),
				Replay: k.Replay().String(), Fingerprint: k.Key().String(), Insecure: !k.Authenticated(),
			})
		}
	}
	if a.cfg.Shard == 0 {
		for i := range a.cfg.Nodes {
			n := &a.cfg.Nodes[i]
			add(n.String(), "mobile-node", n.Keys)
		}
		for _, f := range a.cfg.ForeignAgents {
			add(f.Address.String(), "foreign-agent", f.Keys)
		}
	}
	for _, n := range a.nodes {
		if n.adopted && !n.removed {
			add(n.String(), "mobile-node", n.config.Keys)
		}
	}
	return list
}
