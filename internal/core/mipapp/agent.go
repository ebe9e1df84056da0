package mipapp

import (
	"net/netip"
	"time"

	"careof/internal/core/ident"
	"careof/wire/diameter"
	"careof/wire/mip4"
)

// A HAR is a Home-Agent-MIP-Request.
//
//rfc:4004#5.3
type HAR struct {
	Session     string
	Server      Identity // Origin: the home AAA server; when read
	User        ident.NAI
	Realm       string // Destination-Realm
	Host        string // Destination-Host
	Request     []byte
	Features    diameter.FeatureVector
	Lifetime    time.Duration // Authorization-Lifetime
	HomeAddress netip.Addr    // invalid: the home agent gives one
	HomeAgent   netip.Addr    // as the mobile node has asked
	Agent       Identity      // MIP-Home-Agent-Host
	Candidate   string
	Foreign     Identity // MIP-Originating-Foreign-AAA
	Filters     []string
	Keys        Keys
}

// Message makes the message.
func (q HAR) Message() *diameter.Message {
	m := diameter.NewRequest(diameter.HomeAgentMIP, diameter.MobileIPv4,
		diameter.SessionID.Text(q.Session),
		diameter.AuthApplicationID.Uint32(uint32(diameter.MobileIPv4)),
		diameter.AuthorizationLifetime.Uint32(uint32(q.Lifetime/time.Second)),
		diameter.AuthSessionState.Uint32(diameter.StateMaintained),
		diameter.MIPRegRequest.Octets(q.Request),
		diameter.UserName.Text(string(q.User)),
		diameter.DestinationRealm.Text(q.Realm),
		diameter.MIPFeatureVector.Uint32(uint32(q.Features)))
	add := adder(m)
	add(q.Host != "", diameter.DestinationHost, q.Host)
	q.Keys.add(m, true)
	add(q.Foreign.Host != "", diameter.MIPOriginatingForeignAAA, q.Foreign)
	add(q.Agent.Host != "", diameter.MIPHomeAgentHost, q.Agent)
	add(q.Candidate != "", diameter.MIPCandidateHomeAgentHost, q.Candidate)
	add(q.HomeAddress.IsValid(), diameter.MIPMobileNodeAddress, q.HomeAddress)
	add(q.HomeAgent.IsValid(), diameter.MIPHomeAgentAddress, q.HomeAgent)
	return m
}

// ReadHAR reads a HAR. The error is a [*diameter.Error].
func ReadHAR(m *diameter.Message) (HAR, error) {
	q := HAR{
		Session: text(m.List, diameter.SessionID), Server: origin(m.List), User: ident.NAI(text(m.List, diameter.UserName)),
		Realm: text(m.List, diameter.DestinationRealm), Host: text(m.List, diameter.DestinationHost),
		Features: diameter.FeatureVector(number(m.List, diameter.MIPFeatureVector)),
		Lifetime: seconds(m.List, diameter.AuthorizationLifetime), HomeAddress: address(m.List, diameter.MIPMobileNodeAddress),
		HomeAgent: address(m.List, diameter.MIPHomeAgentAddress), Agent: identity(m.List, diameter.MIPHomeAgentHost),
		Candidate: text(m.List, diameter.MIPCandidateHomeAgentHost), Foreign: identity(m.List, diameter.MIPOriginatingForeignAAA),
	}
	q.Request, _ = m.Octets(diameter.MIPRegRequest)
	for _, f := range m.All(diameter.MIPFilterRule) {
		rule, _ := f.Text()
		q.Filters = append(q.Filters, rule)
	}
	parsed, err := mip4.Parse(q.Request)
	if err != nil {
		return q, invalid(m, diameter.MIPRegRequest, err.Error())
	}
	if _, err := parsed.Request(); err != nil {
		return q, invalid(m, diameter.MIPRegRequest, err.Error())
	}
	q.Keys, err = readKeys(m)
	return q, err
}

// MobileSPIs are the mobile node's choices in a request: of extension 42 for what
// it receives from the home agent, of 40 from the foreign agent; 0 without one.
//
//rfc:4004#8
func MobileSPIs(request []byte) (home, foreign uint32) {
	m, err := mip4.Parse(request)
	if err != nil {
		return 0, 0
	}
	if v, n, err := mip4.Get[mip4.MobileHomeKeyRequest](m); err == nil && n == 1 {
		home = v.SPI
	}
	if v, n, err := mip4.Get[mip4.MobileForeignKeyRequest](m); err == nil && n == 1 {
		foreign = v.SPI
	}
	return home, foreign
}

// An HAA is a Home-Agent-MIP-Answer.
//
//rfc:4004#5.4
type HAA struct {
	Result       diameter.ResultCode
	Why          string
	Agent        Identity // Origin; when read
	User         ident.NAI
	MultiSession string
	Reply        []byte
	HomeAddress  netip.Addr
	HomeAgent    netip.Addr
	HomeSPI      uint32 // MIP-FA-to-HA-SPI: the home agent's choice
	MobileSPI    uint32 // MIP-FA-to-MN-SPI: the mobile node's, of extension 40
}

// Answer makes the message that answers a request.
func (a HAA) Answer(to *diameter.Message) *diameter.Message {
	m := to.Answer(a.Result, diameter.AuthApplicationID.Uint32(uint32(diameter.MobileIPv4)))
	add := adder(m)
	add(a.Why != "", diameter.ErrorMessage, a.Why)
	add(a.MultiSession != "", diameter.AcctMultiSessionID, a.MultiSession)
	add(a.User != "", diameter.UserName, string(a.User))
	add(a.Reply != nil, diameter.MIPRegReply, a.Reply)
	add(a.HomeAgent.IsValid(), diameter.MIPHomeAgentAddress, a.HomeAgent)
	add(a.HomeAddress.IsValid(), diameter.MIPMobileNodeAddress, a.HomeAddress)
	add(a.HomeSPI != 0, diameter.MIPFAToHASPI, a.HomeSPI)
	add(a.MobileSPI != 0, diameter.MIPFAToMNSPI, a.MobileSPI)
	return m
}

// ReadHAA reads an HAA.
//
//rfc:4004#3.2
//rfc:4004#3.2-11
func ReadHAA(m *diameter.Message) (HAA, error) {
	result, _ := m.Result()
	a := HAA{
		Result: result, Why: text(m.List, diameter.ErrorMessage), Agent: origin(m.List), User: ident.NAI(text(m.List, diameter.UserName)),
		MultiSession: text(m.List, diameter.AcctMultiSessionID),
		HomeAddress:  address(m.List, diameter.MIPMobileNodeAddress), HomeAgent: address(m.List, diameter.MIPHomeAgentAddress),
		HomeSPI: number(m.List, diameter.MIPFAToHASPI), MobileSPI: number(m.List, diameter.MIPFAToMNSPI),
	}
	a.Reply, _ = m.Octets(diameter.MIPRegReply)
	if !result.OK() {
		return a, nil
	}
	// "If the Result-Code indicates success, the HAA and AMA MUST include the
	// MIP-Home-Agent-Address and the MIP-Mobile-Node-Address AVPs."
	for _, c := range []diameter.Code{diameter.MIPHomeAgentAddress, diameter.MIPMobileNodeAddress, diameter.MIPRegReply} {
		if !m.Has(c) {
			return a, &diameter.Error{Code: diameter.MissingAVP, AVP: c, What: "is missing in an answer of success"}
		}
	}
	return a, nil
}
