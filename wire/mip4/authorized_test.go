package mip4

import "testing"

// Whoever hands a message on may put extensions behind its authenticator, and
// none before: what is to be believed stands there.
//
//rfc:5944#3.5.1
func TestWhatStandsBehindTheAuthenticatorIsNotAuthorized(t *testing.T) {
	count := func(m *Message) (n int) {
		for _, e := range m.Authorized() {
			if e.Type == ExtNVSE {
				n++
			}
		}
		return n
	}
	mine, theirs := &NVSE{Vendor: 32473, Value: []byte("mine")}, &NVSE{Vendor: 32473, Value: []byte("theirs")}
	q := func() *Draft { return NewRequest(RegistrationRequest{}) }
	for name, c := range map[string]struct {
		d    *Draft
		want int
	}{
		"none":                      {q().Authenticate(ExtMobileHome, home), 0},
		"before it":                 {q().Add(ZoneHome, mine).Authenticate(ExtMobileHome, home), 1},
		"behind it":                 {q().Authenticate(ExtMobileHome, home).Add(ZoneForeign, theirs), 0},
		"on both sides":             {q().Add(ZoneHome, mine).Authenticate(ExtMobileHome, home).Add(ZoneForeign, theirs), 1},
		"behind it, and signed":     {q().Authenticate(ExtMobileHome, home).Add(ZoneForeign, theirs).Authenticate(ExtForeignHome, agents), 0},
		"for AAA to verify":         {q().Add(ZoneHome, mine).Authenticate(ExtGeneralizedAuth, aaa).Add(ZoneForeign, theirs), 1},
		"without any authenticator": {q().Add(ZoneHome, mine), 1},
	} {
		if got := count(seal(t, c.d)); got != c.want {
			t.Errorf("%s: %d are authorized, want %d", name, got, c.want)
		}
	}
}
