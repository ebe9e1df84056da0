package enrol

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"careof/internal/crowd"
)

const (
	// talkLimit bounds one connection in time, bodyLimit a claim in octets,
	// connectionLimit the connections at a time, sourceLimit those of one
	// address, and everyClaim their rate: strangers may reach this port.
	talkLimit       = 10 * time.Second
	bodyLimit       = 4 << 10
	connectionLimit = 256
	sourceLimit     = 16
	everyClaim      = 20 * time.Millisecond
)

// Certificate is the key with which the home agent meets joining nodes, and
// its pin. It is made at the first use and kept.
func (l *Ledger) Certificate() (tls.Certificate, Pin, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.certificate == nil {
		made, err := newCertificate(l.random, l.now())
		if err != nil {
			return tls.Certificate{}, Pin{}, fmt.Errorf("enrol: certificate: %w", err)
		}
		if err := l.save(certificateKey, made); err != nil {
			return tls.Certificate{}, Pin{}, err
		}
		if l.certificate, err = json.Marshal(made); err != nil {
			return tls.Certificate{}, Pin{}, err
		}
	}
	var kept keptCertificate
	if err := json.Unmarshal(l.certificate, &kept); err != nil {
		return tls.Certificate{}, Pin{}, fmt.Errorf("enrol: certificate: %w", err)
	}
	key, err := x509.ParseECPrivateKey(kept.Key)
	if err != nil {
		return tls.Certificate{}, Pin{}, fmt.Errorf("enrol: certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{kept.Certificate}, PrivateKey: key}, sha256.Sum256(kept.Certificate), nil
}

type keptCertificate struct {
	Certificate, Key []byte // DER
}

// newCertificate is self-signed and without an end: the pin in the token says
// whose it is, not a name or a date.
func newCertificate(random io.Reader, now time.Time) (keptCertificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return keptCertificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "careof enrolment"},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.AddDate(100, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(random, template, template, &key.PublicKey, key)
	if err != nil {
		return keptCertificate{}, err
	}
	private, err := x509.MarshalECPrivateKey(key)
	return keptCertificate{Certificate: der, Key: private}, err
}

// A Server meets joining nodes.
type Server struct {
	http     *http.Server
	listener net.Listener
}

// Listen opens the enrolment port. complete adds to a node's grant what the
// ledger does not know: the home agent's address.
func (l *Ledger) Listen(address string, complete func(*Grant)) (*Server, error) {
	certificate, _, err := l.Certificate()
	if err != nil {
		return nil, err
	}
	plain, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	listener := tls.NewListener(crowd.New(plain, connectionLimit, sourceLimit), &tls.Config{
		Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
	})
	pace := time.NewTicker(everyClaim)
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+Path, func(w http.ResponseWriter, r *http.Request) {
		var c Claim
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyLimit)).Decode(&c); err != nil {
			http.Error(w, "no claim", http.StatusBadRequest)
			return
		}
		select {
		case <-pace.C:
		case <-r.Context().Done():
			return
		}
		n, err := l.Claim(c)
		switch {
		case errors.Is(err, ErrRefused):
			http.Error(w, "refused", http.StatusForbidden)
			return
		case err != nil:
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		g := Grant{HomeAddress: n.HomeAddress, NAI: n.NAI, SPI: n.SPI, Algorithm: "hmac-sha256", Key: n.Key}
		g.Networks = n.Prefixes
		if n.Assigned {
			g.Networks = append(slices.Clone(n.Prefixes), netip.Prefix{})
		}
		complete(&g)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(g)
	})
	s := &Server{listener: listener, http: &http.Server{
		Handler: mux, ReadTimeout: talkLimit, WriteTimeout: talkLimit, MaxHeaderBytes: bodyLimit,
		// What strangers do wrong is no line in our log.
		ErrorLog: log.New(io.Discard, "", 0),
	}}
	s.http.RegisterOnShutdown(pace.Stop)
	s.http.SetKeepAlivesEnabled(false)
	return s, nil
}

// Address is where the server listens.
func (s *Server) Address() net.Addr { return s.listener.Addr() }

// Serve answers until ctx ends.
func (s *Server) Serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
		return fmt.Errorf("enrol: %w", err)
	}
	return nil
}

// Close ends all connections.
func (s *Server) Close() error { return errors.Join(s.http.Close(), ignoreClosed(s.listener.Close())) }

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
