package config

import (
	"strings"
	"testing"
)

func TestEveryLiveKeyIsAKey(t *testing.T) {
	reference := Reference()
	for _, l := range live {
		last := l[strings.LastIndexByte(l, '.')+1:]
		if !strings.Contains(reference, "["+l+"]") && !strings.Contains(reference, last+" =") {
			t.Errorf("there is no key %s", l)
		}
	}
}

func TestWhichChangesAReloadTakes(t *testing.T) {
	for key, want := range map[string]bool{
		"home-agent.mobile-node[10.10.0.5].spi": true,
		"home-agent.network[10.10.0.0/24].pool": true,
		"log.registration":                      true,
		"home-agent.address":                    false,
		"home-agent.port":                       false,
		"mobile-node.home-address":              false,
		"mobile-node.home-agent":                true,
		"plane.device":                          false,
		"state-directory":                       false,
	} {
		if got := (Change{Key: key}).Live(); got != want {
			t.Errorf("%s: %v", key, got)
		}
	}
}
