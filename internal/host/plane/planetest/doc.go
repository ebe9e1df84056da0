// Package planetest is the conformance suite of data planes: what the RFCs and
// our own rules ask of one, tried with the kernel's own TCP and with forged
// packets, in network namespaces. Every plane runs all of it:
//
//	func TestConformance(t *testing.T) { planetest.Run(t, open) }
//
// What must not go in here: what only one plane does, and throughput.
package planetest
