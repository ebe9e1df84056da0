package snmp

import (
	"slices"

	"careof/wire/agentx"
)

// A view is all objects at one moment, in the order of a walk.
type view []agentx.VarBind

// sort puts the objects into order; of two with one name the first stays.
func (v view) sorted() view {
	slices.SortStableFunc(v, func(a, b agentx.VarBind) int { return a.Name.Compare(b.Name) })
	return slices.CompactFunc(v, func(a, b agentx.VarBind) bool { return a.Name.Compare(b.Name) == 0 })
}

func (v view) find(name agentx.OID) (int, bool) {
	return slices.BinarySearchFunc(v, name, func(have agentx.VarBind, want agentx.OID) int { return have.Name.Compare(want) })
}

// get answers one range of a Get.
//
//rfc:2741#7.2.3.1
func (v view) get(name agentx.OID) agentx.VarBind {
	if i, there := v.find(name); there {
		return v[i]
	}
	missing := agentx.NoSuchObject
	// "If the variable name … has an OBJECT IDENTIFIER prefix which exactly
	// matches … the name of any variable accessible, noSuchInstance": a
	// column or a scalar that has other instances.
	if len(name) > 0 {
		object := name[:min(len(name), columnLen(name))]
		if i, _ := v.find(object); i < len(v) && v[i].Name.HasPrefix(object) && len(object) < len(name) {
			missing = agentx.NoSuchInstance
		}
	}
	return agentx.VarBind{Name: name, Value: agentx.Value{Type: missing}}
}

// next answers one range of a GetNext.
//
//rfc:2741#7.2.3.2
func (v view) next(r agentx.Range) agentx.VarBind {
	i, there := v.find(r.Start)
	if there && !r.Include {
		i++
	}
	if i < len(v) && (len(r.End) == 0 || v[i].Name.Compare(r.End) < 0) {
		return v[i]
	}
	return agentx.VarBind{Name: r.Start, Value: agentx.Value{Type: agentx.EndOfMIBView}}
}

// bulk answers a GetBulk, with at most limit variables in all.
//
//rfc:2741#7.2.3.3
func (v view) bulk(ranges []agentx.Range, nonRepeaters, repetitions, limit int) (out []agentx.VarBind) {
	nonRepeaters = min(nonRepeaters, len(ranges))
	for _, r := range ranges[:nonRepeaters] {
		out = append(out, v.next(r))
	}
	repeaters := slices.Clone(ranges[nonRepeaters:])
	for range repetitions {
		alive := false
		for i := range repeaters {
			if len(out) >= limit {
				return out
			}
			b := v.next(repeaters[i])
			out = append(out, b)
			if b.Value.Type != agentx.EndOfMIBView {
				repeaters[i].Start, repeaters[i].Include = b.Name, false
				alive = true
			}
		}
		if !alive {
			return out
		}
	}
	return out
}
