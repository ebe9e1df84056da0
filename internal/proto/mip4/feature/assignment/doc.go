// Package assignment is dynamic home agent assignment (RFC 4433), and the pool
// of home agents that makes use of it.
//
// A mobile node asks for whoever there is: its Home Agent field names nobody
// (ALL-ZERO-ONE-ADDR), and the Requested HA extension says where the request
// goes. The home agent that accepts puts its own address into the reply, and is
// the node's until the session ends; or it sends the node to another one, with
// code 143 and the Redirected HA extension. A foreign agent sends a request
// without the extension to one that it knows.
//
// Home agents of a pool tell each other every second how many nodes they have,
// whether they are drained, and, a few at a time, which nodes have registered
// with them when. So each knows who lives and has room; and one that comes back
// from the dead drops what has moved on meanwhile. These messages are the
// suite's own: experimental ones (RFC 4064), authenticated (message.go).
//
// What must not go in here: who shares a key with whom, and how a home link's
// ARP tables follow a node from one home agent to the other; binding it does
// that.
package assignment
