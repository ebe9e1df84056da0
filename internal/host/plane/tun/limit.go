package tun

import "sync/atomic"

// limiter lets one thing through per interval, from any goroutine.
type limiter struct{ last atomic.Int64 }

func (l *limiter) allow(now, interval int64) bool {
	last := l.last.Load()
	if last != 0 && now-last < interval {
		return false
	}
	return l.last.CompareAndSwap(last, now)
}

// bucket is a token bucket for one goroutine: RFC 1812 section 4.3.2.8 asks
// that "the rate at which it sends ICMP error messages" be limited.
type bucket struct {
	tokens, burst, perSecond float64
	last                     int64
}

func newBucket(perSecond, burst float64) bucket {
	return bucket{tokens: burst, burst: burst, perSecond: perSecond}
}

func (b *bucket) take(now int64) bool {
	b.tokens = min(b.burst, b.tokens+float64(now-b.last)/1e9*b.perSecond)
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
