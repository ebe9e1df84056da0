// Command gen writes what documents the control API, below the module's
// folder: the document that the daemon serves, and the ones in docs.
package main

import (
	"fmt"
	"os"

	"careof/internal/openapi"
)

func main() {
	if err := write(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write() error {
	d, err := openapi.New(".")
	if err != nil {
		return err
	}
	for name, content := range openapi.Files(d) {
		text, err := content()
		if err != nil {
			return err
		}
		if err := os.WriteFile(name, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
