package mipapp

import (
	"fmt"
	"net/netip"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/ident"
	"careof/wire/diameter"
	"careof/wire/mip4"
)

// An Identity names a Diameter node.
type Identity struct{ Host, Realm string }

// NAI is the identity as a name in registrations: "hostname@realm", of which the
// host's domain name is made by a dot (RFC 3846 section 4).
func (i Identity) NAI() ident.NAI {
	host := i.Host
	if n := len(host) - len(i.Realm) - 1; n > 0 && host[n] == '.' && host[n+1:] == i.Realm {
		host = host[:n]
	}
	return ident.NAI(host + "@" + i.Realm)
}

// IdentityOf reads a name in a registration; false when it is none.
//
//rfc:4004#3.1
func IdentityOf(name ident.NAI) (Identity, bool) {
	for i := range len(name) {
		if name[i] == '@' && i > 0 && i < len(name)-1 {
			realm := string(name[i+1:])
			return Identity{string(name[:i]) + "." + realm, realm}, true
		}
	}
	return Identity{}, false
}

// Realm is the realm of a node's name: empty when it has none.
func Realm(name ident.NAI) string {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '@' {
			return string(name[i+1:])
		}
	}
	return ""
}

// everything is the address of all ones.
var everything = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func none(a netip.Addr) bool { return !a.IsValid() || a.IsUnspecified() }

// An AMR is an AA-Mobile-Node-Request.
//
//rfc:4004#5.1
type AMR struct {
	Session      string
	Origin       Identity // the agent; when read
	User         ident.NAI
	Realm        string // Destination-Realm
	Server       string // Destination-Host: the home AAA server, empty when any will do
	Request      []byte // the Registration Request up to extension 36 at least
	Proof        aaa.Proof
	HomeAddress  netip.Addr // invalid: none; all ones as the node has said
	HomeAgent    netip.Addr // invalid: one is asked for
	Agent        Identity   // MIP-Home-Agent-Host: the home agent by name
	Features     diameter.FeatureVector
	ForeignSPI   uint32 // the foreign agent's choice for what it receives from home agent and node; 0: no key wanted
	Candidate    string // home agent that the visited network offers
	Foreign      Identity
	MultiSession string
	Lifetime     time.Duration // that is asked for
}

// RequestOf makes the AMR of an agent's question. The session and its origin are
// the caller's.
//
//rfc:4004#5.1
//rfc:4004#7.5
//rfc:4004#7.6
//rfc:4004#7.7
//rfc:4004#3.1-2
//rfc:4004#3.2-1
//rfc:4004#3.2-2
//rfc:4004#3.2-3
//rfc:4004#5.1-1
//rfc:4004#5.1-2
//rfc:4004#5.1-3
//rfc:4004#5.1-4
//rfc:4004#7.5-1
//rfc:4004#7.5-2
//rfc:4004#7.5-4
func RequestOf(q aaa.Authenticate) (AMR, error) {
	m := AMR{User: q.NAI, Realm: Realm(q.NAI), Proof: q.Proof}
	if m.Realm == "" {
		return m, fmt.Errorf("mipapp: %q has no realm: %w", q.NAI, aaa.ErrRejected)
	}
	m.Request = append(append(m.Request, q.Proof.Covered...), q.Proof.Authenticator...)
	parsed, err := mip4.Parse(m.Request)
	if err != nil {
		return m, fmt.Errorf("mipapp: %w", err)
	}
	fixed, err := parsed.Request()
	if err != nil {
		return m, fmt.Errorf("mipapp: %w", err)
	}
	m.Lifetime = time.Duration(fixed.Lifetime) * time.Second
	// "If the mobile node's home address is zero, the foreign or home agent MUST
	// NOT include a MIP-Mobile-Node-Address AVP in the AMR"; "is all ones, ... MUST
	// include a MIP-Mobile-Node-Address AVP, set to all ones."
	if !none(fixed.HomeAddress) {
		m.HomeAddress = fixed.HomeAddress
	}
	if none(fixed.HomeAddress) || fixed.HomeAddress == everything {
		m.Features |= diameter.HomeAddressRequested
	}
	switch {
	case fixed.HomeAgent == everything:
		m.Features |= diameter.HomeAgentRequested | diameter.HomeAddressOnlyHome
	case none(fixed.HomeAgent):
		m.Features |= diameter.HomeAgentRequested
	default:
		m.HomeAgent = fixed.HomeAgent
	}
	// "Whenever the foreign agent sets either the Mobile-Node-Home-Address-Requested
	// flag or the Home-Agent-Requested flag to one, it MUST set the MN-HA-Key-Request
	// flag to one."
	if m.Features&(diameter.HomeAddressRequested|diameter.HomeAgentRequested) != 0 || q.Wishes.MobileHome.Wanted() {
		m.Features |= diameter.MNHAKeyRequest
	}
	if q.Wishes.MobileForeign.Wanted() {
		m.Features |= diameter.MNFAKeyRequest
		m.ForeignSPI = q.Wishes.MobileForeign.AgentSPI
	}
	if q.Wishes.ForeignHome.Wanted() {
		m.Features |= diameter.FAHAKeyRequest
		m.ForeignSPI = q.Wishes.ForeignHome.MobileSPI
	}
	if q.CoLocated {
		m.Features |= diameter.CoLocatedMobileNode
	}
	for _, e := range parsed.Exts {
		v, err := mip4.Decode[mip4.NAICarrying](e)
		if err != nil {
			continue
		}
		id, ok := IdentityOf(ident.NAI(v.NAI))
		switch {
		case ok && v.Kind == mip4.NAIHomeAgent:
			m.Agent = id
		case ok && v.Kind == mip4.NAIHomeAAA:
			m.Server = id.Host
		}
	}
	return m, nil
}

