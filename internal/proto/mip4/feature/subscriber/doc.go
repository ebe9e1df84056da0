// Package subscriber is what agents are to AAA beside authentication: RFC 5030
// says what a protocol between the two must be able to do, and the messages are
// RADIUS's (RFC 2865, 2866, 5176), or whatever the host speaks.
//
//	home.go      nodes that only AAA knows: they are adopted once their first
//	             request is authentic under the key that AAA gave
//	keys.go      keys that AAA makes of nonces (RFC 3957), for nodes that ask
//	record.go    they outlive a restart, keys and all
//	account.go   sessions are told of: start, changes, stop
//	order.go     AAA ends or changes sessions
//
// A home agent asks about a node once, and again shortly before AAA's word is
// over. Renewals in between wait for nobody. AAA is asked about strangers only
// when their request has an authenticator; how often that may be is bounded by
// who puts the questions.
//
// Left out: home agents that AAA chooses.
package subscriber
