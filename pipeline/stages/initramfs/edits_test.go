package initramfs_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/stages/initramfs"
	"piimg/pipeline/stages/stagetest"
)

// inBase are the entries of base, as list has them.
var inBase = []string{
	"040700 0:0 0 ./etc", "040755 0:0 0 ./usr", "040755 0:0 0 ./usr/bin", "120777 0:0 0 ./bin usr/bin",
	"100600 0:0 0 ./etc/motd base", "100644 0:0 0 ./file x",
}

func built(t *testing.T, format codec.Format, text string, files map[string]string) (lines []string, parts int) {
	t.Helper()
	fsys, made := stagetest.Run(t, world(base(t, format), text, files), initramfs.Stage{})
	return list(t, stagetest.Read(t, fsys, made[0].Path), 0), len(made[0].Parts)
}

func TestRepackWhereTheBaseChanges(t *testing.T) {
	for _, format := range []codec.Format{codec.None, codec.Gzip, codec.Zstd} {
		lines, parts := built(t, format, `
remove = ["file"]
overlays = ["over"]
[[initramfs.rename]]
from = "etc/motd"
to = "etc/issue"
[[initramfs.chmod]]
path = "etc/*"
mode = "0440"
[[initramfs.chown]]
path = "etc"
owner = "1:2"
[[initramfs.dir]]
path = "var/tmp"
mode = "1777"
`, map[string]string{"over/etc/new": "n"})
		want := []string{
			"040700 1:2 0 ./etc", "040755 0:0 0 ./usr", "040755 0:0 0 ./usr/bin", "120777 0:0 0 ./bin usr/bin",
			"100440 0:0 0 etc/issue base", "100440 0:0 315532800 etc/new n",
			"040755 0:0 315532800 var", "041777 0:0 315532800 var/tmp",
		}
		if d := cmp.Diff(want, lines); d != "" || parts != 1 {
			t.Errorf("%s: %d parts, entries (-want +got):\n%s", format, parts, d)
		}
	}
}

// Modes of folders and of what is added are no reason to write the base anew.
func TestAppendWhereOnlyFoldersChange(t *testing.T) {
	lines, parts := built(t, codec.Gzip, `
overlays = ["over"]
[[initramfs.chmod]]
path = "etc"
mode = "0711"
[[initramfs.chown]]
path = "usr/**"
owner = "5:5"
`, map[string]string{"over/usr/bin/tool*": "t", "over/etc/x": "", "over/.piimg-meta": "etc/x 0600 0:42"})
	want := append(inBase, "040711 0:0 315532800 etc", "100600 0:42 315532800 etc/x", "040755 5:5 315532800 usr/bin", "100755 5:5 315532800 usr/bin/tool t")
	if d := cmp.Diff(want, lines); d != "" || parts != 2 {
		t.Errorf("%d parts, entries (-want +got):\n%s", parts, d)
	}
}

func TestForced(t *testing.T) {
	for text, want := range map[string][]string{
		`mode = "repack"`:   inBase,
		`recompress = true`: inBase,
		`normalize = true`: {
			"120777 0:0 315532800 bin usr/bin", "040700 0:0 315532800 etc", "100600 0:0 315532800 etc/motd base",
			"100644 0:0 315532800 file x", "040755 0:0 315532800 usr", "040755 0:0 315532800 usr/bin",
		},
	} {
		for _, compression := range []string{"gzip", "zstd", "none"} {
			lines, parts := built(t, codec.Gzip, text+"\ncompression = \""+compression+"\"", nil)
			if d := cmp.Diff(want, lines); d != "" || parts != 1 {
				t.Errorf("%s, %s: %d parts, entries (-want +got):\n%s", text, compression, parts, d)
			}
		}
	}
}

// The error of every rule names its line.
func TestRulesThatMatchNothing(t *testing.T) {
	for text, want := range map[string]string{
		"remove = [\"file\", \"fiel\"]":                                       `recipe.toml:11: initramfs.remove[1]: remove "fiel" matches nothing`,
		"[[initramfs.rename]]\nfrom = \"motd\"\nto = \"x\"":                   `recipe.toml:11: initramfs.rename[0]: rename "motd" matches nothing`,
		"[[initramfs.rename]]\nfrom = \"file\"\nto = \"etc\"":                 "recipe.toml:11: initramfs.rename[0]: etc is there already",
		"[[initramfs.chmod]]\npath = \"bin\"\nmode = \"0700\"":                "recipe.toml:11: initramfs.chmod[0]: chmod \"bin\" matches nothing",
		"[[initramfs.chown]]\npath = \"**/x\"\nowner = \"1:1\"":               "recipe.toml:11: initramfs.chown[0]: chown \"**/x\" matches nothing",
		"mode = \"append\"\nchmod = [{ path = \"file\", mode = \"0700\" }]":   `recipe.toml:12: initramfs.chmod[0]: changes file of the base, which an archive behind it cannot`,
		"[[initramfs.file]]\npath = \"file/x\"\ncontent = \"\"":               "recipe.toml:11: initramfs.file[0]: file/x lies below file, which is no folder",
		"remove = [\"file\"]\nfile = [{ path = \"etc\", content = \"\" }]":    "recipe.toml:12: initramfs.file[0]: takes the place of the folder etc, which has etc/motd in it",
		"[[initramfs.symlink]]\npath = \"etc\"\ntarget = \"/tmp\"":            "recipe.toml:11: initramfs.symlink[0]: takes the place of the folder etc",
		"remove = [\"file\"]\nchown = [{ path = \"file\", owner = \"1:1\" }]": "recipe.toml:12: initramfs.chown[0]: chown \"file\" matches nothing",
	} {
		err := stagetest.Fails(t, world(base(t, codec.Gzip), text, nil), initramfs.Stage{})
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v, want %q", text, err, want)
		}
	}
}
