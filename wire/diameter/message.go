package diameter

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A Message is one request or answer.
type Message struct {
	Header
	List // the AVPs, in order
}

// NewRequest makes a request; the P bit is set as the command's definition says. "Session-Id … MUST appear immediately following the
// Diameter header" (RFC 6733 section 8.8): it belongs first.
func NewRequest(c Command, a Application, avps ...AVP) *Message {
	m := &Message{Header: Header{Flags: FlagRequest, Command: c, Application: a}, List: avps}
	if g := grammarOf(c); g == nil || g.proxiable {
		m.Flags |= FlagProxiable
	}
	return m
}

// Parse frames one whole message. It judges lengths only; [Message.Check] judges the rest. The error is an [*Error], and with it comes
// what could be framed when at least the header could: enough to answer.
//
//rfc:6733#3
func Parse(b []byte) (*Message, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return nil, err
	}
	m := &Message{Header: h}
	if n, _ := Size(b); n != len(b) {
		return m, &Error{Code: InvalidMessageLength, Offset: 1, What: fmt.Sprintf("message length %d, and there are %d octets", n, len(b))}
	}
	m.List, err = parseList(b, HeaderLen)
	return m, err
}

// Append writes the message behind dst.
func (m *Message) Append(dst []byte) ([]byte, error) {
	start := len(dst)
	dst = append(dst, make([]byte, HeaderLen)...)
	dst, err := appendList(dst, m.List)
	if err != nil {
		return nil, err
	}
	n := len(dst) - start
	if n > MaxMessage {
		return nil, fmt.Errorf("diameter: %s: message of %d octets, more than %d", m.Name(), n, MaxMessage)
	}
	h := dst[start:]
	binary.BigEndian.PutUint32(h[8:], uint32(m.Application))
	binary.BigEndian.PutUint32(h[12:], m.HopByHop)
	binary.BigEndian.PutUint32(h[16:], m.EndToEnd)
	h[0], h[4] = 1, byte(m.Flags)
	putUint24(h[1:], n)
	putUint24(h[5:], int(m.Command))
	return dst, nil
}

// Answer makes the answer to a request, with what every answer repeats: command, application, identifiers, P bit, Session-Id and every
// Proxy-Info. The E bit is set when the result is a protocol error.
//
//rfc:6733#6.2
func (m *Message) Answer(result ResultCode, avps ...AVP) *Message {
	a := &Message{Header: m.Header}
	// "The 'P' bit is set to the same value as the one in the request." T "MUST NOT be set in answer messages" (section 3).
	a.Flags &= FlagProxiable
	if result.Class() == ProtocolError {
		a.Flags |= FlagError
	}
	// "If the Session-Id is present in the request, it MUST be included in the answer."
	if id, ok := m.Find(SessionID); ok {
		a.List = append(a.List, id)
	}
	a.List = append(a.List, ResultCodeAVP.Uint32(uint32(result)))
	a.List = append(a.List, avps...)
	// "Any Proxy-Info AVPs in the request MUST be added to the answer message, in the same order".
	a.List = append(a.List, m.All(ProxyInfo)...)
	return a
}

// Refuse makes the answer that says what err found wrong with a request: Result-Code, Error-Message and Failed-AVP of an [Error], or
// DIAMETER_UNABLE_TO_COMPLY for any other.
//
//rfc:6733#7.2
//rfc:6733#7.5
func (m *Message) Refuse(err error, avps ...AVP) *Message {
	var e *Error
	if !errors.As(err, &e) {
		return m.Answer(UnableToComply, append(avps, ErrorMessage.Text(err.Error()))...)
	}
	avps = append(avps, ErrorMessage.Text(e.Error()))
	if e.Failed != nil {
		avps = append(avps, FailedAVP.Group(e.Failed...))
	}
	a := m.Answer(e.Code, avps...)
	// "In error conditions where it is not possible or efficient to compose application-specific answer grammar, answer messages with
	// the 'E' bit set … MAY also be used for permanent errors" (section 7.1.5).
	if e.Code.Class() == PermanentFailure {
		a.Flags |= FlagError
	}
	return a
}

// Result returns the Result-Code of an answer, or the code of its Experimental-Result; false when it has neither.
func (m *Message) Result() (ResultCode, bool) {
	if v, ok := m.Uint32(ResultCodeAVP); ok {
		return ResultCode(v), true
	}
	if g, ok := m.Group(ExperimentalResult); ok {
		if v, ok := g.Uint32(ExperimentalResultCode); ok {
			return ResultCode(v), true
		}
	}
	return 0, false
}
