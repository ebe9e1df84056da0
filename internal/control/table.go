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
	"bindings": func(w io.Writer, text json.RawMessage) error {
		counted := make(map[netip.Addr]bool)
		return rows("HOME ADDRESS\tNAI\tCARE-OF ADDRESS\tENDPOINT\tTUNNEL\tSTATE\tREMAINING\tSENT\tRECEIVED", "no bindings", func(b Binding) []any {
			// Packets are counted for the home address: with each of its bindings
			// they would seem to be several times as many.
			sent, received := size(b.Counters.SentBytes), size(b.Counters.ReceivedBytes)
			if counted[b.HomeAddress] {
				sent, received = "(above)", "(above)"
			}
			counted[b.HomeAddress] = true
			return []any{b.HomeAddress, dash(b.NAI), b.CareOfAddress, b.Endpoint, tunnelWord(b.Encapsulation, b.NAT, b.ReverseTunnel, b.Encrypted),
				b.State, b.Remaining, sent, received}
		})(w, text)
	},
	"binding": func(w io.Writer, text json.RawMessage) error {
		counted := make(map[netip.Addr]bool)
		return blocks(func(b Binding) [][2]any {
			again := counted[b.HomeAddress]
			counted[b.HomeAddress] = true
			return bindingBlock(b, again)
		})(w, text)
	},
	"registrations": registrations,
	"visitors": rows("HOME ADDRESS\tNAI\tHOME AGENT\tINTERFACE\tLINK-LAYER ADDRESS\tTUNNEL\tSTATE\tREMAINING\tSENT\tRECEIVED", "no visitors", func(v Visitor) []any {
		return []any{address(v.HomeAddress), dash(v.NAI), v.HomeAgent, v.Interface, v.LinkLayerAddress,
			visitorTunnel(v), v.State, v.Remaining, size(v.Counters.SentBytes), size(v.Counters.ReceivedBytes)}
	}),
	"advertisements": rows("INTERFACE\tACTIVE\tFLAGS\tCARE-OF ADDRESSES\tINTERVAL\tMAX LIFETIME", "nothing is advertised", func(a Advertisement) []any {
		return []any{a.Interface, yes(a.Active), dash(a.Flags), addresses(a.CareOfAddresses), a.Interval, a.MaxLifetime}
	}),
	"agents": rows("INTERFACE\tADDRESS\tFLAGS\tCARE-OF ADDRESSES\tMAX LIFETIME\tIN USE\tWHY NOT", "no agents", func(a Agent) []any {
		why := "-"
		if !a.Shunned.IsZero() {
			why = "denied service, avoided until " + a.Shunned.Format(time.TimeOnly)
		}
		return []any{a.Interface, a.Address, dash(a.Flags), addresses(a.CareOfAddresses), a.MaxLifetime, yes(a.InUse), why}
	}),
	"uplinks": rows("INTERFACE\tPRIORITY\tSTATE\tCARE-OF ADDRESS\tGATEWAYS\tROUND TRIP\tLOSS\tWHY", "no uplinks", func(u Uplink) []any {
		why := u.Why
		if u.Home {
			why = "attached to the home network"
		}
		switch {
		case u.Lease == nil:
		case u.Lease.Until.IsZero():
			why += " (DHCP: " + u.Lease.State
			if u.Lease.Why != "" {
				why += "; offered: " + u.Lease.Why
			}
			why += ")"
		default:
			why += " (DHCP: until " + u.Lease.Until.Local().Format(time.TimeOnly) + ")"
		}
		also := func(more string) {
			if why != "" {
				why += "; "
			}
			why += more
		}
		if u.NAT64 != "" {
			also(u.NAT64)
		}
		if k := u.Keepalive; k != nil && k.Learnt {
			also("keepalives every " + time.Duration(k.Interval).String() + ", learnt of this network's NAT")
		}
		if u.Doubts > 0 {
			also(fmt.Sprintf("doubts: %d, for %v in all", u.Doubts, time.Duration(u.InDoubt).Round(time.Second)))
		}
		took, loss := "-", "-"
		if u.RoundTrip > 0 {
			took = time.Duration(u.RoundTrip).Round(time.Millisecond).String()
		}
		if u.Probes > 0 {
			loss = fmt.Sprintf("%.0f %%", 100*u.Loss)
			if age := time.Since(u.Measured); !u.Measured.IsZero() && (!u.Probed || age >= oldLoss) {
				loss += ", " + ago(age)
			}
		}
		return []any{u.Interface, u.Priority, u.State, address(u.CareOfAddress), addresses(u.Gateways), took, loss, dash(why)}
	}),
	"associations": rows("ROLE\tPEER\tSPI\tALGORITHM\tREPLAY\tKEY", "no associations", func(a Association) []any {
		key := a.Fingerprint
		if a.Insecure {
			key = "INSECURE: nothing is authenticated"
		}
		return []any{a.Role, a.Peer, a.SPI, a.Algorithm, a.Replay, key}
	}),
	"enrolled": rows("NODE\tHOME ADDRESS\tNETWORKS\tHOST\tSTATE\tSINCE\tUNTIL", "nobody has joined, nobody is invited", func(n Enrolled) []any {
		until := "-"
		if !n.Until.IsZero() {
			until = n.Until.Local().Format(time.DateTime)
		}
		state := n.State
		if n.Blocked {
			state += ", blocked"
		}
		return []any{n.Node, address(n.HomeAddress), dash(n.Networks()), dash(n.Host), state, n.Since.Local().Format(time.DateTime), until}
	}),
	"pool": rows("HOME AGENT\tSTATE\tNODES\tCAPACITY\tHEARD", "this home agent has no pool", func(m PoolMember) []any {
		capacity, heard := "-", "-"
		if m.Capacity > 0 {
			capacity = fmt.Sprint(m.Capacity)
		}
		if !m.Heard.IsZero() {
			heard = m.Heard.Local().Format(time.DateTime)
		}
		return []any{m.Address, m.State, m.Nodes, capacity, heard}
	}),
	"blocked": rows("NODE\tSINCE", "nobody is kept out", func(b Blocked) []any {
		return []any{b.Node, b.Since.Local().Format(time.DateTime)}
	}),
	"networks": rows("ROLE\tPREFIX\tINTERFACE\tROUTER\tCARE-OF ADDRESS\tSTATE\tSENT\tRECEIVED", "no mobile networks", func(n MobileNetwork) []any {
		prefix := "-"
		if n.Prefix.IsValid() {
			prefix = n.Prefix.String()
		}
		router := n.NAI
		if n.HomeAddress.IsValid() {
			router = n.HomeAddress.String()
		}
		return []any{n.Role, prefix, dash(n.Interface), dash(router), address(n.CareOfAddress), n.State, size(n.Counters.SentBytes), size(n.Counters.ReceivedBytes)}
	}),
	"host": rows("FROM\tPREFIX\tROUTER\tNAME SERVERS\tDOMAIN\tDHCP SERVER\tIT ANSWERED\tLEASE\tASKED BY THE HOST", "nothing was told", func(h HostConfiguration) []any {
		prefix := "-"
		if h.Prefix.IsValid() {
			prefix = h.Prefix.String()
		}
		informed := "-"
		if !h.Informed.IsZero() {
			informed = h.Informed.Local().Format(time.DateTime)
		}
		leased := "-"
		if l := h.Lease; l != nil {
			if leased = l.State; !l.Until.IsZero() {
				leased += " until " + l.Until.Local().Format(time.DateTime)
			}
		}
		return []any{h.HomeAgent, prefix, address(h.Router), dash(strings.Join(h.NameServers, " ")), dash(h.Domain), address(h.DHCPServer), informed, leased, dash(h.Resolver)}
	}),
	"aaa": aaaTable,
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