// Message makes the message.
//
//rfc:4004#4-1
//rfc:4004#7-1
//rfc:4004#7.7-1
func (q AMR) Message() *diameter.Message {
	m := diameter.NewRequest(diameter.AAMobileNode, diameter.MobileIPv4,
		diameter.SessionID.Text(q.Session),
		diameter.AuthApplicationID.Uint32(uint32(diameter.MobileIPv4)),
		diameter.UserName.Text(string(q.User)),
		diameter.DestinationRealm.Text(q.Realm),
		diameter.MIPRegRequest.Octets(q.Request),
		diameter.MIPMNAAAAuth.Group(
			diameter.MIPMNAAASPI.Uint32(q.Proof.SPI),
			diameter.MIPAuthInputDataLength.Uint32(uint32(len(q.Proof.Covered))),
			diameter.MIPAuthenticatorLength.Uint32(uint32(len(q.Proof.Authenticator))),
			diameter.MIPAuthenticatorOffset.Uint32(uint32(len(q.Proof.Covered)))),
		diameter.MIPFeatureVector.Uint32(uint32(q.Features)),
		diameter.AuthSessionState.Uint32(diameter.StateMaintained))
	add := adder(m)
	add(q.Server != "", diameter.DestinationHost, q.Server)
	add(q.MultiSession != "", diameter.AcctMultiSessionID, q.MultiSession)
	add(q.HomeAddress.IsValid(), diameter.MIPMobileNodeAddress, q.HomeAddress)
	add(q.HomeAgent.IsValid(), diameter.MIPHomeAgentAddress, q.HomeAgent)
	add(q.Lifetime > 0, diameter.AuthorizationLifetime, q.Lifetime)
	// "This AVP MUST be present in the AMR if the mobile node used the RADIUS-style
	// MN-AAA computation algorithm" (section 7.7).
	add(len(q.Proof.Challenge) > 0, diameter.MIPFAChallenge, q.Proof.Challenge)
	add(q.Candidate != "", diameter.MIPCandidateHomeAgentHost, q.Candidate)
	add(q.Foreign.Host != "", diameter.MIPOriginatingForeignAAA, q.Foreign)
	add(q.Agent.Host != "", diameter.MIPHomeAgentHost, q.Agent)
	add(q.ForeignSPI != 0, diameter.MIPHAToFASPI, q.ForeignSPI)
	return m
}

