package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"piimg/store"
)

const (
	fetchers   = 4                // downloads per image at a time
	stallAfter = 30 * time.Second // a download without a byte for so long is given up
	retryAfter = 5 * time.Second  // an image that could not be had is not asked for again before
	maxImages  = 64               // manifests kept in memory
)

// cache is a folder of verified copies of blobs, each under its digest. An image is
// handed out only when all of its blobs are there, and each was hashed by this process.
type cache struct {
	dir     string // of the blobs
	markers string // of images that are complete: empty files whose time is that of the last use
	damaged string // of blobs that were not what their name says
	source  Source
	crew    *crew
	now     func() time.Time
	log     *slog.Logger
	counts  *counts
	limit   int64                        // bytes of all blobs; 0 for none
	space   Space                        // of the file system
	wanted  func() map[store.Digest]bool // images that must not be evicted

	gate sync.RWMutex // held to evict; nothing becomes wanted meanwhile

	loads   group[store.Digest, *image]
	fetches group[store.Blob, struct{}]

	mu       sync.Mutex
	verified map[store.Digest]look
	held     map[store.Digest]*held // files that are open
	images   map[store.Digest]*image
	uses     int64 // counts up; orders images by their last use
	failures map[store.Digest]failure
	pins     map[store.Digest]int // blobs of images that are being fetched
	used     int64                // bytes of all blobs
	reserved int64                // bytes that are about to come
}

// stamp is what a file looked like when its bytes were hashed.
type stamp struct {
	size  int64
	mtime time.Time
}

func stampOf(info fs.FileInfo) stamp { return stamp{info.Size(), info.ModTime()} }

// look is when a file's bytes were hashed, and what it looked like.
type look struct {
	stamp
	at time.Time
}

// failure keeps a tight loop of requests from becoming a loop of downloads.
type failure struct {
	err   error
	until time.Time
}

// openCache opens the cache of f, which has everything else already.
func openCache(f *Front) (*cache, error) {
	c := &cache{
		dir:      filepath.Join(f.cfg.Dir, "blobs", "sha256"),
		markers:  filepath.Join(f.cfg.Dir, "images"),
		damaged:  filepath.Join(f.cfg.Dir, "quarantine"),
		source:   f.cfg.Source,
		crew:     f.crew,
		now:      f.cfg.Now,
		log:      f.log,
		counts:   f.counts,
		limit:    f.cfg.CacheSize,
		space:    f.cfg.Space,
		wanted:   f.Held,
		verified: map[store.Digest]look{},
		held:     map[store.Digest]*held{},
		images:   map[store.Digest]*image{},
		failures: map[store.Digest]failure{},
		pins:     map[store.Digest]int{},
	}
	for _, d := range []string{c.dir, c.markers, c.damaged} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	if err := removeTemps(c.dir); err != nil {
		return nil, err
	}
	return c, c.measure()
}

func (c *cache) path(d store.Digest) string { return filepath.Join(c.dir, d.Hex()) }

// Ensure returns the image named d once all of its blobs are here and verified, and
// fetches those that are not. The error wraps io/fs.ErrNotExist only where the source
// has no such image. The work goes on when ctx ends.
func (c *cache) Ensure(ctx context.Context, d store.Digest) (*image, error) {
	if img := c.loaded(d); img != nil {
		return img, nil
	}
	if err := c.failed(d); err != nil {
		return nil, err
	}
	return c.loads.do(ctx, c.crew, d, func(ctx context.Context) (*image, error) {
		var wanted []store.Blob
		defer func() { c.unpin(wanted) }()
		img, err := c.load(ctx, d, func(blobs ...store.Blob) {
			c.pin(blobs)
			wanted = append(wanted, blobs...)
		})
		if err != nil {
			err = fmt.Errorf("fetch image %s: %w", d.Short(), err)
		}
		c.settle(d, img, err)
		return img, err
	})
}

// loaded is the image named d if Ensure has made sure of it before.
func (c *cache) loaded(d store.Digest) *image {
	c.mu.Lock()
	img := c.images[d]
	touch := false
	if img != nil {
		c.uses++
		img.used, img.seen = c.uses, c.now()
		if touch = img.seen.Sub(img.marked) >= touchEvery; touch {
			img.marked = img.seen
		}
	}
	c.mu.Unlock()
	if touch {
		c.mark(d)
	}
	return img
}

