package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"piimg/store"
)

const (
	childEnv    = "PIIMG_TEST_DISK_CHILD" // what the child does; for a kill, the point
	childDirEnv = "PIIMG_TEST_DISK_DIR"
)

// child is this test again, in a process of its own that works on dir.
func child(t *testing.T, does, dir string) *exec.Cmd {
	t.Helper()
	name, _, _ := strings.Cut(t.Name(), "/")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+name+"$")
	cmd.Env = append(os.Environ(), childEnv+"="+does, childDirEnv+"="+dir)
	return cmd
}

func limitFileSize(t *testing.T, size uint64) {
	t.Helper()
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: size}); err != nil {
		t.Fatal(err)
	}
}

const blobsBefore = 3

func blob(n int) []byte { return bytes.Repeat(fmt.Appendf(nil, "blob %d ", n), 20_000) }

func entryKey(seq int) string { return fmt.Sprintf("envs/dev/log/%010d.json", seq) }

func entryDoc(seq int) []byte { return fmt.Appendf(nil, `{"seq":%d}`, seq) }

// TestFaultRow01KilledAtEachPointOfAWrite kills a process that writes blobs and log entries at each point of a write,
// with SIGKILL, and looks at what it left.
func TestFaultRow01KilledAtEachPointOfAWrite(t *testing.T) {
	if point := os.Getenv(childEnv); point != "" {
		writeUntilKilled(t, os.Getenv(childDirEnv), point)
		return
	}
	points := []string{
		"blob.tmp", "blob.half", "blob.fsynced", "blob.linked", "blob.dirsynced",
		"log.tmp", "log.half", "log.fsynced", "log.linked", "log.dirsynced",
	}
	for _, point := range points {
		t.Run(point, func(t *testing.T) {
			dir := t.TempDir()
			cmd := child(t, point, dir)
			out, err := cmd.Output()
			if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
				t.Fatalf("child ended with %v; want it killed\n%s", err, out)
			}
			b := open(t, dir)
			checkVisible(t, b)
			checkReported(t, b, string(out))
			checkRetry(t, b, point)
			checkSwept(t, dir)
		})
	}
}

// writeUntilKilled reports each write that succeeded. The last of its kind does not.
func writeUntilKilled(t *testing.T, dir, point string) {
	b := open(t, dir)
	armed := false
	b.hooks.Point = func(at, _ string) error {
		if armed && at == point {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
		return nil
	}
	for n := range blobsBefore + 1 {
		armed = n == blobsBefore
		c := store.Bytes(blob(n))
		if err := b.Put(t.Context(), store.BlobKey(c.Digest), c); err != nil {
			t.Fatal(err)
		}
		fmt.Println("stored", store.BlobKey(c.Digest))
		if err := b.Create(t.Context(), entryKey(n+1), entryDoc(n+1)); err != nil {
			t.Fatal(err)
		}
		fmt.Println("stored", entryKey(n+1))
	}
}

// checkVisible expects every object to be whole, and the log to have no gap.
func checkVisible(t *testing.T, b *Bucket) {
	t.Helper()
	seq := 0
	for _, key := range keys(t, b) {
		doc := read(t, b, key)
		if strings.HasPrefix(key, "blobs/") {
			if want := store.BlobKey(store.Sum(doc)); key != want {
				t.Errorf("%s holds %d bytes that belong to %s", key, len(doc), want)
			}
			continue
		}
		seq++
		if key != entryKey(seq) || !bytes.Equal(doc, entryDoc(seq)) {
			t.Errorf("%s holds %q; want entry %d, %q", key, doc, seq, entryDoc(seq))
		}
	}
}

// checkReported expects every object that the child said it had stored.
func checkReported(t *testing.T, b *Bucket, out string) {
	t.Helper()
	reported := 0
	for line := range strings.Lines(out) {
		key, ok := strings.CutPrefix(strings.TrimSpace(line), "stored ")
		if !ok {
			continue
		}
		reported++
		if _, err := b.Stat(t.Context(), key); err != nil {
			t.Errorf("reported as stored: %v", err)
		}
	}
	if reported < 2*blobsBefore {
		t.Errorf("the child reported %d writes; want %d at least\n%s", reported, 2*blobsBefore, out)
	}
}

// checkRetry expects that the write that was cut short succeeds when it is done again,
// and that an entry that had its name already is not replaced.
func checkRetry(t *testing.T, b *Bucket, point string) {
	t.Helper()
	c := store.Bytes(blob(blobsBefore))
	if wrote, err := store.NewBlobs(b).Put(t.Context(), c); err != nil {
		t.Errorf("Put again = %v", err)
	} else if named := !strings.HasPrefix(point, "blob.") || point == "blob.linked" || point == "blob.dirsynced"; wrote == named {
		t.Errorf("Put again wrote: %v; the blob had its name: %v", wrote, named)
	}
	key := entryKey(blobsBefore + 1)
	other := b.Create(t.Context(), key, []byte("other"))
	if point == "log.linked" || point == "log.dirsynced" {
		if !errors.Is(other, store.ErrConflict) {
			t.Errorf("Create(other) = %v; want ErrConflict: the entry was there", other)
		}
		if err := b.Create(t.Context(), key, entryDoc(blobsBefore+1)); err != nil {
			t.Errorf("Create again = %v; want nil: the entry is there", err)
		}
	} else if other != nil {
		t.Errorf("Create(other) = %v; want nil: the entry was not there", other)
	}
}

// checkSwept expects that what the child left is gone with the first write a day later.
func checkSwept(t *testing.T, dir string) {
	t.Helper()
	then := time.Now().Add(-abandoned - time.Minute)
	for _, name := range temps(t, dir) {
		file := filepath.Join(dir, tmpName, name)
		if err := os.Chtimes(file, then, then); err != nil {
			t.Fatal(err)
		}
	}
	b := open(t, dir)
	if err := b.Put(t.Context(), "cache/new", store.Bytes(nil)); err != nil {
		t.Fatal(err)
	}
	if got := temps(t, dir); len(got) != 0 {
		t.Errorf("temporaries left: %q", got)
	}
	if got := len(keys(t, b)); got != 2*(blobsBefore+1)+1 {
		t.Errorf("%d objects after the sweep; want %d", got, 2*(blobsBefore+1)+1)
	}
}

func read(t *testing.T, b *Bucket, key string) []byte {
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
