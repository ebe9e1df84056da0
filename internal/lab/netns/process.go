package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Process is a program that runs in a node. It dies with this process.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// Self is a command that runs this program again with other arguments.
func Self(args ...string) *exec.Cmd { return exec.Command("/proc/self/exe", args...) }

// Start starts a command in the node's namespace. It is killed when the node is closed and when this process dies,
// however that happens.
func (node *Node) Start(cmd *exec.Cmd) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	p := &Process{cmd: cmd, done: make(chan struct{})}
	node.mu.Lock()
	defer node.mu.Unlock()
	if node.closed {
		return nil, fmt.Errorf("netns: %s is closed", node.name)
	}
	started := make(chan error, 1)
	// The parent-death signal comes when the *thread* dies that forked, so this thread stays until the child has ended.
	go func() {
		runtime.LockOSThread()
		defer func() {
			if unix.Setns(node.network.home, unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
		}()
		err := unix.Setns(node.fd, unix.CLONE_NEWNET)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		node.mu.Lock()
		delete(node.processes, p)
		node.mu.Unlock()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("netns: %s: start %s: %w", node.name, cmd.Path, err)
	}
	node.processes[p] = true
	return p, nil
}

// Pid is the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended and its output has been read.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end and returns what [exec.Cmd.Wait] returned.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Signal sends a signal. It is no error if the process has ended.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("netns: signal %d: %w", p.Pid(), err)
	}
	return nil
}

// Kill sends SIGKILL.
func (p *Process) Kill() error { return p.Signal(os.Kill) }

// ExitCode is the exit status of an ended process, 128 and the signal's number for one that a signal ended.
func (p *Process) ExitCode() int {
	<-p.done
	return exitCode(p.cmd.ProcessState)
}

func exitCode(s *os.ProcessState) int {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return s.ExitCode()
}
