package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// However many processors read a nodes file, they find the same nodes in the
// same lines, and the same mistakes.
func TestNodesFileInParts(t *testing.T) {
	var text strings.Builder
	for i := range 60 {
		fmt.Fprintf(&text, "# %d\n- 10.10.1.%d 256 hmac-sha256 %064x\n\n", i, i+1, i+1)
	}
	fmt.Fprintf(&text, "- 10.10.2.1 nothing hmac-sha256 00\n- 10.10.2.2 256 hmac-sha256 %064x", 1)
	for _, content := range []string{text.String(), text.String() + "\n", "", "\n", "# only a remark", strings.Repeat("\n", 100)} {
		var want string
		for n := 1; n < 8; n++ {
			parts, total := nodesParts([]byte(content), n)
			var found []string
			for i := range parts {
				p := &parts[i]
				p.read("nodes")
				if len(p.nodes) > p.lines {
					t.Errorf("%d parts: part %d has room for %d nodes, and %d", n, i, p.lines, len(p.nodes))
				}
				for k := range p.nodes {
					found = append(found, fmt.Sprint(p.numbers[k], " ", p.nodes[k].HomeAddress))
				}
				for _, problem := range p.problems {
					found = append(found, problem.String())
				}
			}
			if got := strings.Join(found, "\n"); n == 1 {
				want = got
			} else if got != want {
				t.Errorf("%d parts: %s\nwant %s", n, got, want)
			}
			if len(parts) != n || total != strings.Count(content, "\n")+1 {
				t.Errorf("%d parts of %d, %d lines", len(parts), n, total)
			}
		}
		if content == text.String() && !(strings.Contains(want, "nodes:181") && slices.Contains(strings.Split(want, "\n"), "182 10.10.2.2")) {
			t.Error(want)
		}
	}
}
