package median

import (
	"slices"
	"testing"
	"time"
)

func TestTheMedianOfAnEvenNumberIsBetweenTheTwoInTheMiddle(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{1, 4}, 2.5},
		{[]float64{9, 1, 2}, 2},
		{[]float64{9, 1, 2, 5}, 3.5},
	} {
		before := slices.Clone(c.values)
		if got := Of(c.values); got != c.want {
			t.Errorf("of %v it is %v, want %v", c.values, got, c.want)
		}
		if !slices.Equal(before, c.values) {
			t.Errorf("%v became %v", before, c.values)
		}
	}
	if got := Of([]time.Duration{2 * time.Second, time.Second}); got != 1500*time.Millisecond {
		t.Errorf("of 1 s and 2 s it is %v", got)
	}
}
