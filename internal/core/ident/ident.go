// Package ident names nodes: by home address, by NAI, by SPI.
package ident

import (
	"fmt"
	"net/netip"
	"strings"
)

// A NAI is a network access identifier, user@realm (RFC 2794, RFC 4282).
type NAI string

// MaxNAI is the longest NAI that fits the extension (RFC 2794 section 2), in octets.
const MaxNAI = 255

// ParseNAI checks that s has the shape of a NAI: not empty, at most 255
// octets, printable ASCII or UTF-8 without spaces and controls, at most one "@"
// with something on both sides.
func ParseNAI(s string) (NAI, error) {
	switch {
	case s == "":
		return "", fmt.Errorf("ident: NAI is empty")
	case len(s) > MaxNAI:
		return "", fmt.Errorf("ident: NAI has %d octets, more than %d", len(s), MaxNAI)
	case strings.Count(s, "@") > 1:
		return "", fmt.Errorf("ident: NAI %q has more than one @", s)
	case strings.HasSuffix(s, "@"):
		return "", fmt.Errorf("ident: NAI %q has no realm", s)
	}
	for _, r := range s {
		if r <= ' ' || r == 0x7f || r == 0xfffd {
			return "", fmt.Errorf("ident: NAI %q contains %U", s, r)
		}
	}
	return NAI(s), nil
}

// A Node is who a mobile node is to its home agent. At least one of the two
// is set.
type Node struct {
	HomeAddress netip.Addr // invalid when the node asks for one
	NAI         NAI
}

// String is the NAI when there is one, else the home address.
func (n Node) String() string {
	if n.NAI != "" {
		return string(n.NAI)
	}
	return n.HomeAddress.String()
}

// Append appends what String returns.
func (n Node) Append(b []byte) []byte {
	if n.NAI != "" {
		return append(b, n.NAI...)
	}
	return n.HomeAddress.AppendTo(b)
}

// Shard maps the node to one of n shards. It depends on the identity alone,
// so that every message of a node reaches the same machine.
func (n Node) Shard(shards int) int {
	if shards <= 1 {
		return 0
	}
	var space [MaxNAI]byte
	return shardOf(n.Append(space[:0]), shards)
}

// ShardOf is [Node.Shard] of the node with this name, as [Node.String] has it.
func ShardOf[T string | []byte](name T, shards int) int {
	if shards <= 1 {
		return 0
	}
	return shardOf(name, shards)
}

func shardOf[T string | []byte](name T, shards int) int {
	// FNV-1a: stable over restarts, which a keyed hash would not be.
	const prime = 1099511628211
	h := uint64(14695981039346656037)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * prime
	}
	return int(h % uint64(shards))
}

// ParseAddress reads an IPv4 address in dotted decimal without an allocation, which
// [netip.ParseAddr] needs for what it would say of another text: there may be a
// million of them. It reads nothing that netip.ParseAddr does not.
func ParseAddress[T string | []byte](text T) (netip.Addr, bool) {
	var out [4]byte
	part, digits, n := 0, 0, 0
	for i := range len(text) {
		switch c := text[i]; {
		case c >= '0' && c <= '9' && (digits == 0 || digits < 3 && n > 0):
			n, digits = 10*n+int(c-'0'), digits+1
			if n > 255 {
				return netip.Addr{}, false
			}
		case c == '.' && digits > 0 && part < 3:
			out[part] = byte(n)
			part, digits, n = part+1, 0, 0
		default:
			return netip.Addr{}, false
		}
	}
	out[3] = byte(n)
	return netip.AddrFrom4(out), part == 3 && digits > 0
}
