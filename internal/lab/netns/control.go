package netns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Control lets other commands reach a laboratory that one process holds. Namespaces have no names here, and an ordinary
// user cannot enter the user namespace of another process from a program with threads: so the holder does the work. A client
// connects to the holder's unix socket, hands over its standard input, output and error, and says what it wants; the
// holder runs a process in a node, or one of its own commands, on those descriptors. When the client goes away, its process
// is killed. The socket is closed to other users.
//
// On the wire (SOCK_SEQPACKET, one JSON object a message): the client sends a [Request] with three descriptors, then
// {"signal": n} as often as it likes; the holder sends one {"code": n, "error": "…"}.
type Control struct {
	network  *Network
	path     string
	listener *net.UnixListener
	commands map[string]Command
	cancel   context.CancelFunc
	clients  sync.WaitGroup
	accepted chan struct{}
}

// Command is what a holder offers besides running processes. It writes to the client's standard output.
type Command func(ctx context.Context, args []string, stdout io.Writer) error

// Request is what a client wants: a process in a node, or a command of the holder.
type Request struct {
	Node      string   `json:"node,omitempty"`    // where Args run as a process
	Command   string   `json:"command,omitempty"` // of the holder, when Node is empty
	Args      []string `json:"args"`
	Env       []string `json:"env,omitempty"`       // of the process
	Directory string   `json:"directory,omitempty"` // of the process
}

type controlSignal struct {
	Signal int `json:"signal"`
}

type controlReply struct {
	Code  int    `json:"code"`
	Error string `json:"error,omitempty"`
}

const controlMessage = 256 << 10 // octets, more than an environment has

