package recipes

import (
	"maps"
	"slices"
	"strings"

	"piimg/store"
)

// Lint is the [lint] table: where the linter is wrong for these boards.
type Lint struct {
	Ignore map[string]string `json:"ignore"` // reasons by the rule's id
}

// Ignored are the rules whose findings do not count, each with the reason; nil for none.
func (r *Recipe) Ignored() map[string]string {
	if r.Lint == nil {
		return nil
	}
	return r.Lint.Ignore
}

func (r *reader) lint(t *table) *Lint {
	n := t.get("ignore")
	t.done()
	if n == nil {
		return nil
	}
	rules, ok := n.table()
	if !ok {
		r.fail(n, `write a reason for each: ignore = { P04 = "…" }`, "must be a table of rules with reasons, not %s", n.kind())
	}
	l := &Lint{Ignore: map[string]string{}}
	for _, id := range slices.Sorted(maps.Keys(rules)) {
		l.Ignore[id] = r.reason(rules[id])
		if r.rules != nil && !slices.Contains(r.rules, id) {
			r.fail(rules[id], suggestID(id, "rules", r.rules), "there is no rule %q", id)
		}
	}
	if len(l.Ignore) == 0 {
		return nil // so that it says nothing in the canonical form either
	}
	return l
}

// reason is why a rule is ignored: one line, and not an empty one.
func (r *reader) reason(n *node) string {
	s, ok := r.str(n)
	s = strings.TrimSpace(s)
	if ok && s == "" {
		r.fail(n, "say why the rule is wrong for these boards: who comes next has to know", "has no reason")
	}
	if err := store.CheckLine("reason", s); err != nil { // whoever approves the image reads it
		r.fail(n, "a reason is one line of text: shorten it, and put the rest into a comment", "%v", err)
	}
	return s
}
