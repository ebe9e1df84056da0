package homedhcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"careof/internal/host/lease"
)

// ReadLease reads what [WriteLease] has written. A file that is not there, or cannot be
// read, is as good as none: the lease is asked for anew.
func ReadLease(path string) (l lease.Lease) {
	const most = 1 << 16
	info, err := os.Stat(path)
	if err != nil || info.Size() > most {
		return lease.Lease{}
	}
	b, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(b, &l) != nil || !l.Usable() {
		return lease.Lease{}
	}
	return l
}

// WriteLease writes a lease down for the next process. That of no address removes the file.
func WriteLease(path string, l lease.Lease) error {
	if !l.Address.IsValid() {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("homedhcp: %w", err)
		}
		return nil
	}
	b, err := json.MarshalIndent(l, "", "\t")
	if err != nil {
		return fmt.Errorf("homedhcp: %w", err)
	}
	fresh := path + ".new"
	if err := os.WriteFile(fresh, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("homedhcp: %w", err)
	}
	if err := os.Rename(fresh, path); err != nil {
		return fmt.Errorf("homedhcp: %w", err)
	}
	return nil
}
