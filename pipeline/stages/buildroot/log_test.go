package buildroot

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// follow reads a log that Buildroot 2026.08-rc1 (e991fa0716) wrote, shortened to the lines
// that say something, with other folders.
func follow(t *testing.T, f *follower, name string) (seen []string) {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		f.line(lines.Text())
		if now := f.now(); len(seen) == 0 || seen[len(seen)-1] != now {
			seen = append(seen, now)
		}
	}
	return seen
}

func TestProgress(t *testing.T) {
	f := newFollower(13)
	seen := follow(t, f, "whole")
	if len(f.open) > 0 || f.failure != "" {
		t.Errorf("at the end %q is open, failure %q", f.open, f.failure)
	}
	told := strings.Join(seen, "\n")
	at := 0
	for _, want := range []string{
		"0 of 13, host-skeleton: download", "12 of 13, host-patchelf: build", "13 of 13, finalizing target directory",
		"13 of 13, generating filesystem image rootfs.cpio",
	} {
		i := strings.Index(told[at:], want)
		if i < 0 {
			t.Fatalf("not seen, or not in this order: %s\n%s", want, told)
		}
		at += i
	}
}

func TestProgressOfSeveralAtOnce(t *testing.T) {
	f := newFollower(3)
	for _, line := range []string{"@piimg start build bash", "@piimg start build tmux", "\x1b[7m>>> bash 5.2 Building\x1b[27m", "@piimg end build bash"} {
		f.line(line)
	}
	if got := f.now(); got != "0 of 3, tmux: build" {
		t.Errorf("now %q", got)
	}
	f.line("@piimg start install-target tmux")
	if got := f.now(); got != "0 of 3, tmux: build, tmux: install-target" {
		t.Errorf("now %q", got)
	}
}

func TestFailureIsNamed(t *testing.T) {
	for name, want := range map[string]struct{ text, help string }{
		"download_failed": {"Buildroot failed, host-m4-1.4.21: downloaded: wget: unable to resolve host address", "BR2_PRIMARY_SITE"},
		"hash_mismatch":   {"Buildroot failed, busybox-1.38.0: downloaded: ERROR: while checking hashes from package/busybox/busybox.hash", "not what Buildroot expects"},
		"compile_failed":  {"Buildroot failed, busybox-1.38.0: built:\n  coreutils/true.c:1:2: error: #error broken\n", "the whole log is /w/build.log"},
		"overlay_missing": {"Buildroot failed, copying overlay /build/ext/nowhere: [Makefile:784: target-finalize] Error 23: rsync: ", "an overlay"},
		"post_image":      {"Buildroot failed, executing post-image script board/raspberrypi4-64/post-image.sh: [Makefile:848: target-post-image] Error 2: sed: can't read", "piimg writes config.txt"},
		"legacy":          {"Buildroot failed: \"You have legacy configuration in your .config!", "the whole log is"},
	} {
		f := newFollower(0)
		follow(t, f, name)
		var e *Error
		if err := f.failed("", "/w/build.log"); !errors.As(err, &e) {
			t.Fatal(err)
		}
		if !strings.HasPrefix(e.Text, want.text) {
			t.Errorf("%s:\n%s\nwant\n%s", name, e.Text, want.text)
		}
		if !strings.Contains(e.Help, want.help) {
			t.Errorf("%s: help %q", name, e.Help)
		}
		if !strings.Contains(e.Text, "its last words:\n  ") {
			t.Errorf("%s: no last words", name)
		}
	}
}

func TestUnfinishedSteps(t *testing.T) {
	file := filepath.Join(t.TempDir(), "steps")
	if open, err := unfinished(file); err != nil || open != nil {
		t.Errorf("without a file: %v, %v", open, err)
	}
	text := "start build bash\nend build bash\nstart configure tmux\nstart build zlib\nend build zlib\nstart install-ta"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	open, err := unfinished(file)
	if d := cmp.Diff([]string{"tmux"}, open); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}
