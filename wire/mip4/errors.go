package mip4

import (
	"errors"
	"fmt"
)

// Classes of errors. Errors returned by this package wrap exactly one of them.
var (
	ErrShort     = errors.New("too short")                      // the octets end inside a field
	ErrLength    = errors.New("wrong length")                   // a length field contradicts the format or the datagram
	ErrType      = errors.New("unknown or wrong message type")  // no such message, or not the one asked for
	ErrTooMany   = errors.New("too many extensions")            // more than MaxExtensions
	ErrTooLong   = errors.New("extension too long")             // the data do not fit the length field
	ErrValue     = errors.New("value not allowed")              // a value that the RFC excludes
	ErrAddress   = errors.New("not an IPv4 address")            // an IPv6 address in an IPv4 field
	ErrZone      = errors.New("extension not allowed here")     // Draft: the RFC's order forbids this place
	ErrDuplicate = errors.New("authentication extension twice") // Draft: two of a kind
	ErrAbsent    = errors.New("no such extension")              // the message does not carry it
)

// ParseError says where a datagram could not be read.
type ParseError struct {
	Off int     // offset from the start of the UDP payload
	Ext ExtType // the extension, if In
	In  bool    // the error is inside the extension Ext, not in the fixed part
	Err error   // one of the sentinels above, possibly wrapped
}

func (e *ParseError) Error() string {
	if e.In {
		return fmt.Sprintf("mip4: %v at offset %d: %v", e.Ext, e.Off, e.Err)
	}
	return fmt.Sprintf("mip4: offset %d: %v", e.Off, e.Err)
}

// Unwrap gives the class of the error.
func (e *ParseError) Unwrap() error { return e.Err }
