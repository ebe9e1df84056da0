package daemon

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"careof/internal/control"
	"careof/internal/core/note"
	"careof/internal/host/portal"
	"careof/internal/proto/mip4/mn"
)

// watched is a portal watch over uplinks with this and the next address, in
// virtual time.
func watched(t *testing.T, w *portalWatch, list *[]mn.UplinkInfo) {
	w.uplinks = func(context.Context) ([]mn.UplinkInfo, error) { return *list, nil }
	if w.look == nil {
		w.look = func(u mn.UplinkInfo, registered bool) bool { return u.Usable && !registered }
	}
	if w.found == nil {
		w.found = func(string, finding) {}
	}
	if w.now == nil {
		w.now = func() {}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func usable(link string) mn.UplinkInfo {
	return mn.UplinkInfo{Link: link, Usable: true, CareOfAddress: netip.MustParseAddr("192.0.2.7")}
}

// The API of one network does not answer until it has been waited for long
// enough; the other networks are asked all the same, every three seconds.
func TestAPortalThatIsSilentHoldsUpNoOtherUplink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := map[string]int{}
		var found []string
		w := portalWatch{
			ask: func(ctx context.Context, link string) finding {
				asked[link]++
				if link == "wlan0" {
					select {
					case <-time.After(10 * time.Second):
					case <-ctx.Done():
					}
				}
				return finding{state: portal.Captive}
			},
			found: func(link string, _ finding) { found = append(found, link) },
		}
		watched(t, &w, &[]mn.UplinkInfo{usable("wlan0"), usable("wwan0")})
		time.Sleep(12*time.Second + time.Millisecond)
		synctest.Wait()
		if asked["wwan0"] != 4 || asked["wlan0"] != 1 || !slices.Equal(found, []string{"wwan0", "wwan0", "wwan0", "wwan0"}) {
			t.Errorf("asked %v, found %v", asked, found)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !slices.Contains(found, "wlan0") {
			t.Errorf("the late answer was not taken: %v", found)
		}
	})
}

// What a network says that the uplink has left meanwhile is not said of the next
// one, nor of one over which the node is registered by now.
func TestALateAnswerIsOfNoOtherNetwork(t *testing.T) {
	for what, change := range map[string]func(u *mn.UplinkInfo){
		"another network": func(u *mn.UplinkInfo) { u.CareOfAddress = netip.MustParseAddr("203.0.113.9") },
		"registered":      func(u *mn.UplinkInfo) { u.Active = true },
		"gone":            func(u *mn.UplinkInfo) { u.Usable = false },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first := true
				list := []mn.UplinkInfo{usable("wlan0")}
				w := portalWatch{
					ask: func(ctx context.Context, _ string) finding {
						if !first {
							return finding{state: portal.Open}
						}
						first = false
						time.Sleep(5 * time.Second)
						return finding{state: portal.Captive}
					},
					found: func(_ string, f finding) {
						if f.state == portal.Captive {
							t.Error("the late answer was taken")
						}
					},
				}
				watched(t, &w, &list)
				time.Sleep(4 * time.Second)
				change(&list[0])
				time.Sleep(10 * time.Second)
				synctest.Wait()
			})
		})
	}
}

// What programs may reach past the tunnel ends with the registration, and not at
// the next look; renewals end nothing, and neither does a single lost message.
func TestAPassEndsWithTheRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := 0
		events := make(chan control.Event, 1)
		u := usable("wlan0")
		list := []mn.UplinkInfo{u}
		w := portalWatch{
			ask: func(context.Context, string) finding { return finding{} },
			now: func() { ended++ }, events: events,
		}
		watched(t, &w, &list)
		time.Sleep(portalEvery + time.Millisecond)
		list[0].Active = true
		registered := control.Event{Note: note.Note{Kind: note.Registered, Role: roleMobileNode}}
		events <- registered
		synctest.Wait()
		if ended != 1 {
			t.Fatalf("ended %d times at the registration", ended)
		}
		time.Sleep(2 * portalEvery)
		list[0].Unanswered = 1
		time.Sleep(2 * portalEvery)
		events <- registered
		synctest.Wait()
		if ended != 1 {
			t.Fatalf("ended %d times by a renewal", ended)
		}
		// The network wants its guests to sign in again.
		list[0].Unanswered = 3
		time.Sleep(portalEvery)
		list[0].Unanswered = 0
		events <- registered
		synctest.Wait()
		if ended != 2 {
			t.Fatalf("ended %d times when the home agent had answered again", ended)
		}
	})
}

// What was asked in vain is said with its reason and since when, until it answers.
func TestWhatIsAskedInVainIsSaidSinceWhen(t *testing.T) {
	var p portals
	at := time.Date(2026, 11, 22, 12, 0, 5, 0, time.Local)
	wrong := [portalAsks]string{askPage: unreached("http://check.example/empty", errors.New("portal: connection \x1b[31mrefused"))}
	p.fails("wlan0", wrong, at)
	p.fails("wlan0", wrong, at.Add(time.Minute))
	const want = "nothing is registered yet; since 12:00:05 the page of portal-check (http://check.example/empty) does not come, " +
		"so it is not known whether the network wants a sign-in: connection ?[31mrefused"
	if got := p.words("wlan0", "nothing is registered yet", at); got != want {
		t.Errorf("%q", got)
	}
	// What was known before holds, and that is no reason to be silent.
	p.set("wlan0", &captivity{page: "http://login.example/"})
	if got := p.words("wlan0", "", at); !strings.Contains(got, "sign in at http://login.example/") || !strings.Contains(got, "since 12:00:05") {
		t.Errorf("%q", got)
	}
	p.fails("wlan0", [portalAsks]string{}, at)
	if got := p.words("wlan0", "", at); strings.Contains(got, "since") {
		t.Errorf("it answers: %q", got)
	}
}

// A portal that names no page is one all the same.
func TestAPortalWithoutAPageIsSaidToBeOne(t *testing.T) {
	var p portals
	p.set("wlan0", &captivity{})
	const want = "the network wants its guests to sign in, and names no page that could be opened: careof portal wlan0 --host HOST lets a browser here reach one that you know"
	if got := p.words("wlan0", "nothing is registered yet", time.Now()); got != want {
		t.Errorf("%q", got)
	}
}
