package pathmtu

import (
	"math/rand/v2"
	"testing"
	"time"
)

// A path that loses three packets in ten, in each direction and whatever their
// length, is hardly ever taken for a narrow one.
//
//rfc:8899#4.3
func TestLossAloneIsNoNarrowPath(t *testing.T) {
	const searches, most = 2000, 1468
	luck := rand.New(rand.NewPCG(1, 2))
	now, narrowed := time.Unix(0, 0), 0
	for range searches {
		var s search
		s.begin(556, most, most, 50*time.Millisecond)
		token := uint64(0)
		for sizes := s.confirm(); len(sizes) > 0; sizes = s.over() {
			var round []probe
			for _, size := range sizes {
				token++
				round = append(round, probe{token: token, size: size, at: now})
			}
			s.sent(round, now)
			for _, p := range round {
				if luck.Float64() < 0.7*0.7 {
					s.answer(p.token, now.Add(50*time.Millisecond))
				}
			}
			now = s.ends
		}
		if s.size < most {
			narrowed++
		}
	}
	if narrowed > searches/500 {
		t.Errorf("%d of %d searches found a narrow path", narrowed, searches)
	}
}
