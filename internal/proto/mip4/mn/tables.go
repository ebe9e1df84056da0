package mn

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/wire/adv4"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// A Claim says that a feature understands an extension of Registration
// Replies, and how often it may be there.
type Claim struct {
	Feature  string
	Type     mip4.ExtType
	Sub      uint8 // counts when HasSub
	HasSub   bool
	Zones    []mip4.Zone // where it may stand; none means anywhere
	Min, Max int         // how many in an authentic reply; Max 0 means any number
}

// An Encapsulation is a form of tunnel that the node can end.
type Encapsulation struct {
	Feature string
	Kind    encap.Kind
	Flag    mip4.RequestFlags // that asks for it; 0 when another way does
}

// tables are what features add rows to.
type tables struct {
	claims          []Claim
	messages        []messageHandler
	encapsulations  []Encapsulation
	timers          []timer
	planeHandlers   []planeHandler
	doubtful        []func(*Registration)
	commands        []commandHandler
	records         []recordHandler
	advertisedTypes []adv4.ExtType
	mistakes        []error
}

type messageHandler struct {
	feature string
	kind    mip4.MessageType
	run     func(engine.Packet, *mip4.Message)
}

type timer struct {
	feature  string
	deadline func() time.Time
	run      func()
}

type planeHandler struct {
	feature string
	run     func(forward.Event)
}

type commandHandler struct {
	feature string
	sample  any
	run     func(engine.Command)
}

type recordHandler struct {
	feature, prefix string
	restore         func(engine.Now, engine.Record) error
}

func (t *tables) err() error { return errors.Join(t.mistakes...) }

func (t *tables) mistake(format string, args ...any) {
	t.mistakes = append(t.mistakes, fmt.Errorf(format, args...))
}

// Claim adds a row to the table of reply extensions. What nobody claims is
// skipped when its number is 128 or more, and else makes the node discard
// the reply.
func (t *tables) Claim(c Claim) {
	for _, o := range t.claims {
		if o.Type == c.Type && (!o.HasSub || !c.HasSub || o.Sub == c.Sub) {
			t.mistake("%s and %s both claim %v", o.Feature, c.Feature, c.Type)
		}
	}
	t.claims = append(t.claims, c)
}

// ClaimAdvertised says that a feature understands an extension of Agent
// Advertisements. What nobody claims makes the node ignore the advertisement
// when its number is below 128.
func (t *tables) ClaimAdvertised(feature string, e adv4.ExtType) {
	if slices.Contains(t.advertisedTypes, e) || e == adv4.ExtMobilityAgent || e == adv4.ExtPrefixLengths {
		t.mistake("%s claims %v, which is claimed already", feature, e)
	}
	t.advertisedTypes = append(t.advertisedTypes, e)
}

// claimed reports whether somebody understands the extension.
func (t *tables) claimed(e mip4.Ext) bool {
	return slices.ContainsFunc(t.claims, func(c Claim) bool { return c.matches(e) })
}

func (c Claim) matches(e mip4.Ext) bool {
	return c.Type == e.Type && (!c.HasSub || e.HasSub && c.Sub == e.Sub)
}

// count checks how often each claimed extension is there.
func (t *tables) count(m *mip4.Message) error {
	for _, c := range t.claims {
		n := 0
		for _, e := range m.Exts {
			if c.matches(e) {
				n++
			}
		}
		if n < c.Min || c.Max > 0 && n > c.Max {
			return fmt.Errorf("%v is there %d times", c.Type, n)
		}
	}
	return nil
}

// Handle makes run the receiver of a message type.
func (t *tables) Handle(feature string, kind mip4.MessageType, run func(engine.Packet, *mip4.Message)) {
	for _, o := range t.messages {
		if o.kind == kind {
			t.mistake("%s and %s both handle %v", o.feature, feature, kind)
		}
	}
	t.messages = append(t.messages, messageHandler{feature, kind, run})
}

// Encapsulation adds a form of tunnel.
func (t *tables) Encapsulation(e Encapsulation) {
	for _, o := range t.encapsulations {
		if o.Kind == e.Kind {
			t.mistake("%s and %s both bring the encapsulation %v", o.Feature, e.Feature, e.Kind)
		}
	}
	t.encapsulations = append(t.encapsulations, e)
}

// encapsulation finds a form of tunnel.
func (t *tables) encapsulation(kind encap.Kind) (Encapsulation, bool) {
	for _, e := range t.encapsulations {
		if e.Kind == kind {
			return e, true
		}
	}
	return Encapsulation{}, false
}

// Timer adds a deadline: run is called at or after it, and must move it.
func (t *tables) Timer(feature string, deadline func() time.Time, run func()) {
	t.timers = append(t.timers, timer{feature, deadline, run})
}

// OnPlane adds a receiver of data plane events.
func (t *tables) OnPlane(feature string, run func(forward.Event)) {
	t.planeHandlers = append(t.planeHandlers, planeHandler{feature, run})
}

// Command makes run the receiver of commands whose value has sample's type.
// run answers with [Node.Answer].
func (t *tables) Command(feature string, sample any, run func(engine.Command)) {
	name := fmt.Sprintf("%T", sample)
	for _, o := range t.commands {
		if fmt.Sprintf("%T", o.sample) == name {
			t.mistake("%s and %s both take the command %s", o.feature, feature, name)
		}
	}
	t.commands = append(t.commands, commandHandler{feature, sample, run})
}

// Records makes restore the reader of stored records whose keys begin with prefix.
func (t *tables) Records(feature, prefix string, restore func(engine.Now, engine.Record) error) {
	for _, o := range t.records {
		if o.prefix == prefix {
			t.mistake("%s and %s both keep records under %q", o.feature, feature, prefix)
		}
	}
	t.records = append(t.records, recordHandler{feature, prefix, restore})
}

// baseTables are the base protocol's rows.
func (n *Node) baseTables() {
	n.Claim(Claim{Feature: "base", Type: mip4.ExtMobileHome})
	n.Claim(Claim{Feature: "base", Type: mip4.ExtMobileForeign})
	n.Claim(Claim{Feature: "base", Type: mip4.ExtNAI, Max: 1})
	n.Handle("base", mip4.TypeRegistrationReply, n.receiveReply)
	n.Encapsulation(Encapsulation{Feature: "base", Kind: encap.IPIP})
	n.Encapsulation(Encapsulation{Feature: "base", Kind: encap.GRE, Flag: mip4.FlagG})
	n.Encapsulation(Encapsulation{Feature: "base", Kind: encap.Minimal, Flag: mip4.FlagM})
	n.Records("base", recordPrefix, n.restore)
	n.baseCommands()
}
