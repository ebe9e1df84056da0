package bpf

import (
	"os"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
)

// A home agent sets destinations aside among the mobile nodes' bindings.
// Programs that encapsulate need not look there for them.
func TestProgramsLookForSourcesOnlyAmongMobileNodes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("maps need root")
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: uint32(unsafe.Sizeof(settingsValue{})), MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	p := &Plane{o: &objects{Settings: m}}
	const table = 1
	for _, step := range []struct {
		what         string
		count, aside int
		sent, taken  bool // are looked for when packets are sent, and when they come
	}{
		{"nothing", 0, 0, false, false},
		{"a destination set aside", 1, 1, false, true},
		{"and a node", 2, 1, true, true},
		{"the destination is gone", 1, 0, true, true},
		{"the node left alone with one set aside again", 2, 1, true, true},
		{"the node is gone", 1, 1, false, true},
		{"all is gone", 0, 0, false, false},
	} {
		if err := p.recount(table, step.count, step.aside); err != nil {
			t.Fatal(err)
		}
		var s settingsValue
		if err := m.Lookup(uint32(0), &s); err != nil {
			t.Fatal(err)
		}
		if sent := s.Mobiles&hasNodes != 0; sent != step.sent {
			t.Errorf("%s: looked for sources is %v, want %v", step.what, sent, step.sent)
		}
		if taken := s.Mobiles != 0; taken != step.taken {
			t.Errorf("%s: looked for destinations is %v, want %v", step.what, taken, step.taken)
		}
	}
}
