package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"

	"piimg/pipeline"
	"piimg/recipes"
	"piimg/store"
)

// URL takes one file by HTTP, by the digest that the recipe says. It keeps what it got,
// under that digest, and asks nobody the next time.
type URL struct{ Client *http.Client }

// Kind is "url".
func (URL) Kind() string { return "url" }

// Takes says whether s names a URL.
func (URL) Takes(s recipes.Source) bool { return s.URL != "" }

// Fetch returns the kept file, and downloads it where there is none. What does not have
// the recipe's digest is not kept.
func (u URL) Fetch(ctx context.Context, s recipes.Source, _ *recipes.Pin, env pipeline.FetchEnv) (pipeline.Fetched, error) {
	want, err := store.ParseHex(s.SHA256)
	if err != nil {
		return pipeline.Fetched{}, err
	}
	where, err := url.Parse(s.URL)
	if err != nil {
		return pipeline.Fetched{}, err
	}
	dir := filepath.Join(env.Cache, "urls", want.Hex())
	tree := pipeline.OneFile{Dir: os.DirFS(dir), Name: path.Base(where.Path)}
	kept, size, err := pipeline.TreeDigest(tree)
	if err != nil || kept != want {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return pipeline.Fetched{}, err
		}
		if env.Offline {
			return pipeline.Fetched{}, fmt.Errorf("%s: %w", where.Redacted(), pipeline.ErrOffline)
		}
		if size, err = u.download(ctx, where, want, dir, tree.Name); err != nil {
			return pipeline.Fetched{}, fmt.Errorf("get %s: %w", where.Redacted(), err)
		}
	}
	pin := recipes.Pin{Kind: "url", From: s.Text(), Digest: want, Size: size}
	return pipeline.Fetched{Pin: pin, FS: tree}, nil
}

func (u URL) download(ctx context.Context, where *url.URL, want store.Digest, dir, name string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, where.String(), nil)
	if err != nil {
		return 0, err
	}
	resp, err := u.Client.Do(req)
	if err != nil {
		var uerr *url.Error // its text would repeat the URL, with a password in it
		if errors.As(err, &uerr) {
			err = uerr.Err
		}
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("the server says %s", resp.Status)
	}
	return keep(resp.Body, want, dir, name)
}

// keep writes r to dir/name if it has the digest want.
func keep(r io.Reader, want store.Digest, dir, name string) (int64, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	tmp, err := os.CreateTemp(dir, ".part-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(tmp.Name())
	got, n, err := store.SumReader(io.TeeReader(r, tmp))
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return 0, err
	}
	if got != want {
		return 0, fmt.Errorf("what came has the digest %s, the recipe says %s", got, want)
	}
	return n, os.Rename(tmp.Name(), filepath.Join(dir, name))
}
