package diameter

import (
	"fmt"
	"slices"
)

// A Rule says how often an AVP may be in a message or a group.
type Rule struct {
	Code Code
	Min  int
	Max  int // 0: no limit
}

func one(c Code) Rule      { return Rule{c, 1, 1} }
func some(c Code) Rule     { return Rule{c, 1, 0} }
func optional(c Code) Rule { return Rule{c, 0, 1} }

// A grammar is a command's definition in the RFC: what its request and its answer must have, and may have but once. Every definition
// ends with "* [ AVP ]", and so what is not listed may be there any number of times.
type grammar struct {
	command   Command
	name      string
	short     string
	rfc       string
	proxiable bool
	request   []Rule
	answer    []Rule
}

// rules joins lists of rules.
func rules(lists ...[]Rule) []Rule { return slices.Concat(lists...) }

func ones(codes ...Code) []Rule {
	var r []Rule
	for _, c := range codes {
		r = append(r, one(c))
	}
	return r
}

func optionals(codes ...Code) []Rule {
	var r []Rule
	for _, c := range codes {
		r = append(r, optional(c))
	}
	return r
}

var (
	origin     = ones(OriginHost, OriginRealm)
	answered   = rules(ones(ResultCodeAVP), origin, optionals(ErrorMessage))
	session    = ones(SessionID)
	capability = rules([]Rule{some(HostIPAddress)}, ones(VendorID, ProductName), optionals(OriginStateID, FirmwareRevision))
	toServer   = rules(session, origin, ones(DestinationRealm))
	toClient   = rules(toServer, ones(DestinationHost, AuthApplicationID), optionals(UserName, OriginStateID))
	ofSession  = rules(session, answered, optionals(UserName, OriginStateID, ErrorReportingHost))
	acctCommon = rules(ones(AccountingRecordType, AccountingRecordNumber), optionals(AcctApplicationID, VendorSpecificApplicationID, UserName,
		AccountingSubSessionID, AcctSessionID, AcctMultiSessionID, AcctInterimInterval, AccountingRealtimeRequired, OriginStateID, EventTimestamp))
)

// grammars are the commands of RFC 6733 and RFC 4004.
var grammars = []grammar{
	{command: CapabilitiesExchange, name: "Capabilities-Exchange", short: "CE", rfc: "RFC 6733 section 5.3",
		request: rules(origin, capability), answer: rules(answered, capability)},
	{command: ReAuth, name: "Re-Auth", short: "RA", rfc: "RFC 6733 section 8.3", proxiable: true,
		request: rules(toClient, ones(ReAuthRequestType)), answer: ofSession},
	{command: AAMobileNode, name: "AA-Mobile-Node", short: "AM", rfc: "RFC 4004 section 5.1", proxiable: true,
		request: rules(toServer, ones(AuthApplicationID, UserName, MIPRegRequest, MIPMNAAAAuth), optionals(AcctMultiSessionID, DestinationHost,
			OriginStateID, MIPMobileNodeAddress, MIPHomeAgentAddress, MIPFeatureVector, MIPOriginatingForeignAAA, AuthorizationLifetime,
			AuthSessionState, MIPFAChallenge, MIPCandidateHomeAgentHost, MIPHomeAgentHost, MIPHAToFASPI)),
		answer: rules(ofSession, ones(AuthApplicationID), optionals(AcctMultiSessionID, AuthorizationLifetime, AuthSessionState,
			ReAuthRequestType, MIPFeatureVector, MIPRegReply, MIPMNToFAMSA, MIPMNToHAMSA, MIPFAToMNMSA, MIPFAToHAMSA, MIPHAToMNMSA,
			MIPMSALifetime, MIPHomeAgentAddress, MIPMobileNodeAddress))},
	{command: HomeAgentMIP, name: "Home-Agent-MIP", short: "HA", rfc: "RFC 4004 section 5.3", proxiable: true,
		request: rules(toServer, ones(AuthApplicationID, AuthorizationLifetime, AuthSessionState, MIPRegRequest, UserName, MIPFeatureVector),
			optionals(DestinationHost, MIPMNToHAMSA, MIPMNToFAMSA, MIPHAToMNMSA, MIPHAToFAMSA, MIPMSALifetime, MIPOriginatingForeignAAA,
				MIPMobileNodeAddress, MIPHomeAgentAddress, OriginStateID)),
		answer: rules(ofSession, ones(AuthApplicationID), optionals(AcctMultiSessionID, MIPRegReply, MIPHomeAgentAddress,
			MIPMobileNodeAddress, MIPFAToHASPI, MIPFAToMNSPI))},
	{command: Accounting, name: "Accounting", short: "AC", rfc: "RFC 6733 section 9.7", proxiable: true,
		request: rules(toServer, acctCommon, optionals(DestinationHost)), answer: rules(session, answered, acctCommon)},
	{command: AbortSession, name: "Abort-Session", short: "AS", rfc: "RFC 6733 section 8.5", proxiable: true, request: toClient, answer: ofSession},
	{command: SessionTermination, name: "Session-Termination", short: "ST", rfc: "RFC 6733 section 8.4", proxiable: true,
		request: rules(toServer, ones(AuthApplicationID, TerminationCause), optionals(UserName, DestinationHost, OriginStateID)), answer: ofSession},
	{command: DeviceWatchdog, name: "Device-Watchdog", short: "DW", rfc: "RFC 6733 section 5.5",
		request: rules(origin, optionals(OriginStateID)), answer: rules(answered, optionals(OriginStateID))},
	{command: DisconnectPeer, name: "Disconnect-Peer", short: "DP", rfc: "RFC 6733 section 5.4",
		request: rules(origin, ones(DisconnectCause)), answer: answered},
}

