package adv4

import "encoding/binary"

// Draft is an Agent Advertisement to be sent.
type Draft struct {
	Code     uint8  // CodeRouter or CodeNoCommonTraffic
	Lifetime uint16 // seconds; nominally three times the interval (RFC 5944 section 2.1)
	Routers  []Router
	Agent    MobilityAgent
	// Prefixes adds the Prefix-Lengths extension, one length for each router
	// address. nil adds none; an empty slice an empty extension.
	Prefixes []uint8
	// More are further extensions, in order.
	More []Payload
}

// Append appends the ICMP message with its checksum. It refuses what an agent
// must not send: a Code other than 0 and 16, contradictory flags
// (MobilityAgent.Check), prefix lengths that do not match the addresses. It
// adds the one-byte padding where the length would be odd (RFC 5944 section
// 2.1.3: then it "MAY be included in order to make the ICMP length even", and
// "SHOULD be the last Extension").
//
//rfc:5944#2.1
//rfc:5944#2.1.3
//rfc:5944#2.3.1
func (d *Draft) Append(dst []byte) ([]byte, error) {
	b, err := d.message()
	if err != nil {
		return dst, err
	}
	return append(dst, seal(b, 0)...), nil
}

// message is the ICMP message without its checksum.
func (d *Draft) message() (b []byte, err error) {
	if d.Code != CodeRouter && d.Code != CodeNoCommonTraffic {
		return b, &ParseError{Off: 1, Err: ErrCode}
	}
	if len(d.Routers) > 0xff {
		return b, &ParseError{Off: 4, Err: ErrTooLong}
	}
	if err := d.Agent.Check(); err != nil {
		return b, &ParseError{Off: headerLen + len(d.Routers)*entryLen, Ext: ExtMobilityAgent, In: true, Err: err}
	}
	b = append(b, byte(TypeAdvertisement), d.Code, 0, 0, byte(len(d.Routers)), entryLen/4)
	b = binary.BigEndian.AppendUint16(b, d.Lifetime)
	for _, r := range d.Routers {
		if !r.Addr.Is4() {
			return b, &ParseError{Off: len(b), Err: ErrAddress}
		}
		a := r.Addr.As4()
		b = append(b, a[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(r.Preference))
	}
	b, err = AppendExt(b, &d.Agent)
	if err != nil {
		return b, err
	}
	if d.Prefixes != nil {
		// "Length N, where N is the value (possibly zero) of the Num Addrs field".
		if len(d.Prefixes) != len(d.Routers) {
			return b, &ParseError{Off: len(b), Ext: ExtPrefixLengths, In: true, Err: ErrLength}
		}
		if b, err = AppendExt(b, &PrefixLengths{Lengths: d.Prefixes}); err != nil {
			return b, err
		}
	}
	for _, p := range d.More {
		if b, err = AppendExt(b, p); err != nil {
			return b, err
		}
	}
	if len(b)%2 != 0 {
		b = append(b, byte(ExtPadding))
	}
	return b, nil
}

// AppendSolicitation appends an Agent Solicitation, which "is identical to an
// ICMP Router Solicitation" (RFC 5944 section 2.2): type 10, code 0, checksum,
// four reserved octets of zero.
//
//rfc:5944#2.2
//rfc:1256#3
func AppendSolicitation(dst []byte) []byte {
	start := len(dst)
	return seal(append(dst, byte(TypeSolicitation), 0, 0, 0, 0, 0, 0, 0), start)
}

// seal writes the ICMP checksum.
func seal(b []byte, start int) []byte {
	binary.BigEndian.PutUint16(b[start+2:], checksum(b[start:]))
	return b
}

// NextSequence is the sequence number after seq. RFC 5944 section 2.3.2: "Each
// subsequent advertisement MUST use the sequence number one greater, with the
// exception that the sequence number 0xffff MUST be followed by sequence
// number 256." The first one after booting is 0.
//
//rfc:5944#2.3.2
func NextSequence(seq uint16) uint16 {
	if seq == 0xffff {
		return 256
	}
	return seq + 1
}

// Rebooted reports, from two successive sequence numbers of the same agent,
// that it has lost its state. RFC 5944 section 2.4.4: when the second is less
// than the first and in the range 0 to 255, the mobile node SHOULD register
// again; less but 256 or more is a rollover.
//
//rfc:5944#2.4.4
func Rebooted(first, second uint16) bool { return second < first && second < 256 }
