// Package mipapp is the Diameter Mobile IPv4 application (RFC 4004): its four
// messages, and those of the base protocol that its sessions use, between
// wire/diameter and what agents and servers know. Each message is a struct with a
// method that makes the message and a function that reads it; what is read has
// passed [diameter.Message.Check].
//
//	request.go   AMR and AMA: an agent asks about a mobile node
//	agent.go     HAR and HAA: the home AAA server asks a home agent
//	keys.go      the session keys and nonces in both
//	session.go   STR, ASR and ACR
//
// Decided where the text says two things: application 2 in the header of STR and
// ASR, as RFC 6733 section 2.5 has it; 0, which RFC 4004 section 4 wants, is read
// too. The SPI AVPs that have no number are not sent.
//
// What must not go in here: policy, sessions, and who is connected to whom.
package mipapp
