package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/s3"
	"piimg/store/s3/s3test"
)

// behind is a bucket behind a proxy, with short pauses before what is asked again.
func behind(t *testing.T) (*s3test.Proxy, *s3.Bucket, *s3test.Server) {
	t.Helper()
	return behindFor(t, time.Minute)
}

// behindFor is behind where a connection may stand still for so long.
func behindFor(t *testing.T, idle time.Duration) (*s3test.Proxy, *s3.Bucket, *s3test.Server) {
	t.Helper()
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server)
	c := server.Config(t, server.NewBucket(t), proxy.URL)
	c.Idle, c.Retry = idle, s3.Retry{Attempts: 4, First: time.Millisecond, Longest: 10 * time.Millisecond}
	b, err := s3.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return proxy, b, server
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func get(t *testing.T, b *s3.Bucket, key string) []byte {
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
	return doc
}

// all are all methods, on what they find or leave: doc under "a/x".
func all(t *testing.T, b *s3.Bucket, doc []byte) map[string]func() error {
	ctx := t.Context()
	return map[string]func() error{
		"Put":    func() error { return b.Put(ctx, "a/x", store.Bytes(doc)) },
		"Create": func() error { return b.Create(ctx, "a/x", doc) },
		"Get": func() error {
			r, err := b.Get(ctx, "a/x", 0, -1)
			if err != nil {
				return err
			}
			defer r.Close()
			got, err := io.ReadAll(r)
			if err == nil && !bytes.Equal(got, doc) {
				err = fmt.Errorf("%d bytes, want %d", len(got), len(doc))
			}
			return err
		},
		"Stat":   func() error { _, err := b.Stat(ctx, "a/x"); return err },
		"Delete": func() error { return b.Delete(ctx, "a/y") },
		"List": func() error {
			n := 0
			for _, err := range b.List(ctx, "a/", "") {
				if err != nil {
					return err
				}
				n++
			}
			if n != 1 {
				return fmt.Errorf("%d objects", n)
			}
			return nil
		},
	}
}

// Row 12: an overloaded server is asked again, and not for ever.
func TestFaultRow12ServerErrors(t *testing.T) {
	proxy, b, server := behind(t)
	doc := random(100_000)
	if err := b.Put(t.Context(), "a/x", store.Bytes(doc)); err != nil {
		t.Fatal(err)
	}
	for method, call := range all(t, b, doc) {
		for status, code := range map[int]string{500: "InternalError", 503: "SlowDown", 502: "", 429: "TooManyRequests"} {
			proxy.Inject(s3test.Method(""), 3, s3test.Status(status, code))
			if err := call(); err != nil {
				t.Errorf("%s after three times %d: %v", method, status, err)
			}
			proxy.Heal()
		}
		before := len(proxy.Seen())
		proxy.Inject(s3test.Method(""), -1, s3test.Status(503, "SlowDown"))
		err := call()
		if n := len(proxy.Seen()) - before; err == nil || n < 4 || n > 40 {
			t.Errorf("%s at a server that is out of order: %v after %d requests", method, err, n)
		}
		if err != nil && strings.Contains(err.Error(), server.Secret) {
			t.Errorf("%s says the secret: %v", method, err)
		}
		proxy.Heal()
	}
}

// Row 13: what stands still is given up and asked for again; what is slow is waited for.
func TestFaultRow13HangsAndSlowBodies(t *testing.T) {
	proxy, b, _ := behindFor(t, time.Second)
	doc := random(300_000)
	if err := b.Put(t.Context(), "a/x", store.Bytes(doc)); err != nil {
		t.Fatal(err)
	}
	for method, call := range all(t, b, doc) {
		proxy.Inject(s3test.Method(""), 1, s3test.Hang)
		if err := call(); err != nil {
			t.Errorf("%s at a server that hangs once: %v", method, err)
		}
	}
	proxy.Inject(s3test.Method("GET"), 2, s3test.Stall(70_000))
	if got := get(t, b, "a/x"); !bytes.Equal(got, doc) {
		t.Errorf("after two stalls: %d bytes, want %d", len(got), len(doc))
	}
}

// A body that comes slowly, in all for longer than a connection may stand still.
func TestSlowDownload(t *testing.T) {
	proxy, b, _ := behindFor(t, 3*time.Second)
	doc := random(300_000)
	if err := b.Put(t.Context(), "a/x", store.Bytes(doc)); err != nil {
		t.Fatal(err)
	}
	before := len(proxy.Seen())
	proxy.Inject(s3test.Method("GET"), 1, s3test.Trickle(30_000, 400*time.Millisecond))
	if got := get(t, b, "a/x"); !bytes.Equal(got, doc) || len(proxy.Seen()) != before+1 {
		t.Errorf("of a slow body: %d bytes, want %d, after %d requests", len(got), len(doc), len(proxy.Seen())-before)
	}
}

