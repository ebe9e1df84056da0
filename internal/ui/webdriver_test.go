package ui

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds every wait for something that must come. Browsers are slow
// to start on a busy machine.
const patience = 90 * time.Second

// A browser is Chromium, driven by the WebDriver protocol (W3C) through
// chromedriver.
type browser struct {
	t       *testing.T
	session string // URL
}

// started is what chromedriver says when it listens.
var started = regexp.MustCompile(`started successfully on port (\d+)`)

// A transcript is what a program has said so far.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (x *transcript) Write(b []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.text.Write(b)
}

func (x *transcript) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.text.String()
}

// elementKey names an element's id in the protocol.
const elementKey = "element-6066-11e4-a52e-4f735466cecf"

// openBrowser starts one with an empty profile, and ends it with the test.
func openBrowser(t *testing.T, wide, tall int) *browser {
	t.Helper()
	for _, program := range []string{"chromium", "chromedriver"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed (Debian: chromium, chromium-driver)", program)
		}
	}
	profile := t.TempDir()
	// It takes a port that is free and says which.
	driver := exec.Command("chromedriver", "--port=0")
	said := new(transcript)
	driver.Stdout, driver.Stderr = said, said
	driver.Env = append(os.Environ(), "HOME="+profile, "TMPDIR="+profile)
	if err := driver.Start(); err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t}
	t.Cleanup(func() {
		if b.session != "" {
			if r, err := http.NewRequest(http.MethodDelete, b.session, nil); err == nil {
				if response, err := http.DefaultClient.Do(r); err == nil {
					response.Body.Close()
				}
			}
		}
		_ = driver.Process.Kill()
		_ = driver.Wait()
		if t.Failed() {
			t.Logf("chromedriver said:\n%s", said)
		}
	})
	root := ""
	b.until("chromedriver listens", func() bool {
		port := started.FindStringSubmatch(said.String())
		if port == nil {
			return false
		}
		root = "http://127.0.0.1:" + port[1]
		response, err := http.Get(root + "/status")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	var made struct{ SessionID string }
	b.call(http.MethodPost, root+"/session", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"goog:loggingPrefs": map[string]any{"browser": "ALL"},
		"goog:chromeOptions": map[string]any{"args": []string{
			"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking",
			"--disable-component-update", "--disable-sync", "--hide-scrollbars", "--force-device-scale-factor=1", "--user-data-dir=" + filepath.Join(profile, "profile"), fmt.Sprintf("--window-size=%d,%d", wide, tall),
		}},
	}}}, &made)
	b.session = root + "/session/" + made.SessionID
	// The window's size has room for a frame that a headless one lacks.
	b.post("/window/rect", map[string]any{"width": wide, "height": tall}, nil)
	return b
}

// call makes one request and decodes the value of its answer.
func (b *browser) call(method, url string, body, value any) {
	b.t.Helper()
	if err := b.try(method, url, body, value); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) try(method, url string, body, value any) error {
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(text)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, sent)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("webdriver: %w", err)
	}
	defer response.Body.Close()
	var answer struct{ Value json.RawMessage }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("webdriver: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("webdriver: %s %s: %s", method, url[strings.Index(url, "/session"):], answer.Value)
	}
	if value == nil {
		return nil
	}
	return json.Unmarshal(answer.Value, value)
}

func (b *browser) post(path string, body, value any) {
	b.t.Helper()
	b.call(http.MethodPost, b.session+path, body, value)
}

// until waits for something that must come.
func (b *browser) until(what string, is func() bool) {
	b.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("did not come: %s", what)
		}
	}
}

func (b *browser) open(url string) {
	b.t.Helper()
	b.post("/url", map[string]any{"url": url}, nil)
}

// eval runs a function's body in the page.
func (b *browser) eval(script string, value any, arguments ...any) {
	b.t.Helper()
	if arguments == nil {
		arguments = []any{}
	}
	b.post("/execute/sync", map[string]any{"script": script, "args": arguments}, value)
}

// text is what an element shows; empty while it is not there.
func (b *browser) text(css string) (text string) {
	b.t.Helper()
	b.eval("const e = document.querySelector(arguments[0]); return e ? e.textContent.replace(/\\s+/g, ' ') : ''", &text, css)
	return text
}

// sees waits until an element shows a text.
func (b *browser) sees(css, text string) {
	b.t.Helper()
	got := ""
	end := time.Now().Add(patience)
	for {
		if got = b.text(css); strings.Contains(got, text) {
			return
		}
		if time.Now().After(end) {
			b.t.Fatalf("%s shows %.400q, not %q", css, got, text)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// find waits for an element and returns its path in the protocol.
func (b *browser) find(css string) string {
	b.t.Helper()
	var element map[string]string
	b.until(css+" is there", func() bool {
		return b.try(http.MethodPost, b.session+"/element", map[string]any{"using": "css selector", "value": css}, &element) == nil
	})
	return "/element/" + element[elementKey]
}

// click clicks like a person: at the middle of the element, on whatever lies there.
func (b *browser) click(css string) {
	b.t.Helper()
	b.until(css+" can be clicked", func() bool {
		return b.try(http.MethodPost, b.session+b.find(css)+"/click", map[string]any{}, nil) == nil
	})
}

// keys types into whatever has the focus.
func (b *browser) keys(text string) {
	b.t.Helper()
	var actions []map[string]any
	for _, r := range text {
		actions = append(actions, map[string]any{"type": "keyDown", "value": string(r)}, map[string]any{"type": "keyUp", "value": string(r)})
	}
	b.post("/actions", map[string]any{"actions": []any{map[string]any{"type": "key", "id": "keyboard", "actions": actions}}}, nil)
}

// Keys without a letter.
const (
	keyTab   = "\uE004"
	keyEnter = "\uE007"
	keyEnd   = "\uE010"
	keyHome  = "\uE011"
	keyDown  = "\uE015"
)

func (b *browser) screenshot() []byte {
	b.t.Helper()
	var text string
	b.call(http.MethodGet, b.session+"/screenshot", nil, &text)
	png, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		b.t.Fatal(err)
	}
	return png
}

// complaints are the errors that the page caused: exceptions, and what its
// policy forbade.
func (b *browser) complaints() (list []string) {
	b.t.Helper()
	var lines []struct{ Level, Message string }
	b.post("/se/log", map[string]any{"type": "browser"}, &lines)
	for _, l := range lines {
		if l.Level == "SEVERE" {
			list = append(list, l.Message)
		}
	}
	return list
}
