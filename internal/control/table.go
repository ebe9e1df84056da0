package control

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Table writes the answer to what as a table for people.
func Table(w io.Writer, what string, answer []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(answer, &members); err != nil {
		return fmt.Errorf("control: answer: %w", err)
	}
	write, known := tables[what]
	if !known {
		return fmt.Errorf("control: there is no table of %q", what)
	}
	return write(w, members[what])
}

// tables says how each answer is laid out.
var tables = map[string]func(io.Writer, json.RawMessage) error{
	"status": status,
	"bindings": rows("HOME ADDRESS\tNAI\tCARE-OF ADDRESS\tENDPOINT\tTUNNEL\tSTATE\tREMAINING\tSENT\tRECEIVED", "no bindings", func(b Binding) []any {
		return []any{b.HomeAddress, dash(b.NAI), b.CareOfAddress, b.Endpoint, tunnelWord(b.Encapsulation, b.NAT, b.ReverseTunnel, b.Encrypted),
			b.State, remaining(b.Remaining), size(b.Counters.SentBytes), size(b.Counters.ReceivedBytes)}
	}),
	"binding": blocks(bindingBlock),
	"registrations": rows("HOME ADDRESS\tHOME AGENT\tUPLINK\tCARE-OF ADDRESS\tTUNNEL\tSTATE\tREMAINING\tRTT\tSENT\tRECEIVED", "no registrations", func(r Registration) []any {
		state := r.State
		if r.Code != 0 {
			state += fmt.Sprintf(" (%d %s)", r.Code, r.Meaning)
		}
		return []any{address(r.HomeAddress), address(r.HomeAgent), r.Uplink, address(r.CareOfAddress), tunnelWord(r.Encapsulation, r.NAT, r.ReverseTunnel, r.Encrypted),
			state, remaining(r.Remaining), r.RoundTrip, size(r.Counters.SentBytes), size(r.Counters.ReceivedBytes)}
	}),
	"uplinks": rows("INTERFACE\tPRIORITY\tUP\tUSABLE\tACTIVE\tADDRESSES\tGATEWAY\tWHY", "no uplinks", func(u Uplink) []any {
		return []any{u.Interface, u.Priority, yes(u.Up), yes(u.Usable), yes(u.Active), prefixes(u.Addresses), address(u.Gateway), u.Why}
	}),
	"associations": rows("ROLE\tPEER\tSPI\tALGORITHM\tREPLAY\tKEY", "no associations", func(a Association) []any {
		key := a.Fingerprint
		if a.Insecure {
			key = "INSECURE: nothing is authenticated"
		}
		return []any{a.Role, a.Peer, a.SPI, a.Algorithm, a.Replay, key}
	}),
	"stages": rows("ROLE\tSTAGE\tRFC\tHOOKS", "no stages", func(s Stage) []any {
		return []any{s.Role, s.Stage, s.Section, strings.Join(s.Hooks, " → ")}
	}),
	"counters": rows("COUNTER\tVALUE\tMEANING", "nothing has been counted yet", func(c Counter) []any {
		return []any{c.Name, c.Value, c.Meaning}
	}),
	"plane": rows("ENTRY\tINNER\tTUNNELS\tSENT\tRECEIVED\tDROPPED", "no entries", func(e Entry) []any {
		var tunnels []string
		for _, t := range e.Tunnels {
			word := fmt.Sprintf("%s %v→%v %s", t.Encapsulation, t.Local, t.Peer, t.Mode)
			if t.HalfBound {
				word += " half-bound"
			}
			tunnels = append(tunnels, word)
		}
		return []any{e.Key, e.Inner, dash(strings.Join(tunnels, ", ")), size(e.Counters.SentBytes), size(e.Counters.ReceivedBytes), e.Counters.DroppedPackets}
	}),
	"config": rows("KEY\tVALUE", "no values", func(s Setting) []any { return []any{s.Key, s.Value} }),
}

// rows lays out a list, one line for each item.
func rows[T any](heading, none string, line func(T) []any) func(io.Writer, json.RawMessage) error {
	return func(w io.Writer, text json.RawMessage) error {
		var list []T
		if err := json.Unmarshal(text, &list); err != nil {
			return fmt.Errorf("control: answer: %w", err)
		}
		if len(list) == 0 {
			_, err := fmt.Fprintln(w, none)
			return err
		}
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, heading)
		for _, item := range list {
			var cells []string
			for _, cell := range line(item) {
				cells = append(cells, fmt.Sprint(cell))
			}
			fmt.Fprintln(t, strings.Join(cells, "\t"))
		}
		return t.Flush()
	}
}

