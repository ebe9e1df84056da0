// Package freeradius is the configuration of a stock FreeRADIUS for careof's
// agents, for the laboratory to start one with: see docs/aaa.md.
package freeradius

import _ "embed"

// Configuration is careof.conf.
//
//go:embed careof.conf
var Configuration string

// Dictionary names careof's own attributes.
//
//go:embed dictionary
var Dictionary string
