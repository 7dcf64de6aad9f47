package disk

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"testing"

	"piimg/store"
)

// Row 5 of the fault table: a file system that is full, of bytes and of names. It is a real
// one, which this test mounts in a namespace of its own.
func TestFaultRow05FullFileSystem(t *testing.T) {
	if os.Getenv(childEnv) == "full" {
		t.Run("bytes", func(t *testing.T) { fill(t, "size=1m") })
		t.Run("names", func(t *testing.T) { fill(t, "size=64m,nr_inodes=12") })
		return
	}
	cmd := child(t, "full", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func fill(t *testing.T, limits string) {
	dir := t.TempDir()
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, limits); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(dir, 0)
	b := open(t, dir)
	if err := b.Create(t.Context(), "envs/dev/log/0000000001.json", []byte("head")); err != nil {
		t.Fatal(err)
	}
	blob := func(n int) store.Content { return store.Bytes(bytes.Repeat([]byte{byte(n)}, 200_000)) }
	stored := 0
	var err error
	for ; stored < 100 && err == nil; stored++ {
		c := blob(stored)
		err = b.Put(t.Context(), store.BlobKey(c.Digest), c)
	}
	stored--
	if !errors.Is(err, syscall.ENOSPC) || stored == 0 {
		t.Fatalf("Put of blob %d = %v; want ENOSPC after some", stored, err)
	}
	if err := b.Create(t.Context(), "envs/dev/log/0000000002.json", bytes.Repeat([]byte("next"), 100_000)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Create = %v; want ENOSPC", err)
	}
	if got := temps(t, dir); len(got) != 0 {
		t.Errorf("temporaries left: %q", got)
	}
	for n := range stored {
		if err := store.NewBlobs(b).Verify(t.Context(), blob(n).Blob()); err != nil {
			t.Errorf("blob %d that was stored before: %v", n, err)
		}
	}
	if got := string(read(t, b, "envs/dev/log/0000000001.json")); got != "head" || len(keys(t, b)) != stored+1 {
		t.Errorf("the head is %q among %d objects; want it, and %d", got, len(keys(t, b)), stored+1)
	}
	// Whoever makes room can go on.
	for n := range 2 {
		if err := b.Delete(t.Context(), store.BlobKey(blob(n).Digest)); err != nil {
			t.Fatal(err)
		}
	}
	c := blob(stored)
	if err := b.Put(t.Context(), store.BlobKey(c.Digest), c); err != nil {
		t.Errorf("Put once there is room = %v", err)
	}
}
