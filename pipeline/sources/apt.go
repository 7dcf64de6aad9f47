package sources

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"piimg/pipeline"
	"piimg/recipes"
	"piimg/store"
)

// apt is one view of a Debian archive: apt with lists, a cache and a status of its own, so
// that nothing that is installed or configured on the machine has a say. Its index is
// what apt itself took for signed.
type apt struct {
	dir     string // folder of the view
	arch    string
	own     bool // its sources are those of dir, and else the machine's
	offline bool
}

// open makes a view for s, and holds it until close is called: apt does not share its lists.
func openApt(ctx context.Context, s recipes.Source, arch string, env pipeline.FetchEnv) (a *apt, closeView func(), err error) {
	text, err := aptSources(ctx, s, env.Dir)
	if err != nil {
		return nil, nil, err
	}
	id := store.Sum([]byte(arch + "\n" + text)).Hex()[:16]
	a = &apt{dir: filepath.Join(env.Cache, "apt", id), arch: arch, own: text != "", offline: env.Offline}
	for _, sub := range []string{"lists/partial", "cache/archives/partial", "state"} {
		if err := os.MkdirAll(filepath.Join(a.dir, sub), 0o755); err != nil {
			return nil, nil, err
		}
	}
	held, err := os.OpenFile(filepath.Join(a.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, nil, err
	}
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX); err != nil {
		held.Close()
		return nil, nil, err
	}
	for name, content := range map[string]string{"status": "", a.sourcesFile(text): text} {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(content), 0o644); err != nil {
			held.Close()
			return nil, nil, err
		}
	}
	return a, func() { held.Close() }, nil
}

// sourcesFile is called as apt wants it: by its form.
func (a *apt) sourcesFile(text string) string {
	if regexp.MustCompile(`(?m)^Types:`).MatchString(text) {
		return "archive.sources"
	}
	return "archive.list"
}

// aptSources is the list of archives in one of apt's forms, "" for the machine's own.
func aptSources(ctx context.Context, s recipes.Source, dir string) (string, error) {
	switch {
	case s.Archive != "":
		root, err := os.OpenRoot(dir)
		if err != nil {
			return "", err
		}
		defer root.Close()
		text, err := root.ReadFile(filepath.FromSlash(s.Archive))
		return string(text), err
	case s.Suite == "" && len(s.Components) == 0:
		return "", nil
	}
	out, err := runApt(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)\t$(ORIGIN)", "Created-By: Packages")
	if err != nil {
		return "", err
	}
	return widened(out, s.Suite, s.Components)
}

// widened are the machine's Debian archives, as listed, with another suite or other
// components.
func widened(targets, suite string, components []string) (string, error) {
	var entries [][]string
	for line := range strings.Lines(targets) {
		if f := strings.Split(strings.TrimRight(line, "\n"), "\t"); len(f) == 4 && f[2] == "main" && (f[3] == "Debian" || f[3] == "") {
			entries = append(entries, f)
		}
	}
	if len(entries) == 0 {
		return "", errors.New("the machine's apt knows no Debian archive: name one with archive")
	}
	if suite != "" {
		entries = [][]string{{entries[0][0], suite}}
	}
	if len(components) == 0 {
		components = []string{"main"}
	}
	var lines []string
	for _, e := range entries {
		lines = append(lines, fmt.Sprintf("deb %s%s %s %s\n", signedBy(), e[0], e[1], strings.Join(components, " ")))
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), ""), nil
}

// debianKeys are the keys of Debian's archive where the machine has them by themselves;
// without them apt takes those that it trusts in general.
const debianKeys = "/usr/share/keyrings/debian-archive-keyring.gpg"

func signedBy() string {
	if _, err := os.Stat(debianKeys); err != nil {
		return ""
	}
	return "[signed-by=" + debianKeys + "] "
}

// command runs one of apt's programs in the view.
func (a *apt) command(ctx context.Context, dir, program string, args ...string) (string, error) {
	options := map[string]string{
		"Dir::State": "state", "Dir::State::Lists": "lists", "Dir::State::status": "status", "Dir::Cache": "cache",
	}
	if a.own {
		options["Dir::Etc::SourceList"] = "archive.list"
		if _, err := os.Stat(filepath.Join(a.dir, "archive.sources")); err == nil {
			options["Dir::Etc::SourceList"] = "archive.sources"
		}
	}
	argv := []string{
		"-q", "-o", "APT::Architecture=" + a.arch, "-o", "APT::Architectures::=" + a.arch, "-o", "Acquire::Languages=none",
		"-o", "APT::Get::AllowUnauthenticated=false", "-o", "Acquire::AllowInsecureRepositories=false",
		"-o", "APT::Sandbox::User=root", // a user of apt's own could not write into the view
	}
	for _, name := range []string{"Dir::State", "Dir::State::Lists", "Dir::State::status", "Dir::Cache", "Dir::Etc::SourceList"} {
		if value := options[name]; value != "" {
			argv = append(argv, "-o", name+"="+filepath.Join(a.dir, value))
		}
	}
	if a.own {
		argv = append(argv, "-o", "Dir::Etc::SourceParts=/dev/null")
	}
	return runAptIn(ctx, dir, program, append(argv, args...)...)
}

func runApt(ctx context.Context, program string, args ...string) (string, error) {
	return runAptIn(ctx, "", program, args...)
}

