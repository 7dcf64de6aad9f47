package repack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

type file struct {
	newc.Entry
	body string
}

func dir(name string) file     { return file{newc.Entry{Name: name, Mode: newc.Dir | 0o755}, ""} }
func reg(name, b string) file  { return file{newc.Entry{Name: name, Mode: newc.Regular | 0o644}, b} }
func sym(name, to string) file { return file{newc.Entry{Name: name, Mode: newc.Symlink | 0o777}, to} }
func char(name string, major, minor uint32) file {
	return file{newc.Entry{Name: name, Mode: newc.Char | 0o600, RDev: newc.Device{Major: major, Minor: minor}}, ""}
}
func hard(name, b string, ino uint32) file {
	return file{newc.Entry{Name: name, Mode: newc.Regular | 0o4755, Ino: ino, Links: 2}, b}
}

func add(label string, f file) Add {
	f.Size = int64(len(f.body))
	return Add{Label: label, Entry: f.Entry, Open: Text([]byte(f.body))}
}

func plain(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	cw := newc.NewWriter(&b)
	for n, f := range files {
		f.Size = int64(len(f.body))
		if f.Ino == 0 {
			f.Ino = uint32(1000 + n)
		}
		if err := cw.WriteEntry(f.Entry, strings.NewReader(f.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := cw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pipe(t testing.TB, b []byte, command string) []byte {
	t.Helper()
	args := strings.Fields(command)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return out
}

func pad(b []byte) []byte { return append(b, make([]byte, initrd.Padding(int64(len(b))))...) }

func repack(b []byte, e Edits, o Options) ([]byte, Stats, error) {
	var out bytes.Buffer
	s, err := Repack(context.Background(), bytes.NewReader(b), int64(len(b)), e, &out, o)
	return out.Bytes(), s, err
}

// show is the effective tree with contents, a line for each node.
func show(t testing.TB, b []byte) string {
	t.Helper()
	bodies := map[initrd.Place]string{}
	err := initrd.WalkLimits(bytes.NewReader(b), initrd.Limits{}, func(p initrd.Place, e newc.Entry, body io.Reader) error {
		text, err := io.ReadAll(body)
		bodies[p] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	tree, err := initrd.ReadTree(bytes.NewReader(b), initrd.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	for n := range tree.All() {
		fmt.Fprintf(&s, "%s %o %d:%d time %d", n.Path, n.Mode, n.UID, n.GID, n.Time)
		switch n.Type() {
		case newc.Regular:
			body := bodies[n.Data]
			if len(body) > 40 {
				body = fmt.Sprintf("%d bytes, %08x", len(body), newc.Sum([]byte(body)))
			}
			fmt.Fprintf(&s, " %q", body)
		case newc.Symlink:
			fmt.Fprintf(&s, " -> %s", n.Target)
		case newc.Char:
			fmt.Fprintf(&s, " %d:%d", n.RDev.Major, n.RDev.Minor)
		}
		if n.Names > 1 {
			fmt.Fprintf(&s, " %d names", n.Names)
		}
		s.WriteByte('\n')
	}
	for _, p := range tree.Problems {
		fmt.Fprintf(&s, "! %s\n", p)
	}
	return s.String()
}

var small = []file{
	dir("bin"), hard("bin/a", "", 7), hard("bin/b", "data", 7), dir("dev"), char("dev/console", 5, 1),
	dir("doc"), reg("doc/x", "xx"), dir("doc/sub"), reg("doc/sub/y", "yyy"), reg("etc", "was a file"), sym("sh", "bin/a"),
}

const smallTree = `bin 40755 0:0 time 0
bin/a 104755 0:0 time 0 "data" 2 names
bin/b 104755 0:0 time 0 "data" 2 names
dev 40755 0:0 time 0
dev/console 20600 0:0 time 0 5:1
doc 40755 0:0 time 0
doc/sub 40755 0:0 time 0
doc/sub/y 100644 0:0 time 0 "yyy"
doc/x 100644 0:0 time 0 "xx"
etc 100644 0:0 time 0 "was a file"
sh 120777 0:0 time 0 -> bin/a
`

// tests of edits, with the lines of smallTree that go (-) and come (+).
var edits = []struct {
	name  string
	edits Edits
	minus string
	plus  string
	err   string
}{
	{name: "nothing"},
	{name: "remove below a folder", edits: Edits{Remove: []Remove{{"r:1", "doc/**"}}}, minus: "doc/"},
	{name: "remove a folder", edits: Edits{Remove: []Remove{{"r:1", "doc"}}}, minus: "doc"},
	{name: "remove by name", edits: Edits{Remove: []Remove{{"r:1", "**/[xy]"}}}, minus: "doc/sub/y doc/x"},
	{name: "remove the name with the data", edits: Edits{Remove: []Remove{{"r:1", "bin/b"}}}, minus: "bin/a bin/b",
		plus: "bin/a 104755 0:0 time 0 \"data\"\n"},
	{name: "remove the name without", edits: Edits{Remove: []Remove{{"r:1", "bin/a"}}}, minus: "bin/a bin/b",
		plus: "bin/b 104755 0:0 time 0 \"data\"\n"},
	{name: "chmod one name", edits: Edits{Chmod: []Chmod{{"r:1", "bin/a", 0o700}}}, minus: "bin/a bin/b",
		plus: "bin/a 100700 0:0 time 0 \"data\" 2 names\nbin/b 100700 0:0 time 0 \"data\" 2 names\n"},
	{name: "chown", edits: Edits{Chown: []Chown{{"r:1", "d*/**", 5, -1}, {"r:2", "doc/x", -1, 6}}}, minus: "dev/console doc/",
		plus: "dev/console 20600 5:0 time 0 5:1\ndoc/sub 40755 5:0 time 0\ndoc/sub/y 100644 5:0 time 0 \"yyy\"\ndoc/x 100644 5:6 time 0 \"xx\"\n"},
	{name: "rename a folder", edits: Edits{Rename: []Rename{{"r:1", "doc", "a/b"}}}, minus: "doc",
		plus: "a 40755 0:0 time 9\na/b 40755 0:0 time 0\na/b/sub 40755 0:0 time 0\na/b/sub/y 100644 0:0 time 0 \"yyy\"\na/b/x 100644 0:0 time 0 \"xx\"\n"},
	{name: "rename, then chmod", edits: Edits{Rename: []Rename{{"r:1", "bin/b", "bin/c"}}, Chmod: []Chmod{{"r:2", "bin/c", 0o755}}}, minus: "bin/a bin/b",
		plus: "bin/a 100755 0:0 time 0 \"data\" 2 names\nbin/c 100755 0:0 time 0 \"data\" 2 names\n"},
	{name: "add", edits: Edits{Add: []Add{add("r:1", reg("usr/lib/f", "new")), add("r:2", char("dev/null", 1, 3))}},
		plus: "usr 40755 0:0 time 9\nusr/lib 40755 0:0 time 9\nusr/lib/f 100644 0:0 time 9 \"new\"\ndev/null 20600 0:0 time 9 1:3\n"},
	{name: "replace", edits: Edits{Add: []Add{add("r:1", reg("doc/x", "other")), add("r:2", dir("etc")), add("r:3", sym("etc/l", "x")), add("r:4", reg("sh", "#!"))}},
		minus: "doc/x etc sh", plus: "doc/x 100644 0:0 time 9 \"other\"\netc 40755 0:0 time 9\netc/l 120777 0:0 time 9 -> x\nsh 100644 0:0 time 9 \"#!\"\n"},
	{name: "folder's mode", edits: Edits{Add: []Add{add("r:1", file{newc.Entry{Name: "doc", Mode: newc.Dir | 0o1777, GID: 4}, ""})}},
		minus: "doc$", plus: "doc 41777 0:4 time 0\n"},
	{name: "replace the name with the data", edits: Edits{Add: []Add{add("r:1", reg("bin/b", "own"))}}, minus: "bin/a bin/b",
		plus: "bin/a 104755 0:0 time 0 \"data\"\nbin/b 100644 0:0 time 9 \"own\"\n"},

	{name: "remove nothing", edits: Edits{Remove: []Remove{{"r:1", "doc/*"}, {"r:2", "no/**"}}}, err: `r:2: remove "no/**" matches nothing`},
	{name: "rename nothing", edits: Edits{Rename: []Rename{{"r:1", "no", "yes"}}}, err: `r:1: rename "no" matches nothing`},
	{name: "chmod nothing", edits: Edits{Chmod: []Chmod{{"r:1", "sh", 0o644}}}, err: `r:1: chmod "sh" matches nothing`},
	{name: "chown nothing", edits: Edits{Chown: []Chown{{"r:1", "no", 1, 1}}}, err: `r:1: chown "no" matches nothing`},
	{name: "rename onto a later one", edits: Edits{Rename: []Rename{{"r:1", "bin/a", "sh"}}}, err: "r:1: sh is there already"},
	{name: "rename onto an earlier one", edits: Edits{Rename: []Rename{{"r:1", "sh", "bin/a"}}}, err: "r:1: bin/a is there already"},
	{name: "rename into itself", edits: Edits{Rename: []Rename{{"r:1", "doc", "doc/d"}}}, err: "r:1: doc/d lies below doc"},
	{name: "rename below a later file", edits: Edits{Rename: []Rename{{"r:1", "bin/a", "etc/a"}}}, err: "r:1: needs the folder etc, which is none here"},
	{name: "add below a file", edits: Edits{Add: []Add{add("r:1", reg("etc/f", ""))}}, err: "r:1: etc/f lies below etc, which is no folder"},
	{name: "file over a full folder", edits: Edits{Add: []Add{add("r:1", reg("doc", ""))}}, err: "r:1: takes the place of the folder doc, which has doc/x in it"},
	{name: "add twice", edits: Edits{Add: []Add{add("r:1", reg("f", "")), add("r:2", reg("f", ""))}}, err: "r:2: f is added by r:1 already"},
	{name: "FaultRow27 add outside", edits: Edits{Add: []Add{add("r:1", reg("../f", ""))}}, err: `r:1: path "../f" has to be relative and clean`},
	{name: "FaultRow27 add absolute", edits: Edits{Add: []Add{add("r:1", reg("/f", ""))}}, err: `r:1: path "/f" has to be relative and clean`},
	{name: "FaultRow27 glob outside", edits: Edits{Remove: []Remove{{"r:1", "../**"}}}, err: `r:1: glob "../**" has to be relative and clean`},
	{name: "bad glob", edits: Edits{Remove: []Remove{{"r:1", "a[/b"}}}, err: `r:1: glob "a[/b": close every [`},
	{name: "FaultRow30 long name", edits: Edits{Add: []Add{add("r:1", reg(strings.Repeat("n", 4096), ""))}}, err: "of 4096 bytes, the kernel takes 4095"},
	{name: "FaultRow30 long element", edits: Edits{Add: []Add{add("r:1", reg("a/"+strings.Repeat("n", 256), ""))}}, err: "of 256 bytes, the kernel takes 255"},
	{name: "FaultRow30 rename to a long element", edits: Edits{Rename: []Rename{{"r:1", "sh", strings.Repeat("n", 256)}}}, err: "of 256 bytes, the kernel takes 255"},
	{name: "FaultRow31 body of a node", edits: Edits{Add: []Add{add("r:1", file{newc.Entry{Name: "p", Mode: newc.FIFO}, "x"})}}, err: "r:1: p: 1 bytes without a body"},
	{name: "mode with a type", edits: Edits{Chmod: []Chmod{{"r:1", "sh", 0o100644}}}, err: "r:1: mode 100644 has more than permission bits"},
	{name: "short body", edits: Edits{Add: []Add{{Label: "r:1", Entry: newc.Entry{Name: "f", Mode: newc.Regular, Size: 9}, Open: Text([]byte("x"))}}}, err: "r:1: add f: body of 1 bytes"},
}

// wanted is smallTree without the paths of minus, with the lines of plus.
func wanted(minus, plus string) map[string]bool {
	lines := map[string]bool{}
	for line := range strings.Lines(smallTree) {
		keep := true
		for _, m := range strings.Fields(minus) {
			path, _, _ := strings.Cut(line, " ")
			if exact, ok := strings.CutSuffix(m, "$"); ok && path == exact || !ok && strings.HasPrefix(path, m) {
				keep = false
			}
		}
		if keep {
			lines[line] = true
		}
	}
	for line := range strings.Lines(plus) {
		lines[line] = true
	}
	return lines
}

func TestEdits(t *testing.T) {
	base := plain(t, small...)
	packed := map[string][]byte{
		"gzip": pipe(t, base, "gzip -9c"), "zstd": pipe(t, base, "zstd -qc"), "xz": pipe(t, base, "xz -c --check=crc32"),
		"bzip2": pipe(t, base, "bzip2 -c"), "lzma": pipe(t, base, "lzma -c"), "lz4": pipe(t, base, "lz4 -lqc"), "plain": base,
	}
	for _, tt := range edits {
		t.Run(tt.name, func(t *testing.T) {
			for format, b := range packed {
				got, _, err := repack(b, tt.edits, Options{Epoch: 9})
				if tt.err != "" {
					if err == nil || !strings.Contains(err.Error(), tt.err) {
						t.Fatalf("%s: error %v, want %q", format, err, tt.err)
					}
					continue
				}
				if err != nil {
					t.Fatalf("%s: %v", format, err)
				}
				lines := map[string]bool{}
				for line := range strings.Lines(show(t, got)) {
					lines[line] = true
				}
				if d := cmp.Diff(wanted(tt.minus, tt.plus), lines); d != "" {
					t.Errorf("%s: tree (-want +got):\n%s", format, d)
				}
			}
		})
	}
}

// A name that brought the data goes first, and the one that stays comes later.
func TestDataOfARemovedHardLinkIsKept(t *testing.T) {
	base := plain(t, hard("a", "data", 7), reg("m", ""), hard("b", "", 7), hard("c", "", 7))
	got, _, err := repack(base, Edits{Remove: []Remove{{"r:1", "a"}}}, Options{Format: codec.Gzip})
	want := "b 104755 0:0 time 0 \"data\" 2 names\nc 104755 0:0 time 0 \"data\" 2 names\nm 100644 0:0 time 0 \"\"\n"
	if err != nil || show(t, got) != want {
		t.Errorf("%v, tree\n%s", err, show(t, got))
	}
}

// large is some MB with text, noise and names all over.
func large(t testing.TB, n int) []byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	files := []file{dir("d"), dir("e")}
	for i := range n {
		var body []byte
		for size := int(rnd.Uint32() % 60_000); len(body) < size; {
			if i%5 == 0 {
				body = append(body, byte(rnd.Uint32()))
			} else {
				body = fmt.Appendf(body, "%d: file %d of %x\n", len(body), i, rnd.Uint32()%9999)
			}
		}
		files = append(files, reg(fmt.Sprintf("d/%04d", i), string(body)))
	}
	return plain(t, files...)
}

// Spans are re-used, and what comes out is what encoding everything gives.
func TestSpansAreReused(t *testing.T) {
	base := large(t, 400) // more than what is decoded ahead
	e := Edits{
		Remove: []Remove{{"r:1", "d/0017"}, {"r:2", "d/01[24]?"}},
		Chmod:  []Chmod{{"r:3", "d/0033", 0o4755}},
		Rename: []Rename{{"r:4", "d/0044", "e/a-much-longer-name-than-before"}},
		Add:    []Add{add("r:5", reg("d/0050", strings.Repeat("new ", 9999))), add("r:6", reg("z", "z"))},
	}
	packed := map[string][]byte{}
	for _, level := range []string{"gzip -1c", "gzip -6c", "gzip -9c"} {
		packed[level] = pipe(t, base, level)
	}
	for name, e := range map[string]Edits{"no edits": {}, "edits": e} {
		want, _, err := repack(base, e, Options{Format: codec.None})
		if err != nil {
			t.Fatal(err)
		}
		if name == "no edits" && !bytes.Equal(want, base) {
			t.Error("the plain data of a base without edits differs")
		}
		for level, packed := range packed {
			reused, stats, err := repack(packed, e, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got := pipe(t, reused, "gzip -dc"); !bytes.Equal(got, want) {
				t.Errorf("%s, %s: the plain data differs", level, name)
			}
			share := float64(stats.Reused) / float64(stats.Written)
			if share < 0.5 || name == "no edits" && share < 0.99 {
				t.Errorf("%s, %s: %.0f %% were re-used", level, name, 100*share)
			}
		}
	}
}

func TestBytesDoNotDependOnProcessors(t *testing.T) {
	packed := pipe(t, large(t, 100), "gzip -9c")
	e := Edits{Chmod: []Chmod{{"r:3", "d/00?3", 0o600}}, Add: []Add{add("r:1", reg("z", strings.Repeat("zz", 1<<20)))}}
	for _, f := range []codec.Format{codec.Gzip, codec.Zstd, codec.None} {
		var want []byte
		for _, procs := range []int{1, 2, 5} {
			old := runtime.GOMAXPROCS(procs)
			got, _, err := repack(packed, e, Options{Format: f, Level: codec.Default})
			runtime.GOMAXPROCS(old)
			if want == nil {
				want = got
			}
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: other bytes with %d processors, %v", f, procs, err)
			}
		}
	}
}

func TestArchivesInARowStayApart(t *testing.T) {
	early := plain(t, dir("kernel"), reg("kernel/x", "early"))
	two := append(plain(t, dir("d"), hard("d/a", "1", 7)), plain(t, hard("d/b", "2", 7))...)
	for name, base := range map[string][]byte{
		"early plain":   append(bytes.Clone(early), pipe(t, two, "gzip -9c")...),
		"xz, NUL, zstd": append(append(pipe(t, early, "xz -c"), 0, 0, 0, 0, 0), pipe(t, two, "zstd -qc")...),
		"plain plain":   append(bytes.Clone(early), two...),
		"gzip gzip NUL": append(append(pipe(t, early, "gzip -c"), pipe(t, two, "gzip -c")...), make([]byte, 999)...),
	} {
		t.Run(name, func(t *testing.T) {
			want := show(t, base) + "new 100644 0:0 time 0 \"x\"\n"
			got, stats, err := repack(base, Edits{Add: []Add{add("r:1", reg("new", "x"))}}, Options{})
			if err != nil || len(got)%4 != 0 {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			if d := cmp.Diff(want, show(t, got)); d != "" {
				t.Errorf("tree (-want +got):\n%s", d)
			}
			if name == "early plain" && (!bytes.HasPrefix(got, early) || codec.Detect(got[len(early):]) != codec.Gzip || stats.Archives != 2) {
				t.Errorf("the early archive has changed: %+v", stats)
			}
		})
	}
}

func TestDamageIsAnError(t *testing.T) {
	base := plain(t, small...)
	gz := pipe(t, base, "gzip -9nc")
	broken := func(at int) []byte {
		b := bytes.Clone(gz)
		b[at] ^= 1
		return b
	}
	raw := func(name string) []byte {
		return newc.AppendHeader(newc.AppendHeader(nil, newc.Entry{Name: name, Mode: newc.Dir}), newc.Entry{Name: newc.Trailer})
	}
	for _, tt := range []struct {
		name string
		b    []byte
		want string
	}{
		{"empty", nil, "unknown data"},
		{"junk", append(pad(bytes.Clone(gz)), "junk"...), "archive 2: unknown data 6a 75 6e 6b"},
		{"truncated gzip", gz[:len(gz)-9], "unexpected EOF"},
		{"truncated trailer", gz[:len(gz)-4], "unexpected EOF"},
		{"checksum", broken(len(gz) - 6), "checksum or length is wrong"},
		{"length", broken(len(gz) - 3), "checksum or length is wrong"},
		{"truncated plain", base[:len(base)-130], "inside an entry or without a trailer"},
		{"bad header", bytes.Replace(base, []byte("070701"), []byte("07070x"), 1)[6:], "unknown data"},
		{"misaligned", append(append(bytes.Clone(pad(gz)), 0), base...), "multiples of 4"},
		{"FaultRow27 absolute", raw("/abs"), `archive 1: entry "/abs" at byte 0: the name leads out of the tree`},
		{"FaultRow27 upwards", raw("a/../../b"), `archive 1: entry "a/../../b" at byte 0: the name leads out of the tree`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, err := repack(tt.b, Edits{}, Options{}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestFaultRow29And30LimitsStopGrowth(t *testing.T) {
	bomb := plain(t, reg("zeros", string(make([]byte, 80<<20))))
	for _, tool := range []string{"gzip -9c", "zstd -qc", "xz -0c"} {
		b := pipe(t, bomb, tool)
		for _, o := range []Options{{Limits: initrd.Limits{Ratio: 50}}, {Limits: initrd.Limits{Limits: newc.Limits{Size: 1 << 20}}}} {
			if _, _, err := repack(b, Edits{}, o); !errors.Is(err, newc.ErrLimit) || !strings.Contains(err.Error(), `entry "zeros"`) {
				t.Errorf("%s: %v", tool, err)
			}
		}
	}
	_, _, err := repack(plain(t, small...), Edits{}, Options{Limits: initrd.Limits{Limits: newc.Limits{Entries: 3}}})
	if !errors.Is(err, newc.ErrLimit) || !strings.Contains(err.Error(), `entry "dev" at byte`) {
		t.Errorf("entries: %v", err)
	}
}

func TestCancelledRepackStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b := pipe(t, plain(t, small...), "gzip -c")
	before := runtime.NumGoroutine()
	if _, err := Repack(ctx, bytes.NewReader(b), int64(len(b)), Edits{}, io.Discard, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines, %d before", after, before)
	}
}

// Whatever the edits, re-used spans and encoding anew give the same plain data.
func FuzzSpans(f *testing.F) {
	f.Add([]byte{3, 99, 3, 7, 8, 9, 10, 11}, 6)
	base := large(f, 60)
	packed := [][]byte{pipe(f, base, "gzip -1c"), pipe(f, base, "gzip -9c")}
	f.Fuzz(func(t *testing.T, at []byte, level int) {
		var e Edits
		for n, i := range at[:min(len(at), 12)] {
			name := fmt.Sprintf("d/%04d", i%60)
			label := fmt.Sprint("r:", n)
			switch n % 4 {
			case 0:
				e.Remove = append(e.Remove, Remove{label, name})
			case 1:
				e.Chmod = append(e.Chmod, Chmod{label, name, uint32(i)})
			case 2:
				e.Rename = append(e.Rename, Rename{label, name, "e/" + strings.Repeat("n", int(i)) + label})
			case 3:
				e.Chown = append(e.Chown, Chown{label, name, int64(i), 7})
			}
		}
		b := packed[uint(level)%2]
		one, _, err1 := repack(b, e, Options{})
		two, _, err2 := repack(b, e, Options{Format: codec.None})
		if (err1 == nil) != (err2 == nil) {
			t.Fatal(err1, err2)
		}
		if err1 == nil && !bytes.Equal(pipe(t, one, "gzip -dc"), two) {
			t.Errorf("edits %+v: the plain data differs", e)
		}
	})
}
