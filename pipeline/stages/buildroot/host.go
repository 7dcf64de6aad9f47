package buildroot

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"piimg/store"
)

// searchPath is where programs of the machine are looked for: a PATH with a blank or an
// empty part ends a build after a quarter of a minute.
const searchPath = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

// required are the programs that Buildroot demands of the machine (manual, "Mandatory
// packages"; support/dependencies/dependencies.sh), with the packages of Debian.
var required = []struct{ program, pkg string }{
	{"which", "debianutils"}, {"sed", "sed"}, {"make", "make"}, {"ld", "binutils"}, {"gcc", "gcc"}, {"g++", "g++"},
	{"bash", "bash"}, {"patch", "patch"}, {"gzip", "gzip"}, {"bzip2", "bzip2"}, {"xz", "xz-utils"}, {"perl", "perl"},
	{"tar", "tar"}, {"cpio", "cpio"}, {"unzip", "unzip"}, {"rsync", "rsync"}, {"file", "file"}, {"bc", "bc"},
	{"find", "findutils"}, {"xargs", "findutils"}, {"awk", "gawk"}, {"diff", "diffutils"}, {"cmp", "diffutils"}, {"wget", "wget"},
}

// find is a program of the machine, "" where it has none.
func find(program string) string {
	for _, dir := range filepath.SplitList(searchPath) {
		if p, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return p
		}
	}
	return ""
}

// checkHost names all programs that are missing at once: make would stop at the first,
// after it has read some three thousand files.
func checkHost() error {
	var programs, packages []string
	for _, r := range required {
		if find(r.program) == "" {
			programs, packages = append(programs, r.program), append(packages, r.pkg)
		}
	}
	if len(programs) == 0 {
		return nil
	}
	return &Error{
		Text: "this machine lacks what Buildroot needs: " + strings.Join(programs, ", "),
		Help: "on Debian: apt-get install " + strings.Join(packages, " "),
	}
}

// shaping are the programs whose versions may shape bytes.
var shaping = []string{"gcc", "g++", "ld", "make", "bash", "tar", "cpio", "gzip", "bzip2", "xz", "patch", "perl", "rsync", "sed", "file"}

// hostVersion is what these programs say of themselves, as one digest: most of it is the
// distribution's business.
func hostVersion(ctx context.Context) (string, error) {
	var all strings.Builder
	for _, program := range shaping {
		line := "none"
		if p := find(program); p != "" {
			cmd := exec.CommandContext(ctx, p, "--version")
			cmd.Env = []string{"LC_ALL=C", "PATH=" + searchPath}
			out, err := cmd.Output()
			if ctx.Err() != nil {
				return "", ctx.Err()
			}
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				return "", fmt.Errorf("version of %s: %w", program, err)
			}
			line = firstLine(string(out))
		}
		fmt.Fprintf(&all, "%s: %s\n", program, line)
	}
	return store.Sum([]byte(all.String())).Short(), nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// checkPath refuses what Buildroot stumbles over with a message that says nothing, or a
// quarter of a minute later.
func checkPath(dir string) error {
	if i := strings.IndexAny(dir, " \t\n:@'\"$#%\\"); i >= 0 {
		return &Error{
			Text: fmt.Sprintf("Buildroot cannot work in %s: there is %q in it", dir, dir[i]),
			Help: "set XDG_CACHE_HOME to a folder with a plain path",
		}
	}
	return nil
}
