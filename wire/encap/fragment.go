package encap

import "encoding/binary"

// Fragment cuts an IPv4 packet into fragments of at most mtu octets (RFC 791
// section 3.2). A packet that fits is returned as it is, alone. One that has
// DF and does not fit gives ErrTooBig: the caller answers with
// DestinationUnreachable code 4 (ICMPError). An mtu below 68 gives ErrLength:
// RFC 791, "Every internet module must be able to forward a datagram of 68
// octets without further fragmentation."
//
// RFC 3519 section 4.8 wants it used before encapsulation: "if the mobile node
// or foreign agent for any reason needs to send fragmented packets, the
// fragmentation MUST be done prior to the encapsulation."
//
//rfc:791#3.2
//rfc:3519#4.8
//rfc:2003#5.1
func Fragment(packet []byte, mtu int) ([][]byte, error) {
	ip, err := ParseIPv4(packet)
	if err != nil {
		return nil, err
	}
	packet = packet[:ip.TotalLen]
	if ip.TotalLen <= mtu {
		return [][]byte{packet}, nil
	}
	if mtu < 68 {
		return nil, ErrLength
	}
	if ip.DF {
		return nil, ErrTooBig
	}
	head := packet[:ip.HeaderLen]
	later := copiedOptions(head)
	payload := packet[ip.HeaderLen:]
	var out [][]byte
	for pos := 0; pos < len(payload); {
		n := min((mtu-len(head))&^7, len(payload)-pos)
		if n < len(payload)-pos || ip.MF {
			// A fragment that another one follows carries a multiple of eight
			// octets; a piece of a middle fragment is one already.
			n &^= 7
			if n == 0 {
				return nil, ErrLength
			}
		} else if rest := len(payload) - pos; rest <= mtu-len(head) {
			n = rest
		}
		f := make([]byte, 0, len(head)+n)
		f = append(append(f, head...), payload[pos:pos+n]...)
		ff := uint16((ip.FragOffset + pos) / 8)
		if ip.MF || pos+n < len(payload) {
			ff |= flagMF
		}
		binary.BigEndian.PutUint16(f[2:], uint16(len(f)))
		binary.BigEndian.PutUint16(f[6:], ff)
		f[10], f[11] = 0, 0
		binary.BigEndian.PutUint16(f[10:], Checksum(f[:len(head)]))
		out = append(out, f)
		pos += n
		head = later
	}
	return out, nil
}

// copiedOptions is the header of the second and later fragments: only the
// options whose copied flag is set (RFC 791 section 3.1), padded to a multiple
// of four octets.
func copiedOptions(head []byte) []byte {
	out := append([]byte(nil), head[:ipv4HeaderLen]...)
	for o := ipv4HeaderLen; o < len(head); {
		const (
			endOfList   = 0
			noOperation = 1
			copied      = 0x80
		)
		if head[o] == endOfList {
			break
		}
		if head[o] == noOperation {
			o++
			continue
		}
		if o+1 >= len(head) || head[o+1] < 2 || o+int(head[o+1]) > len(head) {
			break // a malformed rest is not worth carrying
		}
		if head[o]&copied != 0 {
			out = append(out, head[o:o+int(head[o+1])]...)
		}
		o += int(head[o+1])
	}
	for len(out)%4 != 0 {
		out = append(out, 0)
	}
	out[0] = 4<<4 | uint8(len(out)/4)
	return out
}
