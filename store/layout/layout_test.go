package layout_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"piimg/store"
	"piimg/store/layout"
	"piimg/store/mem"
)

func newStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Init(t.Context(), mem.New())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *store.Store, text string) store.Blob {
	t.Helper()
	c := store.Bytes([]byte(text))
	if _, err := s.Blobs().Put(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c.Blob()
}

// publish publishes an image called name: a kernel that all share, an initramfs in two parts,
// of which text is the second, and an empty file. It has a signature where one is given.
func publish(t *testing.T, s *store.Store, name, text, signature string) store.Digest {
	t.Helper()
	base := strings.Repeat("base ", 1000)
	i := store.Image{Name: name, Boards: []string{"pi4b"}, Config: put(t, s, `{"name":"`+name+`"}`), Files: []store.File{
		store.NewFile("empty", 0o644, put(t, s, "")),
		{Path: "initramfs", Mode: 0o644, Size: int64(len(base + text)), Digest: store.Sum([]byte(base + text)), Parts: []store.Blob{put(t, s, base), put(t, s, text)}},
		store.NewFile("kernel8.img", 0o755, put(t, s, strings.Repeat("kernel ", 20_000))),
	}}
	d, err := s.PutImage(t.Context(), i, store.Record{Name: name, Actor: "alice <a&b>", Recipe: "r.toml", Time: time.Unix(1_700_000_000, 5).UTC()})
	if err != nil {
		t.Fatal(err)
	}
	if signature == "" {
		return d
	}
	subject, err := s.Blobs().Find(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := store.EncodeReferrer(store.Referrer{Subject: subject, Type: "application/vnd.test.signature", Media: "text/plain", Content: []store.Blob{put(t, s, signature)}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutReferrer(t.Context(), doc); err != nil {
		t.Fatal(err)
	}
	return d
}

// shown is all that a store says of an image.
func shown(t *testing.T, s *store.Store, d store.Digest) string {
	t.Helper()
	i, err := s.Image(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Record(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%+v\n%+v\n", *i, r)
	for r, err := range s.Referrers(t.Context(), d) {
		if err != nil {
			t.Fatal(err)
		}
		text += string(r.Doc) + "\n"
	}
	return text
}

// write writes the images as a folder and as an archive.
func write(t *testing.T, s *store.Store, images ...store.Digest) (folder, file string) {
	t.Helper()
	dir := t.TempDir()
	folder, file = filepath.Join(dir, "images"), filepath.Join(dir, "images.tar")
	if err := layout.WriteDir(t.Context(), s, folder, images, layout.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := layout.WriteFile(t.Context(), s, file, images, layout.Options{}); err != nil {
		t.Fatal(err)
	}
	return folder, file
}

func TestThereAndBack(t *testing.T) {
	s := newStore(t)
	images := []store.Digest{publish(t, s, "one", "a", ""), publish(t, s, "two", "b", "signed by bob"), publish(t, s, "two", "c", "")}
	folder, file := write(t, s, images...)
	for _, path := range []string{folder, file} {
		l, err := layout.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := l.Verify(t.Context()); err != nil {
			t.Error(err)
		}
		if len(l.Images) != 3 || l.Foreign != 0 {
			t.Errorf("%d images and %d foreign entries", len(l.Images), l.Foreign)
		}
		for _, d := range images {
			if d := cmp.Diff(shown(t, s, d), shown(t, l.Store(), d)); d != "" {
				t.Errorf("%s (-want +got):\n%s", path, d)
			}
		}
	}
}

// The same images are the same bytes, in whatever order they are named, and from any store.
func TestSameBytes(t *testing.T) {
	var all [][]byte
	for n := range 2 {
		s := newStore(t)
		images := []store.Digest{publish(t, s, "one", "a", ""), publish(t, s, "two", "b", "signed")}
		if n == 1 {
			images = []store.Digest{images[1], images[0], images[1]}
		}
		_, file := write(t, s, images...)
		doc, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, doc)
	}
	if !bytes.Equal(all[0], all[1]) {
		t.Error("two archives of the same images differ")
	}
	const want = "sha256:18ee4922cf20"
	if got := store.Sum(all[0]).Short(); got != want {
		t.Errorf("the archive is %s, want %s: whoever changes the format changes this on purpose", got, want)
	}
}

func TestNamesInTheIndex(t *testing.T) {
	s := newStore(t)
	folder, _ := write(t, s, publish(t, s, "pi4 (räck)", "a", ""), publish(t, s, "twice", "b", ""), publish(t, s, "twice", "c", ""), publish(t, s, "", "d", ""))
	doc, err := os.ReadFile(filepath.Join(folder, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`ref.name":"pi4--r-ck"`, `ref.name":"twice-`} {
		if !strings.Contains(string(doc), want) {
			t.Errorf("%s is not in %s", want, doc)
		}
	}
}

// What is in the way is not written over, but for an archive, and what fails leaves nothing.
func TestWriteLeavesNothingHalf(t *testing.T) {
	b := mem.New()
	s, err := store.Init(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	d := publish(t, s, "one", "a", "")
	folder, file := write(t, s, d)
	if err := layout.WriteDir(t.Context(), s, folder, []store.Digest{d}, layout.Options{}); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("into a folder with a layout: %v", err)
	}
	empty := t.TempDir()
	if err := layout.WriteDir(t.Context(), s, empty+"/", []store.Digest{d}, layout.Options{}); err != nil {
		t.Errorf("into an empty folder: %v", err)
	}
	if _, err := verify(t, empty); err != nil {
		t.Error(err)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	i, err := s.Image(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), store.BlobKey(i.Files[2].Digest), store.Bytes([]byte(strings.Repeat("KERNEL ", 20_000)))); err != nil {
		t.Fatal(err)
	}
	for path, write := range map[string]error{
		file:                              layout.WriteFile(t.Context(), s, file, []store.Digest{d}, layout.Options{}),
		filepath.Join(t.TempDir(), "new"): layout.WriteDir(t.Context(), s, filepath.Join(filepath.Dir(file), "new"), []store.Digest{d}, layout.Options{}),
	} {
		if write == nil || !strings.Contains(write.Error(), "corrupt") {
			t.Errorf("%s: %v", path, write)
		}
	}
	after, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the archive that was there: %v", err)
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) != 2 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// crane and oras read what was written, find it valid, and what they make of it comes back
// with the same digest; oras takes signatures along.
func TestForeignLibraries(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "foreign")
	if out, err := exec.Command("go", "build", "-C", "testdata/foreign", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s, out := newStore(t), t.TempDir()
	d := publish(t, s, "fleet", "a", "signed")
	folder, file := write(t, s, d, publish(t, s, "other", "b", ""))
	cmd := exec.Command(bin, folder, file, "fleet", d.String(), out)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil || string(text) != "3 1\n" {
		t.Fatalf("%v, %q; want three valid manifests, one of which refers to the image", err, text)
	}
	comesBack(t, s, filepath.Join(out, "crane"), d, 0)
	comesBack(t, s, filepath.Join(out, "oras"), d, 1)
}

// skopeo copies from a folder and from an archive, and says what it copies.
func TestSkopeo(t *testing.T) {
	s, out := newStore(t), t.TempDir()
	d := publish(t, s, "fleet", "a", "signed")
	folder, file := write(t, s, d)
	raw, err := exec.Command("skopeo", "inspect", "--raw", "oci:"+folder+":fleet").Output()
	if err != nil || store.Sum(raw) != d {
		t.Errorf("inspect = %d bytes, %v", len(raw), err)
	}
	for n, from := range []string{"oci:" + folder, "oci-archive:" + file} {
		to := filepath.Join(out, fmt.Sprint(n))
		if text, err := exec.Command("skopeo", "--insecure-policy", "copy", from+":fleet", "oci:"+to+":fleet").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		comesBack(t, s, to, d, 0)
	}
}

// comesBack reads image d of s from a layout that somebody else has written.
func comesBack(t *testing.T, s *store.Store, path string, d store.Digest, referrers int) {
	t.Helper()
	l, err := layout.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	got, err := l.Store().Image(t.Context(), d)
	want, werr := s.Image(t.Context(), d)
	if diff := cmp.Diff(want, got); err != nil || werr != nil || diff != "" {
		t.Errorf("%s: %v, %v (-want +got):\n%s", path, err, werr, diff)
	}
	n := 0
	for _, err := range l.Store().Referrers(t.Context(), d) {
		if n++; err != nil {
			t.Error(err)
		}
	}
	if n != referrers {
		t.Errorf("%s has %d referrers, want %d", path, n, referrers)
	}
}
