package netns

import (
	"container/heap"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// delayLine runs functions at their times, in order, on one goroutine. Two with the same time run in the order of their
// insertion. It sleeps on a timerfd: the runtime's own timers wait in whole milliseconds when the process is idle, which
// is too coarse for a 25 ms link.
type delayLine struct {
	base time.Time
	file *os.File // the timerfd, read by the goroutine only
	fd   int
	done chan struct{}

	mu     sync.Mutex
	queue  dueHeap
	seq    uint64
	asleep bool
	closed bool
}

type due struct {
	at  time.Duration // since base
	seq uint64
	run func()
}

type dueHeap []due

func (h dueHeap) Len() int { return len(h) }
func (h dueHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h dueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)   { *h = append(*h, x.(due)) }
func (h *dueHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = due{}
	*h = old[:len(old)-1]
	return last
}

func newDelayLine() (*delayLine, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("netns: timerfd: %w", err)
	}
	l := &delayLine{
		base: time.Now(),
		file: os.NewFile(uintptr(fd), "delay line"),
		fd:   fd,
		done: make(chan struct{}),
	}
	go l.run()
	return l, nil
}

// now is the line's clock.
func (l *delayLine) now() time.Duration { return time.Since(l.base) }

// at runs f when the line's clock reaches t; at once, but on the line's goroutine, when t has passed.
func (l *delayLine) at(t time.Duration, f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.seq++
	heap.Push(&l.queue, due{at: t, seq: l.seq, run: f})
	if l.asleep && l.queue[0].seq == l.seq {
		l.arm()
	}
}

// after runs f on the line's goroutine after d.
func (l *delayLine) after(d time.Duration, f func()) { l.at(l.now()+d, f) }

// arm sets the timerfd to the head of the queue. Setting it to zero would disarm it, hence the nanosecond.
func (l *delayLine) arm() {
	wait := max(l.queue[0].at-l.now(), 1)
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(wait))}
	if err := unix.TimerfdSettime(l.fd, 0, &spec, nil); err != nil {
		panic("netns: timerfd_settime: " + err.Error()) // only for arguments that are wrong in themselves
	}
}

func (l *delayLine) run() {
	defer close(l.done)
	var expirations [8]byte
	var batch []due
	for {
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			return
		}
		now := l.now()
		batch = batch[:0]
		for len(l.queue) > 0 && l.queue[0].at <= now {
			batch = append(batch, heap.Pop(&l.queue).(due))
		}
		if len(batch) == 0 {
			l.asleep = true
			if len(l.queue) > 0 {
				l.arm()
			}
			l.mu.Unlock()
			if _, err := l.file.Read(expirations[:]); err != nil {
				return // closed
			}
			l.mu.Lock()
			l.asleep = false
			l.mu.Unlock()
			continue
		}
		l.mu.Unlock()
		for i := range batch {
			batch[i].run()
			batch[i].run = nil
		}
	}
}

// Close stops the goroutine and waits for it. What was queued is dropped.
func (l *delayLine) Close() error {
	l.mu.Lock()
	l.closed = true
	l.queue = nil
	err := l.file.Close()
	l.mu.Unlock()
	<-l.done
	return err
}
