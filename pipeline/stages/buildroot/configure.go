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

	"piimg/pipeline/format/kconfig"
)

// configure makes the .config, and compares it with what was asked for.
func (s *Workspace) configure(ctx context.Context) error {
	f := newFollower(0)
	if err := s.run(ctx, f, "defconfig", "BR2_DEFCONFIG="+s.defconfig()); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(s.Output, ".config"))
	if errors.Is(err, fs.ErrNotExist) {
		return errNoConfig
	}
	if err != nil {
		return err
	}
	got := kconfig.Parse(string(text))
	if err := s.compare(got); err != nil {
		return err
	}
	return s.preflight(got)
}

// compare holds the configuration against what was asked for: whatever was dropped or
// changed is an error that names it with its reason, and so is what Buildroot calls legacy.
func (s *Workspace) compare(got kconfig.Config) error {
	differences := slices.DeleteFunc(kconfig.Compare(s.settings, got), func(d kconfig.Difference) bool { return s.moot[d.Name] })
	legacy := got["BR2_LEGACY"] == "y"
	if len(differences) == 0 && !legacy {
		return nil
	}
	symbols, err := s.symbols()
	if err != nil {
		return err
	}
	told := kconfig.Why(differences, got, symbols)
	if legacy {
		told = append(told, s.legacy(got, symbols)...)
	}
	return &Error{
		Key:  "buildroot.options",
		Text: fmt.Sprintf("Buildroot does not take %d of the settings:\n  %s", len(told), strings.Join(told, "\n  ")),
		Help: "take them out or set what they depend on; piimg buildroot menuconfig RECIPE shows what there is",
	}
}

func (s *Workspace) symbols() ([]kconfig.Symbol, error) {
	all, err := kconfig.Scan(os.DirFS(s.Tree), "")
	if err != nil {
		return nil, err
	}
	for _, dir := range s.external {
		more, err := kconfig.Scan(os.DirFS(dir), filepath.Base(dir))
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

// legacy are the symbols that were asked for and are kept for those only who used them.
func (s *Workspace) legacy(got kconfig.Config, symbols []kconfig.Symbol) []string {
	var all []string
	for _, set := range s.settings {
		for _, sym := range symbols {
			if sym.Name == set.Name && sym.Legacy() && got[set.Name] == set.Value && set.Value != "n" {
				all = append(all, fmt.Sprintf("%s is legacy: %s: %s", set, sym.Prompt, sym.Help))
			}
		}
	}
	return all
}
