package initrd

import (
	"errors"
	"fmt"

	"piimg/pipeline/format/newc"
)

// Problem is something that a kernel makes less of than the archive's author may have
// meant.
type Problem struct {
	Place
	Name string // of the entry, as it stands there
	Text string
	Stop bool // the kernel unpacks nothing from here on
	Cut  bool // an archive ends without a trailer: a kernel does not miss what came behind
}

func (p Problem) String() string {
	switch {
	case p.Stop: // it says where
		return p.Text
	case p.Name == "":
		return fmt.Sprintf("%s: %s", p.Place, p.Text)
	}
	return fmt.Sprintf("%s: entry %q: %s", p.Place, p.Name, p.Text)
}

// maxProblems bounds what a hostile archive can make us remember.
const maxProblems = 1000

// Stopped is where and why a kernel would stop to unpack, and nil where it would not.
func (t *Tree) Stopped() error {
	if n := len(t.Problems); n > 0 && t.Problems[n-1].Stop {
		return errors.New(t.Problems[n-1].Text)
	}
	return nil
}

// Damage is nil where a kernel unpacks all archives to their ends, and none of them may
// have been cut off.
func (t *Tree) Damage() error {
	for _, p := range t.Problems {
		if p.Cut || p.Stop {
			return errors.New(p.String())
		}
	}
	return nil
}

func (b *builder) problem(p Problem) {
	if len(b.Problems) < maxProblems || p.Stop || p.Cut {
		b.Problems = append(b.Problems, p)
	}
}

func (b *builder) stop(p Place, err error) {
	b.problem(Problem{Place: p, Text: err.Error(), Stop: true})
}

// less is an entry that a kernel makes less of.
func (b *builder) less(p Place, e newc.Entry, text string) {
	b.problem(Problem{Place: p, Name: e.Name, Text: text})
}

// dropped are reasons why the kernel makes nothing of an entry.
var (
	errParent   = errors.New("its folder does not exist, so the kernel drops it")
	errNotEmpty = errors.New("a folder with files in it cannot be replaced, so the kernel drops it")
	errType     = errors.New("unknown type, so the kernel drops it")
	errBody     = errors.New("it has a body that its type does not have, so the kernel drops it")
	errTarget   = errors.New("its target is longer than 4096 bytes, so the kernel drops it")
	errLink     = errors.New("the file that it is a hard link to is gone, so the kernel drops it")
	errSelf     = errors.New("a hard link to itself: the kernel deletes the file")
	errLoop     = errors.New("too many symlinks above it, so the kernel drops it")
	errDot      = errors.New("its name ends with a dot and is no folder that is there, so the kernel drops it")
	errSlash    = errors.New("its name ends with a slash and it, or what is there, is no folder, so the kernel drops it")
	errName     = errors.New("an element of its name is longer than 255 bytes, so the kernel drops it")
)
