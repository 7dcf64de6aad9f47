package sources

import (
	"context"
	"io/fs"

	"piimg/pipeline"
	"piimg/recipes"
)

// Local takes a file or folder beside the recipe. It is pinned like everything else.
type Local struct{}

// Kind is "path"; pins say "file" or "dir".
func (Local) Kind() string { return "path" }

// Takes says whether s names a path.
func (Local) Takes(s recipes.Source) bool { return s.Path != "" }

// Fetch opens the path below env.Dir and hashes it.
func (Local) Fetch(_ context.Context, s recipes.Source, _ *recipes.Pin, env pipeline.FetchEnv) (pipeline.Fetched, error) {
	fsys, _, err := pipeline.LocalFS(env.Dir, s.Path)
	if err != nil {
		return pipeline.Fetched{}, err
	}
	pin, err := pinTree(fsys, s)
	return pipeline.Fetched{Pin: pin, FS: fsys}, err
}

// pinTree describes a tree, which may be that of one file.
func pinTree(fsys fs.FS, s recipes.Source) (recipes.Pin, error) {
	pin := recipes.Pin{Kind: "dir", From: s.Text()}
	if _, ok := fsys.(pipeline.OneFile); ok {
		pin.Kind = "file"
	}
	var err error
	pin.Digest, pin.Size, err = pipeline.TreeDigest(fsys)
	return pin, err
}
