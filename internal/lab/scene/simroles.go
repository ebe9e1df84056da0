package scene

import (
	"math/rand/v2"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/lab/topology"
	"careof/internal/lab/world"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/standard"
)

func (s *Sim) tune(t *Tuning) {
	if s.options.Tune != nil {
		s.options.Tune(t)
	}
}

func (s *Sim) wrap(node string, m engine.Machine, err error) (engine.Machine, error) {
	if err == nil && s.options.Wrap != nil {
		m = s.options.Wrap(node, m)
	}
	return m, err
}

// HostName is the name under which simulated daemons find a home agent.
func HostName(node string) string { return node + ".lab.example" }

func (s *Sim) addHomeAgent(node *world.Node, n *topology.Node) error {
	t := homeTuning(n.Name, n.Parsed.HomeAgent)
	s.tune(&t)
	s.World.Name(HostName(n.Name), t.Home.Addresses...)
	plane := node.AddPlane()
	for _, network := range t.Home.Networks {
		if network.Virtual {
			plane.RouteHome(network.Prefix)
			node.AddLocal(world.Broadcast(network.Prefix))
		}
	}
	shards := max(1, s.options.Shards)
	d := node.AddDaemon(world.Setup{
		Port: 434, Shards: shards, Route: ha.Route(*t.Home, shards), PlaneInside: s.options.PlaneInside,
		Make: func(shard int, luck *rand.Rand) (engine.Machine, error) {
			c := *t.Home
			c.Shard, c.Shards = shard, shards
			m, err := standard.HomeAgent(c, standard.Features(t.Features), luck)
			return s.wrap(n.Name, m, err)
		},
	})
	h := checked(t.Home)
	if h.Window == 0 {
		h.Window = assoc.DefaultWindow
	}
	s.Check.HomeAgent(d, h)
	return nil
}

func (s *Sim) addForeignAgent(node *world.Node, n *topology.Node) error {
	t := foreignTuning(n.Name, n.Parsed.ForeignAgent)
	s.tune(&t)
	node.AddPlane()
	node.AddDaemon(world.Setup{
		// What forwards for visitors ends with the daemon, which forgets them.
		Port: 434, PlaneInside: true,
		Make: func(_ int, luck *rand.Rand) (engine.Machine, error) {
			m, err := standard.ForeignAgent(*t.Foreign, standard.Features(t.Features), luck)
			return s.wrap(n.Name, m, err)
		},
	})
	return nil
}

func (s *Sim) addMobileNode(node *world.Node, n *topology.Node) error {
	t := mobileTuning(n.Name, n.Parsed.MobileNode)
	s.tune(&t)
	node.AddPlane().KeepHome(t.Mobile.HomeAddress)
	node.AddDaemon(world.Setup{
		PlaneInside: s.options.PlaneInside,
		Make: func(_ int, luck *rand.Rand) (engine.Machine, error) {
			m, err := standard.MobileNode(*t.Mobile, standard.Features(t.Features), luck)
			return s.wrap(n.Name, m, err)
		},
	})
	return nil
}
