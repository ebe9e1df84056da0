// Package snmp lets an SNMP agent of the host show what the daemon does: it is
// an AgentX sub-agent (RFC 2741) that serves the Mobile IP MIB (RFC 2006) for
// the roles that run, and sends mipAuthFailure.
//
// It reads the daemon as any client of the control API does and keeps nothing
// of its own but the table of security violations. What the daemon does not
// count is not served, rather than served as zero: haCounterTable, the flags
// of registrations, maAdvConfigTable, mnRecentAdvReceived and mnFATable, and
// the single counters that mib.go does not name. Nothing can be set:
// mipEnable and the tables of configuration answer notWritable, because the
// configuration file says how things are. mipSecKey reads as empty, as its
// description wants.
package snmp
