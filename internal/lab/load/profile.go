package load

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

// profile writes the daemon's processor profile, taken over its control
// socket, until the function that it returns is called.
func profile(ctx context.Context, socket, file string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := fetch(ctx, client, file); err != nil {
			fmt.Fprintln(os.Stderr, "careof: profile:", err)
		}
	}()
	return func() { <-done; cancel() }
}

// profileSeconds is how long a profile is taken.
const profileSeconds = 5

func fetch(ctx context.Context, client *http.Client, file string) error {
	url := fmt.Sprintf("http://careof/debug/pprof/profile?seconds=%d", profileSeconds)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, answer.Body)
	if closed := out.Close(); err == nil {
		err = closed
	}
	return err
}
