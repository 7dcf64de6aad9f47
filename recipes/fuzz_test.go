package recipes

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// texts are TOML texts whose keys are hard to find the lines of.
var texts = []string{
	small,
	"a = 1 # [b]\n[c] # = 1\nd = '''\n[e]\nf = 1'''\n",
	"a = \"\"\"x\\\"\"\"\"\"\"\nb = '''y'''''\nc.'d e'.\"f\\u0041\" = [ [1, [2]], # ]\n 3,\n]\n",
	"[[a]]\n[[a.b]]\nc = 1\n[[a.b]]\n[a.d]\ne.f = 1\n[[a]]\nb = [{c = 1}, {c = {d = 2}}]\n",
	"a = {b.c = 1, d = [\"}\", ']'], e = 1979-05-27 07:32:00}\r\nf = -0x1\r\n",
	"[a.b]\n[a]\nc = inf\n\"\" = 1\n'\\' = \"\\\\\"\n",
	"\xef\xbb\xbfa = 1\n",
	"a = [\n\n\n{b = 1},\n{b = 2}\n]\n[config.\"pi3+\"]\n\"dtparam+\" = ['a']\n",
}

// FuzzLayout says that the second walk over a text finds the keys that the library finds,
// each with a place, in any text that is TOML.
func FuzzLayout(f *testing.F) {
	for _, s := range texts {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		var v map[string]any
		md, ok := decode(src, &v)
		if !ok {
			return
		}
		at, err := scan(src, md)
		if err != nil && strings.Contains(err.Msg, "nested") {
			return
		}
		if err != nil {
			t.Fatalf("%v in %q: library has %v", err, src, md.Keys())
		}
		lines := bytes.Count([]byte(src), []byte("\n")) + 1
		var walk func(n *node)
		walk = func(n *node) {
			if p, ok := at[n.key]; n.key != "" && (!ok || p.line < 1 || p.line > lines) {
				t.Fatalf("%s is at %v in %q", n.key, p, src)
			}
			m, _ := n.table()
			l, _ := n.list()
			for _, k := range n.order {
				walk(m[k])
			}
			for _, el := range l {
				walk(el)
			}
		}
		walk((&document{}).build(at, "", v))
	})
}

// decode is toml.Decode; the library panics where it finds a mistake of its own.
func decode(src string, v any) (md toml.MetaData, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	md, err := toml.Decode(src, v)
	return md, err == nil
}

// FuzzLoad says that Load takes any bytes without a panic, that all its mistakes have a
// file, and that what it takes can be shown and taken again.
func FuzzLoad(f *testing.F) {
	for _, s := range texts {
		f.Add([]byte(s))
	}
	for _, file := range []string{"testdata/pi4.toml", "testdata/mistakes.txt"} {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	dir := f.TempDir()
	for _, name := range []string{"Image", "a.dtb", "base.toml"} {
		if err := os.WriteFile(dir+"/"+name, nil, 0o644); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		r, err := loadBytes(t, dir, src)
		if err != nil {
			if m := Mistakes(err); len(m) == 0 || slices.ContainsFunc(m, func(e *Error) bool { return e.File == "" || e.Msg == "" }) {
				t.Fatalf("Load(%q) = %#v", src, err)
			}
			return
		}
		var b bytes.Buffer
		if err := r.Show(&b); err != nil {
			t.Fatal(err)
		}
		again, err := loadBytes(t, dir, b.Bytes())
		if err != nil {
			t.Fatalf("Load(%q) shows %q: %v", src, b.String(), err)
		}
		if r.Digest(nil) != again.Digest(nil) {
			t.Fatalf("Load(%q) shows %q, which says something else", src, b.String())
		}
	})
}

func loadBytes(t *testing.T, dir string, src []byte) (*Recipe, error) {
	t.Helper()
	f, err := os.CreateTemp(dir, "*.toml")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(src); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return Load(f.Name())
}
