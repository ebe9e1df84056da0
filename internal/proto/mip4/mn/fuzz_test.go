package mn_test

import (
	"testing"

	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/wire/mip4"
)

// FuzzPacket: whatever comes to port 434, nothing is registered, moved or
// resynchronised by it, and nothing panics. Who has no key cannot make a good
// reply.
func FuzzPacket(f *testing.F) {
	r := newRig(f, config(f))
	r.up("wlan0", wifiAddress)
	s := r.last().Send
	for _, a := range []answer{
		{lifetime: -1, unsigned: true}, {code: 133, high: 7, unsigned: true}, {code: 69, lifetime: 30, unsigned: true},
		{lifetime: -1, signer: wrong(f, 256, "another key")},
		{code: 66, unsigned: true, home: []mip4.Payload{&mip4.NAI{Value: "x"}}, tail: []mip4.Payload{&unknown{mip4.ExtFAError}}},
	} {
		f.Add(r.reply(s, a).Data)
	}
	f.Add(s.Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		r := newRig(t, config(t))
		r.up("wlan0", wifiAddress)
		r.step(engine.Packet{Link: "wlan0", Src: s.Dst, Dst: s.Src, Data: data})
		if r.count(note.Registered)+r.count(note.Resync)+r.count(note.Home) != 0 || len(r.entry().Tunnels) != 0 {
			t.Errorf("notes %v", r.notes)
		}
		if len(r.requests) > 2 {
			t.Errorf("%d requests", len(r.requests))
		}
	})
}
