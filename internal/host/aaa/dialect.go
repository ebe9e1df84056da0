package aaa

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"layeh.com/radius"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
)

// A Dialect is whose attributes a server speaks: the IETF has given none for
// Mobile IPv4 (RFC 5030).
type Dialect uint8

// Dialects.
const (
	ThreeGPP2 Dialect = iota // vendor 5535
	WiMAX                    // vendor 24757
)

var dialectNames = [...]string{ThreeGPP2: "3gpp2", WiMAX: "wimax"}

func (d Dialect) String() string {
	if int(d) >= len(dialectNames) {
		return fmt.Sprintf("Dialect(%d)", uint8(d))
	}
	return dialectNames[d]
}

// Vendors.
const (
	vendor3GPP2  = 5535
	vendorWiMAX  = 24757
	vendorCareof = 32473
)

// attributes are a dialect's, by their numbers; 0: it has none.
type attributes struct {
	vendor       uint32
	continued    bool // an octet of flags stands before each value
	homeAgent    byte // that the node asks for
	foreignAgent byte
	spi          byte // under which the request was signed
	homeAgents   []byte
	keys         []keyAttributes
	digits       bool // keys may be written in hexadecimal: the dictionaries have them for texts
}

// keyAttributes are an MN-HA key, encrypted (RFC 2868 section 3.5), and its SPI.
type keyAttributes struct{ spi, key byte }

var dialects = [...]attributes{
	ThreeGPP2: {
		vendor:       vendor3GPP2,
		homeAgent:    7,                         // 3GPP2-Home-Agent-IP-Address
		foreignAgent: 79,                        // 3GPP2-Foreign-Agent-Address
		spi:          57,                        // 3GPP2-MN-HA-SPI
		homeAgents:   []byte{7},                 //
		keys:         []keyAttributes{{57, 58}}, // 3GPP2-MN-HA-Shared-Key
		digits:       true,
	},
	WiMAX: {
		vendor: vendorWiMAX, continued: true,
		homeAgent:  18,            // WiMAX-RRQ-HA-IP
		spi:        20,            // WiMAX-RRQ-MN-HA-SPI
		homeAgents: []byte{6, 64}, // WiMAX-hHA-IP-MIP4, WiMAX-vHA-IP-MIP4
		keys: []keyAttributes{
			{20, 19}, // WiMAX-RRQ-MN-HA-Key: for the home agent that was asked for
			{11, 10}, // WiMAX-MN-hHA-MIP4-Key
			{71, 66}, // WiMAX-vHA-MIP4-Key
		},
	},
}

// Careof's own attributes, which every dialect has beside it. Keys are encrypted
// as RFC 2868 section 3.5 has it.
const (
	vsaAlgorithm      = 1  // Careof-MN-HA-Algorithm: a name, as in the configuration
	vsaReplay         = 2  // Careof-MN-HA-Replay: likewise
	vsaPrefix         = 3  // Careof-Mobile-Network: a prefix
	vsaHomeWish       = 4  // Careof-MN-HA-Key-SPI: the node wants a key with its home agent, and receives under this SPI
	vsaForeignWish    = 5  // Careof-MN-FA-Key-SPI: likewise with the foreign agent
	vsaHomeNonce      = 6  // Careof-MN-HA-Nonce
	vsaHomeSession    = 7  // Careof-MN-HA-Session-Key
	vsaForeignNonce   = 8  // Careof-MN-FA-Nonce
	vsaForeignSession = 9  // Careof-MN-FA-Session-Key
	vsaKeyLifetime    = 10 // Careof-Key-Lifetime: seconds
)

// put adds an attribute of the dialect, where it has one.
func (a *attributes) put(p *radius.Packet, t byte, value []byte) {
	if t == 0 {
		return
	}
	if a.continued {
		value = append([]byte{0}, value...)
	}
	putVendor(p, a.vendor, t, value)
}

func (a *attributes) putAddr(p *radius.Packet, t byte, addr netip.Addr) {
	if addr.Is4() {
		four := addr.As4()
		a.put(p, t, four[:])
	}
}

func (a *attributes) putU32(p *radius.Packet, t byte, v uint32) {
	a.put(p, t, binary.BigEndian.AppendUint32(nil, v))
}

