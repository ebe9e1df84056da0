package config

import (
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"careof/internal/core/forward"
	"careof/internal/core/ident"
)

// A Kind says how values of one sort are read from TOML and written back.
type Kind[V any] struct {
	// Name tells people what is expected: "an IPv4 address".
	Name string
	// Parse takes a value as the TOML library gives it (string, int64, bool,
	// []any …).
	Parse func(v any) (V, error)
	// Format returns the value as TOML text, and "" for one that is not set.
	Format func(V) string
}

// mistake is an error with a hint.
type mistake struct{ text, hint string }

func (m *mistake) Error() string { return m.text }

func mistakef(hint, format string, args ...any) error {
	return &mistake{fmt.Sprintf(format, args...), hint}
}

func wrongType(v any, want, example string) error {
	hint := ""
	if example != "" {
		hint = "for example " + example
	}
	return mistakef(hint, "must be %s, not %s", want, tomlType(v))
}

func tomlType(v any) string {
	switch v := v.(type) {
	case string:
		return "the string " + strconv.Quote(v)
	case int64:
		return fmt.Sprintf("the number %d", v)
	case float64:
		return fmt.Sprintf("the number %v", v)
	case bool:
		return fmt.Sprintf("%t", v)
	case time.Time:
		return "a date"
	case map[string]any:
		return "a table"
	case []any, []map[string]any:
		return "a list"
	}
	return fmt.Sprintf("%T", v)
}

// String reads a string that must not be empty.
var String = Kind[string]{
	Name: "a string",
	Parse: func(v any) (string, error) {
		s, ok := v.(string)
		if !ok {
			return "", wrongType(v, "a string", "")
		}
		if s == "" {
			return "", mistakef("leave the key out instead", "must not be empty")
		}
		return s, nil
	},
	Format: formatString,
}

func formatString(s string) string {
	if s == "" {
		return ""
	}
	return strconv.Quote(s)
}

// Bool reads true or false.
var Bool = Kind[bool]{
	Name: "true or false",
	Parse: func(v any) (bool, error) {
		b, ok := v.(bool)
		if !ok {
			return false, wrongType(v, "true or false", "")
		}
		return b, nil
	},
	Format: func(b bool) string {
		if !b {
			return ""
		}
		return "true"
	},
}

// Integer is what [Int] can read.
type Integer interface{ ~int | ~uint16 | ~uint32 }

// Int reads a whole number from low to high.
func Int[V Integer](low, high int64) Kind[V] {
	name := fmt.Sprintf("a number from %d to %d", low, high)
	if high == math.MaxUint32 {
		name = fmt.Sprintf("a number from %d on", low)
	}
	return Kind[V]{
		Name: name,
		Parse: func(v any) (V, error) {
			n, ok := v.(int64)
			if !ok {
				return 0, wrongType(v, name, "")
			}
			if n < low || n > high {
				return 0, mistakef("", "must be %s, not %d", name, n)
			}
			return V(n), nil
		},
		Format: func(n V) string {
			if n == 0 && low > 0 {
				return ""
			}
			return strconv.FormatInt(int64(n), 10)
		},
	}
}

// Duration reads a Go duration such as "90s" or "1h30m", in whole seconds,
// from low to high.
func Duration(low, high time.Duration) Kind[time.Duration] {
	name := fmt.Sprintf("a duration from %s to %s", formatDuration(low), formatDuration(high))
	return Kind[time.Duration]{
		Name: name,
		Parse: func(v any) (time.Duration, error) {
			s, ok := v.(string)
			if !ok {
				return 0, wrongType(v, name, `"90s" or "10m"`)
			}
			d, err := time.ParseDuration(s)
			if err != nil {
				return 0, mistakef(`for example "90s" or "10m"`, "%q is no duration", s)
			}
			if d < low || d > high {
				return 0, mistakef("", "must be %s, not %s", name, s)
			}
			if d%time.Second != 0 {
				return 0, mistakef("the protocol counts whole seconds", "%s is not a whole number of seconds", s)
			}
			return d, nil
		},
		Format: func(d time.Duration) string {
			if d == 0 {
				return ""
			}
			return strconv.Quote(formatDuration(d))
		},
	}
}

