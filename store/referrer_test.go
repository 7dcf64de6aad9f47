package store_test

import (
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/store"
)

// publish makes an image of one file with content text.
func publish(t *testing.T, s *store.Store, text string) store.Digest {
	t.Helper()
	d, err := s.PutImage(t.Context(), store.Image{
		Name: "test", Config: put(t, s, "{}"), Files: []store.File{store.NewFile("kernel8.img", 0o644, put(t, s, text))},
	}, store.Record{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func put(t *testing.T, s *store.Store, text string) store.Blob {
	t.Helper()
	c := store.Bytes([]byte(text))
	if _, err := s.Blobs().Put(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c.Blob()
}

// refer is the manifest of a referrer of image with the content text.
func refer(t *testing.T, s *store.Store, image store.Digest, text string) []byte {
	t.Helper()
	subject, err := s.Blobs().Find(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := store.EncodeReferrer(store.Referrer{
		Subject: subject, Type: "application/vnd.piimg.test.v1", Media: "text/plain", Content: []store.Blob{store.Bytes([]byte(text)).Blob()},
	})
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestReferrerGolden holds what is stored, to the byte: registries read it too.
func TestReferrerGolden(t *testing.T) {
	blob := store.Bytes([]byte("x")).Blob()
	doc, err := store.EncodeReferrer(store.Referrer{Subject: store.Blob{Digest: store.Sum(nil), Size: 7}, Type: "t", Media: "m", Content: []store.Blob{blob}})
	want := `{"artifactType":"t","config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",` +
		`"mediaType":"application/vnd.oci.empty.v1+json","size":2},"layers":[{"digest":"` + blob.Digest.String() + `","mediaType":"m","size":1}],` +
		`"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2,` +
		`"subject":{"digest":"` + store.Sum(nil).String() + `","mediaType":"application/vnd.oci.image.manifest.v1+json","size":7}}`
	if diff := cmp.Diff(want, string(doc)); err != nil || diff != "" {
		t.Errorf("%v, want -, got +:\n%s", err, diff)
	}
}

func TestReferrers(t *testing.T) {
	s := newStore(t)
	image, other := publish(t, s, "a"), publish(t, s, "b")
	var want []store.Digest
	for _, text := range []string{"one", "two", "two"} {
		put(t, s, text)
		d, err := s.PutReferrer(t.Context(), refer(t, s, image, text))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, d)
	}
	slices.SortFunc(want, func(a, b store.Digest) int { return slices.Compare(a[:], b[:]) })
	want = slices.Compact(want)
	var got []store.Digest
	for r, err := range s.Referrers(t.Context(), image) {
		if err != nil || r.Subject.Digest != image || store.Sum(r.Doc) != r.Digest {
			t.Fatalf("%+v, %v", r, err)
		}
		for _, b := range r.Blobs() {
			if have, err := s.Blobs().Has(t.Context(), b); err != nil || !have {
				t.Errorf("blob %s of a referrer: %v, %v", b.Digest, have, err)
			}
		}
		got = append(got, r.Digest)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	for r, err := range s.Referrers(t.Context(), other) {
		t.Errorf("another image has %v, %v", r, err)
	}
}

func TestReferrerNeedsImageAndContent(t *testing.T) {
	s := newStore(t)
	image := publish(t, s, "a")
	doc := refer(t, s, image, "nowhere")
	if _, err := s.PutReferrer(t.Context(), doc); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("content that is not there: %v", err)
	}
	put(t, s, "nowhere")
	if err := s.Bucket().Delete(t.Context(), store.BlobKey(image)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutReferrer(t.Context(), doc); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("image that is not there: %v", err)
	}
	if _, err := s.PutReferrer(t.Context(), []byte(`{}`)); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("no referrer: %v", err)
	}
}

// TestDamagedReferrer: one that is damaged hides no other.
func TestDamagedReferrer(t *testing.T) {
	s := newStore(t)
	image := publish(t, s, "a")
	var docs []store.Digest
	for _, text := range []string{"one", "two"} {
		put(t, s, text)
		d, err := s.PutReferrer(t.Context(), refer(t, s, image, text))
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, d)
	}
	if err := s.Bucket().Delete(t.Context(), store.BlobKey(docs[0])); err != nil {
		t.Fatal(err)
	}
	good, bad := 0, 0
	for r, err := range s.Referrers(t.Context(), image) {
		switch {
		case err == nil && r.Digest == docs[1]:
			good++
		case errors.Is(err, fs.ErrNotExist) && r.Digest == docs[0]:
			bad++
		default:
			t.Errorf("%+v, %v", r, err)
		}
	}
	if good != 1 || bad != 1 {
		t.Errorf("%d good, %d bad; want one of each", good, bad)
	}
}

func FuzzDecodeReferrer(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","subject":{"digest":"` + store.Sum(nil).String() + `"}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		r, err := store.DecodeReferrer(doc)
		if err != nil {
			if !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("%v does not wrap ErrCorrupt", err)
			}
			return
		}
		if r.Digest != store.Sum(doc) || r.Subject.Digest.IsZero() {
			t.Errorf("%+v", r)
		}
	})
}