// adder adds AVPs that may be left out.
func adder(m *diameter.Message) func(bool, diameter.Code, any) {
	return func(there bool, c diameter.Code, value any) {
		if !there {
			return
		}
		var a diameter.AVP
		switch v := value.(type) {
		case string:
			a = c.Text(v)
		case []byte:
			a = c.Octets(v)
		case uint32:
			a = c.Uint32(v)
		case uint64:
			a = c.Uint64(v)
		case netip.Addr:
			a = c.Address(v)
		case time.Duration:
			a = c.Uint32(uint32(v / time.Second))
		case Identity:
			if c == diameter.MIPHomeAgentHost {
				a = c.Group(diameter.DestinationRealm.Text(v.Realm), diameter.DestinationHost.Text(v.Host))
			} else {
				a = c.Group(diameter.OriginRealm.Text(v.Realm), diameter.OriginHost.Text(v.Host))
			}
		default:
			return
		}
		m.List = append(m.List, a)
	}
}

func text(l diameter.List, c diameter.Code) string {
	s, _ := l.Text(c)
	return s
}

func number(l diameter.List, c diameter.Code) uint32 {
	v, _ := l.Uint32(c)
	return v
}

func address(l diameter.List, c diameter.Code) netip.Addr {
	a, _ := l.Address(c)
	return a.Unmap()
}

func seconds(l diameter.List, c diameter.Code) time.Duration {
	return time.Duration(number(l, c)) * time.Second
}

// identity reads one of the two groups that name a node.
func identity(l diameter.List, c diameter.Code) Identity {
	g, _ := l.Group(c)
	if c == diameter.MIPHomeAgentHost {
		return Identity{text(g, diameter.DestinationHost), text(g, diameter.DestinationRealm)}
	}
	return Identity{text(g, diameter.OriginHost), text(g, diameter.OriginRealm)}
}

func origin(l diameter.List) Identity {
	return Identity{text(l, diameter.OriginHost), text(l, diameter.OriginRealm)}
}

func invalid(m *diameter.Message, c diameter.Code, what string) error {
	e := &diameter.Error{Code: diameter.InvalidAVPValue, AVP: c, What: what}
	if a, ok := m.Find(c); ok {
		e.Offset, e.Failed = a.Offset, diameter.List{a}
	}
	return e
}

// ReadAMR reads an AMR. The error is a [*diameter.Error].
//
//rfc:4004#5.1
//rfc:4004#7.6.2
//rfc:4004#7.6.4
//rfc:4004#9.14-1
func ReadAMR(m *diameter.Message) (AMR, error) {
	q := AMR{
		Session: text(m.List, diameter.SessionID), Origin: origin(m.List), User: ident.NAI(text(m.List, diameter.UserName)),
		Realm: text(m.List, diameter.DestinationRealm), Server: text(m.List, diameter.DestinationHost),
		HomeAddress: address(m.List, diameter.MIPMobileNodeAddress), HomeAgent: address(m.List, diameter.MIPHomeAgentAddress),
		Agent:      identity(m.List, diameter.MIPHomeAgentHost),
		Features:   diameter.FeatureVector(number(m.List, diameter.MIPFeatureVector)),
		ForeignSPI: number(m.List, diameter.MIPHAToFASPI), Candidate: text(m.List, diameter.MIPCandidateHomeAgentHost),
		Foreign:      identity(m.List, diameter.MIPOriginatingForeignAAA),
		MultiSession: text(m.List, diameter.AcctMultiSessionID), Lifetime: seconds(m.List, diameter.AuthorizationLifetime),
	}
	q.Request, _ = m.Octets(diameter.MIPRegRequest)
	auth, _ := m.Group(diameter.MIPMNAAAAuth)
	input, length, offset := number(auth, diameter.MIPAuthInputDataLength), number(auth, diameter.MIPAuthenticatorLength), number(auth, diameter.MIPAuthenticatorOffset)
	size := uint32(len(q.Request))
	// What is authenticated is the request from its first octet to the
	// authenticator: an offset of anything else could make a proof of other octets.
	if input != offset || offset > size || length > size-offset || length == 0 {
		return q, invalid(m, diameter.MIPMNAAAAuth, "the authenticator does not lie in the request")
	}
	q.Proof = aaa.Proof{SPI: number(auth, diameter.MIPMNAAASPI), Covered: q.Request[:offset], Authenticator: q.Request[offset : offset+length]}
	q.Proof.Challenge, _ = m.Octets(diameter.MIPFAChallenge)
	parsed, err := mip4.Parse(q.Request)
	if err != nil {
		return q, invalid(m, diameter.MIPRegRequest, err.Error())
	}
	if _, err := parsed.Request(); err != nil {
		return q, invalid(m, diameter.MIPRegRequest, err.Error())
	}
	e, n := parsed.FindSub(mip4.ExtGeneralizedAuth, mip4.AuthMobileAAA)
	if n != 1 {
		return q, invalid(m, diameter.MIPRegRequest, "no Mobile-AAA authentication extension")
	}
	mobile, err := parsed.Authentication(e)
	if err != nil || mobile.SPI != q.Proof.SPI || len(parsed.Covered(e)) != int(offset) || len(mobile.Authenticator) != int(length) {
		return q, invalid(m, diameter.MIPMNAAAAuth, "is not what the Mobile-AAA authentication extension has")
	}
	// "If the MN's NAI is present in the Registration Request" it is whom the
	// authenticator speaks of.
	if nai, n, err := mip4.Get[mip4.NAI](parsed); err != nil || n > 0 && nai.Value != string(q.User) {
		return q, invalid(m, diameter.UserName, "is not the NAI of the request")
	}
	if q.ForeignSPI != 0 && q.ForeignSPI < assoc.MinimumSPI {
		return q, invalid(m, diameter.MIPHAToFASPI, "is a reserved SPI")
	}
	return q, nil
}

