package mip4_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"net/netip"

	"careof/wire/mip4"
)

// association is a security association: an SPI and a key.
type association struct {
	spi uint32
	key []byte
}

func (a association) SPI() uint32 { return a.spi }
func (a association) Size() int   { return sha256.Size }
func (a association) Sign(dst, covered []byte) []byte {
	mac := hmac.New(sha256.New, a.key)
	mac.Write(covered)
	return mac.Sum(dst)
}

// A mobile node's registration request is built, and read at the home agent.
func Example() {
	key := association{spi: 256, key: []byte("0123456789abcdef0123456789abcdef")}
	datagram, err := mip4.NewRequest(mip4.RegistrationRequest{
		Flags: mip4.FlagD | mip4.FlagT, Lifetime: 600,
		HomeAgent: netip.MustParseAddr("198.51.100.1"), CareOfAddress: netip.MustParseAddr("192.168.8.100"),
	}).
		Add(mip4.ZoneHome, &mip4.NAI{Value: "van7@fleet.example"}).
		Add(mip4.ZoneHome, &mip4.UDPTunnelRequest{}).
		Authenticate(mip4.ExtMobileHome, key).
		Seal()
	if err != nil {
		fmt.Println(err)
		return
	}

	m, err := mip4.Parse(datagram)
	if err != nil {
		fmt.Println(err)
		return
	}
	request, _ := m.Request()
	nai, _, _ := mip4.Get[mip4.NAI](m)
	e, _ := m.LastAuthorizing()
	a, _ := m.Authentication(e)
	fmt.Println(m.Type, request.Flags, request.CareOfAddress, nai.Value)
	fmt.Println(e.Type, a.SPI, hmac.Equal(a.Authenticator, key.Sign(nil, m.Covered(e))))
	// Output:
	// Registration Request D T 192.168.8.100 van7@fleet.example
	// Mobile-Home Authentication 256 true
}
