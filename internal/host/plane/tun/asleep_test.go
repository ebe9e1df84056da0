package tun

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// What is listed is what was applied, whoever sleeps: entries come, go, move to
// other addresses and ends, are woken, and share an address now and then. A
// shortcut's tag stays with the key all the time.
func TestSleepersAndBindingsTogetherAreWhatWasApplied(t *testing.T) {
	b := newBench(t)
	luck := rand.New(rand.NewPCG(5, 6))
	want := make(map[forward.Key]forward.Entry)
	tags := make(map[forward.Key]uint64)
	for i := range 20000 {
		k := forward.Key(fmt.Sprint("k", luck.IntN(300)))
		change := forward.Change{Entry: forward.Entry{Key: k, Role: forward.HomeAgent}}
		switch luck.IntN(7) {
		case 0:
			change.Op = forward.Delete
			delete(want, k)
			delete(tags, k)
		case 1:
			change.Op, change.Until = forward.Extend, b.now.Add(time.Duration(luck.IntN(1000))*time.Second)
			if e, there := want[k]; there {
				e.Tunnels = slices.Clone(e.Tunnels)
				for i := range e.Tunnels {
					e.Tunnels[i].Until = change.Until
				}
				want[k] = e
			}
		case 2:
			e, there := want[k]
			if !there {
				continue
			}
			change.Op, change.Entry = forward.Put, e // as it is
		case 3:
			b.p.agents(uint32(10<<24 | luck.IntN(200)))
			continue
		default:
			e := forward.Entry{Key: k, Role: forward.HomeAgent, Inner: netip.PrefixFrom(addrOfWord(uint32(10<<24|luck.IntN(200))), 32)}
			if luck.IntN(4) == 0 {
				e.Intercept = fmt.Sprint("eth", luck.IntN(3))
			}
			for range 1 + luck.IntN(8)/7 {
				tunnel := toCareOf(forward.Tunnel{Encap: encap.GRE, HasKey: true, Key: luck.Uint32(), MTU: luck.IntN(2) * 1200, Wrap: haAddr})
				tunnel.Peer = netip.AddrPortFrom(addrOfWord(luck.Uint32N(50)+100<<24), 0)
				e.Tunnels = append(e.Tunnels, tunnel)
			}
			change.Op, change.Entry, want[k] = forward.Put, e, e
		}
		if err := b.p.Apply(t.Context(), []forward.Change{change}); err != nil {
			t.Fatal(err)
		}
		if got := b.p.Tag(k); got != tags[k] {
			t.Fatalf("change %d: the tag of %v is %d, want %d", i, k, got, tags[k])
		}
		tag := luck.Uint64()
		if b.p.SetTag(k, tag); want[k].Key == k {
			tags[k] = tag
		}
		if i%1000 != 0 {
			continue
		}
		keys := slices.Sorted(maps.Keys(want))
		for e := range b.p.List(t.Context()) {
			if len(keys) == 0 || e.Key != keys[0] || !e.Equal(want[e.Key]) {
				t.Fatalf("change %d: listed %+v, want %+v", i, e, want[e.Key])
			}
			keys = keys[1:]
			var found []forward.Key
			for _, one := range b.p.agents(word(e.Inner.Addr())) {
				found = append(found, one.entry.Key)
			}
			if !slices.Contains(found, e.Key) || !slices.IsSorted(found) {
				t.Fatalf("change %d: packets for %v find %v, and not %v", i, e.Inner, found, e.Key)
			}
		}
		if len(keys) > 0 {
			t.Fatalf("change %d: not listed: %v", i, keys)
		}
	}
}

// An entry takes little until a packet of its own comes: then it is counted.
func TestAnEntrySleepsUntilItsFirstPacket(t *testing.T) {
	b := newBench(t)
	b.put(agentEntry(toCareOf(forward.Tunnel{Encap: encap.UDP})))
	if len(b.p.bindings) != 0 || b.p.asleep.count != 1 {
		t.Fatalf("%d bindings, %d asleep", len(b.p.bindings), b.p.asleep.count)
	}
	b.fromKernel(udpPacket(cnAddr, homeAddr, 100))
	if got := b.p.Counters("mn").SentPackets; got != 1 || b.p.asleep.count != 0 {
		t.Errorf("%d packets sent, %d entries asleep", got, b.p.asleep.count)
	}
}

// sentByShortcut is a shortcut that has sent everything just now.
type sentByShortcut struct {
	at     func() time.Time
	heeded []forward.Key
}

func (s *sentByShortcut) LastSent(forward.Key) time.Time { return s.at() }
func (s *sentByShortcut) Heed(k forward.Key, mtu int, until time.Time) {
	s.heeded = append(s.heeded, k)
}

// What routers say of a tunnel concerns its entry also when the programs have
// sent all packets and user space none.
func TestAnICMPErrorFindsTheEntryThatSleeps(t *testing.T) {
	b := newBench(t)
	tunnel := toCareOf(forward.Tunnel{Encap: encap.IPIP})
	b.put(agentEntry(tunnel))
	sent, err := encap.Append(nil, &encap.Header{Kind: encap.IPIP, Src: haAddr, Dst: careOf, DF: true}, udpPacket(cnAddr, homeAddr, 1000))
	if err != nil {
		t.Fatal(err)
	}
	b.icmp(tooBig(900, sent))
	if b.p.asleep.count != 1 {
		t.Fatal("nobody has sent anything, and an error was believed")
	}
	s := &sentByShortcut{at: b.clock}
	b.p.SetShortcut(s)
	b.icmp(tooBig(900, sent))
	if len(s.heeded) != 1 || s.heeded[0] != "mn" {
		t.Errorf("heeded for %v", s.heeded)
	}
}
