package config

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

var tomlBlock = regexp.MustCompile("(?s)```toml\n(.*?)```")

// TestReadmeConfigurationsAreValid reads every configuration of the README.
func TestReadmeConfigurationsAreValid(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := tomlBlock.FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 2 {
		t.Fatalf("%d configurations in the README", len(blocks))
	}
	dir := folder(t, map[string]string{"keys.d/10.10.0.5": keyA + keyA})
	for _, block := range blocks {
		c, err := Parse(filepath.Join(dir, "careof.toml"), block[1])
		if err != nil {
			t.Errorf("%v\n%s", err, block[1])
		} else if len(c.Warnings) > 0 {
			t.Errorf("%v\n%s", c.Warnings, block[1])
		}
	}
}
