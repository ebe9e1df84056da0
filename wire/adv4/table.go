package adv4

import (
	"strconv"
	"strings"
)

// ExtType is the type of an extension in an ICMP Router Discovery message.
type ExtType uint8

const (
	ExtPadding               ExtType = 0   // RFC 5944 section 2.1.3
	ExtMobilityAgent         ExtType = 16  // RFC 5944 section 2.1.1
	ExtPrefixLengths         ExtType = 19  // RFC 5944 section 2.1.2
	ExtChallenge             ExtType = 24  // RFC 4721 section 2
	ExtExperimental          ExtType = 127 // RFC 4064 section 4.2, non-skippable
	ExtNAI                   ExtType = 136 // RFC 3846 section 3
	ExtLinkLayerAddress      ExtType = 140 // RFC 4881 section 9
	ExtExperimentalSkippable ExtType = 255 // RFC 4064 section 4.4
)

// Format is the layout of an extension's header.
type Format uint8

const (
	// FormatPad is one octet, without a length.
	FormatPad Format = iota
	// FormatSimple is Type, Length, Data; the length counts the data (RFC 5944 section 1.9).
	FormatSimple
	// FormatShort is Type, Length, Sub-Type, Data; the length counts the sub-type too (RFC 5944 section 1.11).
	FormatShort
)

// Row is the registry row of one extension.
type Row struct {
	Type   ExtType
	Sub    uint8 // for FormatShort; 0 stands for the whole family
	Name   string
	RFC    string // "RFC 5944 section 2.1.1"
	Format Format
	New    func() Payload // nil for padding, which has no data
}

// rows is the one table of the extensions, in the order of their numbers.
// Types 20 to 22 live in another ICMP message (RFC 4988), 137 to 139 are not
// Mobile IP's (RFC 4065).
var rows = []Row{
	{ExtPadding, 0, "One-byte Padding", "RFC 5944 section 2.1.3", FormatPad, nil},
	{ExtMobilityAgent, 0, "Mobility Agent Advertisement", "RFC 5944 section 2.1.1", FormatSimple, func() Payload { return new(MobilityAgent) }},
	{ExtPrefixLengths, 0, "Prefix-Lengths", "RFC 5944 section 2.1.2", FormatSimple, func() Payload { return new(PrefixLengths) }},
	{ExtChallenge, 0, "Challenge", "RFC 4721 section 2", FormatSimple, func() Payload { return new(Challenge) }},
	{ExtExperimental, 0, "Experimental (non-skippable)", "RFC 4064 section 4.2", FormatSimple, func() Payload { return new(Experimental) }},
	{ExtNAI, SubNAIForeignAgent, "Foreign Agent NAI", "RFC 4857 section 8.2", FormatShort, func() Payload { return new(NAI) }},
	{ExtNAI, 0, "NAI Carrying", "RFC 3846 section 3", FormatShort, func() Payload { return new(NAI) }},
	{ExtLinkLayerAddress, 0, "Generalized Link Layer Address", "RFC 4881 section 9", FormatShort, func() Payload { return new(LinkLayerAddress) }},
	{ExtExperimentalSkippable, 0, "Experimental (skippable)", "RFC 4064 section 4.4", FormatSimple, func() Payload { return &Experimental{Skippable: true} }},
}

// Rows returns the table.
func Rows() []Row { return append([]Row(nil), rows...) }

// lookup finds the row of a type; a sub-type of its own wins over its family.
func lookup(t ExtType, sub uint8) (Row, bool) {
	found, ok := Row{}, false
	for _, r := range rows {
		if r.Type == t && (r.Sub == sub || r.Sub == 0 && !ok) {
			found, ok = r, true
		}
	}
	return found, ok
}

// String returns the registry's name of the type, or ExtType(77).
func (t ExtType) String() string {
	if r, ok := lookup(t, 0); ok {
		return r.Name
	}
	return "ExtType(" + strconv.Itoa(int(t)) + ")"
}

// Skippable reports whether a node that does not know the type skips the
// extension. RFC 5944 section 1.8: types 0 through 127 that are not recognised
// mean that "the message containing that Extension MUST be silently
// discarded", 128 through 255 that "only that Extension is ignored".
func (t ExtType) Skippable() bool { return t >= 128 }

// format of a type; an unknown one is framed by its length alone.
func (t ExtType) format() Format {
	if r, ok := lookup(t, 0); ok {
		return r.Format
	}
	return FormatSimple
}

// Flags of the Mobility Agent Advertisement extension, as the 16 bits behind
// the registration lifetime (RFC 5944 section 2.1.1, which settles that X is
// bit 9 and I bit 10; RFC 4857 section 8.1 draws I as bit 9).
type Flags uint16

const (
	FlagR Flags = 1 << (15 - iota) // registration required
	FlagB                          // busy
	FlagH                          // home agent
	FlagF                          // foreign agent
	FlagM                          // receives minimal encapsulation
	FlagG                          // receives GRE
	Flagr                          // sent as zero (it was RFC 2002's V)
	FlagT                          // reverse tunnelling, RFC 3024 section 3.1
	FlagU                          // UDP tunnelling, RFC 3519 section 3.4
	FlagX                          // registration revocation, RFC 3543 section 3.1
	FlagI                          // regional registration, RFC 4857 section 8.1

	// FlagsReserved are the bits without a name: "Sent as zero; ignored on reception."
	FlagsReserved Flags = 0x001f
)

// flagNames are the letters from bit 0 on, and what they mean.
var flagNames = []struct {
	flag Flags
	name string
	text string
}{
	{FlagR, "R", "registration required"},
	{FlagB, "B", "busy"},
	{FlagH, "H", "home agent"},
	{FlagF, "F", "foreign agent"},
	{FlagM, "M", "minimal encapsulation"},
	{FlagG, "G", "GRE encapsulation"},
	{Flagr, "r", "reserved"},
	{FlagT, "T", "reverse tunnelling"},
	{FlagU, "U", "UDP tunnelling"},
	{FlagX, "X", "registration revocation"},
	{FlagI, "I", "regional registration"},
}

// String returns the letters of the set flags in the order of the bits, and
// reserved ones as a number: "HFT", "F+0x01"; "-" for none.
func (f Flags) String() string {
	var b strings.Builder
	for _, n := range flagNames {
		if f&n.flag != 0 {
			b.WriteString(n.name)
		}
	}
	if r := f & FlagsReserved; r != 0 {
		b.WriteString("+0x" + strconv.FormatUint(uint64(r), 16))
	}
	if b.Len() == 0 {
		return "-"
	}
	return b.String()
}

// Has reports whether all of the bits are set.
func (f Flags) Has(bits Flags) bool { return f&bits == bits }
