package control

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"careof/wire/mip4"
)

// Registries of the daemon's own words, beside those of package mip4.
const (
	KindCounter mip4.EntryKind = "counter"
	KindEvent   mip4.EntryKind = "event"
)

// An explained is a counter or an event, what it means, and what to do when
// there are many.
type explained struct{ name, means, do string }

// asItShould is for what happens all the time.
const asItShould = "Nothing: it counts what should happen."

// counterTable explains every counter of `careof show counters`, but for those
// that count events or codes by number.
var counterTable = []explained{
	{"home-agent.registrations_bound", "New bindings: of a mobile node that had none, or a second one that stands by, or takes copies.", asItShould},
	{"home-agent.registrations_refreshed", "Bindings that were renewed in place.", asItShould},
	{"home-agent.registrations_moved", "Bindings that moved to another care-of address, port or encapsulation.", "When it grows much faster than nodes really move, a NAT or an uplink flaps: careof monitor shows which node."},
	{"home-agent.registrations_deregistered", "Deregistrations that were accepted: nodes came home or were stopped.", asItShould},
	{"home-agent.registrations_repeated", "Exact repeats of an accepted request, answered with the stored reply.", "When it grows, replies are lost on their way to nodes, or somebody replays what they heard: it changes nothing, and costs a reply."},
	{"home-agent.bindings_expired", "Bindings whose lifetime ran out: the node stopped renewing, without saying so.", "When there are many, nodes lose their uplinks, or max-lifetime is shorter than the outages they have."},
	{"home-agent.messages_discarded", "Messages of known nodes that were discarded, by the RFC or for want of room.", "careof log level registration=debug says why, one by one."},
	{"home-agent.messages_ignored", "Messages of strangers, which get no answer, no log line and no state.", "Nothing: port 434 is open to the world. Much more than before means that somebody looks for home agents."},
	{"home-agent.authenticators_wrong", "Requests for a known node with a wrong authenticator.", "Compare the fingerprints of careof show associations at both ends; a steady rate for nodes that work is somebody who guesses."},
	{"home-agent.mismatches_suppressed", "Requests with an old Identification that came too often to be refused one by one.", "Somebody replays captured requests, or a node's clock is stuck: careof doctor on the node."},
	{"home-agent.requests_excessive", "Authentic requests of one node above requests-per-node, which were dropped.", "The node flaps between links, or its key is in several machines: careof monitor shows which node."},
	{"home-agent.exchanges_overflowed", "Requests dropped because too many already waited for an answer from elsewhere.", "Something that is asked answers too slowly (a resolver, an AAA server): look at it first."},
	{"home-agent.commits_failed", "Changes that could not be made durable or forwarding. Their nodes were denied with 130.", "careof doctor: a full disk, or a tunnel device that somebody took away. The log names each."},

	{"home-agent.messages_dropped", "Messages of addresses at which somebody is bound, dropped because there was too much of them.", "The host has too little time for the daemon, or one node floods it: careof top, and the host's load."},
	{"home-agent.messages_shed", "Messages of addresses at which nobody is bound, dropped because there was too much: those who are bound go first.", "Somebody floods port 434. Nodes that are bound renew all the same; a firewall nearer to the source can help new ones."},
	{"home-agent.messages_limited", "Messages above the limit of one source address (requests-per-source).", "A flood from one address, or very many nodes behind one NAT: then raise requests-per-source."},

	{"foreign-agent.messages_dropped", "Messages of visitors and of their home agents, dropped because there was too much of them.", "The host has too little time for the daemon, or one visitor floods it: careof top, and the host's load."},
	{"foreign-agent.messages_shed", "Messages of strangers, dropped because there was too much: visitors go first.", "Somebody floods the visitors' link. Visitors renew all the same."},
	{"foreign-agent.messages_limited", "Messages of stations that are no visitors, above requests-per-station or, all together, requests-of-strangers.", "A flood on the visitors' link: tcpdump shows whose. Newcomers have to be lucky while it lasts; visitors do not."},
	{"foreign-agent.requests_relayed", "Requests of visitors that were sent on to home agents.", asItShould},
	{"foreign-agent.registrations_accepted", "Visits that began or were renewed.", asItShould},
	{"foreign-agent.registrations_refused", "Replies in which a home agent refused.", "careof show registrations has the codes; careof explain CODE says what each means."},
	{"foreign-agent.requests_timed_out", "Requests that no home agent answered.", "Is the home agent reachable from here by UDP port 434? A router on the way may drop it."},
	{"foreign-agent.visitors_expired", "Visits whose lifetime ran out: visitors left without saying so.", asItShould},
	{"foreign-agent.messages_ignored", "Messages of strangers or not understood, which leave no trace.", "Nothing, as long as visitors are served."},
	{"foreign-agent.replies_discarded", "Replies to pending requests that were discarded.", "A wrong key between home agent and foreign agent, most likely: compare the fingerprints of careof show associations."},
	{"foreign-agent.pending_displaced", "Pending requests of strangers that gave way to others.", "Somebody on the link sends very many requests, or the home agents answer too slowly."},
	{"foreign-agent.denials_suppressed", "Denials that were not sent: one a second is the limit.", "Somebody on the link sends requests that are refused; careof capture shows who."},
	{"foreign-agent.commits_failed", "Visits that could not be made forwarding.", "careof doctor: the device, or a setting of the visitors' link."},

	{"aaa.asked", "Questions about mobile nodes that were put: to the configuration, to RADIUS servers or to Diameter peers.", asItShould},
	{"aaa.granted", "Questions that were answered with yes.", asItShould},
	{"aaa.rejected", "Questions that were answered with no.", "A few are strangers. Many: careof aaa test NAI with a node that should work, or somebody tries names."},
	{"aaa.unavailable", "Questions that nobody has answered.", "careof show aaa: do the servers live? Nodes that are registered go on meanwhile."},
	{"aaa.limited", "Questions about strangers that were not put, since there were too many (aaa.questions, aaa.questions-per-source).", "Somebody registers under many names; nodes that are registered do not notice. If they are your nodes, raise aaa.questions."},
	{"aaa.remembered", "Questions that were answered by what was asked before.", asItShould},
	{"aaa.requests", "Requests to RADIUS servers, repetitions included.", asItShould},
	{"aaa.timeouts", "Requests to RADIUS servers that had no answer in time.", "careof show aaa says which server. It is overloaded, it is dead, or it does not know this agent: servers are silent then."},
	{"aaa.forged", "Answers that no RADIUS server has signed with our secret. They are discarded.", "The secret is another one at the server, the server sends no Message-Authenticator, or somebody forges answers."},
	{"aaa.records_lost", "Accounting records that no server has taken, and none will.", "careof show aaa: is the server's accounting port right? 65536 records wait; the oldest go then."},
	{"diameter.requests", "Requests that were sent to Diameter peers.", asItShould},
	{"diameter.answers", "Answers to them.", asItShould},
	{"diameter.timeouts", "Requests that no peer has answered in time.", "careof show aaa: which peer has many? It is overloaded, or whom it asks is."},
	{"diameter.served", "Requests of Diameter peers.", asItShould},
	{"diameter.duplicates", "Requests that had come before: they got the same answer and changed nothing.", "A few come after a fail-over. Many say that answers are slow, or lost on their way through a relay."},
	{"diameter.unknown_answers", "Answers to nothing that was asked, or too late.", "The peer answers slower than requests wait."},
	{"diameter.malformed", "Messages of peers that were wrong.", "event=diameter-misunderstood in the log says which, and what is wrong with them."},
	{"diameter.watchdogs_missed", "Watchdog requests that a peer did not answer in time (RFC 3539).", "The path to the peer, or the peer, is not well; its requests went to another if there is one."},
	{"diameter.failovers", "Times that a peer's requests went to another, or wait for it.", "careof show aaa says which peer, and how it does now."},
	{"diameter.strangers", "Connections to the Diameter ports that were of no peer, and were closed without a word.", "Somebody looks for AAA servers; or a peer's identity, address or certificate is not the one in the configuration."},

	{"plane.strangers", "Tunnel packets that no live binding allows. They are dropped without an answer.", "A few come after every move. A steady rate is a peer that lost its binding, or somebody who tries."},
	{"plane.copied_packets", "Redundant packets that were sent over another path besides, once for each: of the classes redundant, and of everything while a path is in doubt (profile fast).", "It is what safety costs of the second uplink. careof show uplinks says how often, and for how long, an uplink was in doubt; one that often is loses packets or stops now and then."},
	{"plane.copied_bytes", "The octets of these packets, without headers of the tunnel.", "As plane.copied_packets."},
	{"plane.copies", "Copies of redundant packets that were dropped because another one had come before.", "Nothing: one for each packet of the class says that both paths are well. When it stands still while such packets flow, only one path works: careof show uplinks."},
	{"plane.withheld", "Packets for a care-of address that has not answered a challenge yet, beyond three times what came from there (path validation).", "A few after moves to unknown networks. A steady rate is a node whose outer address never answers: careof show binding names it."},
	{"plane.tunnelless", "Packets for or from a node that had no tunnel at that moment: they leave in no other way. They are among the dropped ones of careof show status.", "A few come before each registration, from programs and from the kernel (IGMP). When it grows while a node is registered: careof show plane."},
	{"plane.returned", "Packets that were too long for the tunnel and may not be cut, or whose TTL was at its end. Their senders are told by ICMP.", "Nothing: that is how senders find out. When connections hang all the same, a firewall of yours drops ICMP."},
	{"plane.overruns", "Packets for which there was no room before encryption or decryption, and broadcasts and multicasts above what a node may send or get.", "The host has too little time for what is sent: look at its load. Or a node says too much to everybody: careof show plane."},
	{"plane.malformed", "Tunnel packets that are none.", "Nothing, unless they come from a peer of yours: careof capture --data shows them."},
	{"plane.unbound", "Packets for or from an address without a binding.", "Somebody still talks to a node that is away and not registered."},
	{"plane.loops", "Packets that would have gone in a circle, and were dropped.", "A care-of address is routed into the home network: look at the routes of both."},
	{"plane.congested", "Packets dropped because congestion was marked on the outer header of a flow that cannot carry the mark (RFC 6040).", "The path is congested: that is how the sender is told."},
	{"plane.errors_relayed", "ICMP errors about tunnels that were passed on to the original senders.", "Many say that an MTU on the way is small, or a path is down."},
	{"plane.events_lost", "Events of the data plane that were not read in time.", "The host has too little time for the daemon: look at its load."},
	{"plane.send_errors", "Packets that a socket or the device refused.", "Usually a link that is down. When it grows on a link that is up: careof doctor, and the kernel's log."},
}

