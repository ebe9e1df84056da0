package aaa_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"layeh.com/radius"

	question "careof/internal/core/aaa"
	"careof/internal/host/aaa"
)

// Disconnect requests are obeyed once, from the servers alone.
//
//rfc:5176#2.1
//rfc:5176#2.2
func TestDynamicAuthorisation(t *testing.T) {
	var carried atomic.Int64
	cfg := aaa.RADIUSConfig{
		Servers:       []aaa.Server{{Address: netip.MustParseAddrPort("127.0.0.1:1812"), Secret: []byte(secret)}},
		NASIdentifier: "ha1.test",
	}
	o, err := aaa.Listen(netip.MustParseAddrPort("127.0.0.1:0"), cfg, func(_ context.Context, order any) (int, error) {
		carried.Add(1)
		if e, ok := order.(question.End); ok && e.NAI == "nobody@fleet.example" {
			return 0, nil
		}
		return 1, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx) }()
	conn, err := net.Dial("udp", o.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	send := func(b []byte, wait time.Duration) *radius.Packet {
		t.Helper()
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(wait))
		buffer := make([]byte, 4096)
		n, err := conn.Read(buffer)
		if err != nil {
			return nil
		}
		if !radius.IsAuthenticResponse(buffer[:n], b, []byte(secret)) {
			t.Error("the answer is not authentic")
		}
		p, err := radius.Parse(buffer[:n], []byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		signature := bytes.Clone(p.Get(80))
		whole := bytes.Clone(buffer[:n])
		copy(whole[4:20], b[4:20])
		at := bytes.Index(whole, append([]byte{80, 18}, signature...))
		if len(signature) != 16 || at < 0 {
			t.Fatalf("an answer of %v without Message-Authenticator", p.Code)
		}
		clear(whole[at+2 : at+18])
		h := hmac.New(md5.New, []byte(secret))
		h.Write(whole)
		if !hmac.Equal(signature, h.Sum(nil)) {
			t.Errorf("the Message-Authenticator of %v is wrong", p.Code)
		}
		return p
	}
	order := func(code radius.Code, key string, with ...*radius.AVP) []byte {
		p := radius.New(code, []byte(key))
		p.Attributes = with
		b, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	name := func(s string) *radius.AVP { return &radius.AVP{Type: 1, Attribute: []byte(s)} }
	u32 := func(t radius.Type, v uint32) *radius.AVP {
		return &radius.AVP{Type: t, Attribute: []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}}
	}
	one := order(radius.CodeDisconnectRequest, secret, name("van7@fleet.example"), u32(55, uint32(time.Now().Unix())))
	for range 2 { // the second is the same datagram again
		if p := send(one, 5*time.Second); p == nil || p.Code != radius.CodeDisconnectACK {
			t.Fatalf("%+v", p)
		}
	}
	// Nor is it another one from another port: that is who repeats it to choose.
	first := conn
	if conn, err = net.Dial("udp", o.Address().String()); err != nil {
		t.Fatal(err)
	}
	if p := send(one, 5*time.Second); p == nil || p.Code != radius.CodeDisconnectACK {
		t.Fatalf("from another port: %+v", p)
	}
	conn.Close()
	conn = first
	if carried.Load() != 1 {
		t.Errorf("carried out %d times", carried.Load())
	}
	for what, c := range map[string]struct {
		b    []byte
		code radius.Code
		why  uint32
	}{
		"an unknown session":    {order(radius.CodeDisconnectRequest, secret, name("nobody@fleet.example")), radius.CodeDisconnectNAK, 503},
		"nothing to go by":      {order(radius.CodeDisconnectRequest, secret, u32(55, uint32(time.Now().Unix()))), radius.CodeDisconnectNAK, 402},
		"for another agent":     {order(radius.CodeDisconnectRequest, secret, name("x"), &radius.AVP{Type: 32, Attribute: []byte("ha2")}), radius.CodeDisconnectNAK, 403},
		"a session of nobody's": {order(radius.CodeDisconnectRequest, secret, &radius.AVP{Type: 44, Attribute: []byte("zz")}), radius.CodeDisconnectNAK, 503},
		"a change of nothing":   {order(radius.CodeCoARequest, secret, name("x")), radius.CodeCoANAK, 401},
		"a change of lifetime":  {order(radius.CodeCoARequest, secret, name("x"), u32(27, 60)), radius.CodeCoAACK, 0},
	} {
		p := send(c.b, 5*time.Second)
		if p == nil || p.Code != c.code {
			t.Errorf("%s: %+v", what, p)
			continue
		}
		if a := p.Get(101); c.why != 0 && (len(a) != 4 || uint32(a[2])<<8|uint32(a[3]) != c.why) {
			t.Errorf("%s: Error-Cause %x, want %d", what, a, c.why)
		}
	}
	before := carried.Load()
	for what, b := range map[string][]byte{
		"another secret": order(radius.CodeDisconnectRequest, "guess", name("van7@fleet.example")),
		"an old one":     order(radius.CodeDisconnectRequest, secret, name("van7@fleet.example"), u32(55, uint32(time.Now().Add(-time.Hour).Unix()))),
		"one of before this start": order(radius.CodeCoARequest, secret, name("van7@fleet.example"), u32(27, 60),
			u32(55, uint32(time.Now().Add(-time.Minute).Unix()))),
		"one of the future":       order(radius.CodeDisconnectRequest, secret, name("van7@fleet.example"), u32(55, uint32(time.Now().Add(time.Hour).Unix()))),
		"a CoA of another secret": order(radius.CodeCoARequest, "guess", name("van7@fleet.example"), u32(27, 60)),
		"no order":                order(radius.CodeAccessRequest, secret, name("van7@fleet.example")),
		"a wrong Message-Authenticator": order(radius.CodeDisconnectRequest, secret, name("van7@fleet.example"),
			&radius.AVP{Type: 80, Attribute: make([]byte, 16)}),
	} {
		if p := send(b, 100*time.Millisecond); p != nil {
			t.Errorf("%s: answered with %v", what, p.Code)
		}
	}
	// Where timestamps are required, an order without one is not heard.
	cfg.Timestamps = true
	o.Reconfigure(cfg)
	if p := send(order(radius.CodeDisconnectRequest, secret, name("van7@fleet.example")), 100*time.Millisecond); p != nil {
		t.Errorf("one without a timestamp: answered with %v", p.Code)
	}
	if carried.Load() != before {
		t.Error("a stranger's order was carried out")
	}
	if p := send(order(radius.CodeDisconnectRequest, secret, name("van7@fleet.example"), u32(55, uint32(time.Now().Unix()))), 5*time.Second); p == nil || carried.Load() != before+1 {
		t.Errorf("one with a timestamp: %+v", p)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
