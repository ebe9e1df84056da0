package mip4

import (
	"fmt"
	"strconv"
	"strings"
)

// EntryKind is the registry an Entry comes from.
type EntryKind string

// The registries.
const (
	KindCode      EntryKind = "reply code"
	KindMessage   EntryKind = "message"
	KindExtension EntryKind = "extension"
)

// Entry is one answer of Explain.
type Entry struct {
	Kind   EntryKind `json:"kind"`
	Number string    `json:"number"` // "133", "36/1"
	Name   string    `json:"name"`
	Text   string    `json:"text,omitempty"` // for codes the RFC's words
	Means  string    `json:"means"`
	Do     string    `json:"do,omitempty"`
	RFC    string    `json:"rfc"`
}

// Explain looks a number ("133", "36/1") or a name ("identification mismatch", "PMIP_DISALLOWED", "nai") up in the registries of
// codes, messages and extensions, in this order and by number. A name is found when it contains the term, whatever the case and
// the punctuation; when some name is exactly the term only those are given. Nothing found is nil.
func Explain(term string) []Entry {
	term = strings.TrimSpace(term)
	number, sub, bySub := strings.Cut(term, "/")
	if n, err := strconv.ParseUint(number, 10, 8); err == nil {
		if bySub {
			return explainSub(uint8(n), sub)
		}
		return explainNumber(uint8(n))
	}
	want := plain(term)
	if want == "" {
		return nil
	}
	var exact, found []Entry
	for _, e := range entries() {
		names := []string{plain(e.Name), plain(e.Text)}
		switch {
		case names[0] == want || names[1] == want:
			exact = append(exact, e)
		case strings.Contains(names[0], want) || strings.Contains(names[1], want):
			found = append(found, e)
		}
	}
	if exact != nil {
		return exact
	}
	return found
}

func explainNumber(n uint8) []Entry {
	var found []Entry
	prefix := strconv.Itoa(int(n))
	for _, e := range entries() {
		if number, _, _ := strings.Cut(e.Number, "/"); number == prefix {
			found = append(found, e)
		}
	}
	return found
}

func explainSub(t uint8, sub string) []Entry {
	n, err := strconv.ParseUint(sub, 10, 8)
	if err != nil {
		return nil
	}
	if r, ok := Lookup(ExtType(t), uint8(n)); ok {
		return []Entry{extensionEntry(r)}
	}
	return nil
}

// plain is s in lower case with everything but letters and digits as single spaces.
func plain(s string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(s), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	}), " ")
}

// entries is the whole registry.
func entries() []Entry {
	var all []Entry
	for _, r := range codes {
		all = append(all, Entry{KindCode, strconv.Itoa(int(r.Code)), r.Name, r.Text, r.Means, r.Do, r.RFC})
	}
	for _, r := range messages {
		means := "A message on UDP port 434; its fixed part has " + strconv.Itoa(r.Fixed) + " octets."
		all = append(all, Entry{Kind: KindMessage, Number: strconv.Itoa(int(r.Type)), Name: r.Name, Means: means, RFC: r.RFC})
	}
	for _, r := range extensions {
		all = append(all, extensionEntry(r))
	}
	return all
}

func extensionEntry(r Row) Entry {
	e := Entry{Kind: KindExtension, Number: strconv.Itoa(int(r.Type)), Name: r.Name, RFC: r.RFC}
	if r.HasSub {
		e.Number += "/" + strconv.Itoa(int(r.Sub))
	}
	rule := "a receiver that does not know it discards the message"
	if r.Skippable() {
		rule = "a receiver that does not know it skips it"
	}
	e.Means = fmt.Sprintf("An extension in: %v. %s layout; %s.", r.Flow, strings.ToUpper(r.Format.String()[:1])+r.Format.String()[1:], rule)
	if r.Note != "" {
		e.Means += " " + strings.ToUpper(r.Note[:1]) + r.Note[1:] + "."
	}
	return e
}