// errorAnswer is the definition of every answer with the E bit, RFC 6733 section 7.2.
var errorAnswer = rules(optionals(SessionID, OriginStateID, ErrorMessage, ErrorReportingHost, ExperimentalResult), ones(ResultCodeAVP), origin)

func grammarOf(c Command) *grammar {
	for i := range grammars {
		if grammars[i].command == c {
			return &grammars[i]
		}
	}
	return nil
}

// Check judges a framed message by the dictionary and the definition of its command: the flags, the formats of all known AVPs, also
// within groups, M bits of unknown ones, and how often each occurs. The error is an [*Error] of the first thing that is wrong.
//
// It is for the one a message is for: "Diameter relay and redirect agents MUST NOT reject messages with unrecognized AVPs."
//
//rfc:6733#4.1
//rfc:6733#7.1.5
func (m *Message) Check() error {
	g := grammarOf(m.Command)
	if g == nil {
		return &Error{Code: CommandUnsupported, Offset: 5, What: m.Command.String()}
	}
	var defined []Rule
	switch {
	case m.IsRequest():
		// "This bit MUST NOT be set in request messages". The P bit must be as the command's definition says.
		if m.Flags&FlagError != 0 || (m.Flags&FlagProxiable != 0) != g.proxiable {
			return &Error{Code: InvalidHeaderBits, Offset: 4, What: fmt.Sprintf("flags %v of %s", m.Flags, m.Name())}
		}
		defined = g.request
	case m.Flags&FlagError != 0:
		defined = errorAnswer
	default:
		// "Note that these errors MUST only be used in answer messages whose 'E' bit is set" and a fault of a permanent class may use
		// either grammar: what an answer without success leaves out is its sender's affair, all but who says what.
		defined = g.answer
		if r, ok := m.Result(); ok && !r.OK() {
			defined = errorAnswer
		}
	}
	if err := checkList(m.List, defined, 0, HeaderLen); err != nil {
		return err
	}
	return m.checkApplication()
}

// checkApplication obeys "If present in a message other than CER and CEA, the value of the Auth-Application-Id AVP MUST match the
// Application Id present in the Diameter message header" (RFC 6733 section 6.8; 6.9 says it of Acct-Application-Id). Session
// termination and abort may have 0 in the header (RFC 4004 section 4, against RFC 6733 section 2.5): that is accepted.
func (m *Message) checkApplication() error {
	if m.Command == CapabilitiesExchange || !m.IsRequest() {
		return nil
	}
	lenient := (m.Command == SessionTermination || m.Command == AbortSession) && m.Application == Base
	for _, c := range []Code{AuthApplicationID, AcctApplicationID} {
		a, ok := m.Find(c)
		if v, _ := a.Uint32(); ok && Application(v) != m.Application && !lenient {
			return &Error{Code: InvalidAVPValue, AVP: c, Offset: a.Offset, What: fmt.Sprintf("%d, and the header says %d", v, uint32(m.Application)), Failed: List{a}}
		}
	}
	return nil
}

func checkList(list List, defined []Rule, depth, at int) error {
	if depth > MaxDepth {
		return &Error{Code: UnableToComply, Offset: at, What: fmt.Sprintf("groups more than %d deep", MaxDepth)}
	}
	seen := map[Code]int{}
	for i := range list {
		a := &list[i]
		// "implementations MUST NOT use the value of zero (0) for the Vendor-ID field."
		if a.Flags&AVPVendor != 0 && a.Vendor == 0 {
			return &Error{Code: InvalidAVPBits, AVP: a.Code, Offset: a.Offset, What: "V bit with Vendor-ID 0", Failed: List{*a}}
		}
		r := a.row()
		if r == nil {
			if a.Flags&AVPMandatory != 0 {
				return &Error{Code: AVPUnsupported, AVP: a.Code, Offset: a.Offset, What: fmt.Sprintf("not known (vendor %d), and its M bit is set", a.Vendor), Failed: List{*a}}
			}
			continue
		}
		if wrong, length := r.Kind.judge(a.Data); wrong != "" {
			e := &Error{Code: InvalidAVPValue, AVP: a.Code, Offset: a.Offset, What: wrong, Failed: List{*a}}
			if length {
				e.Code = InvalidAVPLength
			}
			return e
		}
		// What a Failed-AVP holds is wrong already.
		if r.Kind == Grouped && a.Code != FailedAVP {
			inner, err := a.group()
			if err == nil {
				err = checkList(inner, r.Group, depth+1, a.Offset)
			}
			if e, ok := err.(*Error); ok {
				// "the Failed-AVP MAY contain the grouped AVP, which in turn contains the single offending AVP."
				e.What = fmt.Sprintf("%s (in %v)", e.What, a.Code)
				if len(e.Failed) > 0 {
					e.Failed = List{a.Code.Group(e.Failed...)}
				}
				return e
			}
		}
		seen[a.Code]++
		if k := slices.IndexFunc(defined, func(r Rule) bool { return r.Code == a.Code }); k >= 0 && defined[k].Max != 0 && seen[a.Code] > defined[k].Max {
			return &Error{Code: AVPOccursTooManyTimes, AVP: a.Code, Offset: a.Offset, What: fmt.Sprintf("more than %d of it", defined[k].Max), Failed: List{*a}}
		}
	}
	for _, rule := range defined {
		if seen[rule.Code] < rule.Min {
			return &Error{Code: MissingAVP, AVP: rule.Code, Offset: at, What: "missing", Failed: List{example(rule.Code.avp(nil))}}
		}
	}
	return nil
}
