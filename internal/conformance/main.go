package main

import (
	"bytes"
	"fmt"
	"os"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

// run writes CONFORMANCE.md of the module at root.
func run(root string) error {
	page, err := generate(root)
	if err != nil {
		return err
	}
	return os.WriteFile(root+"/CONFORMANCE.md", page, 0o644)
}

func generate(root string) ([]byte, error) {
	found, err := collect(os.DirFS(root))
	if err != nil {
		return nil, err
	}
	f, err := os.Open(root + "/internal/conformance/gaps.txt")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	gaps, err := readGaps(f)
	if err != nil {
		return nil, err
	}
	requirements, err := readRequirements(os.DirFS(root + "/internal/conformance/requirements"))
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	err = write(&page, found, requirements, gaps)
	return page.Bytes(), err
}
