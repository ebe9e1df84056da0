// Package pathmtu finds out how long a packet a mobile node's tunnel carries,
// without the ICMP messages by which routers would tell: packetisation layer
// path MTU discovery (RFC 8899). Many networks drop those messages, and in a
// tunnel nobody but its ends can know.
//
// The mobile node sends echo requests of chosen lengths through its tunnel,
// whole or not at all, and the home agent's answers come back as long and as
// whole; so the smaller of both directions counts. Each carries a token that
// nobody off the path can guess: no answer can be forged, and the loss of one
// proves little, so nothing is believed that was not tried again.
//
//	begin     one packet of the full length after each move; all is well when it is answered
//	confirm   one of the present length every second while packets go
//	search    when that is lost: several lengths at a time, twice or three times, down to an octet
//	raise     upwards after ten minutes (RFC 8899's PMTU_RAISE_TIMER)
//
// What was found is the MTU of the tunnel's entry, where the data plane cuts
// packets or answers "fragmentation needed", and is told to the home agent in an
// extension of the Registration Request, in the same round trip. An agent that
// does not know the extension skips it. Nothing is sent in registrations while
// the path carries all that its link does.
//
// What routers say ("fragmentation needed") the data plane keeps, where nothing is
// known of the path. Where it is, it believes none that contradicts it, and says so
// here, for a probe at once.
package pathmtu
