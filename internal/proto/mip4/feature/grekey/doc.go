// Package grekey adds the GRE key extension (RFC 6245): foreign agent and home
// agent agree on the keys of a GRE tunnel for each visitor, so that packets of
// visitors with one home address can be told apart in it.
//
//	section 4.1  foreign.go  the extension in every request that asks for GRE,
//	                         with a key of its own; the reply's key for what
//	                         goes back; a home agent that does not know it
//	section 4.2  home.go     the extension is a request for GRE; the key is
//	                         taken over, or chosen when it is 0; 139
//	section 4.3  -           a mobile node sets the G bit: package mn's
//	                         encapsulation
//	section 5    -           keys that differ by direction: forward.Tunnel
//
// The text does not say how one field answers a request for two keys (key 0):
// this home agent uses the one it chooses in both directions, and this foreign
// agent never asks with 0.
//
// What must not go in here: GRE itself, which is the data plane's.
package grekey
