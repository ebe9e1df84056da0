// Command conformance writes CONFORMANCE.md: for each section of an RFC, the
// code that implements it and the tests that check it.
//
// It collects comments of the form
//
//	//rfc:5944#3.7.2.2
//
// above, or within, functions, types and other declarations; //rfc:5944#3.7.2.2-1
// names one requirement of the section. The requirements of an RFC, every
// sentence that says what must or should be, are listed in our words in
// requirements/, with the reason where one is not met. What else is known to be
// missing is kept by hand in gaps.txt. Run it by `make gen`.
package main
