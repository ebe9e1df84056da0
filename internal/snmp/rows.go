package snmp

import (
	"context"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"careof/internal/control"
	"careof/wire/agentx"
)

// replayMethods are the values of mipSecReplayMethod; anything else is other(1).
var replayMethods = map[string]int32{"timestamp": 2, "nonce": 3}

// associations is mipSecAssocTable: a row for each key whose peer is known by
// an address.
func (s *snapshot) associations(ctx context.Context, source Source) error {
	list, err := ask[[]control.Association](ctx, source, "associations")
	if err != nil {
		return err
	}
	for _, a := range list {
		peer, err := netip.ParseAddr(a.Peer)
		if err != nil {
			continue // an NAI, or a name
		}
		algorithm := int32(1) // other
		if strings.Contains(a.Algorithm, "md5") {
			algorithm = 2
		}
		mode := int32(1)
		if a.Algorithm == "keyed-md5" {
			mode = 2 // prefixSuffix
		}
		s.row(mipSecurity.Append(1, 1), append(index(peer), a.SPI), map[uint32]agentx.Value{
			3: agentx.Int(algorithm),
			4: agentx.Int(mode),
			// "When read, this object always returns a zero-length value."
			5: agentx.Octets(nil),
			6: agentx.Int(max(1, replayMethods[a.Replay])),
		})
	}
	return nil
}

// Values of mnState.
const (
	mnHome       = 1
	mnRegistered = 2
	mnPending    = 3
	mnIsolated   = 4
	mnUnknown    = 5
)

// mnStates translates a mobile node's state.
var mnStates = map[string]int32{
	"home": mnHome, "registered": mnRegistered, "registering": mnPending, "returning": mnPending, "idle": mnIsolated,
}

// state is mnState.
func (s *snapshot) state(status control.Status) {
	for _, r := range status.Roles {
		if r.Role != "mobile-node" {
			continue
		}
		state, known := mnStates[r.State]
		if !known {
			state = mnUnknown
		}
		s.scalar(mnSystem, 1, agentx.Int(state))
	}
}

// registrations is the rest of mnSystem, and mnRegistrationTable: those that a
// mobile node here has asked for.
func (s *snapshot) registrations(ctx context.Context, source Source) error {
	list, err := ask[[]control.Registration](ctx, source, "registrations")
	if err != nil {
		return err
	}
	for _, r := range list {
		if r.Role != "mobile-node" {
			continue
		}
		if r.HomeAddress.IsValid() {
			s.scalar(mnSystem, 2, agentx.Address(r.HomeAddress))
		}
		agent := r.HomeAgent
		if r.ForeignAgent.IsValid() {
			agent = r.ForeignAgent
		}
		s.row(mnSystem.Append(3, 1), index(r.HomeAgent), map[uint32]agentx.Value{2: truth(r.Active), 3: agentx.Int(1)})
		accepted := r.State == "registered" || r.Remaining > 0
		s.row(mnRegistration.Append(1, 1), index(agent, r.CareOfAddress), map[uint32]agentx.Value{
			1: agentx.Address(agent), 2: agentx.Address(r.CareOfAddress),
			6: agentx.Int(seconds(r.Granted)), 7: agentx.Int(seconds(r.Remaining)),
			9: truth(accepted), 10: truth(!r.ForeignAgent.IsValid()),
		})
	}
	return nil
}

// visitors is faVisitorTable, indexed by the visitor's address.
func (s *snapshot) visitors(ctx context.Context, source Source) error {
	list, err := ask[[]control.Visitor](ctx, source, "visitors")
	if err != nil {
		return err
	}
	coas := map[netip.Addr]bool{}
	for _, v := range list {
		if v.CareOfAddress.IsValid() && !coas[v.CareOfAddress] {
			coas[v.CareOfAddress] = true
			s.row(faSystem.Append(1, 1), index(v.CareOfAddress), map[uint32]agentx.Value{2: agentx.Int(1)}) // active
		}
		low, high := identification(v.Identification)
		s.row(faRegistration.Append(1, 1), index(v.HomeAddress), map[uint32]agentx.Value{
			1: agentx.Address(v.HomeAddress), 2: agentx.Address(v.HomeAddress), 3: agentx.Address(v.HomeAgent),
			4: agentx.Int(seconds(v.Granted)), 5: agentx.Int(seconds(v.Remaining)),
			7: low, 8: high, 9: truth(v.State == "accepted"),
		})
	}
	return nil
}

// bindings is haMobilityBindingTable.
func (s *snapshot) bindings(ctx context.Context, source Source) error {
	list, err := ask[[]control.Binding](ctx, source, "bindings")
	if err != nil {
		return err
	}
	for _, b := range list {
		low, high := identification(b.Identification)
		s.row(haRegistration.Append(1, 1), index(b.HomeAddress, b.CareOfAddress), map[uint32]agentx.Value{
			1: agentx.Address(b.HomeAddress), 2: agentx.Address(b.CareOfAddress),
			3: agentx.Address(b.Endpoint.Addr()), 5: low, 6: high,
			7: agentx.Int(seconds(b.Granted)), 8: agentx.Int(seconds(b.Remaining)),
		})
	}
	return nil
}

// seconds is a lifetime as the MIB has it: whole seconds, 65535 at most, which
// stands for infinity.
func seconds(s control.Seconds) int32 {
	return int32(max(0, min(time.Duration(s).Seconds(), 65535)))
}

// identification splits an Identification, which the daemon shows in
// hexadecimal, into its halves.
func identification(text string) (low, high agentx.Value) {
	id, err := strconv.ParseUint(strings.TrimPrefix(text, "0x"), 16, 64)
	if err != nil {
		id = 0
	}
	return agentx.Int(int32(uint32(id))), agentx.Int(int32(uint32(id >> 32)))
}
