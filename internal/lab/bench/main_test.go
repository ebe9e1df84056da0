package bench

import (
	"fmt"
	"os"
	"testing"

	"careof/internal/lab/netns"
)

// The tests run in namespaces of their own.
func TestMain(m *testing.M) {
	code, inside, err := netns.Enter()
	if err != nil {
		fmt.Println("skipped:", err)
		os.Exit(0)
	}
	if inside {
		code = m.Run()
	}
	os.Exit(code)
}
