package layout_test

import (
	"archive/tar"
	"bytes"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"piimg/store"
	"piimg/store/layout"
)

// tarEntry is a header and its content.
type tarEntry struct {
	tar.Header
	content string
}

// archive packs files, in the order of their names, and then more.
func archive(t testing.TB, files map[string]string, more ...tarEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		more = append(more, tarEntry{tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name]))}, files[name]})
	}
	for _, e := range more {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// exported is a layout with one signed image, by the names of its files.
func exported(t *testing.T) (store.Digest, map[string]string) {
	t.Helper()
	s := newStore(t)
	d := publish(t, s, "fleet", "overlay", "signed")
	folder, _ := write(t, s, d)
	files := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		doc, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, folder+"/")] = string(doc)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return d, files
}

// read opens and verifies an archive.
func read(t testing.TB, doc []byte) ([]store.Digest, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.tar")
	if err := os.WriteFile(file, doc, 0o644); err != nil {
		t.Fatal(err)
	}
	return verify(t, file)
}

func verify(t testing.TB, path string) ([]store.Digest, error) {
	t.Helper()
	l, err := layout.Open(t.Context(), path)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.Images, l.Verify(t.Context())
}

func TestHostileArchives(t *testing.T) {
	d, files := exported(t)
	manifest := store.BlobKey(d)
	kernel := store.BlobKey(store.Sum([]byte(strings.Repeat("kernel ", 20_000))))
	index := files["index.json"]
	with := func(name, text string) map[string]string {
		changed := maps.Clone(files)
		changed[name] = text
		return changed
	}
	without := func(name string) map[string]string {
		changed := maps.Clone(files)
		delete(changed, name)
		return changed
	}
	link := func(kind byte, name, to string) tarEntry {
		return tarEntry{tar.Header{Typeflag: kind, Name: name, Linkname: to, Mode: 0o644}, ""}
	}
	plain := func(name string) tarEntry { return tarEntry{tar.Header{Name: name, Mode: 0o644, Size: 1}, "x"} }
	whole := archive(t, files)
	if got, err := read(t, whole); err != nil || len(got) != 1 || got[0] != d {
		t.Fatalf("what nobody has changed: %v, %v", got, err)
	}
	for name, tt := range map[string]struct {
		doc  []byte
		want string
	}{
		"empty":                          {nil, "it has no oci-layout"},
		"no archive":                     {[]byte(strings.Repeat("no archive ", 100)), "it is no whole tar archive"},
		"compressed":                     {[]byte("\x1f\x8b\x08\x00 and so on"), "it is compressed"},
		"path out of the folder":         {archive(t, files, plain("../../etc/passwd")), `entry "../../etc/passwd" leads out of the layout`},
		"path within that leads out":     {archive(t, files, plain("blobs/../../x")), `leads out of the layout`},
		"absolute path":                  {archive(t, files, plain("/etc/passwd")), `entry "/etc/passwd" leads out of the layout`},
		"path with a backslash":          {archive(t, files, plain(`..\x`)), `leads out of the layout`},
		"symbolic link":                  {archive(t, without(kernel), link(tar.TypeSymlink, kernel, "/dev/zero")), "is no plain file"},
		"hard link":                      {archive(t, files, link(tar.TypeLink, "x", kernel)), "is no plain file"},
		"device":                         {archive(t, files, link(tar.TypeChar, "x", "")), "is no plain file"},
		"sparse file":                    {sparse(t, "gnu"), "is no plain file"},
		"sparse file, the other way":     {sparse(t, "pax"), "is no plain file"},
		"entry twice":                    {archive(t, files, plain("oci-layout")), `entry "oci-layout" comes twice`},
		"no layout file":                 {archive(t, without("oci-layout")), "it is no OCI image layout: it has no oci-layout"},
		"another version":                {archive(t, with("oci-layout", `{"imageLayoutVersion":"2.0.0"}`)), `names version "2.0.0"`},
		"layout file that is long":       {archive(t, with("oci-layout", strings.Repeat(" ", 5000))), "its oci-layout has 5000 bytes"},
		"no index":                       {archive(t, without("index.json")), "it has no index.json"},
		"index that is no JSON":          {archive(t, with("index.json", "{")), "its index.json is no index"},
		"index that is deep":             {archive(t, with("index.json", strings.Repeat(`{"a":`, 100_000))), "its index.json is no index"},
		"index of nothing":               {archive(t, with("index.json", `{"schemaVersion":2,"manifests":[]}`)), "it has no image of piimg"},
		"size that is wrong":             {archive(t, with("index.json", strings.Replace(index, `"size":`, `"size":1`, 1))), "corrupt"},
		"manifest gone":                  {archive(t, without(manifest)), "not exist"},
		"blob gone":                      {archive(t, without(kernel)), "(kernel8.img)"},
		"blob cut":                       {archive(t, with(kernel, "kernel")), "has 6 bytes, not 140000"},
		"blob of the same size":          {archive(t, with(kernel, strings.Repeat("KERNEL ", 20_000))), "the bytes hash to"},
		"manifest that grew":             {archive(t, with(manifest, files[manifest]+" ")), "corrupt"},
		"record of another image":        {archive(t, with("index.json", strings.Replace(index, `\"image\":\"`+d.String()[:30], `\"image\":\"sha256:00000000000000000000000`, 1))), "no record of that image"},
		"record that is no record":       {archive(t, with("index.json", strings.Replace(index, `\"actor\"`, `\"actor`, 1))), "corrupt"},
		"record with control characters": {archive(t, with("index.json", strings.Replace(index, "alice ", `al\\u001bice `, 1))), "control character"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(t, tt.doc)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %q in one line", err, tt.want)
			}
		})
	}
	for n := 0; n < len(whole)-1024-512; n += 997 { // the end may lack its mark and the padding before it
		if _, err := read(t, whole[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes passed", n, len(whole))
		}
	}
}

