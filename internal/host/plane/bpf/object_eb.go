//go:build mips || mips64 || ppc64 || s390x

package bpf

import _ "embed"

//go:embed prog/careof_bpfeb.o
var object []byte
