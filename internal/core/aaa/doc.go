// Package aaa defines what roles ask of authentication, authorisation and
// accounting, and what they hear: pure types, whoever answers. A role returns
// one of the questions in an engine.Ask and gets a [Grant], or one of the
// errors of this package.
//
// The drivers that answer are in package host/aaa; [Book] answers from what is
// configured, here and in the simulated world.
//
// What must not go in here: any protocol between agent and server, time-outs,
// and caches. Those are the drivers'.
package aaa
