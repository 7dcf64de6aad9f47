package fsck_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"piimg/store"
	"piimg/store/disk"
	"piimg/store/fsck"
	"piimg/store/s3"
	"piimg/store/s3/s3test"
	"piimg/store/serve/servetest"
)

// TestMain keeps minio-go from waiting once more after a request that has failed for good.
func TestMain(m *testing.M) {
	minio.DefaultRetryUnit = time.Millisecond
	m.Run()
}

// once matches every request the first time that it comes by, every nth of them.
func once(n int) func(*http.Request) bool {
	var mu sync.Mutex
	seen, count := map[string]bool{}, 0
	return func(r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if id := r.Method + r.URL.RequestURI(); seen[id] {
			return false
		} else {
			seen[id] = true
		}
		count++
		return count%n == 0
	}
}

// Rows 12 to 16 of the fault table, over a whole publishing and promoting: every request of
// it fails once, in every way. It succeeds, its step is there once, and nothing is damaged.
func TestFaultRow12To16EveryRequestFailsOnce(t *testing.T) {
	server := s3test.Start(t)
	conflict := s3test.Status(http.StatusConflict, "ConditionalRequestConflict")
	for name, tt := range map[string]struct {
		fault s3test.Fault
		every int
	}{
		"row 12: 500":          {s3test.Status(http.StatusInternalServerError, "InternalError"), 1},
		"row 12: 503 SlowDown": {s3test.Status(http.StatusServiceUnavailable, "SlowDown"), 1},
		"row 13: hang":         {s3test.Hang, 12},
		"row 13: stall":        {s3test.Stall(10), 12},
		"row 14: short body":   {s3test.Cut(10), 1},
		"row 15: lost answer":  {s3test.Lose, 1},
		"row 16: conflict":     {onlyPuts(conflict), 1},
	} {
		t.Run(name, func(t *testing.T) {
			name := server.NewBucket(t)
			direct := openS3(t, server.Config(t, name, server.Endpoint))
			s, err := store.Init(t.Context(), direct)
			if err != nil {
				t.Fatal(err)
			}
			v1, err := publish(t.Context(), s, "v1")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := promote(t.Context(), s, "dev", v1); err != nil {
				t.Fatal(err)
			}
			proxy := s3test.NewProxy(t, server)
			proxy.Inject(once(tt.every), -1, tt.fault)
			c := server.Config(t, name, proxy.URL)
			c.Idle, c.Retry = time.Second, s3.Retry{Attempts: 5, First: time.Millisecond, Longest: 5 * time.Millisecond}
			if published, promoted := ship(t, openS3(t, c)); published != nil || promoted != nil {
				t.Errorf("publish = %v, promote = %v", published, promoted)
			}
			if n := len(proxy.Seen()); n < 20 {
				t.Errorf("%d requests only", n)
			}
			w := &world{t: t, store: s}
			if r := w.check(); len(r.Findings) > 0 || r.Steps != 2 {
				t.Errorf("%d steps, findings %q", r.Steps, told(r))
			}
		})
	}
}

// onlyPuts is a fault that other requests do not have.
func onlyPuts(f s3test.Fault) s3test.Fault {
	return func(w http.ResponseWriter, r *http.Request, forward func() (*http.Response, error)) {
		if r.Method == http.MethodPut {
			f(w, r, forward)
			return
		}
		s3test.Pass(w, r, forward)
	}
}

func openS3(t *testing.T, c s3.Config) *s3.Bucket {
	t.Helper()
	b, err := s3.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Row 11: a bit flips in memory between hashing and storing. What is stored is hashed as it
// is written, so it is noticed, and nothing is stored.
func TestFaultRow11FlippedInMemory(t *testing.T) {
	onDiskAndS3(t, func(t *testing.T, w *world) {
		doc := bytes.Repeat([]byte("kernel"), 50_000)
		c := store.Bytes(doc)
		c.Open = func() (io.ReadCloser, error) {
			flipped := bytes.Clone(doc)
			flipped[len(flipped)/3] ^= 8
			return io.NopCloser(bytes.NewReader(flipped)), nil
		}
		if _, err := w.store.Blobs().Put(t.Context(), c); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("Put = %v; want ErrCorrupt", err)
		}
		if _, err := w.store.Bucket().Stat(t.Context(), store.BlobKey(c.Digest)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Stat = %v; want it not there", err)
		}
		if r := w.check(); len(r.Findings) > 0 {
			t.Errorf("%q", told(r))
		}
	})
}

// Invariant I7: after work that failed in every way, no more files are open and no more
// goroutines run than before, and no temporary is left.
func TestInvariantI7NothingIsLeftOnDisk(t *testing.T) {
	servetest.NoLeaks(t)
	dir := t.TempDir()
	w := newWorld(t, openDisk(t, dir, disk.Hooks{Sync: noSync}))
	kernel := w.key("kernel8.img", "v2")
	b := odd{Bucket: w.store.Bucket(), get: func(key string) error {
		if key == kernel {
			return errNet
		}
		return nil
	}}
	for n := range 20 {
		_, _ = fsck.Check(t.Context(), w.open(b), fsck.Options{Read: fsck.All()})
		_, _ = fsck.Image(t.Context(), w.open(b), w.images[1], fsck.Options{})
		at := n
		_, _ = ship(t, openDisk(t, dir, disk.Hooks{Sync: noSync, Point: func(string, string) error {
			if at--; at == 0 {
				return errNet
			}
			return nil
		}}))
		w.flip(kernel)
		w.repair(fsck.RepairOptions{Sources: []fsck.Source{from("bad", w.store)}})
		w.put(kernel, body("kernel8.img", "v2"))
	}
	if left, err := os.ReadDir(dir + "/tmp"); err != nil || len(left) > 0 {
		t.Errorf("temporaries %v, %v", left, err)
	}
}

// The same of a bucket on a server, once the server is gone too.
func TestInvariantI7NothingIsLeftOfRequests(t *testing.T) {
	servetest.NoLeaks(t)
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server)
	c := server.Config(t, server.NewBucket(t), proxy.URL)
	c.Idle, c.Retry = 5*time.Second, s3.Retry{Attempts: 2, First: time.Millisecond, Longest: time.Millisecond}
	w := newWorld(t, openS3(t, c))
	for _, fault := range []s3test.Fault{
		s3test.Status(http.StatusInternalServerError, "InternalError"), s3test.Cut(10), s3test.Lose, s3test.Flip,
	} {
		proxy.Inject(once(2), -1, fault)
		_, _ = fsck.Check(t.Context(), w.store, fsck.Options{Read: fsck.All()})
		_, _ = publish(t.Context(), w.store, "v2")
		proxy.Heal()
	}
}
