package control

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// pageParameters make a long list come in pages.
var pageParameters = []Parameter{
	{"limit", "How many rows to return, at most 1000. Any of these parameters makes the answer a page, with a member \"page\".", "integer"},
	{"offset", "How many rows of the result to leave out first.", "integer"},
	{"search", "Only rows in which every word of this occurs: in an address, a NAI, an interface, a state.", "string"},
	{"sort", "The member to sort by, with - before it for the other direction.", "string"},
}

// pageLimit is how many rows a page may have.
const pageLimit = 1000

// A Page says which part of a list an answer has.
type Page struct {
	Offset  int       `json:"offset"`
	Limit   int       `json:"limit"`
	Matched int       `json:"matched"` // rows that the search leaves
	Total   int       `json:"total"`   // rows without the search
	Taken   time.Time `json:"taken"`   // when the list was taken
}

func wantsPage(r *http.Request) bool {
	query := r.URL.Query()
	return slices.ContainsFunc(pageParameters, func(p Parameter) bool { return query.Has(p.Name) })
}

// A pager cuts pages out of one sort of list.
type pager interface {
	// cut returns the rows of a page and completes it.
	cut(list any, words []string, order string, page *Page) (any, error)
}

// pagers are the lists that come in pages.
var pagers = map[string]pager{
	"bindings": rowsOf[Binding]{
		words: func(b *Binding) []string {
			return []string{b.HomeAddress.String(), b.NAI, b.CareOfAddress.String(), b.Endpoint.String(), b.Encapsulation, b.State}
		},
		orders: map[string]func(a, b *Binding) int{
			"home_address":    func(a, b *Binding) int { return a.HomeAddress.Compare(b.HomeAddress) },
			"nai":             func(a, b *Binding) int { return strings.Compare(a.NAI, b.NAI) },
			"care_of_address": func(a, b *Binding) int { return a.CareOfAddress.Compare(b.CareOfAddress) },
			"endpoint":        func(a, b *Binding) int { return netip.AddrPort(a.Endpoint).Compare(netip.AddrPort(b.Endpoint)) },
			"encapsulation":   func(a, b *Binding) int { return strings.Compare(a.Encapsulation, b.Encapsulation) },
			"state":           func(a, b *Binding) int { return strings.Compare(a.State, b.State) },
			"remaining":       func(a, b *Binding) int { return cmp.Compare(a.Remaining, b.Remaining) },
			"since":           func(a, b *Binding) int { return a.Since.Compare(b.Since) },
			"sent_bytes":      func(a, b *Binding) int { return cmp.Compare(a.Counters.SentBytes, b.Counters.SentBytes) },
			"received_bytes":  func(a, b *Binding) int { return cmp.Compare(a.Counters.ReceivedBytes, b.Counters.ReceivedBytes) },
		},
	},
	"visitors": rowsOf[Visitor]{
		words: func(v *Visitor) []string {
			return []string{v.HomeAddress.String(), v.NAI, v.HomeAgent.String(), v.CareOfAddress.String(), v.Interface, v.LinkLayerAddress, v.State, v.Encapsulation, v.Delivery}
		},
		orders: map[string]func(a, b *Visitor) int{
			"home_address":       func(a, b *Visitor) int { return a.HomeAddress.Compare(b.HomeAddress) },
			"nai":                func(a, b *Visitor) int { return strings.Compare(a.NAI, b.NAI) },
			"home_agent":         func(a, b *Visitor) int { return a.HomeAgent.Compare(b.HomeAgent) },
			"interface":          func(a, b *Visitor) int { return strings.Compare(a.Interface, b.Interface) },
			"link_layer_address": func(a, b *Visitor) int { return strings.Compare(a.LinkLayerAddress, b.LinkLayerAddress) },
			"state":              func(a, b *Visitor) int { return strings.Compare(a.State, b.State) },
			"remaining":          func(a, b *Visitor) int { return cmp.Compare(a.Remaining, b.Remaining) },
			"since":              func(a, b *Visitor) int { return a.Since.Compare(b.Since) },
		},
	},
	"registrations": rowsOf[Registration]{
		words: func(r *Registration) []string {
			return []string{r.HomeAddress.String(), r.NAI, r.HomeAgent.String(), r.CareOfAddress.String(), r.Source.String(), r.Uplink, r.State, strconv.Itoa(int(r.Code)), r.Why}
		},
		orders: map[string]func(a, b *Registration) int{
			"time":         func(a, b *Registration) int { return a.Time.Compare(b.Time) },
			"home_address": func(a, b *Registration) int { return a.HomeAddress.Compare(b.HomeAddress) },
			"code":         func(a, b *Registration) int { return cmp.Compare(a.Code, b.Code) },
			"round_trip":   func(a, b *Registration) int { return cmp.Compare(a.RoundTrip, b.RoundTrip) },
		},
	},
}

