package mip4

import "encoding/binary"

// Authentication is the content of the authentication extensions 32, 33, 34 and 36.
//
//	32, 33, 34:  Type8 Length8=4+n SPI32 Authenticator n             RFC 5944 section 3.5.2 to 3.5.4
//	36:          Type8=36 Sub8 Length16=4+n SPI32 Authenticator n    RFC 4721 section 5, n >= 16
type Authentication struct {
	SPI           uint32
	Authenticator []byte // aliases the datagram
}

// isAuthentication tells the extensions with an SPI and an authenticator.
func isAuthentication(t ExtType) bool {
	return t == ExtMobileHome || t == ExtMobileForeign || t == ExtForeignHome || t == ExtGeneralizedAuth
}

// Authentication reads an authentication extension. Other types are ErrType; an extension without any authenticator octet is
// ErrLength, since it would authenticate nothing.
//
//rfc:4721#5-1
func (m *Message) Authentication(e Ext) (Authentication, error) {
	least := 5
	switch {
	case !isAuthentication(e.Type):
		return Authentication{}, &ParseError{Off: e.Off, Ext: e.Type, In: true, Err: ErrType}
	case e.Type == ExtGeneralizedAuth:
		least = 20 // "4 plus the number of octets in the Authenticator; MUST be at least 20" (RFC 4721 section 5)
	}
	if len(e.Body) < least {
		return Authentication{}, &ParseError{Off: e.Off, Ext: e.Type, In: true, Err: ErrLength}
	}
	return Authentication{SPI: binary.BigEndian.Uint32(e.Body), Authenticator: e.Body[4:]}, nil
}

// Covered returns exactly the octets that the authenticator at e protects: "the UDP payload (that is, the Registration Request or
// Registration Reply data), all prior Extensions in their entirety, and the Type, Length, and SPI of this Extension". It aliases
// Raw. For what is no authentication extension of this message it is nil.
//
//rfc:5944#3.5.1
func (m *Message) Covered(e Ext) []byte {
	if !isAuthentication(e.Type) || len(e.Body) < 4 || e.End > len(m.Raw) {
		return nil
	}
	end := e.End - len(e.Body) + 4
	return m.Raw[:end:end]
}

// AuthorizationEnabling reports whether e is "an authentication that makes a (registration) message acceptable to the ultimate
// recipient" (RFC 5944 section 1.6): 32 and 36/1, and subtypes of 36 that are not assigned; in regional registration 36/3 (RFC 4857 section 11), in fast handover 36/4
// (RFC 4988 section 8), whose recipients are the gateway and the previous access router.
//
//rfc:5944#1.6
func (m *Message) AuthorizationEnabling(e Ext) bool {
	switch e.Type {
	case ExtMobileHome:
		return true
	case ExtGeneralizedAuth:
		switch m.Type {
		case TypeRegionalRequest, TypeRegionalReply:
			return e.Sub == AuthMobileGFA || e.Sub == AuthMobileAAA
		case TypeFastBindingUpdate, TypeFastBindingAck:
			return e.Sub == AuthMobilePAR
		}
		// A subtype that nobody has assigned yet may be one too: an agent on the way passes it on, or it "would not work in the
		// specified model" (issue 21 of RFC 3344). Who is to be convinced by it claims it, or discards the message.
		return e.Sub == AuthMobileAAA || rowOf(e.Type, e.Sub) == nil
	}
	return false
}

// LastAuthorizing returns the last authorization-enabling extension.
func (m *Message) LastAuthorizing() (Ext, bool) {
	for i := len(m.Exts) - 1; i >= 0; i-- {
		if m.AuthorizationEnabling(m.Exts[i]) {
			return m.Exts[i], true
		}
	}
	return Ext{}, false
}

// Authorized returns the extensions that stand before the last authorization-enabling one, whose authenticator covers them; what
// stands behind it is anybody's. Without an authorization-enabling extension it is all of them.
func (m *Message) Authorized() []Ext {
	for i := len(m.Exts) - 1; i >= 0; i-- {
		if m.AuthorizationEnabling(m.Exts[i]) {
			return m.Exts[:i:i]
		}
	}
	return m.Exts
}

// Head returns the message up to and including its last authorization-enabling extension. "The foreign agent MUST NOT modify any of the fields beginning with the fixed portion of the Registration Request
// up through and including the Mobile-Home Authentication Extension or other authentication extension supplied by the mobile node
// as an authorization-enabling extension" (RFC 5944 section
// 3.7.2.2). It aliases Raw.
//
// Without any authorization-enabling extension there is no such border. Then the head ends before the first extension that can only
// be meant for the agent on the way (33, 34, and what the registry allows in the foreign zones alone, as 130 and 48), so that a
// teaching network without authentication still relays the mobile node's extensions and strips its own.
//
//rfc:5944#3.7.2.2
//rfc:5944#3.7.3.2
func (m *Message) Head() []byte {
	end := len(m.Raw)
	if e, ok := m.LastAuthorizing(); ok {
		end = e.End
	} else {
		for _, e := range m.Exts {
			if r := rowOf(e.Type, e.Sub); r != nil && r.Zones&(zHome|zAuth) == 0 {
				end = e.Off
				break
			}
		}
	}
	return m.Raw[:end:end]
}

// Tail returns the extensions that follow Head: what is meant for the agent on the way and stripped by it.
func (m *Message) Tail() []Ext {
	end := len(m.Head())
	for i, e := range m.Exts {
		if e.Off >= end {
			return m.Exts[i:]
		}
	}
	return nil
}
