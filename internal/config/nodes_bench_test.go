package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkNodesFile loads a nodes file; ns/node is what a start pays for each.
func BenchmarkNodesFile(b *testing.B) {
	const nodes = 100000
	var text strings.Builder
	for i := range nodes {
		fmt.Fprintf(&text, "- 10.%d.%d.%d 256 hmac-sha256 %064x\n", 1+i>>16, i>>8&255, i&255, i)
	}
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "nodes"), []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	main := strings.Replace(homeAgent, "[[home-agent.network]]\n", "nodes-file = \"nodes\"\n[[home-agent.network]]\nprefix = \"10.0.0.0/8\"\n", 1)
	main = strings.Replace(main, "prefix = \"10.10.0.0/24\"\n", "", 1)
	b.ReportAllocs()
	for b.Loop() {
		c, err := Parse(filepath.Join(dir, "careof.toml"), main)
		if err != nil {
			b.Fatal(err)
		}
		if n := len(c.HomeAgent.MobileNodes); n < nodes {
			b.Fatal(n, " nodes")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/nodes, "ns/node")
}
