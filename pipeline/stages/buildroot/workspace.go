package buildroot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"piimg/pipeline"
	"piimg/pipeline/format/kconfig"
	"piimg/pipeline/format/untar"
	"piimg/store"
)

// world is what a workspace is made of, and what it may use.
type world struct {
	tree    fs.FS // Buildroot's tree, or one tarball of it
	local   func(rel string) (fs.FS, error)
	cache   string // folder that outlives the build
	epoch   int64  // Unix seconds
	offline bool
	jobs    int
	log     func(line string)
}

// Workspace is one output folder of Buildroot, held for this process, with all that it
// takes to run make in it.
type Workspace struct {
	Dir    string // of the workspace
	Output string // what Buildroot calls O
	Tree   string // Buildroot's own

	params
	world
	held     *os.File
	external []string // paths of the external trees, ours last
	settings []kconfig.Setting
	moot     map[string]bool    // settings of the tree's own configuration, which others may overrule
	packages map[string]pkgInfo // by name, after make show-info
}

// open finds the workspace for p, or makes an empty one. It has the tree and the external
// trees in place then; nothing is configured yet.
func open(ctx context.Context, p params, w world) (*Workspace, error) {
	if err := checkHost(); err != nil {
		return nil, err
	}
	base := filepath.Join(w.cache, "buildroot")
	if err := checkPath(base); err != nil {
		return nil, err
	}
	id, tree, err := w.place(base)
	if err != nil {
		return nil, fmt.Errorf("lay out Buildroot's tree: %w", err)
	}
	if _, err := os.Stat(filepath.Join(tree, "support", "kconfig")); err != nil {
		return nil, &Error{Key: "buildroot.tree", Text: fmt.Sprintf("source %s is not Buildroot's tree: it has no support/kconfig", p.Tree)}
	}
	s := &Workspace{Tree: tree, params: p, world: w}
	if s.settings, err = s.wanted(); err != nil {
		return nil, err
	}
	key, err := s.key(ctx, id)
	if err != nil {
		return nil, err
	}
	s.Dir = filepath.Join(base, "work", p.Name+"-"+key)
	s.Output = filepath.Join(s.Dir, "output")
	if err := s.hold(); err != nil {
		return nil, err
	}
	if err := s.layExternal(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close lets others use the workspace.
func (s *Workspace) Close() error { return s.held.Close() }

// hold waits until nobody else uses the folder. What make starts inherits the lock, so
// that it is held until the last compiler of a build that was killed has ended.
func (s *Workspace) hold() error {
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.Dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	fd := int(f.Fd())
	err = syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		s.log("waits for another build in " + s.Dir)
		err = syscall.Flock(fd, syscall.LOCK_EX)
	}
	if err == nil {
		if _, _, no := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_SETFD, 0); no != 0 {
			err = no
		}
	}
	if err != nil {
		f.Close()
		return err
	}
	s.held = f
	return nil
}

