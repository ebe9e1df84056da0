package bpf

import (
	"bytes"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
)

// The Go mirrors have the sizes of the C structures.
func TestLayouts(t *testing.T) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][2]uintptr{
		"agents":      {4, unsafe.Sizeof(bindingValue{})},
		"mobiles":     {4, unsafe.Sizeof(bindingValue{})},
		"agent_nets":  {unsafe.Sizeof(netKey{}), unsafe.Sizeof(bindingValue{})},
		"mobile_nets": {unsafe.Sizeof(netKey{}), unsafe.Sizeof(bindingValue{})},
		"slots":       {4, unsafe.Sizeof(slot{})},
		"avoided":     {4, 4},
		"settings":    {4, unsafe.Sizeof(settingsValue{})},
	} {
		m := spec.Maps[name]
		if m == nil {
			t.Errorf("no map %s", name)
			continue
		}
		if uintptr(m.KeySize) != want[0] || uintptr(m.ValueSize) != want[1] {
			t.Errorf("%s: key %d and value %d octets, in Go %d and %d", name, m.KeySize, m.ValueSize, want[0], want[1])
		}
	}
	if unsafe.Sizeof(slot{}) != slotSize {
		t.Errorf("a slot has %d octets", unsafe.Sizeof(slot{}))
	}
}
