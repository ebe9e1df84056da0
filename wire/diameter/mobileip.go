package diameter

import (
	"fmt"
	"strings"
)

// AVPs of the Mobile IPv4 application, RFC 4004 sections 7, 9 and 10.
//
// The tables of that RFC also name MIP-MN-FA-SPI, MIP-MN-HA-SPI and MIP-HA-to-MN-SPI, which never got a number. What would carry one of
// those carries MIP-HA-to-FA-SPI (in MIP-MN-to-FA-MSA) or nothing (in MIP-MN-to-HA-MSA and MIP-HA-to-MN-MSA: the key generation
// request in the registration request says it).
const (
	MIPFAToHASPI              Code = 318
	MIPFAToMNSPI              Code = 319
	MIPRegRequest             Code = 320
	MIPRegReply               Code = 321
	MIPMNAAAAuth              Code = 322
	MIPHAToFASPI              Code = 323
	MIPMNToFAMSA              Code = 325
	MIPFAToMNMSA              Code = 326
	MIPFAToHAMSA              Code = 328
	MIPHAToFAMSA              Code = 329
	MIPMNToHAMSA              Code = 331
	MIPHAToMNMSA              Code = 332
	MIPMobileNodeAddress      Code = 333
	MIPHomeAgentAddress       Code = 334
	MIPNonce                  Code = 335
	MIPCandidateHomeAgentHost Code = 336
	MIPFeatureVector          Code = 337
	MIPAuthInputDataLength    Code = 338
	MIPAuthenticatorLength    Code = 339
	MIPAuthenticatorOffset    Code = 340
	MIPMNAAASPI               Code = 341
	MIPFilterRule             Code = 342
	MIPSessionKey             Code = 343
	MIPFAChallenge            Code = 344
	MIPAlgorithmType          Code = 345
	MIPReplayMode             Code = 346
	MIPOriginatingForeignAAA  Code = 347
	MIPHomeAgentHost          Code = 348
	AccountingInputOctets     Code = 363
	AccountingOutputOctets    Code = 364
	AccountingInputPackets    Code = 365
	AccountingOutputPackets   Code = 366
	MIPMSALifetime            Code = 367
)

// Values of MIP-Algorithm-Type (section 9.8) and MIP-Replay-Mode (section 9.9).
const (
	AlgorithmHMACSHA1 = 2
	ReplayNone        = 1
	ReplayTimestamps  = 2
	ReplayNonces      = 3
)

// FeatureVector is the value of MIP-Feature-Vector.
//
//rfc:4004#7.5
type FeatureVector uint32

// The flags.
const (
	HomeAddressRequested     FeatureVector = 1   // Mobile-Node-Home-Address-Requested
	HomeAddressOnlyHome      FeatureVector = 2   // Home-Address-Allocatable-Only-in-Home-Realm
	HomeAgentRequested       FeatureVector = 4   // Home-Agent-Requested
	ForeignHAAvailable       FeatureVector = 8   // Foreign-Home-Agent-Available, set by an AAAF only
	MNHAKeyRequest           FeatureVector = 16  // MN-HA-Key-Request
	MNFAKeyRequest           FeatureVector = 32  // MN-FA-Key-Request
	FAHAKeyRequest           FeatureVector = 64  // FA-HA-Key-Request
	HomeAgentInForeign       FeatureVector = 128 // Home-Agent-In-Foreign-Network, set by an AAAF only
	CoLocatedMobileNode      FeatureVector = 256 // Co-Located-Mobile-Node
	featureVectorKnown       FeatureVector = 511
	featureVectorAssignedBit               = 9
)

var featureNames = [featureVectorAssignedBit]string{
	"Mobile-Node-Home-Address-Requested", "Home-Address-Allocatable-Only-in-Home-Realm", "Home-Agent-Requested",
	"Foreign-Home-Agent-Available", "MN-HA-Key-Request", "MN-FA-Key-Request", "FA-HA-Key-Request",
	"Home-Agent-In-Foreign-Network", "Co-Located-Mobile-Node",
}

