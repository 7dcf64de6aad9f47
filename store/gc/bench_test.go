package gc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/disk"
	"piimg/store/gc"
	"piimg/store/s3/s3test"
)

// A store of a hundred thousand blobs, of which ten thousand are manifests.
const (
	benchImages = 10_000
	benchFiles  = 8 // of an image, besides its config and its manifest
)

// BenchmarkMark finds out what a large store keeps: it lists everything and reads every
// manifest. (make bench-gc)
func BenchmarkMark(b *testing.B) {
	b.Run("disk", func(b *testing.B) {
		dir := b.TempDir()
		fill(b, dir)
		bucket, err := disk.Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		mark(b, bucket)
	})
	b.Run("s3", func(b *testing.B) {
		server := s3test.Start(b)
		bucket := server.Open(b)
		if _, err := store.Init(b.Context(), bucket); err != nil {
			b.Fatal(err)
		}
		fill(b, folderOf(b, server.Folder()))
		mark(b, bucket)
	})
}

// folderOf is the folder in which a server keeps the only store that it has.
func folderOf(b *testing.B, root string) string {
	found, err := filepath.Glob(filepath.Join(root, "*", "pre", "fix", "piimg-store.json"))
	if err != nil || len(found) != 1 {
		b.Fatalf("stores in %s: %q, %v", root, found, err)
	}
	return filepath.Dir(found[0])
}

func mark(b *testing.B, bucket store.Bucket) {
	s, err := store.Init(b.Context(), bucket)
	if err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	memory, cpu := memoryNow(), cpuNow(b)
	stages := map[string]time.Duration{}
	for b.Loop() {
		stage, since := "", time.Now()
		r, err := gc.Run(context.Background(), s, gc.Options{Progress: func(next string) {
			stages[stage] += time.Since(since)
			stage, since = next, time.Now()
		}})
		stages[stage] += time.Since(since)
		if err != nil {
			b.Fatal(err)
		}
		if want := benchImages * (benchFiles + 2); r.Kept.Blobs != want {
			b.Fatalf("%d blobs kept; want %d", r.Kept.Blobs, want)
		}
	}
	b.ReportMetric(stages["list objects"].Seconds()/float64(b.N), "s-listing/op")
	b.ReportMetric((memoryNow()-memory)/1e6, "MB-more")
	b.ReportMetric((cpuNow(b)-cpu).Seconds()/float64(b.N), "cpu-s/op")
}

// memoryNow is what the process has from the system, in bytes.
func memoryNow() float64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.Sys)
}

// cpuNow is the processor time that this process has used, which says more than the clock
// on a machine that others use too.
func cpuNow(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fill writes the files of the store into its folder, which is quicker than through a
// bucket: that makes each of them durable.
func fill(b *testing.B, dir string) {
	blobs, records := filepath.Join(dir, "blobs", "sha256"), filepath.Join(dir, "images")
	for _, d := range []string{blobs, records} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			b.Fatal(err)
		}
	}
	put := func(text []byte) store.Blob {
		c := store.Bytes(text)
		if err := os.WriteFile(filepath.Join(blobs, c.Digest.Hex()), text, 0o644); err != nil {
			b.Fatal(err)
		}
		return c.Blob()
	}
	for n := range benchImages {
		i := store.Image{Name: "bench", Boards: []string{"pi4b"}, Config: put(fmt.Appendf(nil, `{"n":%d}`, n))}
		for f := range benchFiles {
			i.Files = append(i.Files, store.NewFile(fmt.Sprintf("file%d", f), 0o644, put(fmt.Appendf(nil, "file %d of %d", f, n))))
		}
		doc, err := store.EncodeManifest(i)
		if err != nil {
			b.Fatal(err)
		}
		d := put(doc).Digest
		rec, err := json.Marshal(store.Record{Image: d, Name: "bench", Time: time.Now()})
		if err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(records, d.Hex()+".json"), rec, 0o644); err != nil {
			b.Fatal(err)
		}
	}
}
