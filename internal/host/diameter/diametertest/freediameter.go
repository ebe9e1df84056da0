// Package diametertest runs freeDiameter, and makes certificates, for tests.
package diametertest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	luck "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Relay is how freeDiameter is configured: as it comes, with the dictionaries of its own and none of RFC 4004, it relays.
type Relay struct {
	Host, Realm string
	Allow       []string // peers that may connect, "*.home.example"
	Watchdog    int      // Tw in seconds, 6 at least
	Address     netip.AddrPort
	// In runs a function where the daemon shall be, in a namespace for instance; nil: here.
	In func(func())
}

// A Daemon is a running freeDiameter.
type Daemon struct {
	Address   netip.AddrPort // TCP without TLS
	Secure    netip.AddrPort // TLS
	Authority *Authority     // that it believes, and that has signed its certificate

	mu  sync.Mutex
	out bytes.Buffer
}

// Log is what it has said.
func (d *Daemon) Log() string { d.mu.Lock(); defer d.mu.Unlock(); return d.out.String() }

func (d *Daemon) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.out.Write(b)
}

// FreeDiameter starts the daemon and waits until it listens; it ends with the test. Without the program the test is skipped.
func FreeDiameter(t testing.TB, r Relay) *Daemon {
	t.Helper()
	path, err := exec.LookPath("freeDiameterd")
	if err != nil {
		t.Skip("freeDiameterd is not installed (Debian: freediameterd, freediameter-extensions)")
	}
	dir := t.TempDir()
	ca := NewAuthority(t)
	cert := ca.Certificate(t, r.Host)
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	d := &Daemon{Address: r.Address, Authority: ca}
	if !d.Address.IsValid() {
		d.Address = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), freePort(t))
	}
	d.Secure = netip.AddrPortFrom(d.Address.Addr(), freePort(t))
	var conf strings.Builder
	fmt.Fprintf(&conf, "Identity = %q;\nRealm = %q;\nPort = %d;\nSecPort = %d;\nNo_SCTP;\nNo_IPv6;\nListenOn = %q;\nTwTimer = %d;\nAppServThreads = 2;\n",
		r.Host, r.Realm, d.Address.Port(), d.Secure.Port(), d.Address.Addr().String(), max(r.Watchdog, 6))
	fmt.Fprintf(&conf, "TLS_Cred = %q, %q;\nTLS_CA = %q;\n",
		write("cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))),
		write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))), write("ca.pem", string(ca.PEM)))
	fmt.Fprintf(&conf, "LoadExtension = \"acl_wl.fdx\" : %q;\nLoadExtension = \"dbg_msg_dumps.fdx\" : \"0x0080\";\n",
		write("acl.conf", "ALLOW_OLD_TLS ALLOW_IPSEC "+strings.Join(r.Allow, " ")+"\n"))
	cmd := exec.Command(path, "-c", write("fd.conf", conf.String()))
	cmd.Stdout, cmd.Stderr = d, d
	in := r.In
	if in == nil {
		in = func(f func()) { f() }
	}
	if in(func() { err = cmd.Start() }); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !strings.Contains(d.Log(), "freeDiameterd daemon initialized"); <-tick.C {
		select {
		case <-ended:
			t.Fatalf("freeDiameter has ended:\n%s", d.Log())
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("freeDiameter does not start:\n%s", d.Log())
		}
	}
	return d
}

// freePort is a port that nobody has, and that the kernel gives to nobody who lets it
// choose: others test on this host meanwhile.
func freePort(t testing.TB) uint16 {
	t.Helper()
	for range 1000 {
		port := uint16(10_000 + luck.IntN(20_000))
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("there is no free port")
	return 0
}

// An Authority signs certificates.
type Authority struct {
	Pool *x509.CertPool
	PEM  []byte
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes one.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{Pool: x509.NewCertPool()}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	var der []byte
	der, a.key = sign(t, template, template, nil)
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.Pool.AddCert(a.cert)
	a.PEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// Certificate makes one with a name, for both sides of a connection.
func (a *Authority) Certificate(t testing.TB, name string) tls.Certificate {
	t.Helper()
	der, key := sign(t, &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}, a.cert, a.key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func sign(t testing.TB, template, parent *x509.Certificate, by *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}
