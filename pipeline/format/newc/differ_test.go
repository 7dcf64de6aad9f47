package newc

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// cpioLists is what GNU cpio says is in an archive, verbatim, and whether it was content.
func cpioLists(t testing.TB, b []byte) (string, bool) {
	t.Helper()
	cmd := exec.Command("cpio", "-itv", "--numeric-uid-gid", "--quiet")
	var diag bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(b), &diag
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	out, err := cmd.Output()
	return string(out), err == nil && diag.Len() == 0
}

// cpioWould is the same, made of what the Reader says.
func cpioWould(all []record, now time.Time) string {
	var s strings.Builder
	for _, r := range all {
		size := fmt.Sprintf("%8d", r.Size)
		if t := r.Type(); t == Char || t == Block {
			size = fmt.Sprintf("%3d, %3d", r.RDev.Major, r.RDev.Minor)
		}
		when := time.Unix(int64(r.Time), 0).UTC()
		date := when.Format("Jan _2 15:04")
		if age := now.Sub(when); age > 6*30*24*time.Hour || age < -time.Hour {
			date = when.Format("Jan _2  2006")
		}
		fmt.Fprintf(&s, "%s %3d %-8d %-8d %s %s %s", modeText(r.Mode), r.Links, r.UID, r.GID, size, date, r.Name)
		if r.Type() == Symlink {
			fmt.Fprintf(&s, " -> %s", r.Body)
		}
		s.WriteByte('\n')
	}
	return s.String()
}

// modeText is a mode as ls has it.
func modeText(mode uint32) string {
	b := []byte("?rwxrwxrwx")
	b[0] = map[uint32]byte{Regular: '-', Dir: 'd', Symlink: 'l', Char: 'c', Block: 'b', FIFO: 'p', Socket: 's'}[mode&TypeMask]
	for i := range 9 {
		if mode>>(8-i)&1 == 0 {
			b[1+i] = '-'
		}
	}
	for _, special := range []struct {
		bit  uint32
		at   int
		with string // with x and without
	}{{0o4000, 3, "sS"}, {0o2000, 6, "sS"}, {0o1000, 9, "tT"}} {
		if mode&special.bit == 0 {
			continue
		}
		if b[special.at] == 'x' {
			b[special.at] = special.with[0]
		} else {
			b[special.at] = special.with[1]
		}
	}
	return string(b)
}

// uroot builds a program that lists archives with u-root's package cpio, which is a
// dependency of the module in testdata/uroot alone.
func uroot(t testing.TB) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "uroot")
	cmd := exec.Command("go", "build", "-C", "testdata/uroot", "-o", bin, ".")
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return bin
}

// urootWould is what that program says, made of what the Reader says.
func urootWould(all []record) string {
	var s strings.Builder
	for _, r := range all {
		fmt.Fprintf(&s, "%q ino %d mode %o owner %d:%d links %d time %d size %d dev %d:%d rdev %d:%d %x\n", r.Name, r.Ino, r.Mode,
			r.UID, r.GID, r.Links, r.Time, r.Size, r.Dev.Major, r.Dev.Minor, r.RDev.Major, r.RDev.Minor, sha256.Sum256([]byte(r.Body)))
	}
	return s.String()
}

// full is an archive by GNU cpio of all that a folder can hold, with the data of hard
// links where that program puts it.
func full(t testing.TB, format string) []byte {
	t.Helper()
	script := `mkdir h && cd h && printf data > a && ln a b && ln a c && chmod 6755 a && mkfifo p && mknod n c 4095 1048575 &&
mknod m b 259 70000 && : > e && ln -s a l && printf x > 'new
line' && printf y > ' blank ' && printf z > "$(printf 'high \377\200')" && mkdir -m 1777 t && mkdir -m 2750 g && chown 7:65534 e && chown -h 5:6 l
cd .. && find h -print0 | cpio -o0 --quiet -H ` + format
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = t.TempDir()
	b, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// One reader, four views: what the Reader says is what GNU cpio and u-root's package say,
// entry by entry, and bsdtar finds the same before and after it was written again.
func TestForeignReadersAgree(t *testing.T) {
	lister := uroot(t)
	longest := strings.Repeat(strings.Repeat("n", 255)+"/", 16)[:4095]
	firstData := []record{
		{Entry{Name: "one", Mode: Regular | 0o644, Ino: 5, Links: 2, Size: 4, Time: 1e9}, "data"},
		{Entry{Name: "two", Mode: Regular | 0o644, Ino: 5, Links: 2, Time: 1e9}, ""},
		{Entry{Name: longest, Mode: Dir | 0o700, Ino: 6, Links: 2, Time: 1e9}, ""},
		{Entry{Name: "old", Mode: Socket | 0o700, Ino: 7, Links: 1}, ""},
	}
	for name, b := range map[string][]byte{
		"GNU cpio, newc": full(t, "newc"), "GNU cpio, crc": full(t, "crc"), "data first": writeExact(t, firstData),
	} {
		all, err := read(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, ok := cpioLists(t, b); !ok || got != cpioWould(all, time.Now()) {
			t.Errorf("%s: GNU cpio lists (-want +got):\n%s", name, cmp.Diff(cpioWould(all, time.Now()), got))
		}
		again := writeExact(t, all)
		if before, after := mtree(t, b), mtree(t, again); before != after {
			t.Errorf("%s: bsdtar lists (-before +after):\n%s", name, cmp.Diff(before, after))
		}
		if name == "GNU cpio, crc" { // which u-root does not read
			continue
		}
		file := filepath.Join(t.TempDir(), "archive")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(lister, file).Output()
		if err != nil || string(out) != urootWould(all) {
			t.Errorf("%s: u-root lists, %v (-want +got):\n%s", name, err, cmp.Diff(urootWould(all), string(out)))
		}
	}
}

// mtree is what bsdtar reads of an archive, with a digest of each content.
func mtree(t testing.TB, b []byte) string {
	t.Helper()
	cmd := exec.Command("bsdtar", "-cf", "-", "--format=mtree", "--options", "!all,type,mode,uid,gid,size,device,link,sha256,time,nlink", "@-")
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("bsdtar: %v", err)
	}
	return string(out)
}

// comparable says whether GNU cpio can mean the same by an archive: it knows no modes over
// 16 bits, reads one magic in an archive, and stops at a NUL of a target.
func comparable(all []record) bool {
	types := []uint32{Socket, Symlink, Regular, Block, Dir, Char, FIFO}
	for _, r := range all {
		if r.Mode > 0xffff || r.Mode == 0 || r.Summed != all[0].Summed || !slices.Contains(types, r.Type()) {
			return false
		}
		if r.Name == "" || strings.Contains(r.Body, "\x00") && r.Type() == Symlink || !r.HasBody() && r.Size > 0 {
			return false
		}
	}
	return true
}

// What reads without error reads as the same in GNU cpio.
func FuzzGNUcpioAgrees(f *testing.F) {
	f.Add(full(f, "newc"))
	f.Add(full(f, "crc"))
	f.Add(write(f, tree))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := read(b)
		if err != nil || !comparable(all) {
			return
		}
		got, _ := cpioLists(t, b)
		if want := cpioWould(all, time.Now()); got != want {
			t.Errorf("GNU cpio lists (-want +got):\n%s", cmp.Diff(want, got))
		}
	})
}