// formatDuration writes 10m, not 10m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Address reads the IPv4 address of one host.
var Address = Kind[netip.Addr]{
	Name: "an IPv4 address",
	Parse: func(v any) (netip.Addr, error) {
		s, ok := v.(string)
		if !ok {
			return netip.Addr{}, wrongType(v, "an IPv4 address", `"192.0.2.1"`)
		}
		return parseAddress(s)
	},
	Format: func(a netip.Addr) string {
		if !a.IsValid() {
			return ""
		}
		return strconv.Quote(a.String())
	},
}

func parseAddress(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil && strings.Contains(s, "/"):
		return netip.Addr{}, mistakef("write the address without the prefix length", "%q is a prefix, not an address", s)
	case err != nil:
		return netip.Addr{}, mistakef(`for example "192.0.2.1"`, "%q is no IPv4 address", s)
	case !a.Is4():
		return netip.Addr{}, mistakef("only Mobile IPv4 is there yet", "%s is no IPv4 address", s)
	case !isHost(a):
		return netip.Addr{}, mistakef("it must be an address at which other hosts reach one host", "%s cannot be used here", s)
	}
	return a, nil
}

// noHosts are blocks in which no host can be reached from another: this
// network, loopback, multicast, reserved and broadcast (RFC 1122 section
// 3.2.1.3, RFC 1112 section 4).
var noHosts = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("240.0.0.0/4"),
}

func isHost(a netip.Addr) bool {
	return !slices.ContainsFunc(noHosts, func(p netip.Prefix) bool { return p.Contains(a) })
}

// isHomeNetwork tells whether a prefix can be a home network: unicast
// addresses, and not so many that the route to the tunnel would swallow
// everybody else's.
func isHomeNetwork(p netip.Prefix) bool {
	return p.Bits() >= 8 && isHost(p.Addr())
}

// Prefix reads an IPv4 prefix without host bits.
var Prefix = Kind[netip.Prefix]{
	Name: "an IPv4 prefix",
	Parse: func(v any) (netip.Prefix, error) {
		s, ok := v.(string)
		if !ok {
			return netip.Prefix{}, wrongType(v, "an IPv4 prefix", `"192.0.2.0/24"`)
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
				return netip.Prefix{}, mistakef(fmt.Sprintf("for example \"%s/24\", or \"%s/32\" for this one address", a, a), "%q has no prefix length", s)
			}
			return netip.Prefix{}, mistakef(`for example "192.0.2.0/24"`, "%q is no IPv4 prefix", s)
		}
		if !p.Addr().Is4() {
			return netip.Prefix{}, mistakef("only Mobile IPv4 is there yet", "%s is no IPv4 prefix", s)
		}
		if p != p.Masked() {
			return netip.Prefix{}, mistakef(fmt.Sprintf("did you mean %q?", p.Masked()), "%s has bits set beyond its length", s)
		}
		return p, nil
	},
	Format: func(p netip.Prefix) string {
		if !p.IsValid() {
			return ""
		}
		return strconv.Quote(p.String())
	},
}

// interfaceName is what Linux allows: fewer than 16 octets, no slash, no space;
// and, what Linux allows but the octet 0, no control characters, which nobody sees.
var interfaceName = regexp.MustCompile(`^[^/\s:\pC]{1,15}$`)

// Interface reads the name of a network interface.
var Interface = Kind[string]{
	Name: "the name of a network interface",
	Parse: func(v any) (string, error) {
		s, ok := v.(string)
		if !ok {
			return "", wrongType(v, "the name of a network interface", `"eth0"`)
		}
		if !interfaceName.MatchString(s) || s == "." || s == ".." {
			return "", mistakef("1 to 15 characters, without spaces, slashes or colons", "%q is no interface name", s)
		}
		return s, nil
	},
	Format: formatString,
}

// NAI reads a network access identifier (RFC 2794, RFC 4282).
var NAI = Kind[ident.NAI]{
	Name: "a network access identifier",
	Parse: func(v any) (ident.NAI, error) {
		s, ok := v.(string)
		if !ok {
			return "", wrongType(v, "a network access identifier", `"van7@fleet.example"`)
		}
		n, err := ident.ParseNAI(s)
		if err != nil {
			return "", mistakef(`for example "van7@fleet.example"`, "%s", reason(err))
		}
		return n, nil
	},
	Format: func(n ident.NAI) string { return formatString(string(n)) },
}

