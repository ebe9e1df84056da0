package live

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/BurntSushi/toml"

	"careof/internal/control"
	"careof/internal/lab/netns"
	"careof/internal/lab/topology"
)

// A Daemon is the careof process of a node.
type Daemon struct {
	Node   string
	Config string // its configuration file
	Socket string // of its control interface
	Log    string // the file with its log

	lab    *Lab
	client *control.Client

	mu      sync.Mutex
	process *netns.Process // nil before the first start
}

// SocketIn is where the control socket of a node's daemon is in a laboratory's
// directory.
func SocketIn(directory, node string) string { return filepath.Join(directory, node, "careof.sock") }

// startLimit bounds how long a daemon may take to be ready.
const startLimit = time.Minute

func (l *Lab) addDaemon(n *topology.Node) (*Daemon, error) {
	dir := filepath.Join(l.Directory, n.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("live: %w", err)
	}
	d := &Daemon{
		Node: n.Name, lab: l,
		Config: filepath.Join(dir, "careof.toml"), Socket: SocketIn(l.Directory, n.Name), Log: filepath.Join(dir, "log"),
	}
	text, err := l.rewrite(n, filepath.Join(dir, "state"), d.Socket)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(d.Config, text, 0o600); err != nil {
		return nil, fmt.Errorf("live: %w", err)
	}
	d.client = control.NewClient(d.Socket)
	l.daemons[n.Name] = d
	l.order = append(l.order, d)
	return d, nil
}

// rewrite makes a node's configuration the laboratory's: records and control
// socket go into its directory, and names of files become absolute.
func (l *Lab) rewrite(n *topology.Node, state, socket string) ([]byte, error) {
	path, text, err := l.Topology.Configuration(n)
	if err != nil {
		return nil, fmt.Errorf("live: node %s: %w", n.Name, err)
	}
	var config map[string]any
	if _, err := toml.Decode(text, &config); err != nil {
		return nil, fmt.Errorf("live: node %s: %w", n.Name, err)
	}
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("live: %w", err)
	}
	absolute(config, folder)
	config["state-directory"] = state
	section(config, "control")["socket"] = socket
	if plane := section(config, "plane"); plane["bpffs"] == nil && (plane["kind"] == nil || plane["kind"] == "auto") {
		// Nothing is pinned that would outlive the laboratory.
		plane["bpffs"] = filepath.Join(state, "bpf")
	}
	var out bytes.Buffer
	if err := toml.NewEncoder(&out).Encode(config); err != nil {
		return nil, fmt.Errorf("live: node %s: %w", n.Name, err)
	}
	return out.Bytes(), nil
}

// section is a table of the configuration, made when it is not there.
func section(config map[string]any, name string) map[string]any {
	s, _ := config[name].(map[string]any)
	if s == nil {
		s = make(map[string]any)
		config[name] = s
	}
	return s
}

// absolute makes the names of key and node files absolute.
func absolute(table map[string]any, folder string) {
	for key, value := range table {
		switch v := value.(type) {
		case string:
			if (key == "key-file" || key == "nodes-file" || (key == "tls-cert" || key == "tls-key" || key == "tls-ca") && !strings.HasPrefix(v, "-----BEGIN ")) && !filepath.IsAbs(v) {
				table[key] = filepath.Join(folder, v)
			}
		case map[string]any:
			absolute(v, folder)
		case []map[string]any:
			for _, t := range v {
				absolute(t, folder)
			}
		}
	}
}

// Start starts the daemon in its node and waits until it is ready. One that
// runs is left alone.
func (d *Daemon) Start(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	// It tells when it is ready as it tells a service manager (sd_notify(3)).
	path := d.Socket + ".ready"
	os.Remove(path)
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("live: %w", err)
	}
	defer os.Remove(path)
	defer ready.Close()
	log, err := os.OpenFile(d.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("live: %w", err)
	}
	defer log.Close()
	cmd := d.lab.options.Command(d.Config)
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+path)
	cmd.Dir, cmd.Stdout, cmd.Stderr = filepath.Dir(d.Config), log, log
	d.process, err = d.lab.Network.Node(d.Node).Start(cmd)
	if err != nil {
		return err
	}
	answered := make(chan error, 1)
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := ready.Read(b)
			if err != nil || bytes.Contains(b[:n], []byte("READY=1")) {
				answered <- err
				return
			}
		}
	}()
	select {
	case err = <-answered:
	case <-d.process.Done():
		err = errors.New("it ended")
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		ready.Close()
		d.process.Kill()
		<-d.process.Done()
		return fmt.Errorf("live: the daemon of %s did not start: %w\n%s", d.Node, err, d.LogTail(20))
	}
	d.listen(d.process)
	return nil
}

// listen follows the events of a process until it ends. Of what happens after it
// has returned it misses nothing.
func (d *Daemon) listen(p *netns.Process) {
	ctx, cancel := context.WithCancel(d.lab.done)
	d.lab.ears.Go(func() {
		select {
		case <-p.Done():
			cancel()
			d.lab.happened()
		case <-ctx.Done():
		}
	})
	// Its errors say only that the daemon has ended.
	follow, err := d.client.Listen(ctx)
	if err != nil {
		return
	}
	d.lab.ears.Go(func() {
		defer cancel()
		_ = follow(func(text []byte) bool {
			var e control.Event
			if json.Unmarshal(text, &e) == nil {
				d.lab.heard(d.Node, e)
			}
			return true
		})
	})
}

func (l *Lab) heard(node string, e control.Event) {
	l.mu.Lock()
	l.events[node] = append(l.events[node], e)
	for _, k := range l.captures {
		k.heard(node, e)
	}
	if l.options.Heard != nil {
		l.options.Heard(node, e)
	}
	l.mu.Unlock()
	l.happened()
}

func (d *Daemon) running() bool {
	if d.process == nil {
		return false
	}
	select {
	case <-d.process.Done():
		return false
	default:
		return true
	}
}

// Running tells whether the daemon's process lives.
func (d *Daemon) Running() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.running()
}

// Kill ends the process as kill -9 does, and waits for its end.
func (d *Daemon) Kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running() {
		d.process.Kill()
		<-d.process.Done()
	}
}

// askLimit bounds how long a daemon may take to answer.
const askLimit = 5 * time.Second

// Show asks the daemon over its control interface: see [control.Client].
func (d *Daemon) Show(what, argument string, value any) error {
	ctx, cancel := context.WithTimeout(d.lab.done, askLimit)
	defer cancel()
	return d.client.Show(ctx, what, argument, value)
}

// Resident is the memory of the daemon's process in octets (VmRSS of proc(5));
// 0 when there is none.
func (d *Daemon) Resident() int64 {
	if d == nil || !d.Running() {
		return 0
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.process.Pid()))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	var kilobytes int64
	if _, err := fmt.Sscan(rest, &kilobytes); err != nil {
		return 0
	}
	return kilobytes << 10
}

// LogTail is the end of the daemon's log.
func (d *Daemon) LogTail(lines int) string {
	b, err := os.ReadFile(d.Log)
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
