package assoc

import "crypto/md5"

// CHAPSPI is the SPI that stands for CHAP-style authentication of the
// Mobile-AAA extension (RFC 4721 sections 8 and 9). It is no association's:
// "SPI values 0 through 255 are reserved".
const CHAPSPI = 2

// CHAP appends to dst the 16 octets of the CHAP-style authenticator: "High-order
// octet from Challenge || Key || MD5(Preceding Mobile IP data || Type, Subtype
// (if present), Length, SPI) || Least-order 237 octets from Challenge" (RFC 4721
// section 8). covered is the data within the inner MD5. "Additional padding is
// never used": a short challenge goes in whole. challenge has at least one octet.
//
//rfc:4721#8
func (k Key) CHAP(dst, covered, challenge []byte) []byte {
	inner := md5.Sum(covered)
	h := md5.New()
	h.Write(challenge[:1])
	h.Write([]byte(k.octets))
	h.Write(inner[:])
	h.Write(chapTail(challenge))
	return h.Sum(dst)
}

// CHAPChallenge is what a RADIUS server is given as the CHAP-Challenge, so that
// MD5(first octet of the challenge || key || this) is the authenticator.
//
//rfc:4721#8
func CHAPChallenge(covered, challenge []byte) []byte {
	inner := md5.Sum(covered)
	return append(inner[:], chapTail(challenge)...)
}

// chapTail is "the least significant 237 octets of the challenge": with the 16
// of the MD5 they are the 253 that an attribute of RADIUS can carry.
func chapTail(challenge []byte) []byte {
	const most = 237
	return challenge[max(0, len(challenge)-most):]
}
