package manual

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"careof/internal/config"
	"careof/wire/mip4"
)

// A File is one generated page.
type File struct {
	Name string // below the docs folder, with slashes
	Text string
}

// Files generates every page from the tree of commands below root.
func Files(root *cobra.Command) []File {
	sections := parseReference(config.Reference())
	return []File{
		{"man/careof.1", commandPage(root)},
		{"man/careof-run.8", runPage(root)},
		{"man/careof.toml.5", configPage(sections)},
		{"configuration.md", configMarkdown(sections)},
		{"codes.md", codesMarkdown(mip4.Codes())},
	}
}

// Write generates every page into the folder dir.
func Write(root *cobra.Command, dir string) error {
	for _, f := range Files(root) {
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("manual: %w", err)
		}
		if err := os.WriteFile(path, []byte(f.Text), 0o644); err != nil {
			return fmt.Errorf("manual: %w", err)
		}
	}
	return nil
}
