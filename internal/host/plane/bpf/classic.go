package bpf

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Linux before 6.6 has no TCX. There programs are filters of the clsact
// discipline, which outlive the process without a pin. Several daemons share an
// underlay: each has a filter whose handle is the index of its tunnel device.

// filterName marks the classic filters that are ours.
const filterName = "careof"

// filterPriority is theirs among a link's others.
const filterPriority = 434

// formerHandle was that of every daemon's filters in earlier builds. It is the
// index of the loopback device, and so no tunnel device's.
const formerHandle = 1

func (a *attachment) parent() uint32 {
	if a.egress {
		return netlink.HANDLE_MIN_EGRESS
	}
	return netlink.HANDLE_MIN_INGRESS
}

func (a *attachment) attachClassic(prog *ebpf.Program) error {
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: a.index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
	if err := netlink.QdiscAdd(qdisc); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("bpf: clsact on %s: %w", a.name, err)
	}
	if err := netlink.FilterReplace(a.filter(prog.FD())); err != nil {
		return fmt.Errorf("bpf: filter on %s: %w", a.name, err)
	}
	present, err := presentLinks()
	if err != nil {
		return err
	}
	l := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: a.index}}
	return removeFilters(l, a.parent(), func(handle int) bool { return handle == formerHandle || !present[handle] })
}

func (a *attachment) filter(fd int) *netlink.BpfFilter {
	return &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: a.index, Parent: a.parent(), Handle: uint32(a.device), Protocol: unix.ETH_P_ALL, Priority: filterPriority},
		Fd:          fd, Name: filterName, DirectAction: true,
	}
}

// removeClassic takes the filters of an earlier process with this device off all
// links, and those of devices that are gone. device is 0 when its own is.
func removeClassic(device int) error {
	present, err := presentLinks()
	if err != nil {
		return err
	}
	var errs []error
	for index := range present {
		l := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index}}
		for _, parent := range []uint32{netlink.HANDLE_MIN_EGRESS, netlink.HANDLE_MIN_INGRESS} {
			errs = append(errs, removeFilters(l, parent, func(handle int) bool {
				return handle == device || handle == formerHandle || !present[handle]
			}))
		}
	}
	return errors.Join(errs...)
}

func presentLinks() (map[int]bool, error) {
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("bpf: links: %w", err)
	}
	present := make(map[int]bool, len(links))
	for _, l := range links {
		present[l.Attrs().Index] = true
	}
	return present, nil
}

// removeFilters removes those of careof's filters whose handle is stale.
func removeFilters(l netlink.Link, parent uint32, stale func(handle int) bool) error {
	filters, err := netlink.FilterList(l, parent)
	if err != nil {
		return nil // no clsact there
	}
	var errs []error
	for _, f := range filters {
		if b, ok := f.(*netlink.BpfFilter); ok && b.Priority == filterPriority && strings.HasPrefix(b.Name, filterName) && stale(int(b.Handle)) {
			errs = append(errs, netlink.FilterDel(f))
		}
	}
	return errors.Join(errs...)
}
