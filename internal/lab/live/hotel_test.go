package live

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"careof/internal/control"
	"careof/internal/core/note"
	"careof/internal/host/dhcp/stock"
	"careof/internal/lab/labtest"
	"careof/internal/lab/netns"
	"careof/internal/lab/topology"
)

// hotelRules are a hotel's: a guest reaches what belongs to the hotel, and gets
// the hotel's page for every other one.
const hotelRules = `
table ip hotel {
	chain forward {
		type filter hook forward priority filter;
		iifname "lan" ip daddr 192.0.2.0/24 accept
		iifname "lan" drop
		oifname "lan" ct state established accept
		oifname "lan" ip saddr 192.0.2.0/24 accept
		oifname "lan" drop
	}
	chain intercept {
		type nat hook prerouting priority dstnat;
		iifname "lan" ip daddr != 192.0.2.0/24 tcp dport 80 dnat to 203.0.113.1:80
	}
}
`

// A hotel's Wi-Fi intercepts HTTP, lets nothing else out, and has an API of which
// its DHCP server tells (RFC 8910, RFC 8908), by a name that only its own name
// server knows. The node finds out, says it in words, and lets nothing past the
// tunnel until it is told to let a browser sign in; then that alone. When the
// guest has signed in the node registers, and the way past the tunnel is closed.
//
//rfc:8908#5-9
//rfc:8908#6-1
//rfc:8910#2.1
func TestAGuestSignsInToAHotel(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"dnsmasq", "nft"} {
		stock.Need(t, name)
	}
	top := topology.Default()
	top.Segment("access1").FirstLease = netip.Addr{} // the hotel gives the addresses
	mn := top.Node("mn")
	mn.Config = strings.Replace(mn.Config, "interface = \"wlan0\"\n", "interface = \"wlan0\"\naddress = \"dhcp\"\n", 1)
	certificate, roots := hotelCertificate(t, "portal.hotel.example")
	l := build(t, top, Options{Kernel: true, Command: func(config string) *exec.Cmd {
		cmd := labtest.Command(config)
		cmd.Env = append(cmd.Env, "SSL_CERT_FILE="+roots)
		return cmd
	}})
	s := NewStage(t.Context(), l, t.Logf)
	defer s.Close()
	hotel, cn := l.Network.Node("hotspot"), l.Network.Node("cn")
	var signedIn, mended atomic.Bool
	var asked atomic.Int32
	serveWeb(t, hotel, "203.0.113.1:443", &tls.Config{Certificates: []tls.Certificate{certificate}}, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if !mended.Load() {
			fmt.Fprint(w, "<html>It works!</html>")
			return
		}
		w.Header().Set("Content-Type", "application/captive+json")
		fmt.Fprintf(w, `{"captive": %t, "user-portal-url": "http://login.hotel.example:8080/"}`, !signedIn.Load())
	})
	serveWeb(t, hotel, "203.0.113.1:80", nil, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://login.hotel.example:8080/", http.StatusFound)
	})
	// The page is elsewhere, as hotels' often are, and tells who asks.
	serveWeb(t, cn, "192.0.2.10:8080", nil, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) })
	// So is another server, which the hotel lets its guests reach too.
	serveWeb(t, l.Network.Node("core"), "192.0.2.1:8080", nil, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) })
	rules := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(rules, []byte(hotelRules), 0o600); err != nil {
		t.Fatal(err)
	}
	inside(t, hotel, exec.Command("nft", "-f", rules))
	folder := t.TempDir()
	stock.Show(t, folder)
	keep(t, hotel, stock.Dnsmasq(folder, "lan", "--port=53", "--no-resolv", "--no-hosts", "--dhcp-authoritative",
		"--dhcp-range=203.0.113.150,203.0.113.199,255.255.255.0,10m", "--dhcp-option=option:dns-server,203.0.113.1",
		"--dhcp-option=114,https://portal.hotel.example/api", "--host-record=portal.hotel.example,203.0.113.1", "--host-record=login.hotel.example,192.0.2.10"))

	node := l.Network.Node("mn")
	s.Plug("mn", "wlan0", "access1")
	says := func(words string) bool {
		var uplinks []control.Uplink
		return l.Daemon("mn").Show("uplinks", "", &uplinks) == nil &&
			slices.ContainsFunc(uplinks, func(u control.Uplink) bool { return u.Interface == "wlan0" && strings.Contains(u.Why, words) })
	}
	const broken = "the network names https://portal.hotel.example/api to say whether it wants a sign-in, and that is of no use: it answers 200 with"
	s.Until("it is said that the API is broken", 60*time.Second, func() bool { return says(broken) })
	mended.Store(true)
	s.Until("the portal is found", 60*time.Second, func() bool {
		for _, e := range l.Events("mn") {
			if e.Kind == "captive-portal" && e.Link == "wlan0" {
				return strings.Contains(e.Why, "http://login.hotel.example:8080/")
			}
		}
		return false
	})
	shows := func(words string) {
		t.Helper()
		var uplinks []control.Uplink
		if err := l.Daemon("mn").Show("uplinks", "", &uplinks); err != nil {
			t.Fatal(err)
		}
		for _, u := range uplinks {
			if u.Interface == "wlan0" && strings.Contains(u.Why, words) {
				return
			}
		}
		t.Errorf("careof show uplinks does not say %q: %+v", words, uplinks)
	}
	shows("careof portal wlan0 lets a browser")
	if says(broken) {
		t.Error("the API is said to be broken, and is not")
	}
	// What it has said holds while it says nothing.
	mended.Store(false)
	before := asked.Load()
	s.Until("the API is asked again, in vain", 60*time.Second, func() bool { return asked.Load() > before+2 })
	shows("careof portal wlan0 lets a browser")
	mended.Store(true)
	if at, err := browse(node, "192.0.2.10:8080", 2*time.Second); err == nil {
		t.Fatalf("a browser got out past the tunnel, as %s, and nobody had said that it may", at)
	}
	order := control.PortalOrder{Uplink: "wlan0", For: control.Seconds(10 * time.Minute)}
	done, err := l.Daemon("mn").client.Portal(t.Context(), order)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a pass: %+v", done)
	shows("programs here may")
	at, err := browse(node, "192.0.2.10:8080", 20*time.Second)
	if err != nil || !strings.HasPrefix(at, "203.0.113.1") {
		t.Errorf("the browser reaches the page as %q, %v", at, err)
	}
	if at, err := browse(node, "192.0.2.1:8080", 2*time.Second); err == nil {
		t.Errorf("something else got out too, as %s", at)
	}
	if at, err := browseFrom(node, "10.10.0.5", "192.0.2.10:8080", 2*time.Second); err == nil {
		t.Errorf("the home address got out past the tunnel, as %s", at)
	}
	// A modem is plugged in. With that registration the way past the tunnel is closed;
	// a guest who asks for it then keeps it.
	through := func() bool {
		at, err := browse(node, "192.0.2.10:8080", 5*time.Second)
		return err == nil && strings.HasPrefix(at, "10.10.0.5:")
	}
	s.Plug("mn", "wwan0", "access2")
	s.Until("the node is registered over the modem", 60*time.Second, func() bool { return s.Binding("mn").Registered })
	s.Until("the page is reached through the tunnel", 60*time.Second, through)
	if _, err := l.Daemon("mn").client.Portal(t.Context(), order); err != nil {
		t.Fatal(err)
	}
	before = asked.Load()
	s.Until("the API is asked two times more", 60*time.Second, func() bool { return asked.Load() > before+2 })
	if at, err := browse(node, "192.0.2.10:8080", 20*time.Second); err != nil || !strings.HasPrefix(at, "203.0.113.1") {
		t.Errorf("registered over a modem, the browser reaches the page as %q, %v", at, err)
	}
	// The guest signs in.
	signedIn.Store(true)
	inside(t, hotel, exec.Command("nft", "delete", "table", "ip", "hotel"))
	s.Until("the node knows that the network is open", 60*time.Second, func() bool {
		for _, e := range l.Events("mn") {
			if e.Kind == note.Kind("captive-portal-passed") && e.Link == "wlan0" {
				return true
			}
		}
		return false
	})
	s.Until("the node is registered", 60*time.Second, func() bool { return s.Binding("mn").Registered })
	s.Until("the page is reached through the tunnel", 60*time.Second, through)
	if _, err := l.Daemon("mn").client.Portal(t.Context(), order); err == nil {
		t.Error("a way past the tunnel was opened where there is no portal")
	}
}

