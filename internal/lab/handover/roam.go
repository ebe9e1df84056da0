package handover

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"careof/internal/lab/live"
	"careof/internal/lab/median"
	"careof/internal/lab/scene"
	"careof/internal/lab/topology"
)

// A Roam is what the moves of one kind of a node with two uplinks cost.
type Roam struct {
	Move   string        `json:"move"`
	System string        `json:"system"` // careof, or what it is held against
	World  string        `json:"world"`
	OneWay time.Duration `json:"one-way"` // to the home agent
	Down   Spread        `json:"down"`    // towards the node
	Up     Spread        `json:"up"`      // from it
	Lost   int           `json:"lost"`    // datagrams of all moves, one every 5 ms each way
	Twice  int           `json:"twice"`   // that came twice
	Missed int           `json:"missed"`  // moves beyond the target
	Note   string        `json:"note,omitempty"`
	Moves  []scene.Gap   `json:"moves"`
}

// A Spread is of times without an arrival.
type Spread struct {
	Median  time.Duration `json:"median"`
	P95     time.Duration `json:"p95"` // nineteen of twenty are no longer
	Longest time.Duration `json:"longest"`
}

// distances are one way to the home agent.
var distances = []time.Duration{25 * time.Millisecond, 100 * time.Millisecond}

// Distant tells whether moves are made at a distance.
func Distant(oneWay time.Duration) bool { return slices.Contains(distances, oneWay) }

// A move is one kind.
type move struct {
	name    string
	profile string // empty: whichever
	copied  bool   // the node sends the datagrams over both uplinks
	alone   bool   // the references have nothing like it
	play    func(r scene.Roamer, times int) []scene.Gap
	hole    bool // nobody is told: what does not probe never notices
	// sitting is how many moves are made before a new laboratory is built; zero:
	// all. A link that goes often is held back for ever longer.
	sitting int
	// target is how long nothing may come towards the node and from it, by the
	// round trip; nil: no datagram may be lost or come twice.
	target func(rtt time.Duration) (down, up time.Duration)
}

var moves = []move{
	{name: "make before break", play: scene.Makes, sitting: 3},
	{
		name: "break before make, the other uplink stands by",
		play: func(r scene.Roamer, n int) []scene.Gap { return scene.Breaks(r, n, false) }, target: warm,
	},
	{
		name: "break before make, cold, behind a NAT", play: scene.ColdBreaks,
		target: func(rtt time.Duration) (down, up time.Duration) { return 2*rtt + tolerance, 2*rtt + tolerance },
	},
	{
		name: "break before make, the node only receives",
		play: func(r scene.Roamer, n int) []scene.Gap { return scene.Breaks(r, n, true) }, target: warm,
	},
	{name: "silent black hole, profile default", profile: "default", hole: true, play: scene.Holes, sitting: 3, target: within(time.Second)},
	{name: "silent black hole, profile fast", profile: "fast", alone: true, play: scene.Holes, sitting: 3, target: within(250 * time.Millisecond)},
	{name: "silent black hole, redundant", profile: "default", copied: true, alone: true, play: scene.Holes, sitting: 3},
}

// tolerance is what a move may cost beside the round trips that it needs.
const tolerance = 20 * time.Millisecond

// edges is what the short links at both ends add to a round trip.
const edges = 400 * time.Microsecond

func warm(rtt time.Duration) (down, up time.Duration) { return rtt + tolerance, tolerance }

func within(limit time.Duration) func(time.Duration) (down, up time.Duration) {
	return func(time.Duration) (down, up time.Duration) { return limit, limit }
}

// missed counts the moves that were not as they should be.
func (m move) missed(oneWay time.Duration, gaps []scene.Gap) (n int) {
	for _, g := range gaps {
		ok := g.Lost+g.Twice == 0
		if m.target != nil {
			down, up := m.target(2*oneWay + edges)
			ok = g.Down <= down && g.Up <= up
		}
		if !ok {
			n++
		}
	}
	return n
}

// sittings makes so many moves, in as many laboratories as they need; seat
// plays one. With an error come the moves that were made before it.
func (m move) sittings(times int, seat func(made, times int) ([]scene.Gap, error)) (gaps []scene.Gap, err error) {
	for len(gaps) < times {
		n := times - len(gaps)
		if m.sitting > 0 {
			n = min(n, m.sitting)
		}
		more, err := seat(len(gaps), n)
		if err != nil {
			return gaps, err
		}
		gaps = append(gaps, more...)
	}
	return gaps, nil
}

// A course is one kind of move at one distance, with what measures it.
type course struct {
	move
	oneWay time.Duration
	o      Options
}

