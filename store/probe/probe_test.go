package probe_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/disk"
	"piimg/store/mem"
	"piimg/store/probe"
	"piimg/store/s3"
	"piimg/store/s3/s3test"
)

func run(t *testing.T, buckets ...store.Bucket) probe.Report {
	t.Helper()
	r, err := probe.Run(t.Context(), buckets...)
	if err != nil {
		t.Fatal(err)
	}
	for info, err := range buckets[0].List(t.Context(), "", "") {
		t.Errorf("left behind: %s, %v", info.Key, err)
	}
	return r
}

func TestBucketsThatKeepTheirPromises(t *testing.T) {
	folder, err := disk.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]store.Bucket{"mem": mem.New(), "disk": folder} {
		if bad := run(t, b).Failed(); len(bad) > 0 {
			t.Errorf("%s: %v", name, bad)
		}
	}
}

// A real server passes, over two connections. Row 17: the same server that ignores the
// condition does not.
func TestFaultRow17ServerIgnoresTheCondition(t *testing.T) {
	server := s3test.Start(t)
	config := server.Config(t, server.NewBucket(t), server.Endpoint)
	if bad := run(t, open(t, config), open(t, config)).Failed(); len(bad) > 0 {
		t.Errorf("%s: %v", server.Kind, bad)
	}
	proxy := s3test.NewProxy(t, server)
	proxy.Inject(s3test.Method("PUT"), -1, server.Unconditional)
	bad := run(t, open(t, server.Config(t, server.NewBucket(t), proxy.URL))).Failed()
	if len(bad) != 2 || bad[0].Name != "create if absent" || bad[1].Name != "one winner of a race" {
		t.Errorf("a server without conditional PUT: %v", bad)
	}
}

func open(t *testing.T, c s3.Config) *s3.Bucket {
	t.Helper()
	b, err := s3.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// faulty is a bucket with one promise broken.
type faulty struct {
	store.Bucket
	skew  time.Duration
	stale bool
	down  bool
}

func (f faulty) Stat(ctx context.Context, key string) (store.Info, error) {
	i, err := f.Bucket.Stat(ctx, key)
	i.Time = i.Time.Add(f.skew)
	return i, err
}

func (f faulty) Put(ctx context.Context, key string, c store.Content) error {
	if f.down {
		return errors.New("connection refused")
	}
	if f.stale && strings.HasSuffix(key, "/list/03") {
		return nil // seen later
	}
	return f.Bucket.Put(ctx, key, c)
}

func (f faulty) Create(ctx context.Context, key string, doc []byte) error {
	if f.down {
		return errors.New("connection refused")
	}
	return f.Bucket.Create(ctx, key, doc)
}

func TestBrokenPromises(t *testing.T) {
	for want, f := range map[string]faulty{
		"clock: the store's is off by -1h0m0s, more than 5m0s: set the clocks of both machines": {Bucket: mem.New(), skew: -time.Hour},
		"clock: the store's is off by 1h0m0s, more than 5m0s: set the clocks of both machines":  {Bucket: mem.New(), skew: time.Hour},
		"list after write: 4 objects were written and 3 listed":                                 {Bucket: mem.New(), stale: true},
	} {
		if got := run(t, f).Failed().String(); got != want {
			t.Errorf("failed: %s; want %s", got, want)
		}
	}
	if _, err := probe.Run(t.Context(), faulty{Bucket: mem.New(), down: true}); err == nil {
		t.Error("a bucket that cannot be reached passed")
	}
}

// Write leaves nothing behind, and says what is in the way.
func TestWrite(t *testing.T) {
	b := mem.New()
	if err := probe.Write(t.Context(), b); err != nil {
		t.Error(err)
	}
	for info, err := range b.List(t.Context(), "", "") {
		t.Errorf("left behind: %s, %v", info.Key, err)
	}
	if err := probe.Write(t.Context(), faulty{Bucket: b, down: true}); err == nil {
		t.Error("a bucket that cannot be reached is written")
	}
}
