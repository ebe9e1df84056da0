package store

// Status is what the store costs.
type Status struct {
	DiskBytes    uint64 // on disk
	WrittenBytes uint64 // of records, since the store was opened
	FreeBytes    uint64 // left on the disk
}

// Status tells what the store costs.
func (s *Store) Status() Status {
	s.opened.RLock()
	defer s.opened.RUnlock()
	if s.db == nil {
		return Status{}
	}
	m := s.db.Metrics()
	out := Status{DiskBytes: m.DiskSpaceUsage(), WrittenBytes: m.WAL.BytesIn}
	if s.room() == nil {
		s.mu.Lock()
		out.FreeBytes = s.free
		s.mu.Unlock()
	}
	return out
}
