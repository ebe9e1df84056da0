package config

import (
	"errors"
	"strings"
	"testing"
)

const agentSection = `version = 1
[home-agent]
address = "198.51.100.1"
[[home-agent.network]]
prefix = "10.10.0.0/24"
[[home-agent.mobile-node]]
home-address = "10.10.0.5"
spi = 256
algorithm = "hmac-sha256"
key = "hex:00112233445566778899aabbccddeeff"
`

// Texts and extensions are read, and shown as they were written.
func TestTextsAndExtensions(t *testing.T) {
	c, err := Parse("test.toml", agentSection+`
[[home-agent.message]]
code = 0
text = "Willkommen"
[[home-agent.vendor-extension]]
vendor = 32473
type = 7
critical = true
to = "foreign-agent"
value = "00ff"
[[home-agent.experiment]]
sub-type = 3
deny = true
`)
	if err != nil {
		t.Fatal(err)
	}
	h := c.HomeAgent
	if len(h.Messages) != 1 || h.Messages[0] != (MessageText{0, "Willkommen"}) {
		t.Errorf("messages %+v", h.Messages)
	}
	if v := h.VendorExtensions[0]; v.Vendor != 32473 || v.Type != 7 || !v.Critical || v.To != PartyForeignAgent || string(v.Value) != "\x00\xff" {
		t.Errorf("vendor's extension %+v", v)
	}
	if e := h.Experiments[0]; e.Type != 3 || e.Critical || e.To != PartyNobody || !e.Deny {
		t.Errorf("experiment %+v", e)
	}
	var lines []string
	for _, v := range c.Values() {
		lines = append(lines, v.Key+" = "+v.Text)
	}
	all := strings.Join(lines, "\n")
	for _, want := range []string{
		`home-agent.message[0].text = "Willkommen"`,
		`home-agent.vendor-extension[32473/7, critical].value = "00ff"`,
		`home-agent.experiment[3].deny = true`,
	} {
		if !strings.Contains(all, want) {
			t.Errorf("the configuration in force lacks %s:\n%s", want, all)
		}
	}
}

// What is wrong is said with its line.
func TestWrongTextsAndExtensions(t *testing.T) {
	for text, want := range map[string]string{
		"[[home-agent.message]]\ncode = 256\ntext = \"x\"\n":                                                                          "must be a number from 0 to 255",
		"[[home-agent.message]]\ncode = 1\ntext = \"x\"\n[[home-agent.message]]\ncode = 1\ntext = \"y\"\n":                            "code 1 has a text on line",
		"[[home-agent.message]]\ncode = 1\ntext = \"" + strings.Repeat("ü", 128) + "\"\n":                                             "256 octets long",
		"[[home-agent.vendor-extension]]\nvendor = 9\ntype = 1\nvalue = \"0\"\nto = \"mobile-node\"\n":                                "no hexadecimal digits",
		"[[home-agent.vendor-extension]]\nvendor = 9\ntype = 1\nvalue = \"00\"\n":                                                     "is sent to nobody",
		"[[home-agent.vendor-extension]]\nvendor = 9\ntype = 1\nto = \"home-agent\"\n":                                                "is not one of",
		"[[home-agent.vendor-extension]]\nvendor = 9\ntype = 1\n[[home-agent.vendor-extension]]\nvendor = 9\ntype = 1\n":              "is on line",
		"[[home-agent.experiment]]\nsub-type = 1\nto = \"mobile-node\"\nvalue = \"" + strings.Repeat("00", 241) + "\"\n":              "at most 240 fit",
		"[[home-agent.experiment]]\nsub-type = 1\n[[home-agent.experiment]]\nsub-type = 1\ncritical = true\n[[home-agent.message]]\n": "is missing",
	} {
		_, err := Parse("test.toml", agentSection+text)
		var problems Problems
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), want) || problems[0].Line == 0 {
			t.Errorf("%q: %v, want %q with its line", text, err, want)
		}
	}
}
