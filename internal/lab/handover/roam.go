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
	play    func(r scene.Roamer, times int) []scene.Gap
	hole    bool // nobody is told: what does not probe never notices
	// target is how long nothing may come towards the node and from it, by the
	// round trip; nil: no datagram may be lost or come twice.
	target func(rtt time.Duration) (down, up time.Duration)
}

var moves = []move{
	{name: "make before break", play: scene.Makes},
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
	{name: "silent black hole, profile default", profile: "default", hole: true, play: holes, target: within(time.Second)},
	{name: "silent black hole, profile fast", profile: "fast", hole: true, play: holes, target: within(250 * time.Millisecond)},
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

func holes(r scene.Roamer, times int) (gaps []scene.Gap) {
	down, up := scene.Holes(r, times)
	for i := range down {
		gaps = append(gaps, scene.Gap{Down: down[i], Up: up[i]})
	}
	return gaps
}

// roams measures them all, each beside the references.
func roams(ctx context.Context, o Options) (list []Roam, err error) {
	for _, oneWay := range distances {
		if o.OneWay != 0 && o.OneWay != oneWay {
			continue
		}
		for _, m := range moves {
			if !strings.Contains(m.name, o.Only) {
				continue
			}
			s := &scene.Scene{Name: "handover", Edit: func(t *topology.Topology) {
				scene.Distant(t, oneWay)
				if m.profile != "" {
					scene.Profile(t, m.profile, failBack)
				}
			}}
			var gaps []scene.Gap
			s.Play = func(l scene.Lab) { gaps = m.play(scene.Careof(l), o.Moves) }
			add := func(system, world, note string) {
				list = append(list, m.roam(system, world, note, oneWay, gaps))
			}
			fmt.Fprintf(o.Tell, "%s, %v each way, virtual\n", m.name, oneWay)
			if err := simulate(s, o.Seed); err != nil {
				return nil, fmt.Errorf("handover: %s: %w", m.name, err)
			}
			add("careof", "virtual", "")
			if o.Virtual {
				continue
			}
			fmt.Fprintf(o.Tell, "%s, %v each way, namespaces\n", m.name, oneWay)
			if err := live.Play(ctx, s, live.Options{Seed: o.Seed, Command: o.Command}, func(string, ...any) {}); err != nil {
				return nil, fmt.Errorf("handover: %s: %w", m.name, err)
			}
			add("careof", "namespaces", "")
			if m.profile == "fast" {
				continue // references have no profiles
			}
			times, note := o.Moves, ""
			play := m.play
			if m.hole {
				times, play = min(times, 3), scene.Stares
				note = fmt.Sprintf("waited %v", scene.Patience)
			}
			for _, ref := range references {
				if why := ref.missing(); why != "" {
					gaps = nil
					add(ref.name, "namespaces", why)
					continue
				}
				fmt.Fprintf(o.Tell, "%s, %v each way, %s\n", m.name, oneWay, ref.name)
				var failure error
				gaps, failure = against(ctx, ref, s, o, func(r scene.Roamer) []scene.Gap { return play(r, times) })
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
				if failure != nil {
					// What was measured of the others stands.
					gaps = nil
					fmt.Fprintf(o.Tell, "%s did not get through: %v\n", ref.name, failure)
					add(ref.name, "namespaces", "did not get through: some move was not over within its limit")
					continue
				}
				add(ref.name, "namespaces", note)
			}
		}
	}
	return list, nil
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
