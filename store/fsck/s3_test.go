package fsck_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"piimg/store"
	"piimg/store/disk"
	"piimg/store/env"
	"piimg/store/fsck"
	"piimg/store/mem"
	"piimg/store/s3/s3test"
	"piimg/store/serve"
)

// onDiskAndS3 runs a test on a folder and on a real server.
func onDiskAndS3(t *testing.T, test func(t *testing.T, w *world)) {
	server := s3test.Start(t)
	for name, b := range map[string]store.Bucket{"disk": openDisk(t, t.TempDir(), disk.Hooks{Sync: noSync}), server.Kind: server.Open(t)} {
		t.Run(name, func(t *testing.T) { test(t, newWorld(t, b)) })
	}
}

// Row 8 of the fault table: content that is there, and too short. Its size tells, nothing is
// promoted that is made of it, and who stores it again writes it anew.
func TestFaultRow08TruncatedAndEmptyContent(t *testing.T) {
	onDiskAndS3(t, func(t *testing.T, w *world) {
		kernel, overlay := w.key("kernel8.img", "v2"), w.key("overlay", "v2")
		w.cut(kernel, 100)
		w.cut(overlay, 0)
		if got := told(w.check(fsck.Options{})); len(got) != 2 || !strings.HasPrefix(got[0], "wrong size ") || !strings.HasPrefix(got[1], "wrong size ") {
			t.Errorf("findings %q", got)
		}
		if _, err := promote(t.Context(), w.store, "dev", w.images[1]); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("Promote = %v; want ErrCorrupt", err)
		}
		if d, err := publish(t.Context(), w.store, "v2"); err != nil || d != w.images[1] {
			t.Errorf("publishing again = %s, %v", d.Short(), err)
		}
		if r := w.check(); len(r.Findings) > 0 {
			t.Errorf("after publishing again: %q", told(r))
		}
	})
}

// Rows 9 and 10: a bit flips in a folder and on a server. Names and sizes are right; the
// bytes are given to nobody, and come back from the cache of a front end.
func TestFaultRow09And10Flip(t *testing.T) {
	onDiskAndS3(t, func(t *testing.T, w *world) {
		dir := t.TempDir()
		front := w.serve(dir)
		if err := front.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		front.Close()
		kernel := store.Bytes(body("kernel8.img", "v2"))
		w.flip(store.BlobKey(kernel.Digest))
		if r := w.check(fsck.Options{}); len(r.Findings) > 0 {
			t.Errorf("names and sizes: %q", told(r))
		}
		r, err := w.store.Blobs().Open(t.Context(), kernel.Blob())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(r); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("reading it = %v; want ErrCorrupt", err)
		}
		r.Close()
		want := "wrong bytes " + store.BlobKey(kernel.Digest) + " kernel8.img prod[2]! 91cdf03d"
		if got := told(w.check()); !slices.Equal(got, []string{want}) {
			t.Errorf("findings %q; want %s", got, want)
		}
		cached, err := serve.OpenCached(dir)
		if err != nil {
			t.Fatal(err)
		}
		report := w.repair(fsck.RepairOptions{Sources: []fsck.Source{{Name: "cache", Blobs: cached}}})
		if len(report.Damaged()) > 0 {
			t.Errorf("left: %+v", report.Findings)
		}
		w.wantQuarantined(1)
		if r := w.check(); len(r.Findings) > 0 {
			t.Errorf("after the repair: %q", told(r))
		}
	})
}

// Row 10 as boards see it: the image that is damaged in the store does not go live, they go
// on with the one before, and once it is repaired they get it.
func TestFaultRow10FlipInS3KeepsTheLastGoodImage(t *testing.T) {
	w := newWorld(t, s3test.Start(t).Open(t))
	front := w.serve(t.TempDir())
	defer front.Close()
	good := w.mirror()
	if _, err := promote(t.Context(), w.store, "stage", w.images[0]); err != nil {
		t.Fatal(err)
	}
	wantKernel(t, front, "stage", "v1")
	w.flip(w.key("kernel8.img", "v2"))
	if _, err := promote(t.Context(), w.store, "stage", w.images[1]); err != nil {
		t.Fatal(err) // sizes are right
	}
	if err := front.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "kernel8.img") {
		t.Errorf("Refresh = %v; want an error that names the file", err)
	}
	wantKernel(t, front, "stage", "v1")
	wantAlarm(t, front, "stage", 1)
	if r := w.repair(fsck.RepairOptions{Sources: []fsck.Source{from("mirror", good)}}); len(r.Damaged()) > 0 {
		t.Errorf("left: %+v", r.Findings)
	}
	if err := front.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantKernel(t, front, "stage", "v2")
}

// Row 7 as boards see it: behind a torn entry they go on with what the last whole one says.
func TestFaultRow07TornEntryKeepsTheLastGoodImage(t *testing.T) {
	w := newWorld(t, mem.New())
	front := w.serve(t.TempDir())
	defer front.Close()
	wantKernel(t, front, "dev", "v1")
	if _, err := promote(t.Context(), w.store, "dev", w.images[1]); err != nil {
		t.Fatal(err)
	}
	w.cut("envs/dev/log/0000000002.json", 100)
	if err := front.Refresh(t.Context()); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Refresh = %v; want ErrCorrupt", err)
	}
	wantKernel(t, front, "dev", "v1")
	wantAlarm(t, front, "dev", 1)
	w.repair(fsck.RepairOptions{})
	if err := front.Refresh(t.Context()); err != nil {
		t.Errorf("Refresh after the repair = %v", err)
	}
	wantKernel(t, front, "dev", "v1")
}

// wantKernel expects a front end to give the kernel of a version to who asks for that of an
// environment.
func wantKernel(t *testing.T, front *serve.Front, environment, version string) {
	t.Helper()
	f, err := front.Open(t.Context(), serve.Request{Client: netip.MustParseAddrPort("10.0.0.1:1"), Name: "env/" + environment + "/kernel8.img"})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || string(got) != string(body("kernel8.img", version)) {
		t.Errorf("kernel of %d bytes, %v; want that of %s", len(got), err, version)
	}
}

// wantAlarm expects a front end to say that an environment is behind, and at which step.
func wantAlarm(t *testing.T, front *serve.Front, environment string, seq int64) {
	t.Helper()
	all := front.Environments()
	if !slices.ContainsFunc(all, func(e serve.Environment) bool { return e.Name == environment && e.Seq == seq && e.Err != nil }) {
		t.Errorf("%+v: nobody is told that %s is behind", all, environment)
	}
}

// fleet is what a front end knows of a store's environments.
type fleet struct{ store *store.Store }

func (fleet) Board(name string) (string, bool) { return name, name == string(serial) }

func (fleet) Assigned(context.Context, string) (serve.Assignment, error) {
	return serve.Assignment{}, fs.ErrNotExist
}

func (f fleet) Head(ctx context.Context, name string, _ serve.Head) (serve.Head, error) {
	e, err := env.Head(ctx, f.store, name)
	return serve.Head{Seq: e.Seq, Image: e.Image}, err
}

// serve is a front end over w with its cache in dir.
func (w *world) serve(dir string) *serve.Front {
	w.t.Helper()
	f, err := serve.New(serve.Config{Dir: dir, Fleet: fleet{w.store}, Source: w.store.Blobs(), Policy: serve.Policy{Rules: serve.Rules{Default: "prod"}}})
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}
