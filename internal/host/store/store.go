// Package store keeps the records that machines commit, so that nothing that
// was answered is lost when the process dies: Pebble, synced, with one sync
// for as many commits as wait for it.
package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
)

// format is what the records of this version look like; it is stored with
// them, so that an older binary refuses a newer store instead of misreading it.
const format = 1

// formatKey sorts before every role's records.
var formatKey = []byte("\x00format")

// A Store is a directory of durable records. It is safe for concurrent use.
type Store struct {
	dir string

	opened   sync.RWMutex // guards these two; held while the database is used
	db       *pebble.DB   // nil once it could not be opened again
	readOnly bool         // opened on a full disk

	mu      sync.Mutex
	checked time.Time // when the free space was last looked at
	free    uint64    // octets, as of then
	failed  error     // of the last write; nil when it was well
	tried   time.Time // when one was last tried to see whether it still fails
}

// ErrFull says that the disk is too full to go on writing. Nothing was written.
var ErrFull = errors.New("store: the disk is full")

// reserve is how much space is left alone. Pebble ends the process when a
// write to its log fails, and forwarding for everybody with it; so a disk that
// is nearly full refuses new records, and denies registrations, instead.
const reserve = 16 << 20

// room fails when less than the reserve is free. It looks once a second.
func (s *Store) room() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.checked) >= time.Second {
		var fs unix.Statfs_t
		if err := unix.Statfs(s.dir, &fs); err != nil {
			return fmt.Errorf("store: %s: %w", s.dir, err)
		}
		s.checked, s.free = now, fs.Bavail*uint64(fs.Bsize)
	}
	if s.free < reserve {
		return fmt.Errorf("%w: %d MiB are free in %s, %d are needed", ErrFull, s.free>>20, s.dir, reserve>>20)
	}
	return nil
}

// ErrInUse says that another process has the store open.
var ErrInUse = errors.New("store: another daemon has it open")

// A Held is [ErrInUse], and who has it.
type Held struct {
	Path string
	Pid  int // 0 when it cannot be told
}

func (h *Held) Error() string        { return fmt.Sprintf("%v: %s", ErrInUse, h.Path) }
func (h *Held) Is(target error) bool { return target == ErrInUse }

// holder is the other process that has Pebble's lock; 0 when none has any more. This one
// must not have it: who closes the file lets go.
func holder(path string) int {
	f, err := os.Open(filepath.Join(path, "LOCK"))
	if err != nil {
		return 0
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil || lock.Type == unix.F_UNLCK {
		return 0
	}
	return max(0, int(lock.Pid))
}

// ErrFormat says that another version wrote the store.
var ErrFormat = errors.New("store: another version of careof wrote it")

// Open opens the store in dir, and makes the directory when it is missing. On a
// full disk a store that is there can be read: what was bound goes on, and
// nothing new becomes durable ([ErrFull]) until there is room.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s := &Store{dir: dir}
	full := s.room()
	if full != nil && !errors.Is(full, ErrFull) {
		return nil, full
	}
	// Keys of enrolled nodes are in it, and dir may be everybody's to enter:
	// it was there, and the files are readable where the umask is 022.
	path := s.path()
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if i, err := os.Stat(path); err == nil && i.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(path, 0o700); err != nil && !errors.Is(err, os.ErrPermission) {
			return nil, fmt.Errorf("store: %w", err)
		}
	}
	err := s.open(path, full != nil)
	if errors.Is(err, pebble.ErrDBDoesNotExist) {
		return nil, full
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) path() string { return filepath.Join(s.dir, "store") }

func (s *Store) open(path string, readOnly bool) error {
	db, err := pebble.Open(path, &pebble.Options{
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             quiet{},
		ReadOnly:           readOnly,
	})
	if err != nil {
		// Pebble has no error value for its lock: another process's shows
		// as the system call's error, this process's own only as text.
		switch {
		case errors.Is(err, syscall.EAGAIN):
			return &Held{path, holder(path)}
		case strings.Contains(err.Error(), "lock held"):
			return &Held{path, os.Getpid()}
		}
		return fmt.Errorf("store: open %s: %w", path, err)
	}
	s.db, s.readOnly = db, readOnly
	if err := s.checkFormat(); err != nil {
		s.db = nil
		return errors.Join(err, db.Close())
	}
	return nil
}

