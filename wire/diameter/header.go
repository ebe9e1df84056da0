package diameter

import (
	"encoding/binary"
	"fmt"
)

// Ports that servers listen on (RFC 6733 section 2.1).
const (
	Port    = 3868 // TCP
	PortTLS = 5658 // TLS over TCP
)

// HeaderLen is the length of a message's header in octets.
const HeaderLen = 20

// MaxMessage is the most octets that [Size] lets a message say it has. The format allows 16 MiB, and no message of base protocol and
// Mobile IPv4 comes near 64 KiB; a broken peer shall not make a reader reserve memory at will.
const MaxMessage = 64 << 10

// Flags are the command flags (RFC 6733 section 3).
type Flags uint8

// The flags.
const (
	FlagRequest       Flags = 0x80 // R: a request; otherwise an answer
	FlagProxiable     Flags = 0x40 // P: may be proxied, relayed or redirected
	FlagError         Flags = 0x20 // E: an answer with a protocol error
	FlagRetransmitted Flags = 0x10 // T: a request that may have been received before

	flagsReserved Flags = 0x0f
)

// String prints the letters that the RFC draws, a dash for a clear flag: "RP--".
func (f Flags) String() string {
	s := []byte("----")
	for i, letter := range []byte("RPET") {
		if f&(0x80>>i) != 0 {
			s[i] = letter
		}
	}
	if f&flagsReserved != 0 {
		return fmt.Sprintf("%s+0x%x", s, uint8(f&flagsReserved))
	}
	return string(s)
}

// Command is the code of a request and its answer, 24 bits.
type Command uint32

// Commands of the base protocol (RFC 6733 section 3.1) and of RFC 4004 section 5.
const (
	CapabilitiesExchange Command = 257 // CER, CEA
	ReAuth               Command = 258 // RAR, RAA
	AAMobileNode         Command = 260 // AMR, AMA
	HomeAgentMIP         Command = 262 // HAR, HAA
	Accounting           Command = 271 // ACR, ACA
	AbortSession         Command = 274 // ASR, ASA
	SessionTermination   Command = 275 // STR, STA
	DeviceWatchdog       Command = 280 // DWR, DWA
	DisconnectPeer       Command = 282 // DPR, DPA
)

// String returns the RFC's name without Request and Answer.
func (c Command) String() string {
	if g := grammarOf(c); g != nil {
		return g.name
	}
	return fmt.Sprintf("Command(%d)", uint32(c))
}

// Known reports whether the command's definition is here.
func (c Command) Known() bool { return grammarOf(c) != nil }

// Abbreviation returns the RFC's three letters, of the request or the answer: "AMR".
func (c Command) Abbreviation(request bool) string {
	g := grammarOf(c)
	if g == nil {
		return fmt.Sprintf("Command(%d)", uint32(c))
	}
	if request {
		return g.short + "R"
	}
	return g.short + "A"
}

// Application is an Application-Id (RFC 6733 section 2.4).
type Application uint32

// The applications that this package has a dictionary of, and the one that says "everything".
const (
	Base           Application = 0
	MobileIPv4     Application = 2 // RFC 4004
	BaseAccounting Application = 3
	Relay          Application = 0xffffffff // RFC 6733 section 2.4: relay and redirect agents advertise it
)

var applicationNames = map[Application]string{Base: "Diameter common message", MobileIPv4: "Mobile IPv4", BaseAccounting: "Diameter base accounting", Relay: "relay"}

func (a Application) String() string {
	if s, ok := applicationNames[a]; ok {
		return s
	}
	return fmt.Sprintf("Application(%d)", uint32(a))
}

// A Header begins every message.
//
//rfc:6733#3
type Header struct {
	Flags       Flags
	Command     Command
	Application Application
	// HopByHop matches an answer with its request on one connection; every sender of a request sets its own.
	HopByHop uint32
	// EndToEnd and Origin-Host together tell a duplicate. No agent changes it.
	EndToEnd uint32
}

// IsRequest reports whether the R bit is set.
func (h *Header) IsRequest() bool { return h.Flags&FlagRequest != 0 }

// Name returns the abbreviation of the RFC: "CER", "AMA".
func (h *Header) Name() string { return h.Command.Abbreviation(h.IsRequest()) }

// Size reads the first four octets of a message and says how many octets it has: what a reader of a stream must know. The error is an
// [Error]; a stream cannot be read on after one.
func Size(b []byte) (int, error) {
	if len(b) < 4 {
		return 0, &Error{Code: InvalidMessageLength, What: fmt.Sprintf("%d octets, and the length is in the first four", len(b))}
	}
	// "This Version field MUST be set to 1".
	if b[0] != 1 {
		return 0, &Error{Code: UnsupportedVersion, What: fmt.Sprintf("version %d, want 1", b[0])}
	}
	n := int(uint24(b[1:]))
	switch {
	// "the Message Length field is always a multiple of 4."
	case n < HeaderLen, n%4 != 0:
		return 0, &Error{Code: InvalidMessageLength, Offset: 1, What: fmt.Sprintf("message length %d", n)}
	case n > MaxMessage:
		return 0, &Error{Code: InvalidMessageLength, Offset: 1, What: fmt.Sprintf("message length %d, more than %d", n, MaxMessage)}
	}
	return n, nil
}

// ParseHeader reads the header of a message that [Size] has measured.
func ParseHeader(b []byte) (Header, error) {
	if _, err := Size(b); err != nil {
		return Header{}, err
	}
	if len(b) < HeaderLen {
		return Header{}, &Error{Code: InvalidMessageLength, What: fmt.Sprintf("header of %d octets, want %d", len(b), HeaderLen)}
	}
	return Header{
		Flags:       Flags(b[4]),
		Command:     Command(uint24(b[5:])),
		Application: Application(binary.BigEndian.Uint32(b[8:])),
		HopByHop:    binary.BigEndian.Uint32(b[12:]),
		EndToEnd:    binary.BigEndian.Uint32(b[16:]),
	}, nil
}

func uint24(b []byte) uint32 { return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]) }

func putUint24(b []byte, v int) { b[0], b[1], b[2] = byte(v>>16), byte(v>>8), byte(v) }
