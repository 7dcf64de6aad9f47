package serve

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"piimg/store"
)

const (
	keepUsed      = time.Minute // an image that somebody has asked for since is not evicted
	touchEvery    = time.Hour   // the time of last use on disk is no more exact than that
	maxQuarantine = 8           // damaged blobs that are kept to be looked at
)

// Share of the file system that stays free, and the most that this is.
const (
	freeShare = 0.03
	freeMost  = 1 << 30
)

// Space is how much of a file system is free and how large it is, in bytes.
type Space func(dir string) (free, total int64, err error)

func statfs(dir string) (free, total int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	return int64(s.Bavail) * s.Bsize, int64(s.Blocks) * s.Bsize, nil
}

// errNoRoom: what could be evicted is not enough.
var errNoRoom = errors.New("the cache is full")

// pin keeps blobs from being evicted until unpin: those of an image that is being fetched,
// before anything else says that it is wanted.
func (c *cache) pin(blobs []store.Blob) {
	c.gate.RLock()
	defer c.gate.RUnlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range blobs {
		c.pins[b.Digest]++
	}
}

func (c *cache) unpin(blobs []store.Blob) {
	c.gate.RLock()
	defer c.gate.RUnlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range blobs {
		if c.pins[b.Digest]--; c.pins[b.Digest] == 0 {
			delete(c.pins, b.Digest)
		}
	}
}

// reserve makes sure of room for n more bytes, and evicts what it has to. The caller gives
// back with giveBack what it does not use, and what has arrived.
func (c *cache) reserve(n int64) error {
	if n == 0 {
		return nil
	}
	c.gate.Lock()
	defer c.gate.Unlock()
	lacks, err := c.lacks(n)
	if err == nil && lacks > 0 {
		if err = c.evict(lacks); err == nil {
			lacks, err = c.lacks(n)
		}
	}
	if err != nil {
		return fmt.Errorf("make room in the cache: %w", err)
	}
	if lacks > 0 {
		return fmt.Errorf("%w: %d bytes are needed, and %d of them are lacking: all else is of images that boards run, have run before or are booting", errNoRoom, n, lacks)
	}
	c.mu.Lock()
	c.reserved += n
	c.mu.Unlock()
	return nil
}

func (c *cache) giveBack(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reserved -= n
}

// lacks is how many bytes have to go before there is room for n more.
func (c *cache) lacks(n int64) (int64, error) {
	free, total, err := c.space(c.dir)
	if err != nil {
		return 0, err
	}
	floor := min(int64(float64(total)*freeShare), freeMost)
	c.mu.Lock()
	defer c.mu.Unlock()
	lacks := floor + n + c.reserved - free
	if c.limit > 0 {
		lacks = max(lacks, c.used+n+c.reserved-c.limit)
	}
	return max(lacks, 0), nil
}

// evict removes what nobody needs until n bytes have gone: damaged blobs, then those of no
// image, then the images that were not used for longest. The caller holds the gate.
func (c *cache) evict(n int64) error {
	n -= c.clearQuarantine()
	needed, err := c.needed()
	if err != nil || n <= 0 {
		return err
	}
	idle, err := c.idleImages(needed)
	if err != nil {
		return err
	}
	uses := map[store.Digest]int{}
	for _, i := range idle {
		for _, b := range i.blobs {
			uses[b]++
		}
	}
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		d, err := store.ParseHex(e.Name())
		if err == nil && !needed[d] && uses[d] == 0 {
			n -= c.remove(d)
		}
	}
	for _, i := range idle {
		if n <= 0 {
			break
		}
		n -= c.evictImage(i, needed, uses)
	}
	return nil
}

// cachedImage is an image that nobody needs now.
type cachedImage struct {
	digest store.Digest
	blobs  []store.Digest
	used   time.Time
}

// evictImage removes the blobs of i that no other image has.
func (c *cache) evictImage(i cachedImage, needed map[store.Digest]bool, uses map[store.Digest]int) int64 {
	os.Remove(c.marker(i.digest))
	c.mu.Lock()
	delete(c.images, i.digest)
	c.mu.Unlock()
	var gone int64
	for _, b := range i.blobs {
		if uses[b]--; uses[b] == 0 && !needed[b] {
			gone += c.remove(b)
		}
	}
	c.log.Info("image evicted from the cache", "image", i.digest, "bytes", gone, "used", i.used)
	return gone
}

// remove removes a blob, and says how many bytes that frees.
func (c *cache) remove(d store.Digest) int64 {
	info, err := os.Stat(c.path(d))
	if err != nil || os.Remove(c.path(d)) != nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.verified, d)
	c.used -= info.Size()
	c.counts.evicted.Add(float64(info.Size()))
	return info.Size()
}

