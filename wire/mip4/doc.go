// Package mip4 is the codec of the Mobile IPv4 control messages that travel on UDP port 434: the base protocol of RFC 5944 and
// every extension RFC of its family. It turns octets into messages and messages into octets; it decides nothing.
//
// Reading. Parse frames a datagram: it finds the fixed part and the borders of every extension and keeps all of them in order
// with their offsets, known or not. Interpretation comes later and only for what a role asks for: Message.Request, Message.Reply
// and the like for the fixed part, Get for an extension. What no role claims is found by Message.FirstUnclaimed, because an
// extension numbered 0-127 that nobody understands makes the receiver discard the message (RFC 5944 section 1.8).
//
// Authenticators cover the octets as they were received, so a Message never re-encodes: Message.Covered gives exactly the octets
// that an authenticator covers, Message.Head what a foreign agent must forward untouched.
//
// Writing. A Draft collects the parts of an outgoing message by zone and Draft.Seal lays them out in the order of RFC 5944
// sections 3.6.1.3 and 3.8.3.3, computing each authenticator when its turn comes.
//
// Memory. A Message, its extensions and the byte slices of decoded payloads alias the datagram given to Parse. Whoever keeps
// them longer than the datagram clones them.
//
// The tables in table.go and codes.go are the registry: numbers, names, formats, RFC sections. Describe and Explain read them.
//
// Extension layouts (RFC 5944 sections 1.9 to 1.11), as the tables name them:
//
//	simple  Type8 Length8 Data               Length counts Data
//	short   Type8 Length8 Sub8 Data          Length counts Sub and Data
//	long    Type8 Sub8 Length16 Data         Length counts Data
//
// All numbers are in network byte order. Lifetimes are seconds, 0xffff means infinity.
package mip4