// oldLoss is the age from which on a loss is shown with it, even if it goes on
// being measured: the profile "battery" asks rarely.
const oldLoss = time.Minute

// ago is a time that has passed, in one unit.
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", max(0, d/time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", d/time.Minute)
	}
	return fmt.Sprintf("%dh ago", d/time.Hour)
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
			fmt.Fprintln(t, tabbed(line(item)))
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

// registrations shows what a mobile node holds, and what a home agent answered.
func registrations(w io.Writer, text json.RawMessage) error {
	var list []Registration
	if err := json.Unmarshal(text, &list); err != nil {
		return fmt.Errorf("control: answer: %w", err)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "no registrations")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	heading := ""
	for _, r := range list {
		own, line := "UPLINK\tCARE-OF ADDRESS\tHOME AGENT\tTUNNEL\tSTATE\tREMAINING\tROUND TRIP\tMESSAGE", []any{
			r.Uplink, address(r.CareOfAddress), address(r.HomeAgent), tunnelWord(r.Encapsulation, false, true, r.Encrypted), r.State, r.Remaining, r.RoundTrip, dash(r.Message),
		}
		if r.RoundTrip == 0 {
			line[6] = "-" // nothing was granted over it yet
		}
		if r.Role != "mobile-node" {
			own, line = "TIME\tHOME ADDRESS\tNAI\tCARE-OF ADDRESS\tFROM\tCODE\tMEANING\tWHY", []any{
				r.Time.Local().Format(time.TimeOnly), address(r.HomeAddress), dash(r.NAI), address(r.CareOfAddress), r.Source, r.Code, r.State, dash(r.Why),
			}
		} else {
			if r.Code != 0 {
				line[4] = fmt.Sprintf("%s: %d %s", r.State, r.Code, r.Why)
			}
			if r.Active {
				line[4] = r.State + ", active"
			}
			if r.Outer.IsValid() && r.Outer.Addr() != r.CareOfAddress {
				line[4] = fmt.Sprintf("%v, seen as %v", line[4], r.Outer)
			}
		}
		if own != heading {
			fmt.Fprintln(t, own)
			heading = own
		}
		fmt.Fprintln(t, tabbed(line))
	}
	return t.Flush()
}

