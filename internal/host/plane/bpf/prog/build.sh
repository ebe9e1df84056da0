#!/bin/sh
# Compiles careof.c, with its headers, for both byte orders. Needs clang, llvm-strip and libbpf's
# headers; users need none of them, for the objects are committed.
set -eu
cd "$(dirname "$0")"
out=${1:-.}
include=
for arch in x86_64-linux-gnu aarch64-linux-gnu; do
	if [ -d "/usr/include/$arch" ]; then include="-I/usr/include/$arch"; fi
done
for order in el eb; do
	clang -O2 -g -Wall -Werror -Wno-missing-declarations -mcpu=v2 -target "bpf$order" $include \
		-fdebug-compilation-dir=. -c careof.c -o "$out/careof_bpf$order.o"
	llvm-strip -g "$out/careof_bpf$order.o"
done
{ sha256sum *.c *.h; clang --version | head -n 1; } >"$out/built.txt"