// A body that is sent slowly keeps the connection, while nothing is to be read of it.
func TestSlowUpload(t *testing.T) {
	proxy, b, _ := behindFor(t, 3*time.Second)
	doc := random(600_000)
	c := store.Bytes(doc)
	c.Open = func() (io.ReadCloser, error) { return io.NopCloser(&slowReader{bytes.NewReader(doc)}), nil }
	if err := b.Put(t.Context(), "a/x", c); err != nil {
		t.Errorf("Put = %v", err)
	}
	if n := len(proxy.Seen()); n != 1 {
		t.Errorf("%d requests, want one", n)
	}
}

type slowReader struct{ r io.Reader }

func (s *slowReader) Read(p []byte) (int, error) {
	time.Sleep(400 * time.Millisecond)
	return s.r.Read(p[:min(len(p), 64<<10)])
}

// Row 14: what is short is read to its end from another answer.
func TestFaultRow14ShortBodies(t *testing.T) {
	proxy, b, _ := behind(t)
	doc := random(300_000)
	if err := b.Put(t.Context(), "a/x", store.Bytes(doc)); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int64{0, 1, 100_000, 299_999} {
		proxy.Inject(s3test.Method("GET"), 3, s3test.Cut(n))
		if got := get(t, b, "a/x"); !bytes.Equal(got, doc) {
			t.Errorf("cut three times after %d: %d bytes, want %d", n, len(got), len(doc))
		}
		proxy.Heal()
	}
	proxy.Inject(s3test.Method("GET"), -1, s3test.Cut(0))
	r, err := b.Get(t.Context(), "a/x", 0, -1)
	if err == nil {
		_, err = io.ReadAll(r)
		_ = r.Close()
	}
	if err == nil {
		t.Error("a body that is always short was read without an error")
	}
}

// The object is replaced while it is read: what was begun is not gone on with.
func TestReplacedWhileItIsRead(t *testing.T) {
	proxy, b, _ := behind(t)
	if err := b.Put(t.Context(), "a/x", store.Bytes(bytes.Repeat([]byte("a"), 300_000))); err != nil {
		t.Fatal(err)
	}
	proxy.Inject(s3test.Method("GET"), 1, s3test.Cut(100_000))
	r, err := b.Get(t.Context(), "a/x", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := b.Put(t.Context(), "a/x", store.Bytes(bytes.Repeat([]byte("b"), 300_000))); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err == nil || bytes.Contains(got, []byte("ab")) {
		t.Errorf("%d bytes and %v of an object that was replaced", len(got), err)
	}
}

// Row 15: the write was done and the answer lost.
func TestFaultRow15LostAnswers(t *testing.T) {
	proxy, b, _ := behind(t)
	proxy.Inject(s3test.Method("PUT"), 1, s3test.Lose)
	if err := b.Create(t.Context(), "log/1", []byte("mine")); err != nil {
		t.Errorf("Create whose answer was lost = %v", err)
	}
	proxy.Inject(s3test.Method("PUT"), 1, s3test.Lose)
	if err := b.Create(t.Context(), "log/1", []byte("other")); !errors.Is(err, store.ErrConflict) {
		t.Errorf("Create of a slot that is taken = %v, want ErrConflict", err)
	}
	if got := string(get(t, b, "log/1")); got != "mine" {
		t.Errorf("the slot holds %q", got)
	}
	for method, call := range all(t, b, []byte("x")) {
		if method == "Put" || method == "Delete" {
			proxy.Inject(s3test.Method(""), 1, s3test.Lose)
			if err := call(); err != nil {
				t.Errorf("%s whose answer was lost = %v", method, err)
			}
		}
	}
}

// Row 16: a conflict of two requests is no answer to what is there.
func TestFaultRow16ConditionalRequestConflict(t *testing.T) {
	proxy, b, _ := behind(t)
	proxy.Inject(s3test.Method("PUT"), 2, s3test.Status(http.StatusConflict, "ConditionalRequestConflict"))
	if err := b.Create(t.Context(), "log/1", []byte("mine")); err != nil {
		t.Errorf("Create = %v", err)
	}
	proxy.Inject(s3test.Method("PUT"), 1, s3test.Status(http.StatusConflict, "ConditionalRequestConflict"))
	if err := b.Create(t.Context(), "log/1", []byte("other")); !errors.Is(err, store.ErrConflict) {
		t.Errorf("Create = %v, want ErrConflict", err)
	}
	proxy.Inject(s3test.Method("PUT"), -1, s3test.Status(http.StatusNotImplemented, "NotImplemented"))
	if err := b.Create(t.Context(), "log/2", nil); err == nil || !strings.Contains(err.Error(), "no conditional PUT") {
		t.Errorf("Create at a server without conditional PUT = %v", err)
	}
}

// Row 11: the server is given other bytes than were hashed.
func TestFaultRow11FlippedOnTheWay(t *testing.T) {
	proxy, b, _ := behind(t)
	proxy.Inject(s3test.Method("PUT"), 1, s3test.Flip)
	err := b.Put(t.Context(), "a/x", store.Bytes(random(50_000)))
	if !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Put = %v, want ErrCorrupt", err)
	}
	if _, err := b.Stat(t.Context(), "a/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat = %v: the flipped object was stored", err)
	}
	c := store.Bytes(random(20 << 20))
	proxy.Inject(func(r *http.Request) bool { return r.URL.Query().Get("partNumber") == "2" }, 1, s3test.Flip)
	if err := b.Put(t.Context(), store.BlobKey(c.Digest), c); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Put in parts = %v, want ErrCorrupt", err)
	}
	if _, err := b.Stat(t.Context(), store.BlobKey(c.Digest)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat = %v: the object with a flipped part was stored", err)
	}
}

