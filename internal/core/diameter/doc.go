// Package diameter is a Diameter node as a pure machine: its peers' state machines with election (RFC 6733 section 5.6), the transport
// failure algorithm (RFC 3539), requests on their way with fail-over and fail-back, duplicates, and routing by realm.
//
// [Node.Step] takes an event and returns actions; connections are numbers that the host gives out, and time comes with the event. What
// an application sees is little: it gives [Submit] for a request of its own and gets [Answered]; it gets [Deliver] for somebody else's
// and gives [Reply]. What is not for this node is delivered with Transit set when the configuration says so, and can be submitted on
// its way with Submit.Proxied: that is all a proxy needs.
//
// Departures from the RFCs, with their reasons:
//   - RFC 3539 lets a connection that was lost carry no request before three watchdog answers. So does this, unless no other peer is
//     there: a minute without AAA is worse than a connection that may be lost again. Requests of such a peer are answered at once.
//   - A request that was sent and whose peer then failed, with no other to take it, is kept until its time is up rather than answered
//     with DIAMETER_UNABLE_TO_DELIVER at once: the connection may be back before.
package diameter
