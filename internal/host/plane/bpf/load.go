package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
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
		switch name {
		case "hops", "neighbours": // memories of milliseconds
			continue
		case "attended": // ends with the process
			continue
		}
		if pins != "" {
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

// ErrNoBPFFS says that the directory for pins is on no BPF file system.
var ErrNoBPFFS = errors.New("bpf: no BPF file system is mounted there")

// pinDirectory makes the directory for the pins of a device in the calling
// thread's network namespace. BPF file systems know nothing of namespaces, so
// the name says which one it is.
func pinDirectory(base, device string) (string, error) {
	dir, err := pinPath(base, device)
	if err != nil {
		return "", err
	}
	// The file system must be there before anything is made in its place.
	for at := base; ; at = filepath.Dir(at) {
		var fs unix.Statfs_t
		err := unix.Statfs(at, &fs)
		if err == nil && fs.Type == unix.BPF_FS_MAGIC {
			break
		}
		if err == nil || at == filepath.Dir(at) {
			return "", fmt.Errorf("%s: %w", base, ErrNoBPFFS)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("bpf: pins: %w", err)
	}
	return dir, nil
}

func pinPath(base, device string) (string, error) {
	var ns unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &ns); err != nil {
		return "", fmt.Errorf("bpf: network namespace: %w", err)
	}
	return filepath.Join(base, device+"_"+strconv.FormatUint(ns.Ino, 10)), nil
}

// removePins removes everything that is pinned in a directory: links detach
// and maps go with it.
func removePins(dir string) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("bpf: pins: %w", err)
	}
	var errs []error
	// Links first: no program shall see half of its maps replaced.
	for _, links := range []bool{true, false} {
		for _, f := range files {
			if isLinkPin(f.Name()) == links {
				errs = append(errs, os.Remove(filepath.Join(dir, f.Name())))
			}
		}
	}
	return errors.Join(errs...)
}

func isLinkPin(name string) bool {
	return strings.HasPrefix(name, "egress_") || strings.HasPrefix(name, "ingress_")
}

// Remove takes away what an earlier process left of this plane in the calling
// thread's network namespace: for another kind of plane, and for uninstalling.
// base may be empty.
func Remove(base, device string) error {
	err := removeDirectory(base, device)
	// 0 is no link's index: of a device that is gone every program is a stray.
	index := 0
	if l, e := netlink.LinkByName(device); e == nil {
		index = l.Attrs().Index
	}
	return errors.Join(err, removeStrays(index, 0), removeClassic())
}

func removeDirectory(base, device string) error {
	if base == "" {
		return nil
	}
	dir, err := pinPath(base, device)
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	err = removePins(dir)
	if rm := os.Remove(dir); rm != nil && !errors.Is(rm, os.ErrNotExist) {
		err = errors.Join(err, rm)
	}
	return err
}
