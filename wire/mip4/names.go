package mip4

import (
	"fmt"
	"strings"
)

// named looks v up in a table of names; an unassigned number keeps its number.
func named[T ~uint8 | ~uint16](typeName string, names []string, v T) string {
	if int(v) < len(names) && names[v] != "" {
		return names[v]
	}
	return fmt.Sprintf("%s(%d)", typeName, uint16(v))
}

// flagNames spells the bits set in v, highest first, one letter of names each.
func flagNames(names string, v uint8) string {
	var set []string
	for i := range names {
		if v&(0x80>>i) != 0 {
			set = append(set, names[i:i+1])
		}
	}
	if len(set) == 0 {
		return "none"
	}
	return strings.Join(set, " ")
}
