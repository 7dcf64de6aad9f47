package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"

	"piimg/recipes"
	"piimg/store"
)

// Job is what a running stage works with: the inputs that its plan declares, and a place
// for its outputs. It is for the goroutine that Run was called on.
type Job struct {
	exec    *execution
	node    *node
	made    map[*node]store.Step
	closers []io.Closer
	dir     string
	outputs []store.File
	origins map[string]store.Origin
	facts   []string
	wrote   int64
}

func newJob(e *execution, n *node, made map[*node]store.Step) *Job {
	return &Job{exec: e, node: n, made: made, origins: map[string]store.Origin{}}
}

func (j *Job) close() {
	for _, c := range j.closers {
		c.Close()
	}
	if j.dir != "" {
		_ = os.RemoveAll(j.dir)
	}
}

// Params decodes the step's parameters into v.
func (j *Job) Params(v any) error { return json.Unmarshal(j.node.params, v) }

// Epoch is the only time a stage may write, in Unix seconds.
func (j *Job) Epoch() int64 { return j.exec.wish.Recipe.Epoch }

// Offline says that no network may be used.
func (j *Job) Offline() bool { return j.exec.pipeline.Offline }

// Cache is a folder that outlives the job, for tools that check what they find there.
func (j *Job) Cache() string { return j.exec.pipeline.Cache }

// Jobs is how many processes the job may run at once.
func (j *Job) Jobs() int { return cmp.Or(j.node.step.Jobs, j.exec.pipeline.Jobs, runtime.NumCPU()) }

// Check says that the job runs to see whether it gives the same bytes: it should begin at
// the beginning.
func (j *Job) Check() bool { return j.exec.pipeline.Check }

// ErrNoSigner: nobody was named who signs.
var ErrNoSigner = errors.New("nobody is there to sign it")

// Sign is the signature of a file by whom the operator has named.
func (j *Job) Sign(ctx context.Context, file string) ([]byte, error) {
	if j.exec.pipeline.Sign == nil {
		return nil, ErrNoSigner
	}
	return j.exec.pipeline.Sign(ctx, file)
}

// Source is the tree of a declared source, verified against the lock file, or that of what
// a stage made which is named as a source.
func (j *Job) Source(ctx context.Context, name string) (fs.FS, error) {
	if !slices.Contains(j.node.step.Sources, name) && slices.Contains(j.node.step.Needs, name) {
		return FS(ctx, j.exec.pipeline.Read(), j.Need(name)), nil
	}
	if !slices.Contains(j.node.step.Sources, name) {
		return nil, fmt.Errorf("source %s is not declared by the plan of %s", name, j.node.name())
	}
	return j.exec.sources.get(ctx, name)
}

// Local is a declared file or folder beside the recipe.
func (j *Job) Local(rel string) (fs.FS, error) {
	if !slices.Contains(j.node.step.Locals, rel) {
		return nil, fmt.Errorf("%s is not declared by the plan of %s", rel, j.node.name())
	}
	fsys, closer, err := LocalFS(j.exec.wish.Recipe.Path("."), rel)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", rel, err)
	}
	j.closers = append(j.closers, closer)
	return fsys, nil
}

// Need is what a stage that this one needs has made, and nil where that stage had no step.
func (j *Job) Need(stage string) []store.File {
	for n, step := range j.made {
		if n.name() == stage {
			return step.Outputs
		}
	}
	return nil
}

// NeedFact is a fact of a stage that this one needs, "" where that stage found none.
func (j *Job) NeedFact(stage, key string) string {
	for n, step := range j.made {
		if n.name() != stage {
			continue
		}
		for _, fact := range step.Facts {
			if value, ok := strings.CutPrefix(fact, key+"="); ok {
				return value
			}
		}
	}
	return ""
}

// Open reads a file that another stage has made.
func (j *Job) Open(ctx context.Context, f store.File) (io.ReadCloser, error) {
	return j.exec.pipeline.Read().OpenFile(ctx, f)
}

// Dir is an empty folder of the job's own; it is removed afterwards.
func (j *Job) Dir() (string, error) {
	if j.dir != "" {
		return j.dir, nil
	}
	dir, err := newWork(j.exec.pipeline.Work)
	j.dir = dir
	return dir, err
}

// At says of an error which key of the recipe it is about, such as "dtb.files[0]". The
// place where the key was written becomes part of the text.
func (j *Job) At(key string, err error) error {
	if err == nil {
		return nil
	}
	var at *PlaceError
	if errors.As(err, &at) {
		return err // the innermost key says it best
	}
	return &PlaceError{j.exec.wish.Recipe.Pos(key), key, err}
}

