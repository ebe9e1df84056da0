package dhcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"careof/internal/host/lease"
)

// A book keeps the leases of all links in a file.
type book struct {
	path  string
	links map[string]lease.Memory
}

// openBook reads the file. One that cannot be read is as good as none: the
// leases are asked for anew.
func openBook(path string) *book {
	b := &book{path: path, links: make(map[string]lease.Memory)}
	const most = 1 << 20
	info, err := os.Stat(path)
	if err != nil || info.Size() > most {
		return b
	}
	text, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(text, &b.links) != nil || b.links == nil {
		b.links = make(map[string]lease.Memory)
	}
	for name, m := range b.links {
		m = slices.DeleteFunc(m, func(l lease.Lease) bool { return !l.Usable() })
		b.links[name] = m[:min(len(m), lease.MostPast)]
	}
	return b
}

// keep writes the leases of a link, and forgets links that are not there.
func (b *book) keep(link string, m lease.Memory, known []string) error {
	for name := range b.links {
		if !slices.Contains(known, name) {
			delete(b.links, name)
		}
	}
	b.links[link] = m
	if len(m) == 0 {
		delete(b.links, link)
	}
	text, err := json.MarshalIndent(b.links, "", "\t")
	if err != nil {
		return fmt.Errorf("dhcp: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(b.path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("dhcp: %w", err)
	}
	fresh := b.path + ".new"
	if err := os.WriteFile(fresh, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("dhcp: %w", err)
	}
	if err := os.Rename(fresh, b.path); err != nil {
		return fmt.Errorf("dhcp: %w", err)
	}
	return nil
}
