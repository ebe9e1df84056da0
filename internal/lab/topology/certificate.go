package topology

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"time"
)

// authority is the name of the file with the certificate of who signs all others.
const authority = "ca.pem"

// madeUpKey is the private key that belongs to a name, in every laboratory the same.
func madeUpKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("careof laboratory " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// MadeUpPEM is what a laboratory gives its programs for a file that is not there:
// ca.pem, the authority's certificate; NAME.pem, one of NAME that it has signed, good
// for both sides of a connection; and NAME.key, the private key. Everybody can make
// them, so they prove nothing outside of a laboratory. Other names give nothing.
func MadeUpPEM(file string) string {
	name, isKey := strings.CutSuffix(file, ".key")
	if isKey {
		der, err := x509.MarshalPKCS8PrivateKey(madeUpKey(name))
		if err != nil {
			return ""
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	name, isCertificate := strings.CutSuffix(file, ".pem")
	if !isCertificate {
		return ""
	}
	// Times are fixed: the same laboratory is the same text.
	signer := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "laboratory"},
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	by, template, key := madeUpKey(authority), signer, madeUpKey(authority)
	if file != authority {
		sum := sha256.Sum256([]byte(name))
		template, key = &x509.Certificate{
			SerialNumber: new(big.Int).SetBytes(sum[:8]), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
			NotBefore: signer.NotBefore, NotAfter: signer.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		}, madeUpKey(name)
	}
	// Ed25519 signatures need no randomness.
	der, err := x509.CreateCertificate(nil, template, signer, key.Public(), by)
	if err != nil {
		return ""
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
