// Package client asks a careof daemon over its control API: what is bound,
// what happens, what is counted, and to change it.
//
//	c := client.New("/run/careof/careof.sock")
//	var bindings []client.Binding
//	err := c.Show(ctx, "bindings", "", &bindings)
//
// The shapes are the ones of docs/api.md. Members may be added to them; none
// changes its meaning or goes away within version 1.
package client

import (
	"careof/internal/control"
	"careof/internal/core/forward"
	"careof/internal/core/note"
)

// A Client asks one daemon. It is safe for concurrent use.
type Client = control.Client

// New makes a client of the daemon that listens on a unix socket, or at the
// URL of a [control] listen ("https://ha.example:8434"), for which the token
// comes from the file that the variable CAREOF_TOKEN_FILE names. Nothing is
// sent yet.
func New(address string) *Client { return control.NewClient(address) }

// Names lists what [Client.Show] can ask for.
func Names() []string { return append([]string(nil), control.Names...) }

// The shapes of what is shown.
type (
	Status       = control.Status       // of "status"
	RoleStatus   = control.RoleStatus   // one role in a Status
	Binding      = control.Binding      // of "bindings" and "binding"
	Registration = control.Registration // of "registrations"
	Visitor      = control.Visitor      // of "visitors"
	Uplink       = control.Uplink       // of "uplinks"
	Association  = control.Association  // of "associations"
	Counter      = control.Counter      // of "counters"
	Entry        = control.Entry        // of "plane"
	Tunnel       = control.Tunnel       // one tunnel of an Entry
	Stage        = control.Stage        // of "stages"
	Setting      = control.Setting      // of "config"
	Topology     = control.Topology     // of "topology"
	Moment       = control.Moment       // of "timeline"
	Page         = control.Page         // which part of a list an answer has
	Counters     = forward.Counters     // packets and octets
	Endpoint     = control.Endpoint     // an end of a tunnel
	Seconds      = control.Seconds      // a duration in JSON
)

// Event is one thing that happened, of [Client.Monitor].
type Event = control.Event

// Kind is what sort of thing happened.
type Kind = note.Kind

// Errors that answers are made of; use [errors.Is].
var (
	ErrInvalid     = control.ErrInvalid
	ErrNotFound    = control.ErrNotFound
	ErrDenied      = control.ErrDenied
	ErrTimeout     = control.ErrTimeout
	ErrUnreachable = control.ErrUnreachable
)
