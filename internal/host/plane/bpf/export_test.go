package bpf

import (
	"github.com/cilium/ebpf"
)

// Programs are the one that encapsulates and the one that decapsulates, for
// their statistics.
func (p *Plane) Programs() [2]*ebpf.Program {
	return [2]*ebpf.Program{p.o.Encapsulate, p.o.DecapsulateEther}
}
