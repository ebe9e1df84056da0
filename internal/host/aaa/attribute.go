package aaa

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"layeh.com/radius"
)

// Attributes of RADIUS that are used here (RFC 2865, 2866, 2869, 5176), by their
// numbers.
const (
	attrUserName            radius.Type = 1
	attrCHAPPassword        radius.Type = 3
	attrNASIPAddress        radius.Type = 4
	attrServiceType         radius.Type = 6
	attrFramedIPAddress     radius.Type = 8
	attrReplyMessage        radius.Type = 18
	attrClass               radius.Type = 25
	attrVendorSpecific      radius.Type = 26
	attrSessionTimeout      radius.Type = 27
	attrNASIdentifier       radius.Type = 32
	attrAcctStatusType      radius.Type = 40
	attrAcctDelayTime       radius.Type = 41
	attrAcctInputOctets     radius.Type = 42
	attrAcctOutputOctets    radius.Type = 43
	attrAcctSessionID       radius.Type = 44
	attrAcctAuthentic       radius.Type = 45
	attrAcctSessionTime     radius.Type = 46
	attrAcctInputPackets    radius.Type = 47
	attrAcctOutputPackets   radius.Type = 48
	attrAcctTerminateCause  radius.Type = 49
	attrAcctInputGigawords  radius.Type = 52
	attrAcctOutputGigawords radius.Type = 53
	attrEventTimestamp      radius.Type = 55
	attrCHAPChallenge       radius.Type = 60
	attrNASPortType         radius.Type = 61
	attrMessageAuth         radius.Type = 80
	attrAcctInterim         radius.Type = 85
	attrErrorCause          radius.Type = 101
)

func putU32(p *radius.Packet, t radius.Type, v uint32) {
	p.Add(t, binary.BigEndian.AppendUint32(nil, v))
}

func getU32(p *radius.Packet, t radius.Type) (uint32, bool) {
	a, ok := p.Lookup(t)
	if !ok || len(a) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(a), true
}

// mostText is the longest value of an attribute, in octets.
const mostText = 253

// putText adds a text, or nothing when it is empty. What does not fit is cut.
func putText(p *radius.Packet, t radius.Type, s string) {
	if s != "" {
		p.Add(t, radius.Attribute(s[:min(len(s), mostText)]))
	}
}

func putAddr(p *radius.Packet, t radius.Type, a netip.Addr) {
	if a.Is4() {
		four := a.As4()
		p.Add(t, four[:])
	}
}

func getAddr(p *radius.Packet, t radius.Type) (netip.Addr, bool) {
	a, ok := p.Lookup(t)
	if !ok || len(a) != 4 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(a)), true
}

// putVendor adds a vendor's attribute (RFC 2865 section 5.26).
func putVendor(p *radius.Packet, vendor uint32, t byte, value []byte) {
	b := binary.BigEndian.AppendUint32(nil, vendor)
	b = append(b, t, byte(2+len(value)))
	p.Add(attrVendorSpecific, append(b, value...))
}

// vendorValues are the values of a vendor's attribute, in order.
func vendorValues(p *radius.Packet, vendor uint32, t byte) (list [][]byte) {
	for _, a := range p.Attributes {
		if a.Type != attrVendorSpecific || len(a.Attribute) < 4 || binary.BigEndian.Uint32(a.Attribute) != vendor {
			continue
		}
		for b := a.Attribute[4:]; len(b) >= 2 && int(b[1]) >= 2 && int(b[1]) <= len(b); b = b[b[1]:] {
			if b[0] == t {
				list = append(list, b[2:b[1]])
			}
		}
	}
	return list
}

var errSalted = errors.New("aaa: an encrypted attribute cannot be read")

// unsalt decrypts an attribute of an answer: RFC 2868 section 3.5, without a tag.
//
//	Salt 2 | (Length8 Data padding) in blocks of 16, each XOR MD5(secret | block before, at first the request's authenticator and the salt)
func unsalt(value, secret []byte, authenticator [16]byte) ([]byte, error) {
	if len(value) < 18 || (len(value)-2)%16 != 0 || value[0]&0x80 == 0 {
		return nil, errSalted
	}
	before := append(authenticator[:], value[:2]...)
	var clear []byte
	for b := value[2:]; len(b) > 0; b = b[16:] {
		sum := md5.Sum(append(append([]byte(nil), secret...), before...))
		for i := range 16 {
			clear = append(clear, b[i]^sum[i])
		}
		before = b[:16]
	}
	n := int(clear[0])
	if n == 0 || n > len(clear)-1 {
		return nil, errSalted
	}
	return clear[1 : 1+n], nil
}

// sign puts the Message-Authenticator (RFC 3579 section 3.2) into a request as
// its first attribute, and encodes it.
func sign(p *radius.Packet) ([]byte, error) {
	p.Attributes = append(radius.Attributes{{Type: attrMessageAuth, Attribute: make([]byte, md5.Size)}}, p.Attributes...)
	if p.Code != radius.CodeAccessRequest && p.Code != radius.CodeStatusServer {
		p.Authenticator = [16]byte{} // its place holds zeros meanwhile
	}
	b, err := p.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("aaa: %w", err)
	}
	h := hmac.New(md5.New, p.Secret)
	h.Write(b)
	copy(p.Attributes[0].Attribute, h.Sum(nil))
	if b, err = p.Encode(); err != nil {
		return nil, fmt.Errorf("aaa: %w", err)
	}
	return b, nil
}

// A missing Message-Authenticator is reported apart: the server must be told to
// send one.
var (
	errForged   = errors.New("an answer whose authenticator is wrong")
	errUnsigned = errors.New("an answer without Message-Authenticator: tell the server to send one")
)

// authentic checks an answer against its request, both as they were on the wire.
// Access-Accept, -Reject and -Challenge must have a Message-Authenticator:
// without it, an answer can be forged by who sees the request (the collisions of
// MD5 that CVE-2024-3596 uses).
func authentic(answer, request, secret []byte) error {
	if len(answer) < 20 || len(request) < 20 || answer[1] != request[1] || !radius.IsAuthenticResponse(answer, request, secret) {
		return errForged
	}
	at := attributeAt(answer, byte(attrMessageAuth))
	if at < 0 {
		if radius.Code(answer[0]) == radius.CodeAccountingResponse {
			return nil // its authenticator covers it, and nobody can choose its octets
		}
		return errUnsigned
	}
	b := append([]byte(nil), answer...)
	copy(b[4:20], request[4:20])
	clear(b[at : at+md5.Size])
	h := hmac.New(md5.New, secret)
	h.Write(b)
	if !hmac.Equal(h.Sum(nil), answer[at:at+md5.Size]) {
		return errForged
	}
	return nil
}

// attributeAt is where the 16 octets of an attribute begin, -1 when it is not
// there in that length.
func attributeAt(b []byte, t byte) int {
	for at := 20; at+2 <= len(b); at += int(b[at+1]) {
		n := int(b[at+1])
		if n < 2 || at+n > len(b) {
			return -1
		}
		if b[at] == t && n == 2+md5.Size {
			return at + 2
		}
	}
	return -1
}
