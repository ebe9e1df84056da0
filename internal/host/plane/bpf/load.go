package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ErrUnsupported says that this kernel, or this process's privileges, have no
// room for the programs. It is an errors.ErrUnsupported.
var ErrUnsupported = fmt.Errorf("bpf: %w", errors.ErrUnsupported)

// objects are the programs and maps.
type objects struct {
	Encapsulate         *ebpf.Program `ebpf:"encapsulate"`
	EncapsulateAttended *ebpf.Program `ebpf:"encapsulate_attended"`
	DecapsulateEther    *ebpf.Program `ebpf:"decapsulate_ether"`
	DecapsulatePlain    *ebpf.Program `ebpf:"decapsulate_plain"`

	Agents     *ebpf.Map `ebpf:"agents"`
	Mobiles    *ebpf.Map `ebpf:"mobiles"`
	AgentNets  *ebpf.Map `ebpf:"agent_nets"`
	MobileNets *ebpf.Map `ebpf:"mobile_nets"`
	Slots      *ebpf.Map `ebpf:"slots"`
	Settings   *ebpf.Map `ebpf:"settings"`
	Avoided    *ebpf.Map `ebpf:"avoided"`
	Attended   *ebpf.Map `ebpf:"attended"`
	Hops       *ebpf.Map `ebpf:"hops"`
	Neighbours *ebpf.Map `ebpf:"neighbours"`
}

func (o *objects) close() error {
	var errs []error
	for _, c := range []interface{ Close() error }{
		o.Encapsulate, o.EncapsulateAttended, o.DecapsulateEther, o.DecapsulatePlain,
		o.Agents, o.Mobiles, o.AgentNets, o.MobileNets, o.Slots, o.Settings, o.Avoided, o.Attended, o.Hops, o.Neighbours,
	} {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// prefixCapacity bounds the mobile networks.
const prefixCapacity = 16384

// load brings programs and maps into the kernel. Maps that are pinned in pins
// are taken over; those that do not fit any more are replaced.
func load(capacity int, pins string) (*objects, error) {
	if err := clearMapPins(pins); err != nil {
		return nil, err
	}
	o, err := loadOnce(capacity, pins)
	if pins != "" && errors.Is(err, ebpf.ErrMapIncompatible) {
		if err := removePins(pins); err != nil {
			return nil, err
		}
		o, err = loadOnce(capacity, pins)
	}
	if err == nil {
		return o, nil
	}
	var verifier *ebpf.VerifierError
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) || errors.Is(err, ebpf.ErrNotSupported) || errors.As(err, &verifier) {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return nil, fmt.Errorf("bpf: load: %w", err)
}

func loadOnce(capacity int, pins string) (*objects, error) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, err
	}
	for name, m := range spec.Maps {
		switch name {
		case "agents", "mobiles", "slots":
			m.MaxEntries = uint32(capacity)
		case "agent_nets", "mobile_nets":
			m.MaxEntries = prefixCapacity
		}
		if pins != "" && slices.Contains(mapPins, name) {
			m.Pinning = ebpf.PinByName
		}
	}
	o := new(objects)
	err = spec.LoadAndAssign(o, &ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: pins}})
	if err != nil {
		return nil, err
	}
	return o, nil
}