// sparse is an archive by GNU tar with an entry of a gigabyte that is not in it.
func sparse(t *testing.T, format string) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "oci-layout"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "oci-layout"), 1<<30); err != nil {
		t.Fatal(err)
	}
	doc, err := exec.Command("tar", "-C", dir, "-S", "--format="+format, "-c", "oci-layout").Output()
	if err != nil || len(doc) > 1<<20 {
		t.Fatalf("%d bytes, %v", len(doc), err)
	}
	return doc
}

// A folder is read as it is: links in it are not followed, and what is no part of a layout is
// not looked at.
func TestHostileFolders(t *testing.T) {
	d, files := exported(t)
	kernel := store.BlobKey(store.Sum([]byte(strings.Repeat("kernel ", 20_000))))
	lay := func() string {
		dir := t.TempDir()
		for name, text := range files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	dir := lay()
	for _, name := range []string{"README", "blobs/sha256/notes.txt", "blobs/x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := verify(t, dir); err != nil || got[0] != d {
		t.Errorf("with other files in it: %v, %v", got, err)
	}
	outside := filepath.Join(t.TempDir(), "kernel")
	if err := os.Rename(filepath.Join(dir, kernel), outside); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, kernel)); err != nil {
		t.Fatal(err)
	}
	if _, err := verify(t, dir); err == nil || !strings.Contains(err.Error(), "kernel8.img") {
		t.Errorf("with a link to a blob: %v", err)
	}
	if _, err := verify(t, t.TempDir()); err == nil || !strings.Contains(err.Error(), "it has no blobs") {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := verify(t, "/dev/null"); err == nil || !strings.Contains(err.Error(), "neither a file nor a folder") {
		t.Errorf("a device: %v", err)
	}
}

// FuzzArchive: whatever an archive holds, reading it ends with an error of one line or with
// images that are whole.
func FuzzArchive(f *testing.F) {
	text := `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + store.Sum([]byte("{}")).String() + `","size":2}]}`
	f.Add(archive(f, map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": text, store.BlobKey(store.Sum([]byte("{}"))): "{}"}))
	f.Fuzz(func(t *testing.T, doc []byte) {
		images, err := read(t, doc)
		if err == nil && len(images) == 0 || err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, %q", images, err)
		}
	})
}
