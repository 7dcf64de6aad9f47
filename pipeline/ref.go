package pipeline

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"piimg/recipes"
)

// Reads declares that the step reads what refs name. Of a pattern beside the recipe, the
// whole folder is declared.
func (s *Step) Reads(refs ...recipes.Ref) {
	for _, r := range refs {
		if r.Source != "" {
			s.Sources = appendNew(s.Sources, r.Source)
		} else if r.Path != "" {
			s.Locals = appendNew(s.Locals, localRoot(r.Path))
		}
	}
}

func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// localRoot is what is declared for a path beside the recipe.
func localRoot(p string) string {
	for strings.ContainsAny(p, `*?[\`) {
		p = path.Dir(p)
	}
	return path.Clean(p)
}

// Glob is the tree that r names, and the paths in it that match. Nothing that matches is
// an error.
func (j *Job) Glob(ctx context.Context, r recipes.Ref) (fs.FS, []string, error) {
	fsys, pattern, err := j.tree(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	names, err := fs.Glob(fsys, pattern)
	if err != nil {
		return nil, nil, fmt.Errorf("pattern %s: %w", r, err)
	}
	if len(names) == 0 {
		return nil, nil, fmt.Errorf("%s: %w%s", r, fs.ErrNotExist, nearby(fsys, pattern))
	}
	return fsys, names, nil
}

// CopyAll makes all files that r matches outputs in the top folder. key is the one of the
// recipe that asks for them.
func (j *Job) CopyAll(ctx context.Context, r recipes.Ref, key string) error {
	fsys, names, err := j.Glob(ctx, r)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := j.Copy(ctx, fsys, name, path.Base(name)); err != nil {
			return err
		}
		j.From(path.Base(name), key, r.At(name))
	}
	return nil
}

// One is the tree that r names, and the only path in it that matches.
func (j *Job) One(ctx context.Context, r recipes.Ref) (fs.FS, string, error) {
	fsys, names, err := j.Glob(ctx, r)
	if err != nil {
		return nil, "", err
	}
	if len(names) > 1 {
		return nil, "", fmt.Errorf("%s matches %d files, one is wanted", r, len(names))
	}
	return fsys, names[0], nil
}

// tree is the tree that r is in, and r's path there.
func (j *Job) tree(ctx context.Context, r recipes.Ref) (fs.FS, string, error) {
	if r.Source != "" {
		fsys, err := j.Source(ctx, r.Source)
		return fsys, path.Clean(r.Path), err
	}
	root := localRoot(r.Path)
	fsys, err := j.Local(root)
	if one, ok := fsys.(OneFile); ok {
		return fsys, one.Name, err
	}
	rel := strings.TrimPrefix(strings.TrimPrefix(path.Clean(r.Path), root), "/")
	if root == "." {
		rel = path.Clean(r.Path)
	}
	if rel == "" {
		rel = "."
	}
	return fsys, rel, err
}

// nearby lists a few files with the ending of the pattern, for an error.
func nearby(fsys fs.FS, pattern string) string {
	names, err := fs.Glob(fsys, path.Join(path.Dir(pattern), "*"+path.Ext(pattern)))
	names = slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(path.Base(n), ".") })
	if err != nil || len(names) == 0 {
		return ""
	}
	const most = 5
	more := ""
	if len(names) > most {
		names, more = names[:most], " …"
	}
	return "; there are " + strings.Join(names, ", ") + more
}
