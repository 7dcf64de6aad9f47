package buildroot

import (
	"fmt"
	"regexp"
	"strings"
)

// stepMark begins the lines of our instrumentation script: "start|end STEP PACKAGE".
const stepMark = "@piimg "

// logTail is how much of what Buildroot said an error shows.
const logTail = 20

// follower reads what Buildroot says, line by line, and knows where it is.
type follower struct {
	total   int // packages that there are to build; 0 where nobody knows
	done    map[string]bool
	open    []string // "busybox: build", in the order in which they began
	marked  bool     // our script reports steps
	global  string   // a step of no package: "Finalizing target directory"
	last    string   // the last marker of a package, for builds without instrumentation
	pkg     string   // of the last marker
	tail    []string // the last lines of it
	failure string   // what make said of the error: of the package, where it did
	errors  []string // the first errors of a compiler or linker: with several jobs the rest goes on
}

// maxErrors is how many errors of a compiler are told.
const maxErrors = 3

func newFollower(total int) *follower { return &follower{total: total, done: map[string]bool{}} }

var (
	marker  = regexp.MustCompile(`^>>> (\S*) (\S*) (.*)$`)
	escapes = regexp.MustCompile(`\x1b\[[0-9;]*[a-zA-Z]|\x1b\([A-Z]`)

	// "make[1]: *** [package/pkg-generic.mk:263: …/host-m4-1.4.21/.stamp_built] Error 1",
	// "Makefile:195: *** … .  Stop."
	makeFailed = regexp.MustCompile(`^(make(\[\d+\])?|\S+:\d+): \*\*\* (.*)$`)
	compiler   = regexp.MustCompile(`: (fatal )?error: |: undefined reference to |^configure: error: |^CMake Error `)
	stamp      = regexp.MustCompile(`/build/([^/\]]+)/\.stamp_([a-z_]+)\] Error`)
)

// line takes a line, and says whether it is one for people.
func (f *follower) line(text string) (forPeople bool) {
	text = escapes.ReplaceAllString(text, "")
	if step, ok := strings.CutPrefix(text, stepMark); ok {
		f.step(strings.Fields(step))
		return false
	}
	if m := marker.FindStringSubmatch(text); m != nil {
		if m[1] == "" {
			f.global, f.last = strings.TrimSpace(m[3]), ""
		} else {
			f.global, f.last = "", m[1]+": "+strings.ToLower(strings.TrimSpace(m[3]))
		}
		if m[1] != f.pkg { // what was said of the one before is no news
			f.pkg, f.tail = m[1], nil
		}
	}
	if m := makeFailed.FindStringSubmatch(text); m != nil && (f.failure == "" || stamp.MatchString(m[3])) {
		f.failure = m[3]
	}
	if compiler.MatchString(text) && len(f.errors) < maxErrors {
		f.errors = append(f.errors, text)
	}
	f.tail = append(f.tail, text)
	if len(f.tail) > logTail {
		f.tail = f.tail[1:]
	}
	return true
}

// step takes what the instrumentation script says: verb, step, package.
func (f *follower) step(words []string) {
	if len(words) != 3 {
		return
	}
	f.marked = true
	name := words[2] + ": " + words[1]
	if words[0] == "start" {
		f.global = ""
		f.open = append(f.open, name)
		return
	}
	for i, o := range f.open {
		if o == name {
			f.open = append(f.open[:i:i], f.open[i+1:]...)
			break
		}
	}
	if strings.HasPrefix(words[1], "install") {
		f.done[words[2]] = true
	}
}

// now is where the build is: "3 of 92, busybox: build".
func (f *follower) now() string {
	at := strings.Join(f.open, ", ")
	if at == "" {
		at = strings.ToLower(f.global)
	}
	if at == "" && !f.marked {
		at = f.last
	}
	if at == "" {
		return ""
	}
	if f.total == 0 {
		return at
	}
	return fmt.Sprintf("%d of %d, %s", len(f.done), f.total, at)
}

// reasons are lines that say what is wrong better than make does.
var reasons = []struct {
	line *regexp.Regexp
	help string
}{
	{regexp.MustCompile(`^ERROR: while checking hashes from |^ERROR: expected: `), "what came is not what Buildroot expects: remove it from the download folder, or see to the mirror"},
	{regexp.MustCompile(`^cp: cannot stat '|^wget: unable to resolve host|: No data received\.|^ERROR 404|unable to connect`), "fill the download folder, name a mirror with BR2_PRIMARY_SITE in buildroot.options, or let the build use the network"},
	{regexp.MustCompile(`^You must install '`), "install it on this machine"},
	{regexp.MustCompile(`^You have legacy configuration`), "see Config.in.legacy of the tree"},
	{regexp.MustCompile(`^Incorrect selection of kernel headers: `), "set the series of kernel headers to that of the kernel"},
	{regexp.MustCompile(`No space left on device`), "make room and run it again: what is built is kept"},
	{regexp.MustCompile(`you should not run configure as root`), "run piimg as another user"},
	{regexp.MustCompile(`^rsync: .*change_dir .* failed: No such file or directory`), "an overlay, or a folder that a package is made from, is not there"},
	{regexp.MustCompile(`sed: can't read .*rpi-firmware/config\.txt`), "the tree's post-image script wants a config.txt: set BR2_PACKAGE_RPI_FIRMWARE_CONFIG_FILE, or unset BR2_ROOTFS_POST_IMAGE_SCRIPT: piimg writes config.txt and disk images itself"},
}

// failed is the error of a make that failed: the package and the step, and the last words.
func (f *follower) failed(target, log string) error {
	what := f.failure
	where := f.last
	if m := stamp.FindStringSubmatch(f.failure); m != nil {
		where, what = m[1]+": "+strings.ReplaceAll(m[2], "_", " "), ""
	} else if len(f.open) > 0 {
		where = strings.Join(f.open, ", ")
	} else if f.global != "" {
		where = strings.ToLower(f.global)
	}
	e := &Error{Text: "Buildroot failed"}
	if target != "" {
		e.Text += " at make " + target
	}
	if where != "" {
		e.Text += ", " + where
	}
	if what != "" {
		e.Text += ": " + what
	}
	if len(f.errors) > 0 {
		e.Text += ":\n  " + strings.Join(f.errors, "\n  ") + "\n"
	}
	for _, line := range f.tail {
		for _, r := range reasons {
			if e.Help == "" && r.line.MatchString(line) {
				e.Text += ": " + line
				e.Help = r.help
			}
		}
	}
	if e.Help == "" {
		e.Help = "the whole log is " + log
	}
	e.Text += "; its last words:\n  " + strings.Join(f.tail, "\n  ")
	return e
}
