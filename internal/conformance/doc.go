// Command conformance writes CONFORMANCE.md: for each section of an RFC, the
// code that implements it and the tests that check it.
//
// It collects comments of the form
//
//	//rfc:5944#3.7.2.2
//
// above, or within, functions, types and other declarations. What is known to
// be missing is kept by hand in gaps.txt. Run it by `make gen`.
package main
