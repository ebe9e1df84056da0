// Package control is the control API: HTTP and JSON on a unix socket, under
// /v1. It holds the documented shapes of what is shown, a server, and a client.
//
// Every answer is an object with "schema": 1 and one further member named
// after what was asked. Names are snake_case, times RFC 3339, durations
// seconds with a fraction. Members may be added within a schema; none changes
// its meaning or goes away.
//
// Who may use it: root and the daemon's own user everything, members of the
// socket's group GET. The kernel tells the server who the caller is
// (SO_PEERCRED).
package control

// Schema is the version of the shapes in this package.
const Schema = 1
