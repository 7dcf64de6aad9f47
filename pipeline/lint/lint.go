package lint

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"piimg/pipeline/format/configtxt"
	"piimg/pipeline/format/initrd"
)

// Version changes whenever a rule may find something else in the same files, so that
// findings that were remembered are not taken for those of today.
const Version = 8

// Level says how bad a finding is.
type Level string

const (
	Error   Level = "error"   // some board does not boot, or boots something else
	Warning Level = "warning" // it may boot, but not every time or not as meant
)

// Board is a board that is to boot the files.
type Board struct {
	configtxt.Board
	ROMFiles []string // what its boot ROM asks for itself, such as bootcode.bin
}

// Target is what the files are for.
type Target struct {
	Boards     []Board
	Bootloader string        // the oldest EEPROM release among the boards, YYYY-MM-DD; "" if nobody says
	Limits     initrd.Limits // of what the initramfs may ask for; zero values are the defaults
	BootKey    []byte        // public key, PEM, of boards that start a boot.img of its owner alone; nil if nobody says
	Card       *Card         // that the files are to be put on; nil if nobody says
	InRamdisk  bool          // the files are the inside of boot.img: boot_ramdisk has no effect, nothing is fetched file by file
}

// Card is an SD card, or what stands for one, that is made of the files.
type Card struct {
	Size int64 // bytes, 0 for what the files need
}

// Finding is what a rule found.
type Finding struct {
	Rule    string   `json:"rule"` // "P02"
	Level   Level    `json:"level"`
	Boards  []string `json:"boards,omitempty"` // models, in the order of the target; none if it concerns the files as such
	File    string   `json:"file"`             // relative to the boot folder; may be missing there
	Line    int      `json:"line,omitempty"`   // in File, from 1 on; 0 if it concerns the whole file
	Message string   `json:"message"`
	Hint    string   `json:"hint,omitempty"` // what to do; may be empty

	Ignored string `json:"ignored,omitempty"` // why it does not count; "" if it does: see [Ignore]
}

// Check runs every rule over files, once for each board where the rule depends on it. The
// findings are sorted by rule, file, line and message; those that several boards share
// are one. The error is that of ctx, of a file that cannot be read, or of a target that
// makes no sense; findings are no error.
func Check(ctx context.Context, files fs.FS, target Target) ([]Finding, error) {
	if err := target.check(); err != nil {
		return nil, err
	}
	img, err := newImage(files, target)
	if err != nil {
		return nil, err
	}
	_, _ = img.readConfig(configName) // its text matters without boards too; img.err has the error
	views := make([]*view, len(target.Boards))
	for i, b := range target.Boards {
		views[i] = newView(img, b)
	}
	r := &report{}
	for _, rule := range rules {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		rule.run(r, img, views)
	}
	if img.err != nil {
		return nil, fmt.Errorf("lint boot files: %w", img.err)
	}
	within, err := inside(ctx, img, views)
	r.findings = append(r.findings, within...)
	return r.sorted(), err
}

func (t Target) check() error {
	if t.Bootloader != "" {
		if _, err := time.Parse(time.DateOnly, t.Bootloader); err != nil {
			return fmt.Errorf("bootloader date %q is not YYYY-MM-DD", t.Bootloader)
		}
	}
	seen := map[string]bool{}
	for _, b := range t.Boards {
		if b.Model == "" || seen[b.Model] {
			return fmt.Errorf("board %q is empty or given twice", b.Model)
		}
		seen[b.Model] = true
	}
	return nil
}

// report collects findings and merges those that differ in the board only.
type report struct {
	rule, board string // of the check that runs
	findings    []Finding
}

// add takes a finding of the check that runs.
func (r *report) add(f Finding) {
	f.Rule = r.rule
	same := func(g Finding) bool {
		return g.Rule == f.Rule && g.Level == f.Level && g.File == f.File && g.Line == f.Line &&
			g.Message == f.Message && g.Hint == f.Hint
	}
	i := slices.IndexFunc(r.findings, same)
	if i < 0 {
		i = len(r.findings)
		r.findings = append(r.findings, f)
	}
	if boards := &r.findings[i].Boards; r.board != "" && !slices.Contains(*boards, r.board) {
		*boards = append(*boards, r.board)
	}
}

func (r *report) error(file string, line int, hint, format string, args ...any) {
	r.add(Finding{Level: Error, File: file, Line: line, Hint: hint, Message: fmt.Sprintf(format, args...)})
}

func (r *report) warn(file string, line int, hint, format string, args ...any) {
	r.add(Finding{Level: Warning, File: file, Line: line, Hint: hint, Message: fmt.Sprintf(format, args...)})
}

func (r *report) sorted() []Finding {
	slices.SortStableFunc(r.findings, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Message, b.Message), cmp.Compare(a.Level, b.Level),
		)
	})
	return r.findings
}
