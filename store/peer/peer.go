package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"piimg/store"
)

// Form is how locations of peers are written.
const Form = "http://front-end:8080"

const (
	connectWithin = 5 * time.Second
	answerWithin  = 15 * time.Second // until an answer begins
	maxListing    = 4 << 20          // bytes of a page
)

// ErrReadOnly is the error of whoever wants to write.
var ErrReadOnly = errors.New("another front end's store is for reading only")

// Bucket reads what another front end shares. It is safe for concurrent use.
type Bucket struct {
	base   string // of keys, with a slash at its end
	client *http.Client
}

var _ store.Bucket = (*Bucket)(nil)

// Open is the bucket at location: http://host:port, https://host:port, or either with the
// path that keys are below, where that is not /store/. Nobody is asked yet.
func Open(location string) (*Bucket, error) {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("the URL of another front end is written %s", Form)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/store/"
	}
	if !strings.HasSuffix(u.Path, "/") {
		u.Path += "/"
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: connectWithin}).DialContext,
		TLSHandshakeTimeout:   connectWithin,
		ResponseHeaderTimeout: answerWithin,
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConnsPerHost:   8,
		DisableCompression:    true,
	}
	return &Bucket{u.String(), &http.Client{Transport: transport}}, nil
}

// Close ends idle connections.
func (b *Bucket) Close() { b.client.CloseIdleConnections() }

// Put is refused, as all writing is.
func (b *Bucket) Put(ctx context.Context, key string, _ store.Content) error {
	return refuse(ctx, "put", key)
}

// Create is refused.
func (b *Bucket) Create(ctx context.Context, key string, _ []byte) error {
	return refuse(ctx, "create", key)
}

// Delete is refused.
func (b *Bucket) Delete(ctx context.Context, key string) error { return refuse(ctx, "delete", key) }

func refuse(ctx context.Context, what, key string) error {
	if err := errors.Join(store.CheckKey(key), ctx.Err()); err != nil {
		return err
	}
	return fmt.Errorf("%s %s: %w", what, key, ErrReadOnly)
}

// Get reads a range.
func (b *Bucket) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if off < 0 {
		return nil, fmt.Errorf("get %s: offset %d", key, off)
	}
	if n == 0 {
		return b.nothing(ctx, key, off)
	}
	header := ""
	switch {
	case n > 0:
		header = fmt.Sprintf("bytes=%d-%d", off, off+min(n, 1<<62)-1)
	case off > 0:
		header = fmt.Sprintf("bytes=%d-", off)
	}
	r, err := b.ask(ctx, http.MethodGet, key, header)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	switch {
	case r.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		r.Body.Close()
		return b.nothing(ctx, key, off)
	case header != "" && r.StatusCode == http.StatusOK && r.ContentLength == 0 && off == 0:
	case header != "" && r.StatusCode != http.StatusPartialContent:
		r.Body.Close()
		return nil, fmt.Errorf("get %s: a range was asked for, the answer is %s", key, r.Status)
	}
	return r.Body, nil
}

// nothing is the range of no bytes at off, which has to be one.
func (b *Bucket) nothing(ctx context.Context, key string, off int64) (io.ReadCloser, error) {
	info, err := b.Stat(ctx, key)
	if err != nil {
		return nil, err
	}
	if _, err := info.Range(off, 0); err != nil {
		return nil, err
	}
	return io.NopCloser(strings.NewReader("")), nil
}

// Stat describes one object.
func (b *Bucket) Stat(ctx context.Context, key string) (store.Info, error) {
	r, err := b.ask(ctx, http.MethodHead, key, "")
	if err != nil {
		return store.Info{}, fmt.Errorf("look for %s: %w", key, err)
	}
	r.Body.Close()
	at, err := http.ParseTime(r.Header.Get("Last-Modified"))
	if err != nil || r.ContentLength < 0 {
		return store.Info{}, fmt.Errorf("look for %s: the answer has no size or no time", key)
	}
	return store.Info{Key: key, Size: r.ContentLength, Time: at}, nil
}

// ask asks for the object under key.
func (b *Bucket) ask(ctx context.Context, method, key, ranges string) (*http.Response, error) {
	if err := store.CheckKey(key); err != nil {
		return nil, err
	}
	return b.do(ctx, method, b.base+key, ranges)
}

func (b *Bucket) do(ctx context.Context, method, url, ranges string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	if ranges != "" {
		req.Header.Set("Range", ranges)
	}
	r, err := b.client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	switch r.StatusCode {
	case http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		return r, nil
	}
	r.Body.Close()
	if r.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("%s: %w", r.Status, fs.ErrNotExist)
	}
	return nil, errors.New("the other front end says " + strconv.Quote(r.Status))
}

// List asks for page after page.
func (b *Bucket) List(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		for start := after; ; {
			l, err := b.page(ctx, prefix, start)
			if err != nil {
				yield(store.Info{}, fmt.Errorf("list %s: %w", prefix, err))
				return
			}
			for _, info := range l.Objects {
				if !yield(info, ctx.Err()) || ctx.Err() != nil {
					return
				}
			}
			if !l.More || len(l.Objects) == 0 {
				return
			}
			start = l.Objects[len(l.Objects)-1].Key
		}
	}
}

// page is the objects that follow after, as many as the other side lists at a time. It has
// to list them in order: a key that does not follow could be listed for ever.
func (b *Bucket) page(ctx context.Context, prefix, after string) (listing, error) {
	q := url.Values{"prefix": {prefix}, "after": {after}}
	r, err := b.do(ctx, http.MethodGet, b.base+"?"+q.Encode(), "")
	if err != nil {
		return listing{}, err
	}
	defer r.Body.Close()
	var l listing
	if err := json.NewDecoder(io.LimitReader(r.Body, maxListing)).Decode(&l); err != nil {
		return listing{}, fmt.Errorf("read the answer: %w", err)
	}
	for _, info := range l.Objects {
		if store.CheckKey(info.Key) != nil || !strings.HasPrefix(info.Key, prefix) || info.Key <= after {
			return listing{}, fmt.Errorf("the answer lists %q: %w", info.Key, store.ErrCorrupt)
		}
		after = info.Key
	}
	return l, nil
}
