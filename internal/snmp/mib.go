package snmp

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"

	"careof/internal/control"
	"careof/wire/agentx"
)

// mipMIB is { mib-2 44 }.
//
//rfc:2006#3
var mipMIB = agentx.OID{1, 3, 6, 1, 2, 1, 44}

// The groups below mipMIBObjects, by the numbers that RFC 2006 gives them.
var (
	mipSystem      = mipMIB.Append(1, 1)
	mipSecurity    = mipMIB.Append(1, 2)
	mnSystem       = mipMIB.Append(1, 3, 1)
	mnRegistration = mipMIB.Append(1, 3, 3)
	faSystem       = mipMIB.Append(1, 5, 1)
	faRegistration = mipMIB.Append(1, 5, 3)
	haRegistration = mipMIB.Append(1, 6, 3)
)

// tables are the entries of the tables that are served, for telling a column
// from its instances.
var tables = []agentx.OID{
	mipSecurity.Append(1, 1), mipSecurity.Append(3, 1), mnSystem.Append(3, 1), mnRegistration.Append(1, 1),
	faSystem.Append(1, 1), faRegistration.Append(1, 1), haRegistration.Append(1, 1),
}

// columnLen is how many sub-identifiers of a name are its object's.
func columnLen(name agentx.OID) int {
	for _, entry := range tables {
		if name.HasPrefix(entry) {
			return len(entry) + 1
		}
	}
	return len(name) - 1
}

// A Source is the daemon: see [control.Backend].
type Source interface {
	Show(ctx context.Context, what, argument string) (any, error)
	Subscribe(after *uint64) (past []control.Event, events <-chan control.Event, cancel func())
}

// A snapshot is what the daemon said, and the view that is built from it.
type snapshot struct {
	view
	counts map[string]uint64
}

func (s *snapshot) put(object agentx.OID, v agentx.Value) {
	s.view = append(s.view, agentx.VarBind{Name: object, Value: v})
}

// scalar puts an object that has one instance.
func (s *snapshot) scalar(group agentx.OID, object uint32, v agentx.Value) {
	s.put(group.Append(object, 0), v)
}

// row puts columns of one row, by their numbers.
func (s *snapshot) row(entry agentx.OID, index []uint32, columns map[uint32]agentx.Value) {
	for column, v := range columns {
		s.put(entry.Append(column).Append(index...), v)
	}
}

// index is addresses as a table's index: four sub-identifiers each.
func index(addresses ...netip.Addr) (out []uint32) {
	for _, a := range addresses {
		for _, octet := range agentx.Address(a).Bytes {
			out = append(out, uint32(octet))
		}
	}
	return out
}

// bits encodes BITS: the first is the highest of the first octet.
func bits(set ...int) agentx.Value {
	b := []byte{0}
	for _, n := range set {
		b[n/8] |= 0x80 >> (n % 8)
	}
	return agentx.Octets(b)
}

// truth is a TruthValue.
func truth(v bool) agentx.Value {
	if v {
		return agentx.Int(1)
	}
	return agentx.Int(2)
}

// A total serves the sum of counters of the daemon.
type total struct {
	group  agentx.OID
	object uint32
	of     []string
}

