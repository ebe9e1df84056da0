package handover

import (
	"os"
	"testing"

	"careof/internal/lab/labtest"
)

func TestMain(m *testing.M) {
	labtest.Daemon()
	labtest.Enter()
	os.Exit(m.Run())
}
