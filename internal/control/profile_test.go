package control

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
)

func TestProfilesAreRootsAlone(t *testing.T) {
	for _, c := range []struct {
		name string
		who  caller
		want int
	}{
		{"root", caller{known: true}, http.StatusOK},
		{"a member of the group", caller{known: true, uid: 64000, gids: []int{77}}, http.StatusForbidden},
	} {
		if c.who.uid == os.Geteuid() && c.who.uid != 0 {
			continue
		}
		r := httptest.NewRequest(http.MethodGet, "/debug/pprof/cmdline", nil)
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, c.who))
		w := httptest.NewRecorder()
		authorise(77, Handler(&desk{})).ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: status %d, want %d", c.name, w.Code, c.want)
		}
	}
}
