package buildroot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"piimg/pipeline"
	"piimg/pipeline/format/kconfig"
	"piimg/recipes"
)

// Open is the workspace of a recipe, for people who want to work in it themselves. log
// gets what goes on.
func Open(ctx context.Context, p *pipeline.Pipeline, r *recipes.Recipe, l *recipes.Lock, jobs int, log func(string)) (*Workspace, error) {
	if r.Buildroot == nil {
		return nil, errors.New("the recipe has no [buildroot] table")
	}
	got, err := p.Fetch(ctx, r, l, r.Buildroot.Tree)
	if err != nil {
		return nil, err
	}
	local := func(rel string) (fs.FS, error) {
		fsys, _, err := pipeline.LocalFS(r.Path("."), rel)
		return fsys, err
	}
	return open(ctx, paramsOf(r), world{
		tree: got.FS, local: local, cache: p.Cache, epoch: r.Epoch, offline: p.Offline, jobs: jobs, log: log,
	})
}

// Configure makes the .config as a build would. Settings that Buildroot does not take are
// an *[Error].
func (s *Workspace) Configure(ctx context.Context) error { return s.configure(ctx) }

// Shortest are the recipe's options that give the .config as it is now: what differs from
// the base configuration, and what piimg adds left out.
func (s *Workspace) Shortest(ctx context.Context) ([]string, error) {
	saved := filepath.Join(s.Dir, "saved_defconfig")
	if err := s.run(ctx, newFollower(0), "savedefconfig", "BR2_DEFCONFIG="+saved); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(saved)
	if err != nil {
		return nil, err
	}
	now, err := os.ReadFile(filepath.Join(s.Output, ".config"))
	if err != nil {
		return nil, err
	}
	base, _, err := s.baseSettings()
	if err != nil {
		return nil, err
	}
	return s.difference(base, kconfig.Lines(string(text)), kconfig.Parse(string(now))), nil
}

// difference are the lines over base that give got, of which saved are those that are no
// default.
func (s *Workspace) difference(base, saved []kconfig.Setting, got kconfig.Config) []string {
	has := map[string]string{}
	for _, b := range base {
		has[b.Name] = b.Value
	}
	var lines []string
	for _, set := range saved {
		if set = withoutOurs(set); set.Name != "" && has[set.Name] != set.Value {
			lines = append(lines, set.String())
		}
		delete(has, set.Name)
	}
	for _, b := range base {
		// What is gone altogether follows from another setting.
		if value, there := got[b.Name]; has[b.Name] != "" && there && value != b.Value {
			lines = append(lines, kconfig.Setting{Name: b.Name, Value: value}.String())
		}
	}
	return lines
}

// withoutOurs takes out of a setting what piimg has put in; its name is "" where nothing
// is left.
func withoutOurs(s kconfig.Setting) kconfig.Setting {
	switch s.Name {
	case "BR2_REPRODUCIBLE", "BR2_DEFCONFIG":
		return kconfig.Setting{}
	case "BR2_ROOTFS_OVERLAY", "BR2_ROOTFS_DEVICE_TABLE":
		words := slices.DeleteFunc(strings.Fields(strings.Trim(s.Value, `"`)), func(w string) bool { return strings.HasPrefix(w, oursPath) })
		if len(words) == 0 || len(words) == 1 && words[0] == stockDevices {
			return kconfig.Setting{}
		}
		s.Value = quote(words...)
	}
	return s
}

// touched marks a workspace that somebody has worked in by hand.
const touched = "touched"

// Touch makes the next build begin from the beginning: nobody knows what a person does to
// an output folder.
func (s *Workspace) Touch() error {
	return os.WriteFile(filepath.Join(s.Dir, touched), []byte("by piimg buildroot shell\n"), 0o644)
}

// forgetTouched removes what people have worked in.
func (s *Workspace) forgetTouched() error {
	mark := filepath.Join(s.Dir, touched)
	if _, err := os.Stat(mark); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	s.log("somebody has worked in this output folder: starting anew")
	if err := s.clean(); err != nil {
		return fmt.Errorf("start anew: %w", err)
	}
	return os.Remove(mark)
}
