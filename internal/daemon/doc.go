// Package daemon composes a configuration, the roles, their features and the
// host into `careof run`.
//
// What must not go in here: protocol rules (proto), system calls (host), or
// formatting for people (control, cmd).
package daemon
