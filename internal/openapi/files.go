package openapi

// Files are what is written, by name below the module's folder.
func Files(d *Document) map[string]func() ([]byte, error) {
	return map[string]func() ([]byte, error){
		"internal/control/openapi.json": d.JSON,
		"docs/openapi.json":             d.JSON,
		"docs/api.md":                   func() ([]byte, error) { return d.Markdown(), nil },
	}
}
