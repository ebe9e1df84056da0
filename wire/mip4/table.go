package mip4

// Format is the layout of an extension's header (RFC 5944 sections 1.9 to 1.11).
type Format uint8

// The layouts.
const (
	FormatSimple Format = iota // S:  Type8 Length8 Data
	FormatShort                // SH: Type8 Length8 Sub8 Data; Length counts Sub
	FormatLong                 // L:  Type8 Sub8 Length16 Data
	FormatPad                  // type 0: one octet
	FormatVendor               // 38: Type8 Reserved8 Length16 Data (RFC 3115 section 2.1)
	FormatEither               // 139: drawn long on a skippable number; both are read (RFC 4433 section 3.4)
	FormatUnits                // 21 in messages 20 and 21: Type8 Length8 Data, Length in units of 8 octets of the whole (RFC 4988)
)

var formatNames = [...]string{"simple", "short", "long", "padding", "vendor", "long or short", "units of 8 octets"}

// String names the layout.
func (f Format) String() string { return named("Format", formatNames[:], f) }

// Row is the registry row of one extension and subtype.
type Row struct {
	Type   ExtType
	Sub    uint8
	HasSub bool   // false: the row is for every subtype, or the format has none
	Family string // name of the type
	Name   string // name of this subtype; equals Family for types without
	RFC    string // "RFC 5944 section 3.5.2"
	Format Format
	Zones  Zones // where a Draft may place it
	Flow   Flow  // who writes it for whom
	New    func() Payload
	Note   string // what a reader of a trace wants to know
}

// Skippable reports whether a receiver that does not know the extension skips it.
func (r Row) Skippable() bool { return r.Type.Skippable() }

// Flow is in which messages an extension travels.
type Flow uint8

// The messages, as a set.
const (
	InRequest      Flow = 1 << iota // Registration Request, Regional Registration Request
	InReply                         // Registration Reply, Regional Registration Reply
	InRevocation                    // messages 7 and 15
	InHandoff                       // messages 16 and 17
	InFast                          // messages 20 and 21
	InNotification                  // messages 22 and 23
)

// String lists the messages.
func (f Flow) String() string {
	names := [...]string{"request", "reply", "revocation", "handoff", "fast binding", "notification"}
	s := ""
	for i, n := range names {
		if f&(1<<i) != 0 {
			if s != "" {
				s += ", "
			}
			s += n
		}
	}
	return s
}

const (
	both    = InRequest | InReply
	zHome   = Zones(1 << ZoneHome)
	zAuth   = Zones(1 << ZoneAuthorizing)
	zFA     = Zones(1 << ZoneForeign)
	zFAAuth = Zones(1 << ZoneForeignAuth)
	zAny    = zHome | zAuth | zFA
)