// needed is the blobs that must not go: those of images that are wanted or were asked for
// just now, and those of images that are being fetched.
func (c *cache) needed() (map[store.Digest]bool, error) {
	images := c.wanted()
	c.mu.Lock()
	needed := map[store.Digest]bool{}
	for d := range c.pins {
		needed[d] = true
	}
	for d, i := range c.images {
		if c.now().Sub(i.seen) < keepUsed {
			images[d] = true
		}
	}
	c.mu.Unlock()
	for d := range images {
		blobs, err := c.closure(d)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was never fetched
		}
		if err != nil {
			return nil, err
		}
		for _, b := range blobs {
			needed[b] = true
		}
	}
	return needed, nil
}

// idleImages are the images that are complete here and not needed, those that were not
// used for longest first.
func (c *cache) idleImages(needed map[store.Digest]bool) ([]cachedImage, error) {
	entries, err := os.ReadDir(c.markers)
	if err != nil {
		return nil, err
	}
	var idle []cachedImage
	for _, e := range entries {
		d, err := store.ParseHex(e.Name())
		if err != nil || needed[d] {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue
		}
		blobs, err := c.closure(d)
		if err != nil {
			blobs = []store.Digest{d} // what is left of it has no other use
		}
		idle = append(idle, cachedImage{d, blobs, info.ModTime()})
	}
	slices.SortFunc(idle, func(a, b cachedImage) int {
		return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.digest.Hex(), b.digest.Hex()))
	})
	return idle, nil
}

// closure is everything that the image named d is made of, its manifest too.
func (c *cache) closure(d store.Digest) ([]store.Digest, error) {
	doc, err := os.ReadFile(c.path(d))
	if err != nil {
		return nil, err
	}
	if store.Sum(doc) != d {
		return nil, fmt.Errorf("cached manifest %s: %w", d.Short(), store.ErrCorrupt)
	}
	img, err := store.DecodeManifest(doc)
	if err != nil {
		return nil, err
	}
	all := []store.Digest{d}
	for _, b := range img.Blobs() {
		all = append(all, b.Digest)
	}
	return all, nil
}

// marker is the file that says by its time when the image named d was used last.
func (c *cache) marker(d store.Digest) string { return filepath.Join(c.markers, d.Hex()) }

// mark notes that img is used now. Nothing depends on it but the order of evictions.
func (c *cache) mark(d store.Digest) {
	now := c.now()
	if f, err := os.OpenFile(c.marker(d), os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
		f.Close()
		os.Chtimes(c.marker(d), now, now)
	}
}

// quarantine puts a copy that is not what its name says where nobody is served from.
func (c *cache) quarantine(d store.Digest) {
	info, err := os.Stat(c.path(d))
	c.mu.Lock()
	delete(c.verified, d)
	if err == nil {
		c.used -= info.Size()
	}
	c.mu.Unlock()
	c.counts.damaged.Inc()
	if entries, err := os.ReadDir(c.damaged); err == nil && len(entries) >= maxQuarantine {
		c.clearQuarantine()
	}
	if os.Rename(c.path(d), filepath.Join(c.damaged, d.Hex())) != nil {
		os.Remove(c.path(d))
	}
}

// clearQuarantine removes what is there, and says how many bytes that was.
func (c *cache) clearQuarantine() int64 {
	entries, err := os.ReadDir(c.damaged)
	if err != nil {
		return 0
	}
	var gone int64
	for _, e := range entries {
		if info, err := e.Info(); err == nil && os.Remove(filepath.Join(c.damaged, e.Name())) == nil {
			gone += info.Size()
		}
	}
	return gone
}

// measure is the size of all blobs.
func (c *cache) measure() error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			c.used += info.Size()
		}
	}
	return nil
}

// size is how many bytes of blobs there are.
func (c *cache) size() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used
}

// scrubEvery is how old the last look at a blob's bytes may get.
const scrubEvery = 7 * 24 * time.Hour

// scrub hashes the blob anew that was hashed longest ago, if that is long enough. One a
// call, so that disks have time for boards.
func (c *cache) scrub() (damaged store.Blob, ok bool) {
	c.mu.Lock()
	now := c.now()
	oldest, at := store.Blob{}, now
	for d, s := range c.verified {
		if s.at.Before(at) {
			oldest, at = store.Blob{Digest: d, Size: s.size}, s.at
		}
	}
	c.mu.Unlock()
	if now.Sub(at) < scrubEvery {
		return store.Blob{}, false
	}
	if _, err := os.Stat(c.path(oldest.Digest)); err != nil {
		c.mu.Lock()
		delete(c.verified, oldest.Digest)
		c.mu.Unlock()
		return store.Blob{}, false
	}
	_, intact := c.rehash(oldest.Digest)
	return oldest, !intact
}
