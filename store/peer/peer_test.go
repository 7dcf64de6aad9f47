package peer_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"piimg/store"
	"piimg/store/disk"
	"piimg/store/mem"
	"piimg/store/peer"
	"piimg/store/storetest"
)

// share serves b, and returns a bucket that reads it.
func share(t *testing.T, b store.Bucket, prefixes ...string) *peer.Bucket {
	t.Helper()
	server := httptest.NewServer(http.StripPrefix("/store", peer.Handler(b, nil, prefixes...)))
	t.Cleanup(server.Close)
	reader, err := peer.Open(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reader.Close)
	return reader
}

func TestBucket(t *testing.T) {
	storetest.RunReadOnly(t, func(t *testing.T) (store.Bucket, store.Bucket) {
		b := mem.New()
		return b, share(t, b)
	})
}

func TestBucketOverAFolder(t *testing.T) {
	storetest.RunReadOnly(t, func(t *testing.T) (store.Bucket, store.Bucket) {
		b, err := disk.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return b, share(t, b)
	})
}

// What is not shared is neither found nor listed.
func TestPrefixes(t *testing.T) {
	b := mem.New()
	for _, key := range []string{"blobs/sha256/00", "cache/steps/00", "piimg-store.json"} {
		if err := b.Create(t.Context(), key, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	reader := share(t, b, "blobs/", "piimg-store.json")
	if _, err := reader.Stat(t.Context(), "cache/steps/00"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat of what is not shared: %v", err)
	}
	var got []string
	for info, err := range reader.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, info.Key)
	}
	if want := "blobs/sha256/00 piimg-store.json"; strings.Join(got, " ") != want {
		t.Errorf("List = %q, want %q", got, want)
	}
}

// lists remembers what it was asked to list.
type lists struct {
	store.Bucket
	asked []string
}

func (b *lists) List(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	b.asked = append(b.asked, prefix)
	return b.Bucket.List(ctx, prefix, after)
}

// A store with a million finished steps is not gone through for who asks for what is not
// shared, or for everything.
func TestListStaysInThePrefixes(t *testing.T) {
	b := &lists{Bucket: mem.New()}
	reader := share(t, b, "envs/", "blobs/")
	for prefix, want := range map[string]string{"cache/": "", "": "blobs/ envs/", "e": "envs/", "envs/prod/": "envs/prod/", "x": ""} {
		b.asked = nil
		for _, err := range reader.List(t.Context(), prefix, "") {
			if err != nil {
				t.Error(err)
			}
		}
		if got := strings.Join(b.asked, " "); got != want {
			t.Errorf("List(%q) goes through %q, want %q", prefix, got, want)
		}
	}
}

// FuzzHandler sends anything as a request: nothing but what is shared comes back.
func FuzzHandler(f *testing.F) {
	for _, seed := range []string{
		"GET /blobs/sha256/00 HTTP/1.1\r\nHost: x\r\nRange: bytes=1-2\r\n\r\n",
		"GET /?prefix=cache/&after=blobs HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /?prefix=..%2f..%2fetc&after=%00 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /blobs/../cache/00 HTTP/1.1\r\nHost: x\r\n\r\n",
		"HEAD //cache/00 HTTP/1.1\r\nHost: x\r\nIf-Modified-Since: x\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	b := mem.New()
	for _, key := range []string{"blobs/sha256/00", "cache/00"} {
		if err := b.Create(f.Context(), key, []byte("content of "+key)); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		rec := httptest.NewRecorder()
		peer.Handler(b, nil, "blobs/").ServeHTTP(rec, r)
		switch rec.Code {
		case 200, 206, 304, 404, 405, 412, 416:
		default:
			t.Errorf("%q: status %d", raw, rec.Code)
		}
		if strings.Contains(rec.Body.String(), "cache") {
			t.Errorf("%q: %s", raw, rec.Body)
		}
	})
}

// Answers of something else than a front end, or of a hostile one, are errors.
func TestBadAnswers(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"a web page":          func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>hello") },
		"trouble":             func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"a redirect for ever": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
		"the same page for ever": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"objects":[{"Key":"a/b","Size":1}],"more":true}`)
		},
		"keys that are none": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"objects":[{"Key":"../etc/passwd","Size":1}],"more":false}`)
		},
		"an endless answer": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat(" ", 1<<16)); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(answer)
			defer server.Close()
			b, err := peer.Open(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			var last error
			n := 0
			for _, last = range b.List(t.Context(), "", "") {
				if n++; n > 10 {
					t.Fatal("it lists for ever")
				}
			}
			if last == nil {
				t.Error("List: no error")
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, location := range []string{"", "http://", "ftp://host", "http://host?x=y", "http://user:canary@host", "host:8080"} {
		if _, err := peer.Open(location); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("Open(%q) = %v", location, err)
		}
	}
}
