package sources

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"piimg/pipeline"
	"piimg/pipeline/format/deb"
	"piimg/pipeline/format/untar"
	"piimg/recipes"
	"piimg/store"
)

// Deb takes Debian packages. apt says which versions there are, and checks them against
// the signed index; dpkg, its database and root are not needed. What was fetched is kept,
// under its digest, and nobody is asked for it the next time.
type Deb struct{}

// defaultArch is that of a package of which the recipe says none: the boards'.
const defaultArch = "arm64"

// Kind is "deb".
func (Deb) Kind() string { return "deb" }

// Takes says whether s names a package.
func (Deb) Takes(s recipes.Source) bool { return s.Deb != "" }

// Fetch returns the unpacked packages as one tree. Without a pin it asks the archive for
// the newest, and with one for the files that it names.
func (Deb) Fetch(ctx context.Context, s recipes.Source, pin *recipes.Pin, env pipeline.FetchEnv) (pipeline.Fetched, error) {
	f := &debFetch{source: s, env: env}
	defer f.close()
	packages, err := f.packages(ctx, pin)
	if err != nil {
		return pipeline.Fetched{}, err
	}
	got := recipes.Pin{Kind: "deb", From: s.Text()}
	var versions, sums []string
	for _, p := range packages {
		versions, sums = append(versions, p.spec()), append(sums, p.sum.String())
	}
	got.Version, got.Sum = strings.Join(versions, " "), strings.Join(sums, " ")
	return f.tree(ctx, packages, got, pin)
}

// debFetch is one fetch: the view of the archive is opened when something is missing.
type debFetch struct {
	source recipes.Source
	env    pipeline.FetchEnv

	apt     *apt
	release func()
	fresh   bool // the index was fetched by this fetch
}

func (f *debFetch) close() {
	if f.release != nil {
		f.release()
	}
}

func (f *debFetch) view(ctx context.Context) (*apt, error) {
	if f.apt != nil {
		return f.apt, nil
	}
	arch := defaultArch
	name, _, _ := strings.Cut(f.source.Deb, "=")
	if _, a, ok := strings.Cut(name, ":"); ok && a != "all" && a != "any" {
		arch = a
	}
	var err error
	f.apt, f.release, err = openApt(ctx, f.source, arch, f.env)
	return f.apt, err
}

// packages are those that the pin names, or the newest ones.
func (f *debFetch) packages(ctx context.Context, pin *recipes.Pin) ([]debPkg, error) {
	if pin != nil {
		return pinned(*pin)
	}
	a, err := f.view(ctx)
	if err != nil {
		return nil, err
	}
	if !f.env.Offline || !a.hasIndex() {
		if err := a.update(ctx); err != nil {
			return nil, err
		}
		f.fresh = true
	}
	// apt finds a package for all architectures under that of the view.
	return a.resolve(ctx, strings.Replace(f.source.Deb, ":all", "", 1), f.source.Depends)
}

// pinned reads the packages of a pin.
func pinned(pin recipes.Pin) ([]debPkg, error) {
	versions, sums := strings.Fields(pin.Version), strings.Fields(pin.Sum)
	var all []debPkg
	for i, v := range versions {
		which, version, ok := strings.Cut(v, "=")
		name, arch, ok2 := strings.Cut(which, ":")
		if !ok || !ok2 || i >= len(sums) {
			return nil, fmt.Errorf("the lock file pins %q, which is no package", v)
		}
		sum, err := store.ParseDigest(sums[i])
		if err != nil {
			return nil, fmt.Errorf("the lock file pins %s: %w", v, err)
		}
		all = append(all, debPkg{name: name, arch: arch, version: version, sum: sum})
	}
	return all, nil
}

