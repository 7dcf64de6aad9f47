package buildroot

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
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

// pkgInfo is a part of what make show-info says of a package.
type pkgInfo struct {
	Type            string `json:"type"`
	Virtual         bool   `json:"virtual"`
	Version         string `json:"version,omitempty"`
	Licenses        string `json:"licenses,omitempty"`
	Redistributable *bool  `json:"redistributable,omitempty"`
	CPE             string `json:"cpe-id,omitempty"`
	Downloads       []struct {
		Source string `json:"source"`
	} `json:"downloads,omitempty"`
	StampDir string `json:"stamp_dir,omitempty"`
}

// learnPackages finds out which packages Buildroot would build. In one workspace the
// answer is always the same.
func (s *Workspace) learnPackages(ctx context.Context) error {
	file := filepath.Join(s.Dir, "packages.json")
	if known, err := os.ReadFile(file); err == nil && json.Unmarshal(known, &s.packages) == nil {
		return nil
	}
	document, err := s.showInfo(ctx)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(document), &s.packages); err != nil {
		return fmt.Errorf("make show-info: %w", err)
	}
	return os.WriteFile(file, []byte(document), 0o644)
}

// showInfo asks Buildroot for a description of its packages.
func (s *Workspace) showInfo(ctx context.Context) (string, error) {
	f := newFollower(0)
	document := ""
	each := func(line string) {
		if strings.HasPrefix(line, "{") {
			document = line
		}
		f.line(line)
	}
	err := pipeline.Exec(ctx, s.Dir, s.Env(), each, s.Make("-s", "show-info")...)
	var failed *pipeline.ExecError
	if errors.As(err, &failed) {
		return "", f.failed("show-info", s.logFile())
	}
	return document, err
}

// total is how many packages there are to build.
func (s *Workspace) total() int {
	n := 0
	for _, p := range s.packages {
		if p.Type != "rootfs" && !p.Virtual {
			n++
		}
	}
	return n
}

// writePackages writes what the image is made of: names, versions, licences and files of
// the packages, without any path of the machine.
func (s *Workspace) writePackages(w io.Writer) error {
	type entry struct {
		Name string `json:"name"`
		pkgInfo
	}
	all := []entry{}
	for _, name := range slices.Sorted(maps.Keys(s.packages)) {
		p := s.packages[name]
		p.StampDir = ""
		if p.Type != "rootfs" {
			all = append(all, entry{name, p})
		}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	return enc.Encode(all)
}

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
