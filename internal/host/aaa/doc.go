// Package aaa answers the questions that roles put to AAA (package core/aaa):
// from the configuration, or by asking RADIUS servers.
//
// A [Desk] stands between the roles and whoever answers. It bounds how many
// questions strangers can lead to, remembers answers for a moment, and never
// makes a role wait: an answer comes as an event.
//
// What must not go in here: what follows from an answer. That is the features'.
package aaa