// values are the values of one of the dialect's attributes, in order.
//
//	WiMAX: Type 1 | Length 1 | Continuation 1 (0x80: the next one of the type goes on) | Value
func (a *attributes) values(p *radius.Packet, t byte) (list [][]byte) {
	raw := vendorValues(p, a.vendor, t)
	if !a.continued {
		return raw
	}
	var whole []byte
	for _, v := range raw {
		if len(v) == 0 {
			return list
		}
		whole = append(whole, v[1:]...)
		if v[0]&0x80 == 0 {
			list, whole = append(list, whole), nil
		}
	}
	return list
}

// homeAgentOf is the home agent that an answer names; invalid: none.
func (a *attributes) homeAgentOf(p *radius.Packet) netip.Addr {
	for _, t := range a.homeAgents {
		for _, v := range a.values(p, t) {
			if len(v) != 4 {
				continue
			}
			if addr := netip.AddrFrom4([4]byte(v)); !addr.IsUnspecified() && addr.As4()[0] < 224 {
				return addr
			}
		}
	}
	return netip.Addr{}
}

// associations are the MN-HA keys of an answer. A key without an SPI has the one
// that was asked about.
func (a *attributes) associations(p *radius.Packet, spi uint32, algorithm assoc.Algorithm, replay assoc.Style, open func([]byte) ([]byte, error)) ([]*assoc.Association, error) {
	var list []*assoc.Association
	seen := make(map[uint32]bool)
	for _, k := range a.keys {
		keys := a.values(p, k.key)
		if len(keys) == 0 { // one SPI, one key
			continue
		}
		under := spi
		if v := a.values(p, k.spi); len(v) > 0 && len(v[0]) == 4 {
			under = binary.BigEndian.Uint32(v[0])
		}
		if seen[under] {
			continue
		}
		seen[under] = true
		octets, err := open(keys[0])
		if err != nil {
			return nil, fmt.Errorf("the MN-HA key: %w", err)
		}
		key := assoc.NewKey(octets)
		if a.digits {
			key = keyOf(octets)
		}
		clear(octets)
		one, err := assoc.New(under, algorithm, key, replay)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

// wish asks for the keys that a node wants (RFC 3957).
func wish(p *radius.Packet, w aaa.KeyWishes) {
	own := attributes{vendor: vendorCareof}
	if w.MobileHome.Wanted() {
		own.putU32(p, vsaHomeWish, w.MobileHome.MobileSPI)
	}
	if w.MobileForeign.Wanted() {
		own.putU32(p, vsaForeignWish, w.MobileForeign.MobileSPI)
	}
}

var errKeyMaterial = errors.New("a nonce of less than 128 bits, or a key that is not HMAC-SHA1's")

// sessionKeys are the keys that a server has made: a nonce for the node, and what
// HMAC-SHA1 makes of it under the node's secret (RFC 3957 section 5). What was not
// wanted is not read.
//
//rfc:3957#5
func sessionKeys(p *radius.Packet, w aaa.KeyWishes, replay assoc.Style, lifetime time.Duration, open func([]byte) ([]byte, error)) (keys aaa.SessionKeys, err error) {
	if v := vendorValues(p, vendorCareof, vsaKeyLifetime); len(v) > 0 && len(v[0]) == 4 {
		lifetime = max(time.Duration(binary.BigEndian.Uint32(v[0]))*time.Second, time.Minute)
	}
	for _, one := range []struct {
		wish       aaa.KeyWish
		nonce, key byte
		into       **aaa.SessionKey
	}{
		{w.MobileHome, vsaHomeNonce, vsaHomeSession, &keys.MobileHome},
		{w.MobileForeign, vsaForeignNonce, vsaForeignSession, &keys.MobileForeign},
	} {
		nonces, sealed := vendorValues(p, vendorCareof, one.nonce), vendorValues(p, vendorCareof, one.key)
		if !one.wish.Wanted() || len(nonces) == 0 || len(sealed) == 0 {
			continue
		}
		octets, err := open(sealed[0])
		if err != nil {
			return aaa.SessionKeys{}, fmt.Errorf("a key of a nonce: %w", err)
		}
		if len(nonces[0]) < 16 || len(octets) != 20 {
			return aaa.SessionKeys{}, errKeyMaterial
		}
		in := one.wish.AgentSPI
		if in == 0 {
			in = one.wish.MobileSPI
		}
		a, err := assoc.NewPair(in, one.wish.MobileSPI, assoc.HMACSHA1, assoc.NewKey(octets), replay)
		clear(octets)
		if err != nil {
			return aaa.SessionKeys{}, err
		}
		*one.into = &aaa.SessionKey{Association: a, Lifetime: lifetime, AAASPI: assoc.CHAPSPI, Nonce: append([]byte(nil), nonces[0]...)}
	}
	return keys, nil
}
