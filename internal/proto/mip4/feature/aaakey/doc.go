// Package aaakey is keys on demand (RFC 3957): a mobile node that shares a secret
// with AAA alone gets keys with its home agent and its foreign agent as it
// registers. It asks for them in its request; AAA makes each of a nonce, gives the
// key to the agent and the nonce to the node, which makes the same key of it.
//
//	wish.go      what a request asks for
//	mobile.go    the node: asks, derives, checks the reply with what it has derived,
//	             and asks again before a key ends
//	record.go    keys with home agents outlive a restart of the node
//	foreign.go   a foreign agent: keeps a visitor's key as long as the visit
//
// Who asks AAA are the features challenge, in a foreign agent, and subscriber, in a
// home agent: there the keys are among what AAA has said of a node.
//
// SPIs go by direction. The node's, of its request, stands in what the node
// receives; the agent's, of the reply, in what the agent receives (RFC 4004 section
// 8): RFC 3957 section 6.2 says both.
//
// Left out: other ways to make a key than HMAC-SHA1, which is what everybody has.
package aaakey
