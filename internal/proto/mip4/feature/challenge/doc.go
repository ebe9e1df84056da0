// Package challenge is challenge and response: RFC 4721. A foreign agent
// advertises random challenges; a mobile node answers one in its request, under
// the key that it shares with the foreign agent (extension 33) or with its AAA
// server (extension 36). So nobody can register anew with what he has heard,
// and a foreign agent that has no key of the node can have AAA verify it.
//
//	section 2, 2.1    challenges in advertisements                  foreign.go advertise
//	section 3.1       what a mobile node answers with               mobile.go request
//	section 3.2       what a foreign agent accepts, and its codes   foreign.go request
//	section 3.2.1     memory of used challenges                     memory.go
//	section 3.3       challenges in replies                         foreign.go reply, deliver, deny
//	section 3.4       the home agent                                home.go
//	section 3.5       a refused mobile node                         mobile.go denied
//	section 5, 6, 8   the extension and its algorithms              wire/mip4, core/aaa
//
// A challenge that is given to one node needs no memory until it is used: it is
// the time at which it was given, and a keyed digest of that time and of where
// the node is. So answering strangers costs no storage, and makes no other
// challenge invalid (section 12).
//
// Decided where the text says two things: the challenge that was used last is
// used, also when it was given in a reply (appendix E forgets those); a 132 that
// only extension 33 covers is stripped, and the pending request keeps it.
//
// Left out: HMAC_CHAP_SPI of appendix A, for which no number exists.
package challenge
