package mipapp

import (
	"time"

	"careof/internal/core/assoc"
	"careof/wire/diameter"
	"careof/wire/mip4"
)

// Keys are the session keys of a mobile node as far as a message has them: "three
// session keys and two nonces" (RFC 4004 section 3.4). Home agents get K1, K3 and
// both nonces, foreign agents K2 and K3.
//
//rfc:4004#9
type Keys struct {
	Lifetime      time.Duration // [assoc.Key] and nonces hold so long; 0: without an end
	MobileHome    *Key          // K1
	MobileForeign *Key          // K2
	ForeignHome   *Key          // K3
}

// A Key is one of them. Each SPI is the choice of who receives under it.
type Key struct {
	Key    assoc.Key   // empty for who gets the nonce alone
	Nonce  []byte      // for the mobile node
	Replay assoc.Style // of K1
	// MobileSPI stands in what the mobile node receives: of K3, the foreign agent.
	MobileSPI uint32
	// AgentSPI stands in what the agent receives: of K3, the home agent.
	AgentSPI uint32
}

// Algorithm is what every key is used in: "The following values are currently
// defined: 2 HMAC-SHA-1" (RFC 4004 section 9.8).
//
//rfc:4004#9.8
const Algorithm = assoc.HMACSHA1

// KeyAlgorithm is [Algorithm] in registrations.
const KeyAlgorithm = mip4.KeyHMACSHA1

// add adds the keys to an answer to an agent, or to a request to a home agent.
//
//rfc:4004#8.3
//rfc:4004#8.4
//rfc:4004#8.5
//rfc:4004#9-1
//rfc:4004#9-2
func (k *Keys) add(m *diameter.Message, toHomeAgent bool) {
	any := false
	group := func(c diameter.Code, avps ...diameter.AVP) {
		any = true
		m.List = append(m.List, c.Group(avps...))
	}
	algorithm := diameter.MIPAlgorithmType.Uint32(diameter.AlgorithmHMACSHA1)
	if one := k.MobileHome; one != nil {
		replay := diameter.MIPReplayMode.Uint32(diameter.ReplayTimestamps)
		if one.Replay == assoc.Nonces {
			replay = diameter.MIPReplayMode.Uint32(diameter.ReplayNonces)
		}
		group(diameter.MIPMNToHAMSA, algorithm, replay, diameter.MIPNonce.Octets(one.Nonce))
		group(diameter.MIPHAToMNMSA, algorithm, replay, diameter.MIPSessionKey.Octets(one.Key.Octets()))
	}
	if one := k.MobileForeign; one != nil {
		if toHomeAgent {
			group(diameter.MIPMNToFAMSA, diameter.MIPHAToFASPI.Uint32(one.AgentSPI), algorithm, diameter.MIPNonce.Octets(one.Nonce))
		} else {
			group(diameter.MIPFAToMNMSA, diameter.MIPFAToMNSPI.Uint32(one.MobileSPI), algorithm, diameter.MIPSessionKey.Octets(one.Key.Octets()))
		}
	}
	if one := k.ForeignHome; one != nil {
		key := diameter.MIPSessionKey.Octets(one.Key.Octets())
		if toHomeAgent {
			group(diameter.MIPHAToFAMSA, diameter.MIPHAToFASPI.Uint32(one.MobileSPI), algorithm, key)
		} else {
			group(diameter.MIPFAToHAMSA, diameter.MIPFAToHASPI.Uint32(one.AgentSPI), algorithm, key)
		}
	}
	if any {
		m.List = append(m.List, diameter.MIPMSALifetime.Uint32(uint32(k.Lifetime/time.Second)))
	}
}

// readKeys reads the keys of a message.
//
//rfc:4004#9
//rfc:4004#9.9
//rfc:4004#9.10-1
func readKeys(m *diameter.Message) (Keys, error) {
	k := Keys{Lifetime: seconds(m.List, diameter.MIPMSALifetime)}
	for _, one := range []struct {
		code          diameter.Code
		key           **Key
		mobile, agent diameter.Code // whose SPI is there; 0: none
	}{
		{diameter.MIPMNToHAMSA, &k.MobileHome, 0, 0},
		{diameter.MIPHAToMNMSA, &k.MobileHome, 0, 0},
		{diameter.MIPMNToFAMSA, &k.MobileForeign, 0, diameter.MIPHAToFASPI},
		{diameter.MIPFAToMNMSA, &k.MobileForeign, diameter.MIPFAToMNSPI, 0},
		{diameter.MIPHAToFAMSA, &k.ForeignHome, diameter.MIPHAToFASPI, 0},
		{diameter.MIPFAToHAMSA, &k.ForeignHome, 0, diameter.MIPFAToHASPI},
	} {
		g, there := m.Group(one.code)
		if !there {
			continue
		}
		if *one.key == nil {
			*one.key = &Key{Replay: assoc.Timestamps}
		}
		got := *one.key
		bad := func(what string) (Keys, error) {
			e := invalid(m, one.code, what).(*diameter.Error)
			e.Failed = nil // it holds a key
			return Keys{}, e
		}
		if number(g, diameter.MIPAlgorithmType) != diameter.AlgorithmHMACSHA1 {
			return bad("has another algorithm than HMAC-SHA-1")
		}
		if key, there := g.Octets(diameter.MIPSessionKey); there {
			if len(key) == 0 {
				return bad("has an empty key")
			}
			got.Key = assoc.NewKey(key)
		}
		if nonce, there := g.Octets(diameter.MIPNonce); there {
			if len(nonce) < 16 {
				return bad("has a nonce of less than 128 bits") // RFC 3957 section 5
			}
			got.Nonce = nonce
		}
		if mode, there := g.Uint32(diameter.MIPReplayMode); there {
			switch mode {
			case diameter.ReplayTimestamps:
			case diameter.ReplayNonces:
				got.Replay = assoc.Nonces
			default:
				// "None" has no value in the extension for the mobile node.
				return bad("has no replay protection that registrations know")
			}
		}
		for _, spi := range []struct {
			code diameter.Code
			at   *uint32
		}{{one.mobile, &got.MobileSPI}, {one.agent, &got.AgentSPI}} {
			if spi.code == 0 {
				continue
			}
			if *spi.at = number(g, spi.code); *spi.at < assoc.MinimumSPI {
				return bad("has a reserved SPI")
			}
		}
	}
	return k, nil
}
