// Package liveness finds out whether the home agent that serves a mobile node is
// still there, where there is another one to go to. RFC 5944 leaves a node to
// notice at its next renewal, which with the default lifetime may be seven
// minutes away.
//
// A node that hears nothing through its tunnel for half of the limit asks: the
// home agent, by an echo request from the home address through the tunnel
// (RFC 3519 section 4.9) and by a signed question beside it ([path.Question]);
// and the other home agents that it knows, by the same question over the same
// path. Any answer of the first one, and any packet from the tunnel, is life. When
// the limit is over, and one of the others has answered, the path is not what is
// dead: the node registers there, and only then leaves. When nobody answers, it
// is the path, and the node stays with its home agent.
//
// What must not be taken for death: a restart, which the limit is longer than; a
// home agent that is slow, since one of a dozen answers would do; and one that
// never answered an echo or a question, of which silence tells nothing.
//
// Through a foreign agent nothing is asked: its care-of address is the tunnel's
// end, so that the node's data plane sees no answers, and it relays no questions.
package liveness
