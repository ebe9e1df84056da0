package adv4

import (
	"encoding/binary"
	"net/netip"
)

// Payload is the typed content of one extension.
type Payload interface {
	// ExtNumber is the type and, where the format has one, the sub-type.
	ExtNumber() (ExtType, uint8)
	// AppendBody appends the data after type, length and sub-type.
	AppendBody(b []byte) ([]byte, error)
	// ParseBody reads the data after type, length and sub-type. Slices in the payload alias b.
	ParseBody(b []byte) error
}

// numbered is a payload that serves several types or sub-types.
type numbered interface{ setNumber(t ExtType, sub uint8) }

var (
	_ Payload  = (*MobilityAgent)(nil)
	_ Payload  = (*PrefixLengths)(nil)
	_ Payload  = (*Challenge)(nil)
	_ Payload  = (*Experimental)(nil)
	_ Payload  = (*NAI)(nil)
	_ Payload  = (*LinkLayerAddress)(nil)
	_ numbered = (*Experimental)(nil)
	_ numbered = (*NAI)(nil)
	_ numbered = (*LinkLayerAddress)(nil)
)

// Decode reads one extension as T; of another type it is ErrType.
func Decode[T any, P interface {
	*T
	Payload
}](e Ext) (v T, err error) {
	p := P(&v)
	if !serves(p, e) {
		err = ErrType
	} else {
		err = p.ParseBody(e.Body)
	}
	if err != nil {
		var zero T
		return zero, &ParseError{Off: e.Off, Ext: e.Type, In: true, Err: err}
	}
	return v, nil
}

// Get reads the first extension of m that T serves and says how many there
// are. With none it is the zero T, 0 and no error.
func Get[T any, P interface {
	*T
	Payload
}](m *Message) (v T, n int, err error) {
	for _, e := range m.Exts {
		var probe T
		if !serves(P(&probe), e) {
			continue
		}
		if n++; n == 1 {
			v, err = Decode[T, P](e)
		}
	}
	return v, n, err
}

func serves(p Payload, e Ext) bool {
	if n, ok := p.(numbered); ok {
		n.setNumber(e.Type, e.Sub)
	}
	t, _ := p.ExtNumber()
	return t == e.Type
}

// AppendExt appends p as a whole extension, header included.
func AppendExt(b []byte, p Payload) ([]byte, error) {
	t, sub := p.ExtNumber()
	start := len(b)
	b = append(b, byte(t), 0)
	if t.format() == FormatShort {
		b = append(b, sub)
	}
	b, err := p.AppendBody(b)
	if err != nil {
		return b[:start], &ParseError{Off: start, Ext: t, In: true, Err: err}
	}
	n := len(b) - start - 2
	if n > 0xff {
		return b[:start], &ParseError{Off: start, Ext: t, In: true, Err: ErrTooLong}
	}
	b[start+1] = byte(n)
	return b, nil
}

// MobilityAgent is the Mobility Agent Advertisement Extension, type 16:
//
//	Sequence16 | RegistrationLifetime16 | Flags16 | N x CareOfAddress32
//
// RFC 5944 section 2.1.1. Its Length is 6 + 4N.
type MobilityAgent struct {
	Sequence        uint16       // count of advertisements since the agent was initialised
	Lifetime        uint16       // longest registration lifetime that is accepted, seconds; LifetimeInfinite
	Flags           Flags        // with the reserved bits as received
	CareOfAddresses []netip.Addr // of the foreign agent
}

// ExtNumber is 16.
func (*MobilityAgent) ExtNumber() (ExtType, uint8) { return ExtMobilityAgent, 0 }

// AppendBody writes the extension, reserved bits as they are; Append of an
// Agent Advertisement refuses those.
func (p *MobilityAgent) AppendBody(b []byte) ([]byte, error) {
	b = binary.BigEndian.AppendUint16(b, p.Sequence)
	b = binary.BigEndian.AppendUint16(b, p.Lifetime)
	b = binary.BigEndian.AppendUint16(b, uint16(p.Flags))
	for _, a := range p.CareOfAddresses {
		if !a.Is4() {
			return b, ErrAddress
		}
		v := a.As4()
		b = append(b, v[:]...)
	}
	return b, nil
}

// ParseBody refuses a length other than 6 + 4N. It keeps no other rule: what
// an agent must not send, a mobile node may still read.
//
//rfc:5944#2.1.1
func (p *MobilityAgent) ParseBody(b []byte) error {
	if len(b) < 6 || (len(b)-6)%4 != 0 {
		return ErrLength
	}
	*p = MobilityAgent{
		Sequence: binary.BigEndian.Uint16(b),
		Lifetime: binary.BigEndian.Uint16(b[2:]),
		Flags:    Flags(binary.BigEndian.Uint16(b[4:])),
	}
	for b = b[6:]; len(b) > 0; b = b[4:] {
		p.CareOfAddresses = append(p.CareOfAddresses, netip.AddrFrom4([4]byte(b[:4])))
	}
	return nil
}

