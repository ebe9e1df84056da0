// Package ha is the Mobile IPv4 home agent: RFC 5944 section 3.8, with the
// network access identifier of RFC 2794 and the reverse tunnelling of RFC 3024.
//
// An [Agent] is a pure machine (package engine). A Registration Request is an
// [Exchange] that passes the stages in the order of the RFC's own text:
//
//	Identify      whose request is it?                       3.8.2, RFC 2794
//	Authenticate  at least one authorization-enabling        3.8.2.1 a
//	              extension, and all of them right
//	Replay        the Identification                         3.8.2.1 b, 5.7
//	Agents        the Foreign-Home authenticator             3.8.2.1 c, d
//	Admit         policy: reserved bits, home agent field,   3.8.2.1, 3.8.2.3
//	              home address, reverse tunnelling
//	Bind          lifetime, encapsulation, endpoint          3.8.2.2
//	Reply         the extensions of the reply                3.8.3
//
// after which the reply is signed and committed: the replay mark and the
// bindings become durable, the data plane forwards, and then the reply leaves.
// A denied request also passes Reply. Features add hooks to stages and rows to
// tables ([Claims], [Agent.Handle], [Agent.OnPlane] …); the base's own
// behaviour stands in the same stages.
//
// What a stranger sends leaves no state, no log line and no answer.
//
// What must not go in here: sockets, clocks, and any RFC beyond those three;
// those are feature packages.
package ha
