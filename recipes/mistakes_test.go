package recipes

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what Load says into testdata/mistakes.txt")

// mistake is one case of testdata/mistakes.txt.
type mistake struct {
	name    string
	out, in []string
	want    string
}

func readMistakes(t *testing.T, file string) (head string, cases []mistake) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(b), "\n== ")
	for _, block := range blocks[1:] {
		name, body, _ := strings.Cut(block, "\n")
		m := mistake{name: name}
		for line := range strings.Lines(strings.TrimRight(body, "\n") + "\n") {
			switch line[0] {
			case '-':
				m.out = append(m.out, line[1:])
			case '+':
				m.in = append(m.in, line[1:])
			case '\n':
			default:
				m.want += line
			}
		}
		cases = append(cases, m)
	}
	return blocks[0] + "\n", cases
}

func (m mistake) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "== %s\n", m.name)
	for _, l := range m.out {
		b.WriteString("-" + l)
	}
	for _, l := range m.in {
		b.WriteString("+" + l)
	}
	return b.String() + m.want
}

// apply makes the mistake in a good recipe.
func (m mistake) apply(t *testing.T, good string) string {
	t.Helper()
	out, in := strings.Join(m.out, ""), strings.Join(m.in, "")
	if out == "" {
		return good + in
	}
	if strings.Count("\n"+good, "\n"+out) != 1 {
		t.Fatalf("pi4.toml has %q not once", out)
	}
	return strings.TrimPrefix(strings.Replace("\n"+good, "\n"+out, "\n"+in, 1), "\n")
}

// said is everything that an error says, as the command prints it.
func said(err error) string {
	var b strings.Builder
	for _, m := range Mistakes(err) {
		fmt.Fprintln(&b, m)
		if m.Hint() != "" {
			fmt.Fprintf(&b, "  hint: %s\n", m.Hint())
		}
	}
	return b.String()
}

// lay writes files below a new folder and goes there.
func lay(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		write(t, name, text)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if i := strings.LastIndexByte(name, '/'); i > 0 {
		if err := os.MkdirAll(name[:i], 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// lab is what stands beside pi4.toml.
func lab(t *testing.T) (good string) {
	t.Helper()
	b, err := os.ReadFile("testdata/pi4.toml")
	if err != nil {
		t.Fatal(err)
	}
	lay(t, map[string]string{
		"pi4.toml":               string(b),
		"tree/overlays/a.dtbo":   "",
		"dtb/bcm2711-own.dtb":    "",
		"rootfs.cpio.gz":         "",
		"overlay/etc/motd":       "welcome\n",
		"overlay/bin/su":         "declared",
		"suid/bin/sudo":          "",
		"files/su":               "",
		"odd/readme":             "",
		"meta/.piimg-meta":       "etc/x 0644 root\n",
		"uroot":                  "",
		"../outside.txt":         "",
		"overlay/.hidden/secret": "",
	})
	for _, err := range []error{
		os.Symlink("../", "out"),
		os.Symlink("/nowhere", "overlay/etc/dangling"),
		os.Chmod("overlay/bin/su", 0o755|os.ModeSetuid),
		os.Chmod("suid/bin/sudo", 0o755|os.ModeSetuid),
		syscall.Mkfifo("odd/pipe", 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return string(b)
}

func TestMistakes(t *testing.T) {
	const file = "testdata/mistakes.txt"
	head, cases := readMistakes(t, file)
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	got := head
	good := lab(t)
	for i, m := range cases {
		write(t, "pi4.toml", m.apply(t, good))
		_, err := LoadOptions{Rules: []string{"P03", "P04", "P05", "P14", "P24"}}.Load("pi4.toml")
		if err == nil {
			t.Errorf("%s: no error", m.name)
			continue
		}
		if diff := cmp.Diff(m.want, said(err)); diff != "" && !*update {
			t.Errorf("%s (-want +got):\n%s", m.name, diff)
		}
		m.want = said(err)
		if got += m.String(); i < len(cases)-1 {
			got += "\n"
		}
	}
	if *update {
		write(t, here+"/"+file, got)
	}
}
