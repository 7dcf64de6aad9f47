package serve_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
	"piimg/store"
	"piimg/store/serve"
)

// rack is a world whose boards have files of their own, with an image of real parts.
func rack(t *testing.T, change ...func(*serve.Config)) (*world, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	w := newWorld(t, append([]func(*serve.Config){func(c *serve.Config) {
		c.Plain = false
		c.URL = func(netip.Addr) string { return "http://10.0.0.1:8080" }
		c.Log = slog.New(slog.NewTextHandler(log, nil))
		c.Files = []serve.OwnFile{
			{Path: "etc/hostname", Content: "{{.hostname}}\n"},
			{Path: "etc/machine-id", Mode: 0o444, Content: "{{.machine_id}}\n"},
			{Path: "etc/kiosk/url", Content: "{{.site}}", Labels: map[string]string{"role": "kiosk"}},
			{Path: "etc/ssh/host_key", Mode: 0o600, Secret: true, Content: "canary-of-{{.board}}"},
		}
	}}, change...)...)
	w.promoteFiles("dev", map[string]string{
		"config.txt":  "kernel=vmlinuz\ninitramfs initramfs.gz followkernel\n",
		"cmdline.txt": "console=tty1 root=/dev/ram0\n",
		"start4.elf":  "start", "fixup4.dat": "fixup", "vmlinuz": "kernel",
		"initramfs.gz": string(archive(t, "etc", "etc/hostname")),
	})
	return w, log
}

