package ha

// expire ends the bindings whose lifetime is over, and no others.
//
// "After the expiration of this registration Lifetime, the home agent MUST
// delete its entry for this registration in its mobility binding list" (RFC
// 5944 section 3.8.2.2); and it "MUST NOT generate a Registration Reply to
// indicate that the Lifetime has expired" (section 3.8).
//
//rfc:5944#3.8.2.2
//rfc:5944#3.8
//rfc:5944#4.2.3-7
//rfc:5944#4.2.3-8
func (a *Agent) expire() {
	for {
		i, due := a.expiry.Due(a.Now().Mono)
		if !due {
			return
		}
		n := a.nodes[i]
		before := n.list.Len()
		expired := n.list.Expire(a.Now().Mono)
		if len(expired) == 0 {
			a.reschedule(n)
			continue
		}
		a.counters.expired += uint64(len(expired))
		a.afterRemoval(n, before, expired, Expired, nil)
	}
}