// rowsOf is the pager of a list of T.
type rowsOf[T any] struct {
	words  func(*T) []string
	orders map[string]func(a, b *T) int
}

func (p rowsOf[T]) cut(list any, words []string, order string, page *Page) (any, error) {
	all := list.([]T)
	page.Total = len(all)
	index := make([]int, 0, len(all))
	for i := range all {
		if len(words) == 0 || contains(p.words(&all[i]), words) {
			index = append(index, i)
		}
	}
	if order != "" {
		name, backwards := strings.CutPrefix(order, "-")
		compare, known := p.orders[name]
		if !known {
			names := make([]string, 0, len(p.orders))
			for n := range p.orders {
				names = append(names, n)
			}
			slices.Sort(names)
			return nil, fmt.Errorf("%w: sort: %q is not one of %s", ErrInvalid, name, strings.Join(names, ", "))
		}
		slices.SortStableFunc(index, func(a, b int) int {
			if backwards {
				a, b = b, a
			}
			return compare(&all[a], &all[b])
		})
	}
	page.Matched = len(index)
	index = index[min(page.Offset, len(index)):]
	index = index[:min(page.Limit, len(index))]
	out := make([]T, len(index))
	for i, at := range index {
		out[i] = all[at]
	}
	return out, nil
}

// contains tells whether every word occurs in one of the fields.
func contains(fields, words []string) bool {
	for _, word := range words {
		if !slices.ContainsFunc(fields, func(f string) bool { return strings.Contains(strings.ToLower(f), word) }) {
			return false
		}
	}
	return true
}

// page answers with a page of a list.
func (a *api) page(w http.ResponseWriter, r *http.Request, name string) {
	page, err := pageOf(r.URL.Query())
	if err != nil {
		fail(w, err)
		return
	}
	value, taken, err := a.pages.take(name, func() (any, error) { return a.ask(r.Context(), name, "") })
	if err != nil {
		fail(w, err)
		return
	}
	page.Taken = taken
	rows, err := pagers[name].cut(value, strings.Fields(strings.ToLower(r.URL.Query().Get("search"))), r.URL.Query().Get("sort"), &page)
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, map[string]any{"schema": Schema, name: rows, "page": page})
}

func pageOf(query url.Values) (Page, error) {
	page := Page{Limit: 100}
	for _, number := range []struct {
		name string
		at   *int
		most int
	}{{"limit", &page.Limit, pageLimit}, {"offset", &page.Offset, 1 << 31}} {
		if !query.Has(number.name) {
			continue
		}
		n, err := strconv.Atoi(query.Get(number.name))
		if err != nil || n < 0 || n > number.most {
			return page, fmt.Errorf("%w: %s: %q is not a number from 0 to %d", ErrInvalid, number.name, query.Get(number.name), number.most)
		}
		*number.at = n
	}
	return page, nil
}

// pages keeps the lists that pages are cut from for a moment: scrolling
// through a hundred thousand rows must not ask the machines for all of them
// each time.
type pages struct {
	mu    sync.Mutex
	lists map[string]*snapshot
}

// A snapshot is a list as it was taken. Its lock is held while it is taken
// anew, so that many readers cost the machines one question.
type snapshot struct {
	mu    sync.Mutex
	value any
	taken time.Time
	fresh time.Time // until then it is good enough
}

// shareOfTime bounds what pages cost the machines: a list that took 30 ms is
// used for at least 600 ms.
const shareOfTime = 20

// minimalAge is how long even a short list is used.
const minimalAge = 200 * time.Millisecond

func newPages() *pages { return &pages{lists: make(map[string]*snapshot)} }

// take returns a list and when it was taken.
func (p *pages) take(name string, ask func() (any, error)) (any, time.Time, error) {
	p.mu.Lock()
	s := p.lists[name]
	if s == nil {
		s = new(snapshot)
		p.lists[name] = s
	}
	p.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.value != nil && now.Before(s.fresh) {
		return s.value, s.taken, nil
	}
	value, err := ask()
	if err != nil {
		return nil, time.Time{}, err
	}
	end := time.Now()
	s.value, s.taken = value, end
	s.fresh = end.Add(max(minimalAge, shareOfTime*end.Sub(now)))
	return s.value, s.taken, nil
}
