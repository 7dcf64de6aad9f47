package initrd_test

import (
	"testing"

	"piimg/pipeline/format/initrd"
)

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		glob, name string
		want       bool
	}{
		{"a", "a", true}, {"a", "a/b", false}, {"a/*", "a/b", true}, {"a/*", "a", false}, {"a/*", "a/b/c", false},
		{"a/**", "a", false}, {"a/**", "a/b", true}, {"a/**", "a/b/c", true}, {"**", "a", true}, {"**/c", "c", true},
		{"**/c", "a/b/c", true}, {"**/c", "a/b/cc", false}, {"a/**/c", "a/c", true}, {"a/**/c", "a/b/b/c", true},
		{"**/b/**", "a/b", false}, {"**/b/**", "a/b/c", true}, {"[ab]?/**/*.o", "bx/y/z.o", true},
	} {
		if got := initrd.Match(tt.glob, tt.name); got != tt.want {
			t.Errorf("Match(%q, %q) = %v", tt.glob, tt.name, got)
		}
	}
}
