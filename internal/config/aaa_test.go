package config

import (
	"fmt"
	"strings"
	"testing"

	"careof/internal/core/assoc"
)

const withAAA = `version = 1
[aaa]
%s
[foreign-agent]
interfaces = ["eth1"]
care-of-address = "203.0.113.1"
challenge-window = 2
`

// A secret is text, or octets after hex:; it never shows.
func TestAAASecrets(t *testing.T) {
	c := mustParse(t, fmt.Sprintf(withAAA, `
[[aaa.server]]
address = "192.0.2.10"
secret = "between-agent-and-server"
[[aaa.subscriber]]
nai = "van7@fleet.example"
secret = "hex:30313233"
[[aaa.subscriber]]
nai = "van8@fleet.example"
secret = "0123456789abcdef"
spi = 512
`))
	a := c.AAA
	if got := a.Subscribers[0].Secret; !got.Equal(assoc.NewKey([]byte("0123"))) || a.Subscribers[0].Association != nil {
		t.Errorf("van7 has %v, %v", got, a.Subscribers[0].Association)
	}
	if sa := a.Subscribers[1].Association; sa == nil || sa.SPI() != 512 || sa.Algorithm() != assoc.HMACMD5 {
		t.Errorf("van8 has %v, want HMAC-MD5, the default of RFC 4721", sa)
	}
	if s := a.Servers[0]; s.Port != 1812 || s.AccountingPort != 1813 || !s.Secret.Equal(assoc.NewKey([]byte("between-agent-and-server"))) {
		t.Errorf("the server is %+v", s)
	}
	for _, v := range c.Values() {
		for _, secret := range []string{"between-agent", "30313233", "0123456789abcdef"} {
			if strings.Contains(v.Text, secret) {
				t.Errorf("%s shows the secret: %s", v.Key, v.Text)
			}
		}
	}
}

func TestMistakesInAAA(t *testing.T) {
	for text, want := range map[string]string{
		``: "aaa: there is nobody to ask",
		"[[aaa.server]]\naddress = \"192.0.2.10\"":                                                             "aaa.server.secret-file: is missing",
		"[[aaa.server]]\naddress = \"192.0.2.10\"\nsecret = \"\"\nsecret-file = \"x\"":                         "cannot read",
		"[[aaa.server]]\naddress = \"192.0.2.10\"\nsecret = \"hex:0\"":                                         "is no secret",
		"[[aaa.subscriber]]\nnai = \"a@b\"\nsecret = \"x\"\nalgorithm = \"hmac-md5\"":                          "has no meaning without spi",
		"[[aaa.subscriber]]\nnai = \"a@b\"\nsecret = \"x\"\n[[aaa.subscriber]]\nnai = \"a@b\"\nsecret = \"y\"": "is there twice",
		"[[aaa.subscriber]]\nnai = \"a@b\"\nsecret = \"x\"\nspi = 512\nalgorithm = \"none\"":                   "none proves nothing",
	} {
		_, err := Parse("careof.toml", fmt.Sprintf(withAAA, text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	_, err := Parse("careof.toml", "version = 1\n[aaa]\n[[aaa.subscriber]]\nnai = \"a@b\"\nsecret = \"x\"\n[mobile-node]\nhome-address = \"10.0.0.1\"\nhome-agent = \"192.0.2.1\"\nspi = 256\nkey = \"hex:00112233445566778899aabbccddeeff\"\nalgorithm = \"hmac-sha256\"\n")
	if err == nil || !strings.Contains(err.Error(), "only agents ask AAA") {
		t.Errorf("a node that asks: %v", err)
	}
}
