package mipapp

import (
	"net/netip"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/wire/diameter"
)

// A Termination is a Session-Termination-Request: an agent says that its session
// is over (RFC 4004 section 4.1.3).
//
//rfc:4004#4.1.3
type Termination struct {
	Session string
	Origin  Identity // when read
	User    ident.NAI
	Realm   string
	Server  string // empty when any will do
	Cause   uint32
}

// Message makes the message.
func (t Termination) Message() *diameter.Message {
	m := diameter.NewRequest(diameter.SessionTermination, diameter.MobileIPv4,
		diameter.SessionID.Text(t.Session),
		diameter.DestinationRealm.Text(t.Realm),
		diameter.AuthApplicationID.Uint32(uint32(diameter.MobileIPv4)),
		diameter.TerminationCause.Uint32(t.Cause),
		diameter.UserName.Text(string(t.User)))
	adder(m)(t.Server != "", diameter.DestinationHost, t.Server)
	return m
}

// ReadTermination reads an STR.
func ReadTermination(m *diameter.Message) Termination {
	return Termination{
		Session: text(m.List, diameter.SessionID), Origin: origin(m.List), User: ident.NAI(text(m.List, diameter.UserName)),
		Realm: text(m.List, diameter.DestinationRealm), Server: text(m.List, diameter.DestinationHost), Cause: number(m.List, diameter.TerminationCause),
	}
}

// causes are Termination-Causes by the beginning of an agent's reason.
var causes = []struct {
	why   string
	cause uint32
}{
	{"deregistered", diameter.Logout},
	{"expired", diameter.AuthExpired},
	{"cleared", diameter.Administrative},
	{"ended by AAA", diameter.Administrative},
	{"failed", diameter.ServiceNotProvided},
	{"revoked", diameter.UserMoved},
}

// CauseOf is the Termination-Cause of an agent's reason.
func CauseOf(why string) uint32 {
	for _, c := range causes {
		if len(why) >= len(c.why) && why[:len(c.why)] == c.why {
			return c.cause
		}
	}
	return diameter.Administrative
}

// An Abort is an Abort-Session-Request: a server ends a session (RFC 4004 section
// 4.1.3).
type Abort struct {
	Session string
	Origin  Identity // when read
	User    ident.NAI
	To      Identity
}

// Message makes the message.
func (a Abort) Message() *diameter.Message {
	return diameter.NewRequest(diameter.AbortSession, diameter.MobileIPv4,
		diameter.SessionID.Text(a.Session),
		diameter.DestinationRealm.Text(a.To.Realm),
		diameter.DestinationHost.Text(a.To.Host),
		diameter.AuthApplicationID.Uint32(uint32(diameter.MobileIPv4)),
		diameter.UserName.Text(string(a.User)))
}

// ReadAbort reads an ASR.
func ReadAbort(m *diameter.Message) Abort {
	return Abort{
		Session: text(m.List, diameter.SessionID), Origin: origin(m.List), User: ident.NAI(text(m.List, diameter.UserName)),
		To: Identity{text(m.List, diameter.DestinationHost), text(m.List, diameter.DestinationRealm)},
	}
}

// A Record is an Accounting-Request.
//
//rfc:4004#10
//rfc:4004#11.2
type Record struct {
	Session      string
	MultiSession string
	Origin       Identity // when read
	User         ident.NAI
	Realm        string
	Server       string
	Moment       aaa.Moment
	Number       uint32
	At           time.Time
	Lasted       time.Duration
	HomeAddress  netip.Addr
	HomeAgent    netip.Addr
	Features     diameter.FeatureVector
	// Used is seen from the user: Received is what he has sent.
	Used forward.Counters
}

var moments = map[aaa.Moment]uint32{aaa.Start: diameter.StartRecord, aaa.Interim: diameter.InterimRecord, aaa.Stop: diameter.StopRecord}

// Message makes the message. "Both the foreign and home agents MUST include the
// Acct-Multi-Session-Id in the accounting messages" (RFC 4004 section 4.1.2).
//
//rfc:4004#4.1.2
//rfc:4004#4-2
//rfc:4004#4.1.2-3
//rfc:4004#10.1-1
//rfc:4004#10.2-1
//rfc:4004#10.3-1
//rfc:4004#10.4-1
//rfc:4004#10.5-1
func (r Record) Message() *diameter.Message {
	m := diameter.NewRequest(diameter.Accounting, diameter.MobileIPv4,
		diameter.SessionID.Text(r.Session),
		diameter.DestinationRealm.Text(r.Realm),
		diameter.AccountingRecordType.Uint32(moments[r.Moment]),
		diameter.AccountingRecordNumber.Uint32(r.Number),
		diameter.AcctApplicationID.Uint32(uint32(diameter.MobileIPv4)),
		diameter.UserName.Text(string(r.User)),
		diameter.AcctMultiSessionID.Text(r.MultiSession),
		diameter.EventTimestamp.Time(r.At),
		diameter.AccountingInputOctets.Uint64(r.Used.ReceivedBytes),
		diameter.AccountingInputPackets.Uint64(r.Used.ReceivedPackets),
		diameter.AccountingOutputOctets.Uint64(r.Used.SentBytes),
		diameter.AccountingOutputPackets.Uint64(r.Used.SentPackets),
		diameter.AcctSessionTime.Uint32(uint32(r.Lasted/time.Second)),
		diameter.MIPFeatureVector.Uint32(uint32(r.Features)))
	add := adder(m)
	add(r.Server != "", diameter.DestinationHost, r.Server)
	add(r.HomeAgent.IsValid(), diameter.MIPHomeAgentAddress, r.HomeAgent)
	add(r.HomeAddress.IsValid(), diameter.MIPMobileNodeAddress, r.HomeAddress)
	return m
}

// ReadRecord reads an ACR.
func ReadRecord(m *diameter.Message) Record {
	r := Record{
		Session: text(m.List, diameter.SessionID), MultiSession: text(m.List, diameter.AcctMultiSessionID), Origin: origin(m.List),
		User: ident.NAI(text(m.List, diameter.UserName)), Realm: text(m.List, diameter.DestinationRealm), Server: text(m.List, diameter.DestinationHost),
		Number: number(m.List, diameter.AccountingRecordNumber), Lasted: seconds(m.List, diameter.AcctSessionTime),
		HomeAddress: address(m.List, diameter.MIPMobileNodeAddress), HomeAgent: address(m.List, diameter.MIPHomeAgentAddress),
		Features: diameter.FeatureVector(number(m.List, diameter.MIPFeatureVector)),
	}
	for moment, v := range moments {
		if v == number(m.List, diameter.AccountingRecordType) {
			r.Moment = moment
		}
	}
	r.At, _ = m.Time(diameter.EventTimestamp)
	r.Used.ReceivedBytes, _ = m.Uint64(diameter.AccountingInputOctets)
	r.Used.ReceivedPackets, _ = m.Uint64(diameter.AccountingInputPackets)
	r.Used.SentBytes, _ = m.Uint64(diameter.AccountingOutputOctets)
	r.Used.SentPackets, _ = m.Uint64(diameter.AccountingOutputPackets)
	return r
}

// Acknowledge answers an ACR with success (RFC 6733 section 9.7.2).
func Acknowledge(to *diameter.Message) *diameter.Message {
	return to.Answer(diameter.Success,
		diameter.AccountingRecordType.Uint32(number(to.List, diameter.AccountingRecordType)),
		diameter.AccountingRecordNumber.Uint32(number(to.List, diameter.AccountingRecordNumber)),
		diameter.AcctApplicationID.Uint32(uint32(diameter.MobileIPv4)))
}