func (c course) scene(play func(scene.Lab)) *scene.Scene {
	return &scene.Scene{Name: "handover", Play: play, Edit: func(t *topology.Topology) {
		scene.Distant(t, c.oneWay)
		if c.profile != "" {
			scene.Profile(t, c.profile, failBack)
		}
		if c.copied {
			scene.TwoWays(t)
		}
	}}
}

func (c course) tell(where string) {
	fmt.Fprintf(c.o.Tell, "%s, %v each way, %s\n", c.name, c.oneWay, where)
}

// careof measures ourselves, in the world that play plays a scene in. With an
// error come the moves of the laboratories before it.
func (c course) careof(world string, play func(s *scene.Scene, seed uint64) error) (Roam, error) {
	c.tell(world)
	gaps, err := c.sittings(c.o.Moves, func(made, n int) (gaps []scene.Gap, err error) {
		err = play(c.scene(func(l scene.Lab) {
			r := scene.Careof(l)
			r.Made = made
			gaps = c.play(r, n)
		}), c.o.Seed+uint64(made))
		return gaps, err
	})
	if err != nil {
		err = fmt.Errorf("handover: %s: %w", c.name, err)
	}
	return c.roam("careof", world, "", c.oneWay, gaps), err
}

// beside measures what we are held against. What keeps it from its end is its
// note; only the context's end is an error.
func (c course) beside(ctx context.Context, ref reference) (Roam, error) {
	row := func(note string, gaps []scene.Gap) (Roam, error) {
		return c.roam(ref.name, "namespaces", note, c.oneWay, gaps), nil
	}
	if why := ref.missing(); why != "" {
		return row(why, nil)
	}
	c.tell(ref.name)
	times, play, note := c.o.Moves, c.play, ""
	if c.hole {
		times, play = min(times, 3), scene.Stares
		note = fmt.Sprintf("waited %v", scene.Patience)
	}
	gaps, err := c.sittings(times, func(made, n int) ([]scene.Gap, error) {
		return against(ctx, ref, c.scene(nil), c.o, func(r scene.Roamer) []scene.Gap {
			r.Made = made
			return play(r, n)
		})
	})
	if ctx.Err() != nil {
		r, _ := row(note, gaps)
		return r, ctx.Err()
	}
	if err != nil {
		// What was measured of the others stands.
		fmt.Fprintf(c.o.Tell, "%s did not get through: %v\n", ref.name, err)
		return row("did not get through: some move was not over within its limit", nil)
	}
	return row(note, gaps)
}

// roams measures them all, each beside the references. With an error comes what
// was measured before it.
func roams(ctx context.Context, o Options) (list []Roam, err error) {
	for _, oneWay := range distances {
		if o.OneWay != 0 && o.OneWay != oneWay {
			continue
		}
		for _, m := range moves {
			if !strings.Contains(m.name, o.Only) {
				continue
			}
			c := course{move: m, oneWay: oneWay, o: o}
			for _, measure := range c.systems(ctx) {
				r, err := measure()
				if err == nil || len(r.Moves) > 0 {
					list = append(list, r)
				}
				if err != nil {
					return list, err
				}
			}
		}
	}
	return list, nil
}

// systems are what makes the moves of a course, in order.
func (c course) systems(ctx context.Context) (list []func() (Roam, error)) {
	list = append(list, func() (Roam, error) { return c.careof("virtual", simulate) })
	if c.o.Virtual {
		return list
	}
	list = append(list, func() (Roam, error) {
		return c.careof("namespaces", func(s *scene.Scene, seed uint64) error {
			return live.Play(ctx, s, live.Options{Seed: seed, Command: c.o.Command}, func(string, ...any) {})
		})
	})
	if c.alone {
		return list
	}
	for _, ref := range references {
		list = append(list, func() (Roam, error) { return c.beside(ctx, ref) })
	}
	return list
}

func (m move) roam(system, world, note string, oneWay time.Duration, gaps []scene.Gap) Roam {
	r := Roam{Move: m.name, System: system, World: world, OneWay: oneWay, Note: note, Moves: gaps, Missed: m.missed(oneWay, gaps)}
	var down, up []time.Duration
	for _, g := range gaps {
		down, up = append(down, g.Down), append(up, g.Up)
		r.Lost, r.Twice = r.Lost+g.Lost, r.Twice+g.Twice
	}
	r.Down, r.Up = spread(down), spread(up)
	return r
}

func spread(list []time.Duration) Spread {
	if len(list) == 0 {
		return Spread{}
	}
	slices.Sort(list)
	return Spread{Median: median.Of(list), P95: list[(len(list)*95+99)/100-1], Longest: list[len(list)-1]}
}
