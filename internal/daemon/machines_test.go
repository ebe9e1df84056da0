package daemon

import (
	"testing"

	"careof/internal/core/forward"
)

// A prefix of a pool that is free is any router's. Machines that each had a part
// of the pool would deny it to those of the others.
func TestAPrefixPoolIsNotDivided(t *testing.T) {
	const text = `[home-agent]
address = "198.51.100.1"
shards = 8
[[home-agent.network]]
prefix = "10.10.0.0/24"
`
	const pool = `[[home-agent.prefix-pool]]
prefix = "10.30.0.0/29"
length = 30
`
	for text, want := range map[string]int{text: 8, text + pool: 1} {
		a, err := agents(parse(t, text), forward.PublicKey{})
		if err != nil {
			t.Fatal(err)
		}
		if len(a.machines) != want {
			t.Errorf("%d machines, want %d of\n%s", len(a.machines), want, text)
		}
	}
}
