package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"piimg/store"
	"piimg/store/disk"
	"piimg/store/env"
	"piimg/store/mem"
	"piimg/store/mirror"
	"piimg/store/s3/s3test"
)

// bucket counts what is written, and can be told to fail.
type bucket struct {
	store.Bucket
	mu   sync.Mutex
	puts []string // keys, as they became visible
	fail func(key string, done int) error
}

func (b *bucket) wrote(key string, err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil && !strings.HasPrefix(key, "leases/") { // nothing is copied by them
		b.puts = append(b.puts, key)
	}
	return err
}

func (b *bucket) mayWrite(key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail == nil {
		return nil
	}
	return b.fail(key, len(b.puts))
}

func (b *bucket) Put(ctx context.Context, key string, c store.Content) error {
	if err := b.mayWrite(key); err != nil {
		return err
	}
	return b.wrote(key, b.Bucket.Put(ctx, key, c))
}

func (b *bucket) Create(ctx context.Context, key string, doc []byte) error {
	if err := b.mayWrite(key); err != nil {
		return err
	}
	return b.wrote(key, b.Bucket.Create(ctx, key, doc))
}

func newStore(t *testing.T, b store.Bucket) *store.Store {
	t.Helper()
	s, err := store.Init(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// watched is a store whose writes are counted from here on.
func watched(t *testing.T, b store.Bucket) (*store.Store, *bucket) {
	t.Helper()
	w := &bucket{Bucket: b}
	s := newStore(t, w)
	w.puts = nil
	return s, w
}

func put(t *testing.T, s *store.Store, b []byte) store.Blob {
	t.Helper()
	c := store.Bytes(b)
	if _, err := s.Blobs().Put(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c.Blob()
}

func random(seed byte, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// publish publishes an image of a kernel, an initramfs of two parts and small files; overlay
// is the second part.
func publish(t *testing.T, s *store.Store, overlay string) *store.Image {
	t.Helper()
	base, over := random(1, 300_000), []byte(overlay)
	i := store.Image{Name: "pi4", Boards: []string{"pi4b"}, Config: put(t, s, []byte(`{"name":"pi4"}`))}
	i.Files = []store.File{
		store.NewFile("config.txt", 0o644, put(t, s, []byte("arm_64bit=1\n"))),
		{
			Path: "initramfs", Mode: 0o644, Size: int64(len(base) + len(over)),
			Digest: store.Sum(append(bytes.Clone(base), over...)), Parts: []store.Blob{put(t, s, base), put(t, s, over)},
		},
		store.NewFile("kernel8.img", 0o755, put(t, s, random(2, 900_000))),
	}
	for n := range 5 {
		i.Files = append(i.Files, store.NewFile(fmt.Sprintf("overlays/%d.dtbo", n), 0o644, put(t, s, random(byte(10+n), 1000))))
	}
	d, err := s.PutImage(t.Context(), i, store.Record{Name: "pi4", Actor: "alice", Recipe: "pi4.toml", Time: time.Unix(1_700_000_000, 0).UTC()})
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Image(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// sign puts a document about image i beside it.
func sign(t *testing.T, s *store.Store, i *store.Image, text string) {
	t.Helper()
	subject, err := s.Blobs().Find(t.Context(), i.Digest)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := store.EncodeReferrer(store.Referrer{
		Subject: subject, Type: "application/vnd.test.signature", Media: "text/plain", Content: []store.Blob{put(t, s, []byte(text))},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutReferrer(t.Context(), doc); err != nil {
		t.Fatal(err)
	}
}

func referrers(t *testing.T, s *store.Store, d store.Digest) []store.Referrer {
	t.Helper()
	var all []store.Referrer
	for r, err := range s.Referrers(t.Context(), d) {
		if err != nil {
			t.Error(err)
		}
		for _, b := range r.Blobs() {
			if err := s.Blobs().Verify(t.Context(), b); err != nil {
				t.Error(err)
			}
		}
		all = append(all, r)
	}
	return all
}

// same checks that to has image i of from in full, to the byte.
func same(t *testing.T, from, to *store.Store, i *store.Image) {
	t.Helper()
	got, err := to.Image(t.Context(), i.Digest)
	if d := cmp.Diff(i, got); err != nil || d != "" {
		t.Fatalf("Image = %v (-want +got):\n%s", err, d)
	}
	for _, b := range i.Blobs() {
		if err := to.Blobs().Verify(t.Context(), b); err != nil {
			t.Error(err)
		}
	}
	if d := cmp.Diff(referrers(t, from, i.Digest), referrers(t, to, i.Digest)); d != "" {
		t.Errorf("referrers (-want +got):\n%s", d)
	}
	want, err1 := from.Record(t.Context(), i.Digest)
	have, err2 := to.Record(t.Context(), i.Digest)
	if d := cmp.Diff(want, have); err1 != nil || err2 != nil || d != "" {
		t.Errorf("Record: %v, %v (-want +got):\n%s", err1, err2, d)
	}
}

func TestCopyBetweenBuckets(t *testing.T) {
	server := s3test.Start(t)
	folder := func() store.Bucket {
		b, err := disk.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, pair := range map[string][2]store.Bucket{
		"folder to server": {folder(), server.Open(t)},
		"server to folder": {server.Open(t), folder()},
		"server to server": {server.Open(t), server.Open(t)},
		"memory to folder": {mem.New(), folder()},
	} {
		t.Run(name, func(t *testing.T) {
			from := newStore(t, pair[0])
			to, writes := watched(t, pair[1])
			first := publish(t, from, "overlay one")
			r, err := mirror.Image(t.Context(), from, to, first.Digest, mirror.Options{})
			if err != nil || r.Copied != r.Blobs || r.Blobs != 11 {
				t.Fatalf("Image = %+v, %v; want 11 of 11 blobs", r, err)
			}
			same(t, from, to, first)
			if last := writes.puts[len(writes.puts)-2:]; last[0] != store.BlobKey(first.Digest) || !strings.HasPrefix(last[1], "images/") {
				t.Errorf("written last: %v; want the manifest and the record", last)
			}

			second := publish(t, from, "overlay two")
			writes.puts = nil
			r, err = mirror.Image(t.Context(), from, to, second.Digest, mirror.Options{})
			if err != nil || r.Copied != 2 || len(writes.puts) != 3 {
				t.Errorf("after a change of the overlay: %+v, %v, wrote %v; want the overlay, the manifest and the record", r, err, writes.puts)
			}
			same(t, from, to, second)

			writes.puts = nil
			var moved int64
			r, err = mirror.Image(t.Context(), from, to, second.Digest, mirror.Options{Moved: func(n int64) { moved += n }})
			if err != nil || r.Copied != 0 || moved != 0 {
				t.Errorf("of what is there: %+v, %v, moved %d bytes", r, err, moved)
			}
			for _, key := range writes.puts {
				if !strings.HasPrefix(key, "images/") { // tried, and found to be the same
					t.Errorf("a copy of what is there wrote %s", key)
				}
			}
		})
	}
}

// Row 44: a copy that ends after any of its writes leaves no image that is not complete, the
// next one copies only what is missing, and the step of the environment comes last.
func TestFaultRow44InterruptedMirror(t *testing.T) {
	from := newStore(t, mem.New())
	i := publish(t, from, "overlay")
	stop := errors.New("unplugged")
	for n := 0; ; n++ {
		b := mem.New()
		to, writes := watched(t, b)
		writes.fail = func(_ string, done int) error {
			if done >= n {
				return stop
			}
			return nil
		}
		err := mirrorAndPromote(t, from, to, i.Digest)
		if err == nil {
			if n < 12 {
				t.Errorf("a copy with %d writes succeeded", n)
			}
			return
		}
		if !errors.Is(err, stop) {
			t.Fatalf("after %d writes: %v", n, err)
		}
		if got, err := to.Image(t.Context(), i.Digest); err == nil {
			if err := to.Complete(t.Context(), got); err != nil {
				t.Errorf("after %d writes the image is there and is not complete: %v", n, err)
			}
		}
		if envs, err := env.List(t.Context(), to); err != nil || len(envs) != 0 {
			t.Errorf("after %d writes: environments %v, %v", n, envs, err)
		}
		done := len(writes.puts)
		writes.fail, writes.puts = nil, nil
		if err := mirrorAndPromote(t, from, to, i.Digest); err != nil {
			t.Fatalf("once more after %d writes: %v", n, err)
		}
		const all = 13 // 11 blobs, a record, a step
		if last := writes.puts[len(writes.puts)-1]; len(writes.puts)+done > all+1 || !strings.HasPrefix(last, "envs/prod/log/") {
			t.Errorf("after %d writes the next copy wrote %d more: %v", done, len(writes.puts), writes.puts)
		}
		same(t, from, to, i)
	}
}

func mirrorAndPromote(t *testing.T, from, to *store.Store, d store.Digest) error {
	if _, err := mirror.Image(t.Context(), from, to, d, mirror.Options{}); err != nil {
		return err
	}
	_, err := env.Promote(t.Context(), to, env.PromoteOptions{
		Env: "prod", Image: d, Actor: "alice", Source: &env.Source{Store: from.ID(), Env: "staging", Seq: 7},
	})
	return err
}

// What is wrong in the source is found before an image is made of it.
func TestDamagedSource(t *testing.T) {
	for name, damage := range map[string]struct {
		do   func(b store.Bucket, i *store.Image) error
		want error
	}{
		"blob gone": {func(b store.Bucket, i *store.Image) error {
			return b.Delete(t.Context(), store.BlobKey(i.Files[2].Digest))
		}, fs.ErrNotExist},
		"blob flipped": {func(b store.Bucket, i *store.Image) error {
			doc := random(2, 900_000)
			doc[500_000] ^= 4
			return b.Put(t.Context(), store.BlobKey(i.Files[2].Digest), store.Bytes(doc))
		}, store.ErrCorrupt},
		"blob cut": {func(b store.Bucket, i *store.Image) error {
			return b.Put(t.Context(), store.BlobKey(i.Files[2].Digest), store.Bytes(random(2, 899_999)))
		}, store.ErrCorrupt},
		"manifest flipped": {func(b store.Bucket, i *store.Image) error {
			return b.Put(t.Context(), store.BlobKey(i.Digest), store.Bytes([]byte(`{}`)))
		}, store.ErrCorrupt},
		"record damaged": {func(b store.Bucket, i *store.Image) error {
			return b.Put(t.Context(), "images/"+i.Digest.Hex()+".json", store.Bytes([]byte(`{`)))
		}, store.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			b := mem.New()
			from := newStore(t, b)
			i := publish(t, from, "overlay")
			if err := damage.do(b, i); err != nil {
				t.Fatal(err)
			}
			to := newStore(t, mem.New())
			_, err := mirror.Image(t.Context(), from, to, i.Digest, mirror.Options{})
			if !errors.Is(err, damage.want) || strings.ContainsAny(err.Error(), "\n") {
				t.Errorf("Image = %v, want %v", err, damage.want)
			}
			if _, err := to.Image(t.Context(), i.Digest); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the image came through: %v", err)
			}
		})
	}
}

// What refers to an image comes along, also when it is all that is new.
func TestReferrersComeAlong(t *testing.T) {
	b := mem.New()
	from, to := newStore(t, b), newStore(t, mem.New())
	i := publish(t, from, "overlay")
	for n, want := range []int{11, 3, 2} { // of a signature: its text, its manifest, and once the empty config
		if n > 0 {
			sign(t, from, i, fmt.Sprint("signature ", n))
		}
		r, err := mirror.Image(t.Context(), from, to, i.Digest, mirror.Options{})
		if err != nil || r.Copied != want {
			t.Errorf("with %d signatures: %+v, %v; want %d copied", n, r, err, want)
		}
		same(t, from, to, i)
	}
	gone := referrers(t, from, i.Digest)[0]
	if err := b.Delete(t.Context(), store.BlobKey(gone.Content[0].Digest)); err != nil {
		t.Fatal(err)
	}
	if _, err := mirror.Image(t.Context(), from, newStore(t, mem.New()), i.Digest, mirror.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the text of a signature: %v", err)
	}
}

// A blob of another size in the target is damage, and is written anew.
func TestDamagedTarget(t *testing.T) {
	from, b := newStore(t, mem.New()), mem.New()
	to := newStore(t, b)
	i := publish(t, from, "overlay")
	for range 2 {
		if _, err := mirror.Image(t.Context(), from, to, i.Digest, mirror.Options{}); err != nil {
			t.Fatal(err)
		}
		same(t, from, to, i)
		if err := b.Put(t.Context(), store.BlobKey(i.Files[2].Digest), store.Bytes(nil)); err != nil {
			t.Fatal(err)
		}
	}
}

// An image that an environment runs, and whose record is gone, is copied with a new one.
func TestImageWithoutRecord(t *testing.T) {
	b := mem.New()
	from, to := newStore(t, b), newStore(t, mem.New())
	i := publish(t, from, "overlay")
	if err := b.Delete(t.Context(), "images/"+i.Digest.Hex()+".json"); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 5).UTC()
	if _, err := mirror.Image(t.Context(), from, to, i.Digest, mirror.Options{Actor: "bob", Now: func() time.Time { return now }}); err != nil {
		t.Fatal(err)
	}
	r, err := to.Record(t.Context(), i.Digest)
	want := store.Record{Image: i.Digest, Name: "pi4", Actor: "bob", Time: now.Truncate(time.Second)}
	if d := cmp.Diff(want, r); err != nil || d != "" {
		t.Errorf("Record = %v (-want +got):\n%s", err, d)
	}
}

// Several who copy the same at the same time do not disturb each other, and a copy ends with
// its context.
func TestCopiesAtOnce(t *testing.T) {
	from, to := newStore(t, mem.New()), newStore(t, mem.New())
	i := publish(t, from, "overlay")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := mirror.Image(t.Context(), from, to, i.Digest, mirror.Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	same(t, from, to, i)

	ctx, cancel := context.WithCancel(t.Context())
	slow := newStore(t, slowBucket{mem.New(), cancel})
	j := publish(t, slow, "overlay")
	if _, err := mirror.Image(ctx, slow, newStore(t, mem.New()), j.Digest, mirror.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a copy that is cancelled: %v", err)
	}
}

// slowBucket ends a context when the kernel is read.
type slowBucket struct {
	store.Bucket
	cancel func()
}

func (b slowBucket) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if key == store.BlobKey(store.Sum(random(2, 900_000))) {
		b.cancel()
	}
	return b.Bucket.Get(ctx, key, off, n)
}
