package main

import (
	"bytes"
	"testing"

	"piimg/recipes"
)

// TestIgnoredRuleOfANewerPiimg: an image may ignore rules that this piimg does not have. That they
// found nothing says nothing then, and their names are anybody's.
func TestIgnoredRuleOfANewerPiimg(t *testing.T) {
	var b bytes.Buffer
	a := &app{ui: &ui{w: &b}}
	a.warnIdle(&recipes.Recipe{}, []string{"P04", "P99", "\x1b[2J\u202eP05"})
	const want = `piimg: warning: ignored rule P04 found nothing: remove it
piimg: warning: ignored rule P99 is none that this piimg knows: a newer one may find more
piimg: warning: ignored rule ·[2J·P05 is none that this piimg knows: a newer one may find more
`
	if b.String() != want {
		t.Errorf("warnings:\n%swant:\n%s", b.String(), want)
	}
}
