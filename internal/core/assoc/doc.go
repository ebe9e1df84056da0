// Package assoc holds mobility security associations: keys, algorithms and
// replay protection (RFC 5944 sections 3.5, 5.1 and 5.7).
//
// What must not go in here: where an association comes from (a file, AAA, an
// enrolment); all of them end as the same [Association].
package assoc
