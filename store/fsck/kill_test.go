package fsck_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"piimg/store"
	"piimg/store/disk"
	"piimg/store/env"
	"piimg/store/fsck"
)

const (
	killEnv = "PIIMG_TEST_FSCK_KILL" // the number of the point at which the child dies
	dirEnv  = "PIIMG_TEST_FSCK_DIR"
)

// point is a named point of a write.
type point struct{ name, key string }

// failpoint is the point by what is written: a blob, a manifest, a record, a lease, a
// finished step or an entry of a log.
func (p point) failpoint(manifest store.Digest) string {
	_, step, _ := strings.Cut(p.name, ".")
	switch {
	case p.key == store.BlobKey(manifest):
		return "manifest.put." + step
	case strings.HasPrefix(p.key, "images/"):
		return "ref.put." + step
	case strings.HasPrefix(p.key, "leases/"):
		return "lease.put." + step
	case strings.HasPrefix(p.key, "cache/"):
		return "ac.put." + step
	}
	return p.name // blob.tmp … and log.tmp …
}

// ship publishes v2 and promotes it, as the builds and promotions of people do.
func ship(t *testing.T, b store.Bucket) (published, promoted error) {
	s, err := store.Open(t.Context(), b)
	if err != nil {
		return err, err
	}
	d, err := publish(t.Context(), s, "v2")
	if err != nil {
		return err, err
	}
	_, err = promote(t.Context(), s, "dev", d)
	return nil, err
}

// before is a folder with a store where dev runs v1.
func before(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Init(t.Context(), openDisk(t, dir, disk.Hooks{Sync: noSync}))
	if err != nil {
		t.Fatal(err)
	}
	d, err := publish(t.Context(), s, "v1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := promote(t.Context(), s, "dev", d); err != nil {
		t.Fatal(err)
	}
	return dir
}

func openDisk(t *testing.T, dir string, h disk.Hooks) *disk.Bucket {
	t.Helper()
	b, err := disk.OpenHooked(dir, h)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// copied is a copy of a folder.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "store")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// pointsOf are the points that shipping v2 into a copy of dir comes by, in order.
func pointsOf(t *testing.T, dir string) []point {
	t.Helper()
	var all []point
	b := openDisk(t, copied(t, dir), disk.Hooks{Point: func(name, key string) error {
		all = append(all, point{name, key})
		return nil
	}})
	if _, err := ship(t, b); err != nil {
		t.Fatal(err)
	}
	return all
}

// imageOf is the digest of the image of a version.
func imageOf(t *testing.T, version string) store.Digest {
	t.Helper()
	d, err := publish(t.Context(), newStore(t), version)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// wantWhole checks the invariants of a store in the folder dir: every object is what its
// name says, every log is whole and every closure complete. It returns the head of dev.
func wantWhole(t *testing.T, dir string) (*store.Store, env.Entry) {
	t.Helper()
	s, err := store.Open(t.Context(), openDisk(t, dir, disk.Hooks{}))
	if err != nil {
		t.Fatal(err)
	}
	r, err := fsck.Check(t.Context(), s, fsck.Options{Read: fsck.All()})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		t.Errorf("%s %s: %s", f.Kind, f.Key, f.Text)
	}
	head, err := env.Head(t.Context(), s, "dev")
	if err != nil {
		t.Fatal(err)
	}
	return s, head
}

// killed runs a child that dies, by SIGKILL, at the point numbered n. It returns what the
// child could still report.
func killed(t *testing.T, dir string, n int) string {
	t.Helper()
	return killedIn(t, "TestFaultRow01KilledWhileBlobsAreWritten", dir, n)
}

// killedIn is killed of the child that a test is.
func killedIn(t *testing.T, test, dir string, n int) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+test+"$")
	cmd.Env = append(os.Environ(), killEnv+"="+strconv.Itoa(n), dirEnv+"="+dir)
	out, err := cmd.Output()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("child ended with %v; want it killed\n%s", err, out)
	}
	return string(out)
}

// die is the child: it ships v2 and ends at the point numbered n.
func die(t *testing.T, dir string, n int) {
	b := openDisk(t, dir, disk.Hooks{Point: func(string, string) error {
		if n--; n < 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
		return nil
	}})
	published, promoted := ship(t, b)
	fmt.Println("published:", published, "promoted:", promoted)
}

