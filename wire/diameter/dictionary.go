package diameter

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// Kind is the data format of an AVP (RFC 6733 sections 4.2 and 4.3).
type Kind uint8

// The formats.
const (
	OctetString Kind = iota
	Unsigned32
	Unsigned64
	Enumerated
	Grouped
	Address
	Time
	UTF8String
	DiameterIdentity
	DiameterURI
	IPFilterRule
)

var kindNames = [...]string{"OctetString", "Unsigned32", "Unsigned64", "Enumerated", "Grouped", "Address", "Time", "UTF8String", "DiameterIdentity", "DiameterURI", "IPFilterRule"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// minimum is the fewest octets of a value.
func (k Kind) minimum() int {
	switch k {
	case Unsigned32, Enumerated, Time:
		return 4
	case Unsigned64:
		return 8
	case Address:
		return 6
	}
	return 0
}

// judge says what is wrong with a value's format, and nothing when it fits. length tells whether it is the length.
func (k Kind) judge(data []byte) (wrong string, length bool) {
	switch k {
	case Unsigned32, Enumerated, Time:
		if len(data) != 4 {
			return fmt.Sprintf("%d octets, and %v has 4", len(data), k), true
		}
	case Unsigned64:
		if len(data) != 8 {
			return fmt.Sprintf("%d octets, and %v has 8", len(data), k), true
		}
	case Address:
		if len(data) < 2 {
			return fmt.Sprintf("%d octets, and an address begins with a family of 2", len(data)), true
		}
		// Other families are allowed by the format; getters do not return them.
		switch family := binary.BigEndian.Uint16(data); {
		case family == familyIPv4 && len(data) != 6, family == familyIPv6 && len(data) != 18:
			return fmt.Sprintf("address of family %d with %d octets", family, len(data)-2), true
		}
	case UTF8String:
		if !utf8.Valid(data) {
			return "not UTF-8", false
		}
	case DiameterIdentity, DiameterURI, IPFilterRule:
		if len(data) == 0 {
			return "empty", false
		}
		// "DiameterIdentity is in ASCII form". What it is compared with and printed to shall not be surprised.
		for _, b := range data {
			if b < ' ' || b > '~' || (b == ' ' && k != IPFilterRule) {
				return fmt.Sprintf("octet 0x%02x in a %v", b, k), false
			}
		}
	}
	return "", false
}

// Code is the number of an AVP of the IETF's (Vendor-Id 0).
type Code uint32

// String returns the RFC's name.
func (c Code) String() string {
	if r := rowOf(c); r != nil {
		return r.Name
	}
	return fmt.Sprintf("AVP(%d)", uint32(c))
}

// A Row is what the dictionary knows of an AVP.
type Row struct {
	Code      Code
	Name      string
	Kind      Kind
	Mandatory bool   // the M bit is set by the sender; otherwise it must not be
	RFC       string // "RFC 6733 section 8.14"
	Secret    bool   // the value is not printed
	Values    map[uint32]string
	Group     []Rule // of a Grouped AVP: what must and may be in it
}

// AVPs of the base protocol, RFC 6733 section 4.5.
const (
	UserName                    Code = 1
	ClassAVP                    Code = 25
	SessionTimeout              Code = 27
	ProxyState                  Code = 33
	AcctSessionID               Code = 44
	AcctSessionTime             Code = 46
	AcctMultiSessionID          Code = 50
	EventTimestamp              Code = 55
	AcctInterimInterval         Code = 85
	HostIPAddress               Code = 257
	AuthApplicationID           Code = 258
	AcctApplicationID           Code = 259
	VendorSpecificApplicationID Code = 260
	RedirectHostUsage           Code = 261
	RedirectMaxCacheTime        Code = 262
	SessionID                   Code = 263
	OriginHost                  Code = 264
	SupportedVendorID           Code = 265
	VendorID                    Code = 266
	FirmwareRevision            Code = 267
	ResultCodeAVP               Code = 268
	ProductName                 Code = 269
	SessionBinding              Code = 270
	SessionServerFailover       Code = 271
	MultiRoundTimeOut           Code = 272
	DisconnectCause             Code = 273
	AuthRequestType             Code = 274
	AuthGracePeriod             Code = 276
	AuthSessionState            Code = 277
	OriginStateID               Code = 278
	FailedAVP                   Code = 279
	ProxyHost                   Code = 280
	ErrorMessage                Code = 281
	RouteRecord                 Code = 282
	DestinationRealm            Code = 283
	ProxyInfo                   Code = 284
	ReAuthRequestType           Code = 285
	AccountingSubSessionID      Code = 287
	AuthorizationLifetime       Code = 291
	RedirectHost                Code = 292
	DestinationHost             Code = 293
	ErrorReportingHost          Code = 294
	TerminationCause            Code = 295
	OriginRealm                 Code = 296
	ExperimentalResult          Code = 297
	ExperimentalResultCode      Code = 298
	InbandSecurityID            Code = 299
	AccountingRecordType        Code = 480
	AccountingRealtimeRequired  Code = 483
	AccountingRecordNumber      Code = 485
)

// Values of Enumerated AVPs that peers and sessions use (the section is the AVP's).
const (
	Rebooting             = 0 // Disconnect-Cause, section 5.4.3
	Busy                  = 1
	DoNotWantToTalkToYou  = 2
	NoInbandSecurity      = 0 // Inband-Security-Id, section 6.10
	InbandTLS             = 1
	StateMaintained       = 0 // Auth-Session-State, section 8.11
	NoStateMaintained     = 1
	AuthorizeOnly         = 0 // Re-Auth-Request-Type, section 8.12
	AuthorizeAuthenticate = 1
	Logout                = 1 // Termination-Cause, section 8.15
	ServiceNotProvided    = 2
	BadAnswer             = 3
	Administrative        = 4
	LinkBroken            = 5
	AuthExpired           = 6
	UserMoved             = 7
	SessionTimedOut       = 8
	EventRecord           = 1 // Accounting-Record-Type, section 9.8.1
	StartRecord           = 2
	InterimRecord         = 3
	StopRecord            = 4
)

var base = []Row{
	{Code: UserName, Name: "User-Name", Kind: UTF8String, Mandatory: true, RFC: "RFC 6733 section 8.14"},
	{Code: ClassAVP, Name: "Class", Mandatory: true, RFC: "RFC 6733 section 8.20"},
	{Code: SessionTimeout, Name: "Session-Timeout", Kind: Unsigned32, Mandatory: true, RFC: "RFC 6733 section 8.13"},
	{Code: ProxyState, Name: "Proxy-State", Mandatory: true, RFC: "RFC 6733 section 6.7.4"},
	{Code: AcctSessionID, Name: "Acct-Session-Id", Mandatory: true, RFC: "RFC 6733 section 9.8.4"},
	{Code: AcctMultiSessionID, Name: "Acct-Multi-Session-Id", Kind: UTF8String, Mandatory: true, RFC: "RFC 6733 section 9.8.5"},
	{Code: EventTimestamp, Name: "Event-Timestamp", Kind: Time, Mandatory: true, RFC: "RFC 6733 section 8.21"},
	{Code: AcctInterimInterval, Name: "Acct-Interim-Interval", Kind: Unsigned32, Mandatory: true, RFC: "RFC 6733 section 9.8.2"},
	{Code: HostIPAddress, Name: "Host-IP-Address", Kind: Address, Mandatory: true, RFC: "RFC 6733 section 5.3.5"},
	{Code: AuthApplicationID, Name: "Auth-Application-Id", Kind: Unsigned32, Mandatory: true, RFC: "RFC 6733 section 6.8"},
	{Code: AcctApplicationID, Name: "Acct-Application-Id", Kind: Unsigned32, Mandatory: true, RFC: "RFC 6733 section 6.9"},
	{Code: VendorSpecificApplicationID, Name: "Vendor-Specific-Application-Id", Kind: Grouped, Mandatory: true, RFC: "RFC 6733 section 6.11",
		Group: []Rule{one(VendorID), optional(AuthApplicationID), optional(AcctApplicationID)}},
	{Code: RedirectHostUsage, Name: "Redirect-Host-Usage", Kind: Enumerated, Mandatory: true, RFC: "RFC 6733 section 6.13",
		Values: map[uint32]string{0: "DONT_CACHE", 1: "ALL_SESSION", 2: "ALL_REALM", 3: "REALM_AND_APPLICATION", 4: "ALL_APPLICATION", 5: "ALL_HOST", 6: "ALL_USER"}},
	{Code: RedirectMaxCacheTime, Name: "Redirect-Max-Cache-Time", Kind: Unsigned32, Mandatory: true, RFC: "RFC 6733 section 6.14"},
	{Code: SessionID, Name: "Session-Id", Kind: UTF8String, Mandatory: true, RFC: "RFC 6733 section 8.8"},
	{Code: OriginHost, Name: "Origin-Host", Kind: DiameterIdentity, Mandatory: true, RFC: "RFC 6733 section 6.3"},
	{Code: SupportedVendorID, Name: "Supported-Vendor-Id", Kind: Unsigned32, Mandatory: true, RFC: "RFC 6733 section 5.3.6"},
	{Code: VendorID, Name: "Vendor-Id", Kind: Unsigned32, Mandatory: true, RFC: "RFC 6733 section 5.3.3"},
	{Code: FirmwareRevision, Name: "Firmware-Revision", Kind: Unsigned32, RFC: "RFC 6733 section 5.3.4"},
	{Code: ResultCodeAVP, Name: "Result-Code", Kind: Unsigned32, Mandatory: true, RFC: "RFC 6733 section 7.1"},
	{Code: ProductName, Name: "Product-Name", Kind: UTF8String, RFC: "RFC 6733 section 5.3.7"},
	{Code: SessionBinding, Name: "Session-Binding", Kind: Unsigned32, Mandatory: true, RFC: "RFC 6733 section 8.17"},
	{Code: SessionServerFailover, Name: "Session-Server-Failover", Kind: Enumerated, Mandatory: true, RFC: "RFC 6733 section 8.18",
		Values: map[uint32]string{0: "REFUSE_SERVICE", 1: "TRY_AGAIN", 2: "ALLOW_SERVICE", 3: "TRY_AGAIN_ALLOW_SERVICE"}},
	{Code: MultiRoundTimeOut, Name: "Multi-Round-Time-Out", Kind: Unsigned32, Mandatory: true, RFC: "RFC 6733 section 8.19"},
	{Code: DisconnectCause, Name: "Disconnect-Cause", Kind: Enumerated, Mandatory: true, RFC: "RFC 6733 section 5.4.3",
		Values: map[uint32]string{Rebooting: "REBOOTING", Busy: "BUSY", DoNotWantToTalkToYou: "DO_NOT_WANT_TO_TALK_TO_YOU"}},
	{Code: AuthRequestType, Name: "Auth-Request-Type", Kind: Enumerated, Mandatory: true, RFC: "RFC 6733 section 8.7",
		Values: map[uint32]string{1: "AUTHENTICATE_ONLY", 2: "AUTHORIZE_ONLY", 3: "AUTHORIZE_AUTHENTICATE"}},
	{Code: AuthGracePeriod, Name: "Auth-Grace-Period", Kind: Unsigned32, Mandatory: true, RFC: "RFC 6733 section 8.10"},
	{Code: AuthSessionState, Name: "Auth-Session-State", Kind: Enumerated, Mandatory: true, RFC: "RFC 6733 section 8.11",
		Values: map[uint32]string{StateMaintained: "STATE_MAINTAINED", NoStateMaintained: "NO_STATE_MAINTAINED"}},
	{Code: OriginStateID, Name: "Origin-State-Id", Kind: Unsigned32, Mandatory: true, RFC: "RFC 6733 section 8.16"},
	{Code: FailedAVP, Name: "Failed-AVP", Kind: Grouped, Mandatory: true, RFC: "RFC 6733 section 7.5"},
	{Code: ProxyHost, Name: "Proxy-Host", Kind: DiameterIdentity, Mandatory: true, RFC: "RFC 6733 section 6.7.3"},
	{Code: ErrorMessage, Name: "Error-Message", Kind: UTF8String, RFC: "RFC 6733 section 7.3"},
	{Code: RouteRecord, Name: "Route-Record", Kind: DiameterIdentity, Mandatory: true, RFC: "RFC 6733 section 6.7.1"},
	{Code: DestinationRealm, Name: "Destination-Realm", Kind: DiameterIdentity, Mandatory: true, RFC: "RFC 6733 section 6.6"},
	{Code: ProxyInfo, Name: "Proxy-Info", Kind: Grouped, Mandatory: true, RFC: "RFC 6733 section 6.7.2", Group: []Rule{one(ProxyHost), one(ProxyState)}},
	{Code: ReAuthRequestType, Name: "Re-Auth-Request-Type", Kind: Enumerated, Mandatory: true, RFC: "RFC 6733 section 8.12",
		Values: map[uint32]string{AuthorizeOnly: "AUTHORIZE_ONLY", AuthorizeAuthenticate: "AUTHORIZE_AUTHENTICATE"}},
	{Code: AccountingSubSessionID, Name: "Accounting-Sub-Session-Id", Kind: Unsigned64, Mandatory: true, RFC: "RFC 6733 section 9.8.6"},
	{Code: AuthorizationLifetime, Name: "Authorization-Lifetime", Kind: Unsigned32, Mandatory: true, RFC: "RFC 6733 section 8.9"},
	{Code: RedirectHost, Name: "Redirect-Host", Kind: DiameterURI, Mandatory: true, RFC: "RFC 6733 section 6.12"},
	{Code: DestinationHost, Name: "Destination-Host", Kind: DiameterIdentity, Mandatory: true, RFC: "RFC 6733 section 6.5"},
	{Code: ErrorReportingHost, Name: "Error-Reporting-Host", Kind: DiameterIdentity, RFC: "RFC 6733 section 7.4"},
	{Code: TerminationCause, Name: "Termination-Cause", Kind: Enumerated, Mandatory: true, RFC: "RFC 6733 section 8.15",
		Values: map[uint32]string{Logout: "DIAMETER_LOGOUT", ServiceNotProvided: "DIAMETER_SERVICE_NOT_PROVIDED", BadAnswer: "DIAMETER_BAD_ANSWER",
			Administrative: "DIAMETER_ADMINISTRATIVE", LinkBroken: "DIAMETER_LINK_BROKEN", AuthExpired: "DIAMETER_AUTH_EXPIRED",
			UserMoved: "DIAMETER_USER_MOVED", SessionTimedOut: "DIAMETER_SESSION_TIMEOUT"}},
	{Code: OriginRealm, Name: "Origin-Realm", Kind: DiameterIdentity, Mandatory: true, RFC: "RFC 6733 section 6.4"},
	{Code: ExperimentalResult, Name: "Experimental-Result", Kind: Grouped, Mandatory: true, RFC: "RFC 6733 section 7.6", Group: []Rule{one(VendorID), one(ExperimentalResultCode)}},
	{Code: ExperimentalResultCode, Name: "Experimental-Result-Code", Kind: Unsigned32, Mandatory: true, RFC: "RFC 6733 section 7.7"},
	{Code: InbandSecurityID, Name: "Inband-Security-Id", Kind: Unsigned32, Mandatory: true, RFC: "RFC 6733 section 6.10",
		Values: map[uint32]string{NoInbandSecurity: "NO_INBAND_SECURITY", InbandTLS: "TLS"}},
	{Code: AccountingRecordType, Name: "Accounting-Record-Type", Kind: Enumerated, Mandatory: true, RFC: "RFC 6733 section 9.8.1",
		Values: map[uint32]string{EventRecord: "EVENT_RECORD", StartRecord: "START_RECORD", InterimRecord: "INTERIM_RECORD", StopRecord: "STOP_RECORD"}},
	{Code: AccountingRealtimeRequired, Name: "Accounting-Realtime-Required", Kind: Enumerated, Mandatory: true, RFC: "RFC 6733 section 9.8.7",
		Values: map[uint32]string{1: "DELIVER_AND_GRANT", 2: "GRANT_AND_STORE", 3: "GRANT_AND_LOSE"}},
	{Code: AccountingRecordNumber, Name: "Accounting-Record-Number", Kind: Unsigned32, Mandatory: true, RFC: "RFC 6733 section 9.8.3"},
}

var dictionary = func() map[Code]*Row {
	byCode := map[Code]*Row{}
	for _, table := range [][]Row{base, mobileIPv4} {
		for i := range table {
			byCode[table[i].Code] = &table[i]
		}
	}
	return byCode
}()

func rowOf(c Code) *Row { return dictionary[c] }

// Lookup returns the dictionary's row of an AVP.
func Lookup(c Code) (Row, bool) {
	if r := rowOf(c); r != nil {
		return *r, true
	}
	return Row{}, false
}

// Value prints the value for people, by the dictionary's format; in hexadecimal when that does not fit or the AVP is not known. Keys
// are not printed.
func (a AVP) Value() string {
	r := a.row()
	switch {
	case r == nil:
		return hex.EncodeToString(a.Data)
	case r.Secret:
		return fmt.Sprintf("(%d octets)", len(a.Data))
	}
	if wrong, _ := r.Kind.judge(a.Data); wrong != "" {
		return hex.EncodeToString(a.Data)
	}
	switch r.Kind {
	case Unsigned32, Enumerated:
		v := binary.BigEndian.Uint32(a.Data)
		if name := r.valueName(v); name != "" {
			return fmt.Sprintf("%d (%s)", v, name)
		}
		return strconv.FormatUint(uint64(v), 10)
	case Unsigned64:
		return strconv.FormatUint(binary.BigEndian.Uint64(a.Data), 10)
	case Time:
		t, _ := a.Time()
		return t.Format(time.RFC3339)
	case Address:
		if addr, ok := a.Address(); ok {
			return addr.String()
		}
	case UTF8String:
		return strconv.Quote(string(a.Data))
	case DiameterIdentity, DiameterURI, IPFilterRule:
		return string(a.Data)
	case Grouped:
		return fmt.Sprintf("(%d octets)", len(a.Data))
	}
	return hex.EncodeToString(a.Data)
}

func (r *Row) valueName(v uint32) string {
	switch r.Code {
	case ResultCodeAVP, ExperimentalResultCode:
		return resultNames[ResultCode(v)]
	case AuthApplicationID, AcctApplicationID:
		return applicationNames[Application(v)]
	case MIPFeatureVector:
		return FeatureVector(v).String()
	}
	return r.Values[v]
}
