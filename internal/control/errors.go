package control

import (
	"errors"
	"fmt"
	"net/http"
)

// Errors that a backend returns and that a client gives back, so that the
// command line can end with the exit code that each deserves.
var (
	ErrInvalid     = errors.New("invalid request")
	ErrNotFound    = errors.New("not found")
	ErrDenied      = errors.New("permission denied")
	ErrTimeout     = errors.New("timed out")
	ErrInUse       = errors.New("another daemon listens there")
	ErrUnreachable = errors.New("daemon not reachable")

	ErrUnauthenticated = errors.New("not authenticated")
	ErrMisdirected     = errors.New("misdirected request")
)

// statuses ties errors to HTTP status codes, both ways.
var statuses = []struct {
	err    error
	status int
}{
	{ErrInvalid, http.StatusBadRequest},
	{ErrNotFound, http.StatusNotFound},
	{ErrDenied, http.StatusForbidden},
	{ErrUnauthenticated, http.StatusUnauthorized},
	{ErrMisdirected, http.StatusMisdirectedRequest},
	{ErrTimeout, http.StatusGatewayTimeout},
}

func statusOf(err error) int {
	for _, row := range statuses {
		if errors.Is(err, row.err) {
			return row.status
		}
	}
	return http.StatusInternalServerError
}

// errorOf turns a failed answer back into an error.
func errorOf(status int, message string) error {
	for _, row := range statuses {
		if row.status == status {
			return fmt.Errorf("%w: %s", row.err, message)
		}
	}
	return errors.New(message)
}
