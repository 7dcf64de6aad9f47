package fat_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"piimg/pipeline/format/fat"
)

func text(path, content string) fat.File {
	return fat.File{Path: path, Size: int64(len(content)), Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }}
}

// zeros is a file of n bytes that differ.
func pattern(path string, n int) fat.File {
	return text(path, string(bytes.Repeat([]byte(path), n/len(path)+1)[:n]))
}

// sparse leaves holes where zeros are written.
type sparse struct{ f *os.File }

func (s *sparse) Write(p []byte) (int, error) {
	if bytes.Count(p, []byte{0}) < len(p) {
		return s.f.Write(p)
	}
	at, err := s.f.Seek(int64(len(p)), io.SeekCurrent)
	if err == nil {
		err = s.f.Truncate(at)
	}
	return len(p), err
}

func write(t *testing.T, files []fat.File, o fat.Options) (*fat.Image, string) {
	t.Helper()
	i, err := fat.New(files, o)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "fat.img")
	out, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if n, err := i.WriteTo(&sparse{out}); err != nil || n != i.Size {
		t.Fatalf("wrote %d of %d bytes, %v", n, i.Size, err)
	}
	return i, name
}

// run runs a foreign tool and returns what it says.
func run(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MTOOLS_SKIP_CHECK=0", "TZ=UTC", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// accepted holds an image against fsck.fat, mtools and our own reader.
func accepted(t *testing.T, i *fat.Image, name string, files []fat.File) {
	t.Helper()
	if said := run(t, "fsck.fat", "-n", "-v", name); !strings.Contains(said, fmt.Sprintf("%d bits per FAT entry", i.Kind)) && !strings.Contains(said, fmt.Sprintf("FATs, %d bit", i.Kind)) {
		t.Errorf("fsck.fat takes FAT%d for something else:\n%s", i.Kind, said)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	fsys, err := fat.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if fsys.Kind != i.Kind || fsys.Clusters != i.Clusters {
		t.Errorf("read: FAT%d with %d clusters, written: FAT%d with %d", fsys.Kind, fsys.Clusters, i.Kind, i.Clusters)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Path)
		want := contents(t, f)
		if got := run(t, "mtype", "-i", name, "::"+f.Path); got != want {
			t.Errorf("mtype %s: %d bytes, want %d", f.Path, len(got), len(want))
		}
		if got, err := fs.ReadFile(fsys, f.Path); string(got) != want || err != nil {
			t.Errorf("%s: %d bytes, %v, want %d", f.Path, len(got), err, len(want))
		}
	}
	if err := fstest.TestFS(fsys, names...); err != nil {
		t.Error(err)
	}
}

func contents(t *testing.T, f fat.File) string {
	t.Helper()
	in, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	b, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// bootFiles have the names that occur.
var bootFiles = []fat.File{
	text("config.txt", "arm_64bit=1\n"), text("cmdline.txt", "quiet\n"), text("empty", ""), text("LICENCE.broadcom", "licence"),
	pattern("bcm2711-rpi-4-b.dtb", 55000), pattern("bcm2711-rpi-400.dtb", 513), pattern("kernel8.img", 512*7),
	text("overlays/disable-bt.dtbo", "bt"), text("overlays/overlay_map.dtb", "map"), text("EFI/BOOT/BOOTAA64.EFI", "MZ"),
	text("Grüße an alle.txt", "ü"), text("a+b,c;d=e.txt", "odd"), text("overlays/.hidden", "x"), text("UPPER.TXT", "U"),
	text("long name with blanks.and.dots.txt", "l"), text(strings.Repeat("x", 200), "x"),
}

func TestEveryKindIsAcceptedByOthers(t *testing.T) {
	for name, o := range map[string]fat.Options{
		"smallest":       {},
		"FAT12":          {Size: 1 << 20, Slack: 1 << 16},
		"FAT16":          {Size: 8 << 20},
		"FAT32":          {Size: 40 << 20},
		"two tables":     {Size: 64 << 20, Tables: 2, Blocks: 1, Hidden: 2048},
		"large clusters": {Size: 300 << 20, Tables: 2, Blocks: 8},
	} {
		o.Epoch, o.Serial = 315532800, 0x12345678
		i, file := write(t, bootFiles, o)
		t.Logf("%s: FAT%d, %d clusters, %d used, %d bytes", name, i.Kind, i.Clusters, i.Used, i.Size)
		accepted(t, i, file, bootFiles)
	}
}

// Around the sizes where one kind ends and the next begins, and where a table needs
// another sector, every image has to be one that fsck.fat accepts.
func TestSizesAroundTheLimits(t *testing.T) {
	files := []fat.File{text("a", "a"), pattern("dir/b", 1000)}
	var sizes []int64
	for _, middle := range []int64{4085 * 512, 65525 * 512, 64 << 20, 2 << 20, 32 << 20} {
		for d := int64(-24); d <= 24; d += 8 {
			sizes = append(sizes, middle+d*512)
		}
	}
	for _, size := range sizes {
		for _, tables := range []int{1, 2} {
			i, file := write(t, files, fat.Options{Size: size, Tables: tables})
			run(t, "fsck.fat", "-n", file)
			if got := run(t, "mtype", "-i", file, "::a"); got != "a" || i.Size != size {
				t.Errorf("%d bytes, %d tables: read %q, size %d", size, tables, got, i.Size)
			}
		}
	}
}

// Contents of every size, so that used clusters go through all numbers.
func TestContentsAroundTheLimits(t *testing.T) {
	for _, clusters := range []int{4085, 65525} {
		for d := -20; d <= 20; d += 5 {
			files := []fat.File{pattern("big", (clusters+d)*512)}
			i, file := write(t, files, fat.Options{})
			run(t, "fsck.fat", "-n", file)
			if i.Clusters < i.Used {
				t.Errorf("%d of %d clusters are used", i.Used, i.Clusters)
			}
		}
	}
}

func TestManyFilesInTheRoot(t *testing.T) {
	var files []fat.File
	for n := range 300 {
		files = append(files, text(fmt.Sprintf("overlay-with-a-long-name-%d.dtbo", n), fmt.Sprint(n)))
	}
	i, file := write(t, files, fat.Options{})
	run(t, "fsck.fat", "-n", file)
	if got := run(t, "mtype", "-i", file, "::overlay-with-a-long-name-299.dtbo"); got != "299" {
		t.Errorf("the last file is %q", got)
	}
	if got := run(t, "mdir", "-b", "-i", file, "::"); strings.Count(got, "\n") != 300 {
		t.Errorf("mdir lists %d files in FAT%d", strings.Count(got, "\n"), i.Kind)
	}
}

func TestSameFilesSameBytes(t *testing.T) {
	o := fat.Options{Size: 2 << 20, Epoch: 1700000001, Serial: 7}
	_, one := write(t, bootFiles, o)
	reversed := make([]fat.File, 0, len(bootFiles))
	for n := range bootFiles {
		reversed = append(reversed, bootFiles[len(bootFiles)-1-n])
	}
	_, two := write(t, reversed, o)
	a, _ := os.ReadFile(one)
	b, _ := os.ReadFile(two)
	if !bytes.Equal(a, b) {
		t.Error("another order of the files gives other bytes")
	}
	fsys, err := fat.Open(bytes.NewReader(a), int64(len(a)))
	if err != nil {
		t.Fatal(err)
	}
	info, err := fs.Stat(fsys, "config.txt")
	if err != nil || !info.ModTime().Equal(time.Unix(1700000000, 0)) { // every other second
		t.Errorf("time %v, %v", info.ModTime(), err)
	}
}

// What mkfs.fat and mtools write can be read.
func TestImagesOfOthers(t *testing.T) {
	for _, kind := range []string{"12", "16", "32"} {
		size := map[string]string{"12": "1024", "16": "16384", "32": "40960"}[kind]
		file := filepath.Join(t.TempDir(), "img")
		content := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(content, bytes.Repeat([]byte("x"), 5000), 0o644); err != nil {
			t.Fatal(err)
		}
		run(t, "mkfs.fat", "-C", "-F", kind, "-s", "1", "-n", "TEST", file, size)
		run(t, "mmd", "-i", file, "::overlays")
		run(t, "mcopy", "-i", file, content, "::start4.elf")
		run(t, "mcopy", "-i", file, content, "::overlays/overlay_map.dtb")
		run(t, "mdel", "-i", file, "::start4.elf")
		run(t, "mcopy", "-i", file, content, "::FIXUP4.DAT")
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		fsys, err := fat.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(int(fsys.Kind)) != kind || fsys.Label != "TEST" || fsys.LastCluster() {
			t.Errorf("read as FAT%d %q", fsys.Kind, fsys.Label)
		}
		if err := fstest.TestFS(fsys, "overlays/overlay_map.dtb", "FIXUP4.DAT"); err != nil {
			t.Error(err)
		}
		if _, err := fs.Stat(fsys, "start4.elf"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a removed file: %v", err)
		}
	}
}

func TestLastCluster(t *testing.T) {
	for _, o := range []fat.Options{{}, {Slack: 512}} {
		_, file := write(t, []fat.File{pattern("f", 100*512)}, o)
		b, _ := os.ReadFile(file)
		fsys, err := fat.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil || fsys.LastCluster() != (o.Slack == 0) {
			t.Errorf("slack %d: last cluster in use %v, %v", o.Slack, fsys.LastCluster(), err)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		files []fat.File
		o     fat.Options
		want  string
	}{
		"two of one name": {[]fat.File{text("a/Config.txt", ""), text("a/config.TXT", "")}, fat.Options{}, "FAT takes them for one"},
		"file and folder": {[]fat.File{text("a", ""), text("a/b", "")}, fat.Options{}, "FAT takes them for one"},
		"folders by case": {[]fat.File{text("A/x", ""), text("a/y", "")}, fat.Options{}, "FAT takes them for one"},
		"colon":           {[]fat.File{text("a:b", "")}, fat.Options{}, "no name has"},
		"dot at the end":  {[]fat.File{text("a.", "")}, fat.Options{}, "drops"},
		"climbing":        {[]fat.File{text("../a", "")}, fat.Options{}, "no path"},
		"too long":        {[]fat.File{text(strings.Repeat("x", 256), "")}, fat.Options{}, "longer than 255"},
		"too large":       {[]fat.File{{Path: "a", Size: 1 << 32}}, fat.Options{}, "more than a FAT file system holds"},
		"full":            {[]fat.File{pattern("a", 2<<20)}, fat.Options{Size: 1 << 20}, "do not fit"},
		"odd size":        {nil, fat.Options{Size: 1000}, "no FAT has these"},
		"label":           {nil, fat.Options{Label: "boot"}, "upper-case"},
	} {
		_, err := fat.New(tt.files, tt.o)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	i, err := fat.New([]fat.File{{Path: "a", Size: 5, Open: text("a", "four").Open}}, fat.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.WriteTo(io.Discard); err == nil {
		t.Error("a file that is shorter than it was said to be was written")
	}
}

func FuzzOpen(f *testing.F) {
	for _, o := range []fat.Options{{}, {Size: 4 << 20}} {
		i, err := fat.New([]fat.File{text("config.txt", "x"), text("overlays/long name.dtbo", "y")}, o)
		if err != nil {
			f.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := i.WriteTo(&b); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes()[:min(b.Len(), 40<<10)])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fsys, err := fat.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		fsys.LastCluster()
		_ = fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				_, _ = fs.ReadFile(fsys, name)
			}
			return nil
		})
	})
}