// Row 43: an upload that was interrupted goes on where it was, and one that nobody goes on
// with is removed.
func TestFaultRow43InterruptedUploads(t *testing.T) {
	proxy, b, server := behind(t)
	doc := random(50 << 20) // four parts of 16 MiB and less
	c := store.Bytes(doc)
	key := store.BlobKey(c.Digest)
	part := func(r *http.Request) bool { return r.Method == "PUT" && r.URL.Query().Get("partNumber") == "3" }
	proxy.Inject(part, -1, s3test.Status(500, "InternalError"))
	if err := b.Put(t.Context(), key, c); err == nil {
		t.Fatal("Put without its third part succeeded")
	}
	proxy.Heal()
	if _, err := b.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat of half an object = %v", err)
	}
	before := len(proxy.Seen())
	if err := b.Put(t.Context(), key, c); err != nil {
		t.Fatal(err)
	}
	var sent []string
	for _, s := range proxy.Seen()[before:] {
		if strings.HasPrefix(s, "PUT") {
			sent = append(sent, s[strings.Index(s, "partNumber"):][:len("partNumber=1")])
		}
	}
	if fmt.Sprint(sent) != "[partNumber=3 partNumber=4]" {
		t.Errorf("sent again: %v; want parts 3 and 4", sent)
	}
	if got := get(t, b, key); !bytes.Equal(got, doc) {
		t.Error("the object is not what was put")
	}

	other := random(40 << 20)
	other[0]++
	c = store.Bytes(other)
	proxy.Inject(part, -1, s3test.Status(500, "InternalError"))
	if err := b.Put(t.Context(), store.BlobKey(c.Digest), c); err == nil {
		t.Fatal("Put without its third part succeeded")
	}
	proxy.Heal()
	listed := 1
	if server.Kind == "minio" {
		listed = 0 // it lists uploads by their whole key only, and removes them by itself after a day
	}
	for _, tt := range []struct {
		before time.Time
		want   int
	}{{time.Now().Add(-time.Hour), 0}, {time.Now().Add(time.Hour), listed}, {time.Now().Add(time.Hour), 0}} {
		if n, err := b.Abort(t.Context(), tt.before); n != tt.want || err != nil {
			t.Errorf("Abort = %d, %v; want %d", n, err, tt.want)
		}
	}
}

// The answer to the request that completes an upload is lost.
func TestLostAnswerOfAnUpload(t *testing.T) {
	proxy, b, _ := behind(t)
	c := store.Bytes(random(20 << 20))
	proxy.Inject(s3test.Method("POST"), 1, s3test.Pass)
	proxy.Inject(func(r *http.Request) bool { return r.Method == "POST" && r.URL.Query().Has("uploadId") }, 1, s3test.Lose)
	if err := b.Put(t.Context(), store.BlobKey(c.Digest), c); err != nil {
		t.Errorf("Put = %v", err)
	}
	if i, err := b.Stat(t.Context(), store.BlobKey(c.Digest)); err != nil || i.Size != c.Size {
		t.Errorf("Stat = %+v, %v", i, err)
	}
}

// completes matches the request that completes an upload.
func completes(r *http.Request) bool { return r.Method == "POST" && r.URL.Query().Has("uploadId") }