// ControlPath is where the laboratory called name has its socket: under XDG_RUNTIME_DIR, or /run for root, or the
// temporary directory. The directory is made if it is missing.
func ControlPath(name string) (string, error) {
	if name == "" || name != filepath.Base(name) || name[0] == '.' {
		return "", fmt.Errorf("netns: %q is no name for a laboratory", name)
	}
	base := os.Getenv("XDG_RUNTIME_DIR")
	switch {
	case base != "":
		base = filepath.Join(base, "careof-lab")
	case os.Geteuid() == 0:
		base = "/run/careof-lab"
	default:
		base = filepath.Join(os.TempDir(), fmt.Sprintf("careof-lab-%d", os.Geteuid()))
	}
	if err := os.MkdirAll(base, 0o700); err != nil {
		return "", fmt.Errorf("netns: control directory: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(base, &st); err != nil {
		return "", fmt.Errorf("netns: control directory %s: %w", base, err)
	}
	// In a shared temporary directory somebody else may have made it first.
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Uid != uint32(os.Geteuid()) || st.Mode&0o022 != 0 {
		return "", fmt.Errorf("netns: control directory %s belongs to somebody else", base)
	}
	return filepath.Join(base, name+".sock"), nil
}

// ErrHeld says that a living process already holds the laboratory of that name.
var ErrHeld = errors.New("netns: this laboratory is already up")

// Serve opens the control socket. It takes the place of a socket whose holder is dead.
func (n *Network) Serve(path string, commands map[string]Command) (*Control, error) {
	at := &net.UnixAddr{Name: path, Net: "unixpacket"}
	if conn, err := net.DialUnix("unixpacket", nil, at); err == nil {
		conn.Close()
		return nil, ErrHeld
	} else if errors.Is(err, unix.ECONNREFUSED) {
		os.Remove(path)
	}
	listener, err := net.ListenUnix("unixpacket", at)
	if err != nil {
		return nil, fmt.Errorf("netns: control: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		listener.Close()
		return nil, fmt.Errorf("netns: control: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Control{network: n, path: path, listener: listener, commands: commands, cancel: cancel, accepted: make(chan struct{})}
	n.own(c)
	go c.accept(ctx)
	return c, nil
}

// Path is the socket's path.
func (c *Control) Path() string { return c.path }

// Close removes the socket, ends what clients have started, and waits for it.
func (c *Control) Close() error {
	c.cancel()
	err := c.listener.Close()
	<-c.accepted
	c.clients.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (c *Control) accept(ctx context.Context) {
	defer close(c.accepted)
	for {
		conn, err := c.listener.AcceptUnix()
		if err != nil {
			return
		}
		c.clients.Go(func() {
			defer conn.Close()
			reply := controlReply{}
			code, err := c.serve(ctx, conn)
			if reply.Code = code; err != nil {
				reply.Error = err.Error()
			}
			message, _ := json.Marshal(reply) // an int and a string
			conn.Write(message)
		})
	}
}

// serve handles one client. Its context ends with the client.
func (c *Control) serve(ctx context.Context, conn *net.UnixConn) (code int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A client that connects and says nothing must not hold up Close.
	defer context.AfterFunc(ctx, func() { conn.CloseRead() })()
	request, files, err := receive(conn)
	for _, f := range files {
		defer f.Close()
	}
	if err != nil {
		return 1, err
	}
	if request.Node == "" {
		command := c.commands[request.Command]
		if command == nil {
			return 2, fmt.Errorf("netns: this laboratory has no command %q", request.Command)
		}
		c.clients.Go(func() { c.listen(conn, cancel, func(syscall.Signal) { cancel() }) })
		if err := command(ctx, request.Args, files[1]); err != nil {
			return 1, err
		}
		return 0, nil
	}
	node := c.network.Node(request.Node)
	if node == nil {
		return 2, fmt.Errorf("netns: there is no node %q", request.Node)
	}
	if len(request.Args) == 0 {
		return 2, errors.New("netns: nothing to run")
	}
	cmd := exec.Command(request.Args[0], request.Args[1:]...)
	cmd.Env, cmd.Dir = request.Env, request.Directory
	cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[1], files[2]
	p, err := node.Start(cmd)
	if err != nil {
		return 127, err
	}
	c.clients.Go(func() { c.listen(conn, cancel, func(s syscall.Signal) { p.Signal(s) }) })
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Kill()
		<-p.Done()
	}
	return p.ExitCode(), nil
}

// listen passes on the client's signals until it goes away.
func (c *Control) listen(conn *net.UnixConn, gone func(), signal func(syscall.Signal)) {
	defer gone()
	buffer := make([]byte, 1024)
	for {
		n, err := conn.Read(buffer)
		if err != nil || n == 0 {
			return
		}
		var s controlSignal
		if json.Unmarshal(buffer[:n], &s) == nil && s.Signal > 0 && s.Signal < 32 {
			signal(syscall.Signal(s.Signal))
		}
	}
}

// receive reads the request and the three descriptors.
func receive(conn *net.UnixConn) (request Request, files []*os.File, err error) {
	buffer, control := make([]byte, controlMessage), make([]byte, unix.CmsgSpace(3*4))
	n, size, _, _, err := conn.ReadMsgUnix(buffer, control)
	if err != nil {
		return request, nil, fmt.Errorf("netns: control: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:size])
	if err != nil {
		return request, nil, fmt.Errorf("netns: control: %w", err)
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "client"))
		}
	}
	if len(files) != 3 {
		return request, files, errors.New("netns: control: a request needs three descriptors")
	}
	if err := json.Unmarshal(buffer[:n], &request); err != nil {
		return request, files, fmt.Errorf("netns: control: %w", err)
	}
	return request, files, nil
}

// ErrNotHeld says that no process holds the laboratory.
var ErrNotHeld = errors.New("netns: this laboratory is not up")

// Ask sends a request to the holder at path and waits for its end. The process or command works on this program's standard
// input, output and error; interrupts and terminations are passed on to it. code is the exit status.
func Ask(path string, request Request) (code int, err error) {
	return askOn(path, request, [3]*os.File{os.Stdin, os.Stdout, os.Stderr})
}

func askOn(path string, request Request, files [3]*os.File) (int, error) {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
		return 1, ErrNotHeld
	}
	if err != nil {
		return 1, fmt.Errorf("netns: control: %w", err)
	}
	defer conn.Close()
	message, err := json.Marshal(request)
	if err != nil {
		return 1, fmt.Errorf("netns: control: %w", err)
	}
	rights := unix.UnixRights(int(files[0].Fd()), int(files[1].Fd()), int(files[2].Fd()))
	if _, _, err := conn.WriteMsgUnix(message, rights, nil); err != nil {
		return 1, fmt.Errorf("netns: control: %w", err)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	ended, passed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(passed)
		for {
			select {
			case s := <-signals:
				message, _ := json.Marshal(controlSignal{Signal: int(s.(syscall.Signal))}) // an int
				conn.Write(message)
			case <-ended:
				return
			}
		}
	}()
	buffer := make([]byte, controlMessage)
	n, err := conn.Read(buffer)
	signal.Stop(signals)
	close(ended)
	<-passed
	if err != nil || n == 0 {
		return 1, errors.New("netns: the laboratory went down")
	}
	var reply controlReply
	if err := json.Unmarshal(buffer[:n], &reply); err != nil {
		return 1, fmt.Errorf("netns: control: %w", err)
	}
	if reply.Error != "" {
		return reply.Code, errors.New(reply.Error)
	}
	return reply.Code, nil
}
