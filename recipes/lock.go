package recipes

import "piimg/store"

// Lock pins the sources of a recipe. It lies beside the recipe, under its name and
// ".lock", and is meant to be committed with it.
type Lock struct {
	Sources map[string]Pin
}

// Pin is one pinned source.
type Pin struct {
	Kind    string       // "module", "file", "dir" or "url"
	From    string       // what the recipe said when it was pinned; another text makes the pin stale
	Version string       // of a module, as resolved
	Sum     string       // of a module: its h1 sum, as go.sum has it
	Digest  store.Digest // of a file: of its bytes; of a folder: of its tree
	Size    int64        // of all bytes
}
