package mip4

import (
	"bytes"
	"crypto/hmac"
	"testing"

	"pgregory.net/rapid"
)

// Whatever is added in whatever order of calls: the message comes out in zones, each extension where the registry allows it, every
// authenticator verifies over what precedes it, the head survives a relay octet for octet, and what was added is read again.
//
//rfc:5944#3.6.1.3
//rfc:5944#3.7.2.2
func TestDraftProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := NewRequest(RegistrationRequest{Lifetime: rapid.Uint16().Draw(t, "lifetime"), Identification: rapid.Uint64().Draw(t, "identification")})
		added := map[Zone]int{}
		for range rapid.IntRange(0, 20).Draw(t, "additions") {
			p := rapid.SampledFrom(goldenExts).Draw(t, "payload").p
			n, sub := p.ExtNumber()
			z := Zone(rapid.IntRange(0, int(zoneCount)-1).Draw(t, "zone"))
			row, _ := Lookup(n, sub)
			if n == ExtNewIPv4Address || !row.Zones.Has(z) {
				continue
			}
			d.Add(z, p)
			added[z]++
		}
		signers := map[ExtType]association{}
		for _, et := range rapid.Permutation([]ExtType{ExtMobileHome, ExtGeneralizedAuth, ExtMobileForeign}).Draw(t, "authentication") {
			if rapid.Bool().Draw(t, "authenticate") {
				signers[et] = association{uint32(et) + 256, rapid.String().Draw(t, "key")}
				d.Authenticate(et, signers[et])
			}
		}
		raw, err := d.Seal()
		if err != nil {
			t.Fatal(err)
		}
		m, err := Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := len(m.Exts), added[0]+added[1]+added[2]+added[3]+len(signers); got != want {
			t.Fatalf("%d extensions, want %d", got, want)
		}
		borders := [zoneCount]int{added[0], added[0] + added[1], 0, 0}
		for _, et := range []ExtType{ExtMobileHome, ExtGeneralizedAuth} {
			if _, ok := signers[et]; ok {
				borders[1]++
			}
		}
		borders[2] = borders[1] + added[2]
		borders[3] = len(m.Exts)
		zone := Zone(0)
		for i, e := range m.Exts {
			for i >= borders[zone] {
				zone++
			}
			row, ok := Lookup(e.Type, e.Sub)
			if !ok || !row.Zones.Has(zone) {
				t.Fatalf("%v at place %d is in zone %v", e.Type, i, zone)
			}
		}
		for et, a := range signers {
			e, n := m.Find(et)
			got, err := m.Authentication(e)
			if n != 1 || err != nil || got.SPI != a.spi || !hmac.Equal(got.Authenticator, a.Sign(nil, raw[:e.End-16])) {
				t.Fatalf("%v: %d of them, %+v, %v", et, n, got, err)
			}
		}
		relayed, err := RelayDraft(m.Head()).Add(ZoneForeign, &GREKey{Key: 1}).Authenticate(ExtForeignHome, agents).Seal()
		if err != nil || !bytes.HasPrefix(relayed, m.Head()) {
			t.Fatalf("relayed %x: %v", relayed, err)
		}
		again, err := Parse(relayed)
		if err != nil || !bytes.Equal(again.Head(), m.Head()) {
			t.Fatalf("the head of the relayed message is another: %v", err)
		}
	})
}
