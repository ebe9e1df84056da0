package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

// patience bounds how long a conversation may be silent while its node moves.
const patience = 40 * time.Second

// echoes answers every line on a TCP port, until its standard input ends.
func echoes(port string) int {
	l, err := net.Listen("tcp4", ":"+port)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("listens")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c) // until the other end has had enough
			}()
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// talks says every line of its standard input on one TCP connection and prints
// what comes back. It ends with 1 when nothing does, or something else.
func talks(to string) int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, "talks:", err)
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp4", to)
	if err != nil {
		return fail(err)
	}
	defer c.Close()
	fmt.Println("connected")
	answers := bufio.NewReader(c)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			return fail(err)
		}
		if _, err := fmt.Fprintln(c, lines.Text()); err != nil {
			return fail(err)
		}
		answer, err := answers.ReadString('\n')
		if err != nil {
			return fail(err)
		}
		fmt.Print(answer)
	}
	return 0
}

// A conversation is one TCP connection between two nodes of a laboratory.
type conversation struct {
	what  string
	input io.WriteCloser
	heard *bufio.Reader
	said  int
}

// converse has a correspondent talk to a mobile node, by its home address.
// command makes a command that runs in a node.
func converse(t *testing.T, correspondent, mobile, address string, command func(node string, args ...string) *exec.Cmd) *conversation {
	t.Helper()
	const port = "7007"
	begin := func(first string, cmd *exec.Cmd) (io.WriteCloser, *bufio.Reader) {
		t.Helper()
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			in.Close()
			_ = cmd.Wait() // how it ended is no news
		})
		heard := bufio.NewReader(out)
		if line, err := heard.ReadString('\n'); err != nil || line != first+"\n" {
			t.Fatalf("%v: %q, %v", cmd.Args, line, err)
		}
		return in, heard
	}
	begin("listens", command(mobile, "echoes", port))
	c := &conversation{what: correspondent + " and " + mobile}
	c.input, c.heard = begin("connected", command(correspondent, "talks", net.JoinHostPort(address, port)))
	return c
}

// goesOn says something, and hears it.
func (c *conversation) goesOn(t *testing.T, after string) {
	t.Helper()
	c.said++
	want := fmt.Sprintln("line", c.said)
	if _, err := io.WriteString(c.input, want); err != nil {
		t.Fatalf("%s: the connection of %s: %v", after, c.what, err)
	}
	if got, err := c.heard.ReadString('\n'); err != nil || got != want {
		t.Fatalf("%s: the connection of %s: %q, %v; want %q", after, c.what, got, err, want)
	}
}