// archive is an initramfs of so many files and folders, whose length is no multiple of 4.
func archive(t *testing.T, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	out := newc.NewWriter(&b)
	for _, name := range names {
		e, body := newc.Entry{Name: name, Mode: newc.Regular | 0o644, Size: 5}, "image"
		if name == "etc" {
			e, body = newc.Entry{Name: name, Mode: newc.Dir | 0o700}, ""
		}
		if err := out.WriteEntry(e, strings.NewReader(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), 0)
}

// promoteFiles publishes an image of these files and makes env run it.
func (w *world) promoteFiles(env string, files map[string]string) store.Digest {
	w.t.Helper()
	d := w.imageOf(files)
	w.fleet.promote(env, d)
	w.refresh()
	return d
}

// imageOf publishes an image of these files.
func (w *world) imageOf(files map[string]string) store.Digest {
	w.t.Helper()
	img := store.Image{Name: "test", Config: w.put([]byte(`{}`))}
	for name, body := range files {
		img.Files = append(img.Files, store.NewFile(name, 0o644, w.put([]byte(body))))
	}
	d, err := w.store.PutImage(w.t.Context(), img, store.Record{Name: "test", Time: w.clock.now()})
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// fetch is a file with its digest, which has to be that of its bytes.
func (w *world) fetch(name string) string {
	w.t.Helper()
	f, err := w.open(name)
	if err != nil {
		w.t.Fatalf("open %s: %v", name, err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil || store.Sum(b) != f.Digest || int64(len(b)) != f.Size {
		w.t.Fatalf("%s: %d bytes, %v, which are not those that its digest and size say", name, len(b), err)
	}
	if mem := f.Memory(); mem != nil && !bytes.Equal(bytes.Join(mem, nil), b) {
		w.t.Errorf("%s: other bytes in memory", name)
	}
	var pieces []byte
	for _, p := range f.Pieces() {
		part := p.Bytes
		if p.File != nil {
			part = make([]byte, p.Size)
			if _, err := p.File.ReadAt(part, 0); err != nil {
				w.t.Fatal(err)
			}
		}
		pieces = append(pieces, part...)
	}
	if !bytes.Equal(pieces, b) {
		w.t.Errorf("%s: other bytes in pieces", name)
	}
	if f.Immutable {
		w.t.Errorf("%s is called immutable", name)
	}
	f.Done(serve.OK, f.Size)
	return string(b)
}

// tree is what a kernel makes of an initramfs.
func tree(t *testing.T, b string) map[string]string {
	t.Helper()
	parsed, err := initrd.ReadTree(strings.NewReader(b), initrd.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := parsed.Stopped(); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for node := range parsed.All() {
		files[node.Path] = fmt.Sprintf("%o", node.Mode)
	}
	return files
}

func TestCmdline(t *testing.T) {
	w, _ := rack(t)
	first := w.fetch("91cdf03d/cmdline.txt")
	form := regexp.MustCompile(`^console=tty1 root=/dev/ram0 piimg\.image=sha256:[0-9a-f]{64} piimg\.url=http://10\.0\.0\.1:8080 piimg\.token=[0-9a-f]{8}-([A-Z2-7]{26})\n$`)
	token := form.FindStringSubmatch(first)
	if token == nil {
		t.Fatalf("cmdline.txt: %q", first)
	}
	w.clock.pass(time.Second)
	if again := w.fetch("91cdf03d/cmdline.txt"); again != first {
		t.Errorf("the same boot got %q and then %q", first, again)
	}
	w.restart()
	if again := w.fetch("91cdf03d/cmdline.txt"); again != first {
		t.Errorf("the same boot got %q, and %q after a restart", first, again)
	}
	w.clock.pass(time.Hour)
	if next := w.fetch("91cdf03d/cmdline.txt"); next == first || !form.MatchString(next) {
		t.Errorf("the next boot got the same token: %q", next)
	}
	if other := w.fetch("00000001/cmdline.txt"); strings.Contains(other, token[1]) {
		t.Error("two boards have one token")
	}
	if plain := w.fetch("env/dev/cmdline.txt"); plain != "console=tty1 root=/dev/ram0\n" {
		t.Errorf("of an environment: %q", plain)
	}
}

// The log has the digests of what was made, and nothing that is a secret.
func TestRenderedLog(t *testing.T) {
	w, log := rack(t, func(c *serve.Config) {
		c.Networks = []serve.Network{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Secrets: true}}
	})
	line := w.fetch("91cdf03d/cmdline.txt")
	w.fetch("91cdf03d/cmdline.txt")
	w.fetch("91cdf03d/initramfs.gz")
	if got := strings.Count(log.String(), "file made for a board"); got != 2 {
		t.Errorf("%d lines for 2 files:\n%s", got, log)
	}
	if !strings.Contains(log.String(), store.Sum([]byte(line)).String()) {
		t.Errorf("the digest is not logged:\n%s", log)
	}
	_, token, _ := strings.Cut(strings.TrimSpace(line), "piimg.token=")
	for _, secret := range []string{token, "canary"} {
		if strings.Contains(log.String(), secret) || strings.Contains(w.scrape(), secret) {
			t.Errorf("%s is in the log or in a metric:\n%s", secret, log)
		}
	}
}

func TestOwnFiles(t *testing.T) {
	w, _ := rack(t)
	w.fleet.assign("91cdf03d", serve.Assignment{
		Labels: map[string]string{"role": "kiosk"}, Vars: map[string]string{"hostname": "lobby", "site": "http://x/"},
	})
	kiosk, plain := w.fetch("91cdf03d/initramfs.gz"), w.fetch("00000001/initramfs.gz")
	if again := w.fetch("91cdf03d/initramfs.gz"); again != kiosk {
		t.Error("the same boot got two initramfs")
	}
	for name, got := range map[string]struct {
		tree map[string]string
		want string
	}{
		"kiosk": {tree(t, kiosk), "map[etc:40700 etc/hostname:100644 etc/kiosk:40755 etc/kiosk/url:100644 etc/machine-id:100444]"},
		"plain": {tree(t, plain), "map[etc:40700 etc/hostname:100644 etc/machine-id:100444]"},
	} {
		if s := fmt.Sprint(got.tree); s != got.want {
			t.Errorf("%s: %s, want %s", name, s, got.want)
		}
	}
	if !strings.Contains(kiosk, "lobby\n") || !strings.Contains(plain, "pi-00000001\n") || strings.Contains(kiosk+plain, "canary") {
		t.Errorf("the files say something else")
	}
	if len(kiosk)%4 != 0 || w.fetch("env/dev/initramfs.gz") != string(archive(t, "etc", "etc/hostname")) {
		t.Error("an initramfs is not padded, or that of the image has changed")
	}
}

// Secrets go to networks that are said to be for them, and to no others.
func TestSecretsOnlyWhereAllowed(t *testing.T) {
	allowed := func(c *serve.Config) {
		c.Networks = []serve.Network{
			{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Secrets: true},
			{Prefix: netip.MustParsePrefix("10.9.0.0/16")},
		}
	}
	w, _ := rack(t, allowed)
	for from, want := range map[string]bool{"10.1.2.3:99": true, "10.9.1.1:99": false, "192.0.2.1:99": false} {
		f, err := w.openFrom(netip.MustParseAddrPort(from), fmt.Sprintf("000000%02x/initramfs.gz", len(from)))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if err != nil || strings.Contains(string(b), "canary") != want {
			t.Errorf("from %s the secret came: %v, want %v (%v)", from, !want, want, err)
		}
		f.Close()
		w.clock.pass(time.Hour)
	}
}

// A template that says what its board does not know is trouble of that file alone.
func TestTemplates(t *testing.T) {
	for text, want := range map[string]string{
		"arm_freq={{.freq}}":                           "arm_freq=1500",
		`{{if eq .role "kiosk"}}x=1{{else}}x=2{{end}}`: "x=1",
		"a=1\nb={{.nothing}}":                          "make config.txt for board 91cdf03d: config.txt:2: there is no variable nothing",
		"{{printf \"%1000000s\" .freq}}":               "a text of more than 65536 bytes",
	} {
		w, _ := rack(t)
		w.fleet.assign("91cdf03d", serve.Assignment{Vars: map[string]string{"freq": "1500", "role": "kiosk"}})
		w.promoteFiles("dev", map[string]string{"config.txt": text, "vmlinuz": "kernel"})
		if strings.Contains(want, "config.txt") || strings.Contains(want, "more than") {
			if err := w.wantTrouble("91cdf03d/config.txt"); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", text, err, want)
			}
			w.fetch("91cdf03d/vmlinuz")
			continue
		}
		if got := w.fetch("91cdf03d/config.txt"); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
		if got := w.fetch("env/dev/config.txt"); got != text {
			t.Errorf("of the environment: %q", got)
		}
	}
}

// A template that no board could have filled in is found before any board gets it: boards
// keep what they have.
func TestTemplatesThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"a=1\n{{range 100000000}}{{end}}":      "config.txt:2: {{range 100000000}}{{end}} is not for boards",
		"{{define \"x\"}}{{end}}":              "config.txt: no template may be defined in it",
		"a=1\nb=2\n{{":                         "config.txt:3: unclosed action",
		"{{if .a}}\n{{template \"x\"}}{{end}}": "config.txt:2: {{template \"x\"}} is not for boards",
	} {
		w, log := rack(t)
		w.fleet.promote("dev", w.imageOf(map[string]string{"config.txt": text, "cmdline.txt": "new"}))
		if err := w.front.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if got := w.fetch("91cdf03d/config.txt"); !strings.HasPrefix(got, "kernel=vmlinuz\n") {
			t.Errorf("%q: the board got %q", text, got)
		}
		if !strings.Contains(log.String(), "environment stays at its last good image") || !strings.Contains(w.scrape(), `piimg_env_behind{env="dev"} 1`) {
			t.Errorf("%q: nobody is told:\n%s", text, log)
		}
		o := serve.OwnFile{Path: "etc/x", Content: text, Secret: true}
		if err := o.Check(); err == nil || strings.Contains(err.Error(), "100000000") {
			t.Errorf("a secret file with %q: %v", text, err)
		}
	}
}

// What is known of a board is found to be of no use before the board asks, and what was known
// at its last boot is used.
func TestLastGoodDescription(t *testing.T) {
	w, log := rack(t, func(c *serve.Config) { c.Fleet = listing{c.Fleet.(*fleet)} })
	lobby := serve.Assignment{Labels: map[string]string{"role": "kiosk"}, Vars: map[string]string{"site": "lobby"}}
	w.fleet.assign("91cdf03d", lobby)
	w.fleet.assign("00000001", serve.Assignment{Labels: map[string]string{"role": "kiosk"}})
	w.again()
	if !strings.Contains(w.scrape(), "piimg_boards_faulty 1\n") || !strings.Contains(log.String(), `board=00000001`) ||
		!strings.Contains(log.String(), `why="etc/kiosk/url: content:1: there is no variable site"`) {
		t.Errorf("nobody is told before the board asks:\n%s", log)
	}
	w.wantTrouble("00000001/initramfs.gz")
	if got := w.fetch("91cdf03d/initramfs.gz"); !strings.Contains(got, "lobby") {
		t.Error("the board has no file of its own")
	}
	w.clock.pass(time.Hour)
	w.fleet.assign("91cdf03d", serve.Assignment{Labels: map[string]string{"role": "kiosk"}, Vars: map[string]string{"hostname": "x"}})
	if got := w.fetch("91cdf03d/initramfs.gz"); !strings.Contains(got, "lobby") {
		t.Error("the last good description is not used")
	}
	w.again()
	boots := w.front.Trail("91cdf03d")
	if last := boots[len(boots)-1]; !strings.HasSuffix(last.Warning, "content:1: there is no variable site; what was known of the board at its last boot is used") {
		t.Errorf("the trail says %q", last.Warning)
	}
	w.restart()
	w.clock.pass(time.Hour)
	if got := w.fetch("91cdf03d/initramfs.gz"); !strings.Contains(got, "lobby") {
		t.Error("the last good description is not used after a restart")
	}
	w.clock.pass(time.Hour)
	lobby.Vars = map[string]string{"site": "hall"}
	w.fleet.assign("91cdf03d", lobby)
	w.fleet.assign("00000001", lobby)
	if got := w.fetch("91cdf03d/initramfs.gz"); !strings.Contains(got, "hall") {
		t.Error("the new description is not used")
	}
	if w.again(); !strings.Contains(w.scrape(), "piimg_boards_faulty 0\n") {
		t.Error("boards are still said to be faulty")
	}
}

// again asks the fleet for all boards, whenever it was asked last.
func (w *world) again() {
	w.t.Helper()
	w.clock.pass(time.Minute)
	w.refresh()
}

// A file of this host, with a name that depends on the board.
func TestOwnFilesFromHere(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "91cdf03d"), []byte("the key of {{.board}}"), 0o600)); err != nil {
		t.Fatal(err)
	}
	w, _ := rack(t, func(c *serve.Config) {
		c.Files = []serve.OwnFile{{Path: "key", From: filepath.Join(dir, "{{.board}}{{.up}}")}}
	})
	w.fleet.assign("91cdf03d", serve.Assignment{Vars: map[string]string{"up": ""}})
	w.fleet.assign("00000001", serve.Assignment{Vars: map[string]string{"up": "/../91cdf03d"}})
	w.fleet.assign("00000002", serve.Assignment{Vars: map[string]string{"up": ""}})
	if got := w.fetch("91cdf03d/initramfs.gz"); !strings.Contains(got, "the key of {{.board}}") {
		t.Error("the file is not there")
	}
	w.wantTrouble("00000001/initramfs.gz") // a name that leads upwards
	w.wantTrouble("00000002/initramfs.gz") // no such file
}

