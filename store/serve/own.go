package serve

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"piimg/pipeline/format/boardtext"
	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/initrd/repack"
	"piimg/pipeline/format/newc"
	"piimg/store"
)

// OwnFile is a file that boards get in their initramfs, behind what the image has there.
// What it says is a template, and so is From: see boardtext.
type OwnFile struct {
	Path     string // in the board's root file system, without a leading slash
	Mode     uint32 // permission bits; 0644
	UID, GID uint32
	Content  string            // what it says
	From     string            // or the file on this host that has it, read for each boot
	Template bool              // what From has is filled in too
	Labels   map[string]string // of the boards that get it; none for all
	Secret   bool              // only for networks that may have secrets
	Where    string            // where it was configured, for errors; may be ""
}

// name is o in errors.
func (o OwnFile) name() string {
	if o.Where == "" {
		return o.Path
	}
	return o.Path + " (" + o.Where + ")"
}

// Check says what is wrong with o.
func (o OwnFile) Check() error {
	switch {
	case store.CheckPath(o.Path) != nil || newc.LongElement(o.Path) != "":
		return fmt.Errorf("%q is no path in a board's file system: write it without a leading slash", o.Path)
	case o.Content != "" && o.From != "":
		return fmt.Errorf("%s has content and from: say one of them", o.Path)
	case o.Mode&^0o7777 != 0:
		return fmt.Errorf("%s has the mode %o", o.Path, o.Mode)
	}
	for key, text := range map[string]string{"content": o.Content, "from": o.From} {
		if err := boardtext.Check(key, text); err != nil {
			return fmt.Errorf("%s: %w", o.Path, hideSecret(o, err))
		}
	}
	return nil
}

// archive is one more archive, with the files of the board's own, and nil where it has none.
func (r *renderer) archive(ctx context.Context, entry store.File, b body) ([]byte, error) {
	files, err := r.contents(r.own)
	if err != nil || len(files) == 0 {
		return nil, err
	}
	var adds []repack.Add
	for _, f := range files {
		adds = append(append(adds, folders(adds, f.Entry.Name)...), f)
	}
	tree, err := r.img.treeOf(entry, b)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	_, err = repack.WriteOverlay(ctx, &out, tree, adds, repack.Options{Format: codec.None, Epoch: epoch})
	return out.Bytes(), err
}

// epoch is the time of a board's own files: that of images that say no other.
const epoch = 315532800

// contents are files of the board's own with what they say on the board.
func (r *renderer) contents(files []OwnFile) ([]repack.Add, error) {
	var adds []repack.Add
	total := 0
	for _, o := range files {
		body, err := r.content(o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.name(), err)
		}
		if total += len(body); total > maxOwn {
			return nil, fmt.Errorf("the board's own files have more than %d bytes", maxOwn)
		}
		adds = append(adds, repack.Add{
			Label: o.Path, Open: repack.Text(body),
			Entry: newc.Entry{Name: o.Path, Mode: newc.Regular | cmp.Or(o.Mode, 0o644), UID: o.UID, GID: o.GID, Size: int64(len(body))},
		})
	}
	return adds, nil
}

// folders are the folders above name that adds does not have.
func folders(adds []repack.Add, name string) []repack.Add {
	var all []repack.Add
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if slices.ContainsFunc(adds, func(a repack.Add) bool { return a.Entry.Name == dir }) {
			break
		}
		all = append(all, repack.Add{Label: dir, Weak: true, Entry: newc.Entry{Name: dir, Mode: newc.Dir | 0o755}})
	}
	slices.Reverse(all)
	return all
}

// content is what o says on the board.
func (r *renderer) content(o OwnFile) ([]byte, error) {
	if o.From == "" {
		filled, err := boardtext.Fill("content", o.Content, r.vars, maxOwn)
		return []byte(filled), hideSecret(o, err)
	}
	name, err := boardtext.Fill("from", o.From, r.vars, 4096)
	if err != nil {
		return nil, err
	}
	if slices.Contains(strings.Split(filepath.ToSlash(name), "/"), "..") {
		return nil, fmt.Errorf("from %s: a name that leads upwards", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, hideSecret(o, err)
	}
	defer f.Close()
	all, err := io.ReadAll(io.LimitReader(f, maxOwn+1))
	if err != nil || !o.Template {
		return all, err
	}
	filled, err := boardtext.Fill(name, string(all), r.vars, maxOwn)
	return []byte(filled), hideSecret(o, err)
}

// hideSecret is err without what it may quote of a secret.
func hideSecret(o OwnFile, err error) error {
	var fault boardtext.Fault
	if err == nil || !o.Secret || errors.As(err, &fault) && fault.Variable != "" {
		return err
	}
	return errors.New("it cannot be read or filled in; it is a secret, so the reason is not shown")
}

// treeOf is what a kernel makes of the initramfs file at entry: the folders that are there
// are not written again, which would change their owners and modes.
func (i *image) treeOf(entry store.File, b body) (*initrd.Tree, error) {
	i.sums.mu.Lock()
	defer i.sums.mu.Unlock()
	if t := i.trees[entry.Path]; t != nil {
		return t, nil
	}
	t, err := initrd.ReadTree(io.NewSectionReader(b, 0, entry.Size), initrd.Limits{})
	if err != nil {
		return nil, err
	}
	if i.trees == nil {
		i.trees = map[string]*initrd.Tree{}
	}
	i.trees[entry.Path] = t
	return t, nil
}
