// Package realm is an AAA server of the Diameter Mobile IPv4 application (RFC
// 4004), as a machine: the home realm's (AAAH), which knows the subscribers, and
// the visited realm's (AAAF), which answers for its foreign agents. One server is
// both.
//
//	home.go     AMR: verifies the node, chooses the home agent, makes the keys,
//	            asks the home agent (HAR) and answers (AMA)
//	choose.go   which home agent: at home or in the visited network
//	visited.go  AMR of visitors: marks it and sends it home; HAR for a home agent
//	            here, which another realm has chosen
//	session.go  sessions, STR, ASR and ACR
//
// A request is a command, [Arrived], whose result is the answer; a request of the
// server's own is a question, [Forward]. Peers, retransmission and duplicates are
// the concern of who drives the machine.
//
// Keys and nonces are forgotten as soon as the answer has left: an expired session
// leaves nothing to destroy (section 4.1.3).
//
// Left out: redirect (sections 3.1 to 3.3); keys go hop by hop over connections
// that are protected, or not at all ([Config.RequireTLS]). Filter rules.
package realm
