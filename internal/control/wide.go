package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Wide writes the answer to what as a table with every member as a column, in
// the order of the shape; members of members as "counters.sent_bytes". What is
// one thing and no list is a table of names and values.
func Wide(w io.Writer, what string, answer []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(answer, &members); err != nil {
		return fmt.Errorf("control: answer: %w", err)
	}
	text := members[what]
	if len(text) == 0 || text[0] != '[' {
		columns, cells, err := flatten(text)
		if err != nil {
			return err
		}
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, c := range columns {
			fmt.Fprintf(t, "%s\t%s\n", c, cells[c])
		}
		return t.Flush()
	}
	var list []json.RawMessage
	if err := json.Unmarshal(text, &list); err != nil {
		return fmt.Errorf("control: answer: %w", err)
	}
	if len(list) == 0 {
		return Table(w, what, answer)
	}
	var columns []string
	rows := make([]map[string]string, len(list))
	for i, item := range list {
		these, cells, err := flatten(item)
		if err != nil {
			return err
		}
		rows[i] = cells
		// A member that only some rows have stands behind the one before it.
		at := 0
		for _, c := range these {
			if have := slices.Index(columns, c); have >= 0 {
				at = have + 1
				continue
			}
			columns = slices.Insert(columns, min(at, len(columns)), c)
			at++
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.ToUpper(strings.Join(columns, "\t")))
	for _, cells := range rows {
		line := make([]string, len(columns))
		for i, c := range columns {
			line[i] = dash(cells[c])
		}
		fmt.Fprintln(t, strings.Join(line, "\t"))
	}
	return t.Flush()
}

// flatten lists the members of an object in their order.
func flatten(text []byte) (columns []string, cells map[string]string, err error) {
	cells = make(map[string]string)
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	members := func() error {
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return err
			}
			name := fmt.Sprint(key)
			var value json.RawMessage
			if err := d.Decode(&value); err != nil {
				return err
			}
			if value[0] == '{' {
				inner, of, err := flatten(value)
				if err != nil {
					return err
				}
				for _, c := range inner {
					columns = append(columns, name+"."+c)
					cells[name+"."+c] = of[c]
				}
				continue
			}
			columns = append(columns, name)
			cells[name] = cell(value)
		}
		return nil
	}
	begin, err := d.Token()
	if err != nil {
		return nil, nil, fmt.Errorf("control: answer: %w", err)
	}
	if begin != json.Delim('{') {
		return nil, nil, errors.New("control: answer: no object")
	}
	if err := members(); err != nil {
		return nil, nil, fmt.Errorf("control: answer: %w", err)
	}
	return columns, cells, nil
}

// cell is a value without its quotes.
func cell(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	var list []json.RawMessage
	if json.Unmarshal(value, &list) == nil {
		words := make([]string, len(list))
		for i, one := range list {
			words[i] = cell(one)
		}
		return strings.Join(words, ",")
	}
	return string(value)
}