// tree is the tree of the packages, unpacked anew unless it is there as pinned.
func (f *debFetch) tree(ctx context.Context, packages []debPkg, got recipes.Pin, pin *recipes.Pin) (pipeline.Fetched, error) {
	dir := filepath.Join(f.env.Cache, "debs", "trees", store.Sum([]byte(got.Sum)).Hex())
	if pin != nil {
		if kept, err := describe(dir, got); err == nil && kept.Pin == *pin {
			return kept, nil
		}
	}
	var files []string
	for _, p := range packages {
		file, err := f.file(ctx, p)
		if err != nil {
			return pipeline.Fetched{}, err
		}
		files = append(files, file)
	}
	err := replaceDir(dir, func(tmp string) error {
		for _, file := range files {
			if err := unpackDeb(file, tmp); err != nil {
				return fmt.Errorf("%s: %w", filepath.Base(file), err)
			}
		}
		return nil
	})
	if err != nil {
		return pipeline.Fetched{}, err
	}
	return describe(dir, got)
}

// describe hashes the tree at dir and completes its pin.
func describe(dir string, pin recipes.Pin) (pipeline.Fetched, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return pipeline.Fetched{}, err
	}
	pin.Digest, pin.Size, err = pipeline.TreeDigest(root.FS())
	return pipeline.Fetched{Pin: pin, FS: root.FS()}, err
}

// file is the file of a package in the cache. One that is missing or damaged is fetched.
func (f *debFetch) file(ctx context.Context, p debPkg) (string, error) {
	dir := filepath.Join(f.env.Cache, "debs", p.sum.Hex())
	file := filepath.Join(dir, p.file())
	if c, err := store.FileContent(file); err == nil && c.Digest == p.sum {
		return file, nil
	}
	a, err := f.view(ctx)
	if err != nil {
		return "", err
	}
	if f.env.Offline {
		return "", fmt.Errorf("package %s: %w", p.spec(), pipeline.ErrOffline)
	}
	tmp, err := os.MkdirTemp(a.dir, "download-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	came, err := f.download(ctx, a, p, tmp)
	if err != nil {
		return "", err
	}
	in, err := os.Open(came)
	if err != nil {
		return "", err
	}
	defer in.Close()
	if _, err := keep(in, p.sum, dir, p.file()); err != nil {
		return "", fmt.Errorf("package %s: %w", p.spec(), err)
	}
	return file, nil
}

// download asks the archive; an index that may be old is fetched anew before it gives up.
func (f *debFetch) download(ctx context.Context, a *apt, p debPkg, dir string) (string, error) {
	if a.hasIndex() {
		if file, err := a.download(ctx, p, dir); err == nil || f.fresh || ctx.Err() != nil {
			return file, gone(p, err)
		}
	}
	if err := a.update(ctx); err != nil {
		return "", err
	}
	f.fresh = true
	file, err := a.download(ctx, p, dir)
	return file, gone(p, err)
}

// gone explains what mostly is the reason: archives keep the newest version only.
func gone(p debPkg, err error) error {
	var failed *aptError
	if errors.As(err, &failed) {
		return &GoneError{Package: p.spec(), Err: err}
	}
	return err
}

// GoneError: an archive does not give the version of a package that is pinned.
type GoneError struct {
	Package string
	Err     error
}

func (e *GoneError) Error() string { return fmt.Sprintf("package %s: %s", e.Package, e.Err) }
func (e *GoneError) Unwrap() error { return e.Err }

// Hint is what to do about it.
func (e *GoneError) Hint() string {
	return "archives drop old versions: pin the newest with piimg lock --update, or name a snapshot archive that has this one (archive = a file with apt's sources)"
}

// unpackDeb unpacks the data of a package into dir.
func unpackDeb(file, dir string) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	data, err := deb.Data(in)
	if err != nil {
		return err
	}
	defer data.Close()
	return unpackInto(dir, func(root *os.Root) error { return untar.Unpack(root, data, untar.Options{}) })
}

func unpackInto(dir string, unpack func(*os.Root) error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return unpack(root)
}

// replaceDir puts what fill makes at dir, in one step: nobody sees half of it.
func replaceDir(dir string, fill func(tmp string) error) error {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(parent, ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := fill(tmp); err != nil {
		return err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	old, err := os.MkdirTemp(parent, ".old-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(old)
	if err := os.Rename(dir, filepath.Join(old, "tree")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(tmp, dir)
}