// PlaceError is an error about a key of a recipe.
type PlaceError struct {
	Pos recipes.Pos
	Key string
	Err error
}

func (e *PlaceError) Error() string { return fmt.Sprintf("%s: %s: %s", e.Pos, e.Key, e.Err) }
func (e *PlaceError) Unwrap() error { return e.Err }

// Log tells people what is going on.
func (j *Job) Log(format string, args ...any) {
	j.exec.pipeline.emit(Event{Step: j.node.name(), Kind: Log, Text: fmt.Sprintf(format, args...)})
}

// Fact records something that a later stage or a person wants to know of the outputs.
func (j *Job) Fact(key, value string) { j.facts = append(j.facts, key+"="+value) }

func (j *Job) sortedFacts() []string {
	slices.Sort(j.facts)
	return j.facts
}

// From records where the output called path comes from: which key of the recipe asked
// for it, and which file it was. "PATH!NAME" is the entry NAME of an archive.
func (j *Job) From(path, key, from string) {
	j.origins[path] = store.Origin{Stage: j.node.name(), Key: key, From: from}
}

// Keep makes a file that another stage has made an output of this one as well.
func (j *Job) Keep(f store.File) { j.outputs = append(j.outputs, f) }

// Copy makes the file name of fsys an output called path.
func (j *Job) Copy(ctx context.Context, fsys fs.FS, name, path string) error {
	sum, size, mode, err := hashFile(fsys, name)
	if err != nil {
		return err
	}
	c := store.Content{Digest: sum, Size: size, Open: func() (io.ReadCloser, error) { return fsys.Open(name) }}
	if err := j.put(ctx, c); err != nil {
		return err
	}
	j.Keep(store.NewFile(path, mode, c.Blob()))
	return nil
}

// Write makes what write writes an output called path.
func (j *Job) Write(ctx context.Context, path string, write func(w io.Writer) error) error {
	b, err := j.Blob(ctx, write)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	j.Keep(store.NewFile(path, 0o644, b))
	return nil
}

// Blob stores what write writes, for an output that has it as one of its parts.
func (j *Job) Blob(ctx context.Context, write func(w io.Writer) error) (store.Blob, error) {
	dir, err := j.Dir()
	if err != nil {
		return store.Blob{}, err
	}
	tmp, err := os.CreateTemp(dir, "blob-")
	if err != nil {
		return store.Blob{}, err
	}
	defer os.Remove(tmp.Name())
	err = write(tmp)
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return store.Blob{}, err
	}
	c, err := store.FileContent(tmp.Name())
	if err != nil {
		return store.Blob{}, err
	}
	return c.Blob(), j.put(ctx, c)
}

// Join makes the parts, which are all stored, an output called path.
func (j *Job) Join(ctx context.Context, path string, parts ...store.Blob) error {
	f := store.File{Path: path, Mode: 0o644, Parts: parts}
	for _, p := range parts {
		f.Size += p.Size
	}
	r, err := j.Open(ctx, f)
	if err != nil {
		return fmt.Errorf("join %s: %w", path, err)
	}
	defer r.Close()
	if f.Digest, _, err = store.SumReader(r); err != nil {
		return fmt.Errorf("join %s: %w", path, err)
	}
	j.Keep(f)
	return nil
}

func (j *Job) put(ctx context.Context, c store.Content) error {
	blobs := j.exec.pipeline.Store.Blobs()
	put := blobs.Put
	if j.exec.pipeline.Check {
		put = blobs.Repair // who checks wants stored bytes to be read
	}
	wrote, err := put(ctx, c)
	if wrote {
		j.wrote += c.Size
	}
	return err
}

// sorted are the outputs by path. Two of one path are an error, and in the last step, which
// makes up the boot files, two of paths that FAT takes for one. Only there: the kernel has
// modules whose names differ in case alone, such as xt_mark and xt_MARK.
func (j *Job) sorted() ([]store.File, error) {
	slices.SortFunc(j.outputs, func(a, b store.File) int { return strings.Compare(a.Path, b.Path) })
	last := j.exec.nodes[len(j.exec.nodes)-1] == j.node
	seen := map[string]string{}
	for _, f := range j.outputs {
		if err := store.CheckPath(f.Path); err != nil {
			return nil, err
		}
		folded := f.Path
		if last {
			folded = strings.ToLower(f.Path)
		}
		if other, ok := seen[folded]; ok {
			return nil, fmt.Errorf("%s is made twice (as %s)", f.Path, other)
		}
		seen[folded] = f.Path
	}
	return j.outputs, nil
}
