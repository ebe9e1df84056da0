// Package offload switches what network interfaces do in the place of the kernel: cutting
// trains into packets, checksums, merging. Tests and benchmarks need it; the
// daemon leaves interfaces as they are.
package offload

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	featureSet  = 4  // ETH_SS_FEATURES
	nameLen     = 32 // ETH_GSTRING_LEN
	maxFeatures = 128
)

// Segment switches off what lets packets longer than its MTU, or without
// their checksums, leave an interface, in the calling thread's network
// namespace: what leaves is what a wire would carry.
func Segment(link string) error {
	return features(link, false, func(name string) bool {
		return strings.Contains(name, "segmentation") || strings.Contains(name, "tx-checksum") || name == "tx-gso-list"
	})
}

// Merge lets an interface put segments together again as they come in, which
// network cards' drivers do unless they are told otherwise.
func Merge(link string) error {
	return features(link, true, func(name string) bool { return name == "rx-gro" })
}

// features switches the features of an interface whose names fit.
func features(link string, on bool, fits func(name string) bool) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	call := func(data unsafe.Pointer) error {
		var ifr struct {
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}
		copy(ifr.name[:unix.IFNAMSIZ-1], link)
		ifr.data = data
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifr)))
		if errno != 0 {
			return fmt.Errorf("ethtool %s: %w", link, errno)
		}
		return nil
	}
	// struct ethtool_gstrings: the names of the features, by number.
	var names struct {
		command, set, n uint32
		data            [maxFeatures * nameLen]byte
	}
	names.command, names.set, names.n = unix.ETHTOOL_GSTRINGS, featureSet, 0
	if err := call(unsafe.Pointer(&names)); err != nil {
		return err
	}
	// struct ethtool_sfeatures: blocks of a mask and the wanted bits.
	var set struct {
		command, n uint32
		blocks     [maxFeatures / 32]struct{ valid, requested uint32 }
	}
	set.command, set.n = unix.ETHTOOL_SFEATURES, (names.n+31)/32
	found := false
	for i := range min(names.n, maxFeatures) {
		name := string(bytes.TrimRight(names.data[i*nameLen:(i+1)*nameLen], "\x00"))
		if !fits(name) {
			continue
		}
		found = true
		set.blocks[i/32].valid |= 1 << (i % 32)
		if on {
			set.blocks[i/32].requested |= 1 << (i % 32)
		}
	}
	if !found {
		return errors.New("ethtool: no such features are known")
	}
	return call(unsafe.Pointer(&set))
}
