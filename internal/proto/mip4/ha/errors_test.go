package ha_test

import "errors"

var errTest = errors.New("the disk is full")