// TestMadeFilesAreBounded: what no kernel takes, and what is too much, is trouble of that file
// and not a board that hangs.
func TestMadeFilesAreBounded(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "half"), make([]byte, 600_000), 0o600); err != nil {
		t.Fatal(err)
	}
	w, _ := rack(t, func(c *serve.Config) {
		c.Files = []serve.OwnFile{{Path: "one", From: filepath.Join(dir, "half")}, {Path: "two", From: filepath.Join(dir, "half")}}
	})
	w.promoteFiles("dev", map[string]string{
		"config.txt": "kernel=vmlinuz\ninitramfs initramfs.gz followkernel\n", "vmlinuz": "kernel",
		"cmdline.txt": strings.Repeat("x", 1900) + "\n", "initramfs.gz": string(archive(t, "etc")),
	})
	for name, want := range map[string]string{
		"cmdline.txt":  "bytes, the kernel takes 2047",
		"initramfs.gz": "the board's own files have more than 1048576 bytes",
	} {
		if err := w.wantTrouble("91cdf03d/" + name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if got := w.fetch("91cdf03d/vmlinuz"); got != "kernel" {
		t.Errorf("vmlinuz: %q", got)
	}
}

func TestOwnFilesThatAreRefused(t *testing.T) {
	for _, o := range []serve.OwnFile{{Path: "/etc/x"}, {Path: "a/../b"}, {Path: ""}, {Path: "a", Content: "x", From: "y"}, {Path: "a", Mode: 0o170000}} {
		cfg := serve.Config{Dir: t.TempDir(), Fleet: &fleet{}, Source: &liar{}, Policy: serve.Policy{Files: []serve.OwnFile{o}}}
		if _, err := serve.New(cfg); err == nil {
			t.Errorf("%+v is not refused", o)
		}
	}
}
