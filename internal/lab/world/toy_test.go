package world

import (
	"encoding/binary"
	"errors"
	"iter"
	"math/rand/v2"
	"net/netip"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/wire/encap"
)

// The toys are a home agent and a mobile node without any protocol worth the
// name: a request is a number and a home address, a reply repeats it. They
// show that the world drives machines as engine's contract says.

const toyLifetime = 20 * time.Second

type toyHome struct {
	local    netip.Addr
	bound    map[netip.Addr]toyBinding
	marks    map[netip.Addr]uint64
	pending  map[engine.Ticket]netip.Addr
	agenda   engine.Agenda[string]
	ticket   engine.Ticket
	failures int
}

type toyBinding struct {
	peer  netip.AddrPort
	until time.Time
}

func newToyHome(local netip.Addr) *toyHome {
	return &toyHome{local: local, bound: make(map[netip.Addr]toyBinding), marks: make(map[netip.Addr]uint64), pending: make(map[engine.Ticket]netip.Addr)}
}

func (h *toyHome) Deadline() time.Time { return h.agenda.Next() }

func (h *toyHome) entry(home netip.Addr, b toyBinding) forward.Entry {
	return forward.Entry{
		Key: forward.Key("ha/" + home.String()), Role: forward.HomeAgent, Inner: netip.PrefixFrom(home, 32),
		Tunnels: []forward.Tunnel{{Local: netip.AddrPortFrom(h.local, 434), Peer: b.peer, Encap: encap.UDP, Until: b.until}},
	}
}

func (h *toyHome) Entries() iter.Seq[forward.Entry] {
	return func(yield func(forward.Entry) bool) {
		for _, text := range sortedAddrs(h.bound) {
			if !yield(h.entry(text, h.bound[text])) {
				return
			}
		}
	}
}

func sortedAddrs[V any](m map[netip.Addr]V) []netip.Addr {
	var list []netip.Addr
	for a := range m {
		at := 0
		for at < len(list) && list[at].Less(a) {
			at++
		}
		list = append(list[:at], append([]netip.Addr{a}, list[at:]...)...)
	}
	return list
}

// record is the mark, the peer, and the end in wall time.
func (h *toyHome) record(now engine.Now, home netip.Addr) engine.Record {
	r := engine.Record{Key: []byte("b/" + home.String())}
	b := h.bound[home]
	r.Value = binary.BigEndian.AppendUint64(nil, h.marks[home])
	r.Value = binary.BigEndian.AppendUint64(r.Value, uint64(now.WallOf(b.until).UnixNano()))
	text, _ := b.peer.MarshalText()
	r.Value = append(r.Value, text...)
	return r
}

func (h *toyHome) Restore(now engine.Now, r engine.Record) error {
	home, err := netip.ParseAddr(string(r.Key[2:]))
	if err != nil || len(r.Value) < 16 {
		return errors.New("toy: bad record")
	}
	h.marks[home] = binary.BigEndian.Uint64(r.Value)
	var peer netip.AddrPort
	if peer.UnmarshalText(r.Value[16:]) != nil || !peer.IsValid() {
		return nil
	}
	left := time.Unix(0, int64(binary.BigEndian.Uint64(r.Value[8:]))).Sub(now.Wall)
	if left <= 0 {
		return nil
	}
	h.bound[home] = toyBinding{peer, now.Mono.Add(min(left, toyLifetime))}
	h.agenda.Set(home.String(), h.bound[home].until)
	return nil
}

