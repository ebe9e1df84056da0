// Package oracle holds a second, tiny codec of the registration messages,
// written in another language from the RFCs alone (mip4.py: Python and the base
// layers of Scapy), and the tests that hold it against ours: what one builds and
// signs the other reads, verifies and answers, in both directions.
//
// What must not go in here: anything that the two could share.
package oracle
