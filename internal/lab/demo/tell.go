package demo

import (
	"fmt"
	"time"
)

const introduction = `A laptop moves between two networks, and its connections do not notice.

  correspondent ---+          +-- 25 ms -- network 1 ------------- wlan0
                   +-- core --+                                          laptop
  home agent ------+          +-- 25 ms -- NAT -- network 2 ------ wwan0

The laptop (mn) keeps one address, 10.10.0.5, wherever it is. The home agent (ha)
takes the packets for that address and tunnels them to where the laptop says it
is. The correspondent (cn) knows nothing of all this. Everything here is a real
kernel, real TCP and the real daemon, in network namespaces of this machine.
`

func (d *demo) introduce() { fmt.Fprint(d.Out, introduction, "\n") }

// tell prints a line with the time since the beginning.
func (d *demo) tell(at time.Time, format string, args ...any) {
	fmt.Fprintf(d.Out, "%7.3f  %s\n", at.Sub(d.began).Seconds(), fmt.Sprintf(format, args...))
}

func (d *demo) say(format string, args ...any) { d.tell(time.Now(), format, args...) }