// eventTable explains every event: of careof monitor, of the log's event=, and
// of the counters that count them.
var eventTable = []explained{
	{"bound", "Home agent: a mobile node without a binding registered, and its packets go to its care-of address.", asItShould},
	{"address-challenged", "Home agent: a binding goes to an outer address that has not shown yet that it wants the packets; it gets three octets for each that comes from there.", "Nothing, where an address-validated follows. Without it the node does not get the replies, or somebody named an address that is not his."},
	{"address-validated", "Home agent: an outer address has answered the challenge, and gets all packets.", asItShould},
	{"outer-address-changed", "Mobile node: the home agent sees it at another outer address than before, though its own is the same.", "Usually a NAT that has bound anew. When it happens again and again on one network, somebody on the way rewrites addresses: use another uplink."},
	{"refreshed", "Home agent: the same binding was renewed.", asItShould},
	{"back-and-forth", "Home agent: a node's binding goes to a place and back, again and again within two minutes.", "Two hosts with one key, as with a copied disk or memory card: enrol one of them anew (careof enrol, careof join). Or an uplink that comes and goes: careof show uplinks on the node says."},
	{"moved", "Home agent: a binding goes to another care-of address, port or encapsulation now.", asItShould},
	{"unbound", "Home agent: a binding was ended by the node, by an operator, or because the configuration does not have the node any more; why says which.", asItShould},
	{"expired", "Home agent: a binding's lifetime ran out.", "The node stopped renewing: look at its uplinks."},
	{"restored", "What outlived the last process came back at the start.", asItShould},
	{"denied", "A request was refused with the code.", "careof explain CODE"},
	{"discarded", "A message of a known peer was discarded; why says the reason.", "careof capture shows the message."},
	{"ignored", "A stranger's message was discarded.", asItShould},
	{"repeated", "An exact repeat got its stored reply again.", "Many mean that replies are lost on their way."},
	{"failed", "Something could not be made durable, forwarding, or sent; why says what.", "careof doctor"},
	{"insecure", "A mobile node is served without authentication: anybody in its source prefix can move it.", "Give it a key: careof keygen."},
	{"requesting", "Mobile node: a registration request was sent.", "Many without an answer: is UDP port 434 of the home agent reachable? careof doctor"},
	{"registered", "Mobile node: the home agent accepted.", asItShould},
	{"refused", "Mobile node: the home agent or the foreign agent denied, with the code.", "careof explain CODE"},
	{"resync", "Mobile node: the clock differs from the home agent's, and the Identification was corrected.", "Often means that one of the clocks is wrong: careof doctor at both ends."},
	{"lost", "Mobile node: a registration ran out, or its path died, before another was there.", "Look at the uplinks: careof show uplinks."},
	{"home", "Mobile node: it is attached to its home network, and deregistered.", asItShould},
	{"deregistered", "Mobile node: a registration was ended.", asItShould},
	{"link-up", "An interface can be used.", asItShould},
	{"link-down", "An interface cannot be used.", "Nothing, unless it should be up."},
	{"agent-heard", "Mobile node: a mobility agent advertises on a link.", asItShould},
	{"agent-lost", "Mobile node: a mobility agent was not heard any more.", asItShould},
	{"relayed", "Foreign agent: a visitor's request went to its home agent.", asItShould},
	{"arrived", "Foreign agent: a visit began.", asItShould},
	{"renewed", "Foreign agent: a visit was renewed.", asItShould},
	{"departed", "Foreign agent: a visit ended; why says how.", asItShould},
	{"keepalive", "A keepalive through a NAT was answered.", asItShould},
	{"keepalive-bound", "Home agent: the first keepalive told the port of a node behind a NAT.", asItShould},
	{"keepalive-lengthened", "Mobile node: the NAT keeps a mapping longer than was thought, and keepalives are sent less often.", asItShould},
	{"nat-mapping-lost", "Mobile node: a NAT forgot the tunnel, and it is registered anew.", "When it is frequent, lower home-agent.keepalive."},
	{"aaa-verified", "AAA has verified that a node is the one it says (extension 36, RFC 4721).", asItShould},
	{"aaa-refused", "AAA has said no to a node; why says to what.", "A wrong secret at the node or at the server, or a node that is not a subscriber: careof aaa test NAI."},
	{"aaa-unanswered", "AAA has said nothing in time, or too many questions were open.", "careof show aaa: do the servers live?"},
	{"lease", "Mobile node: an uplink has an address by DHCP.", asItShould},
	{"nat64", "Mobile node: an uplink has IPv6 and no IPv4 address; the home agent is reached over its network's NAT64, as why says.", asItShould},
	{"nat64-lost", "Mobile node: an uplink is not used over a NAT64 any more; why says why not.", "Nothing after a move, or when the uplink has an IPv4 address. Else routers or name servers have stopped telling of the NAT64, or the uplink has lost its IPv6 address or default route: look at `ip -6 address` and `ip -6 route`."},
	{"lease-lost", "Mobile node: an uplink's address by DHCP is not valid any more; why says how.", "Nothing after a move. On a link that stays, the DHCP server has gone or has given the address to somebody else."},
	{"captive-portal", "Mobile node: the network of an uplink wants its guests to sign in first.", "careof portal wlan0 lets a browser on this host reach the address that careof show uplinks tells."},
	{"captive-portal-passed", "Mobile node: the network lets its guests out now; the node registers over it.", ""},
	{"path-mtu", "Mobile node: the path to its home agent carries shorter packets than its link, or longer ones than before (RFC 8899).", "Nothing: both ends cut packets, or tell their senders. Many networks are so, above all those with tunnels of their own."},
	{"path-dead", "Mobile node: nothing comes back over an uplink although its link is up; another is used if there is one.", "careof show uplinks says how each stands. When it is frequent on one uplink, give it a lower priority."},
	{"path-doubt", "Mobile node, profile fast: an answer over the uplink in use is overdue, so all packets go over another one as well. It is no move.", "careof show uplinks says how often and for how long. Often on one uplink: it loses packets, or stops now and then."},
	{"path-doubt-over", "Mobile node, profile fast: packets go over one uplink again.", asItShould},
	{"path-back", "Mobile node: an uplink that was dead may be preferred again.", asItShould},
	{"aaa-adopted", "Home agent: a node that only AAA knows has registered for the first time.", asItShould},
	{"aaa-unfit", "Home agent: AAA grants what this home agent cannot give, as a home address that is outside of its networks, in a pool, its own or another node's; the request is discarded. The warning comes at most once a minute.", "Compare what the AAA server has for the node with home-agent.network; the event says what does not fit."},
	{"service-refused", "Home agent: a node has asked for a service that it may not use, or for none where one must be named (code 151); its bindings have ended.", "The node's mobile-node.service, or home-agent.service.nodes."},
	{"host-configured", "Mobile node: the home agent has told it about the home network (RFC 4332): name servers, domain, router.", asItShould},
	{"dns-given", "Mobile node: the host asks the home network's name servers now.", asItShould},
	{"dns-taken-back", "Mobile node: the host asks the name servers again that it had before.", asItShould},
	{"home-dhcp", "Mobile node: the home network's DHCP server has told something new, through the tunnel.", asItShould},
	{"home-dhcp-failed", "Mobile node: the home network's DHCP server was asked through the tunnel, and says nothing, or gives no lease for the home address.", "Does home-agent.network.dhcp-server or home-agent.dhcp name it, does it serve that network, and can it reach the home address?"},
	{"home-lease", "Mobile node: the home network's DHCP server has given it a lease for its home address, or tells it something else with it.", asItShould},
	{"home-lease-lost", "Mobile node: it has no lease for its home address any more; why says how. It asks again by itself.", "Does the server still serve the home network and this address? Its log says what it was asked."},
	{"dns-failed", "Mobile node: the name servers could not be given to the host, or taken back; why says what was refused.", "May the daemon's user write resolv.conf, or tell systemd-resolved? docs/host-configuration.md"},
	{"aaa-key", "A key was made of a nonce that AAA sent (RFC 3957); its fingerprint is the same at both ends: careof show associations.", asItShould},
	{"aaa-key-ended", "Mobile node: a key with its home agent has ended before AAA made another.", "careof show aaa at the agents: does AAA answer? The node asks again by itself."},
	{"aaa-ordered", "AAA has ended or changed a session (RFC 5176).", "Ask who runs the AAA server."},
	{"realm-authorised", "AAA server: a node of this realm has a session: at which foreign agent, with which home agent.", asItShould},
	{"realm-refused", "AAA server: a request about a node was refused; why has the result code.", "4001: compare the node's secret with that of [[aaa.subscriber]]. 4006, 5024: which home agents does [aaa.serve] have, and what does home-agent-at allow? 5025: give every peer TLS."},
	{"realm-ended", "AAA server: a session is over; why says how.", asItShould},
	{"realm-recorded", "AAA server: an agent has told what a session has used.", asItShould},
	{"diameter-peer-up", "A Diameter peer is connected, and has an application in common.", asItShould},
	{"diameter-peer-down", "The connection with a Diameter peer has ended; why says how.", "Nothing when it comes back. Otherwise look at the peer, and at the way to it."},
	{"diameter-peer-refused", "A connection with a configured Diameter peer did not come about; why says the reason. It is tried again.", "Compare identity, realm, application and certificates at both ends."},
	{"diameter-failover", "A Diameter peer does not answer: its requests went to another, or wait.", "careof show aaa says how the peers do."},
	{"diameter-failback", "A Diameter peer answers again and gets requests again.", asItShould},
	{"diameter-misunderstood", "A Diameter peer's message was wrong; why says where.", "Its implementation or ours: careof decode reads the message in a capture."},
	{"revoking", "A revocation was sent (RFC 3543).", asItShould},
	{"revoked", "The peer revoked a binding.", "Ask the one who runs the peer why."},
	{"acknowledged", "The peer acknowledged a revocation.", asItShould},
	{"unanswered", "The peer never acknowledged a revocation; it took effect here all the same.", "The peer may still believe in the binding until its lifetime ends."},
	{"notified", "A peer has something to say to people here (RFC 6098); why says who, and what.", "Read it."},
	{"notifying", "An operator's text was sent to a peer (careof notify).", asItShould},
	{"notification-taken", "The peer has acknowledged an operator's text.", asItShould},
	{"notification-refused", "The peer does not take an operator's text; why has its code.", "197, 133 and 69: compare the clocks of both. 193, 129 and 65: the peer's operator does not want any."},
	{"notification-unanswered", "The peer has never acknowledged an operator's text.", "Where why says that the node has gone: nothing. Else: does it know RFC 6098, and has it notifications on? Behind a foreign agent that one must know it too."},
	{"notification-untimely", "A peer's notification is of another time, or came twice, and was not shown.", "Once after a start of this agent: nothing. Else set the clocks of both: they must agree within 7 seconds."},
	{"network-served", "A mobile network is forwarded for: its packets go through its router's tunnel.", asItShould},
	{"network-refused", "Mobile router: the home agent does not forward for a network, and its packets go nowhere; why says the reason.", "careof show networks, and the node's prefixes in the home agent's configuration."},
	{"blocked", "An operator keeps a node out.", asItShould},
	{"unblocked", "An operator lets a node in again.", asItShould},
	{"redirected", "A node is sent to another home agent (code 143, RFC 4433); a mobile node says so when it goes there.", asItShould},
	{"home-agent-silent", "Mobile node: its home agent does not answer, another one does, and the node registers with that (home-agent-timeout).", "careof doctor at the home agent's host. When it lives: what is on the way between the two?"},
	{"redirected-in-circles", "Mobile node: home agents send it to each other, and it tries again slowly.", "careof show pool at each of them: do they agree on who lives and has room?"},
	{"member-back", "Home agent: another home agent of the pool is heard.", asItShould},
	{"member-lost", "Home agent: another home agent of the pool is not heard any more. Its nodes come here when they notice.", "careof doctor there; is UDP port 434 between the two open?"},
	{"member-untimely", "Home agent: another one's reports are of another time, and do not count: they may be replayed.", "Set the clocks of both: they must agree within 7 seconds."},
	{"drained", "An operator has this home agent's nodes go to others of the pool.", asItShould},
	{"undrained", "An operator has this home agent take nodes again.", asItShould},
	{"identity", "A message carried another identity of the node.", asItShould},
	{"message", "A message for people came with a registration.", "Read it: it is meant for you."},
	{"extension", "An extension was received that a feature keeps for others.", asItShould},
	{"canary-well", "Home agent: the canary has registered with the agent itself and heard its echo through a tunnel.", asItShould},
	{"canary-missed", "Home agent: the canary's registration or its echo did not come back: nodes may fare no better.", "careof doctor; the log before it says what failed."},
	{"canary-back", "Home agent: the canary is well again.", asItShould},
	{"gap", "Events before this one were lost: the reader was too slow, or asked for more than is remembered.", "Read faster, or go on from here."},
}