// place lays the tree out in the cache, under its digest, unless it is there unchanged.
func (w world) place(base string) (id, dir string, err error) {
	d, _, err := pipeline.TreeDigest(w.tree)
	if err != nil {
		return "", "", err
	}
	id = d.Hex()[:16]
	dir = filepath.Join(base, "trees", id)
	want, err := os.ReadFile(dir + ".digest")
	if err == nil {
		if have, _, err := pipeline.TreeDigest(os.DirFS(dir)); err == nil && have.String() == string(want) {
			return id, dir, nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", "", err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(tmp)
	if err := w.copyTree(filepath.Join(tmp, "tree")); err != nil {
		return "", "", err
	}
	laid, _, err := pipeline.TreeDigest(os.DirFS(filepath.Join(tmp, "tree")))
	if err != nil {
		return "", "", err
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", "", err
	}
	if err := os.Rename(filepath.Join(tmp, "tree"), dir); err != nil {
		return "", "", err
	}
	return id, dir, os.WriteFile(dir+".digest", []byte(laid.String()), 0o644)
}

func (w world) copyTree(dir string) error {
	one, ok := w.tree.(pipeline.OneFile)
	if !ok {
		return os.CopyFS(dir, w.tree)
	}
	f, err := one.Open(one.Name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	r, err := untar.Decompress(f)
	if err != nil {
		return fmt.Errorf("%s: %w", one.Name, err)
	}
	defer r.Close()
	return untar.Unpack(root, r, untar.Options{Strip: 1})
}

// wanted are the settings of the configuration: those of the base, the recipe's over
// them, and what piimg adds.
func (s *Workspace) wanted() ([]kconfig.Setting, error) {
	base, ofTree, err := s.baseSettings()
	if err != nil {
		return nil, err
	}
	s.moot = map[string]bool{}
	for _, b := range base {
		s.moot[b.Name] = ofTree
	}
	var own []kconfig.Setting
	for _, line := range s.Options {
		if o, ok := kconfig.ParseLine(line); ok {
			own = append(own, o)
			delete(s.moot, o.Name)
		}
	}
	all := kconfig.Merge(base, own)
	return kconfig.Merge(all, added(all, len(s.Overlays) > 0)), nil
}

// baseSettings are those of the configuration that the recipe starts from: one of the
// tree, or of an external tree.
func (s *Workspace) baseSettings() (settings []kconfig.Setting, ofTree bool, err error) {
	if s.Defconfig == "" {
		return nil, false, nil
	}
	name := path.Join("configs", s.Defconfig)
	places := []fs.FS{os.DirFS(s.Tree)}
	for _, rel := range s.External {
		fsys, err := s.local(rel)
		if err != nil {
			return nil, false, err
		}
		places = append(places, fsys)
	}
	for n, fsys := range places {
		text, err := fs.ReadFile(fsys, name)
		if err == nil {
			return kconfig.Lines(string(text)), n == 0, nil
		}
	}
	return nil, false, &Error{
		Key:  "buildroot.base_defconfig",
		Text: fmt.Sprintf("neither Buildroot's tree nor an external tree has %s", name),
		Help: "ls configs in that tree shows what there is",
	}
}

// finishing are settings that shape what is done with a finished target folder only. All
// others are part of a workspace's name: Buildroot cannot tell what a change of them means
// for packages that are built already (manual, "Understanding when a full rebuild is
// necessary").
var finishing = []string{
	"BR2_ROOTFS_OVERLAY", "BR2_ROOTFS_POST_BUILD_SCRIPT", "BR2_ROOTFS_POST_FAKEROOT_SCRIPT", "BR2_ROOTFS_POST_IMAGE_SCRIPT",
	"BR2_ROOTFS_POST_SCRIPT_ARGS", "BR2_ROOTFS_DEVICE_TABLE", "BR2_TARGET_GENERIC_HOSTNAME", "BR2_TARGET_GENERIC_ISSUE",
}

// key names the workspace: the tree, the external trees, the machine, and the settings
// that are not finishing touches.
func (s *Workspace) key(ctx context.Context, tree string) (string, error) {
	var all strings.Builder
	host, err := hostVersion(ctx)
	if err != nil {
		return "", err
	}
	fmt.Fprintln(&all, "2", tree, host)
	for _, p := range machinePaths(s.Options) {
		d, err := contentOf(p)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(&all, p, d)
	}
	for _, rel := range s.External {
		fsys, err := s.local(rel)
		if err != nil {
			return "", err
		}
		d, _, err := pipeline.TreeDigest(fsys)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(&all, "external", d)
	}
	lines := []string{}
	for _, set := range s.settings {
		if !slices.Contains(finishing, set.Name) {
			lines = append(lines, set.String())
		}
	}
	slices.Sort(lines)
	fmt.Fprintln(&all, strings.Join(lines, "\n"))
	return store.Sum([]byte(all.String())).Hex()[:16], nil
}

// layExternal writes the external trees anew: the recipe's, and ours behind them.
func (s *Workspace) layExternal() error {
	dir := filepath.Join(s.Dir, "external")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for n, rel := range s.External {
		fsys, err := s.local(rel)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, strconv.Itoa(n))
		if err := os.CopyFS(to, fsys); err != nil {
			return fmt.Errorf("copy %s: %w", rel, err)
		}
		s.external = append(s.external, to)
	}
	own := filepath.Join(dir, "piimg")
	if err := os.MkdirAll(filepath.Join(own, "configs"), 0o755); err != nil {
		return err
	}
	s.external = append(s.external, own)
	if err := writeExternal(own, s.Name, s.Overlays, s.local); err != nil {
		return err
	}
	return os.WriteFile(s.defconfig(), []byte(kconfig.Text(s.settings)), 0o644)
}

// defconfig is the file of our external tree with the configuration.
func (s *Workspace) defconfig() string {
	return filepath.Join(s.external[len(s.external)-1], "configs", s.Name+"_defconfig")
}

// clean makes the next build one from the beginning.
func (s *Workspace) clean() error { return os.RemoveAll(s.Output) }

// kept is how many workspaces of one recipe are kept: the last one, and the one before for
// those who go back and forth.
const kept = 2

// prune removes older workspaces of the recipe. One that is in use stays.
func (s *Workspace) prune() {
	found, err := filepath.Glob(filepath.Join(filepath.Dir(s.Dir), s.Name+"-????????????????"))
	if err != nil {
		return
	}
	age := func(dir string) int64 {
		info, err := os.Stat(filepath.Join(dir, "lock"))
		if err != nil {
			return 0
		}
		return info.ModTime().UnixNano()
	}
	_ = os.WriteFile(filepath.Join(s.Dir, "lock"), []byte("used\n"), 0o644)
	slices.SortFunc(found, func(a, b string) int { return int(min(1, max(-1, age(b)-age(a)))) })
	for _, dir := range found[min(kept, len(found)):] {
		f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
		if err != nil || syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
			continue
		}
		_ = os.RemoveAll(dir)
		f.Close()
	}
}

var errNoConfig = errors.New("make left no .config behind")
