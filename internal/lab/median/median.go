// Package median finds the middle of what was measured.
package median

import "slices"

// Of returns the median of values: the one in the middle, of an even number
// the mean of the two in the middle, of none 0. The values stay as they are.
func Of[T ~int | ~int64 | ~float64](values []T) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	low, high := sorted[(len(sorted)-1)/2], sorted[len(sorted)/2]
	return low + (high-low)/2
}
