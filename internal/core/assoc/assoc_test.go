package assoc

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func key(t testing.TB, digits string) Key {
	t.Helper()
	k, err := ParseKey(digits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func association(t testing.TB, a Algorithm, digits string) *Association {
	t.Helper()
	s, err := New(256, a, key(t, digits), Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The vectors are test case 2 of RFC 2202 (HMAC-MD5, HMAC-SHA1) and of RFC
// 4231 (HMAC-SHA-256); the keyed MD5 value was computed from the definition
// in RFC 2002 section 3.5.1 with another MD5 implementation.
//
//rfc:5944#3.5.1-3
//rfc:5944#3.5.1-4
//rfc:5944#5.1
func TestAuthenticatorsMatchPublishedVectors(t *testing.T) {
	const jefe = "4a656665"
	for _, c := range []struct {
		algorithm Algorithm
		want      string
	}{
		{HMACMD5, "750c783e6ab0b503eaa86e310a5db738"},
		{HMACSHA1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"},
		{HMACSHA256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
		{KeyedMD5, "7cc4f53c56c1352098e989529f5db7fc"},
	} {
		a := association(t, c.algorithm, jefe)
		got := a.Sign([]byte("ahead"), []byte("what do ya want for nothing?"))
		if string(got[:5]) != "ahead" {
			t.Errorf("%v: Sign did not append", c.algorithm)
		}
		if hex.EncodeToString(got[5:]) != c.want {
			t.Errorf("%v: authenticator is %x, want %s", c.algorithm, got[5:], c.want)
		}
		if a.Size() != len(got)-5 {
			t.Errorf("%v: Size is %d, the authenticator has %d octets", c.algorithm, a.Size(), len(got)-5)
		}
	}
}

//rfc:5944#3.5.1
//rfc:5944#5.1-3
func TestAnyChangedBitFailsVerification(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		algorithm := rapid.SampledFrom([]Algorithm{HMACMD5, HMACSHA1, HMACSHA256, KeyedMD5}).Draw(t, "algorithm")
		a, err := New(256, algorithm, NewKey(rapid.SliceOfN(rapid.Byte(), 1, 80).Draw(t, "key")), Timestamps)
		if err != nil {
			t.Fatal(err)
		}
		covered := rapid.SliceOfN(rapid.Byte(), 1, 60).Draw(t, "covered")
		tag := a.Sign(nil, covered)
		if !a.Verify(covered, tag) {
			t.Fatal("a true authenticator is refused")
		}
		bit := rapid.IntRange(0, 8*(len(covered)+len(tag))-1).Draw(t, "bit")
		if i := bit / 8; i < len(covered) {
			covered[i] ^= 1 << (bit % 8)
		} else {
			tag[i-len(covered)] ^= 1 << (bit % 8)
		}
		if a.Verify(covered, tag) {
			t.Fatalf("accepted with bit %d changed", bit)
		}
	})
}

func TestATruncatedOrLongerAuthenticatorFails(t *testing.T) {
	a := association(t, HMACMD5, "00112233")
	tag := a.Sign(nil, []byte("message"))
	for _, bad := range [][]byte{nil, tag[:15], append(tag, 0)} {
		if a.Verify([]byte("message"), bad) {
			t.Errorf("an authenticator of %d octets was accepted", len(bad))
		}
	}
	none, err := New(256, None, Key{}, Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	if none.Verify([]byte("message"), nil) {
		t.Error("an association without authentication verified something")
	}
}

func TestAKeyNeverPrintsItself(t *testing.T) {
	const secret = "000102030405060708090a0b0c0d0e0f"
	k := key(t, "hex:"+secret)
	a := association(t, HMACSHA256, secret)
	asJSON, err := json.Marshal(map[string]any{"key": k})
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{
		fmt.Sprint(k), fmt.Sprintf("%v %+v %#v %s %q %x %X %d", k, k, k, k, k, k, k, k),
		fmt.Sprintf("%v %+v", a, a), k.LogValue().String(), string(asJSON),
	} {
		lower := strings.ToLower(shown)
		if strings.Contains(lower, secret) || strings.Contains(lower, "0 1 2 3") || strings.Contains(lower, "0x0, 0x1") {
			t.Errorf("the key shows in %q", shown)
		}
	}
	if k.String() == key(t, "000102030405060708090a0b0c0d0e10").String() {
		t.Error("two keys have one fingerprint")
	}
	if _, err := ParseKey("00112g"); err == nil || strings.Contains(err.Error(), "00112") {
		t.Errorf("error %v quotes the key, or there is none", err)
	}
}

//rfc:5944#1.6-2
//rfc:5944#5.7-2
func TestNewRefuses(t *testing.T) {
	k := key(t, "00112233445566778899aabbccddeeff")
	for name, make := range map[string]func() (*Association, error){
		"a reserved SPI":          func() (*Association, error) { return New(255, HMACMD5, k, Timestamps) },
		"no key":                  func() (*Association, error) { return New(256, HMACMD5, Key{}, Timestamps) },
		"a key without algorithm": func() (*Association, error) { return New(256, None, k, Timestamps) },
		"an unknown algorithm":    func() (*Association, error) { return New(256, None+1, k, Timestamps) },
		"no style":                func() (*Association, error) { return New(256, HMACMD5, k, 0) },
	} {
		if _, err := make(); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 250_000_000, time.UTC)

//rfc:5944#5.7.1-2
func TestTimestampIsNTPTime(t *testing.T) {
	// 2036-02-07 06:28:16 UTC is where the 32-bit seconds start again.
	roll := time.Date(2036, 2, 7, 6, 28, 16, 0, time.UTC)
	if got := Timestamp(roll); got != 0 {
		t.Errorf("Timestamp(%v) = %#x, want 0", roll, got)
	}
	if got := Timestamp(time.Unix(0, 500_000_000)); got != 2208988800<<32|1<<31 {
		t.Errorf("the Unix epoch and a half is %#x", got)
	}
	for _, at := range []time.Time{noon, roll.Add(-time.Second), roll.Add(time.Second)} {
		if off := TimeOf(Timestamp(at), noon).Sub(at).Abs(); off > time.Nanosecond {
			t.Errorf("TimeOf(Timestamp(%v)) is off by %v", at, off)
		}
	}
	if early, late := Timestamp(roll.Add(-time.Second)), Timestamp(roll.Add(time.Second)); TimeOf(late, roll).Before(TimeOf(early, roll)) {
		t.Error("time goes back where the era ends")
	}
}

//rfc:5944#5.7.1
//rfc:5944#5.7-1
//rfc:5944#5.7.1-1
func TestATimestampIsFreshOnlyInsideTheWindowAndAboveTheMark(t *testing.T) {
	mark := Mark{Highest: Timestamp(noon.Add(-2 * time.Second))}
	for _, c := range []struct {
		name  string
		at    time.Time
		fresh bool
	}{
		{"now", noon, true},
		{"seven seconds ahead", noon.Add(7 * time.Second), true},
		{"more than seven seconds ahead", noon.Add(7*time.Second + time.Millisecond), false},
		{"before the mark", noon.Add(-3 * time.Second), false},
		{"the mark itself", noon.Add(-2 * time.Second), false},
		{"a moment after the mark", noon.Add(-2*time.Second + time.Microsecond), true},
	} {
		if fresh, why := mark.Fresh(Timestamps, Timestamp(c.at), noon, DefaultWindow); fresh != c.fresh {
			t.Errorf("%s: fresh = %v (%s), want %v", c.name, fresh, why, c.fresh)
		}
	}
	if fresh, _ := (Mark{}).Fresh(Timestamps, Timestamp(noon.Add(-8*time.Second)), noon, DefaultWindow); fresh {
		t.Error("a timestamp eight seconds old is fresh")
	}
}

func TestAMarkNeverGoesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m Mark
		for _, id := range rapid.SliceOf(rapid.Uint64()).Draw(t, "identifications") {
			next := m.Accept(Timestamps, id)
			if next.Highest < m.Highest || next.Highest < id {
				t.Fatalf("from %x to %x at %x", m.Highest, next.Highest, id)
			}
			m = next
		}
		back, err := ParseMark(m.Append(nil))
		if err != nil || back != m {
			t.Fatalf("stored %+v, read %+v, %v", m, back, err)
		}
	})
	if _, err := ParseMark(make([]byte, 16)); err == nil {
		t.Error("a short mark was read")
	}
}

//rfc:5944#5.7.2
func TestANonceServesOnce(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var m Mark
	if fresh, _ := m.Fresh(Nonces, 7, noon, 0); fresh {
		t.Error("a request is fresh before any nonce was given out")
	}
	id, m := m.ReplyIdentification(Nonces, 0x1111111122222222, false, noon, rng)
	if uint32(id) != 0x22222222 {
		t.Errorf("the reply's low half is %#x, want the request's", uint32(id))
	}
	answer := id&^0xffffffff | 0x33333333
	if fresh, why := m.Fresh(Nonces, answer, noon, 0); !fresh {
		t.Errorf("the nonce of the last reply is refused: %s", why)
	}
	_, m = m.Accept(Nonces, answer).ReplyIdentification(Nonces, answer, true, noon, rng)
	if fresh, _ := m.Fresh(Nonces, answer, noon, 0); fresh {
		t.Error("a nonce served twice")
	}
}

//rfc:5944#5.7.1
//rfc:5944#5.7-3
func TestAReplyToABadTimestampTellsTheHomeAgentsTime(t *testing.T) {
	request := Timestamp(noon.Add(-time.Hour))
	id, _ := Mark{}.ReplyIdentification(Timestamps, request, false, noon, nil)
	if uint32(id) != uint32(request) {
		t.Error("the low half is not the request's")
	}
	if id>>32 != Timestamp(noon)>>32 {
		t.Errorf("the high half is %d, want the home agent's seconds %d", id>>32, Timestamp(noon)>>32)
	}
	if id, _ := (Mark{}).ReplyIdentification(Timestamps, request, true, noon, nil); id != request {
		t.Error("a valid timestamp was not copied whole")
	}
}
