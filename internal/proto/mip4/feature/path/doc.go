// Package path finds out how the paths over a mobile node's uplinks are, and
// which of them is to be preferred for it. RFC 5944 leaves all of that to the
// node: section 2.4.2 detects moves by who advertises, and nothing there
// notices a network that stays up and swallows everything.
//
// Two kinds of probes, spaced by the profile, while there is another uplink to
// go to:
//
//   - Over the path in use, an ICMP echo request from the home address to the
//     home agent, through the tunnel as any packet: RFC 3519 section 4.9 has
//     the same for NATs, and home agents answer it without knowing of us. When
//     one is overdue, others follow quickly. The path is dead when nothing has
//     come back for the profile's limit, and so many probes were lost in a row
//     that the loss of the path does not explain it. What a loaded path does is
//     not taken for death: whatever comes in through the tunnel is a sign of
//     life, and a round trip that grows is no loss.
//   - Over a standby path, a question to which the home agent has an authentic
//     answer and that binds nothing: a deregistration of the care-of address,
//     which is not registered ([mn.Node.Validate]), with a critical vendor
//     extension (38) of this suite's. A careof home agent answers it without
//     counting it for replay protection and without a commit, and says so by an
//     extension in its reply. Another one that has RFC 3115 denies it with code
//     140, which is an authentic answer too; one that has not discards it, and
//     is not asked again for long. None acts on it. With a time as its value
//     it is answered so much later, for who wants to know how long a NAT keeps
//     a mapping (package natt).
//
// While packets go over a path, a preferred one over which nothing has come back is
// asked over before it is registered ([mn.Node.Awaits]), where the home agent is known
// to answer: it would take the request and send there, and the node would not hear of
// it over a path that is deaf.
//
// A home agent that answers no echo is never taken for a dead path: a path
// must have answered, or another one to the same home agent.
//
//	detector.go   is the path in use alive? pure arithmetic
//	pauses.go     which silences are ordinary
//	pace.go       the profiles
//	active.go     echoes through the tunnel
//	standby.go    questions over the other paths
//	inquire.go    does the home agent know questions?
//	choice.go     what follows for the choice of an uplink
//	home.go       the home agent's answer
//
// Nothing is probed through a foreign agent's care-of address, whose
// advertisements tell what there is to know, nor with nonces over a standby path.
package path
