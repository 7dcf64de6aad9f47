package buildroot

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// build configures, and runs make from where the workspace is.
func (s *Workspace) build(ctx context.Context) error {
	if err := os.Remove(s.logFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.forgetTouched(); err != nil {
		return err
	}
	if err := s.configure(ctx); err != nil {
		return err
	}
	if err := s.learnPackages(ctx); err != nil {
		return err
	}
	if err := s.refresh(ctx); err != nil {
		return err
	}
	if err := s.run(ctx, newFollower(s.total())); err != nil {
		return err
	}
	return os.Remove(s.stepsFile())
}

// refresh makes an output folder that is not new one that make finishes as it would
// finish a new one: what a killed or failed build was at is built from the beginning, and
// the target folder and the images are put together anew, so that nothing stays in them
// that is no longer asked for. Nothing is compiled again for that.
func (s *Workspace) refresh(ctx context.Context) error {
	if err := s.dropHalfBuilt(ctx); err != nil {
		return err
	}
	for _, dir := range []string{"target", "images"} {
		if err := os.RemoveAll(filepath.Join(s.Output, dir)); err != nil {
			return err
		}
	}
	for _, pattern := range []string{"*/.stamp_target_installed", "*/.stamp_images_installed", "host-gcc-final-*/.stamp_host_installed"} {
		stamps, err := filepath.Glob(filepath.Join(s.Output, "build", pattern))
		if err != nil {
			return err
		}
		for _, stamp := range stamps {
			if err := os.Remove(stamp); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropHalfBuilt removes what the steps that began and never ended were at.
func (s *Workspace) dropHalfBuilt(ctx context.Context) error {
	open, err := unfinished(s.stepsFile())
	if err != nil {
		return err
	}
	var targets []string
	for _, name := range open {
		if dir := s.packages[name].StampDir; dir != "" && filepath.IsLocal(dir) {
			if err := os.RemoveAll(filepath.Join(s.Output, dir)); err != nil {
				return err
			}
			continue
		}
		targets = append(targets, name+"-dirclean")
	}
	if len(targets) > 0 {
		if err := s.run(ctx, newFollower(0), targets...); err != nil {
			return err
		}
	}
	if err := os.Remove(s.stepsFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// unfinished are the packages of which a step began that did not end, by the file of our
// instrumentation script.
func unfinished(file string) ([]string, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	open := map[string]int{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		w := strings.Fields(lines.Text())
		if len(w) != 3 {
			continue
		}
		if w[0] == "start" {
			open[w[2]]++
		} else {
			open[w[2]]--
		}
	}
	maps.DeleteFunc(open, func(_ string, n int) bool { return n <= 0 })
	return slices.Sorted(maps.Keys(open)), lines.Err()
}
