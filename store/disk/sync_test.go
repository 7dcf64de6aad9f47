package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/store"
)

// syncs notes what each fsync makes durable, as it is at that moment: the bytes of a
// file or the names in a folder, and the objects that are visible by then. Between two
// syncs it has a line for each named point of a write.
type syncs struct {
	root  string
	lines []string
}

func (s *syncs) sync(f *os.File) error {
	name, err := filepath.Rel(s.root, f.Name())
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		s.note("folder %s: %s", name, strings.Join(namesIn(f.Name()), " "))
	} else {
		kind, _, _ := strings.Cut(name, "-") // the rest of a temporary's name is random
		s.note("file %s: %04o %s", kind, info.Mode(), content(f.Name()))
	}
	return f.Sync()
}

func (s *syncs) point(name, _ string) error {
	if strings.HasSuffix(name, ".linked") || strings.HasSuffix(name, ".dirsynced") {
		s.note("%s", name)
	}
	return nil
}

func (s *syncs) note(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

// take returns the lines since the last take.
func (s *syncs) take() []string {
	lines := s.lines
	s.lines = nil
	return lines
}

// namesIn are the names in dir.
func namesIn(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return []string{err.Error()}
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// content is what the file at path holds, and an error where it has another name by now
// or a second one.
func content(path string) string {
	doc, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	var stat syscall.Stat_t
	if err := syscall.Stat(path, &stat); err != nil || stat.Nlink != 1 {
		return fmt.Sprintf("has %d names, %v", stat.Nlink, err)
	}
	return string(doc)
}

// TestSyncOrder: the bytes of an object are durable before it has its name, and its name
// and those of new folders are before the write returns.
func TestSyncOrder(t *testing.T) {
	root := t.TempDir()
	log := &syncs{root: root}
	b, err := OpenHooked(filepath.Join(root, "new", "store"), Hooks{Sync: log.sync, Point: log.point})
	if err != nil {
		t.Fatal(err)
	}
	put := func(key, doc string) func() error {
		return func() error { return b.Put(t.Context(), key, store.Bytes([]byte(doc))) }
	}
	create := func(key, doc string) func() error {
		return func() error { return b.Create(t.Context(), key, []byte(doc)) }
	}
	steps := []struct {
		name string
		do   func() error
		want []string
	}{
		{"open", func() error { return nil }, nil},
		{"put in new folders", put("a/b/one", "first"), []string{
			"folder .: new",
			"folder new: store",
			"folder new/store: tmp",
			"file new/store/tmp/blob: 0444 first",
			"folder new/store: a tmp",
			"folder new/store/a: b",
			"blob.linked",
			"folder new/store/a/b: one",
			"blob.dirsynced",
		}},
		{"put beside it", put("a/b/two", "second"), []string{
			"file new/store/tmp/blob: 0444 second",
			"blob.linked",
			"folder new/store/a/b: one two",
			"blob.dirsynced",
		}},
		{"create", create("a/c", "entry"), []string{
			"file new/store/tmp/log: 0444 entry",
			"log.linked",
			"folder new/store/a: b c",
			"log.dirsynced",
		}},
		{"create again, as after a lost answer", create("a/c", "entry"), []string{
			"file new/store/tmp/log: 0444 entry",
			"folder new/store/a: b c",
		}},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if diff := cmp.Diff(step.want, log.take()); diff != "" {
			t.Errorf("%s: syncs, want -, got +:\n%s", step.name, diff)
		}
	}
}

// Row 6 of the fault table: a write whose bytes or name may be lost is not reported as done.
func TestFaultRow06FailedSync(t *testing.T) {
	for _, failing := range []string{"file", "folder"} {
		b := open(t, t.TempDir())
		if err := b.Put(t.Context(), "a/b", store.Bytes(nil)); err != nil {
			t.Fatal(err)
		}
		synced := map[string]int{}
		b.hooks.Sync = func(f *os.File) error {
			if info, err := f.Stat(); err != nil || info.IsDir() == (failing == "folder") {
				synced[f.Name()]++
				return syscall.EIO
			}
			return f.Sync()
		}
		for name, err := range map[string]error{
			"Put":          b.Put(t.Context(), "a/c", store.Bytes([]byte("x"))),
			"Create":       b.Create(t.Context(), "a/d", []byte("x")),
			"Create again": b.Create(t.Context(), "a/d", []byte("x")),
		} {
			if err == nil {
				t.Errorf("%s where the sync of the %s fails = nil; want an error", name, failing)
			}
		}
		if got := temps(t, b.dir); len(got) != 0 {
			t.Errorf("temporaries left: %q", got)
		}
		// The kernel may call lost pages clean after it has told of them once.
		for name, n := range synced {
			if failing == "file" && n != 1 {
				t.Errorf("%s was synced %d times; want once, whatever came of it", name, n)
			}
		}
	}
}

// TestOpenSyncs: what Open gives its buckets is fsync(2), which a pipe does not have.
func TestOpenSyncs(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if err := open(t, t.TempDir()).hooks.Sync(w); err == nil {
		t.Error("sync of a pipe = nil; want fsync's error")
	}
}
