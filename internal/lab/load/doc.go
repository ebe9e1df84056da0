// Package load measures a home agent at work: a real daemon in a process of
// its own, with its real store, its real data plane and its real sockets, and
// a generator of signed Registration Requests beside it on the same
// processors. It is what `careof bench registrations` runs.
//
// The daemon and the generator share the network namespace of this process
// (see package netns); the loopback interface has all addresses. What is
// compared is measured in the same run: a bare signed echo on the same kind of
// sockets does nothing but check one authenticator and compute another.
//
// What must not go in here: what the home agent does (package ha).
package load