// Check is what RFC 5944 section 2.1.1 forbids to send: F without a care-of
// address, B or R without F, neither F nor H, r or reserved bits.
//
//rfc:5944#2.1.1
func (p *MobilityAgent) Check() error {
	switch f := p.Flags; {
	case f&(Flagr|FlagsReserved) != 0,
		f.Has(FlagF) && len(p.CareOfAddresses) == 0,
		!f.Has(FlagF) && f&(FlagB|FlagR) != 0,
		f&(FlagF|FlagH) == 0:
		return ErrFlags
	}
	return nil
}

// PrefixLengths is the Prefix-Lengths Extension, type 19: one octet for each
// advertised router address, in the same order. RFC 5944 section 2.1.2.
type PrefixLengths struct {
	Lengths []uint8 // bits, 0 to 32
}

// ExtNumber is 19.
func (*PrefixLengths) ExtNumber() (ExtType, uint8) { return ExtPrefixLengths, 0 }

// AppendBody refuses a length above 32.
func (p *PrefixLengths) AppendBody(b []byte) ([]byte, error) {
	for _, l := range p.Lengths {
		if l > 32 {
			return b, ErrLength
		}
	}
	return append(b, p.Lengths...), nil
}

// ParseBody refuses a length above 32.
//
//rfc:5944#2.1.2
func (p *PrefixLengths) ParseBody(b []byte) error {
	for _, l := range b {
		if l > 32 {
			return ErrLength
		}
	}
	p.Lengths = b
	return nil
}

// Challenge is the Agent Advertisement Challenge Extension, type 24: the
// challenge, which SHOULD have at least 4 octets. RFC 4721 section 2.
type Challenge struct {
	Value []byte
}

// ExtNumber is 24.
func (*Challenge) ExtNumber() (ExtType, uint8) { return ExtChallenge, 0 }

// AppendBody appends the challenge.
func (p *Challenge) AppendBody(b []byte) ([]byte, error) { return append(b, p.Value...), nil }

// ParseBody takes any length: four octets are a SHOULD of the sender.
func (p *Challenge) ParseBody(b []byte) error {
	p.Value = b
	return nil
}

// Experimental is the experimental extension of router discovery, type 127
// (RFC 4064 section 4.2) or 255 when Skippable (section 4.4): opaque octets.
type Experimental struct {
	Skippable bool
	Data      []byte
}

// ExtNumber is 127 or 255.
func (p *Experimental) ExtNumber() (ExtType, uint8) {
	if p.Skippable {
		return ExtExperimentalSkippable, 0
	}
	return ExtExperimental, 0
}

func (p *Experimental) setNumber(t ExtType, _ uint8) { p.Skippable = t == ExtExperimentalSkippable }

// AppendBody appends the data.
func (p *Experimental) AppendBody(b []byte) ([]byte, error) { return append(b, p.Data...), nil }

// ParseBody takes any data.
func (p *Experimental) ParseBody(b []byte) error {
	p.Data = b
	return nil
}

// SubNAIForeignAgent is the sub-type of the Foreign Agent NAI, RFC 4857 section 8.2.
const SubNAIForeignAgent = 3

// NAI is the Generalized NAI Extension, type 136, short format. Advertisements
// carry sub-type 3, the foreign agent's NAI.
type NAI struct {
	Sub   uint8
	Value string // UTF-8, not terminated
}

// ExtNumber is 136 and the sub-type.
func (p *NAI) ExtNumber() (ExtType, uint8) { return ExtNAI, p.Sub }

func (p *NAI) setNumber(_ ExtType, sub uint8) { p.Sub = sub }

// AppendBody appends the NAI.
func (p *NAI) AppendBody(b []byte) ([]byte, error) { return append(b, p.Value...), nil }

// ParseBody takes any text.
func (p *NAI) ParseBody(b []byte) error {
	p.Value = string(b)
	return nil
}

// LinkLayerAddress is the Generalized Link Layer and IPv4 Address Extension,
// type 140, short format, RFC 4881 section 9. Sub-types: 1 3GPP2 IMSI, 2 3GPP
// IMSI, 3 Ethernet, 4 EUI-64, 5 solicited IPv4 address, 6 access point
// identifier, 7 foreign agent IPv4 address.
type LinkLayerAddress struct {
	Sub  uint8
	Data []byte
}

// ExtNumber is 140 and the sub-type.
func (p *LinkLayerAddress) ExtNumber() (ExtType, uint8) { return ExtLinkLayerAddress, p.Sub }

func (p *LinkLayerAddress) setNumber(_ ExtType, sub uint8) { p.Sub = sub }

// llaLengths are the fixed lengths of the sub-types that have one.
var llaLengths = map[uint8]int{3: 6, 4: 8, 5: 4, 7: 4}

// AppendBody refuses an address of the wrong length.
func (p *LinkLayerAddress) AppendBody(b []byte) ([]byte, error) {
	if n, ok := llaLengths[p.Sub]; ok && n != len(p.Data) {
		return b, ErrLength
	}
	return append(b, p.Data...), nil
}

// ParseBody refuses an address of the wrong length.
func (p *LinkLayerAddress) ParseBody(b []byte) error {
	if n, ok := llaLengths[p.Sub]; ok && n != len(b) {
		return ErrLength
	}
	p.Data = b
	return nil
}