// totals are the counters that the daemon keeps, by the MIB's names.
var totals = []total{
	{mipSecurity, 2, []string{ // mipSecTotalViolations
		"home-agent.authenticators_wrong", "home-agent.denied_131", "home-agent.denied_132", "home-agent.denied_133", "home-agent.mismatches_suppressed",
		"foreign-agent.denied_67", "foreign-agent.denied_68"}},

	{mnRegistration, 2, []string{"mobile-node.requesting"}},   // mnRegRequestsSent
	{mnRegistration, 14, []string{"mobile-node.registered"}},  // mnRegRequestsAccepted
	{mnRegistration, 17, []string{"mobile-node.refused-133"}}, // mnRegRequestsDeniedByHADueToID

	{faRegistration, 3, []string{"foreign-agent.requests_relayed"}},                                                                            // faRegRequestsRelayed
	{faRegistration, 4, []string{"foreign-agent.denied_64"}},                                                                                   // faReasonUnspecified
	{faRegistration, 5, []string{"foreign-agent.denied_65"}},                                                                                   // faAdmProhibited
	{faRegistration, 6, []string{"foreign-agent.denied_66"}},                                                                                   // faInsufficientResource
	{faRegistration, 7, []string{"foreign-agent.denied_67"}},                                                                                   // faMNAuthenticationFailure
	{faRegistration, 8, []string{"foreign-agent.denied_69"}},                                                                                   // faRegLifetimeTooLong
	{faRegistration, 9, []string{"foreign-agent.denied_70"}},                                                                                   // faPoorlyFormedRequests
	{faRegistration, 10, []string{"foreign-agent.denied_72"}},                                                                                  // faEncapsulationUnavailable
	{faRegistration, 12, []string{"foreign-agent.denied_80", "foreign-agent.denied_81", "foreign-agent.denied_82", "foreign-agent.denied_88"}}, // faHAUnreachable
	{faRegistration, 14, []string{"foreign-agent.registrations_accepted", "foreign-agent.registrations_refused"}},                              // faRegRepliesRelayed
	{faRegistration, 15, []string{"foreign-agent.denied_68"}},                                                                                  // faHAAuthenticationFailure
	{faRegistration, 16, []string{"foreign-agent.denied_71"}},                                                                                  // faPoorlyFormedReplies

	{haRegistration, 3, []string{"home-agent.registrations_bound", "home-agent.registrations_refreshed", "home-agent.registrations_moved", "home-agent.registrations_deregistered"}}, // haRegistrationAccepted
	{haRegistration, 4, []string{"home-agent.denied_1"}},                                        // haMultiBindingUnsupported
	{haRegistration, 5, []string{"home-agent.denied_128"}},                                      // haReasonUnspecified
	{haRegistration, 6, []string{"home-agent.denied_129"}},                                      // haAdmProhibited
	{haRegistration, 7, []string{"home-agent.denied_130"}},                                      // haInsufficientResource
	{haRegistration, 8, []string{"home-agent.authenticators_wrong"}},                            // haMNAuthenticationFailure
	{haRegistration, 9, []string{"home-agent.denied_132"}},                                      // haFAAuthenticationFailure
	{haRegistration, 10, []string{"home-agent.denied_133", "home-agent.mismatches_suppressed"}}, // haIDMismatch
	{haRegistration, 11, []string{"home-agent.denied_134"}},                                     // haPoorlyFormedRequest
	{haRegistration, 12, []string{"home-agent.denied_135"}},                                     // haTooManyBindings
	{haRegistration, 13, []string{"home-agent.denied_136"}},                                     // haUnknownHA
}

// entities are the bits of mipEntities, and which groups of totals a role has.
var entities = map[string]struct {
	bit   int
	group agentx.OID
}{
	"mobile-node":   {0, mipMIB.Append(1, 3)},
	"foreign-agent": {1, mipMIB.Append(1, 5)},
	"home-agent":    {2, mipMIB.Append(1, 6)},
}

// read asks the daemon for everything and builds the view.
func read(ctx context.Context, source Source, violations *violations) (view, error) {
	s := snapshot{counts: map[string]uint64{}}
	status, err := ask[control.Status](ctx, source, "status")
	if err != nil {
		return nil, err
	}
	counters, err := ask[[]control.Counter](ctx, source, "counters")
	if err != nil {
		return nil, err
	}
	for _, c := range counters {
		s.counts[c.Name] = c.Value
	}
	var roles []int
	groups := []agentx.OID{mipSecurity}
	for _, r := range status.Roles {
		if e, ok := entities[r.Role]; ok {
			roles, groups = append(roles, e.bit), append(groups, e.group)
		}
	}
	s.scalar(mipSystem, 1, bits(roles...))
	s.scalar(mipSystem, 2, agentx.Int(1))    // enabled: it runs
	s.scalar(mipSystem, 3, bits(0, 1, 2, 3)) // ipInIp, gre, minEnc, and UDP as other
	for _, t := range totals {
		if !within(t.group, groups) {
			continue
		}
		var sum uint64
		for _, name := range t.of {
			sum += s.counts[name]
		}
		s.scalar(t.group, t.object, agentx.Count(sum))
	}
	if within(mnRegistration, groups) {
		s.refusals()
	}
	s.state(status)
	for _, rows := range []func(context.Context, Source) error{s.associations, s.registrations, s.visitors, s.bindings} {
		if err := rows(ctx, source); err != nil {
			return nil, err
		}
	}
	violations.put(&s)
	return s.view.sorted(), nil
}

// refusals are mnRegRequestsDeniedByHA and mnRegRequestsDeniedByFA: codes from
// 128 are a home agent's (RFC 5944 section 3.4).
func (s *snapshot) refusals() {
	var home, foreign uint64
	for code := 64; code < 256; code++ {
		n := s.counts["mobile-node.refused-"+strconv.Itoa(code)]
		if code >= 128 {
			home += n
		} else {
			foreign += n
		}
	}
	s.scalar(mnRegistration, 15, agentx.Count(home))
	s.scalar(mnRegistration, 16, agentx.Count(foreign))
}

func within(name agentx.OID, groups []agentx.OID) bool {
	for _, g := range groups {
		if name.HasPrefix(g) {
			return true
		}
	}
	return false
}

// ask reads one thing from the daemon.
func ask[T any](ctx context.Context, source Source, what string) (T, error) {
	var zero T
	v, err := source.Show(ctx, what, "")
	if err != nil {
		return zero, fmt.Errorf("snmp: %s: %w", what, err)
	}
	t, ok := v.(T)
	if !ok {
		return zero, fmt.Errorf("snmp: %s: the daemon said a %T", what, v)
	}
	return t, nil
}
