package pipeline

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// LocalFS opens the file or folder at the slash-separated path rel below dir as a tree.
// A symlink that leads out of dir is an error when it is followed. The Closer ends it.
func LocalFS(dir, rel string) (fs.FS, io.Closer, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	info, err := root.Stat(filepath.FromSlash(rel))
	if err != nil {
		root.Close()
		return nil, nil, err
	}
	folder, name := rel, ""
	if !info.IsDir() {
		folder, name = path.Split(rel)
		folder = path.Clean(folder)
	}
	sub, err := root.OpenRoot(filepath.FromSlash(folder))
	root.Close()
	if err != nil {
		return nil, nil, err
	}
	if name != "" {
		return OneFile{sub.FS(), name}, sub, nil
	}
	return sub.FS(), sub, nil
}

// hashLocal is the digest of a tree beside the recipe.
func hashLocal(dir, rel string) (string, error) {
	fsys, closer, err := LocalFS(dir, rel)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", rel, err)
	}
	defer closer.Close()
	d, _, err := TreeDigest(fsys)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", rel, err)
	}
	return d.String(), nil
}
