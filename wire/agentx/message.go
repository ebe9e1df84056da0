package agentx

import (
	"encoding/binary"
	"fmt"
)

// A Type is the kind of a message.
//
//rfc:2741#6.1
type Type uint8

// The messages.
const (
	Open            Type = 1
	Close           Type = 2
	Register        Type = 3
	Unregister      Type = 4
	Get             Type = 5
	GetNext         Type = 6
	GetBulk         Type = 7
	TestSet         Type = 8
	CommitSet       Type = 9
	UndoSet         Type = 10
	CleanupSet      Type = 11
	Notify          Type = 12
	Ping            Type = 13
	IndexAllocate   Type = 14
	IndexDeallocate Type = 15
	AddAgentCaps    Type = 16
	RemoveAgentCaps Type = 17
	Response        Type = 18
)

var typeNames = [...]string{
	Open: "Open", Close: "Close", Register: "Register", Unregister: "Unregister", Get: "Get", GetNext: "GetNext", GetBulk: "GetBulk",
	TestSet: "TestSet", CommitSet: "CommitSet", UndoSet: "UndoSet", CleanupSet: "CleanupSet", Notify: "Notify", Ping: "Ping",
	IndexAllocate: "IndexAllocate", IndexDeallocate: "IndexDeallocate", AddAgentCaps: "AddAgentCaps", RemoveAgentCaps: "RemoveAgentCaps",
	Response: "Response",
}

func (t Type) String() string {
	if int(t) < len(typeNames) && typeNames[t] != "" {
		return typeNames[t]
	}
	return fmt.Sprintf("Type(%d)", uint8(t))
}

// Errors of a Response (section 6.2.18). Those of SNMP are below 256.
const (
	NoError         uint16 = 0
	GenErr          uint16 = 5
	NotWritable     uint16 = 17
	OpenFailed      uint16 = 256
	NotOpen         uint16 = 257
	ParseError      uint16 = 266
	ProcessingError uint16 = 268
)

// Flags of a header.
const (
	flagContext      = 0x08 // NON_DEFAULT_CONTEXT: a context's name comes first
	flagNetworkOrder = 0x10 // NETWORK_BYTE_ORDER
)

// HeaderLen is the length of the header in octets.
const HeaderLen = 20

// MaxPayload is the most that ParseHeader lets a message say it carries, so
// that a broken peer cannot make a reader reserve memory at will.
const MaxPayload = 1 << 20

// A Header begins every message. Payload is the length of the rest in octets.
//
//rfc:2741#6.1
type Header struct {
	Type        Type
	Context     bool // a context other than the default follows
	Session     uint32
	Transaction uint32
	Packet      uint32
	Payload     int

	order binary.ByteOrder
}

// ParseHeader reads the first [HeaderLen] octets of a message.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, fmt.Errorf("agentx: header of %d octets, want %d", len(b), HeaderLen)
	}
	if b[0] != 1 {
		return Header{}, fmt.Errorf("agentx: version %d, want 1", b[0])
	}
	h := Header{Type: Type(b[1]), Context: b[2]&flagContext != 0, order: binary.LittleEndian}
	if b[2]&flagNetworkOrder != 0 {
		h.order = binary.BigEndian
	}
	h.Session, h.Transaction, h.Packet = h.order.Uint32(b[4:]), h.order.Uint32(b[8:]), h.order.Uint32(b[12:])
	n := h.order.Uint32(b[16:])
	// "payload_length … must be a multiple of 4."
	if n%4 != 0 || n > MaxPayload {
		return Header{}, fmt.Errorf("agentx: payload of %d octets", n)
	}
	h.Payload = int(n)
	return h, nil
}

// A Range is what one object of a Get, GetNext or GetBulk asks for: from
// Start, which is included when Include is set, up to but not including End.
// An empty End has no end.
//
//rfc:2741#5.2
type Range struct {
	Start, End OID
	Include    bool
}

// A Request is what the master asks of a sub-agent. Ranges are those of Get,
// GetNext and GetBulk; Variables those of TestSet.
type Request struct {
	Header
	ContextName    string
	Ranges         []Range
	NonRepeaters   int // GetBulk
	MaxRepetitions int // GetBulk
	Reason         uint8
	Reply          Reply
	Variables      []VarBind
}

// A Reply is the body of a Response.
type Reply struct {
	UpTime    uint32 // of the master, in hundredths of a second
	Error     uint16
	Index     uint16 // which variable is at fault, from 1
	Variables []VarBind
}

