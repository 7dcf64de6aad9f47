package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/store"
	"piimg/store/mem"
)

func object(t *testing.T, b store.Bucket, key string) string {
	t.Helper()
	r, err := b.Get(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	doc, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

func putObject(t *testing.T, b store.Bucket, key, doc string) {
	t.Helper()
	if err := b.Put(t.Context(), key, store.Bytes([]byte(doc))); err != nil {
		t.Fatal(err)
	}
}

func deleteObject(t *testing.T, b store.Bucket, key string) {
	t.Helper()
	if err := b.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

func putBlob(t *testing.T, s *store.Store, doc string) store.Blob {
	t.Helper()
	c := store.Bytes([]byte(doc))
	if _, err := s.Blobs().Put(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c.Blob()
}

// newImage is an image whose blobs are in s: a kernel, and an initramfs of two parts.
func newImage(t *testing.T, s *store.Store) store.Image {
	t.Helper()
	whole := "base and overlay"
	return store.Image{
		Name: "test", Boards: []string{"pi4b"}, Config: putBlob(t, s, "{}"),
		Files: []store.File{
			{Path: "initramfs", Mode: 0o644, Digest: store.Sum([]byte(whole)), Size: int64(len(whole)),
				Parts: []store.Blob{putBlob(t, s, "base and "), putBlob(t, s, "overlay")}},
			store.NewFile("kernel8.img", 0o644, putBlob(t, s, "kernel")),
		},
	}
}

func TestInit(t *testing.T) {
	b := mem.New()
	if _, err := store.Open(t.Context(), b); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of an empty bucket = %v; want fs.ErrNotExist", err)
	}
	ids := make([]string, 8)
	var racers sync.WaitGroup
	for n := range ids {
		racers.Go(func() {
			s, err := store.Init(t.Context(), b)
			if err != nil {
				t.Errorf("Init = %v", err)
				return
			}
			ids[n] = s.ID()
		})
	}
	racers.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Errorf("ids of one store: %q", ids)
		}
	}
	if got := object(t, b, "oci-layout"); got != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout = %s", got)
	}
}

// TestInitFails: the bucket's error is passed on, and says once what was not created.
func TestInitFails(t *testing.T) {
	full := errors.New("the disk is full")
	for _, key := range []string{"oci-layout", "piimg-store.json"} {
		_, err := store.Init(t.Context(), noCreate{mem.New(), key, full})
		if want := "make a store: create " + key + ": the disk is full"; !errors.Is(err, full) || err.Error() != want {
			t.Errorf("Init = %v; want %s", err, want)
		}
	}
}

// noCreate is a bucket where one object cannot be created.
type noCreate struct {
	store.Bucket
	key string
	err error
}

func (b noCreate) Create(ctx context.Context, key string, doc []byte) error {
	if key == b.key {
		return fmt.Errorf("create %s: %w", key, b.err)
	}
	return b.Bucket.Create(ctx, key, doc)
}

func TestOpenRefuses(t *testing.T) {
	for doc, want := range map[string]string{
		"":                        "not a piimg store",
		"{":                       "not a piimg store",
		`{"format":1}`:            "not a piimg store",
		`{"format":2,"id":"x"}`:   "format 2, this piimg knows format 1",
		strings.Repeat(" ", 1e5):  "more than",
		`{"format":"1","id":"x"}`: "not a piimg store",
	} {
		b := mem.New()
		putObject(t, b, "piimg-store.json", doc)
		for name, open := range map[string]func() (*store.Store, error){
			"Open": func() (*store.Store, error) { return store.Open(t.Context(), b) },
			"Init": func() (*store.Store, error) { return store.Init(t.Context(), b) },
		} {
			if _, err := open(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s with %.30q = %v; want %q in the error", name, doc, err, want)
			}
		}
	}
}

func TestBlobs(t *testing.T) {
	s := newStore(t)
	blobs, c := s.Blobs(), store.Bytes([]byte("content"))
	for n, want := range []bool{true, false} {
		if wrote, err := blobs.Put(t.Context(), c); err != nil || wrote != want {
			t.Errorf("Put number %d = %v, %v; want %v", n+1, wrote, err, want)
		}
	}
	if got, err := blobs.Read(t.Context(), c.Blob(), 7); err != nil || string(got) != "content" {
		t.Errorf("Read = %q, %v", got, err)
	}
	if _, err := blobs.Read(t.Context(), c.Blob(), 6); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Read of 7 bytes with a limit of 6 = %v; want ErrCorrupt", err)
	}
	if b, err := blobs.Find(t.Context(), c.Digest); err != nil || b != c.Blob() {
		t.Errorf("Find = %+v, %v", b, err)
	}
	if _, err := blobs.Find(t.Context(), store.Sum(nil)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Find(absent) = %v; want fs.ErrNotExist", err)
	}
	if _, err := blobs.Open(t.Context(), store.Bytes(nil).Blob()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open(absent) = %v; want fs.ErrNotExist", err)
	}
}

