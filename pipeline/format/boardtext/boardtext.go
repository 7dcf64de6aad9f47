// Package boardtext fills in what front ends make for each board: a command line, a
// config.txt, a file of the board's own. Its templates are those of text/template with
// variables, conditions and some functions: {{.hostname}}, {{if eq .role "kiosk"}},
// {{printf "%s.rack" .hostname}}. There are no loops, no templates in templates, no variables
// of the template's own, and nothing that grows without bounds: a board's file is small, and
// made while the board waits, from an image that somebody else may have built.
package boardtext

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
)

// Fault is what is wrong with a template, or with the variables for it.
type Fault struct {
	Name     string // of the template
	Line     int    // in it, from 1 on; 0 where it is all of it
	Msg      string // may quote the template, unless Variable is set
	Variable string // that there is not; "" where something else is wrong
}

func (f Fault) Error() string {
	if f.Line == 0 {
		return f.Name + ": " + f.Msg
	}
	return fmt.Sprintf("%s:%d: %s", f.Name, f.Line, f.Msg)
}

// Has says whether there is anything in text to fill in.
func Has(text string) bool { return strings.Contains(text, "{{") }

// Check says what is wrong with text, whatever the variables are. The error is a Fault.
func Check(name, text string) error {
	_, err := parsed(name, text)
	return err
}

// Fill is text with vars. A variable that there is not is an error, and so is a result of
// more than limit bytes. The error is a Fault.
func Fill(name, text string, vars map[string]string, limit int) (string, error) {
	if !Has(text) {
		return text, nil
	}
	t, err := parsed(name, text)
	if err != nil {
		return "", err
	}
	out := &bounded{limit: limit}
	if err := t.Execute(out, vars); err != nil {
		return "", faultOf(name, err)
	}
	return out.String(), nil
}

func parsed(name, text string) (*template.Template, error) {
	t, err := template.New(name).Option("missingkey=error").Funcs(bounds).Parse(text)
	if err != nil {
		return nil, faultOf(name, err)
	}
	if len(t.Templates()) > 1 {
		return nil, Fault{Name: name, Msg: "no template may be defined in it"}
	}
	if n := notSimple(t.Root); n != nil {
		f := Fault{Name: name, Line: 1 + strings.Count(text[:min(int(n.Position()), len(text))], "\n")}
		f.Msg = fmt.Sprintf("%.40s is not for boards: only variables, if and %s are", n, strings.Join(functions, ", "))
		return nil, f
	}
	return t, nil
}

// functions are those that a template may call.
var functions = []string{"and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print", "printf"}

// notSimple is a node below n that a template may not have, nil for none.
func notSimple(n parse.Node) parse.Node {
	switch n := n.(type) {
	case *parse.TextNode, *parse.CommentNode, *parse.FieldNode, *parse.DotNode, *parse.StringNode, *parse.NumberNode, *parse.BoolNode:
		return nil
	case *parse.IdentifierNode:
		if slices.Contains(functions, n.Ident) {
			return nil
		}
	case *parse.ListNode:
		if n == nil { // there is no else
			return nil
		}
		return first(n.Nodes)
	case *parse.ActionNode:
		return notSimple(n.Pipe)
	case *parse.IfNode:
		return first([]parse.Node{n.Pipe, n.List, n.ElseList})
	case *parse.PipeNode:
		if len(n.Decl) > 0 {
			return n
		}
		return first(n.Cmds)
	case *parse.CommandNode:
		return first(n.Args)
	}
	return n
}

func first[N parse.Node](nodes []N) parse.Node {
	for _, n := range nodes {
		if found := notSimple(n); found != nil {
			return found
		}
	}
	return nil
}

// maxString is the most that a function makes, in bytes. Without it a few nested calls make
// more than there is memory.
const maxString = 64 << 10

var errLong = fmt.Errorf("a text of more than %d bytes", maxString)

// bounds are the functions that make longer texts of shorter ones, bounded.
var bounds = template.FuncMap{
	"print": func(args ...any) (string, error) {
		if longest(args)*len(args) > maxString {
			return "", errLong
		}
		return fmt.Sprint(args...), nil
	},
	"printf": func(format string, args ...any) (string, error) {
		if wide.MatchString(format) || len(format)+strings.Count(format, "%")*(999+4*longest(args)) > maxString {
			return "", errLong
		}
		return fmt.Sprintf(format, args...), nil
	},
}

// wide finds a width or a precision that is large, or not known here.
var wide = regexp.MustCompile(`%[^%a-zA-Z]*([0-9]{4}|\*)`)

// longest is the length of the longest of args.
func longest(args []any) int {
	n := 20 // a number
	for _, a := range args {
		if s, ok := a.(string); ok {
			n = max(n, len(s))
		}
	}
	return n
}

// The texts of errors of text/template begin with where they are.
var (
	place      = regexp.MustCompile(`^template: (?s:.*?):(\d+)(?::\d+)?: (?:executing "(?s:.*?)" at )?`)
	missingKey = regexp.MustCompile(`map has no entry for key "([^"]*)"$`)
)

// faultOf is err, of text/template.
func faultOf(name string, err error) Fault {
	f := Fault{Name: name, Msg: err.Error()}
	if m := place.FindStringSubmatch(f.Msg); m != nil {
		f.Line, _ = strconv.Atoi(m[1])
		f.Msg = f.Msg[len(m[0]):]
	}
	if m := missingKey.FindStringSubmatch(f.Msg); m != nil {
		f.Variable, f.Msg = m[1], "there is no variable "+m[1]
	}
	return f
}

// bounded is a buffer that takes so many bytes.
type bounded struct {
	bytes.Buffer
	limit int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.limit {
		return 0, fmt.Errorf("more than %d bytes", b.limit)
	}
	return b.Buffer.Write(p)
}
