package sources

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"piimg/pipeline"
	"piimg/recipes"
	"piimg/store"
)

// Git takes the files of one revision of a repository. What was fetched is kept, and
// nobody is asked for a commit that is there. Submodules are left out.
type Git struct{}

// Kind is "git".
func (Git) Kind() string { return "git" }

// Takes says whether s names a repository.
func (Git) Takes(s recipes.Source) bool { return s.Git != "" }

// commitID is a full name of a commit.
var commitID = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

// shortID may be the beginning of a commit's name, which a server does not complete.
var shortID = regexp.MustCompile(`^[0-9a-f]{7,39}$`)

// Fetch returns the files of the commit that pin names, or that the recipe's revision
// means today.
func (Git) Fetch(ctx context.Context, s recipes.Source, pin *recipes.Pin, env pipeline.FetchEnv) (pipeline.Fetched, error) {
	cache := filepath.Join(env.Cache, "git")
	g := &repo{dir: filepath.Join(cache, store.Sum([]byte(s.Git)).Hex()[:16]), url: s.Git, offline: env.Offline}
	if pin != nil { // what is there needs no repository
		dir := filepath.Join(cache, "trees", pin.Version)
		if kept, err := describe(dir, recipes.Pin{Kind: "git", From: s.Text(), Version: pin.Version}); err == nil && kept.Pin == *pin {
			return kept, nil
		}
	}
	release, err := g.open(ctx)
	if err != nil {
		return pipeline.Fetched{}, err
	}
	defer release()
	rev := s.Rev
	if pin != nil {
		rev = pin.Version
	}
	commit, err := g.commit(ctx, rev)
	if err != nil {
		return pipeline.Fetched{}, err
	}
	dir := filepath.Join(cache, "trees", commit)
	if err := replaceDir(dir, func(tmp string) error { return g.export(ctx, commit, tmp) }); err != nil {
		return pipeline.Fetched{}, err
	}
	return describe(dir, recipes.Pin{Kind: "git", From: s.Text(), Version: commit})
}

// repo is our bare copy of a repository.
type repo struct {
	dir, url string
	offline  bool
}

// open makes the copy, empty at first, and holds it until release is called.
func (g *repo) open(ctx context.Context) (release func(), err error) {
	if err := os.MkdirAll(g.dir, 0o755); err != nil {
		return nil, err
	}
	held, err := os.OpenFile(filepath.Join(g.dir, "piimg-lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX); err != nil {
		held.Close()
		return nil, err
	}
	if _, err := g.git(ctx, nil, "init", "-q", "--bare", "."); err != nil {
		held.Close()
		return nil, err
	}
	return func() { held.Close() }, nil
}

// commit fetches a revision and is the name of its commit.
func (g *repo) commit(ctx context.Context, rev string) (string, error) {
	if commitID.MatchString(rev) {
		if id, err := g.git(ctx, nil, "rev-parse", "-q", "--verify", rev+"^{commit}"); err == nil {
			return id, nil
		}
	}
	if g.offline {
		return "", fmt.Errorf("revision %s of %s: %w", rev, g.url, pipeline.ErrOffline)
	}
	if _, err := g.git(ctx, nil, "fetch", "-q", "--no-tags", "--depth=1", g.url, rev); err == nil {
		return g.git(ctx, nil, "rev-parse", "-q", "--verify", "FETCH_HEAD^{commit}")
	} else if !commitID.MatchString(rev) || ctx.Err() != nil {
		if shortID.MatchString(rev) {
			err = fmt.Errorf("%w; if it is a commit, write all of its 40 digits", err)
		}
		return "", fmt.Errorf("fetch revision %s of %s: %w", rev, g.url, err)
	}
	// Not every server gives a commit by its name: take all that has a name.
	if _, err := g.git(ctx, nil, "fetch", "-q", "--tags", g.url, "+refs/heads/*:refs/heads/*"); err != nil {
		return "", fmt.Errorf("fetch %s: %w", g.url, err)
	}
	id, err := g.git(ctx, nil, "rev-parse", "-q", "--verify", rev+"^{commit}")
	if err != nil {
		return "", fmt.Errorf("commit %s is in no branch and no tag of %s", rev, g.url)
	}
	return id, nil
}

// export writes the files of a commit into dir, as they were committed: no setting of the
// operator and no attribute turns line ends or runs a filter.
func (g *repo) export(ctx context.Context, commit, dir string) error {
	index := dir + ".index"
	defer os.Remove(index)
	env := []string{"GIT_INDEX_FILE=" + index, "GIT_WORK_TREE=" + dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_ATTR_NOSYSTEM=1"}
	if _, err := g.git(ctx, env, "read-tree", commit); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(g.dir, "info"), 0o755); err != nil {
		return err
	}
	// Attributes of the repository itself win over those that are committed.
	if err := os.WriteFile(filepath.Join(g.dir, "info", "attributes"), []byte("* -text -eol -filter -ident -working-tree-encoding\n"), 0o644); err != nil {
		return err
	}
	_, err := g.git(ctx, env, "-c", "core.bare=false", "-c", "core.symlinks=true", "checkout-index", "-a")
	return err
}

// git runs git in the copy and is what it prints.
func (g *repo) git(ctx context.Context, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-c", "core.autocrlf=false", "-c", "protocol.ext.allow=never"}, args...)...)
	cmd.Dir = g.dir
	cmd.Env = append(append(os.Environ(), "LC_ALL=C", "GIT_TERMINAL_PROMPT=0", "GIT_DIR="+g.dir), env...)
	var out, diag bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diag
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", fmt.Errorf("a git source needs git: %w", err)
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil:
		return "", fmt.Errorf("git %s: %s", verb(args), lastLine(diag.String(), err))
	}
	return strings.TrimSpace(out.String()), nil
}

// verb is the command among the arguments.
func verb(args []string) string {
	for len(args) > 2 && args[0] == "-c" {
		args = args[2:]
	}
	return args[0]
}

// lastLine is what a program said last: git says there what is wrong.
func lastLine(said string, err error) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	for _, l := range lines {
		if text, ok := strings.CutPrefix(l, "fatal: "); ok {
			return text
		}
	}
	if last := lines[len(lines)-1]; last != "" {
		return last
	}
	return err.Error()
}