// peek is the image named d where it is in memory, without making it one that was used.
func (c *cache) peek(d store.Digest) *image {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.images[d]
}

func (c *cache) failed(d store.Digest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, ok := c.failures[d]; ok && c.now().Before(f.until) {
		return f.err
	}
	return nil
}

// settle remembers how loading d went. What has been loaded is wanted from now on, before
// its blobs are no longer pinned.
func (c *cache) settle(d store.Digest, img *image, err error) {
	c.gate.RLock()
	defer c.gate.RUnlock()
	if err == nil {
		c.mark(d)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if len(c.failures) >= maxImages {
			clear(c.failures)
		}
		c.failures[d] = failure{err, c.now().Add(retryAfter)}
		return
	}
	delete(c.failures, d)
	c.uses++
	img.used, img.seen, img.marked = c.uses, c.now(), c.now()
	c.images[d] = img
	if len(c.images) > maxImages {
		delete(c.images, c.oldest())
	}
}

// oldest is the image in memory that was not used for longest.
func (c *cache) oldest() store.Digest {
	var found *image
	for _, img := range c.images {
		if found == nil || img.used < found.used {
			found = img
		}
	}
	return found.Digest
}

// forgive makes the next Ensure try again what has failed a moment ago.
func (c *cache) forgive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.failures)
}

// load reads the manifest, makes sure of every blob and then looks into the image. It calls
// want with everything that must not be evicted meanwhile.
func (c *cache) load(ctx context.Context, d store.Digest, want func(...store.Blob)) (*image, error) {
	want(store.Blob{Digest: d})
	doc, err := c.manifest(ctx, d)
	if err != nil {
		return nil, err
	}
	img, err := store.DecodeManifest(doc)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoImage, err)
	}
	want(img.Blobs()...)
	if err := c.complete(ctx, img); err != nil {
		return nil, trouble{err}
	}
	i, err := newImage(img, func(f store.File) (io.ReadCloser, error) {
		body, err := c.open(ctx, f)
		if err != nil {
			return nil, err
		}
		return &section{io.NewSectionReader(body, 0, f.Size), body}, nil
	})
	if err != nil {
		return nil, trouble{err}
	}
	return i, nil
}

// errNoImage: the source has something of that name, but it is a file, say.
var errNoImage = fmt.Errorf("not an image: %w", fs.ErrNotExist)

// manifest is the bytes of the manifest named d.
func (c *cache) manifest(ctx context.Context, d store.Digest) ([]byte, error) {
	if info, err := os.Stat(c.path(d)); err == nil && info.Size() <= store.MaxManifestLen {
		if doc, err := os.ReadFile(c.path(d)); err == nil && store.Sum(doc) == d {
			return doc, nil
		}
	}
	b, err := c.source.Find(ctx, d)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil && b.Size > store.MaxManifestLen {
		return nil, fmt.Errorf("%w: it has %d bytes", errNoImage, b.Size)
	}
	if err == nil {
		err = c.room(ctx, b)
	}
	if err != nil {
		return nil, trouble{err}
	}
	doc, err := os.ReadFile(c.path(d))
	if err != nil {
		return nil, trouble{err}
	}
	return doc, nil
}

// room makes sure of room for b and then of b.
func (c *cache) room(ctx context.Context, b store.Blob) error {
	if c.intact(b) {
		return nil
	}
	if err := c.reserve(b.Size); err != nil {
		return err
	}
	defer c.giveBack(b.Size)
	return c.have(ctx, b)
}

// missing is how many bytes of img are not here.
func (c *cache) missing(img *store.Image) int64 {
	var n int64
	for _, b := range img.Blobs() {
		if info, err := os.Stat(c.path(b.Digest)); err != nil || info.Size() != b.Size {
			n += b.Size
		}
	}
	return n
}

// complete makes sure of every blob of img, and names the first one that it cannot have.
func (c *cache) complete(ctx context.Context, img *store.Image) error {
	missing := c.missing(img)
	if err := c.reserve(missing); err != nil {
		return err
	}
	defer c.giveBack(missing)
	var (
		wg     sync.WaitGroup
		once   sync.Once
		failed = make(chan struct{})
		first  error
	)
	slots := make(chan struct{}, fetchers)
	for _, b := range img.Blobs() {
		select {
		case <-failed:
		case slots <- struct{}{}:
			wg.Go(func() {
				defer func() { <-slots }()
				if err := c.have(ctx, b); err != nil {
					once.Do(func() {
						first = fmt.Errorf("%s: %w", fileOf(img, b), err)
						close(failed)
					})
				}
			})
		}
	}
	wg.Wait()
	return first
}