// ParseRequest reads the payload of a message that a sub-agent may receive.
// Payloads of other types are left unread.
//
//rfc:2741#6.2
func ParseRequest(h Header, payload []byte) (*Request, error) {
	if len(payload) != h.Payload {
		return nil, fmt.Errorf("agentx: %v: %d octets, header says %d", h.Type, len(payload), h.Payload)
	}
	r := reader{b: payload, order: h.order}
	out := &Request{Header: h}
	if h.Context {
		out.ContextName = string(r.octets())
	}
	switch h.Type {
	case Get, GetNext:
		out.Ranges = r.ranges()
	case GetBulk:
		out.NonRepeaters, out.MaxRepetitions = int(r.uint16()), int(r.uint16())
		out.Ranges = r.ranges()
	case TestSet:
		out.Variables = r.variables()
	case Close:
		if p := r.take(4); p != nil {
			out.Reason = p[0]
		}
	case Response:
		out.Reply = Reply{UpTime: r.uint32(), Error: r.uint16(), Index: r.uint16(), Variables: r.variables()}
	}
	if r.failed {
		return nil, fmt.Errorf("agentx: %v: the payload ends too early or is none", h.Type)
	}
	return out, nil
}

// message appends a header and what body appends, and fills in the length.
// We always speak in network byte order.
func message(b []byte, h Header, body func([]byte) []byte) []byte {
	at := len(b)
	b = append(b, 1, byte(h.Type), flagNetworkOrder, 0)
	b = binary.BigEndian.AppendUint32(b, h.Session)
	b = binary.BigEndian.AppendUint32(b, h.Transaction)
	b = binary.BigEndian.AppendUint32(b, h.Packet)
	b = binary.BigEndian.AppendUint32(b, 0)
	if body != nil {
		b = body(b)
	}
	binary.BigEndian.PutUint32(b[at+16:], uint32(len(b)-at-HeaderLen))
	return b
}

// AppendOpen appends an Open: who the sub-agent is. Timeout is in seconds, 0
// for the master's default.
//
//rfc:2741#6.2.1
func AppendOpen(b []byte, h Header, timeout uint8, id OID, description string) []byte {
	h.Type = Open
	return message(b, h, func(b []byte) []byte {
		b = append(b, timeout, 0, 0, 0)
		b = appendOID(b, id, false)
		return appendOctets(b, []byte(description))
	})
}

// Reasons of a Close.
const (
	ReasonOther    uint8 = 1
	ReasonShutdown uint8 = 5
)

// AppendClose appends a Close.
//
//rfc:2741#6.2.2
func AppendClose(b []byte, h Header, reason uint8) []byte {
	h.Type = Close
	return message(b, h, func(b []byte) []byte { return append(b, reason, 0, 0, 0) })
}

// AppendRegister appends a Register of a whole subtree. A smaller priority
// wins; 127 is the default.
//
//rfc:2741#6.2.3
func AppendRegister(b []byte, h Header, timeout, priority uint8, subtree OID) []byte {
	h.Type = Register
	return message(b, h, func(b []byte) []byte {
		return appendOID(append(b, timeout, priority, 0, 0), subtree, false)
	})
}

// AppendNotify appends a Notify: the variables of a trap, snmpTrapOID first.
//
//rfc:2741#6.2.10
func AppendNotify(b []byte, h Header, variables []VarBind) []byte {
	h.Type = Notify
	return message(b, h, func(b []byte) []byte { return appendVariables(b, variables) })
}

// AppendPing appends a Ping.
//
//rfc:2741#6.2.11
func AppendPing(b []byte, h Header) []byte {
	h.Type = Ping
	return message(b, h, nil)
}

// AppendGet appends a Get or GetNext, which a master sends.
//
//rfc:2741#6.2.5
func AppendGet(b []byte, h Header, ranges []Range) []byte {
	return message(b, h, func(b []byte) []byte { return appendRanges(b, ranges) })
}

// AppendGetBulk appends a GetBulk, which a master sends.
//
//rfc:2741#6.2.7
func AppendGetBulk(b []byte, h Header, nonRepeaters, maxRepetitions uint16, ranges []Range) []byte {
	h.Type = GetBulk
	return message(b, h, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint16(b, nonRepeaters)
		b = binary.BigEndian.AppendUint16(b, maxRepetitions)
		return appendRanges(b, ranges)
	})
}

// AppendTestSet appends a TestSet, which a master sends.
//
//rfc:2741#6.2.8
func AppendTestSet(b []byte, h Header, variables []VarBind) []byte {
	h.Type = TestSet
	return message(b, h, func(b []byte) []byte { return appendVariables(b, variables) })
}

// AppendResponse appends a Response to the message with header h.
//
//rfc:2741#6.2.16
func AppendResponse(b []byte, h Header, reply Reply) []byte {
	h.Type = Response
	return message(b, h, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint32(b, reply.UpTime)
		b = binary.BigEndian.AppendUint16(b, reply.Error)
		b = binary.BigEndian.AppendUint16(b, reply.Index)
		return appendVariables(b, reply.Variables)
	})
}

func appendRanges(b []byte, ranges []Range) []byte {
	for _, r := range ranges {
		b = appendOID(b, r.Start, r.Include)
		b = appendOID(b, r.End, false)
	}
	return b
}
