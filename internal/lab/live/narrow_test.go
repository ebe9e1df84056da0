package live

import (
	"fmt"
	"testing"

	"careof/internal/host/plane/nstest"
	"careof/internal/lab/scene"
	"careof/internal/lab/topology"
)

// The programs forward what fits into a narrow path, and leave the probes that
// find it out to user space.
func TestANarrowPathWithPrograms(t *testing.T) {
	t.Parallel()
	dir := nstest.BPFFS(t)
	s := *scene.Find("narrow-path")
	s.Edit = func(p *topology.Topology) {
		for _, name := range []string{"mn", "ha"} {
			p.Node(name).Config += fmt.Sprintf("\n[plane]\nkind = \"bpf\"\nbpffs = %q\n", dir+"/narrow-"+name)
		}
	}
	play(t, &s, Options{})
}

// Programs send from the port that a mobile node's socket has, also when that
// has changed.
func TestAMappingIsSwallowedUnderPrograms(t *testing.T) {
	t.Parallel()
	long(t)
	dir := nstest.BPFFS(t)
	s := *scene.Find("nat-swallowing")
	s.Edit = func(p *topology.Topology) {
		for _, name := range []string{"mn", "ha"} {
			p.Node(name).Config += fmt.Sprintf("\n[plane]\nkind = \"bpf\"\nbpffs = %q\n", dir+"/swallow-"+name)
		}
	}
	play(t, &s, Options{})
}