// fileOf names the file that b is a part of.
func fileOf(img *store.Image, b store.Blob) string {
	for _, f := range img.Files {
		for _, p := range f.Parts {
			if p == b {
				return f.Path
			}
		}
	}
	return "config"
}

// have makes sure that a verified copy of b is here.
func (c *cache) have(ctx context.Context, b store.Blob) error {
	if c.intact(b) {
		return nil
	}
	_, err := c.fetches.do(ctx, c.crew, b, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, c.obtain(ctx, b)
	})
	return err
}

// intact says whether b's file is as it was when it was hashed.
func (c *cache) intact(b store.Blob) bool {
	info, err := os.Stat(c.path(b.Digest))
	return err == nil && c.trusts(b, info)
}

func (c *cache) trusts(b store.Blob, info fs.FileInfo) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen, ok := c.verified[b.Digest]
	return ok && info.Size() == b.Size && info.Size() == seen.size && info.ModTime().Equal(seen.mtime)
}

// obtain hashes the copy that is here, and else fetches one.
func (c *cache) obtain(ctx context.Context, b store.Blob) error {
	if c.intact(b) {
		return nil
	}
	size, ok := c.rehash(b.Digest)
	if !ok {
		return c.fetch(ctx, b)
	}
	if size != b.Size {
		return fmt.Errorf("blob %s has %d bytes, the manifest says %d: %w", b.Digest.Short(), size, b.Size, store.ErrCorrupt)
	}
	return nil
}

// rehash reads the copy of d that is here to its end, and returns its size. A copy that
// is not what its name says is dropped.
func (c *cache) rehash(d store.Digest) (int64, bool) {
	f, err := os.Open(c.path(d))
	if err != nil {
		return 0, false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, false
	}
	got, n, err := store.SumReader(f)
	if err != nil || got != d {
		c.log.Warn("cached blob is damaged, fetching it again", "blob", d, "size", n)
		c.quarantine(d)
		return 0, false
	}
	c.trust(d, info)
	return n, true
}

func (c *cache) trust(d store.Digest, info fs.FileInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.verified[d] = look{stampOf(info), c.now()}
}

// fetch copies b from the source: into a temporary file, hashed on the way, made
// durable, and only then under its name.
func (c *cache) fetch(ctx context.Context, b store.Blob) error {
	f, err := os.CreateTemp(c.dir, tempPrefix+"*")
	if err != nil {
		return err
	}
	err = c.download(ctx, f, b)
	if err == nil {
		err = f.Sync()
	}
	var info fs.FileInfo
	if err == nil {
		info, err = f.Stat()
	}
	if err := publish(f, c.path(b.Digest), err, true); err != nil {
		c.counts.fetches.WithLabelValues("error").Inc()
		return err
	}
	c.counts.fetches.WithLabelValues("ok").Inc()
	c.counts.fetched.Add(float64(b.Size))
	c.mu.Lock()
	c.used += b.Size
	c.mu.Unlock()
	c.trust(b.Digest, info)
	return nil
}

// download writes b to w and checks it.
func (c *cache) download(ctx context.Context, w io.Writer, b store.Blob) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(stallAfter, func() {
		cancel(fmt.Errorf("blob %s: no bytes for %s", b.Digest.Short(), stallAfter))
	})
	defer watch.Stop()
	r, err := c.source.Open(ctx, b)
	if err != nil {
		return because(ctx, err)
	}
	defer r.Close()
	alive := io.TeeReader(io.LimitReader(r, b.Size+1), writerFunc(func(p []byte) { watch.Reset(stallAfter) }))
	got, n, err := store.SumReader(io.TeeReader(alive, w))
	if err != nil {
		return because(ctx, err)
	}
	if n != b.Size || got != b.Digest {
		return fmt.Errorf("blob %s: %d bytes that hash to %s instead of %d: %w", b.Digest.Short(), n, got.Short(), b.Size, store.ErrCorrupt)
	}
	return nil
}

// because is the reason why ctx was cancelled, and err where it was not.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// writerFunc is an io.Writer that hears of every write.
type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}
