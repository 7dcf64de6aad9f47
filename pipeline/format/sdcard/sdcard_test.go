package sdcard_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"piimg/pipeline/format/bmap"
	"piimg/pipeline/format/fat"
	"piimg/pipeline/format/sdcard"
)

func text(path, content string) fat.File {
	return fat.File{Path: path, Size: int64(len(content)), Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }}
}

func run(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// The disk and its map are what sfdisk, fsck.fat, mtools and bmaptool take them for, at
// several sizes.
func TestOthersTakeIt(t *testing.T) {
	files := []fat.File{text("config.txt", "x"), text("kernel8.img", strings.Repeat("kernel", 1<<18)), text("overlays/disable-bt.dtbo", "bt")}
	for _, size := range []int64{0, 64 << 20, 40 << 20, 66 << 20} {
		i, err := sdcard.New(files, sdcard.Options{Size: size, ID: 0x1234, Epoch: 315532800})
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		disk := filepath.Join(dir, "sd.img")
		write(t, i, disk)
		if said := run(t, "sfdisk", "-d", disk); !strings.Contains(said, "label-id: 0x00001234") || !strings.Contains(said, "start=        2048") || !strings.Contains(said, "bootable") {
			t.Errorf("sfdisk sees\n%s", said)
		}
		if said := run(t, "sfdisk", "-V", disk); !strings.Contains(said, "No errors detected") {
			t.Errorf("sfdisk -V says\n%s", said)
		}
		part := filepath.Join(dir, "part")
		run(t, "dd", "if="+disk, "of="+part, "bs=1M", "skip=1", "conv=sparse", "status=none")
		run(t, "fsck.fat", "-n", part)
		if got := run(t, "mtype", "-i", disk+"@@1M", "::overlays/disable-bt.dtbo"); got != "bt" {
			t.Errorf("mtype reads %q", got)
		}
		copied := filepath.Join(dir, "copy")
		run(t, "bmaptool", "copy", "--bmap", disk+".bmap", disk, copied)
		run(t, "cmp", disk, copied)
	}
}

// write writes a disk and its map.
func write(t *testing.T, i *sdcard.Image, name string) {
	t.Helper()
	out, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	blocks := &bmap.Writer{}
	if n, err := i.WriteTo(io.MultiWriter(out, blocks)); err != nil || n != i.Size {
		t.Fatalf("wrote %d of %d bytes: %v", n, i.Size, err)
	}
	var text bytes.Buffer
	if err := blocks.Finish(&text); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name+".bmap", text.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestRefused(t *testing.T) {
	for name, o := range map[string]sdcard.Options{"odd": {Size: 12345}, "small": {Size: 1 << 20}, "full": {Size: 3 << 20}} {
		if _, err := sdcard.New([]fat.File{text("a", strings.Repeat("a", 3<<20))}, o); err == nil {
			t.Errorf("%s: laid out", name)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"512M": 512 << 20, "4G": 4 << 30, "2M": 2 << 20, "2047G": 2047 << 30,
		"": 0, "M": 0, "0M": 0, "-1M": 0, "+1M": 0, "512": 0, "512 M": 0, "1.5G": 0, "4g": 0, "4GB": 0, "99999999999G": 0, "1M": 0, "2048G": 0, "2147483647G": 0,
	} {
		got, err := sdcard.ParseSize(text)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", text, got, err, want)
		}
		if want > 0 && sdcard.FormatSize(want) != text {
			t.Errorf("FormatSize(%d) = %q; want %q", want, sdcard.FormatSize(want), text)
		}
	}
}

func TestLabel(t *testing.T) {
	i, err := sdcard.New([]fat.File{text("config.txt", "x")}, sdcard.Options{Size: 40 << 20, Label: "LAB_1", Epoch: 315532800})
	if err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "sd.img")
	write(t, i, disk)
	if got := run(t, "mlabel", "-s", "-i", disk+"@@1M", "::"); !strings.Contains(got, "Volume label is LAB_1") {
		t.Errorf("mlabel reads %q", got)
	}
}
