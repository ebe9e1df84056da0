package mip4

import "fmt"

// Code is the result of a registration (RFC 5944 section 3.4). The registry is the table below.
type Code uint8

// The codes.
const (
	CodeAccepted                     Code = 0   // RFC 5944 section 3.4: registration accepted
	CodeAcceptedNoSimultaneous       Code = 1   // RFC 5944 section 3.4: registration accepted, but simultaneous mobility bindings unsupported
	CodeConcurrent                   Code = 2   // RFC 6521 section 10: concurrent registration (pre-accept)
	CodeFAUnspecified                Code = 64  // RFC 5944 section 3.4: reason unspecified
	CodeFAProhibited                 Code = 65  // RFC 5944 section 3.4: administratively prohibited
	CodeFAResources                  Code = 66  // RFC 5944 section 3.4: insufficient resources
	CodeFAMobileNodeAuth             Code = 67  // RFC 5944 section 3.4: mobile node failed authentication
	CodeFAHomeAgentAuth              Code = 68  // RFC 5944 section 3.4: home agent failed authentication
	CodeFALifetimeTooLong            Code = 69  // RFC 5944 section 3.4: requested Lifetime too long
	CodeFAPoorlyFormed               Code = 70  // RFC 5944 section 3.4: poorly formed Request
	CodeFAPoorlyFormedReply          Code = 71  // RFC 5944 section 3.4: poorly formed Reply
	CodeFAEncapsulationUnavailable   Code = 72  // RFC 5944 section 3.4: requested encapsulation unavailable
	CodeFAReserved73                 Code = 73  // RFC 5944 section 3.4: reserved and unavailable
	CodeFAReverseTunnelUnavailable   Code = 74  // RFC 3024 section 3.4: requested reverse tunnel unavailable
	CodeFAReverseTunnelMandatory     Code = 75  // RFC 3024 section 3.4: reverse tunnel is mandatory and 'T' bit not set
	CodeFATooDistant                 Code = 76  // RFC 3024 section 3.4: mobile node too distant
	CodeFAInvalidCareOf              Code = 77  // RFC 5944 section 3.4: invalid care-of address
	CodeFATimeout                    Code = 78  // RFC 5944 section 3.4: registration timeout
	CodeFADeliveryStyle              Code = 79  // RFC 3024 section 3.4: delivery style not supported
	CodeFANetworkUnreachable         Code = 80  // RFC 5944 section 3.4: home network unreachable (ICMP error received)
	CodeFAHostUnreachable            Code = 81  // RFC 5944 section 3.4: home agent host unreachable (ICMP error received)
	CodeFAPortUnreachable            Code = 82  // RFC 5944 section 3.4: home agent port unreachable (ICMP error received)
	CodeFAUnreachable                Code = 88  // RFC 5944 section 3.4: home agent unreachable (other ICMP error received)
	CodeFAVendor                     Code = 89  // RFC 4784 section 4.9: vendor-specific reason
	CodeFANonzeroHARequired          Code = 90  // RFC 4433 section 7: non-zero home agent address required
	CodeFANonzeroHomeAddressRequired Code = 96  // RFC 2794 section 5: non-zero home address required
	CodeFAMissingNAI                 Code = 97  // RFC 2794 section 5: missing NAI
	CodeFAMissingHomeAgent           Code = 98  // RFC 2794 section 5: missing home agent
	CodeFAMissingHomeAddress         Code = 99  // RFC 2794 section 5: missing home address
	CodeFAVendorFromMobileNode       Code = 100 // RFC 3115 section 2.4: unsupported Vendor-ID or CVSE type sent by the mobile node
	CodeFAVendorFromHomeAgent        Code = 101 // RFC 3115 section 2.4: unsupported Vendor-ID or CVSE type sent by the home agent
	CodeFAUnknownChallenge           Code = 104 // RFC 4721 section 10: unknown challenge
	CodeFAMissingChallenge           Code = 105 // RFC 4721 section 10: missing challenge
	CodeFAStaleChallenge             Code = 106 // RFC 4721 section 10: stale challenge
	CodeFAMissingMNFA                Code = 107 // RFC 3957 section 7: missing key reply between mobile node and foreign agent
	CodeFABadAAAAuth                 Code = 108 // RFC 4721 section 10: foreign agent: bad AAA authentication
	CodeFAWrongChallenge             Code = 109 // RFC 4721 section 10: wrong challenge in the home agent's reply
	CodeReplayProtectionUnavailable  Code = 110 // RFC 4857 section 9.5: requested replay protection unavailable
	CodeZeroCareOfNotSupported       Code = 111 // RFC 4857 section 9.5: zero care-of address not supported
	CodeUnknownGFA                   Code = 112 // RFC 4857 section 10.3: unknown gateway foreign agent
	CodeGFAUnreachable               Code = 113 // RFC 4857 section 10.3: gateway foreign agent unreachable
	CodeGFAHostUnreachable           Code = 114 // RFC 4857 section 10.3: gateway foreign agent host unreachable
	CodeGFAPortUnreachable           Code = 115 // RFC 4857 section 10.3: gateway foreign agent port unreachable
	CodeFAInvalidHomeAgent           Code = 116 // RFC 5944 section 3.4: invalid home agent address
	CodeFAExperimental               Code = 127 // RFC 4064 section 3: experimental (foreign agent)
	CodeHAUnspecified                Code = 128 // RFC 5944 section 3.4: reason unspecified
	CodeHAProhibited                 Code = 129 // RFC 5944 section 3.4: administratively prohibited
	CodeHAResources                  Code = 130 // RFC 5944 section 3.4: insufficient resources
	CodeHAMobileNodeAuth             Code = 131 // RFC 5944 section 3.4: mobile node failed authentication
	CodeHAForeignAgentAuth           Code = 132 // RFC 5944 section 3.4: foreign agent failed authentication
	CodeIdentificationMismatch       Code = 133 // RFC 5944 section 3.4: registration Identification mismatch
	CodeHAPoorlyFormed               Code = 134 // RFC 5944 section 3.4: poorly formed Request
	CodeTooManyBindings              Code = 135 // RFC 5944 section 3.4: too many simultaneous mobility bindings
	CodeUnknownHomeAgent             Code = 136 // RFC 5944 section 3.4: unknown home agent address
	CodeHAReverseTunnelUnavailable   Code = 137 // RFC 3024 section 3.4: requested reverse tunnel unavailable
	CodeHAReverseTunnelMandatory     Code = 138 // RFC 3024 section 3.4: reverse tunnel is mandatory and 'T' bit not set
	CodeHAEncapsulationUnavailable   Code = 139 // RFC 3024 section 3.4: requested encapsulation unavailable
	CodeHAVendorFromMobileNode       Code = 140 // RFC 3115 section 2.4: unsupported Vendor-ID or CVSE type sent by the mobile node
	CodeHAVendorFromForeignAgent     Code = 141 // RFC 3115 section 2.4: unsupported Vendor-ID or CVSE type sent by the foreign agent
	CodeUDPEncapUnavailable          Code = 142 // RFC 3519 section 8: requested UDP tunnel encapsulation unavailable
	CodeRedirectHA                   Code = 143 // RFC 4433 section 7: redirected to another home agent
	CodeHABadAAAAuth                 Code = 144 // RFC 4721 section 10: home agent: bad AAA authentication
	CodeZeroCareOf                   Code = 145 // RFC 4857 section 9.5: zero care-of address
	CodeDynamicGFANotSupported       Code = 146 // RFC 4857 section 9.5: dynamic gateway assignment not supported
	CodeMobileNetworkError           Code = 147 // RFC 5177 section 11: mobile network error
	CodeMobileNetworkDisallowed      Code = 148 // RFC 5177 section 11: mobile network not allowed
	CodeProxyUnsupported             Code = 149 // RFC 5563 section 12.2: proxy registration unsupported
	CodeProxyDisallowed              Code = 150 // RFC 5563 section 12.2: proxy registration disallowed
	CodeServiceAuthorization         Code = 151 // RFC 5446 section 4: service authorization failed
	CodeMultipathNotAllowed          Code = 152 // RFC 7629 section 4.3: multipath not allowed
	CodeInvalidFlowBinding           Code = 153 // RFC 7629 section 4.3: invalid flow binding identifier
	CodeHAExperimental               Code = 192 // RFC 4064 section 3: experimental (home agent)
	CodeNoHomeRegistration           Code = 193 // RFC 4857 section 10.3: no home registration
	CodeInvalidHomeAgentPrinted      Code = 194 // RFC 5944 section 3.4: invalid home agent address
	CodeExpiredHomeNonce             Code = 201 // RFC 6521 section 10: expired home nonce index
	CodeExpiredCareOfNonce           Code = 202 // RFC 6521 section 10: expired care-of nonce index
	CodeExpiredNonces                Code = 203 // RFC 6521 section 10: expired nonces
)

