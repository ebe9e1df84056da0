// Package enrol brings a mobile node into a home network without anybody
// copying keys: the home agent gives out a one-time token, the node takes its
// address and its key for it.
//
// The token names the home agent's enrolment address and pins the certificate
// there, so that who holds it needs no other authority; it carries a secret
// of 128 bits that is good once, until it expires. Node and home agent speak
// HTTP over TLS 1.3, one request. The home agent keeps invitations and enrolled
// nodes in its store, secrets only as hashes.
//
//	token.go   the token as text
//	grant.go   what is said over TLS
//	server.go  the home agent's side of it
//	client.go  the node's
//	ledger.go  invitations and enrolled nodes, and their records
//
// What must not go in here: the configuration's files and the running home
// agent; those are the command's and the daemon's.
package enrol
