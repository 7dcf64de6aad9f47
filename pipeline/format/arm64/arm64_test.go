package arm64

import (
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/fdt/gomodtest"
)

func TestRealKernel(t *testing.T) {
	f, err := os.Open(filepath.Join(gomodtest.Dir(t, gomodtest.Kernel), "vmlinuz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := make([]byte, 1024)
	if _, err := io.ReadFull(f, head); err != nil {
		t.Fatal(err)
	}
	got, err := ParseHeader(head)
	if err != nil {
		t.Fatal(err)
	}
	// As the kernel's own build made it: flags 0xa, 4 KiB pages.
	want := &Header{ImageSize: 46792704, PageSize: 4096, Anywhere: true, EFI: true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("header of vmlinuz (-want +got):\n%s", diff)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if release, err := Release(f); release != "6.12.47-v8" || err != nil {
		t.Errorf("Release = %q, %v; want 6.12.47-v8", release, err)
	}
}

// image is a header with flags.
func image(flags byte) []byte {
	b := make([]byte, 1024)
	copy(b[56:], "ARM\x64")
	b[10] = 8 // text_offset 0x80000
	b[24] = flags
	return b
}

func TestParseHeader(t *testing.T) {
	tests := []struct {
		name string
		data []byte
		want Header
	}{
		{"4 KiB pages", image(0b0010), Header{TextOffset: 0x80000, PageSize: 4096}},
		{"16 KiB pages", image(0b1100), Header{TextOffset: 0x80000, PageSize: 16384, Anywhere: true}},
		{"64 KiB pages", image(0b0110), Header{TextOffset: 0x80000, PageSize: 65536}},
		{"big-endian", image(1), Header{TextOffset: 0x80000, BigEndian: true}},
		{"gzip", []byte{0x1f, 0x8b, 8}, Header{Gzip: true}},
		{"header only", image(0)[:HeaderSize], Header{TextOffset: 0x80000}},
	}
	for _, tt := range tests {
		got, err := ParseHeader(tt.data)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if diff := cmp.Diff(&tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestWrongKind(t *testing.T) {
	at := func(offset int, magic string) []byte {
		b := make([]byte, 1024)
		copy(b[offset:], magic)
		return b
	}
	elfFor := func(m elf.Machine) []byte {
		b := at(0, "\x7fELF\x02\x01")
		b[18], b[19] = byte(m), byte(m>>8)
		return b
	}
	peFor := func(machine string) []byte {
		b := at(0, "MZ")
		b[0x3c] = 0x80
		copy(b[0x80:], "PE\x00\x00"+machine)
		return b
	}
	tests := []struct {
		data []byte
		want string
	}{
		{nil, "an empty file"},
		{[]byte("hello"), "a file of 5 bytes"},
		{make([]byte, 100), "an unknown file"},
		{at(0x24, "\x18\x28\x6f\x01"), "a 32-bit ARM zImage"},
		{at(0x202, "HdrS"), "an x86 bzImage"},
		{append([]byte("MZ"), at(0x200, "HdrS")...), "an x86 bzImage"},
		{append([]byte("MZ\x00\x00zimg"), make([]byte, 100)...), "an EFI zboot image"},
		{elfFor(elf.EM_AARCH64), "an ELF file for arm64"},
		{elfFor(elf.EM_ARM), "an ELF file for 32-bit ARM"},
		{elfFor(elf.EM_X86_64), "an ELF file for x86-64"},
		{elfFor(elf.EM_RISCV), "an ELF file"},
		{[]byte("\x7fELF"), "an ELF file"},
		{peFor("\x64\xaa"), "an EFI program for arm64"},
		{peFor("\x64\x86"), "an EFI program for x86-64"},
		{at(0, "MZ"), "an EFI program"},
		{at(0, "\xd0\x0d\xfe\xed"), "a device tree"},
		{at(0, "\xfd7zXZ\x00"), "an xz file"},
		{at(0, "070701"), "a cpio archive"},
		{[]byte("version https://git-lfs.github.com/spec/v1\n"), "a Git LFS pointer"},
		{[]byte("<!DOCTYPE html>"), "a page of HTML"},
	}
	for _, tt := range tests {
		_, err := ParseHeader(tt.data)
		var wrong *WrongKindError
		if !errors.As(err, &wrong) || !strings.HasPrefix(err.Error(), tt.want) || wrong.Need == "" {
			t.Errorf("ParseHeader(%.8q) = %v; want %s and what is needed", tt.data, err, tt.want)
		}
	}
}

func TestRealFirmwareIsNoKernel(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(gomodtest.Dir(t, gomodtest.Firmware), "start4.elf"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = ParseHeader(data[:1024])
	if err == nil || !strings.Contains(err.Error(), "VideoCore") {
		t.Errorf("ParseHeader(start4.elf) = %v; want an error that names VideoCore", err)
	}
}

func TestRelease(t *testing.T) {
	filler := func(n int) string { return strings.Repeat("x", n) }
	const text = "Linux version 6.1.0-56-arm64 (debian-kernel@lists.debian.org)"
	tests := []struct {
		name, data, want string
	}{
		{"at the start", text, "6.1.0-56-arm64"},
		{"after a format string", "Linux version %s (%s)\n" + text, "6.1.0-56-arm64"},
		{"absent", filler(1000), ""},
		{"empty", "", ""},
		{"cut", "Linux version 6.1.0-56", ""},
		{"too long", "Linux version 6" + filler(maxRelease) + " ", ""},
		{"longest", "Linux version 6" + filler(maxRelease-1) + " ", "6" + filler(maxRelease-1)},
	}
	for shift := range len(text) { // across the border of two reads
		tests = append(tests, struct{ name, data, want string }{"border", filler(chunk-shift) + text, "6.1.0-56-arm64"})
	}
	for _, tt := range tests {
		got, err := Release(strings.NewReader(tt.data))
		if got != tt.want || (tt.want == "") != errors.Is(err, ErrNoRelease) {
			t.Errorf("%s: Release = %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestReleaseReadError(t *testing.T) {
	broken := errors.New("broken")
	if _, err := Release(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("Release = %v; want the reader's error", err)
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(image(2))
	f.Add([]byte("MZ\x7fELF"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if h, err := ParseHeader(data); (h == nil) == (err == nil) {
			t.Error("exactly one of header and error is wanted")
		}
		if _, err := Release(bytes.NewReader(data)); err != nil && !errors.Is(err, ErrNoRelease) {
			t.Error(err)
		}
	})
}