// Accepted reports whether the code accepts the registration: 0-8 is the range of success (RFC 5944 section 6.4).
func (c Code) Accepted() bool { return c <= 8 }

// FromForeignAgent reports whether the code is in the range of foreign agents, 64-127.
func (c Code) FromForeignAgent() bool { return c >= 64 && c <= 127 }

// FromHomeAgent reports whether the code is in the range of home agents, 128-192.
func (c Code) FromHomeAgent() bool { return c >= 128 && c <= 192 }

// FromGateway reports whether the code is in the range of gateway foreign agents, 193-200.
func (c Code) FromGateway() bool { return c >= 193 && c <= 200 }

// From names who the code's range belongs to (RFC 5944 section 6.4): "success", "foreign agent", "home agent",
// "gateway foreign agent", "correspondent router" (201-210, RFC 6521) or "unassigned".
func (c Code) From() string {
	switch {
	case c.Accepted():
		return "success"
	case c.FromForeignAgent():
		return "foreign agent"
	case c.FromHomeAgent():
		return "home agent"
	case c.FromGateway():
		return "gateway foreign agent"
	case c >= 201 && c <= 210:
		return "correspondent router"
	}
	return "unassigned"
}

// Canonical maps the number that RFC 5944 prints for "Invalid Home Agent Address", 194, to the one of the registry, 116. Every
// other code is itself.
func (c Code) Canonical() Code {
	if c == CodeInvalidHomeAgentPrinted {
		return CodeFAInvalidHomeAgent
	}
	return c
}

