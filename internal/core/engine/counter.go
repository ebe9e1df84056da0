package engine

// A Counter is one counter by name, as shown. Counters only grow.
type Counter struct {
	Name  string `json:"name"`
	Value uint64 `json:"value"`
	Help  string `json:"help,omitempty"`
}

// Count makes a Counter.
func Count(name string, value uint64, help string) Counter {
	return Counter{Name: name, Value: value, Help: help}
}
