package control

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// dying is how long a process that was killed may take to go, with all that it has
// open: the store and the device besides the socket.
const dying = 3 * time.Second

// Ends waits for the end of a process that may be dying, and says whether it came. It is
// at once when the process is gone.
func Ends(pid int) bool {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return errors.Is(err, unix.ESRCH)
	}
	defer unix.Close(process)
	// "a PID file descriptor [...] becomes readable when the process terminates"
	// (pidfd_open(2)).
	until := time.Now().Add(dying)
	for {
		left := time.Until(until)
		if left <= 0 {
			return false
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if n > 0 {
			return true
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
	}
}
