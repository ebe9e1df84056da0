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
	Note   string        `json:"note,omitempty"`
	Moves  []scene.Gap   `json:"moves"`
}

// A Spread is of times without an arrival.
type Spread struct {
	Median  time.Duration `json:"median"`
	Longest time.Duration `json:"longest"`
}

// distances are one way to the home agent.
var distances = []time.Duration{25 * time.Millisecond, 100 * time.Millisecond}

// A move is one kind.
type move struct {
	name    string
	profile string // empty: whichever
	play    func(r scene.Roamer, times int) []scene.Gap
	hole    bool // nobody is told: what does not probe never notices
}

var moves = []move{
	{name: "make before break", play: scene.Makes},
	{name: "break before make, the other uplink stands by", play: func(r scene.Roamer, n int) []scene.Gap { return scene.Breaks(r, n, false) }},
	{name: "break before make, cold, behind a NAT", play: scene.ColdBreaks},
	{name: "break before make, the node only receives", play: func(r scene.Roamer, n int) []scene.Gap { return scene.Breaks(r, n, true) }},
	{name: "silent black hole, profile default", profile: "default", hole: true, play: holes},
	{name: "silent black hole, profile fast", profile: "fast", hole: true, play: holes},
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
				list = append(list, roam(m.name, system, world, note, oneWay, gaps))
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
				continue // the reference has no profiles
			}
			times, note := o.Moves, ""
			play := m.play
			if m.hole {
				times, play = min(times, 3), scene.Stares
			}
			fmt.Fprintf(o.Tell, "%s, %v each way, wireguard-go\n", m.name, oneWay)
			if gaps, err = wireGuard(ctx, s, o, func(r scene.Roamer) []scene.Gap { return play(r, times) }); err != nil {
				return nil, fmt.Errorf("handover: wireguard-go: %s: %w", m.name, err)
			}
			if m.hole {
				note = fmt.Sprintf("waited %v", scene.Patience)
			}
			add("wireguard-go", "namespaces", note)
		}
	}
	return list, nil
}

func roam(name, system, world, note string, oneWay time.Duration, gaps []scene.Gap) Roam {
	r := Roam{Move: name, System: system, World: world, OneWay: oneWay, Note: note, Moves: gaps}
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
	return Spread{Median: median.Of(list), Longest: list[len(list)-1]}
}
