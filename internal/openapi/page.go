package openapi

import (
	"bytes"
	"fmt"
	"strings"

	"careof/internal/control"
)

const introduction = `# The control API

<!-- Written by ` + "`make gen`" + ` from the table of routes and the Go types. -->

Everything that the command line shows, it asks for here, and so can you:

    curl --unix-socket /run/careof/careof.sock http://careof/v1/bindings

The document for machines is [openapi.json](openapi.json); the daemon serves it at ` + "`/v1/openapi.json`" + `. Go programs import
` + "`careof/client`" + `.

- Every answer is an object with ` + "`\"schema\": 1`" + ` and one further member, named after what was asked. Names are snake_case, times are
  RFC 3339, durations are seconds with a fraction (` + "`null`" + ` for no end), except in events, where they are nanoseconds.
- Members may be added; none changes its meaning or goes away within ` + "`/v1`" + `.
- A failure has a status of its own and says in ` + "`\"error\"`" + ` what and where: 400 a wrong request, 401 no token, 403 not allowed, 404 not
  there, 421 not meant for this server, 504 the daemon is too busy.

## Who may ask

On the unix socket the kernel says who asks: root and the daemon's own user may do everything, members of ` + "`control.group`" + ` may read (GET).

Over TCP the API is served only where [control] has ` + "`listen`" + `, and only to callers that send ` + "`Authorization: Bearer TOKEN`" + ` with the token of
` + "`token-file`" + ` (may read) or ` + "`admin-token-file`" + ` (may change). Beyond this host it must be TLS. What a browser was made to send by
another site is refused by its Host, Origin and Sec-Fetch-Site headers. ` + "`/healthz`" + ` and ` + "`/readyz`" + ` need no token, and tell a stranger no more than
a word. ` + "`careof --socket https://ha.example:8434 show status`" + ` with ` + "`CAREOF_TOKEN_FILE`" + ` uses it.

    [control]
    listen     = "127.0.0.1:8434"
    token-file = "tokens/read"        # openssl rand -hex 32 > tokens/read; chmod 600 tokens/read

## Long lists

Bindings, visitors and registrations come in pages when asked with ` + "`limit`, `offset`, `search` or `sort`" + `:

    curl --unix-socket /run/careof/careof.sock 'http://careof/v1/bindings?search=van7&sort=-sent_bytes&limit=20'

Pages are cut from a list that is taken at most every 200 ms, and more seldom when taking it is dear: ` + "`page.taken`" + ` says when.

## Events

` + "`/v1/events`" + ` is a stream of server-sent events; an EventSource in a browser resumes it by itself. The daemon remembers the last 4096 events.
An event of the kind ` + "`gap`" + ` stands where some are missing: what you know may be stale, ask anew.

## Metrics

` + "`/metrics`" + ` is for Prometheus. Over the unix socket most exporters cannot reach it; give Prometheus the TCP listener and the token:

    scrape_configs:
      - job_name: careof
        scheme: https
        authorization: { credentials_file: /etc/prometheus/careof-token }
        static_configs: [{ targets: ["ha.example:8434"] }]

No label names a node, so a scrape has the same size whatever the number of nodes. Alert rules and a Grafana dashboard are in
` + "`packaging/monitoring`" + `.

`

// Markdown is the page for people.
func (d *Document) Markdown() []byte {
	var b bytes.Buffer
	b.WriteString(introduction)
	b.WriteString("## Endpoints\n\n| | | answers |\n| --- | --- | --- |\n")
	for _, r := range d.Routes {
		answers := r.Type
		if r.Name != "" {
			answers = "`" + r.Name + "`: " + d.word(d.Answer(r).Properties[r.Name])
		} else if r.Shape != nil {
			answers = d.word(d.schema(typeOf(r))) + ", as " + r.Type
		}
		fmt.Fprintf(&b, "| `%s %s` | %s%s | %s |\n", r.Method, r.Path, cell(r.Doc), parameters(r), answers)
	}
	b.WriteString("\n## Shapes\n")
	for _, name := range d.inOrder() {
		s := d.Schemas[name]
		fmt.Fprintf(&b, "\n### %s\n\n", name)
		if s.Description != "" {
			fmt.Fprintf(&b, "%s\n\n", s.Description)
		}
		b.WriteString("| member | is | |\n| --- | --- | --- |\n")
		for _, member := range s.order {
			p := s.Properties[member]
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", member, d.word(p), cell(p.Description))
		}
	}
	return b.Bytes()
}

// cell keeps text inside a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", "\\|") }

func parameters(r control.Route) string {
	var b strings.Builder
	for _, p := range r.Query {
		fmt.Fprintf(&b, "<br>`%s`: %s", p.Name, cell(p.Doc))
	}
	return b.String()
}

// word says in a word what a value is.
func (d *Document) word(s *Schema) string {
	switch {
	case s.Ref != "":
		name := s.Ref[strings.LastIndex(s.Ref, "/")+1:]
		return "[" + name + "](#" + strings.ToLower(name) + ")"
	case s.Items != nil:
		return "list of " + d.word(s.Items)
	case s.Values != nil:
		return "object of " + d.word(s.Values)
	case s.Format == "date-time":
		return "time"
	}
	if list, many := s.Type.([]string); many {
		return list[0]
	}
	return s.Type.(string)
}

// inOrder lists the schemas as the routes need them.
func (d *Document) inOrder() (names []string) {
	seen := make(map[string]bool)
	var visit func(s *Schema)
	visit = func(s *Schema) {
		switch {
		case s == nil:
		case s.Ref != "":
			name := s.Ref[strings.LastIndex(s.Ref, "/")+1:]
			if seen[name] {
				return
			}
			seen[name] = true
			names = append(names, name)
			for _, member := range d.Schemas[name].order {
				visit(d.Schemas[name].Properties[member])
			}
		default:
			visit(s.Items)
			visit(s.Values)
		}
	}
	for _, r := range d.Routes {
		if r.Shape != nil {
			visit(d.schema(typeOf(r)))
		}
		if r.Body != nil {
			visit(d.schema(bodyOf(r)))
		}
	}
	visit(d.pageSchema())
	return names
}
