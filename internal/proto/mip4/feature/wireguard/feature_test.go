package wireguard

import (
	"testing"

	"careof/internal/core/forward"
	"careof/wire/mip4"
)

// signature stands for an authenticator that somebody has checked.
type signature struct{}

func (signature) SPI() uint32 { return 256 }
func (signature) Size() int   { return 16 }
func (signature) Sign(dst, covered []byte) []byte {
	return append(dst, make([]byte, 16)...)
}

// A key behind the authenticator is of whoever is on the way, who would read the
// tunnel with it: it is not there.
func TestAKeyThatNobodyHasSignedIsNone(t *testing.T) {
	own, other := forward.KeyOf([32]byte{1}), forward.KeyOf([32]byte{2})
	for _, c := range []struct {
		name            string
		signed, planted bool
		want            forward.PublicKey
	}{
		{"before it alone", true, false, own},
		{"behind it alone", false, true, forward.PublicKey{}},
		{"on both sides", true, true, own},
	} {
		d := mip4.NewRequest(mip4.RegistrationRequest{})
		if c.signed {
			d.Add(mip4.ZoneHome, extension(own))
		}
		d.Authenticate(mip4.ExtMobileHome, signature{})
		if c.planted {
			d.Add(mip4.ZoneForeign, extension(other))
		}
		raw, err := d.Seal()
		if err != nil {
			t.Fatal(err)
		}
		var m mip4.Message
		if err := m.Parse(raw); err != nil {
			t.Fatal(err)
		}
		if got, there := find(&m); got != c.want || there != c.signed {
			t.Errorf("%s: %v, %v", c.name, got, there)
		}
	}
}
