// Package boardtext fills in what front ends make for each board: a command line, a
// config.txt, a file of the board's own. Its templates are those of text/template with
// variables, functions and conditions: {{.hostname}}, {{if eq .role "kiosk"}}. Loops and
// templates in templates are none of them: a board's file is small, and made while the board
// waits.
package boardtext

import (
	"bytes"
	"fmt"
	"regexp"
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

// Check says what is wrong with text, whatever the variables are. The error is a Fault.
func Check(name, text string) error {
	_, err := parsed(name, text)
	return err
}

// Fill is text with vars. A variable that there is not is an error, and so is a result of
// more than limit bytes. The error is a Fault.
func Fill(name, text string, vars map[string]string, limit int) (string, error) {
	if !strings.Contains(text, "{{") {
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
	t, err := template.New(name).Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, faultOf(name, err)
	}
	if len(t.Templates()) > 1 {
		return nil, Fault{Name: name, Msg: "no template may be defined in it"}
	}
	if n := notSimple(t.Root); n != nil {
		f := Fault{Name: name, Line: 1 + strings.Count(text[:min(int(n.Position()), len(text))], "\n")}
		f.Msg = fmt.Sprintf("%.40s: only variables and if are for boards", n)
		return nil, f
	}
	return t, nil
}

// notSimple is a node that is no text, variable, function or condition, nil for none.
func notSimple(list *parse.ListNode) parse.Node {
	if list == nil {
		return nil
	}
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.TextNode, *parse.ActionNode, *parse.CommentNode:
		case *parse.IfNode:
			for _, branch := range []*parse.ListNode{n.List, n.ElseList} {
				if found := notSimple(branch); found != nil {
					return found
				}
			}
		default:
			return n
		}
	}
	return nil
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
