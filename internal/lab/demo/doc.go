// Package demo is the demonstration of `careof lab demo`: a node moves between
// two networks while a TCP connection and a stream of datagrams run, and every
// handover is measured.
//
//	Run     build, move, measure, tell
//	Report  what was measured, and which promises were broken
//
// What must not go in here: how a laboratory is built (live, netns).
package demo
