package control

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// sources calls yield with the text of every Go file that is not a test.
func sources(t *testing.T, root string, yield func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		yield(path, string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func explains(name string) bool {
	list := ExplainName(name)
	return len(list) > 0 && list[0].Means != "" && list[0].Do != ""
}

// A new counter or event needs a row in explain.go: what it means, and what to
// do when there are many.
func TestEveryCounterAndEventIsExplained(t *testing.T) {
	count := 0
	need := func(path, name string) {
		count++
		if !explains(name) {
			t.Errorf("%s: nothing explains %s: add it to internal/control/explain.go", path, name)
		}
	}
	kinds := regexp.MustCompile(`(?m)^\s*(?:const )?[A-Z]\w*\s+(?:note\.)?Kind\s*=\s*"([a-z-]+)"`)
	counts := regexp.MustCompile(`engine\.Count\("([a-z_]+)"`)
	planes := regexp.MustCompile(`add\("(plane\.[a-z_]+)"`)
	driven := regexp.MustCompile(`add\(roleHomeAgent\+"(\.[a-z_]+)"`)
	sources(t, "..", func(path, text string) {
		if !strings.Contains(text, "core/note") && !strings.Contains(text, "package note") && !strings.Contains(path, "daemon") {
			return
		}
		for _, m := range kinds.FindAllStringSubmatch(text, -1) {
			need(path, m[1])
		}
		for _, m := range planes.FindAllStringSubmatch(text, -1) {
			need(path, m[1])
		}
		for _, m := range driven.FindAllStringSubmatch(text, -1) {
			need(path, "home-agent"+m[1])
		}
	})
	for folder, role := range map[string]string{"ha": "home-agent", "fa": "foreign-agent"} {
		sources(t, "../proto/mip4/"+folder, func(path, text string) {
			for _, m := range counts.FindAllStringSubmatch(text, -1) {
				need(path, role+"."+m[1])
			}
		})
	}
	if count < 60 {
		t.Errorf("only %d names were found: the test looks in the wrong places", count)
	}
}

func TestEveryCodeIsExplainedAsACounter(t *testing.T) {
	for code := range 256 {
		for _, name := range []string{fmt.Sprintf("home-agent.denied_%d", code), fmt.Sprintf("mobile-node.refused-%03d", code)} {
			if list := ExplainName(name); len(list) != 1 || list[0].Means == "" {
				t.Errorf("%s: %+v", name, list)
			}
		}
	}
	if ExplainName("denied_256") != nil || ExplainName("nobody") != nil {
		t.Error("something is explained that is nothing")
	}
}
