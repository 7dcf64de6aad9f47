package boardtext_test

import (
	"strings"
	"testing"

	"piimg/pipeline/format/boardtext"
)

var vars = map[string]string{"hostname": "lobby", "role": "kiosk"}

func TestFill(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "",
		"plain }} text":                   "plain }} text",
		"{{.hostname}}\n":                 "lobby\n",
		"{{/* nothing */}}x":              "x",
		`{{printf "%q" .role}}`:           `"kiosk"`,
		"{{if .role}}\n1{{else}}2{{end}}": "\n1",
		`{{if eq .role "x"}}{{.none}}{{else}}2{{end}}`: "2", // what is not reached needs no variables
	} {
		if got, err := boardtext.Fill("x", text, vars, 100); err != nil || got != want {
			t.Errorf("Fill(%q) = %q, %v, want %q", text, got, err, want)
		}
		if err := boardtext.Check("x", text); err != nil {
			t.Errorf("Check(%q) = %v", text, err)
		}
	}
}

func TestFaults(t *testing.T) {
	for text, want := range map[string]string{
		"a\nb {{.none}}":              "etc/x:2: there is no variable none",
		"{{if .none}}{{end}}":         "etc/x:1: there is no variable none",
		"\n\n{{":                      "etc/x:3: unclosed action",
		"{{.a b}}":                    "etc/x:1: ",
		"\n{{nothing}}":               `etc/x:2: function "nothing" not defined`,
		"\n{{range 9999999}}x{{end}}": "etc/x:2: {{range 9999999}}x{{end}} is not for boards: only variables, if and and, or,",
		"{{if .role}}\n{{with .role}}{{end}}{{end}}":                    "etc/x:2: {{with .role}}{{end}} is not",
		`{{define "x"}}{{end}}`:                                         "etc/x: no template may be defined in it",
		`{{printf "%200s" .role}}`:                                      "etc/x: more than 100 bytes",
		strings.Repeat("{{.hostname}}", 30):                             "etc/x: more than 100 bytes",
		`{{$x := .role}}{{$x}}`:                                         "etc/x:1: $x := .role is not",
		"{{.role | js}}":                                                "etc/x:1: js is not",
		"{{call .role}}":                                                "etc/x:1: call is not",
		`{{printf "%5000s" .role}}`:                                     "etc/x:1: <printf ",
		`{{printf "%*s" 100000000 .role}}`:                              "etc/x:1: <printf ",
		`{{.role` + strings.Repeat(` | printf "%[1]s%[1]s"`, 40) + `}}`: "etc/x:1: <printf ",
		`{{.role` + strings.Repeat(` | printf "%[1]s%[1]s" | print "x"`, 40) + `}}`: "etc/x:1: <printf ",
		`{{index .role 99}}`: "etc/x:1: ",
	} {
		_, err := boardtext.Fill("etc/x", text, vars, 100)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Fill(%.40q): %v, want %q", text, err, want)
		}
	}
}

// FuzzFill: whatever is filled in ends, stays below its limit, and errors are Faults.
func FuzzFill(f *testing.F) {
	for _, s := range []string{"{{.hostname}}", "{{if .role}}{{end}}", "{{range 3}}{{end}}", "{{define \"a\"}}{{template \"a\"}}{{end}}", "{{", "{{printf \"%9999d\" 1}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := boardtext.Fill("x", text, vars, 1000)
		if _, ok := err.(boardtext.Fault); err != nil && !ok {
			t.Errorf("%q: %T", text, err)
		}
		if err == nil && strings.Contains(text, "{{") && len(got) > 1000 {
			t.Errorf("%q: %d bytes", text, len(got))
		}
		if bad := boardtext.Check("x", text); err == nil && bad != nil && strings.Contains(text, "{{") {
			t.Errorf("%q: filled in, but %v", text, bad)
		}
	})
}
