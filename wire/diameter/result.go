package diameter

import "fmt"

// ResultCode is the value of a Result-Code AVP (RFC 6733 section 7.1).
type ResultCode uint32

// Result codes of RFC 6733 section 7.1 and RFC 4004 section 6.
const (
	MultiRoundAuth ResultCode = 1001

	Success        ResultCode = 2001
	LimitedSuccess ResultCode = 2002

	CommandUnsupported     ResultCode = 3001
	UnableToDeliver        ResultCode = 3002
	RealmNotServed         ResultCode = 3003
	TooBusy                ResultCode = 3004
	LoopDetected           ResultCode = 3005
	RedirectIndication     ResultCode = 3006
	ApplicationUnsupported ResultCode = 3007
	InvalidHeaderBits      ResultCode = 3008
	InvalidAVPBits         ResultCode = 3009
	UnknownPeer            ResultCode = 3010

	AuthenticationRejected ResultCode = 4001
	OutOfSpace             ResultCode = 4002
	ElectionLost           ResultCode = 4003
	MIPReplyFailure        ResultCode = 4005
	HANotAvailable         ResultCode = 4006
	BadKey                 ResultCode = 4007
	MIPFilterNotSupported  ResultCode = 4008

	AVPUnsupported           ResultCode = 5001
	UnknownSessionID         ResultCode = 5002
	AuthorizationRejected    ResultCode = 5003
	InvalidAVPValue          ResultCode = 5004
	MissingAVP               ResultCode = 5005
	ResourcesExceeded        ResultCode = 5006
	ContradictingAVPs        ResultCode = 5007
	AVPNotAllowed            ResultCode = 5008
	AVPOccursTooManyTimes    ResultCode = 5009
	NoCommonApplication      ResultCode = 5010
	UnsupportedVersion       ResultCode = 5011
	UnableToComply           ResultCode = 5012
	InvalidBitInHeader       ResultCode = 5013
	InvalidAVPLength         ResultCode = 5014
	InvalidMessageLength     ResultCode = 5015
	InvalidAVPBitCombo       ResultCode = 5016
	NoCommonSecurity         ResultCode = 5017
	NoForeignHAService       ResultCode = 5024
	EndToEndMIPKeyEncryption ResultCode = 5025
)

var resultNames = map[ResultCode]string{
	MultiRoundAuth: "DIAMETER_MULTI_ROUND_AUTH",
	Success:        "DIAMETER_SUCCESS", LimitedSuccess: "DIAMETER_LIMITED_SUCCESS",
	CommandUnsupported: "DIAMETER_COMMAND_UNSUPPORTED", UnableToDeliver: "DIAMETER_UNABLE_TO_DELIVER",
	RealmNotServed: "DIAMETER_REALM_NOT_SERVED", TooBusy: "DIAMETER_TOO_BUSY", LoopDetected: "DIAMETER_LOOP_DETECTED",
	RedirectIndication: "DIAMETER_REDIRECT_INDICATION", ApplicationUnsupported: "DIAMETER_APPLICATION_UNSUPPORTED",
	InvalidHeaderBits: "DIAMETER_INVALID_HDR_BITS", InvalidAVPBits: "DIAMETER_INVALID_AVP_BITS", UnknownPeer: "DIAMETER_UNKNOWN_PEER",
	AuthenticationRejected: "DIAMETER_AUTHENTICATION_REJECTED", OutOfSpace: "DIAMETER_OUT_OF_SPACE", ElectionLost: "ELECTION_LOST",
	MIPReplyFailure: "DIAMETER_ERROR_MIP_REPLY_FAILURE", HANotAvailable: "DIAMETER_ERROR_HA_NOT_AVAILABLE",
	BadKey: "DIAMETER_ERROR_BAD_KEY", MIPFilterNotSupported: "DIAMETER_ERROR_MIP_FILTER_NOT_SUPPORTED",
	AVPUnsupported: "DIAMETER_AVP_UNSUPPORTED", UnknownSessionID: "DIAMETER_UNKNOWN_SESSION_ID",
	AuthorizationRejected: "DIAMETER_AUTHORIZATION_REJECTED", InvalidAVPValue: "DIAMETER_INVALID_AVP_VALUE",
	MissingAVP: "DIAMETER_MISSING_AVP", ResourcesExceeded: "DIAMETER_RESOURCES_EXCEEDED", ContradictingAVPs: "DIAMETER_CONTRADICTING_AVPS",
	AVPNotAllowed: "DIAMETER_AVP_NOT_ALLOWED", AVPOccursTooManyTimes: "DIAMETER_AVP_OCCURS_TOO_MANY_TIMES",
	NoCommonApplication: "DIAMETER_NO_COMMON_APPLICATION", UnsupportedVersion: "DIAMETER_UNSUPPORTED_VERSION",
	UnableToComply: "DIAMETER_UNABLE_TO_COMPLY", InvalidBitInHeader: "DIAMETER_INVALID_BIT_IN_HEADER",
	InvalidAVPLength: "DIAMETER_INVALID_AVP_LENGTH", InvalidMessageLength: "DIAMETER_INVALID_MESSAGE_LENGTH",
	InvalidAVPBitCombo: "DIAMETER_INVALID_AVP_BIT_COMBO", NoCommonSecurity: "DIAMETER_NO_COMMON_SECURITY",
	NoForeignHAService: "DIAMETER_ERROR_NO_FOREIGN_HA_SERVICE", EndToEndMIPKeyEncryption: "DIAMETER_ERROR_END_TO_END_MIP_KEY_ENCRYPTION",
}

func (r ResultCode) String() string {
	if s, ok := resultNames[r]; ok {
		return s
	}
	return fmt.Sprintf("ResultCode(%d)", uint32(r))
}

// Class is the thousands digit of a result code. Decisions go by class, so that a code nobody here knows still means something.
type Class uint8

// The classes.
const (
	Informational    Class = 1
	Successful       Class = 2
	ProtocolError    Class = 3 // only with the E bit, judged at every hop
	TransientFailure Class = 4
	PermanentFailure Class = 5
)

var classNames = [...]string{Informational: "informational", Successful: "success", ProtocolError: "protocol error", TransientFailure: "transient failure", PermanentFailure: "permanent failure"}

func (c Class) String() string {
	if int(c) < len(classNames) && classNames[c] != "" {
		return classNames[c]
	}
	return fmt.Sprintf("Class(%d)", uint8(c))
}

// Class returns the class of a result. "An unrecognized class (one whose first digit is not defined in this section) MUST be handled as
// a permanent failure."
//
//rfc:6733#7.1
func (r ResultCode) Class() Class {
	if n := r / 1000; n >= 1 && n <= 5 {
		return Class(n)
	}
	return PermanentFailure
}

// OK reports whether the result is of the success class.
func (r ResultCode) OK() bool { return r.Class() == Successful }

// An Error is what a message has wrong, with the result to answer it with.
type Error struct {
	Code   ResultCode
	AVP    Code // that it is about; 0 when it is about the message
	Offset int  // in the message, in octets
	What   string
	Failed List // for Failed-AVP; may be empty
}

// Error says where and what.
func (e *Error) Error() string {
	if e.AVP != 0 {
		return fmt.Sprintf("diameter: octet %d: %v: %s (%v)", e.Offset, e.AVP, e.What, e.Code)
	}
	return fmt.Sprintf("diameter: octet %d: %s (%v)", e.Offset, e.What, e.Code)
}