// killAt kills at each point whose name starts with one of the prefixes, looks at what is
// left and does it again.
func killAt(t *testing.T, look func(t *testing.T, failpoint string, s *store.Store, head env.Entry), prefixes ...string) {
	dir, v1, v2 := before(t), imageOf(t, "v1"), imageOf(t, "v2")
	tried := 0
	for n, p := range pointsOf(t, dir) {
		failpoint := p.failpoint(v2)
		for _, prefix := range prefixes {
			if !strings.HasPrefix(failpoint, prefix) {
				continue
			}
			tried++
			t.Run(failpoint, func(t *testing.T) {
				dir := copied(t, dir)
				if out := killed(t, dir, n); out != "" {
					t.Errorf("the child reported %q before it was through", out)
				}
				s, head := wantWhole(t, dir)
				if head.Image != v1 && (head.Image != v2 || failpoint != "log.linked" && failpoint != "log.dirsynced") {
					t.Errorf("dev runs %s", head.Image)
				}
				look(t, failpoint, s, head)
				for range 2 { // the second time changes nothing
					if published, promoted := ship(t, openDisk(t, dir, disk.Hooks{Sync: noSync})); published != nil || promoted != nil {
						t.Errorf("doing it again: %v, %v", published, promoted)
					}
				}
				if _, head := wantWhole(t, dir); head.Image != v2 || head.Seq != 2 {
					t.Errorf("dev runs %s at step %d", head.Image, head.Seq)
				}
			})
		}
	}
	if tried < 5*len(prefixes) {
		t.Errorf("%d points for %q", tried, prefixes)
	}
}

// listed says whether the image of v2 is among the published ones.
func listed(t *testing.T, s *store.Store) bool {
	t.Helper()
	found, err := s.FindImages(t.Context(), imageOf(t, "v2").Hex())
	if err != nil {
		t.Fatal(err)
	}
	return len(found) == 1
}

// Row 1 of the fault table: kill -9 while content and finished steps are written. Nothing
// half written is seen.
func TestFaultRow01KilledWhileBlobsAreWritten(t *testing.T) {
	if n, err := strconv.Atoi(os.Getenv(killEnv)); err == nil {
		die(t, os.Getenv(dirEnv), n)
		return
	}
	killAt(t, func(t *testing.T, _ string, s *store.Store, head env.Entry) {
		if listed(t, s) || head.Seq != 1 {
			t.Error("an image is known whose content is not all there")
		}
	}, "blob.", "ac.put.")
}

// The same while a lease is written, of which there is one for publishing and one for
// promoting. One that nobody renews keeps things for a while, and is in nobody's way.
func TestFaultRow01KilledWhileLeasesAreWritten(t *testing.T) {
	killAt(t, func(*testing.T, string, *store.Store, env.Entry) {}, "lease.put.")
}

// Row 2: between the blobs and the manifest. There are blobs that nothing names, and that
// is all.
func TestFaultRow02KilledBetweenBlobsAndManifest(t *testing.T) {
	killAt(t, func(t *testing.T, _ string, s *store.Store, head env.Entry) {
		if listed(t, s) || head.Seq != 1 {
			t.Error("an image is known whose manifest was being written")
		}
		if err := s.Blobs().Verify(t.Context(), store.Bytes(body("kernel8.img", "v2")).Blob()); err != nil {
			t.Errorf("what was finished before: %v", err)
		}
	}, "manifest.put.")
}

// Row 3: between the manifest and the entry of the log. The old head stays, and the image is
// listed as one that nothing runs.
func TestFaultRow03KilledBetweenManifestAndLogEntry(t *testing.T) {
	killAt(t, func(t *testing.T, failpoint string, s *store.Store, head env.Entry) {
		named := failpoint == "ref.put.linked" || failpoint == "ref.put.dirsynced" || strings.HasPrefix(failpoint, "log.")
		if listed(t, s) != named {
			t.Errorf("listed: %v; want %v", listed(t, s), named)
		}
		promoted := failpoint == "log.linked" || failpoint == "log.dirsynced"
		if (head.Seq == 2) != promoted {
			t.Errorf("step %d; want it promoted: %v", head.Seq, promoted)
		}
	}, "ref.put.", "log.")
}