// extensions is the registry of extensions in messages on UDP port 434, sorted by type and subtype. Numbers without a row are
// unassigned, and framed in the simple layout.
var extensions = [...]Row{
	{Type: 0, Family: "One-byte Padding", Name: "One-byte Padding", RFC: "RFC 5944 section 1.8", Format: FormatPad, Zones: zAny | zFAAuth, Flow: both, New: func() Payload { return new(Padding) }, Note: "one octet without length"},
	{Type: 21, Family: "New IPv4 Address", Name: "New IPv4 Address", RFC: "RFC 4988 section 6.2", Format: FormatUnits, Zones: zHome, Flow: InFast, New: func() Payload { return new(NewIPv4Address) }, Note: "an ICMP option, in messages 20 and 21 only"},
	{Type: 32, Family: "Mobile-Home Authentication", Name: "Mobile-Home Authentication", RFC: "RFC 5944 section 3.5.2", Format: FormatSimple, Zones: zAuth, Flow: both | InRevocation | InNotification, Note: "between mobile node and home agent; covers all before it"},
	{Type: 33, Family: "Mobile-Foreign Authentication", Name: "Mobile-Foreign Authentication", RFC: "RFC 5944 section 3.5.3", Format: FormatSimple, Zones: zFAAuth, Flow: both | InNotification, Note: "between mobile node and foreign agent; covers all before it"},
	{Type: 34, Family: "Foreign-Home Authentication", Name: "Foreign-Home Authentication", RFC: "RFC 5944 section 3.5.4", Format: FormatSimple, Zones: zFAAuth, Flow: both | InRevocation | InNotification, Note: "between foreign agent and home agent; covers all before it"},
	{Type: 36, Sub: 1, HasSub: true, Family: "Generalized Authentication", Name: "Mobile-AAA Authentication", RFC: "RFC 4721 section 6", Format: FormatLong, Zones: zAuth, Flow: InRequest, Note: "verified by an AAA server"},
	{Type: 36, Sub: 2, HasSub: true, Family: "Generalized Authentication", Name: "FA-FA Authentication", RFC: "RFC 4857 section 11", Format: FormatLong, Zones: zFAAuth, Flow: both | InHandoff, Note: "between foreign agents"},
	{Type: 36, Sub: 3, HasSub: true, Family: "Generalized Authentication", Name: "MN-GFA Authentication", RFC: "RFC 4857 section 11", Format: FormatLong, Zones: zAuth, Flow: both, Note: "between mobile node and gateway foreign agent"},
	{Type: 36, Sub: 4, HasSub: true, Family: "Generalized Authentication", Name: "MN-PAR Authentication", RFC: "RFC 4988 section 8", Format: FormatLong, Zones: zAuth, Flow: InFast, Note: "between mobile node and previous access router"},
	{Type: 38, Family: "Critical Vendor/Organization Specific (CVSE)", Name: "Critical Vendor/Organization Specific (CVSE)", RFC: "RFC 3115 section 2.1", Format: FormatVendor, Zones: zAny, Flow: both, New: func() Payload { return new(CVSE) }, Note: "an unknown vendor or type is refused with 100, 101, 140 or 141"},
	{Type: 40, Sub: 1, HasSub: true, Family: "MN-FA Key Generation Nonce Request", Name: "MN-FA Key Generation Nonce Request", RFC: "RFC 3957 section 6.1", Format: FormatLong, Zones: zHome, Flow: InRequest, New: func() Payload { return new(MobileForeignKeyRequest) }},
	{Type: 41, Sub: 1, HasSub: true, Family: "MN-FA Key Generation Nonce Reply", Name: "MN-FA Key Generation Nonce Reply", RFC: "RFC 3957 section 6.2", Format: FormatLong, Zones: zHome | zFA, Flow: InReply, New: func() Payload { return new(MobileForeignKeyReply) }},
	{Type: 42, Sub: 1, HasSub: true, Family: "MN-HA Key Generation Nonce Request", Name: "MN-HA Key Generation Nonce Request", RFC: "RFC 3957 section 6.3", Format: FormatLong, Zones: zHome, Flow: InRequest, New: func() Payload { return new(MobileHomeKeyRequest) }},
	{Type: 43, Sub: 1, HasSub: true, Family: "MN-HA Key Generation Nonce Reply", Name: "MN-HA Key Generation Nonce Reply", RFC: "RFC 3957 section 6.4", Format: FormatLong, Zones: zHome, Flow: InReply, New: func() Payload { return new(MobileHomeKeyReply) }},
	{Type: 44, Sub: 0, HasSub: true, Family: "UDP Tunnel Reply", Name: "UDP Tunnel Reply", RFC: "RFC 3519 section 3.2", Format: FormatShort, Zones: zHome | zFA, Flow: InReply, New: func() Payload { return new(UDPTunnelReply) }, Note: "stands where the request's 144 stood: before or after 32"},
	{Type: 45, Sub: 0, HasSub: true, Family: "FA Error", Name: "FA Error", RFC: "RFC 4636 section 3", Format: FormatShort, Zones: zFA, Flow: InReply, New: func() Payload { return new(FAError) }, Note: "the foreign agent refuses, whatever the home agent's code says"},
	{Type: 46, Family: "GFA IP Address", Name: "GFA IP Address", RFC: "RFC 4857 section 9.1", Format: FormatSimple, Zones: zHome | zFA, Flow: both, New: func() Payload { return new(GFAAddress) }},
	{Type: 47, Sub: 1, HasSub: true, Family: "PMIPv4 Non-skippable", Name: "PMIPv4 Per-Node Authentication Method", RFC: "RFC 5563 section 5.1", Format: FormatLong, Zones: zHome, Flow: both, New: func() Payload { return new(ProxyPerNodeAuth) }},
	{Type: 48, Sub: 0, HasSub: true, Family: "GRE Key", Name: "GRE Key", RFC: "RFC 6245 section 5", Format: FormatLong, Zones: zFA, Flow: both, New: func() Payload { return new(GREKey) }, Note: "written by the foreign agent, answered for the foreign agent; 0 asks for a key"},
	{Type: 49, Sub: 1, HasSub: true, Family: "Route Optimization", Name: "Route Optimization Reply", RFC: "RFC 6521 section 5.2", Format: FormatShort, Zones: zHome, Flow: InReply, New: func() Payload { return new(RouteOptimizationReply) }},
	{Type: 49, Sub: 2, HasSub: true, Family: "Route Optimization", Name: "Mobile-Correspondent Authentication", RFC: "RFC 6521 section 5.3", Format: FormatShort, Zones: zHome | zAuth, Flow: both, New: func() Payload { return new(MobileCorrespondentAuth) }},
	{Type: 49, Sub: 3, HasSub: true, Family: "Route Optimization", Name: "Care-of Address", RFC: "RFC 6521 section 5.4", Format: FormatShort, Zones: zHome, Flow: InReply, New: func() Payload { return new(CareOfAddresses) }},
	{Type: 50, Sub: 1, HasSub: true, Family: "Route Optimization Data", Name: "Route Optimization Prefix Advertisement", RFC: "RFC 6521 section 5.5", Format: FormatLong, Zones: zHome, Flow: InReply, New: func() Payload { return new(PrefixAdvertisement) }},
	{Type: 127, Family: "Experimental non-skippable", Name: "Experimental non-skippable", RFC: "RFC 4064 section 4.1", Format: FormatLong, Zones: zAny, Flow: both, New: func() Payload { return new(ExperimentalNonSkippable) }, Note: "refused unless experiments are switched on"},
	{Type: 129, Family: "Traversal", Name: "Traversal", RFC: "RFC 2356 section 7.3", Format: FormatSimple, Zones: zHome, Flow: InRequest, New: func() Payload { return new(Traversal) }, Note: "historic: SKIP firewalls"},
	{Type: 130, Family: "Encapsulating Delivery Style", Name: "Encapsulating Delivery Style", RFC: "RFC 3024 section 3.3", Format: FormatSimple, Zones: zFA, Flow: InRequest, New: func() Payload { return new(EncapsulatingDelivery) }, Note: "for the foreign agent, which consumes it"},
	{Type: 131, Family: "Mobile Node NAI", Name: "Mobile Node NAI", RFC: "RFC 2794 section 2", Format: FormatSimple, Zones: zHome, Flow: both, New: func() Payload { return new(NAI) }, Note: "who the node is; a home address of 0.0.0.0 beside it asks for one"},
	{Type: 132, Family: "Mobile-Foreign Challenge", Name: "Mobile-Foreign Challenge", RFC: "RFC 4721 section 4", Format: FormatSimple, Zones: zAuth | zFA, Flow: both, New: func() Payload { return new(Challenge) }, Note: "in a request the challenge that is answered, in a reply a new one"},
	{Type: 134, Family: "Normal Vendor/Organization Specific (NVSE)", Name: "Normal Vendor/Organization Specific (NVSE)", RFC: "RFC 3115 section 2.2", Format: FormatSimple, Zones: zAny, Flow: both, New: func() Payload { return new(NVSE) }},
	{Type: 136, Sub: 1, HasSub: true, Family: "NAI Carrying", Name: "HA Identity NAI", RFC: "RFC 3846 section 4", Format: FormatShort, Zones: zHome | zFA, Flow: both, New: func() Payload { return &NAICarrying{Kind: NAIHomeAgent} }},
	{Type: 136, Sub: 2, HasSub: true, Family: "NAI Carrying", Name: "AAAH Identity NAI", RFC: "RFC 3846 section 5", Format: FormatShort, Zones: zHome | zFA, Flow: both, New: func() Payload { return &NAICarrying{Kind: NAIHomeAAA} }},
	{Type: 136, Sub: 3, HasSub: true, Family: "NAI Carrying", Name: "FA-NAI", RFC: "RFC 4857 section 8.2", Format: FormatShort, Zones: zHome | zFA, Flow: both, New: func() Payload { return &NAICarrying{Kind: NAIForeignAgent} }, Note: "belongs into agent advertisements"},
	{Type: 137, Family: "Revocation Support", Name: "Revocation Support", RFC: "RFC 3543 section 3.2", Format: FormatSimple, Zones: zHome | zFA, Flow: both, New: func() Payload { return new(RevocationSupport) }, Note: "a binding can be revoked only when both agents sent it"},
	{Type: 138, Sub: 1, HasSub: true, Family: "Generalized Link Layer and IPv4 Address", Name: "3GPP2 IMSI Link Layer Address", RFC: "RFC 4881 section 9.1", Format: FormatShort, Zones: zHome | zFA, Flow: InRequest | InHandoff, New: func() Payload { return &LinkLayerAddress{Kind: LinkLayer3GPP2IMSI} }},
	{Type: 138, Sub: 2, HasSub: true, Family: "Generalized Link Layer and IPv4 Address", Name: "3GPP IMSI Link Layer Address", RFC: "RFC 4881 section 9.2", Format: FormatShort, Zones: zHome | zFA, Flow: InRequest | InHandoff, New: func() Payload { return &LinkLayerAddress{Kind: LinkLayer3GPPIMSI} }},
	{Type: 138, Sub: 3, HasSub: true, Family: "Generalized Link Layer and IPv4 Address", Name: "Ethernet Link Layer Address", RFC: "RFC 4881 section 9.3", Format: FormatShort, Zones: zHome | zFA, Flow: InRequest | InHandoff, New: func() Payload { return &LinkLayerAddress{Kind: LinkLayerEthernet} }},
	{Type: 138, Sub: 4, HasSub: true, Family: "Generalized Link Layer and IPv4 Address", Name: "EUI-64 Address", RFC: "RFC 4881 section 9.4", Format: FormatShort, Zones: zHome | zFA, Flow: InRequest | InHandoff, New: func() Payload { return &LinkLayerAddress{Kind: LinkLayerEUI64} }},
	{Type: 138, Sub: 5, HasSub: true, Family: "Generalized Link Layer and IPv4 Address", Name: "Solicited IPv4 Address", RFC: "RFC 4881 section 9.5", Format: FormatShort, Zones: zHome | zFA, Flow: InRequest | InHandoff, New: func() Payload { return &LinkLayerAddress{Kind: LinkLayerSolicited} }},
	{Type: 138, Sub: 6, HasSub: true, Family: "Generalized Link Layer and IPv4 Address", Name: "Access Point Identifier", RFC: "RFC 4881 section 9.6", Format: FormatShort, Zones: zHome | zFA, Flow: InRequest | InHandoff, New: func() Payload { return &LinkLayerAddress{Kind: LinkLayerAccessPoint} }},
	{Type: 138, Sub: 7, HasSub: true, Family: "Generalized Link Layer and IPv4 Address", Name: "FA IPv4 Address", RFC: "RFC 4881 section 9.7", Format: FormatShort, Zones: zHome | zFA, Flow: InRequest | InHandoff, New: func() Payload { return &LinkLayerAddress{Kind: LinkLayerFA} }},
	{Type: 139, Sub: 1, HasSub: true, Family: "Dynamic HA", Name: "Requested HA", RFC: "RFC 4433 section 3.4", Format: FormatEither, Zones: zHome, Flow: InRequest, New: func() Payload { return &DynamicHA{Kind: RequestedHA} }, Note: "drawn long on a skippable number: an old peer may mis-read what follows"},
	{Type: 139, Sub: 2, HasSub: true, Family: "Dynamic HA", Name: "Redirected HA", RFC: "RFC 4433 section 3.4", Format: FormatEither, Zones: zHome, Flow: InReply, New: func() Payload { return &DynamicHA{Kind: RedirectedHA} }, Note: "with code 143"},
	{Type: 140, Family: "Hierarchical Foreign Agent", Name: "Hierarchical Foreign Agent", RFC: "RFC 4857 section 9.2", Format: FormatSimple, Zones: zHome | zFA, Flow: InRequest, New: func() Payload { return new(HierarchicalFA) }},
	{Type: 141, Family: "Replay Protection Style", Name: "Replay Protection Style", RFC: "RFC 4857 section 9.3", Format: FormatSimple, Zones: zHome | zFA, Flow: both, New: func() Payload { return new(ReplayStyle) }},
	{Type: 142, Family: "Regional Registration Lifetime", Name: "Regional Registration Lifetime", RFC: "RFC 4857 section 9.4", Format: FormatSimple, Zones: zHome | zFA, Flow: InReply, New: func() Payload { return new(RegionalLifetime) }},
	{Type: 144, Sub: 0, HasSub: true, Family: "UDP Tunnel Request", Name: "UDP Tunnel Request", RFC: "RFC 3519 section 3.1", Format: FormatShort, Zones: zHome | zFA, Flow: InRequest, New: func() Payload { return new(UDPTunnelRequest) }, Note: "before 32 from a mobile node (D set), after 32 from a foreign agent"},
	{Type: 145, Sub: 1, HasSub: true, Family: "Message String", Name: "Message String from the home agent", RFC: "RFC 4917 section 3", Format: FormatShort, Zones: zHome | zFA, Flow: InReply | InRevocation | InNotification, New: func() Payload { return &MessageString{From: MessageFromHomeAgent} }},
	{Type: 145, Sub: 2, HasSub: true, Family: "Message String", Name: "Message String from the foreign agent", RFC: "RFC 4917 section 3", Format: FormatShort, Zones: zFA, Flow: InReply | InNotification, New: func() Payload { return &MessageString{From: MessageFromForeignAgent} }},
	{Type: 147, Sub: 1, HasSub: true, Family: "PMIPv4 Skippable", Name: "PMIPv4 Interface ID", RFC: "RFC 5563 section 5.2", Format: FormatShort, Zones: zHome, Flow: InRequest, New: func() Payload { return new(ProxyInterfaceID) }},
	{Type: 147, Sub: 2, HasSub: true, Family: "PMIPv4 Skippable", Name: "PMIPv4 Device ID", RFC: "RFC 5563 section 5.3", Format: FormatShort, Zones: zHome, Flow: InRequest, New: func() Payload { return new(ProxyDeviceID) }},
	{Type: 147, Sub: 3, HasSub: true, Family: "PMIPv4 Skippable", Name: "PMIPv4 Subscriber ID", RFC: "RFC 5563 section 5.4", Format: FormatShort, Zones: zHome, Flow: InRequest, New: func() Payload { return new(ProxySubscriberID) }},
	{Type: 147, Sub: 4, HasSub: true, Family: "PMIPv4 Skippable", Name: "PMIPv4 Access Technology Type", RFC: "RFC 5563 section 5.5", Format: FormatShort, Zones: zHome, Flow: InRequest, New: func() Payload { return new(ProxyAccessTechnology) }},
	{Type: 148, Sub: 0, HasSub: true, Family: "Mobile Network", Name: "Mobile Network Request", RFC: "RFC 5177 section 4.1", Format: FormatShort, Zones: zHome, Flow: InRequest, New: func() Payload { return new(MobileNetworkRequest) }},
	{Type: 148, Sub: 1, HasSub: true, Family: "Mobile Network", Name: "Mobile Network Acknowledgement, explicit", RFC: "RFC 5177 section 4.2", Format: FormatShort, Zones: zHome, Flow: InReply, New: func() Payload { return new(MobileNetworkAck) }},
	{Type: 148, Sub: 2, HasSub: true, Family: "Mobile Network", Name: "Mobile Network Acknowledgement, implicit", RFC: "RFC 5177 section 4.2", Format: FormatShort, Zones: zHome, Flow: InReply, New: func() Payload { return &MobileNetworkAck{Implicit: true} }},
	{Type: 149, Sub: 0, HasSub: true, Family: "Trusted Networks Configured", Name: "Trusted Networks Configured", RFC: "RFC 5265 section 3.4", Format: FormatShort, Zones: zHome, Flow: InReply, New: func() Payload { return new(TrustedNetworks) }},
	{Type: 151, Family: "Service Selection", Name: "Service Selection", RFC: "RFC 5446 section 3", Format: FormatSimple, Zones: zHome | zFA, Flow: both, New: func() Payload { return new(ServiceSelection) }},
	{Type: 152, Sub: 1, HasSub: true, Family: "DSMIPv4", Name: "IPv6 Prefix Request", RFC: "RFC 5454 section 2.1", Format: FormatShort, Zones: zHome, Flow: InRequest, New: func() Payload { return new(IPv6PrefixRequest) }},
	{Type: 152, Sub: 2, HasSub: true, Family: "DSMIPv4", Name: "IPv6 Prefix Reply", RFC: "RFC 5454 section 2.2", Format: FormatShort, Zones: zHome, Flow: InReply, New: func() Payload { return new(IPv6PrefixReply) }},
	{Type: 152, Sub: 3, HasSub: true, Family: "DSMIPv4", Name: "IPv6 Tunneling Mode", RFC: "RFC 5454 section 2.3", Format: FormatShort, Zones: zHome, Flow: InRequest, New: func() Payload { return new(IPv6TunnelingMode) }},
	{Type: 153, Sub: 1, HasSub: true, Family: "Mobile Router Route Optimization Capability", Name: "Mobile Router Route Optimization Capability", RFC: "RFC 6521 section 5.1", Format: FormatShort, Zones: zHome, Flow: InRequest, New: func() Payload { return new(RouteOptimizationCapability) }},
	{Type: 154, Sub: 1, HasSub: true, Family: "Multipath", Name: "Multipath", RFC: "RFC 7629 section 4.1", Format: FormatLong, Zones: zHome, Flow: InRequest, New: func() Payload { return new(Multipath) }, Note: "drawn long on a skippable number: an old peer may mis-read what follows"},
	{Type: 154, Sub: 2, HasSub: true, Family: "Multipath", Name: "Flow-Binding", RFC: "RFC 7629 section 4.2", Format: FormatLong, Zones: zHome, Flow: both, New: func() Payload { return new(FlowBinding) }},
	{Type: 255, Family: "Experimental skippable", Name: "Experimental skippable", RFC: "RFC 4064 section 4.3", Format: FormatShort, Zones: zAny, Flow: both, New: func() Payload { return new(ExperimentalSkippable) }, Note: "skipped unless experiments are switched on"},
}

