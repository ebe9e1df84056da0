package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// removeStrays takes the programs of earlier processes off the links of the calling
// thread's network namespace that nobody will take over: their pins are in another
// directory than ours, or on a BPF file system that this process does not see. They
// come before ours and would go on by bindings that have moved or ended since.
// Those that work for the device of another daemon stay. own is the settings of
// the programs that stay with this device, 0 for none.
//
// Others' links can be had by CAP_SYS_ADMIN only; without it nothing is done, and the
// error of a program on the device that is not known is ErrUnknown.
func removeStrays(device int, own ebpf.MapID, known ebpf.ProgramID) error {
	present, err := presentLinks()
	if err != nil {
		return err
	}
	unknown := false
	var errs []error
	for index := range present {
		for _, kind := range []ebpf.AttachType{ebpf.AttachTCXEgress, ebpf.AttachTCXIngress} {
			r, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: kind})
			if err != nil {
				continue // without TCX there are filters, whose handles tell the device
			}
			for _, a := range r.Programs {
				at, settings, ok, err := deviceOf(a.ID)
				if errors.Is(err, unix.EPERM) && index == device && kind == ebpf.AttachTCXEgress && a.ID != known {
					unknown = true
				}
				// Redirecting to a device that is gone is dropping.
				if !ok || settings == own || at != device && present[at] {
					continue
				}
				if id, ok := a.LinkID(); ok {
					errs = append(errs, detach(id))
				}
			}
		}
	}
	if err := errors.Join(errs...); err != nil || !unknown {
		return err
	}
	return ErrUnknown
}

// ErrUnknown says that there is a program on the tunnel device that this process
// may neither know nor remove.
var ErrUnknown = errors.New("bpf: a program on the tunnel device is not this daemon's: left by an earlier one, it forwards by bindings of then (`bpftool net show` lists it; remove its pins as root: `rm -r /sys/fs/bpf/careof`, or restart the host)")

// deviceOf tells which tunnel device an attached program is for, and which map
// told so. ok is false for programs that are not ours; err tells of those that
// this process may not know.
func deviceOf(id ebpf.ProgramID) (device int, settings ebpf.MapID, ok bool, err error) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return 0, 0, false, err
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil || !strings.HasPrefix(info.Name, "encapsulate") && !strings.HasPrefix(info.Name, "decapsulate_") {
		return 0, 0, false, nil
	}
	maps, _ := info.MapIDs()
	for _, id := range maps {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			continue
		}
		info, err := m.Info()
		if err == nil && info.Name == "settings" && info.Type == ebpf.Array && info.ValueSize >= 4 {
			// The device comes first in every layout.
			value := make([]byte, info.ValueSize)
			err = m.Lookup(uint32(0), value)
			m.Close()
			return int(binary.NativeEndian.Uint32(value)), id, err == nil, nil
		}
		m.Close()
	}
	return 0, 0, false, nil
}

func detach(id link.ID) error {
	l, err := link.NewFromID(id)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.EPERM) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("bpf: link %d: %w", id, err)
	}
	defer l.Close()
	if err := l.Detach(); err != nil {
		return fmt.Errorf("bpf: detach link %d: %w", id, err)
	}
	return nil
}
