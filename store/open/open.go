// Package open finds the bucket that a location names. Its list of schemes is the only one.
package open

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"piimg/store"
	"piimg/store/disk"
	"piimg/store/peer"
	"piimg/store/s3"
)

// scheme is one way to write a location, and what opens it.
type scheme struct {
	prefix string
	form   string // for people; "" is not offered
	open   func(ctx context.Context, location string) (store.Bucket, error)
}

// schemes is the registry. A location that starts with no prefix is a path.
func schemes() []scheme {
	return []scheme{
		{"file:", "file:///path", openFile},
		{"s3:", s3.Form, openS3},
		{"http:", peer.Form, openPeer},
		{"https:", "", openPeer},
	}
}

// Bucket opens the bucket at location: a path or file:///path is a folder, which is
// made if need be, and s3://bucket is a bucket on a server, which is asked nothing yet. A bucket in memory is not offered, for whoever opened one here would
// lose all that they put in it. Errors name the location, without the user and password
// that a URL may carry.
func Bucket(ctx context.Context, location string) (store.Bucket, error) {
	b, err := bucket(ctx, location)
	if err != nil {
		return nil, fmt.Errorf("open store %q: %w", Shown(location), err)
	}
	return b, nil
}

// Shown is a location as messages have it, without what may be a secret by mistake: a user,
// and the query of an S3 location.
func Shown(location string) string {
	if strings.HasPrefix(location, "s3:") {
		location, _, _ = strings.Cut(location, "?")
	}
	scheme, rest, ok := strings.Cut(location, "://")
	host, _, _ := strings.Cut(rest, "/")
	at := strings.LastIndexByte(host, '@')
	if !ok || at < 0 {
		return location
	}
	return scheme + "://" + rest[at+1:]
}

func bucket(ctx context.Context, location string) (store.Bucket, error) {
	for _, s := range schemes() {
		if strings.HasPrefix(location, s.prefix) {
			return s.open(ctx, location)
		}
	}
	if name, _, ok := strings.Cut(location, "://"); ok {
		return nil, fmt.Errorf("scheme %q is not known: use %s", name, Forms())
	}
	if location == "" {
		return nil, fmt.Errorf("the location is empty: use %s", Forms())
	}
	return disk.Open(location)
}

// Remote says whether location is a server's, whose promises have to be tried.
func Remote(location string) bool {
	for _, scheme := range []string{"s3:", "http:", "https:"} {
		if strings.HasPrefix(location, scheme) {
			return true
		}
	}
	return false
}

// Forms is how locations are written, for help and errors.
func Forms() string {
	forms := []string{"a path"}
	for _, s := range schemes() {
		if s.form != "" {
			forms = append(forms, s.form)
		}
	}
	return strings.Join(forms, ", ")
}

func openFile(_ context.Context, location string) (store.Bucket, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, err
	}
	if u.Host != "" || !filepath.IsAbs(u.Path) || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("a file URL is written file:///path: three slashes, an absolute path and nothing after it")
	}
	return disk.Open(u.Path)
}

func openS3(_ context.Context, location string) (store.Bucket, error) {
	c, err := s3.Parse(location, os.Getenv)
	if err != nil {
		return nil, err
	}
	return s3.Open(c)
}

func openPeer(_ context.Context, location string) (store.Bucket, error) { return peer.Open(location) }
