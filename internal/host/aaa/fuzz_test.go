package aaa

import (
	"bytes"
	"context"
	"testing"
	"time"

	"layeh.com/radius"

	"careof/internal/core/aaa"
)

// FuzzAnswer reads what a server that knows the secret may answer: attributes of
// any kind, cut anywhere, in both dialects. It gives a grant or an error.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte{26, 12, 0, 0, 0x15, 0x9f, 57, 6, 0, 0, 1, 0})
	f.Add([]byte{26, 11, 0, 0, 0x60, 0xb5, 10, 5, 0x80, 1, 2})
	f.Add(append([]byte{26, 28, 0, 0, 0x7e, 0xd9, 6, 22}, make([]byte, 20)...))
	f.Add([]byte{26, 42, 0, 0, 0x7e, 0xd9, 7, 36, 0x80, 0})
	f.Fuzz(func(t *testing.T, attributes []byte) {
		if len(attributes) > 4000 {
			return
		}
		n := 20 + len(attributes)
		p, err := radius.Parse(append([]byte{2, 1, byte(n >> 8), byte(n), 19: 0}, attributes...), []byte("secret"))
		if err != nil {
			return
		}
		r := NewRADIUS(RADIUSConfig{})
		for d := range dialects {
			s := &Server{Secret: []byte("secret"), Dialect: Dialect(d)}
			g, err := r.grant(p, &radius.Packet{}, s, 256, aaa.KeyWishes{MobileHome: aaa.KeyWish{MobileSPI: 300}, MobileForeign: aaa.KeyWish{MobileSPI: 301}})
			if err != nil {
				continue
			}
			for _, a := range g.Associations {
				if a.Key().Len() == 0 {
					t.Errorf("an association without a key: %v", a)
				}
			}
			for _, k := range []*aaa.SessionKey{g.Keys.MobileHome, g.Keys.MobileForeign} {
				if k != nil && (len(k.Nonce) < 16 || k.Association.Key().Len() != 20 || k.Lifetime <= 0) {
					t.Errorf("a key %+v", k)
				}
			}
		}
	})
}

// FuzzOrder reads what anybody may send to where servers give orders, and what
// comes out of a connection: without the secret there is no answer.
func FuzzOrder(f *testing.F) {
	f.Add([]byte{40, 1, 0, 20, 19: 0})
	f.Add([]byte{43, 1, 0, 38, 19: 0, 20: 80, 21: 18, 37: 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		o := &Orders{now: time.Now, answered: make(map[string]given), carry: func(context.Context, any) (int, error) {
			t.Error("carried out")
			return 1, nil
		}}
		o.Reconfigure(RADIUSConfig{})
		if answer := o.obey(t.Context(), b, []byte("a secret that nobody guesses"), "192.0.2.1", 1); answer != nil {
			t.Errorf("answered %x", answer)
		}
		for from := bytes.NewReader(b); ; {
			p, err := readPacket(from)
			if err != nil {
				break
			}
			if len(p) < 20 || len(p) > radius.MaxPacketLength {
				t.Errorf("a packet of %d octets", len(p))
			}
			_ = authentic(p, p, []byte("secret"))
		}
	})
}
