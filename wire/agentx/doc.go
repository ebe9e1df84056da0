// Package agentx is the codec of AgentX version 1 (RFC 2741): what an SNMP
// sub-agent and its master agent say to each other.
//
// It holds the messages that a sub-agent with its own, fixed set of objects
// needs; index allocation and agent capabilities (section 6.2.14 to 6.2.17)
// are framed but not read.
//
//rfc:2741#6
package agentx
