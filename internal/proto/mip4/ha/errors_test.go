package ha_test

import (
	"errors"
	"math/rand/v2"
)

var errTest = errors.New("the disk is full")

// luck is the same in every test.
func luck() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }
