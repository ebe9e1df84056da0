package daemon

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// coreless has the kernel write no core file of this process: it would have the
// keys in it. A limit of one octet is what the kernel takes for "none" also where
// cores go to a program (core(5)), which a limit of zero does not stop.
func coreless() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1, Max: 1}); err != nil {
		// Whoever started us has set less already.
		var is unix.Rlimit
		if unix.Getrlimit(unix.RLIMIT_CORE, &is) != nil || is.Max > 1 {
			return fmt.Errorf("daemon: no core files: %w", err)
		}
	}
	return nil
}
