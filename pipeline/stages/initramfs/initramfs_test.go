package initramfs_test

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
	"piimg/pipeline/stages/initramfs"
	"piimg/pipeline/stages/stagetest"
)

const head = `
name   = "t"
boards = ["pi5"]
[kernel]
file    = "kernel"
cmdline = "quiet"
[dtb]
files   = ["x.dtb"]
`

// base is an archive with /etc (mode 0700), /usr/bin, /bin → usr/bin and /etc/motd.
func base(t *testing.T, f codec.Format) string {
	t.Helper()
	var b bytes.Buffer
	z, err := codec.NewWriter(&b, f)
	if err != nil {
		t.Fatal(err)
	}
	w := newc.NewWriter(z)
	for _, e := range []struct {
		name string
		mode uint32
		body string
	}{
		{"./etc", newc.Dir | 0o700, ""},
		{"./usr", newc.Dir | 0o755, ""},
		{"./usr/bin", newc.Dir | 0o755, ""},
		{"./bin", newc.Symlink | 0o777, "usr/bin"},
		{"./etc/motd", newc.Regular | 0o600, "base"},
		{"./file", newc.Regular | 0o644, "x"},
	} {
		entry := newc.Entry{Name: e.name, Mode: e.mode, Size: int64(len(e.body))}
		if err := w.WriteEntry(entry, strings.NewReader(e.body)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []io.Closer{w, z} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func world(base, initramfs string, files map[string]string) stagetest.World {
	w := stagetest.World{
		Recipe: head + "[initramfs]\nbase = \"base.cpio\"\n" + initramfs,
		Files:  map[string]string{"kernel": "", "x.dtb": "", "base.cpio": base},
	}
	for name, text := range files {
		w.Files[name] = text
	}
	return w
}

// list is what is in the archives from the n-th entry on, as "mode uid:gid time name body".
func list(t *testing.T, image string, skip int) []string {
	t.Helper()
	var all []string
	err := initrd.Walk(strings.NewReader(image), func(e newc.Entry, body io.Reader) error {
		text, err := io.ReadAll(body)
		line := fmt.Sprintf("%06o %d:%d %d %s %s", e.Mode, e.UID, e.GID, e.Time, e.Name, text)
		if e.RDev != (newc.Device{}) {
			line += fmt.Sprintf("%d,%d", e.RDev.Major, e.RDev.Minor)
		}
		all = append(all, strings.TrimSpace(line))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all[skip:]
}

func TestContract(t *testing.T) {
	step := stagetest.Plan(t, initramfs.Stage{}, world(base(t, codec.None), `overlays = ["over"]`, map[string]string{"over/f": "x"}))
	if d := cmp.Diff([]string{"base.cpio", "over"}, step.Locals); d != "" {
		t.Errorf("locals (-want +got):\n%s", d)
	}
}

func TestOverlayGoesOnTopOfTheBase(t *testing.T) {
	for _, format := range []codec.Format{codec.None, codec.Gzip, codec.Zstd} {
		b := base(t, format)
		fsys, files := stagetest.Run(t, world(b, `
overlays = ["one", "two"]
[[initramfs.file]]
path = "etc/key"
mode = "0400"
owner = "7:8"
content = "secret"
[[initramfs.file]]
path = "etc/name"
template = "{{.Name}} {{.Epoch}}"
[[initramfs.file]]
path = "sbin/tool"
mode = "4755"
from = "tool"
[[initramfs.symlink]]
path = "sbin/init"
target = "/bin/init"
[[initramfs.node]]
path = "dev/console"
type = "char"
major = 5
minor = 1
mode = "0600"
`, map[string]string{"one/etc/motd": "one", "two/etc/motd": "two", "one/bin/run*": "#!", "tool": "T"}), initramfs.Stage{})
		image := stagetest.Read(t, fsys, "initramfs.cpio.gz")
		if len(image)%4 != 0 {
			t.Errorf("%s: %d bytes are not padded", format, len(image))
		}
		if len(files) != 1 || len(files[0].Parts) != 2 || files[0].Parts[0].Size != int64(len(b)) || !strings.HasPrefix(image, b) {
			t.Errorf("%s: the base is not the first part as it was: %+v", format, files)
		}
		want := []string{
			"040755 0:0 315532800 dev",
			"020600 0:0 315532800 dev/console 5,1",
			"100400 7:8 315532800 etc/key secret", // /etc keeps its mode: it is not written again
			"100644 0:0 315532800 etc/motd two",
			"100644 0:0 315532800 etc/name t 315532800",
			"040755 0:0 315532800 sbin",
			"120777 0:0 315532800 sbin/init /bin/init",
			"104755 0:0 315532800 sbin/tool T",
			"100755 0:0 315532800 usr/bin/run #!", // /bin is a symlink to it in the base and stays one
		}
		if d := cmp.Diff(want, list(t, image, 6)); d != "" {
			t.Errorf("%s: overlay (-want +got):\n%s", format, d)
		}
	}
}

// A base whose length is no multiple of 4 is padded by the part behind it.
func TestBaseOfOddLength(t *testing.T) {
	b := base(t, codec.Gzip)
	for len(b)%4 != 1 {
		b += "\x00"
	}
	fsys, files := stagetest.Run(t, world(b, `compression = "none"
overlays = ["one"]`, map[string]string{"one/etc/motd": "one"}), initramfs.Stage{})
	image := stagetest.Read(t, fsys, "initramfs.cpio")
	if files[0].Parts[0].Size != int64(len(b)) || len(image)%4 != 0 {
		t.Errorf("base of %d bytes, parts %+v", len(b), files[0].Parts)
	}
	if got := list(t, image, 6); len(got) != 1 {
		t.Errorf("overlay: %q", got)
	}
	cmd := exec.Command("cpio", "-t", "--quiet")
	cmd.Stdin = strings.NewReader(image[len(b)+3:])
	if out, err := cmd.Output(); err != nil || string(out) != "etc/motd\n" {
		t.Errorf("cpio -t says %q, %v", out, err)
	}
}

func TestNothingOnTop(t *testing.T) {
	b := base(t, codec.Gzip)
	for len(b)%4 != 0 {
		b += "\x00"
	}
	fsys, _ := stagetest.Run(t, world(b, "", nil), initramfs.Stage{})
	if stagetest.Read(t, fsys, "initramfs.cpio.gz") != b {
		t.Error("the base did not stay as it is")
	}
}

func TestRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		world stagetest.World
		want  string
	}{
		"base is no archive": {world("no archive", "", nil), "initramfs.base: archive 1: "},
		"base is cut off":    {world(base(t, codec.Gzip)[:150], "", nil), "initramfs.base: archive 1: "},
		"below a file":       {world(base(t, codec.None), `overlays = ["one"]`, map[string]string{"one/file/x": "y"}), "file is a folder here and none in the base"},
	} {
		err := stagetest.Fails(t, tt.world, initramfs.Stage{})
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}
