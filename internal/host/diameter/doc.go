// Package diameter gives the machine of internal/core/diameter its connections: TCP and TLS, listening and dialling, in bounds.
//
// A [Service] owns the machine. What it delivers and answers goes to functions that must not block; what they want to say they may say
// at once, for everything is queued.
package diameter