// CodeRow is the registry row of a reply code.
type CodeRow struct {
	Code  Code
	Name  string // the RFC's constant where it has one
	Text  string // the RFC's words
	Means string
	Do    string // what the person who sees it can do
	RFC   string
}

// codes is the registry of reply codes, by number. The rest is unassigned.
var codes = [...]CodeRow{
	{CodeAccepted, "accepted", "registration accepted",
		"The home agent made or renewed the binding, or ended it when the lifetime was 0.",
		"Nothing.", "RFC 5944 section 3.4"},
	{CodeAcceptedNoSimultaneous, "accepted, no simultaneous bindings", "registration accepted, but simultaneous mobility bindings unsupported",
		"The binding was made and replaced the others; the home agent does not keep several.",
		"Nothing; do not set the S bit with this home agent.", "RFC 5944 section 3.4"},
	{CodeConcurrent, "concurrent pre-accept", "concurrent registration (pre-accept)",
		"Two mobile routers registered with each other at the same time; this one waits for the other.",
		"Wait for the peer's own registration, then answer it.", "RFC 6521 section 10"},
	{CodeFAUnspecified, "FA reason unspecified", "reason unspecified",
		"The foreign agent refuses and does not say why.",
		"Read the foreign agent's log; try another agent or a co-located care-of address.", "RFC 5944 section 3.4"},
	{CodeFAProhibited, "FA prohibited", "administratively prohibited",
		"The foreign agent's policy refuses this node.",
		"Ask its operator, or use another agent or a co-located care-of address.", "RFC 5944 section 3.4"},
	{CodeFAResources, "FA resources", "insufficient resources",
		"The foreign agent has too many visitors or too many pending requests.",
		"Wait and retry, or use another agent.", "RFC 5944 section 3.4"},
	{CodeFAMobileNodeAuth, "FA mobile node failed authentication", "mobile node failed authentication",
		"The Mobile-Foreign authentication (33) is missing or wrong.",
		"Compare SPI, algorithm and key of the association between mobile node and foreign agent.", "RFC 5944 section 3.4"},
	{CodeFAHomeAgentAuth, "FA home agent failed authentication", "home agent failed authentication",
		"The Foreign-Home authentication (34) of the home agent's reply is missing or wrong.",
		"Compare SPI, algorithm and key of the association between foreign agent and home agent.", "RFC 5944 section 3.4"},
	{CodeFALifetimeTooLong, "FA lifetime too long", "requested Lifetime too long",
		"The foreign agent grants less; the reply's Lifetime is its maximum.",
		"Ask again with the Lifetime of the reply.", "RFC 5944 section 3.4"},
	{CodeFAPoorlyFormed, "FA poorly formed request", "poorly formed Request",
		"The foreign agent could not read the request or does not know a field of it.",
		"Decode the request; an old agent may refuse the T bit this way: retry without it.", "RFC 5944 section 3.4"},
	{CodeFAPoorlyFormedReply, "FA poorly formed reply", "poorly formed Reply",
		"The foreign agent could not read the home agent's reply.",
		"Decode the reply on the link between the agents.", "RFC 5944 section 3.4"},
	{CodeFAEncapsulationUnavailable, "FA encapsulation unavailable", "requested encapsulation unavailable",
		"The foreign agent does not do the encapsulation of the M or G bit.",
		"Retry without M and G.", "RFC 5944 section 3.4"},
	{CodeFAReserved73, "FA reserved 73", "reserved and unavailable",
		"Was Van Jacobson compression in RFC 2002.",
		"Do not set the reserved bits.", "RFC 5944 section 3.4"},
	{CodeFAReverseTunnelUnavailable, "FA reverse tunnel unavailable", "requested reverse tunnel unavailable",
		"The foreign agent cannot reverse tunnel.",
		"Retry without T, or use another agent.", "RFC 3024 section 3.4"},
	{CodeFAReverseTunnelMandatory, "FA reverse tunnel mandatory", "reverse tunnel is mandatory and 'T' bit not set",
		"The foreign agent insists on reverse tunnelling.",
		"Set T: reverse-tunnel = \"required\" or \"allowed\".", "RFC 3024 section 3.4"},
	{CodeFATooDistant, "FA mobile node too distant", "mobile node too distant",
		"The request asked for a reverse tunnel and did not come with TTL 255, so the node is not on the agent's link.",
		"Send with TTL 255 from the agent's own link.", "RFC 3024 section 3.4"},
	{CodeFAInvalidCareOf, "FA invalid care-of address", "invalid care-of address",
		"The care-of address is not one that this agent offers.",
		"Take a care-of address from a fresh advertisement of this agent.", "RFC 5944 section 3.4"},
	{CodeFATimeout, "FA registration timeout", "registration timeout",
		"The home agent did not answer the foreign agent in time.",
		"Check that the home agent runs and that UDP 434 passes both ways between the agents.", "RFC 5944 section 3.4"},
	{CodeFADeliveryStyle, "FA delivery style not supported", "delivery style not supported",
		"The foreign agent does not do the encapsulating delivery style (130).",
		"Retry without extension 130.", "RFC 3024 section 3.4"},
	{CodeFANetworkUnreachable, "FA home network unreachable", "home network unreachable (ICMP error received)",
		"The foreign agent has no route to the home network.",
		"Check the route from the foreign agent to the home agent.", "RFC 5944 section 3.4"},
	{CodeFAHostUnreachable, "FA home agent host unreachable", "home agent host unreachable (ICMP error received)",
		"The home agent's host does not answer on its network.",
		"Check the home agent's address and that its host is up.", "RFC 5944 section 3.4"},
	{CodeFAPortUnreachable, "FA home agent port unreachable", "home agent port unreachable (ICMP error received)",
		"Nothing listens on UDP 434 at the home agent.",
		"Start the home agent, or correct its address.", "RFC 5944 section 3.4"},
	{CodeFAUnreachable, "FA home agent unreachable", "home agent unreachable (other ICMP error received)",
		"An ICMP error other than 80 to 82 came back.",
		"Look for firewalls between foreign agent and home agent.", "RFC 5944 section 3.4"},
	{CodeFAVendor, "FA vendor specific", "vendor-specific reason",
		"Defined by the vendor of the agent; used by RFC 4784 for key update.",
		"See the vendor extensions (38, 134) of the reply.", "RFC 4784 section 4.9"},
	{CodeFANonzeroHARequired, "NONZERO-HA-REQD", "non-zero home agent address required",
		"The foreign agent cannot choose a home agent.",
		"Configure home-agent, or ask for one with extension 139.", "RFC 4433 section 7"},
	{CodeFANonzeroHomeAddressRequired, "NONZERO_HOMEADDR_REQD", "non-zero home address required",
		"The foreign agent cannot serve a node without a home address.",
		"Configure home-address.", "RFC 2794 section 5"},
	{CodeFAMissingNAI, "MISSING_NAI", "missing NAI",
		"The home agent's reply lacks the NAI of the request.",
		"Update the home agent: RFC 2794 makes it echo extension 131.", "RFC 2794 section 5"},
	{CodeFAMissingHomeAgent, "MISSING_HOME_AGENT", "missing home agent",
		"The home agent's reply lacks the home agent address.",
		"Check the home agent.", "RFC 2794 section 5"},
	{CodeFAMissingHomeAddress, "MISSING_HOMEADDR", "missing home address",
		"The home agent's reply lacks a home address.",
		"Give the home agent a pool or a fixed address for this node.", "RFC 2794 section 5"},
	{CodeFAVendorFromMobileNode, "FA unsupported vendor extension from mobile node", "unsupported Vendor-ID or CVSE type sent by the mobile node",
		"The foreign agent does not know a critical vendor extension (38) of the request.",
		"Do not send it through this agent, or send it as extension 134.", "RFC 3115 section 2.4"},
	{CodeFAVendorFromHomeAgent, "FA unsupported vendor extension from home agent", "unsupported Vendor-ID or CVSE type sent by the home agent",
		"The foreign agent does not know a critical vendor extension (38) of the reply.",
		"Configure the home agent not to send it.", "RFC 3115 section 2.4"},
	{CodeFAUnknownChallenge, "UNKNOWN_CHALLENGE", "unknown challenge",
		"The challenge answered is not one that the foreign agent has advertised.",
		"Use the challenge of its last advertisement or reply.", "RFC 4721 section 10"},
	{CodeFAMissingChallenge, "MISSING_CHALLENGE", "missing challenge",
		"The foreign agent advertises challenges and the request answers none.",
		"Add extension 132 with the advertised challenge.", "RFC 4721 section 10"},
	{CodeFAStaleChallenge, "STALE_CHALLENGE", "stale challenge",
		"The challenge was used before.",
		"Use a new challenge, from the denial or an advertisement.", "RFC 4721 section 10"},
	{CodeFAMissingMNFA, "MISSING_MN_FA", "missing key reply between mobile node and foreign agent",
		"The reply brought no key for the foreign agent, and there is none.",
		"Ask AAA for one (extension 40), or configure an association.", "RFC 3957 section 7"},
	{CodeFABadAAAAuth, "FA_BAD_AAA_AUTH", "foreign agent: bad AAA authentication",
		"AAA refused the Mobile-AAA authentication (36).",
		"Compare the AAA key and SPI of the node.", "RFC 4721 section 10"},
	{CodeFAWrongChallenge, "HA_WRONG_CHALLENGE", "wrong challenge in the home agent's reply",
		"The home agent's reply carries another challenge than the request. Only in extension 45.",
		"Check the home agent.", "RFC 4721 section 10"},
	{CodeReplayProtectionUnavailable, "REPLAY_PROT_UNAVAIL", "requested replay protection unavailable",
		"The gateway foreign agent does not do the style that extension 141 asks for.",
		"Use timestamps.", "RFC 4857 section 9.5"},
	{CodeZeroCareOfNotSupported, "ZERO_COA_NOT_SUPP", "zero care-of address not supported",
		"The gateway foreign agent does not assign itself dynamically.",
		"Register with its address as the care-of address.", "RFC 4857 section 9.5"},
	{CodeUnknownGFA, "UNKNOWN_GFA", "unknown gateway foreign agent",
		"The foreign agent does not know the gateway of the request.",
		"Make a home registration.", "RFC 4857 section 10.3"},
	{CodeGFAUnreachable, "GFA_UNREACHABLE", "gateway foreign agent unreachable",
		"An ICMP error came back from the way to the gateway.",
		"Check the route between the foreign agents.", "RFC 4857 section 10.3"},
	{CodeGFAHostUnreachable, "GFA_HOST_UNREACHABLE", "gateway foreign agent host unreachable",
		"The gateway's host does not answer.",
		"Check that the gateway is up.", "RFC 4857 section 10.3"},
	{CodeGFAPortUnreachable, "GFA_PORT_UNREACHABLE", "gateway foreign agent port unreachable",
		"Nothing listens on UDP 434 at the gateway.",
		"Start the gateway.", "RFC 4857 section 10.3"},
	{CodeFAInvalidHomeAgent, "FA invalid home agent address", "invalid home agent address",
		"The Home Agent field is no address that the foreign agent can relay to. RFC 5944 prints 194, the registry has 116; both are accepted.",
		"Put the home agent's unicast address into the request.", "RFC 5944 section 3.4"},
	{CodeFAExperimental, "FA experimental", "experimental (foreign agent)",
		"For experiments.",
		"See the experiment's description.", "RFC 4064 section 3"},
	{CodeHAUnspecified, "HA reason unspecified", "reason unspecified",
		"The home agent refuses and does not say why.",
		"Read the home agent's log.", "RFC 5944 section 3.4"},
	{CodeHAProhibited, "HA prohibited", "administratively prohibited",
		"The home agent's policy refuses this node, home address or care-of address.",
		"Check that the home address is configured at the home agent for this node.", "RFC 5944 section 3.4"},
	{CodeHAResources, "HA resources", "insufficient resources",
		"No free address in the pool, no room for the binding, or the forwarding could not be set up.",
		"Read the home agent's log; enlarge the pool.", "RFC 5944 section 3.4"},
	{CodeHAMobileNodeAuth, "HA mobile node failed authentication", "mobile node failed authentication",
		"The authenticator of the mobile node is wrong.",
		"Compare SPI, algorithm and key at both ends: careof keygen makes a fresh pair.", "RFC 5944 section 3.4"},
	{CodeHAForeignAgentAuth, "HA foreign agent failed authentication", "foreign agent failed authentication",
		"The Foreign-Home authentication (34) is missing or wrong although the agents share an association.",
		"Compare SPI, algorithm and key at foreign agent and home agent.", "RFC 5944 section 3.4"},
	{CodeIdentificationMismatch, "HA identification mismatch", "registration Identification mismatch",
		"Replay protection refused the request: the clocks differ by more than the window, or the request is an old one.",
		"The node corrects itself from the reply and asks again. If it stays, set the clocks (NTP) and check that both ends use the same replay style.", "RFC 5944 section 3.4"},
	{CodeHAPoorlyFormed, "HA poorly formed request", "poorly formed Request",
		"The home agent could not read the request, or its fields contradict each other.",
		"Decode the request; check that 144 stands before 32 and that D is set with it.", "RFC 5944 section 3.4"},
	{CodeTooManyBindings, "HA too many bindings", "too many simultaneous mobility bindings",
		"The node already has as many bindings as the home agent allows.",
		"Deregister one, or raise simultaneous-bindings.", "RFC 5944 section 3.4"},
	{CodeUnknownHomeAgent, "HA unknown home agent address", "unknown home agent address",
		"The request went to a broadcast address or names another home agent; the reply's Home Agent field is the right one.",
		"Register with the address in the reply.", "RFC 5944 section 3.4"},
	{CodeHAReverseTunnelUnavailable, "HA reverse tunnel unavailable", "requested reverse tunnel unavailable",
		"The home agent refuses reverse tunnelling.",
		"Retry without T, or set reverse-tunnel at the home agent.", "RFC 3024 section 3.4"},
	{CodeHAReverseTunnelMandatory, "HA reverse tunnel mandatory", "reverse tunnel is mandatory and 'T' bit not set",
		"The home agent insists on reverse tunnelling.",
		"Set T at the mobile node.", "RFC 3024 section 3.4"},
	{CodeHAEncapsulationUnavailable, "HA encapsulation unavailable", "requested encapsulation unavailable",
		"The home agent does not do the encapsulation asked for.",
		"Use encapsulation = \"auto\", or enable it in encapsulations at the home agent.", "RFC 3024 section 3.4"},
	{CodeHAVendorFromMobileNode, "HA unsupported vendor extension from mobile node", "unsupported Vendor-ID or CVSE type sent by the mobile node",
		"The home agent does not know a critical vendor extension (38) of the mobile node.",
		"Do not send it, or send it as extension 134.", "RFC 3115 section 2.4"},
	{CodeHAVendorFromForeignAgent, "HA unsupported vendor extension from foreign agent", "unsupported Vendor-ID or CVSE type sent by the foreign agent",
		"The home agent does not know a critical vendor extension (38) that the foreign agent added.",
		"Configure the foreign agent not to add it.", "RFC 3115 section 2.4"},
	{CodeUDPEncapUnavailable, "HA UDP encapsulation unavailable", "requested UDP tunnel encapsulation unavailable",
		"The home agent does not do the encapsulation that extension 144 asks for.",
		"Retry with encapsulation 0 or 4 (IP in UDP).", "RFC 3519 section 8"},
	{CodeRedirectHA, "REDIRECT-HA-REQ", "redirected to another home agent",
		"The home agent sends the node to the one in extension 139.",
		"Register there.", "RFC 4433 section 7"},
	{CodeHABadAAAAuth, "HA_BAD_AAA_AUTH", "home agent: bad AAA authentication",
		"AAA refused the Mobile-AAA authentication (36).",
		"Compare the AAA key and SPI of the node.", "RFC 4721 section 10"},
	{CodeZeroCareOf, "ZERO_CAREOF_ADDRESS", "zero care-of address",
		"The care-of address is 0 and no extension 46 names a gateway.",
		"Check the foreign agent or gateway.", "RFC 4857 section 9.5"},
	{CodeDynamicGFANotSupported, "DYN_GFA_NOT_SUPP", "dynamic gateway assignment not supported",
		"The home agent does not accept extension 46.",
		"Register with the gateway's address as care-of address.", "RFC 4857 section 9.5"},
	{CodeMobileNetworkError, "HA_MOBNET_ERROR", "mobile network error",
		"None of the prefixes of the mobile router was accepted; each acknowledgement (148) says why.",
		"Give the node these prefixes at the home agent.", "RFC 5177 section 11"},
	{CodeMobileNetworkDisallowed, "HA_MOBNET_DISALLOWED", "mobile network not allowed",
		"This node may not be a mobile router.",
		"Give the node prefixes at the home agent, or stop asking.", "RFC 5177 section 11"},
	{CodeProxyUnsupported, "PMIP_UNSUPPORTED", "proxy registration unsupported",
		"The home agent does not do proxy mobile IPv4.",
		"Use another home agent.", "RFC 5563 section 12.2"},
	{CodeProxyDisallowed, "PMIP_DISALLOWED", "proxy registration disallowed",
		"This proxy may not register nodes here.",
		"Allow the proxy at the home agent.", "RFC 5563 section 12.2"},
	{CodeServiceAuthorization, "SERVICE_AUTHORIZATION_FAILED", "service authorization failed",
		"The node may not use the service that extension 151 names, or the default one.",
		"Check the service's name and the node's rights.", "RFC 5446 section 4"},
	{CodeMultipathNotAllowed, "MULTIPATH_NOT_ALLOWED", "multipath not allowed",
		"This node may not use several paths.",
		"Register without extension 154.", "RFC 7629 section 4.3"},
	{CodeInvalidFlowBinding, "INVALID_FB_IDENTIFIER", "invalid flow binding identifier",
		"A flow names a binding that does not exist.",
		"Register that binding again.", "RFC 7629 section 4.3"},
	{CodeHAExperimental, "HA experimental", "experimental (home agent)",
		"For experiments.",
		"See the experiment's description.", "RFC 4064 section 3"},
	{CodeNoHomeRegistration, "NO_HOME_REG", "no home registration",
		"The gateway foreign agent knows no valid home registration of the node.",
		"Make a home registration.", "RFC 4857 section 10.3"},
	{CodeInvalidHomeAgentPrinted, "invalid home agent address (as printed)", "invalid home agent address",
		"The number that RFC 5944 prints for 116.",
		"As 116.", "RFC 5944 section 3.4"},
	{CodeExpiredHomeNonce, "expired home nonce index", "expired home nonce index",
		"The correspondent router no longer knows the home nonce.",
		"Repeat the return routability test.", "RFC 6521 section 10"},
	{CodeExpiredCareOfNonce, "expired care-of nonce index", "expired care-of nonce index",
		"The correspondent router no longer knows the care-of nonce.",
		"Repeat the return routability test.", "RFC 6521 section 10"},
	{CodeExpiredNonces, "expired nonces", "expired nonces",
		"The correspondent router knows neither nonce any more.",
		"Repeat the return routability test.", "RFC 6521 section 10"},
}

// codeIndex is the index in codes of each code, or -1.
var codeIndex = func() (index [256]int8) {
	for i := range index {
		index[i] = -1
	}
	for i, r := range codes {
		index[r.Code] = int8(i)
	}
	return index
}()

// String is the registry's text: "registration accepted", "Code(143)" for an unassigned one.
func (c Code) String() string {
	if i := codeIndex[c]; i >= 0 {
		return codes[i].Text
	}
	return fmt.Sprintf("Code(%d)", uint8(c))
}

// ExplainCode gives the registry row of a code. For an unassigned code the row says so, with what its range tells.
func ExplainCode(c Code) CodeRow {
	if i := codeIndex[c]; i >= 0 {
		return codes[i]
	}
	return CodeRow{
		Code: c, Name: c.String(), Text: "unassigned code",
		Means: "No RFC known here defines this code; its range is: " + c.From() + ".",
		Do:    "Ask the operator of the sender, or look for a newer RFC.",
		RFC:   "RFC 5944 section 6.4",
	}
}

// Codes lists the registry of reply codes by number.
func Codes() []CodeRow { return append([]CodeRow(nil), codes[:]...) }
