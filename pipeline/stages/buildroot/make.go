package buildroot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"piimg/pipeline"
	"piimg/pipeline/format/kconfig"
)

// passed are variables of the operator that a download may need. None shapes a byte:
// Buildroot compares what it downloads with the hashes that it has.
var passed = []string{
	"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "SSH_AUTH_SOCK",
}

// Env is the whole environment of make: nothing of the operator's that reaches the output.
func (s *Workspace) Env() []string {
	env := []string{
		"PATH=" + searchPath, "HOME=" + filepath.Join(s.Dir, "home"), "TERM=dumb", "LC_ALL=C", "TZ=UTC", "SHELL=/bin/bash",
		"SOURCE_DATE_EPOCH=" + strconv.FormatInt(s.epoch, 10),
		// Buildroot asks git for its version: not a repository that the cache happens to lie in.
		"GIT_CEILING_DIRECTORIES=" + filepath.Dir(s.Tree),
		"BR2_DL_DIR=" + s.shared("BR2_DL_DIR", "dl"),
		"BR2_CCACHE_DIR=" + s.shared("BR2_CCACHE_DIR", "ccache"),
		"PIIMG_STEPS=" + s.stepsFile(),
	}
	if os.Getuid() == 0 {
		env = append(env, "FORCE_UNSAFE_CONFIGURE=1") // of GNU tar, mostly
	}
	for _, name := range passed {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// shared is a folder that all builds share: the operator's own, or one in our cache.
func (s *Workspace) shared(variable, name string) string {
	if dir := os.Getenv(variable); filepath.IsAbs(dir) {
		return dir
	}
	return filepath.Join(s.cache, "buildroot", name)
}

// Make is the command that runs make in the workspace.
func (s *Workspace) Make(targets ...string) []string {
	argv := []string{
		"make", "-C", s.Tree, "O=" + s.Output, "BR2_EXTERNAL=" + strings.Join(s.external, ":"),
		"BR2_JLEVEL=" + strconv.Itoa(s.jobs),
		"BR2_INSTRUMENTATION_SCRIPTS=" + filepath.Join(s.external[len(s.external)-1], "instrument"),
	}
	if s.offline {
		argv = append(argv, "BR2_PRIMARY_SITE_ONLY=y")
		if kconfig.Parse(kconfig.Text(s.settings))["BR2_PRIMARY_SITE"] == "" {
			argv = append(argv, "BR2_PRIMARY_SITE=file://"+filepath.Join(s.cache, "buildroot", "no-network"))
		}
	}
	return append(argv, targets...)
}

func (s *Workspace) stepsFile() string { return filepath.Join(s.Dir, "steps") }
func (s *Workspace) logFile() string   { return filepath.Join(s.Dir, "build.log") }

// run runs make and follows it. Its output goes to each, and to the log of the workspace.
func (s *Workspace) run(ctx context.Context, f *follower, targets ...string) error {
	for _, dir := range []string{filepath.Join(s.Dir, "home"), s.shared("BR2_DL_DIR", "dl")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(s.logFile(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	was := ""
	each := func(line string) {
		forPeople := f.line(line)
		if forPeople {
			fmt.Fprintln(log, line)
		}
		if now := f.now(); now != was && now != "" {
			was = now
			s.log(now)
		}
	}
	err = pipeline.Exec(ctx, s.Dir, s.Env(), each, s.Make(targets...)...)
	var failed *pipeline.ExecError
	if errors.As(err, &failed) {
		return f.failed(strings.Join(targets, " "), s.logFile())
	}
	return err
}