// TestDamagedBlob: damage is never passed on as content, and of another size it is repaired.
func TestDamagedBlob(t *testing.T) {
	s := newStore(t)
	c := store.Bytes([]byte("the right bytes"))
	for doc, repaired := range map[string]bool{"": true, "the right": true, "the right bytes, and more": true, "the wrong bytes": false} {
		putObject(t, s.Bucket(), store.BlobKey(c.Digest), doc)
		if got, err := s.Blobs().Read(t.Context(), c.Blob(), 100); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("Read of %q = %q, %v; want ErrCorrupt", doc, got, err)
		}
		if have, err := s.Blobs().Has(t.Context(), c.Blob()); err != nil || have == repaired {
			t.Errorf("Has with %q = %v, %v; want %v", doc, have, err, !repaired)
		}
		if wrote, err := s.Blobs().Put(t.Context(), c); err != nil || wrote != repaired {
			t.Errorf("Put over %q = %v, %v; want %v", doc, wrote, err, repaired)
		}
	}
}

// TestVerifyAndRepair: damage is found by reading, of whatever size it is.
func TestVerifyAndRepair(t *testing.T) {
	s := newStore(t)
	c := store.Bytes([]byte("the right bytes"))
	key := store.BlobKey(c.Digest)
	check := func(name string, target error) {
		t.Helper()
		if err := s.Blobs().Verify(t.Context(), c.Blob()); !errors.Is(err, target) {
			t.Errorf("Verify of %s = %v; want %v", name, err, target)
		}
		wrote, err := s.Blobs().Repair(t.Context(), c)
		if err != nil || wrote != (target != nil) {
			t.Errorf("Repair of %s = %v, %v; want %v", name, wrote, err, target != nil)
		}
		if got := object(t, s.Bucket(), key); got != "the right bytes" {
			t.Errorf("%s after Repair = %q", name, got)
		}
	}
	check("nothing", fs.ErrNotExist)
	check("the right bytes", nil)
	for _, doc := range []string{"", "the right", "the right bytes, and more", "the wrong bytes"} {
		putObject(t, s.Bucket(), key, doc)
		check(doc, store.ErrCorrupt)
	}
}

// TestRepairRefuses: neither wrong content nor a reader that fails changes what is stored.
func TestRepairRefuses(t *testing.T) {
	s := newStore(t)
	c := store.Bytes([]byte("the right bytes"))
	wrong := store.Bytes([]byte("the wrong bytes"))
	wrong.Digest = c.Digest
	if wrote, err := s.Blobs().Repair(t.Context(), wrong); wrote || !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Repair with wrong bytes = %v, %v; want ErrCorrupt", wrote, err)
	}
	putObject(t, s.Bucket(), store.BlobKey(c.Digest), "the wrong bytes")
	broken := errors.New("the disk is gone")
	wrote, err := store.NewBlobs(noGet{s.Bucket(), broken}).Repair(t.Context(), c)
	if wrote || !errors.Is(err, broken) {
		t.Errorf("Repair of what cannot be read = %v, %v; want the bucket's error", wrote, err)
	}
	if got := object(t, s.Bucket(), store.BlobKey(c.Digest)); got != "the wrong bytes" {
		t.Errorf("what cannot be read was replaced by %q", got)
	}
}

// noGet is a bucket that cannot be read.
type noGet struct {
	store.Bucket
	err error
}

func (b noGet) Get(context.Context, string, int64, int64) (io.ReadCloser, error) { return nil, b.err }

