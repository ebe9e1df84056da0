package scene

import (
	"time"

	"careof/internal/lab/topology"
)

// narrowPath: a network swallows long packets and tells nobody. What begins
// there works, and what was under way goes on when a path becomes so.
var narrowPath = &Scene{
	Name: "narrow-path",
	Doc:  "A network carries packets of 1124 octets and tells nobody, then of 800: connections work, the one under way too.",
	Play: func(l Lab) {
		l.Shape(access1, func(g *topology.Segment) { g.MTU = 1124 })
		arrive(l, wlan, access1)
		s := l.Stream(mobile, peer, 20_000_000)
		for _, width := range []int{1124, 800} {
			l.Shape(access1, func(g *topology.Segment) { g.MTU = width })
			before := s.Progress()
			took := l.Until("the stream flows", 20*time.Second, func() bool { return s.Progress() > before+500_000 || s.Broken() != "" })
			l.Logf("500000 octets %v after the path had become one of %d", took, width)
		}
		well(l, s, 2*time.Minute)
	},
}