func tabbed(line []any) string {
	var cells []string
	for _, cell := range line {
		cells = append(cells, fmt.Sprint(cell))
	}
	return strings.Join(cells, "\t")
}

// prefixes lists the networks behind a router.
func prefixes(list []netip.Prefix) string {
	words := make([]string, len(list))
	for i, p := range list {
		words[i] = p.String()
	}
	return dash(strings.Join(words, ", "))
}

// bindingBlock is one binding; counted says that what was sent and received was
// shown with another binding of the home address.
func bindingBlock(b Binding, counted bool) [][2]any {
	list := [][2]any{
		{"home address", b.HomeAddress},
		{"NAI", dash(b.NAI)},
		{"care-of address", b.CareOfAddress},
		{"endpoint", b.Endpoint},
		{"tunnel", tunnelWord(b.Encapsulation, b.NAT, b.ReverseTunnel, b.Encrypted)},
		{"state", b.State},
		{"bound since", b.Since.Local().Format(time.RFC3339)},
		{"lifetime", fmt.Sprintf("%v of %v left", b.Remaining, b.Granted)},
		{"identification", b.Identification},
		{"networks", prefixes(b.Networks)},
	}
	if counted {
		list = append(list, [2]any{"packets", "counted above, with those of the node's other bindings"})
	} else {
		list = append(list, [][2]any{
			{"sent", fmt.Sprintf("%d packets, %s", b.Counters.SentPackets, size(b.Counters.SentBytes))},
			{"received", fmt.Sprintf("%d packets, %s", b.Counters.ReceivedPackets, size(b.Counters.ReceivedBytes))},
			{"dropped", b.Counters.DroppedPackets},
		}...)
	}
	if len(b.Redundant) > 0 {
		what := "comes here too"
		if b.Standby {
			what = "comes here, and nothing else"
		}
		list = append(list, [2]any{"redundant", strings.Join(b.Redundant, ", ") + " " + what})
	} else if b.Standby {
		list = append(list, [2]any{"redundant", "nothing comes here, until the node doubts its other path"})
	}
	switch {
	case b.Unvalidated:
		list = append(list, [2]any{"validated", "no: the endpoint has not answered a challenge, and is sent little"})
	case !b.Validated.IsZero():
		list = append(list, [2]any{"validated", "the endpoint answered a challenge at " + b.Validated.Local().Format(time.RFC3339)})
	}
	return list
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
	}
	if s.Device != "" {
		list = append(list, [2]any{"data plane", fmt.Sprintf("%s on %s, MTU %d", s.Plane, s.Device, s.MTU)})
	}
	for _, r := range s.Roles {
		list = append(list, [2]any{r.Role, r.State + ": " + r.Summary})
	}
	if s.Device != "" { // an AAA server alone has none
		list = append(list,
			[2]any{"forwarded", fmt.Sprintf("%s out, %s in, %d packets dropped", size(s.Forwarded.SentBytes), size(s.Forwarded.ReceivedBytes), s.Forwarded.DroppedPackets)},
			[2]any{"strangers", fmt.Sprintf("%d tunnel packets ignored", s.Forwarded.Strangers)})
	}
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

func addresses(list []netip.Addr) string {
	var words []string
	for _, a := range list {
		words = append(words, a.String())
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

// visitorTunnel says how a visitor's packets come and go.
func visitorTunnel(v Visitor) string {
	word := "its own" // co-located
	if v.Encapsulation != "" {
		word = v.Encapsulation
	}
	if v.Delivery != "none" {
		word += "," + v.Delivery
	}
	return word
}
