package enrol

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// ErrImpostor says that the host at the token's address is not the one that
// made the token. Nothing was told to it.
var ErrImpostor = errors.New("enrol: the host at the token's address is not the home agent that made it: do not use this network, or make a new token if the home agent was set up anew")

const (
	joinTries = 3
	joinPause = time.Second
)

// Join takes a token to its home agent. client is the node's random choice; a
// lost answer is asked for again.
func Join(ctx context.Context, t Token, client []byte, host string) (Grant, error) {
	body, err := json.Marshal(Claim{Secret: t.Secret[:], Client: client, Host: host})
	if err != nil {
		return Grant{}, err
	}
	for try := 1; ; try++ {
		g, err := join(ctx, t, body)
		if err == nil || try == joinTries || errors.Is(err, ErrRefused) || errors.Is(err, ErrImpostor) || ctx.Err() != nil {
			return g, err
		}
		select {
		case <-ctx.Done():
			return Grant{}, ctx.Err()
		case <-time.After(joinPause):
		}
	}
}

func join(ctx context.Context, t Token, body []byte) (Grant, error) {
	c := &http.Client{Timeout: talkLimit, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS13,
			// The pin decides, below: no name and no authority does.
			InsecureSkipVerify: true,
			VerifyConnection: func(s tls.ConnectionState) error {
				if len(s.PeerCertificates) == 0 {
					return ErrImpostor
				}
				pin := sha256.Sum256(s.PeerCertificates[0].Raw)
				if subtle.ConstantTimeCompare(pin[:], t.Pin[:]) != 1 {
					return ErrImpostor
				}
				return nil
			},
		},
	}}
	defer c.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+t.Address+Path, bytes.NewReader(body))
	if err != nil {
		return Grant{}, fmt.Errorf("enrol: %w", err)
	}
	answer, err := c.Do(r)
	if errors.Is(err, ErrImpostor) {
		return Grant{}, ErrImpostor
	}
	if err != nil {
		return Grant{}, fmt.Errorf("enrol: cannot reach the home agent (is its enrolment port open?): %w", err)
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK:
	case http.StatusForbidden:
		return Grant{}, ErrRefused
	default:
		return Grant{}, fmt.Errorf("enrol: the home agent answers %s: try again in a while", answer.Status)
	}
	var g Grant
	if err := json.NewDecoder(io.LimitReader(answer.Body, 64<<10)).Decode(&g); err != nil {
		return Grant{}, fmt.Errorf("enrol: the home agent's answer: %w", err)
	}
	return g, nil
}
