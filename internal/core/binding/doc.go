// Package binding holds mobility bindings: which tunnel leads to a home
// address at the moment, and for how long. Mobile IPv4 and Mobile IPv6 share
// it; a binding is what a forwarding entry is made of.
//
// A binding is keyed by the home address and an [ID]. Two bindings of one home
// address with different IDs are simultaneous bindings; a new binding under
// the same ID replaces the old one.
//
// What must not go in here: why a binding was accepted, and messages.
package binding