// TestPutImageReadsWhatIsSmall: it says nothing was published unless it can be opened.
func TestPutImageReadsWhatIsSmall(t *testing.T) {
	s := newStore(t)
	i := newImage(t, s)
	d, err := s.PutImage(t.Context(), i, store.Record{})
	if err != nil {
		t.Fatal(err)
	}
	damage := func(d store.Digest) (undo func()) {
		key := store.BlobKey(d)
		doc := object(t, s.Bucket(), key)
		putObject(t, s.Bucket(), key, "?"+doc[1:])
		return func() { putObject(t, s.Bucket(), key, doc) }
	}
	damage(d)
	if _, err := s.Image(t.Context(), d); !errors.Is(err, store.ErrCorrupt) {
		t.Fatalf("Image with a damaged manifest = %v; want ErrCorrupt", err)
	}
	if again, err := s.PutImage(t.Context(), i, store.Record{}); err != nil || again != d {
		t.Errorf("PutImage over a damaged manifest = %s, %v; want %s", again, err, d)
	}
	if _, err := s.Image(t.Context(), d); err != nil {
		t.Errorf("Image after PutImage = %v; want nil", err)
	}
	undo := damage(i.Config.Digest)
	_, err = s.PutImage(t.Context(), i, store.Record{})
	if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "config: read "+i.Config.Digest.Short()) {
		t.Errorf("PutImage with a damaged config = %v; want ErrCorrupt and its name", err)
	}
	undo()
	damage(i.Files[1].Digest) // large in real images, and not read
	if _, err := s.PutImage(t.Context(), i, store.Record{}); err != nil {
		t.Errorf("PutImage with a damaged kernel = %v; want it not read", err)
	}
}

func TestImage(t *testing.T) {
	s := newStore(t)
	i := newImage(t, s)
	d, err := s.PutImage(t.Context(), i, store.Record{Name: "test", Actor: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.PutImage(t.Context(), i, store.Record{Name: "test", Actor: "bob"})
	if err != nil || again != d {
		t.Errorf("PutImage again = %s, %v; want %s", again, err, d)
	}
	i.Digest = d
	got, err := s.Image(t.Context(), d)
	if diff := cmp.Diff(&i, got); err != nil || diff != "" {
		t.Errorf("Image = %v, want -, got +:\n%s", err, diff)
	}
	var records []store.Record
	for r, err := range s.Images(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	if diff := cmp.Diff([]store.Record{{Image: d, Name: "test", Actor: "alice"}}, records); diff != "" {
		t.Errorf("Images, want -, got +:\n%s", diff)
	}
	for prefix, want := range map[string][]store.Digest{"": {d}, d.Hex()[:8]: {d}, d.Hex(): {d}, "none": nil} {
		found, err := s.FindImages(t.Context(), prefix)
		if diff := cmp.Diff(want, found); err != nil || diff != "" {
			t.Errorf("FindImages(%q) = %v, want -, got +:\n%s", prefix, err, diff)
		}
	}
}

// TestRecordsAreText: what people are shown of a record cannot garble their terminal,
// whoever wrote it.
func TestRecordsAreText(t *testing.T) {
	const clear = "\x1b[2J"
	for member, r := range map[string]store.Record{"name": {Name: clear}, "actor": {Actor: clear}, "recipe": {Recipe: clear}} {
		s := newStore(t)
		_, err := s.PutImage(t.Context(), newImage(t, s), r)
		if want := "the " + member + " has the control character U+001B"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("PutImage = %v; want %q in the error", err, want)
		}
		d := store.Sum([]byte("image"))
		putObject(t, s.Bucket(), "images/"+d.Hex()+".json", `{"image":"`+d.String()+`","`+member+`":"\u001b[2J"}`)
		for r, err := range s.Images(t.Context()) {
			if !errors.Is(err, store.ErrCorrupt) || strings.Contains(err.Error(), clear) {
				t.Errorf("Images = %+v, %v; want ErrCorrupt and no escape sequence", r, err)
			}
		}
	}
}

// TestDamagedRecords: one that cannot be read hides neither its image nor other records.
func TestDamagedRecords(t *testing.T) {
	s := newStore(t)
	var want []store.Digest
	for n := range 5 {
		i := newImage(t, s)
		i.Name = fmt.Sprint("image-", n)
		d, err := s.PutImage(t.Context(), i, store.Record{Name: i.Name})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, d)
	}
	slices.SortFunc(want, func(a, b store.Digest) int { return strings.Compare(a.Hex(), b.Hex()) })
	putObject(t, s.Bucket(), "images/"+want[0].Hex()+".json", "{")
	putObject(t, s.Bucket(), "images/"+want[3].Hex()+".json", object(t, s.Bucket(), "images/"+want[2].Hex()+".json"))
	putObject(t, s.Bucket(), "images/note.json", "to whom it may concern")

	var got, damaged []store.Digest
	for r, err := range s.Images(t.Context()) {
		got = append(got, r.Image)
		if err == nil {
			continue
		}
		damaged = append(damaged, r.Image)
		if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "images/") {
			t.Errorf("Images = %v; want ErrCorrupt and the key", err)
		}
	}
	if diff := cmp.Diff(append(want, store.Digest{}), got); diff != "" {
		t.Errorf("Images, want -, got +:\n%s", diff)
	}
	if diff := cmp.Diff([]store.Digest{want[0], want[3], {}}, damaged); diff != "" {
		t.Errorf("damaged, want -, got +:\n%s", diff)
	}
	found, err := s.FindImages(t.Context(), "")
	if diff := cmp.Diff(want, found); err != nil || diff != "" {
		t.Errorf("FindImages = %v, want -, got +:\n%s", err, diff)
	}
}