// blocks lays out a list, one block of "name value" lines for each item.
func blocks[T any](block func(T) [][2]any) func(io.Writer, json.RawMessage) error {
	return func(w io.Writer, text json.RawMessage) error {
		var list []T
		if err := json.Unmarshal(text, &list); err != nil {
			return fmt.Errorf("control: answer: %w", err)
		}
		for i, item := range list {
			if i > 0 {
				fmt.Fprintln(w)
			}
			if err := pairs(w, block(item)); err != nil {
				return err
			}
		}
		return nil
	}
}

func pairs(w io.Writer, list [][2]any) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, p := range list {
		fmt.Fprintf(t, "%v\t%v\n", p[0], p[1])
	}
	return t.Flush()
}

func bindingBlock(b Binding) [][2]any {
	return [][2]any{
		{"home address", b.HomeAddress},
		{"NAI", dash(b.NAI)},
		{"care-of address", b.CareOfAddress},
		{"endpoint", b.Endpoint},
		{"tunnel", tunnelWord(b.Encapsulation, b.NAT, b.ReverseTunnel, b.Encrypted)},
		{"state", b.State},
		{"bound since", b.Since.Local().Format(time.RFC3339)},
		{"lifetime", fmt.Sprintf("%s of %s left", remaining(b.Remaining), remaining(b.Granted))},
		{"association", fmt.Sprintf("SPI %d, %s", b.SPI, b.Algorithm)},
		{"identification", b.Identification},
		{"sent", fmt.Sprintf("%d packets, %s", b.Counters.SentPackets, size(b.Counters.SentBytes))},
		{"received", fmt.Sprintf("%d packets, %s", b.Counters.ReceivedPackets, size(b.Counters.ReceivedBytes))},
		{"dropped", b.Counters.DroppedPackets},
	}
}

func status(w io.Writer, text json.RawMessage) error {
	var s Status
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("control: answer: %w", err)
	}
	list := [][2]any{
		{"careof", s.Version},
		{"running since", s.Started.Local().Format(time.RFC3339)},
		{"configuration", s.ConfigFile},
		{"state", s.StateDirectory},
		{"data plane", s.Plane + " on " + s.Device},
	}
	for _, r := range s.Roles {
		list = append(list, [2]any{r.Role, r.State + ": " + r.Summary})
	}
	list = append(list,
		[2]any{"forwarded", fmt.Sprintf("%s out, %s in, %d packets dropped", size(s.Forwarded.SentBytes), size(s.Forwarded.ReceivedBytes), s.Forwarded.DroppedPackets)},
		[2]any{"strangers", fmt.Sprintf("%d tunnel packets ignored", s.Forwarded.Strangers)})
	if s.IPv6 != "" {
		list = append(list, [2]any{"IPv6", s.IPv6})
	}
	for _, warning := range s.Warnings {
		list = append(list, [2]any{"WARNING", warning})
	}
	return pairs(w, list)
}

// tunnelWord says in one word or two what packets travel in.
func tunnelWord(encapsulation string, nat, reverse, encrypted bool) string {
	if encapsulation == "" {
		return "-"
	}
	word := encapsulation
	if nat {
		word += ",nat"
	}
	if !reverse {
		word += ",one-way"
	}
	if encrypted {
		return word + ",encrypted"
	}
	return word + ",clear"
}

func remaining(s Seconds) string {
	if time.Duration(s) >= 0xffff*time.Second {
		return "infinite"
	}
	return time.Duration(s).Round(time.Second).String()
}

// size writes octets with a binary unit.
func size(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return strconv.FormatUint(n, 10) + " B"
	}
	value, unit := float64(n)/1024, 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}

func prefixes(list []netip.Prefix) string {
	var words []string
	for _, p := range list {
		words = append(words, p.String())
	}
	return dash(strings.Join(words, " "))
}

func address(a netip.Addr) string {
	if !a.IsValid() {
		return "-"
	}
	return a.String()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
