package mip4

import "fmt"

// MessageType is the first octet of every message on UDP port 434.
type MessageType uint8

// Message types. The fixed parts are in fixed.go, the registry rows in table.go.
const (
	TypeRegistrationRequest MessageType = 1   // RFC 5944 section 3.3
	TypeRegistrationReply   MessageType = 3   // RFC 5944 section 3.4
	TypeTunnelData          MessageType = 4   // RFC 3519 section 3.3
	TypeRevocation          MessageType = 7   // RFC 3543 section 3.3
	TypeRevocationAck       MessageType = 15  // RFC 3543 section 3.4
	TypeHandoffRequest      MessageType = 16  // RFC 4881 section 4.5, 4.7
	TypeHandoffReply        MessageType = 17  // RFC 4881 section 4.6, 4.7
	TypeRegionalRequest     MessageType = 18  // RFC 4857 section 10.1
	TypeRegionalReply       MessageType = 19  // RFC 4857 section 10.2
	TypeFastBindingUpdate   MessageType = 20  // RFC 4988 section 5.1
	TypeFastBindingAck      MessageType = 21  // RFC 4988 section 5.2
	TypeNotification        MessageType = 22  // RFC 6098 section 4.1
	TypeNotificationAck     MessageType = 23  // RFC 6098 section 4.2
	TypeHomeTestInit        MessageType = 24  // RFC 6521 section 5.6
	TypeCareOfTestInit      MessageType = 25  // RFC 6521 section 5.7
	TypeHomeTest            MessageType = 26  // RFC 6521 section 5.8
	TypeCareOfTest          MessageType = 27  // RFC 6521 section 5.9
	TypeExperimentalMessage MessageType = 255 // RFC 4064 section 3
)

// String gives the RFC's name, or the number of an unassigned type.
func (t MessageType) String() string {
	if r := messageRow(t); r != nil {
		return r.Name
	}
	return fmt.Sprintf("MessageType(%d)", uint8(t))
}

// ExtType is the type number of an extension in the messages on UDP port 434. The extensions of router advertisements are a
// number space of their own (RFC 5944 section 1.8).
type ExtType uint8

// Extension types.
const (
	ExtPadding                     ExtType = 0   // RFC 5944 section 1.8: one octet, no length
	ExtNewIPv4Address              ExtType = 21  // RFC 4988 section 6.2, in messages 20 and 21 only
	ExtMobileHome                  ExtType = 32  // RFC 5944 section 3.5.2
	ExtMobileForeign               ExtType = 33  // RFC 5944 section 3.5.3
	ExtForeignHome                 ExtType = 34  // RFC 5944 section 3.5.4
	ExtGeneralizedAuth             ExtType = 36  // RFC 4721 section 5
	ExtCVSE                        ExtType = 38  // RFC 3115 section 2.1
	ExtMobileForeignKeyRequest     ExtType = 40  // RFC 3957 section 6.1
	ExtMobileForeignKeyReply       ExtType = 41  // RFC 3957 section 6.2
	ExtMobileHomeKeyRequest        ExtType = 42  // RFC 3957 section 6.3
	ExtMobileHomeKeyReply          ExtType = 43  // RFC 3957 section 6.4
	ExtUDPTunnelReply              ExtType = 44  // RFC 3519 section 3.2
	ExtFAError                     ExtType = 45  // RFC 4636 section 3
	ExtGFAAddress                  ExtType = 46  // RFC 4857 section 9.1
	ExtProxyNonSkippable           ExtType = 47  // RFC 5563 section 5.1
	ExtGREKey                      ExtType = 48  // RFC 6245 section 5
	ExtRouteOptimization           ExtType = 49  // RFC 6521 section 5.2 to 5.4
	ExtRouteOptimizationData       ExtType = 50  // RFC 6521 section 5.5
	ExtExperimentalNonSkippable    ExtType = 127 // RFC 4064 section 4.1
	ExtTraversal                   ExtType = 129 // RFC 2356 section 7.3
	ExtEncapsulatingDelivery       ExtType = 130 // RFC 3024 section 3.3
	ExtNAI                         ExtType = 131 // RFC 2794 section 2
	ExtChallenge                   ExtType = 132 // RFC 4721 section 4
	ExtNVSE                        ExtType = 134 // RFC 3115 section 2.2
	ExtNAICarrying                 ExtType = 136 // RFC 3846 section 3
	ExtRevocationSupport           ExtType = 137 // RFC 3543 section 3.2
	ExtLinkLayerAddress            ExtType = 138 // RFC 4881 section 9
	ExtDynamicHA                   ExtType = 139 // RFC 4433 section 3.4
	ExtHierarchicalFA              ExtType = 140 // RFC 4857 section 9.2
	ExtReplayStyle                 ExtType = 141 // RFC 4857 section 9.3
	ExtRegionalLifetime            ExtType = 142 // RFC 4857 section 9.4
	ExtUDPTunnelRequest            ExtType = 144 // RFC 3519 section 3.1
	ExtMessageString               ExtType = 145 // RFC 4917 section 3
	ExtProxySkippable              ExtType = 147 // RFC 5563 section 5.2 to 5.5
	ExtMobileNetwork               ExtType = 148 // RFC 5177 section 4
	ExtTrustedNetworks             ExtType = 149 // RFC 5265 section 3.4
	ExtServiceSelection            ExtType = 151 // RFC 5446 section 3
	ExtDualStack                   ExtType = 152 // RFC 5454 section 2
	ExtRouteOptimizationCapability ExtType = 153 // RFC 6521 section 5.1
	ExtMultipath                   ExtType = 154 // RFC 7629 section 4
	ExtExperimentalSkippable       ExtType = 255 // RFC 4064 section 4.3
)

// Subtypes of the generalized authentication extension (36).
const (
	AuthMobileAAA      uint8 = 1 // RFC 4721 section 6
	AuthForeignForeign uint8 = 2 // RFC 4857 section 11
	AuthMobileGFA      uint8 = 3 // RFC 4857 section 11
	AuthMobilePAR      uint8 = 4 // RFC 4988 section 8
)

// Skippable reports whether a receiver that does not know the type skips it: 128-255. An unknown type 0-127 makes it discard
// the whole message (RFC 5944 section 1.8).
func (t ExtType) Skippable() bool { return t >= 128 }

// String gives the RFC's name, or the number of an unassigned type.
func (t ExtType) String() string {
	if r := typeRow(t); r != nil {
		return r.Family
	}
	return fmt.Sprintf("ExtType(%d)", uint8(t))
}

// LifetimeInfinite in a Lifetime field means that the registration does not expire (RFC 5944 section 3.3).
const LifetimeInfinite = 0xffff

// MaxExtensions is the number of extensions in one message beyond which Parse gives up.
const MaxExtensions = 128