// writable fails while nothing can be written. A store that was opened on a full
// disk is opened again once there is room.
func (s *Store) writable() error {
	if err := s.room(); err != nil {
		return err
	}
	s.opened.RLock()
	ready := s.db != nil && !s.readOnly
	s.opened.RUnlock()
	if ready {
		return nil
	}
	s.opened.Lock()
	defer s.opened.Unlock()
	if s.db != nil {
		if !s.readOnly {
			return nil
		}
		err := s.db.Close()
		if s.db = nil; err != nil {
			return fmt.Errorf("store: %w", err)
		}
	}
	return s.open(s.path(), false)
}

// errClosed says that the store could not be opened again.
var errClosed = errors.New("store: it is not open")

func (s *Store) checkFormat() error {
	value, closer, err := s.db.Get(formatKey)
	if errors.Is(err, pebble.ErrNotFound) {
		if s.readOnly {
			return nil // nothing was ever written
		}
		return s.db.Set(formatKey, []byte{format}, pebble.Sync)
	}
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer closer.Close()
	if len(value) != 1 || value[0] != format {
		return fmt.Errorf("%w: it is in format %v, this version reads %d", ErrFormat, value, format)
	}
	return nil
}

// Trouble tells why nothing becomes durable now, nil when it does. What
// failed is tried again, once a second at most: nobody need register for the
// trouble to be over.
func (s *Store) Trouble() error {
	if err := s.writable(); err != nil {
		return err
	}
	s.mu.Lock()
	failed, again := s.failed, time.Since(s.tried) >= time.Second
	if failed != nil && again {
		s.tried = time.Now()
	}
	s.mu.Unlock()
	if failed == nil || !again {
		return failed
	}
	s.opened.RLock()
	defer s.opened.RUnlock()
	if s.db == nil {
		return errClosed
	}
	return s.wrote(s.db.Set(formatKey, []byte{format}, pebble.Sync))
}

// wrote remembers how a write went.
func (s *Store) wrote(err error) error {
	if err != nil {
		err = fmt.Errorf("store: commit: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
	return err
}

// Apply makes records durable, all of them or none, and returns when they are.
func (s *Store) Apply(role string, records []engine.Record) error {
	if len(records) == 0 {
		return nil
	}
	if err := s.writable(); err != nil {
		return err
	}
	s.opened.RLock()
	defer s.opened.RUnlock()
	if s.db == nil {
		return errClosed
	}
	b := s.db.NewBatch()
	defer b.Close()
	key := prefix(role)
	own := len(key)
	for _, r := range records {
		key = append(key[:own], r.Key...) // the batch copies it
		var err error
		if r.Value == nil {
			err = b.Delete(key, nil)
		} else {
			err = b.Set(key, r.Value, nil)
		}
		if err != nil {
			return fmt.Errorf("store: %w", err)
		}
	}
	return s.wrote(b.Commit(pebble.Sync))
}

// Load calls yield with every record of a role, in key order. The record's
// slices are valid until yield returns. An error of yield ends the load.
func (s *Store) Load(role string, yield func(engine.Record) error) error {
	lower := prefix(role)
	upper := append([]byte(role), '/'+1)
	s.opened.RLock()
	defer s.opened.RUnlock()
	if s.db == nil {
		return errClosed
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("store: %w", err)
		}
		if err := yield(engine.Record{Key: it.Key()[len(lower):], Value: value}); err != nil {
			return err
		}
	}
	return it.Error()
}

// Close closes the store. Everything that Apply confirmed is on disk already.
func (s *Store) Close() error {
	s.opened.Lock()
	defer s.opened.Unlock()
	if s.db == nil {
		return nil
	}
	return s.db.Close()
}

func prefix(role string) []byte { return append([]byte(role), '/') }

// quiet keeps Pebble's housekeeping out of the log; its errors come back from
// the calls. A corruption that it can only report by a fatal line ends the
// process, as it must: going on would answer what is not durable.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(f string, args ...any) {
	fmt.Fprintf(os.Stderr, "careof: store: "+f+"\n", args...)
	os.Exit(1)
}
