package serve

import (
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"piimg/store"
)

// held is a cached file that is open. All transfers of its blob share it, so that
// descriptors and mappings are as many as blobs, however many boards there are.
type held struct {
	file *os.File
	blob store.Blob
	info fs.FileInfo // of when the file was as it had been hashed
	refs int         // guarded by cache.mu

	mapping sync.Once
	mapped  []byte // nil where nobody asked for it or there can be none
}

// hold opens b's file if it is as it was when it was hashed, or shares the one that is
// open. It has to be released.
func (c *cache) hold(b store.Blob) (*held, error) {
	info, err := os.Stat(c.path(b.Digest))
	if err != nil {
		return nil, err
	}
	if !c.trusts(b, info) {
		return nil, errChanged
	}
	if h := c.share(b, info); h != nil {
		return h, nil
	}
	f, err := os.Open(c.path(b.Digest))
	if err != nil {
		return nil, err
	}
	h := &held{file: f, blob: b, refs: 1}
	if h.info, err = f.Stat(); err == nil && !c.trusts(b, h.info) {
		err = errChanged
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return c.enter(h), nil
}

// share is the open file of b, unless the one under its name is another by now.
func (c *cache) share(b store.Blob, now fs.FileInfo) *held {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.held[b.Digest]
	if h == nil || !os.SameFile(h.info, now) || stampOf(h.info) != stampOf(now) {
		return nil
	}
	h.refs++
	return h
}

// enter lets others share h, or closes it where somebody else was faster.
func (c *cache) enter(h *held) *held {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := c.held[h.blob.Digest]
	if first != nil && os.SameFile(first.info, h.info) && stampOf(first.info) == stampOf(h.info) {
		first.refs++
		h.file.Close()
		return first
	}
	c.held[h.blob.Digest] = h
	return h
}

// release gives h back. The last one who does closes it.
func (c *cache) release(h *held) error {
	c.mu.Lock()
	h.refs--
	last := h.refs == 0
	if last && c.held[h.blob.Digest] == h {
		delete(c.held, h.blob.Digest)
	}
	c.mu.Unlock()
	if !last {
		return nil
	}
	if h.mapped != nil {
		syscall.Munmap(h.mapped)
	}
	return h.file.Close()
}

// memory is the file as memory, and nil where that cannot be had: of empty files, and on
// file systems without mappings.
func (h *held) memory() []byte {
	h.mapping.Do(func() {
		if h.blob.Size == 0 || h.blob.Size != int64(int(h.blob.Size)) {
			return
		}
		mem, err := syscall.Mmap(int(h.file.Fd()), 0, int(h.blob.Size), syscall.PROT_READ, syscall.MAP_SHARED)
		if err == nil {
			h.mapped = mem
		}
	})
	return h.mapped
}

// check says whether the file is still as it was when it was hashed.
func (h *held) check() error {
	now, err := h.file.Stat()
	if err != nil {
		return err
	}
	if stampOf(now) != stampOf(h.info) {
		return fmt.Errorf("the cached file has changed while it was read: %w", store.ErrCorrupt)
	}
	return nil
}
