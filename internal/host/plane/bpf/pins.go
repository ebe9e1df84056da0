package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// mapPins are the maps that are pinned, by the names of their pins. The others
// are memories of milliseconds, or end with the process.
var mapPins = []string{"agents", "mobiles", "agent_nets", "mobile_nets", "slots", "settings", "avoided"}

// ErrPins says that something is in the way where pins are kept; the error tells
// where.
var ErrPins = errors.New("bpf: pins")

// pinError is nil when err is.
func pinError(path string, err error) error {
	if err == nil {
		return nil
	}
	var at *fs.PathError
	if errors.As(err, &at) && at.Path == path {
		err = at.Err // which would name the path again
	}
	return fmt.Errorf("%w: %s: %w", ErrPins, path, err)
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
	return dir, makePins(base, dir)
}

func makePins(base, dir string) error {
	// The file system must be there before anything is made in its place.
	for at := base; ; at = filepath.Dir(at) {
		var fs unix.Statfs_t
		err := unix.Statfs(at, &fs)
		if err == nil && fs.Type == unix.BPF_FS_MAGIC {
			break
		}
		if err == nil || at == filepath.Dir(at) {
			return fmt.Errorf("%s: %w", base, ErrNoBPFFS)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return pinError(dir, err)
	}
	return nil
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
		return pinError(dir, err)
	}
	var errs []error
	// Links first: no program shall see half of its maps replaced.
	for _, links := range []bool{true, false} {
		for _, f := range files {
			if path := filepath.Join(dir, f.Name()); isLinkPin(f.Name()) == links {
				errs = append(errs, pinError(path, os.Remove(path)))
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
// base may be empty. What is in the way of pins and forwards nothing may stay, and
// so may what is in a base that this user may not look into. Errors: ErrPins,
// ErrUnknown.
func Remove(base, device string) error {
	err := removeDirectory(base, device)
	// 0 is no link's index: of a device that is gone every program is a stray.
	index := 0
	if l, e := netlink.LinkByName(device); e == nil {
		index = l.Attrs().Index
	}
	if err := errors.Join(err, removeClassic(index)); err != nil {
		return err
	}
	return removeStrays(index, 0, 0)
}

func removeDirectory(base, device string) error {
	if base == "" {
		return nil
	}
	dir, err := pinPath(base, device)
	if err != nil {
		return err
	}
	// /sys/fs/bpf is root's alone: what is in there no other user has made.
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	err = removePins(dir)
	if os.Remove(dir) == nil {
		return nil
	}
	if files, e := os.ReadDir(dir); e == nil && !slices.ContainsFunc(files, func(f os.DirEntry) bool { return !f.IsDir() && isLinkPin(f.Name()) }) {
		return nil
	}
	return err
}

// clearMapPins removes what is in the way of maps' pins.
func clearMapPins(dir string) error {
	if dir == "" {
		return nil
	}
	for _, name := range mapPins {
		path := filepath.Join(dir, name)
		err := clearPin(path, func() error {
			m, err := ebpf.LoadPinnedMap(path, nil)
			if err == nil {
				err = m.Close()
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// clearLinkPin removes what is in the way of a link's pin.
func clearLinkPin(path string) error {
	return clearPin(path, func() error {
		l, err := link.LoadPinnedLink(path, nil)
		if err == nil {
			err = l.Close()
		}
		return err
	})
}

// clearPin removes what is in the place of a pin, is none and holds nothing: an
// empty directory, a symbolic link. A pin of this user's that it may not open,
// it may open from now on. Whatever else cannot be opened is not ours to remove.
// Errors: ErrPins.
func clearPin(path string, open func() error) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return pinError(path, err)
	}
	if info.IsDir() || info.Mode()&fs.ModeSymlink != 0 {
		return pinError(path, os.Remove(path))
	}
	if err = open(); errors.Is(err, fs.ErrPermission) && os.Chmod(path, 0o600) == nil {
		err = open()
	}
	return pinError(path, err)
}

// repin pins again what somebody has removed from the BPF file system, as the
// next process needs it. Maps come first: programs that are found without them
// would go on by bindings that nobody can change. p.mu is held. Errors:
// ErrPins, ErrNoBPFFS.
func (p *Plane) repin() error {
	if p.pins == "" {
		return nil
	}
	if err := makePins(p.config.Pins, p.pins); err != nil {
		return err
	}
	for i, m := range []*ebpf.Map{p.o.Agents, p.o.Mobiles, p.o.AgentNets, p.o.MobileNets, p.o.Slots, p.o.Settings, p.o.Avoided} {
		if err := pinAgain(filepath.Join(p.pins, mapPins[i]), m); err != nil {
			return err
		}
	}
	attachments := slices.Collect(maps.Values(p.ingress))
	if p.egress != nil {
		attachments = append(attachments, p.egress)
	}
	for _, a := range attachments {
		if a.link == nil {
			continue // a classic filter stays without
		}
		if err := pinAgain(a.pin, a.link); err != nil {
			return err
		}
	}
	return nil
}

// pinAgain pins what is not pinned any more.
func pinAgain(path string, o interface {
	Pin(string) error
	Unpin() error
}) error {
	info, err := os.Lstat(path)
	if err == nil && info.Mode().IsRegular() {
		return nil
	}
	if err == nil {
		err = clearPin(path, func() error { return nil })
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return pinError(path, err)
	}
	// It remembers that it was pinned there.
	return pinError(path, errors.Join(o.Unpin(), o.Pin(path)))
}