// reason is an error's text without the package that it comes from.
func reason(err error) string {
	_, text, found := strings.Cut(err.Error(), ": ")
	if !found {
		return err.Error()
	}
	return text
}

// Word reads one of the words that parse understands.
func Word[V fmt.Stringer](parse func(string) (V, error), words ...string) Kind[V] {
	name := "one of " + list(words)
	return Kind[V]{
		Name: name,
		Parse: func(v any) (V, error) {
			var none V
			s, ok := v.(string)
			if !ok {
				return none, wrongType(v, name, "")
			}
			if !slices.Contains(words, s) {
				return none, mistakef(didYouMean(s, words), "%q is not %s", s, name)
			}
			return parse(s)
		},
		Format: func(v V) string {
			if s := v.String(); slices.Contains(words, s) {
				return strconv.Quote(s)
			}
			return ""
		},
	}
}

// Enum reads one of a fixed set of words. A value is the index of its word.
func Enum[V ~uint8](words ...string) Kind[V] {
	name := "one of " + list(words)
	return Kind[V]{
		Name: name,
		Parse: func(v any) (V, error) {
			s, ok := v.(string)
			if !ok {
				return 0, wrongType(v, name, "")
			}
			for i, w := range words {
				if w == s {
					return V(i), nil
				}
			}
			return 0, mistakef(didYouMean(s, words), "%q is not %s", s, name)
		},
		Format: func(v V) string {
			if int(v) >= len(words) {
				return ""
			}
			return strconv.Quote(words[v])
		},
	}
}

// List reads a list of values of one kind, without repetitions. The list may
// be empty.
func List[V comparable](k Kind[V]) Kind[[]V] {
	name := "a list, each " + k.Name
	return Kind[[]V]{
		Name: name,
		Parse: func(v any) ([]V, error) {
			items, ok := v.([]any)
			if !ok {
				return nil, wrongType(v, name, "")
			}
			seen := map[V]bool{}
			out := make([]V, 0, len(items))
			for _, item := range items {
				one, err := k.Parse(item)
				if err != nil {
					return nil, err
				}
				if seen[one] {
					return nil, mistakef("remove one of the two", "%s stands there twice", k.Format(one))
				}
				seen[one] = true
				out = append(out, one)
			}
			return out, nil
		},
		Format: func(vs []V) string {
			if vs == nil {
				return ""
			}
			parts := make([]string, len(vs))
			for i, v := range vs {
				parts[i] = k.Format(v)
			}
			return "[" + strings.Join(parts, ", ") + "]"
		},
	}
}

// OneOrList reads one value, or a list of at least one.
func OneOrList[V comparable](k Kind[V]) Kind[[]V] {
	many := List(k)
	return Kind[[]V]{
		Name: k.Name + ", or a list of them",
		Parse: func(v any) ([]V, error) {
			if _, isList := v.([]any); !isList {
				one, err := k.Parse(v)
				return []V{one}, err
			}
			vs, err := many.Parse(v)
			if err == nil && len(vs) == 0 {
				err = mistakef("", "must not be empty")
			}
			return vs, err
		},
		Format: func(vs []V) string {
			if len(vs) == 1 {
				return k.Format(vs[0])
			}
			return many.Format(vs)
		},
	}
}

// list writes "a, b or c".
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// classKind is a class of packets.
var classKind = Kind[forward.Class]{
	Name: "packets, such as \"dscp ef\"",
	Parse: func(v any) (forward.Class, error) {
		s, ok := v.(string)
		if !ok {
			return forward.Class{}, wrongType(v, "packets", `"dscp ef", "udp 5060", "tcp 22" or "net 203.0.113.0/24"`)
		}
		c, err := forward.ParseClass(s)
		if err != nil {
			return forward.Class{}, mistakef(`"dscp ef", "udp 5060", "tcp 22" or "net 203.0.113.0/24"`, "%q is no class of packets", s)
		}
		return c, nil
	},
	Format: func(c forward.Class) string { return strconv.Quote(c.String()) },
}
