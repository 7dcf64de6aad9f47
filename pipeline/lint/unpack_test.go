package lint

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

// archive is a compressed archive of entries without content; a slash ends folders.
func archive(t *testing.T, format codec.Format, names ...string) string {
	t.Helper()
	var b bytes.Buffer
	z, err := codec.NewWriter(&b, format)
	if err != nil {
		t.Fatal(err)
	}
	w := newc.NewWriter(z)
	for _, name := range names {
		bare, isDir := strings.CutSuffix(name, "/")
		e := newc.Entry{Name: bare, Mode: newc.Regular | 0o644}
		if isDir {
			e.Mode = newc.Dir | 0o755
		}
		if err := w.WriteEntry(e, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// configured is an arm64 kernel with a release and, unless it is empty, a configuration.
func configured(release, config string) string {
	k := kernel(kernel4K) + "Linux version " + release + " (a@b)"
	if config != "" {
		k += "IKCFG_ST" + zipped(config) + "IKCFG_ED"
	}
	return k
}

func zipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(s))
	_ = z.Close()
	return b.String()
}

// unpackCases are those of rule P27. A part is padded only where it says so.
func unpackCases(t *testing.T) map[string]struct {
	kernel string
	parts  []string
	want   string
} {
	gz, zst := archive(t, codec.Gzip, "etc/", "etc/a"), archive(t, codec.Zstd, "etc/", "etc/a")
	const initrdOn = "CONFIG_BLK_DEV_INITRD=y\n"
	return map[string]struct {
		kernel string
		parts  []string
		want   string
	}{
		"gzip":                     {configured("6.1", ""), []string{gz}, ""},
		"gzip, gzip":               {configured("6.1", ""), []string{gz, gz}, ""},
		"gzip switched on":         {configured("6.1", initrdOn+"CONFIG_RD_GZIP=y\n"), []string{gz}, ""},
		"zstd switched on":         {configured("5.4", initrdOn+"CONFIG_RD_ZSTD=y\n"), []string{zst}, ""},
		"zstd, gzip kernel":        {zipped(configured("6.1", initrdOn+"CONFIG_RD_ZSTD=y\n")), []string{zst}, ""},
		"plain, nothing on":        {configured("6.1", initrdOn), []string{archive(t, codec.None, "a")}, ""},
		"zstd switched off":        {configured("6.1", initrdOn+"CONFIG_RD_GZIP=y\n"), []string{gz, zst}, "error P27 [pi4b] b:0 archive 2 is compressed with zstd, and kernel8.img was built without CONFIG_RD_ZSTD"},
		"gzip switched off":        {configured("6.1", initrdOn+"CONFIG_RD_GZIP=m\n"), []string{gz}, "error P27 [pi4b] a:0 archive 1 is compressed with gzip, and kernel8.img was built without CONFIG_RD_GZIP"},
		"zstd, off, gzip kernel":   {zipped(configured("6.1", initrdOn)), []string{zst}, "without CONFIG_RD_ZSTD"},
		"no initramfs at all":      {configured("6.1", "CONFIG_RD_GZIP=y\n"), []string{gz}, "error P27 [pi4b] kernel8.img:0 was built without CONFIG_BLK_DEV_INITRD"},
		"zstd, old kernel":         {configured("5.8.18-v8", ""), []string{zst}, "error P27 [pi4b] a:0 archive 1 is compressed with zstd, which kernels know since 5.9; kernel8.img is 5.8.18-v8"},
		"zstd, who knows":          {configured("5.9", ""), []string{zst}, "warning P27 [pi4b] a:0 archive 1 is compressed with zstd: kernel8.img does not hold its configuration"},
		"zstd, no release":         {kernel(kernel4K), []string{zst}, "warning P27"},
		"damaged":                  {configured("6.1", ""), []string{gz, gz[:len(gz)-9]}, "error P27 [pi4b] b:0 the kernel stops to unpack: "},
		"no archive":               {configured("6.1", ""), []string{"1234"}, "error P27 [pi4b] a:0 the kernel stops to unpack: "},
		"misaligned":               {configured("6.1", ""), []string{gz + strings.Repeat("\x00", 3-(len(gz)-1)%4) + "\x00" + archive(t, codec.None, "a")}, "error P27 [pi4b] a:0 the kernel stops to unpack: "},
		"aligned":                  {configured("6.1", ""), []string{gz + strings.Repeat("\x00", 3-(len(gz)-1)%4) + archive(t, codec.None, "a")}, ""},
		"part without its padding": {configured("6.1", ""), []string{gz + strings.Repeat("\x00", 3-len(gz)%4) + "\x00\x00", archive(t, codec.None, "a")}, ""},
		"no parent":                {configured("6.1", ""), []string{archive(t, codec.Gzip, "etc/a")}, `warning P27 [pi4b] a:0 archive 1, byte 0: entry "etc/a": its folder does not exist`},
		"a bomb":                   {configured("6.1", ""), []string{zipped(strings.Repeat("\x00", 200<<20))}, "error P27 [pi4b] a:0 "},
	}
}

func TestManyDroppedEntries(t *testing.T) {
	var names []string
	for _, c := range "abcdefghijkl" {
		names = append(names, "no/"+string(c))
	}
	m := good()
	m["config.txt"], m["a"] = "initramfs a\n", archive(t, codec.Gzip, names...)
	all := check(t, filesOf(m), Target{Boards: []Board{pi4}})
	warned := 0
	for _, f := range all {
		if strings.Contains(f, " P27 ") {
			warned++
		}
	}
	if warned != maxDropped+1 || !strings.Contains(strings.Join(all, "\n"), "7 more entries") {
		t.Errorf("findings:\n%s", strings.Join(all, "\n"))
	}
}

// A 32-bit kernel packs what it has to say, so that nobody can see whether it knows zstd.
func TestZstdWithAKernelOf32Bit(t *testing.T) {
	for format, want := range map[codec.Format]bool{codec.Zstd: true, codec.Gzip: false} {
		m := good()
		m["config.txt"] = "arm_64bit=0\ninitramfs a\n"
		m["kernel7l.img"], m["a"] = "zImage", archive(t, format, "b")
		got := strings.Join(check(t, filesOf(m), Target{Boards: []Board{pi4}}), "\n")
		if strings.Contains(got, "compressed with zstd: kernel7l.img does not hold its configuration") != want {
			t.Errorf("%s: findings\n%s", format, got)
		}
	}
}

func TestLimitsOfTheTarget(t *testing.T) {
	m := good()
	m["config.txt"], m["a"] = "initramfs a\n", archive(t, codec.Gzip, "one", "two")
	target := Target{Boards: []Board{pi4}, Limits: initrd.Limits{Limits: newc.Limits{Entries: 1}}}
	if got := strings.Join(check(t, filesOf(m), target), "\n"); !strings.Contains(got, "more than 1 entries") {
		t.Errorf("findings\n%s", got)
	}
}