func (h *toyHome) Step(now engine.Now, ev engine.Event) []engine.Action {
	switch ev := ev.(type) {
	case engine.Packet:
		if len(ev.Data) != 13 || ev.Data[0] != 'R' {
			return nil
		}
		home := netip.AddrFrom4([4]byte(ev.Data[9:]))
		number := binary.BigEndian.Uint64(ev.Data[1:])
		if number <= h.marks[home] {
			return []engine.Action{engine.Tell{Note: note.Note{Kind: note.Discarded, HomeAddress: home, Why: "old"}}}
		}
		h.marks[home] = number
		h.bound[home] = toyBinding{ev.Src, now.Mono.Add(toyLifetime)}
		h.agenda.Set(home.String(), h.bound[home].until)
		h.ticket++
		h.pending[h.ticket] = home
		reply := append([]byte{'A'}, ev.Data[1:]...)
		return []engine.Action{engine.Commit{
			Ticket:  h.ticket,
			Records: []engine.Record{h.record(now, home)},
			Changes: []forward.Change{{Op: forward.Put, Entry: h.entry(home, h.bound[home])}},
			Then: []engine.Action{
				engine.Send{Src: ev.Dst, Dst: ev.Src, Data: reply},
				engine.Tell{Note: note.Note{Kind: note.Bound, HomeAddress: home, Endpoint: ev.Src}},
			},
		}}
	case engine.Answer:
		home := h.pending[ev.Ticket]
		delete(h.pending, ev.Ticket)
		if ev.Err != nil {
			h.failures++
			return h.unbind(now, home, note.Failed)
		}
	case engine.Wake:
		var all []engine.Action
		for {
			text, ok := h.agenda.Due(now.Mono)
			if !ok {
				return all
			}
			all = append(all, h.unbind(now, netip.MustParseAddr(text), note.Expired)...)
		}
	}
	return nil
}

func (h *toyHome) unbind(now engine.Now, home netip.Addr, why note.Kind) []engine.Action {
	b, ok := h.bound[home]
	if !ok {
		return nil
	}
	gone := h.entry(home, b)
	delete(h.bound, home)
	h.agenda.Clear(home.String())
	return []engine.Action{
		engine.Commit{Records: []engine.Record{h.record(now, home)}, Changes: []forward.Change{{Op: forward.Delete, Entry: gone}}},
		engine.Tell{Note: note.Note{Kind: why, HomeAddress: home}},
	}
}

type toyMobile struct {
	home   netip.Addr
	agent  netip.AddrPort
	luck   *rand.Rand
	links  map[string]engine.Link
	number uint64
	next   time.Time
	ticket engine.Ticket
}

func newToyMobile(home netip.Addr, agent netip.AddrPort, luck *rand.Rand) *toyMobile {
	return &toyMobile{home: home, agent: agent, luck: luck, links: make(map[string]engine.Link)}
}

func (m *toyMobile) Deadline() time.Time { return m.next }

func (m *toyMobile) Step(now engine.Now, ev engine.Event) []engine.Action {
	switch ev := ev.(type) {
	case engine.LinkChanged:
		m.links[ev.Link.Name] = ev.Link
		return m.request(now)
	case engine.Wake:
		return m.request(now)
	case engine.Packet:
		if len(ev.Data) != 13 || ev.Data[0] != 'A' || binary.BigEndian.Uint64(ev.Data[1:]) != m.number {
			return nil
		}
		m.next = now.Mono.Add(toyLifetime/2 + time.Duration(m.luck.Int64N(int64(time.Second))))
		m.ticket++
		return []engine.Action{engine.Commit{Ticket: m.ticket, Changes: []forward.Change{{Op: forward.Put, Entry: forward.Entry{
			Key: "mn", Role: forward.MobileNode, Inner: netip.PrefixFrom(m.home, 32), Routes: []netip.Prefix{everything},
			Tunnels: []forward.Tunnel{{Local: netip.AddrPortFrom(ev.Dst.Addr(), 0), Peer: ev.Src, Encap: encap.UDP, Link: ev.Link}},
		}}}, Then: []engine.Action{engine.Tell{Note: note.Note{Kind: note.Registered, HomeAddress: m.home, Link: ev.Link}}}}}
	}
	return nil
}

func (m *toyMobile) request(now engine.Now) []engine.Action {
	m.next = now.Mono.Add(time.Second)
	for _, name := range sortedKeys(m.links) {
		l := m.links[name]
		if !l.Up || len(l.Addresses) == 0 || len(l.Gateways) == 0 {
			continue
		}
		m.number = uint64(now.Wall.UnixNano())
		data := binary.BigEndian.AppendUint64([]byte{'R'}, m.number)
		home := m.home.As4()
		return []engine.Action{
			engine.Send{Link: name, Src: netip.AddrPortFrom(l.Addresses[0].Addr(), 0), Dst: m.agent, Data: append(data, home[:]...)},
			engine.Tell{Note: note.Note{Kind: note.Requesting, HomeAddress: m.home, Link: name}},
		}
	}
	return nil
}