// A server needs its time to put large uploads together, and is silent meanwhile: it is waited
// for, and not asked again. One that says too early that it is done is asked again.
func TestCompletionTakesItsTime(t *testing.T) {
	const idle = 2 * time.Second
	proxy, b, _ := behindFor(t, idle)
	c := store.Bytes(random(20 << 20))
	proxy.Inject(completes, 1, func(w http.ResponseWriter, r *http.Request, forward func() (*http.Response, error)) {
		time.Sleep(2 * idle)
		s3test.Pass(w, r, forward)
	})
	if err := b.Put(t.Context(), store.BlobKey(c.Digest), c); err != nil {
		t.Errorf("Put = %v", err)
	}
	n := 0
	for _, s := range proxy.Seen() {
		if strings.HasPrefix(s, "POST") && strings.Contains(s, "uploadId=") {
			n++
		}
	}
	if n != 1 {
		t.Errorf("the upload was completed %d times", n)
	}

	c = store.Bytes(random(21 << 20))
	proxy.Inject(completes, 1, func(w http.ResponseWriter, r *http.Request, _ func() (*http.Response, error)) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/xml")
		_, _ = io.WriteString(w, "<CompleteMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><ETag>e</ETag></CompleteMultipartUploadResult>")
	})
	if err := b.Put(t.Context(), store.BlobKey(c.Digest), c); err != nil {
		t.Errorf("Put at a server that says too early that it is done = %v", err)
	}
	if i, err := b.Stat(t.Context(), store.BlobKey(c.Digest)); err != nil || i.Size != c.Size {
		t.Errorf("Stat = %+v, %v", i, err)
	}
}

// Wrong content in parts is not stored, and leaves nothing behind.
func TestWrongContentInParts(t *testing.T) {
	_, b, _ := behind(t)
	doc := random(20 << 20)
	right := store.Bytes(doc)
	for name, wrong := range map[string][]byte{
		"short": doc[:17<<20], "long": append(bytes.Clone(doc), 'x'), "flipped": append([]byte{doc[0] ^ 1}, doc[1:]...),
	} {
		c := right
		c.Open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(wrong)), nil }
		if err := b.Put(t.Context(), store.BlobKey(c.Digest), c); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: Put = %v, want ErrCorrupt", name, err)
		}
		if _, err := b.Stat(t.Context(), store.BlobKey(c.Digest)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: Stat = %v", name, err)
		}
	}
	if n, err := b.Abort(t.Context(), time.Now().Add(time.Hour)); n != 0 || err != nil {
		t.Errorf("%d uploads were left, %v", n, err)
	}
}

// Errors that no repetition mends are told at once, with what to do, and without secrets.
func TestRefusals(t *testing.T) {
	server := s3test.Start(t)
	open := func(bucket, secret string) *s3.Bucket {
		env := func(name string) string {
			if name == "AWS_SECRET_ACCESS_KEY" {
				return secret
			}
			return server.Env(name)
		}
		c, err := s3.Parse(server.Location(bucket, "", server.Endpoint), env)
		if err != nil {
			t.Fatal(err)
		}
		b, err := s3.Open(c)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	bucket := server.NewBucket(t)
	for what, tt := range map[string]struct {
		bucket *s3.Bucket
		want   string
	}{
		"wrong secret": {open(bucket, "canary-wrong-secret"), "SignatureDoesNotMatch"},
		"no bucket":    {open("nobody-made-this", server.Secret), "there is no bucket nobody-made-this"},
	} {
		r, getErr := tt.bucket.Get(t.Context(), "a/x", 0, -1)
		if getErr == nil {
			r.Close()
		}
		for method, err := range map[string]error{
			"Put": tt.bucket.Put(t.Context(), "a/x", store.Bytes(nil)), "Create": tt.bucket.Create(t.Context(), "a/x", nil), "Get": getErr,
		} {
			var hinted interface{ Hint() string }
			if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), tt.want) || !errors.As(err, &hinted) {
				t.Errorf("%s: %s = %v; want %s, with a hint", what, method, err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), server.Access)) {
				t.Errorf("%s: %s says a key: %v", what, method, err)
			}
		}
	}
}

// A server that goes away and comes back is waited for.
func TestRestartedServer(t *testing.T) {
	server := s3test.Start(t)
	c := server.Config(t, server.NewBucket(t), server.Endpoint)
	c.Retry = s3.Retry{Attempts: 1000, Longest: 500 * time.Millisecond}
	b, err := s3.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), "a/x", store.Bytes([]byte("1"))); err != nil {
		t.Fatal(err)
	}
	server.Stop(t)
	done := make(chan error, 1)
	go func() {
		_, err := b.Stat(context.WithoutCancel(t.Context()), "a/x")
		done <- err
	}()
	server.Restart(t)
	if err := <-done; err != nil {
		t.Errorf("Stat = %v", err)
	}
}
