// Package netspace runs code in a network namespace from any goroutine, and
// reads the kernel's tables whole.
//
// A socket belongs to the namespace of the thread that opened it, for good;
// files under /proc/sys/net are those of the thread that opens them. Whatever
// opens either long after its construction must go back to where that was.
package netspace

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// A Space is a network namespace, kept open.
type Space struct{ ns netns.NsHandle }

// Here is the calling thread's namespace.
func Here() (*Space, error) {
	ns, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("netspace: %w", err)
	}
	return &Space{ns}, nil
}

// Fd is a descriptor of the namespace.
func (s *Space) Fd() int { return int(s.ns) }

// Close lets the namespace go.
func (s *Space) Close() error { return s.ns.Close() }

// Do runs f on a thread that is in the namespace.
func (s *Space) Do(f func() error) error {
	runtime.LockOSThread()
	here, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("netspace: %w", err)
	}
	defer here.Close()
	if here.Equal(s.ns) {
		defer runtime.UnlockOSThread()
		return f()
	}
	if err := netns.Set(s.ns); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("netspace: %w", err)
	}
	err = f()
	if back := netns.Set(here); back != nil {
		// The thread is of no use to others: it stays locked to this
		// goroutine and ends with it.
		return errors.Join(err, fmt.Errorf("netspace: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

// attempts bounds how often an interrupted dump is started again.
const attempts = 20

// Dump runs a netlink dump again while the kernel says that its tables changed
// under it: such a result has holes and doubles.
func Dump[T any](list func() ([]T, error)) ([]T, error) {
	for range attempts {
		items, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return items, err
		}
	}
	return nil, fmt.Errorf("netspace: dump interrupted %d times", attempts)
}
