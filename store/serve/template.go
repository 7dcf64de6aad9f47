package serve

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"text/template"
	"text/template/parse"
)

// fill fills text in with vars, as text/template does: {{.hostname}}, {{if eq .role "kiosk"}}.
// A variable that there is not is an error, and so is a template that could run for long or
// write more than limit bytes: a board's file is small, and made while the board waits.
func fill(name, text string, vars map[string]string, limit int) (string, error) {
	if !strings.Contains(text, "{{") {
		return text, nil
	}
	t, err := template.New(name).Option("missingkey=error").Parse(text)
	if err != nil {
		return "", err
	}
	if len(t.Templates()) > 1 {
		return "", fmt.Errorf("template %s: no template may be defined in it", name)
	}
	if err := simple(t.Root); err != nil {
		return "", fmt.Errorf("template %s: %w", name, err)
	}
	out := &bounded{limit: limit}
	if err := t.Execute(out, vars); err != nil {
		return "", err
	}
	return out.String(), nil
}

// simple refuses everything but text, variables, functions and conditions.
func simple(list *parse.ListNode) error {
	if list == nil {
		return nil
	}
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.TextNode, *parse.ActionNode, *parse.CommentNode:
		case *parse.IfNode:
			if err := errors.Join(simple(n.List), simple(n.ElseList)); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%.40s: only variables and if are for boards", n)
		}
	}
	return nil
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