// browse asks a server for its page, as any program of a node would.
func browse(node *netns.Node, server string, limit time.Duration) (string, error) {
	return browseFrom(node, "", server, limit)
}

func browseFrom(node *netns.Node, source, server string, limit time.Duration) (string, error) {
	client := http.Client{Timeout: limit, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (c net.Conn, err error) {
			d := net.Dialer{}
			if source != "" {
				d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
			}
			err = node.Do(func() error {
				c, err = d.DialContext(ctx, "tcp4", address)
				return err
			})
			return c, err
		},
	}}
	answer, err := client.Get("http://" + server + "/")
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	return string(b), err
}

// serveWeb serves pages in a node until the test ends.
func serveWeb(t *testing.T, node *netns.Node, address string, secure *tls.Config, page http.HandlerFunc) {
	t.Helper()
	listener, err := node.ListenTCP(netip.MustParseAddrPort(address))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: page, TLSConfig: secure}
	if secure != nil {
		go server.ServeTLS(listener, "", "")
	} else {
		go server.Serve(listener)
	}
	t.Cleanup(func() { server.Close() })
}

// inside runs a program in a node to its end.
func inside(t *testing.T, node *netns.Node, cmd *exec.Cmd) {
	t.Helper()
	p, err := node.Start(cmd)
	if err == nil {
		err = p.Wait()
	}
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
}

// hotelCertificate makes a certificate and a file with it, as somebody's root.
func hotelCertificate(t *testing.T, name string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}
