package dhcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// mostPast bounds the leases that are remembered for one link.
const mostPast = 8

// memory is the leases of one link, the latest first: one for each network.
type memory []Lease

// sameNetwork tells whether two leases are of one network, as far as that shows.
func sameNetwork(a, b Lease) bool {
	return a.Address.Masked() == b.Address.Masked() && a.Gateway == b.Gateway && a.Server == b.Server
}

func (m memory) with(l Lease) memory {
	rest := m.without(l)
	return append(memory{l}, rest[:min(len(rest), mostPast-1)]...)
}

func (m memory) without(l Lease) memory {
	return slices.DeleteFunc(slices.Clone(m), func(o Lease) bool { return sameNetwork(o, l) })
}

func (m memory) unexpired(now time.Time) memory {
	return slices.DeleteFunc(slices.Clone(m), func(l Lease) bool { return !now.Before(l.Until) })
}

// of is what is remembered of a lease's network; zero when that is nothing.
func (m memory) of(l Lease) Lease {
	if i := slices.IndexFunc(m, func(o Lease) bool { return sameNetwork(o, l) }); i >= 0 {
		return m[i]
	}
	return Lease{}
}

// A book keeps the leases of all links in a file.
type book struct {
	path  string
	links map[string]memory
}

// openBook reads the file. One that cannot be read is as good as none: the
// leases are asked for anew.
func openBook(path string) *book {
	b := &book{path: path, links: make(map[string]memory)}
	const most = 1 << 20
	info, err := os.Stat(path)
	if err != nil || info.Size() > most {
		return b
	}
	text, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(text, &b.links) != nil || b.links == nil {
		b.links = make(map[string]memory)
	}
	for name, m := range b.links {
		m = slices.DeleteFunc(m, func(l Lease) bool { return !unicast(l.Address.Addr()) || !l.Server.IsValid() })
		b.links[name] = m[:min(len(m), mostPast)]
	}
	return b
}

// keep writes the leases of a link, and forgets links that are not there.
func (b *book) keep(link string, m memory, known []string) error {
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