// String lists the flags.
func (v FeatureVector) String() string {
	var set []string
	for i, name := range featureNames {
		if v&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	if unknown := v &^ featureVectorKnown; unknown != 0 {
		set = append(set, fmt.Sprintf("0x%x", uint32(unknown)))
	}
	return strings.Join(set, ", ")
}

var mobileIPv4 = []Row{
	{Code: MIPFAToHASPI, Name: "MIP-FA-to-HA-SPI", Kind: Unsigned32, Mandatory: true, RFC: "RFC 4004 section 9.11"},
	{Code: MIPFAToMNSPI, Name: "MIP-FA-to-MN-SPI", Kind: Unsigned32, Mandatory: true, RFC: "RFC 4004 section 9.10"},
	{Code: MIPRegRequest, Name: "MIP-Reg-Request", Mandatory: true, RFC: "RFC 4004 section 7.1"},
	{Code: MIPRegReply, Name: "MIP-Reg-Reply", Mandatory: true, RFC: "RFC 4004 section 7.2"},
	{Code: MIPMNAAAAuth, Name: "MIP-MN-AAA-Auth", Kind: Grouped, Mandatory: true, RFC: "RFC 4004 section 7.6",
		Group: []Rule{one(MIPMNAAASPI), one(MIPAuthInputDataLength), one(MIPAuthenticatorLength), one(MIPAuthenticatorOffset)}},
	{Code: MIPHAToFASPI, Name: "MIP-HA-to-FA-SPI", Kind: Unsigned32, Mandatory: true, RFC: "RFC 4004 section 9.14"},
	{Code: MIPMNToFAMSA, Name: "MIP-MN-to-FA-MSA", Kind: Grouped, Mandatory: true, RFC: "RFC 4004 section 9.5",
		Group: []Rule{optional(MIPHAToFASPI), one(MIPAlgorithmType), one(MIPNonce)}},
	{Code: MIPFAToMNMSA, Name: "MIP-FA-to-MN-MSA", Kind: Grouped, Mandatory: true, RFC: "RFC 4004 section 9.1",
		Group: []Rule{one(MIPFAToMNSPI), one(MIPAlgorithmType), one(MIPSessionKey)}},
	{Code: MIPFAToHAMSA, Name: "MIP-FA-to-HA-MSA", Kind: Grouped, Mandatory: true, RFC: "RFC 4004 section 9.2",
		Group: []Rule{one(MIPFAToHASPI), one(MIPAlgorithmType), one(MIPSessionKey)}},
	{Code: MIPHAToFAMSA, Name: "MIP-HA-to-FA-MSA", Kind: Grouped, Mandatory: true, RFC: "RFC 4004 section 9.3",
		Group: []Rule{one(MIPHAToFASPI), one(MIPAlgorithmType), one(MIPSessionKey)}},
	{Code: MIPMNToHAMSA, Name: "MIP-MN-to-HA-MSA", Kind: Grouped, Mandatory: true, RFC: "RFC 4004 section 9.6",
		Group: []Rule{one(MIPAlgorithmType), one(MIPReplayMode), one(MIPNonce)}},
	{Code: MIPHAToMNMSA, Name: "MIP-HA-to-MN-MSA", Kind: Grouped, Mandatory: true, RFC: "RFC 4004 section 9.4",
		Group: []Rule{one(MIPAlgorithmType), one(MIPReplayMode), one(MIPSessionKey)}},
	{Code: MIPMobileNodeAddress, Name: "MIP-Mobile-Node-Address", Kind: Address, Mandatory: true, RFC: "RFC 4004 section 7.3"},
	{Code: MIPHomeAgentAddress, Name: "MIP-Home-Agent-Address", Kind: Address, Mandatory: true, RFC: "RFC 4004 section 7.4"},
	{Code: MIPNonce, Name: "MIP-Nonce", Mandatory: true, RFC: "RFC 4004 section 9.12"},
	{Code: MIPCandidateHomeAgentHost, Name: "MIP-Candidate-Home-Agent-Host", Kind: DiameterIdentity, Mandatory: true, RFC: "RFC 4004 section 7.9"},
	{Code: MIPFeatureVector, Name: "MIP-Feature-Vector", Kind: Unsigned32, Mandatory: true, RFC: "RFC 4004 section 7.5"},
	{Code: MIPAuthInputDataLength, Name: "MIP-Auth-Input-Data-Length", Kind: Unsigned32, Mandatory: true, RFC: "RFC 4004 section 7.6.2"},
	{Code: MIPAuthenticatorLength, Name: "MIP-Authenticator-Length", Kind: Unsigned32, Mandatory: true, RFC: "RFC 4004 section 7.6.3"},
	{Code: MIPAuthenticatorOffset, Name: "MIP-Authenticator-Offset", Kind: Unsigned32, Mandatory: true, RFC: "RFC 4004 section 7.6.4"},
	{Code: MIPMNAAASPI, Name: "MIP-MN-AAA-SPI", Kind: Unsigned32, Mandatory: true, RFC: "RFC 4004 section 7.6.1"},
	{Code: MIPFilterRule, Name: "MIP-Filter-Rule", Kind: IPFilterRule, Mandatory: true, RFC: "RFC 4004 section 7.8"},
	{Code: MIPSessionKey, Name: "MIP-Session-Key", Mandatory: true, Secret: true, RFC: "RFC 4004 section 9.7"},
	{Code: MIPFAChallenge, Name: "MIP-FA-Challenge", Mandatory: true, RFC: "RFC 4004 section 7.7"},
	{Code: MIPAlgorithmType, Name: "MIP-Algorithm-Type", Kind: Enumerated, Mandatory: true, RFC: "RFC 4004 section 9.8",
		Values: map[uint32]string{AlgorithmHMACSHA1: "HMAC-SHA-1"}},
	{Code: MIPReplayMode, Name: "MIP-Replay-Mode", Kind: Enumerated, Mandatory: true, RFC: "RFC 4004 section 9.9",
		Values: map[uint32]string{ReplayNone: "none", ReplayTimestamps: "timestamps", ReplayNonces: "nonces"}},
	{Code: MIPOriginatingForeignAAA, Name: "MIP-Originating-Foreign-AAA", Kind: Grouped, Mandatory: true, RFC: "RFC 4004 section 7.10",
		Group: []Rule{one(OriginRealm), one(OriginHost)}},
	// The table of section 7 says DiamIdent, section 7.11 says Grouped; RFC 5447 section 4.2.3 follows the latter, and so do we.
	{Code: MIPHomeAgentHost, Name: "MIP-Home-Agent-Host", Kind: Grouped, Mandatory: true, RFC: "RFC 4004 section 7.11",
		Group: []Rule{one(DestinationRealm), one(DestinationHost)}},
	{Code: AcctSessionTime, Name: "Acct-Session-Time", Kind: Unsigned32, Mandatory: true, RFC: "RFC 4004 section 10.3"},
	{Code: AccountingInputOctets, Name: "Accounting-Input-Octets", Kind: Unsigned64, Mandatory: true, RFC: "RFC 4004 section 10.1"},
	{Code: AccountingOutputOctets, Name: "Accounting-Output-Octets", Kind: Unsigned64, Mandatory: true, RFC: "RFC 4004 section 10.2"},
	{Code: AccountingInputPackets, Name: "Accounting-Input-Packets", Kind: Unsigned64, Mandatory: true, RFC: "RFC 4004 section 10.4"},
	{Code: AccountingOutputPackets, Name: "Accounting-Output-Packets", Kind: Unsigned64, Mandatory: true, RFC: "RFC 4004 section 10.5"},
	{Code: MIPMSALifetime, Name: "MIP-MSA-Lifetime", Kind: Unsigned32, Mandatory: true, RFC: "RFC 4004 section 9.13"},
}
