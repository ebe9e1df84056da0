package snmp

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"careof/internal/control"
	"careof/internal/core/note"
	"careof/wire/agentx"
)

// Values of mipSecRecentViolationReason.
const (
	noAssociation    = 1
	badAuthenticator = 2
	badIdentifier    = 3
)

// reasons are the reply codes that tell of a security violation.
var reasons = map[uint8]int32{
	67: badAuthenticator, 68: badAuthenticator, 131: badAuthenticator, 132: badAuthenticator, 133: badIdentifier,
}

// maxViolators bounds mipSecViolationTable: the one that was quiet the longest
// gives way.
const maxViolators = 256

// A violator is one row of mipSecViolationTable.
type violator struct {
	address netip.Addr
	count   uint64
	spi     uint32
	at      time.Time
	id      uint64
	reason  int32
}

// violations is mipSecViolationTable: who was refused for a wrong
// authenticator or Identification since the start. The peers are those that
// the daemon answered; strangers are not among them.
type violations struct {
	started time.Time

	mu   sync.Mutex
	rows []*violator // the latest last
}

// hear takes an event, and tells whether it was a violation.
func (v *violations) hear(e control.Event) (violator, bool) {
	reason, ok := reasons[e.Code]
	if !ok || (e.Kind != note.Denied && e.Kind != note.Refused) {
		return violator{}, false
	}
	peer := e.Endpoint.Addr()
	if !peer.IsValid() {
		peer = e.CareOfAddress
	}
	if peer = peer.Unmap(); !peer.Is4() {
		return violator{}, false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	row := &violator{address: peer}
	if i := slices.IndexFunc(v.rows, func(r *violator) bool { return r.address == peer }); i >= 0 {
		row = v.rows[i]
		v.rows = slices.Delete(v.rows, i, i+1)
	} else if len(v.rows) == maxViolators {
		v.rows = slices.Delete(v.rows, 0, 1)
	}
	v.rows = append(v.rows, row)
	row.count++
	row.spi, row.at, row.id, row.reason = e.SPI, e.Time, e.Identification, reason
	return *row, true
}

// put adds the table to a snapshot.
func (v *violations) put(s *snapshot) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, row := range v.rows {
		columns := row.recent()
		columns[2] = agentx.Count(row.count)
		columns[4] = agentx.Ticks(uint32(row.at.Sub(v.started) / (10 * time.Millisecond)))
		s.row(mipSecurity.Append(3, 1), index(row.address), columns)
	}
}

// recent are the columns that a trap carries too.
func (r *violator) recent() map[uint32]agentx.Value {
	return map[uint32]agentx.Value{
		3: agentx.Int(int32(r.spi)), 5: agentx.Int(int32(uint32(r.id))), 6: agentx.Int(int32(uint32(r.id >> 32))), 7: agentx.Int(r.reason),
	}
}

var (
	snmpTrapOID    = agentx.OID{1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0}
	mipAuthFailure = mipMIB.Append(2, 0, 1)
)

// trap is mipAuthFailure about the violator.
//
//rfc:2006#3
func (r *violator) trap() []agentx.VarBind {
	at := func(column uint32) agentx.OID {
		return mipSecurity.Append(3, 1, column).Append(index(r.address)...)
	}
	columns := r.recent()
	return []agentx.VarBind{
		{Name: snmpTrapOID, Value: agentx.Identifier(mipAuthFailure)},
		{Name: at(1), Value: agentx.Address(r.address)},
		{Name: at(3), Value: columns[3]},
		{Name: at(5), Value: columns[5]},
		{Name: at(6), Value: columns[6]},
		{Name: at(7), Value: columns[7]},
	}
}
