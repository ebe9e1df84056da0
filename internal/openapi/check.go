package openapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"careof/internal/control"
)

// Check tells how an answer differs from what is documented: a member that is
// missing, has another type, or is not described.
func (d *Document) Check(r control.Route, answer []byte) error {
	s := d.Answer(r)
	if s == nil {
		return nil
	}
	var value any
	if err := json.Unmarshal(answer, &value); err != nil {
		return fmt.Errorf("openapi: %s: %w", r.Path, err)
	}
	return errors.Join(d.compare(r.Path, s, value)...)
}

func (d *Document) compare(at string, s *Schema, value any) []error {
	if s.Ref != "" {
		return d.compare(at, d.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")], value)
	}
	if kind := kindOf(value); !allows(s.Type, kind) {
		return []error{fmt.Errorf("%s is %s, documented as %v", at, kind, s.Type)}
	}
	var errs []error
	switch value := value.(type) {
	case []any:
		for i, item := range value {
			errs = append(errs, d.compare(fmt.Sprintf("%s[%d]", at, i), s.Items, item)...)
		}
	case map[string]any:
		for _, name := range s.Required {
			if _, there := value[name]; !there {
				errs = append(errs, fmt.Errorf("%s.%s is documented as always there, and is missing", at, name))
			}
		}
		for name, member := range value {
			described := s.Properties[name]
			if described == nil {
				described = s.Values
			}
			if described == nil {
				errs = append(errs, fmt.Errorf("%s.%s is not documented", at, name))
				continue
			}
			errs = append(errs, d.compare(at+"."+name, described, member)...)
		}
	}
	return errs
}

func kindOf(value any) string {
	switch value := value.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if value == math.Trunc(value) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

func allows(types any, kind string) bool {
	list, many := types.([]string)
	if !many {
		list = []string{types.(string)}
	}
	return slices.Contains(list, kind) || kind == "integer" && slices.Contains(list, "number")
}