// firstRow is the index in extensions of the first row of each type, or -1.
var firstRow = func() (first [256]int16) {
	for i := range first {
		first[i] = -1
	}
	for i := len(extensions) - 1; i >= 0; i-- {
		first[extensions[i].Type] = int16(i)
	}
	return first
}()

// typeRow is the first row of a type.
func typeRow(t ExtType) *Row {
	if i := firstRow[t]; i >= 0 {
		return &extensions[i]
	}
	return nil
}

// rowOf is the row of a type and subtype; nil when there is none.
func rowOf(t ExtType, sub uint8) *Row {
	i := firstRow[t]
	if i < 0 {
		return nil
	}
	for ; int(i) < len(extensions) && extensions[i].Type == t; i++ {
		if r := &extensions[i]; !r.HasSub || r.Sub == sub {
			return r
		}
	}
	return nil
}

// formatOf is the layout of type t in a message of type mt. Only the types whose RFC says so have the long layout (RFC 5944 section
// 1.10); every number without a row has the simple one.
func formatOf(mt MessageType, t ExtType) Format {
	r := typeRow(t)
	switch {
	case r == nil:
		return FormatSimple
	case r.Format == FormatUnits && mt != TypeFastBindingUpdate && mt != TypeFastBindingAck:
		return FormatSimple
	}
	return r.Format
}