// An AMA is an AA-Mobile-Node-Answer.
//
//rfc:4004#5.2
type AMA struct {
	Result       diameter.ResultCode
	Why          string   // Error-Message
	Server       Identity // Origin; when read
	User         ident.NAI
	MultiSession string
	Lifetime     time.Duration // Authorization-Lifetime
	Reply        []byte        // the Registration Reply; none to a home agent
	HomeAddress  netip.Addr
	HomeAgent    netip.Addr
	Features     diameter.FeatureVector
	Filters      []string
	Keys         Keys
}

// Answer makes the message that answers a request.
func (a AMA) Answer(to *diameter.Message) *diameter.Message {
	m := to.Answer(a.Result, diameter.AuthApplicationID.Uint32(uint32(diameter.MobileIPv4)))
	add := adder(m)
	add(a.Why != "", diameter.ErrorMessage, a.Why)
	add(a.User != "", diameter.UserName, string(a.User))
	add(a.MultiSession != "", diameter.AcctMultiSessionID, a.MultiSession)
	add(a.Reply != nil, diameter.MIPRegReply, a.Reply)
	add(a.HomeAgent.IsValid(), diameter.MIPHomeAgentAddress, a.HomeAgent)
	add(a.HomeAddress.IsValid(), diameter.MIPMobileNodeAddress, a.HomeAddress)
	add(a.Lifetime > 0, diameter.AuthorizationLifetime, a.Lifetime)
	add(a.Result.OK(), diameter.AuthSessionState, uint32(diameter.StateMaintained))
	a.Keys.add(m, false)
	return m
}

// ReadAMA reads an AMA.
//
//rfc:4004#5.2-1
func ReadAMA(m *diameter.Message) (AMA, error) {
	result, _ := m.Result()
	a := AMA{
		Result: result, Why: text(m.List, diameter.ErrorMessage), Server: origin(m.List), User: ident.NAI(text(m.List, diameter.UserName)),
		MultiSession: text(m.List, diameter.AcctMultiSessionID), Lifetime: seconds(m.List, diameter.AuthorizationLifetime),
		HomeAddress: address(m.List, diameter.MIPMobileNodeAddress), HomeAgent: address(m.List, diameter.MIPHomeAgentAddress),
		Features: diameter.FeatureVector(number(m.List, diameter.MIPFeatureVector)),
	}
	a.Reply, _ = m.Octets(diameter.MIPRegReply)
	for _, f := range m.All(diameter.MIPFilterRule) {
		rule, _ := f.Text()
		a.Filters = append(a.Filters, rule)
	}
	if !result.OK() {
		return a, nil
	}
	// "An AMA message with the Result-Code AVP set to DIAMETER_SUCCESS MUST include
	// the MIP-Home-Agent-Address AVP, MUST include the MIP-Mobile-Node-Address AVP".
	for _, c := range []diameter.Code{diameter.MIPHomeAgentAddress, diameter.MIPMobileNodeAddress} {
		if !m.Has(c) {
			return a, &diameter.Error{Code: diameter.MissingAVP, AVP: c, What: "is missing in an answer of success"}
		}
	}
	var err error
	a.Keys, err = readKeys(m)
	return a, err
}
