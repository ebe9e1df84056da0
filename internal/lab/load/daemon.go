package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A process is a daemon under load.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	took  time.Duration // from its start until it said that it is ready
	spent time.Duration // the processor time that it had used by then
	log   string
	fed   atomic.Int64 // how often it has fed the watchdog
}

// startLimit bounds how long a daemon may take to be ready.
const startLimit = 5 * time.Minute

// start runs a daemon and waits until it tells, as it tells a service manager,
// that it is ready.
func start(ctx context.Context, command func(config string) *exec.Cmd, dir string) (*process, error) {
	path := filepath.Join(dir, "ready")
	os.Remove(path)
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	p := &process{ended: make(chan struct{}), log: filepath.Join(dir, "log")}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		ready.Close()
		return nil, fmt.Errorf("load: %w", err)
	}
	defer log.Close()
	p.cmd = command(filepath.Join(dir, "careof.toml"))
	if p.cmd.Env == nil {
		p.cmd.Env = os.Environ()
	}
	p.cmd.Env = append(p.cmd.Env, "NOTIFY_SOCKET="+path)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		ready.Close()
		return nil, fmt.Errorf("load: %w", err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
		ready.SetReadDeadline(time.Unix(1, 0)) // whoever reads is told
	}()
	stop := context.AfterFunc(ctx, func() { ready.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	ready.SetReadDeadline(began.Add(startLimit))
	for b := make([]byte, 4096); ; {
		n, err := ready.Read(b)
		if err != nil {
			ready.Close()
			p.kill()
			return nil, fmt.Errorf("load: the daemon did not start: %w\n%s", errors.Join(ctx.Err(), err), p.tail())
		}
		if bytes.Contains(b[:n], []byte("READY=1")) {
			p.took, p.spent = time.Since(began), p.cpu()
			ready.SetReadDeadline(time.Time{})
			go p.listen(ready)
			return p, nil
		}
	}
}

// listen counts what the daemon tells its service manager until it ends.
func (p *process) listen(from *net.UnixConn) {
	go func() {
		<-p.ended
		from.Close()
	}()
	for b := make([]byte, 4096); ; {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if bytes.Contains(b[:n], []byte("WATCHDOG=1")) {
			p.fed.Add(1)
		}
	}
}

// tail is the end of the log.
func (p *process) tail() string {
	b, _ := os.ReadFile(p.log)
	return string(b[max(0, len(b)-2000):])
}

// kill ends it as kill -9 does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// stop asks it to end, and waits.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		p.kill()
	}
}

// cpu is the processor time that it has used.
func (p *process) cpu() time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	// After the command's name in brackets: utime and stime are fields 14 and
	// 15 of proc(5), in ticks of 1/100 second.
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * (time.Second / 100)
}

// ownCPU is the processor time of this process.
func ownCPU() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(unix.TimevalToNsec(u.Utime) + unix.TimevalToNsec(u.Stime))
}

// resident is its memory in octets, and kernel what its eBPF maps take of the
// kernel's.
func (p *process) memory() (resident, kernel int64) {
	folder := fmt.Sprintf("/proc/%d", p.cmd.Process.Pid)
	resident = field(filepath.Join(folder, "status"), "VmRSS:") << 10
	_ = filepath.WalkDir(filepath.Join(folder, "fdinfo"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			kernel += field(path, "memlock:")
		}
		return nil
	})
	return resident, kernel
}

// field is a number in a file of lines of a name and a number.
func field(path, name string) int64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), name); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n
		}
	}
	return 0
}