// Lookup gives the registry row of an extension. A subtype without a row, or an unassigned type, is false.
func Lookup(t ExtType, sub uint8) (Row, bool) {
	if r := rowOf(t, sub); r != nil {
		return *r, true
	}
	return Row{}, false
}

// Extensions lists the registry of extensions by type and subtype.
func Extensions() []Row { return append([]Row(nil), extensions[:]...) }

// MessageRow is the registry row of a message type.
type MessageRow struct {
	Type       MessageType
	Name       string
	RFC        string
	Fixed      int  // length of the fixed part
	Extensions bool // extensions follow the fixed part; otherwise opaque data
	New        func() Fixed
}

// messages is the registry of message types on UDP port 434. The rest is unassigned.
var messages = [...]MessageRow{
	{TypeRegistrationRequest, "Registration Request", "RFC 5944 section 3.3", 24, true, func() Fixed { return new(RegistrationRequest) }},
	{TypeRegistrationReply, "Registration Reply", "RFC 5944 section 3.4", 20, true, func() Fixed { return new(RegistrationReply) }},
	{TypeTunnelData, "Tunnel Data", "RFC 3519 section 3.3", 4, false, func() Fixed { return new(TunnelData) }},
	{TypeRevocation, "Registration Revocation", "RFC 3543 section 3.3", 20, true, func() Fixed { return new(Revocation) }},
	{TypeRevocationAck, "Registration Revocation Acknowledgment", "RFC 3543 section 3.4", 12, true, func() Fixed { return new(RevocationAck) }},
	{TypeHandoffRequest, "Handoff Request", "RFC 4881 section 4.5", 24, true, func() Fixed { return new(HandoffRequest) }},
	{TypeHandoffReply, "Handoff Reply", "RFC 4881 section 4.6", 24, true, func() Fixed { return new(HandoffReply) }},
	{TypeRegionalRequest, "Regional Registration Request", "RFC 4857 section 10.1", 24, true, func() Fixed { return new(RegionalRequest) }},
	{TypeRegionalReply, "Regional Registration Reply", "RFC 4857 section 10.2", 20, true, func() Fixed { return new(RegionalReply) }},
	{TypeFastBindingUpdate, "Fast Binding Update", "RFC 4988 section 5.1", 24, true, func() Fixed { return new(FastBindingUpdate) }},
	{TypeFastBindingAck, "Fast Binding Acknowledgment", "RFC 4988 section 5.2", 20, true, func() Fixed { return new(FastBindingAck) }},
	{TypeNotification, "Generic Notification", "RFC 6098 section 4.1", 24, true, func() Fixed { return new(Notification) }},
	{TypeNotificationAck, "Generic Notification Acknowledgement", "RFC 6098 section 4.2", 24, true, func() Fixed { return new(NotificationAck) }},
	{TypeHomeTestInit, "Home Test Init", "RFC 6521 section 5.6", 10, true, func() Fixed { return new(HomeTestInit) }},
	{TypeCareOfTestInit, "Care-of Test Init", "RFC 6521 section 5.7", 10, true, func() Fixed { return new(CareOfTestInit) }},
	{TypeHomeTest, "Home Test", "RFC 6521 section 5.8", 20, true, func() Fixed { return new(HomeTest) }},
	{TypeCareOfTest, "Care-of Test", "RFC 6521 section 5.9", 20, true, func() Fixed { return new(CareOfTest) }},
	{TypeExperimentalMessage, "Experimental Message", "RFC 4064 section 3", 1, false, func() Fixed { return new(ExperimentalMessage) }},
}

// messageIndex is the index in messages of each type, or -1.
var messageIndex = func() (index [256]int8) {
	for i := range index {
		index[i] = -1
	}
	for i, r := range messages {
		index[r.Type] = int8(i)
	}
	return index
}()

func messageRow(t MessageType) *MessageRow {
	if i := messageIndex[t]; i >= 0 {
		return &messages[i]
	}
	return nil
}

// LookupMessage gives the registry row of a message type; false when it is unassigned.
func LookupMessage(t MessageType) (MessageRow, bool) {
	if r := messageRow(t); r != nil {
		return *r, true
	}
	return MessageRow{}, false
}

// Messages lists the registry of message types by number.
func Messages() []MessageRow { return append([]MessageRow(nil), messages[:]...) }
