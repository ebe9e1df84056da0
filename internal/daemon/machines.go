package daemon

import (
	"cmp"
	"fmt"
	"runtime"
	"sync"

	"careof/internal/config"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/host/drive"
	"careof/internal/host/plane"
	"careof/internal/proto/mip4/advertise"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/internal/proto/mip4/standard"
	"careof/internal/roles"
)

// shards is among how many machines the home agent's nodes are divided.
func shards(cfg *config.Config) int {
	switch c := cfg.HomeAgent; {
	case cfg.AAA != nil:
		// A node that AAA brings has no address in the configuration, and requests
		// with one and without one must find the same machine.
		return 1
	case len(c.PrefixPools) > 0:
		// A free prefix is anybody's: pools that were divided would have none for some
		// while others have many.
		return 1
	case c.Shards > 0:
		return c.Shards
	}
	return runtime.GOMAXPROCS(0)
}

// An agency is the home agent's machines.
type agency struct {
	machines []engine.Machine
	route    func(engine.Event) int // which of them an event concerns; nil: there is one
}

// agents makes the home agent's machines. own is the key that it encrypts with.
func agents(cfg *config.Config, own forward.PublicKey) (agency, error) {
	whole, features := homeConfig(cfg)
	features.WireGuard.Own = own
	n := shards(cfg)
	out, errs := agency{machines: make([]engine.Machine, n)}, make([]error, n)
	var making sync.WaitGroup
	for i := range n {
		making.Go(func() { // each looks for its nodes among all of them
			one := whole
			one.Shard, one.Shards = i, n
			out.machines[i], errs[i] = standard.HomeAgent(one, standard.Features(features), luck())
		})
	}
	out.route = agentRoute(whole, n)
	making.Wait()
	return out, cmp.Or(errs...)
}

// agentRoute says which of n machines an event concerns; nil where there is
// nothing to choose.
func agentRoute(whole ha.Config, n int) func(engine.Event) int {
	if n == 1 {
		return nil
	}
	return ha.Route(whole, n)
}

// machines makes the machines of the configured roles, and their drivers.
// agents has the home agent's, where there is one.
func (d *daemon) machines(agents func() (agency, error)) error {
	if c := d.cfg.HomeAgent; c != nil {
		made, err := agents()
		if err != nil {
			return fmt.Errorf("home-agent: %w", err)
		}
		world := d.world()
		world.SendAll = d.sendingAll
		if d.cfg.ForeignAgent != nil {
			world.Note = d.homeNote
		}
		d.home = drive.New(roleHomeAgent, world, made.machines, made.route)
		d.home.Limit(drive.Limits{PerSource: c.RequestsPerSource, Peers: len(c.MobileNodes)})
		if advertisement, ok := roles.Advertisement(c); ok && d.cfg.ForeignAgent == nil {
			m, err := advertise.New(advertisement, luck())
			if err != nil {
				return fmt.Errorf("home-agent: %w", err)
			}
			world := d.world()
			world.Discover = d.discovering(d.discovery.SendDiscovery)
			d.advertiser = drive.New(roleHomeAgent, world, []engine.Machine{m}, nil)
		}
	}
	if c := d.cfg.ForeignAgent; c != nil {
		agent, features := roles.ForeignAgent(c, d.cfg.HomeAgent)
		m, err := standard.ForeignAgent(agent, standard.Features(roles.WithAAA(features, d.cfg.AAA)), luck())
		if err != nil {
			return fmt.Errorf("foreign-agent: %w", err)
		}
		world := d.world()
		world.SendAll, world.Discover = d.sendingForeign, d.discovering(d.discovery.SendDiscovery)
		world.Committed = func(m engine.Send) { d.discovery.Favour(m.Link, m.HW) }
		d.foreign = drive.New(roleForeignAgent, world, []engine.Machine{m}, nil)
		d.foreign.Limit(drive.Limits{PerStation: c.RequestsPerStation, Stations: c.RequestsOfStrangers, Peers: c.MaxVisitors})
	}
	if c := d.cfg.MobileNode; c != nil {
		node, features := d.mobileConfig(c)
		if node.Encrypted {
			features.WireGuard.Own = d.secret.public
		}
		world := d.world()
		world.Send = d.sending(d.sendUplink)
		if d.visiting != nil {
			world.Send, world.Discover = d.sending(d.sendMobile), d.discovering(d.visiting.set.SendDiscovery)
		}
		m, err := standard.MobileNode(node, standard.Features(features), luck())
		if err != nil {
			return fmt.Errorf("mobile-node: %w", err)
		}
		d.mobile = drive.New(roleMobileNode, world, []engine.Machine{m}, nil)
	}
	return nil
}

// homeConfig is what the home agent is configured with.
func homeConfig(c *config.Config) (ha.Config, standard.Config) {
	whole, features := roles.HomeAgent(c.HomeAgent)
	if planeKinds[c.Plane.Kind] != plane.Kernel { // which has a device for each tunnel
		whole.Device = c.Plane.Device
	}
	if f := c.ForeignAgent; f != nil {
		whole.ForeignCareOf = f.CareOfAddresses
	}
	return whole, roles.WithAAA(features, c.AAA)
}

// mobileConfig is what the mobile node is configured with. Where nothing is
// heard below IP, it goes without foreign agents.
func (d *daemon) mobileConfig(c *config.MobileNode) (mn.Config, standard.Config) {
	node, features := roles.MobileNode(c)
	if d.visiting == nil {
		node.ForeignAgents = mn.ForeignAgents{}
	}
	return node, features
}
