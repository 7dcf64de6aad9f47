package overlay

import (
	"strings"
	"testing"

	"piimg/pipeline/format/initrd"
)

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"etc/shadow", "a b", `\`, "*[?]#", "\xff\u00a0\n", "-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if strings.ContainsRune(name, 0) {
			return // no path has it
		}
		line := escape(name)
		if len(strings.Fields(line)) > 1 {
			t.Fatalf("%q is more than one field", line)
		}
		glob, path, wild, err := unescape(line)
		if err != nil || path != name || wild {
			t.Fatalf("%q: %q, wild %v, %v", line, path, wild, err)
		}
		if initrd.CheckGlob(glob) == nil && name != "." && !initrd.Match(glob, name) {
			t.Fatalf("glob %q does not match %q", glob, name)
		}
	})
}
