package config

// A Change is one value that differs between two configurations. Old is empty
// for a value that is new, New for one that is gone.
type Change struct {
	Key string `json:"key"` // as in [Value]
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
}

// String returns `key: old -> new`.
func (c Change) String() string {
	switch {
	case c.Old == "":
		return "+ " + c.Key + " = " + c.New
	case c.New == "":
		return "- " + c.Key + " = " + c.Old
	}
	return "~ " + c.Key + " = " + c.Old + " -> " + c.New
}

// Diff lists what is different in b: first what a had, in a's order, then what
// is new, in b's order. Elements of lists are told apart by what they are (a
// node by its name), so that their order does not matter. Keys are compared
// and shown by their fingerprints.
func Diff(a, b *Config) []Change {
	before, after := a.Values(), b.Values()
	texts := make(map[string]string, len(after))
	for _, v := range after {
		texts[v.Key] = v.Text
	}
	known := make(map[string]bool, len(before))
	var out []Change
	for _, v := range before {
		known[v.Key] = true
		if text := texts[v.Key]; text != v.Text {
			out = append(out, Change{v.Key, v.Text, text})
		}
	}
	for _, v := range after {
		if !known[v.Key] {
			out = append(out, Change{v.Key, "", v.Text})
		}
	}
	return out
}