// TestImagesEnd: a record that goes away meanwhile is no error, and where nothing more
// can come, there is one, the last.
func TestImagesEnd(t *testing.T) {
	s := newStore(t)
	for _, name := range []string{"a", "b", "c"} {
		i := newImage(t, s)
		i.Name = name
		if _, err := s.PutImage(t.Context(), i, store.Record{}); err != nil {
			t.Fatal(err)
		}
	}
	var seen []store.Digest
	for r, err := range s.Images(t.Context()) {
		if seen = append(seen, r.Image); err != nil || len(seen) != 1 {
			continue
		}
		found, err := s.FindImages(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		deleteObject(t, s.Bucket(), "images/"+found[1].Hex()+".json")
	}
	if len(seen) != 2 {
		t.Errorf("Images, with one of three deleted meanwhile, = %v; want the other two", seen)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var errs []error
	for _, err := range s.Images(ctx) {
		errs = append(errs, err)
		cancel()
	}
	if len(errs) != 2 || errs[0] != nil || !errors.Is(errs[1], context.Canceled) {
		t.Errorf("Images of a context that ends after the first = %v; want nil and context.Canceled", errs)
	}
	errs = nil
	for r, err := range s.Images(ctx) {
		errs = append(errs, err)
		if !errors.Is(err, context.Canceled) || !r.Image.IsZero() {
			t.Errorf("Images with a cancelled context = %+v, %v; want context.Canceled", r, err)
		}
	}
	if len(errs) != 1 {
		t.Errorf("Images with a cancelled context = %v; want one error", errs)
	}
}

func TestImageErrors(t *testing.T) {
	s := newStore(t)
	if _, err := s.Image(t.Context(), store.Sum(nil)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Image(absent) = %v; want fs.ErrNotExist", err)
	}
	if _, err := s.Image(t.Context(), putBlob(t, s, "kernel").Digest); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Image(kernel) = %v; want ErrCorrupt", err)
	}
}

func TestOpenFile(t *testing.T) {
	s := newStore(t)
	i := newImage(t, s)
	read := func(f store.File) (string, error) {
		r, err := s.OpenFile(t.Context(), f)
		if err != nil {
			return "", err
		}
		defer r.Close()
		doc, err := io.ReadAll(r)
		return string(doc), err
	}
	for n, want := range []string{"base and overlay", "kernel"} {
		if got, err := read(i.Files[n]); err != nil || got != want {
			t.Errorf("%s = %q, %v; want %q", i.Files[n].Path, got, err, want)
		}
	}
	putObject(t, s.Bucket(), store.BlobKey(i.Files[0].Parts[1].Digest), "0verlay")
	if got, err := read(i.Files[0]); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("%s with a damaged part = %q, %v; want ErrCorrupt", i.Files[0].Path, got, err)
	}
}

// TestIncompleteImage: neither published nor called complete, and the blob is named.
func TestIncompleteImage(t *testing.T) {
	s := newStore(t)
	i := newImage(t, s)
	for _, b := range i.Blobs() {
		key := store.BlobKey(b.Digest)
		doc := object(t, s.Bucket(), key)
		deleteObject(t, s.Bucket(), key)
		_, err := s.PutImage(t.Context(), i, store.Record{})
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), b.Digest.Short()) {
			t.Errorf("PutImage without %s = %v; want fs.ErrNotExist and its name", b.Digest.Short(), err)
		}
		putObject(t, s.Bucket(), key, doc[:1])
		_, err = s.PutImage(t.Context(), i, store.Record{})
		if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), b.Digest.Short()) {
			t.Errorf("PutImage with %s cut short = %v; want ErrCorrupt and its name", b.Digest.Short(), err)
		}
		putObject(t, s.Bucket(), key, doc)
	}
	if found, err := s.FindImages(t.Context(), ""); err != nil || len(found) != 0 {
		t.Errorf("FindImages = %v, %v; want none", found, err)
	}
}