// ExplainName looks a counter or an event up: by its whole name, or by a
// counter's name without the role.
func ExplainName(term string) (list []mip4.Entry) {
	for _, c := range counterTable {
		_, short, _ := strings.Cut(c.name, ".")
		if c.name == term || short == term {
			list = append(list, c.entry(KindCounter))
		}
	}
	role, rest, whole := strings.Cut(term, ".")
	if !whole {
		role, rest = "", term
	}
	for _, prefix := range []string{"denied_", "refused-"} {
		number, ok := strings.CutPrefix(rest, prefix)
		code, err := strconv.ParseUint(number, 10, 8)
		if !ok || err != nil {
			continue
		}
		row := mip4.ExplainCode(mip4.Code(code))
		list = append(list, mip4.Entry{
			Kind: KindCounter, Name: term, Text: row.Name, Do: row.Do, RFC: row.RFC,
			Means: fmt.Sprintf("How often a registration was refused with code %d. %s", code, row.Means),
		})
	}
	if i := slices.IndexFunc(eventTable, func(e explained) bool { return e.name == rest }); i >= 0 && (role == "" || role == "host" || role == "mobile-node") {
		kind := KindEvent
		if whole {
			kind = KindCounter
		}
		list = append(list, eventTable[i].entry(kind))
	}
	return list
}

func (x explained) entry(kind mip4.EntryKind) mip4.Entry {
	return mip4.Entry{Kind: kind, Name: x.name, Means: x.means, Do: x.do}
}

// Explained lists the names that [ExplainName] knows, but for those with a
// code in them.
func Explained() (names []string) {
	for _, table := range [][]explained{counterTable, eventTable} {
		for _, x := range table {
			names = append(names, x.name)
		}
	}
	return names
}