func runAptIn(ctx context.Context, dir, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "LC_ALL=C", "LANGUAGE=")
	var out, diag bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diag
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", fmt.Errorf("a deb source needs %s, of a machine that runs Debian or its like: %w", program, err)
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil:
		return "", &aptError{program, diag.String(), err}
	}
	return out.String(), nil
}

// aptError: a program of apt has failed.
type aptError struct {
	program, said string
	err           error
}

func (e *aptError) Error() string {
	said := []string{}
	for line := range strings.Lines(e.said) {
		if text, ok := strings.CutPrefix(line, "E: "); ok {
			said = append(said, strings.TrimSpace(text))
		}
	}
	if len(said) == 0 {
		said = []string{e.err.Error()}
	}
	return e.program + ": " + strings.Join(said, "; ")
}

func (e *aptError) Unwrap() error { return e.err }

// update fetches the index of the archive anew.
func (a *apt) update(ctx context.Context) error {
	if a.offline {
		return fmt.Errorf("the index of the archive: %w", pipeline.ErrOffline)
	}
	// A repository that cannot be reached, or is not signed, would be a warning.
	_, err := a.command(ctx, "", "apt-get", "-o", "APT::Update::Error-Mode=any", "update")
	if err != nil {
		return &indexError{fmt.Errorf("fetch the index: %w", err)}
	}
	return nil
}

// indexError: there is no index, or it does not have what is asked for.
type indexError struct{ error }

func (e *indexError) Unwrap() error { return e.error }

// Hint is what to do about it.
func (e *indexError) Hint() string {
	return "see to the name, and to suite, components and archive of the source: where they say nothing, the archives of this machine's apt are asked"
}

// hasIndex says whether an index was fetched before.
func (a *apt) hasIndex() bool {
	found, err := filepath.Glob(filepath.Join(a.dir, "lists", "*Packages*"))
	return err == nil && len(found) > 0
}

// debPkg is one package of an archive.
type debPkg struct {
	name, arch, version string
	sum                 store.Digest
	depends             string
}

// spec is the package as apt is asked for it.
func (p debPkg) spec() string { return p.name + ":" + p.arch + "=" + p.version }

// file is the name of its file in our cache.
func (p debPkg) file() string { return p.name + "_" + p.arch + ".deb" }

// lookup is what the index says of a package: name, name:arch or either with =version.
func (a *apt) lookup(ctx context.Context, spec string) (debPkg, error) {
	out, err := a.command(ctx, "", "apt-cache", "show", "--no-all-versions", spec)
	if err != nil || !strings.HasPrefix(out, "Package:") {
		return debPkg{}, &indexError{fmt.Errorf("package %s for %s is not in the archive's index: %w", spec, a.arch, fs.ErrNotExist)}
	}
	stanza, _, _ := strings.Cut(out, "\n\n")
	field := map[string]string{}
	for line := range strings.Lines(stanza) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && line[0] != ' ' {
			field[name] = value
		}
	}
	p := debPkg{name: field["Package"], arch: field["Architecture"], version: field["Version"]}
	p.depends = field["Pre-Depends"] + ", " + field["Depends"]
	if p.sum, err = store.ParseHex(field["SHA256"]); err != nil {
		return debPkg{}, fmt.Errorf("package %s: the index has no SHA-256: %w", spec, err)
	}
	return p, nil
}

// resolve is the package and those that it depends on whose names match a pattern.
func (a *apt) resolve(ctx context.Context, spec string, patterns []string) ([]debPkg, error) {
	var all []debPkg
	seen := map[string]bool{}
	for todo := []string{spec}; len(todo) > 0; todo = todo[1:] {
		p, err := a.lookup(ctx, todo[0])
		if err != nil {
			return nil, err
		}
		if seen[p.name] {
			continue
		}
		seen[p.name] = true
		all = append(all, p)
		for name, version := range dependencies(p.depends) {
			if slices.ContainsFunc(patterns, func(pattern string) bool { ok, _ := path.Match(pattern, name); return ok }) {
				todo = append(todo, name+version)
			}
		}
	}
	if len(patterns) > 0 && len(all) == 1 {
		return nil, fmt.Errorf("package %s depends on nothing that matches %s: %w", spec, strings.Join(patterns, ", "), fs.ErrNotExist)
	}
	slices.SortFunc(all, func(x, y debPkg) int { return strings.Compare(x.name, y.name) })
	return all, nil
}

// dependency is one name in a Depends field; with = the version is asked for.
var dependency = regexp.MustCompile(`^([a-z0-9][a-z0-9+.-]+)(?::\w+)?\s*(?:\(= ([^)]+)\))?`)

// dependencies are the names in a Depends field, alternatives too, each with "=version"
// where just one will do.
func dependencies(field string) map[string]string {
	names := map[string]string{}
	for _, d := range strings.FieldsFunc(field, func(r rune) bool { return r == ',' || r == '|' }) {
		if m := dependency.FindStringSubmatch(strings.TrimSpace(d)); m != nil {
			names[m[1]] = ""
			if m[2] != "" {
				names[m[1]] = "=" + m[2]
			}
		}
	}
	return names
}

// download fetches the file of a package into dir; apt compares it with the index.
func (a *apt) download(ctx context.Context, p debPkg, dir string) (string, error) {
	if a.offline {
		return "", fmt.Errorf("package %s: %w", p.spec(), pipeline.ErrOffline)
	}
	if _, err := a.command(ctx, dir, "apt-get", "download", p.spec()); err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("apt-get download %s left %d files behind", p.spec(), len(found))
	}
	return found[0], nil
}
