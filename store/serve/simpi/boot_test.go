package simpi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pin/tftp/v3"

	"piimg/pipeline/format/configtxt"
	"piimg/pipeline/format/fdt/gomodtest"
	"piimg/store"
)

const testSerial = 0x91cdf03d

// pi4b is a Pi 4B with the newest programs that are known.
func pi4b() Board {
	return Board{
		Model: Model{Board: configtxt.Board{
			Model: "pi4b", Filters: []string{"pi4", "pi4b"}, Type: 0x11, Platform: "bcm2711", Arm64: true,
			Starts: []string{"start4.elf"}, Fixups: []string{"fixup4.dat"},
			Kernels: []string{"kernel8.img"}, Kernels32: []string{"kernel7l.img"},
			DTBs: []string{"bcm2711-rpi-4-b.dtb"}, ArmStubs: []string{"armstub8-gic.bin"},
		}},
		Serial:      testSerial,
		FileTimeout: 5 * time.Minute, ResendEvery: 10 * time.Second, RetryWait: time.Millisecond,
	}
}

// old is the age of the board in the published log of a Pi 4.
func old(b Board) Board {
	b.EEPROMDate, b.FirmwareDate = "2021-04-29", "2021-10-18"
	return b
}

// image is a whole image for a Pi 4B, without prefix.
func image(t testing.TB, config string, more ...string) map[string][]byte {
	t.Helper()
	overlays := filepath.Join(gomodtest.Dir(t, gomodtest.Kernel), "overlays")
	files := map[string][]byte{
		"config.txt": []byte(config), "cmdline.txt": []byte("console=ttyAMA0,115200 root=/dev/ram0\n"),
		"start4.elf": fill("start", 300_000), "fixup4.dat": fill("fixup", 5_400),
		"bcm2711-rpi-4-b.dtb": fill("dtb", 56_000), "kernel8.img": fill("kernel", 700_000),
	}
	for _, name := range []string{"overlay_map.dtb", "vc4-kms-v3d-pi4.dtbo", "disable-bt.dtbo", "mcp2515-can0.dtbo"} {
		data, err := os.ReadFile(filepath.Join(overlays, name))
		if err != nil {
			t.Fatal(err)
		}
		files["overlays/"+name] = data
	}
	for _, name := range more {
		files[name] = fill(name, 10_000)
	}
	return files
}

// fill is n bytes that differ from block to block and from name to name.
func fill(name string, n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%s %d\n", name, i)
	}
	return b.Bytes()[:n]
}

func under(prefix string, files map[string][]byte) map[string][]byte {
	out := map[string][]byte{}
	for name, data := range files {
		out[prefix+name] = data
	}
	return out
}

func without(files map[string][]byte, names ...string) map[string][]byte {
	files = maps.Clone(files)
	for _, n := range names {
		delete(files, n)
	}
	return files
}

func boot(t testing.TB, b Board, server netip.AddrPort, opts Options) *Report {
	t.Helper()
	r, err := b.Boot(t.Context(), server, opts)
	if err != nil {
		t.Fatalf("Boot: %v", err)
	}
	return r
}

// trail is the form of testdata: stage, P, F or M, name.
func trail(r *Report) []string {
	var lines []string
	for _, req := range r.Requests {
		kind := "F"
		switch {
		case req.Result != Found:
			kind = "M"
		case req.Kind == Probe:
			kind = "P"
		}
		lines = append(lines, fmt.Sprintf("%s %s %s", req.Stage, kind, req.Name))
	}
	return lines
}

func readTrail(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "#") })
}

func problems(r *Report) string {
	var b strings.Builder
	for _, p := range r.Problems() {
		fmt.Fprintf(&b, "%s: %s\n", p.Severity, p.What)
	}
	return b.String()
}

// TestPublishedOrders compares with the orders that real boards asked in.
func TestPublishedOrders(t *testing.T) {
	uefi := "arm_64bit=1\nenable_uart=1\narmstub=RPI_EFI.fd\ndtoverlay=mcp2515-can0\n"
	tests := []struct {
		golden string
		board  Board
		files  map[string][]byte
	}{
		{"log4.txt", old(pi4b()), without(image(t, uefi, "RPI_EFI.fd"), "cmdline.txt", "kernel8.img")},
		{"log4-kernel.txt", old(pi4b()), without(image(t, uefi, "RPI_EFI.fd"), "cmdline.txt")},
		{"newer.txt", pi4b(), image(t, "auto_initramfs=1\ndtoverlay=vc4-kms-v3d\n", "initramfs8")},
	}
	for _, tt := range tests {
		t.Run(tt.golden, func(t *testing.T) {
			s := newTFTP(t, under("91cdf03d/", tt.files))
			r := boot(t, tt.board, s.addr(), Options{})
			if diff := cmp.Diff(readTrail(t, tt.golden), trail(r)); diff != "" {
				t.Errorf("requests (-published +simulated):\n%s", diff)
			}
			if !r.OK() || len(r.Problems()) > 0 {
				t.Errorf("OK() = %v; problems:\n%s", r.OK(), problems(r))
			}
		})
	}
}

// TestBoot boots with each way to look for files and several seeds, and compares every
// byte with the image.
func TestBoot(t *testing.T) {
	config := "initramfs base.cpio.gz,site.cpio.gz followkernel\ndtoverlay=vc4-kms-v3d\ndtoverlay=disable-bt\ninclude extra.txt\n"
	files := image(t, config, "base.cpio.gz", "site.cpio.gz")
	files["extra.txt"] = []byte("enable_uart=1\n")
	s := newTFTP(t, under("91cdf03d/", files))
	for _, style := range []Style{StyleA, StyleB, StyleC} {
		for _, seed := range []uint64{0, 1, 2, 3, 4} {
			t.Run(fmt.Sprintf("%s%d", style, seed), func(t *testing.T) {
				b := pi4b()
				b.Style, b.Seed = style, seed
				r := boot(t, b, s.addr(), Options{})
				if !r.OK() {
					t.Fatalf("%s; problems:\n%s", r.Outcome, problems(r))
				}
				want := map[string]store.Digest{}
				for name, data := range files {
					if name != "overlays/mcp2515-can0.dtbo" {
						want[name] = store.Sum(data)
					}
				}
				if diff := cmp.Diff(want, r.Files()); diff != "" {
					t.Errorf("files (-image +board):\n%s", diff)
				}
				checkResolved(t, r)
				checkOrder(t, r)
			})
		}
	}
}

func checkResolved(t *testing.T, r *Report) {
	t.Helper()
	var initramfs, overlays []string
	for _, f := range r.Initramfs {
		initramfs = append(initramfs, f.Name)
	}
	for _, o := range r.Overlays {
		overlays = append(overlays, o.Name+"="+o.File.Name)
	}
	got := []string{r.Start.Name, r.Fixup.Name, r.Kernel.Name, r.DTB.Name, r.Cmdline, list(initramfs), list(overlays)}
	want := []string{"start4.elf", "fixup4.dat", "kernel8.img", "bcm2711-rpi-4-b.dtb", "console=ttyAMA0,115200 root=/dev/ram0",
		"base.cpio.gz, site.cpio.gz", "vc4-kms-v3d=overlays/vc4-kms-v3d-pi4.dtbo, disable-bt=overlays/disable-bt.dtbo"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("resolved (-want +got):\n%s", diff)
	}
}

// checkOrder is what holds for every firmware: the kernel is last, the device tree comes
// before the overlays, and config.txt is read between them.
func checkOrder(t *testing.T, r *Report) {
	t.Helper()
	lines := trail(r)
	if last := lines[len(lines)-1]; last != "start4 F kernel8.img" {
		t.Errorf("last request %q; want the kernel", last)
	}
	dtb := slices.Index(lines, "start4 F bcm2711-rpi-4-b.dtb")
	overlay := slices.Index(lines, "start4 F overlays/vc4-kms-v3d-pi4.dtbo")
	if dtb < 0 || overlay < dtb || !slices.Contains(lines[dtb:overlay], "start4 F config.txt") {
		t.Errorf("device tree at %d, overlay at %d, and config.txt not between them:\n%s", dtb, overlay, strings.Join(lines, "\n"))
	}
}

func TestSeedsReorder(t *testing.T) {
	s := newTFTP(t, under("91cdf03d/", image(t, "initramfs i.gz followkernel\n", "i.gz")))
	orders, initramfsFirst := map[string]bool{}, map[bool]bool{}
	for seed := range uint64(8) {
		b := pi4b()
		b.Seed = seed
		lines := trail(boot(t, b, s.addr(), Options{}))
		again := trail(boot(t, b, s.addr(), Options{}))
		if diff := cmp.Diff(lines, again); diff != "" {
			t.Errorf("seed %d is not repeatable:\n%s", seed, diff)
		}
		orders[strings.Join(lines, "\n")] = true
		initramfsFirst[slices.Index(lines, "start4 F i.gz") < slices.Index(lines, "start4 F bcm2711-rpi-4-b.dtb")] = true
	}
	if len(orders) < 4 || len(initramfsFirst) != 2 {
		t.Errorf("8 seeds give %d orders, initramfs first or not: %v", len(orders), initramfsFirst)
	}
}

func TestPrefix(t *testing.T) {
	mac, _ := net.ParseMAC("E4:5F:01:09:02:F7")
	tests := []struct {
		name   string
		board  func(*Board)
		serve  string
		prefix string
		left   bool
	}{
		{"serial", func(*Board) {}, "91cdf03d/", "91cdf03d/", false},
		{"short serial", func(b *Board) { b.Serial = 0x9b9 }, "000009b9/", "000009b9/", false},
		{"string", func(b *Board) { b.Prefix, b.PrefixString = PrefixString, "rack1/" }, "rack1/", "rack1/", false},
		{"none", func(b *Board) { b.Prefix = PrefixString }, "", "", false},
		{"mac", func(b *Board) { b.Prefix, b.MAC = PrefixMAC, mac }, "e4-5f-01-09-02-f7/", "e4-5f-01-09-02-f7/", false},
		{"left", func(*Board) {}, "", "91cdf03d/", true},
	}
	files := image(t, "")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newTFTP(t, under(tt.serve, files))
			b := pi4b()
			tt.board(&b)
			r := boot(t, b, s.addr(), Options{})
			if !r.OK() || r.Prefix != tt.prefix || r.PrefixLeft != tt.left {
				t.Errorf("OK %v, prefix %q, left %v; want true, %q, %v\n%s", r.OK(), r.Prefix, r.PrefixLeft, tt.prefix, tt.left, problems(r))
			}
			if got := strings.Contains(problems(r), "leaves its folder"); got != tt.left {
				t.Errorf("problems %q; leaving told: %v, want %v", problems(r), got, tt.left)
			}
		})
	}
}

// TestProblems is one broken image or server each.
func TestProblems(t *testing.T) {
	const config = "dtoverlay=disable-bt\ninitramfs i.gz followkernel\n"
	good := image(t, config, "i.gz")
	with := func(name, text string, more ...string) map[string][]byte {
		m := maps.Clone(good)
		m[name] = []byte(text)
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = []byte(more[i+1])
		}
		return m
	}
	tests := []struct {
		name    string
		files   map[string][]byte
		outcome Outcome
		ok      bool
		want    string // all problems
	}{
		{"good", good, Started, true, ""},
		{"no start file", without(good, "start4.elf"), FirmwareNotFound, false,
			"error: start4.elf is missing\nwarning: the board leaves its folder 91cdf03d/: there is no start4.elf in it\n"},
		{"only start.elf", without(with("start.elf", "x"), "start4.elf"), FirmwareNotFound, false,
			"error: 91cdf03d/start4.elf is missing\n"},
		{"no fixup", without(good, "fixup4.dat"), FirmwareNotFound, false, "error: 91cdf03d/fixup4.dat is missing\n"},
		{"no kernel", without(good, "kernel8.img"), KernelNotFound, false, "error: no kernel: kernel8.img missing\n"},
		{"no device tree", without(good, "bcm2711-rpi-4-b.dtb"), Started, false, "error: no device tree: bcm2711-rpi-4-b.dtb missing\n"},
		{"no initramfs", without(good, "i.gz"), Started, false, "error: initramfs i.gz is missing\n"},
		{"no overlay", without(good, "overlays/disable-bt.dtbo"), Started, false, "error: overlay overlays/disable-bt.dtbo is missing\n"},
		{"no overlay map", without(good, "overlays/overlay_map.dtb"), Started, true, ""},
		{"overlay map broken", with("overlays/overlay_map.dtb", "?"), Started, true, "warning: overlays/overlay_map.dtb is no device tree\n"},
		{"unsupported overlay", with("config.txt", config+"dtoverlay=disable-bt-pi5\n"), Started, false,
			"error: dtoverlay=disable-bt-pi5: overlay disable-bt-pi5 is not supported on bcm2711\n"},
		{"no config.txt", without(good, "config.txt"), Started, true, ""},
		{"no cmdline", without(good, "cmdline.txt"), Started, true, ""},
		{"no stub", with("config.txt", config+"armstub=my.bin\n"), Started, false, "error: armstub my.bin is missing\n"},
		{"no include", with("config.txt", config+"include more.txt\n"), Started, true,
			"warning: include more.txt of config.txt is not there\n"},
		{"auto_initramfs finds none", with("config.txt", "auto_initramfs=1\n"), Started, true,
			"warning: no matching initramfs found (expected initramfs8) - auto_initramfs disabled\n"},
		{"wrong pair", with("config.txt", config+"fixup_file=fixup4x.dat\n"), FirmwareNotFound, false,
			"error: start4.elf and fixup4x.dat do not belong together\nerror: 91cdf03d/fixup4x.dat is missing\n"},
		{"update", with("pieeprom.sig", "x"), Started, false,
			"error: 91cdf03d/pieeprom.sig exists: the board would flash its bootloader at every boot\n"},
		{"update forbidden", with("pieeprom.sig", "x", "config.txt", config+"bootloader_update=0\n"), Started, true, ""},
		{"recovery", with("recovery.elf", "x"), Started, false,
			"error: 91cdf03d/recovery.elf exists: the board would start the recovery program instead\n"},
		{"recovery kernel", with("recovery8.img", "x"), Started, false,
			"error: 91cdf03d/recovery8.img exists: the board would start the recovery program instead\n"},
		{"dt-blob.bin", with("dt-blob.bin", "x"), Started, true, "warning: 91cdf03d/dt-blob.bin exists and changes how the board starts\n"},
		{"boot.img missing", with("config.txt", "boot_ramdisk=1\n"), FirmwareNotFound, false, "error: 91cdf03d/boot.img is missing\n"},
		{"boot.img", with("boot.img", "a FAT file system", "config.txt", "boot_ramdisk=1\n"), RamdiskLoaded, true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newTFTP(t, under("91cdf03d/", tt.files))
			r := boot(t, pi4b(), s.addr(), Options{})
			if r.Outcome != tt.outcome || r.OK() != tt.ok {
				t.Errorf("outcome %q, OK %v; want %q, %v", r.Outcome, r.OK(), tt.outcome, tt.ok)
			}
			if got := problems(r); got != tt.want {
				t.Errorf("problems:\n%swant:\n%s", got, tt.want)
			}
		})
	}
}

// TestNoOACK is a published report: a board that gets no option acknowledgement takes
// config.txt as empty and starts the default kernel with default settings.
func TestNoOACK(t *testing.T) {
	files := map[string]script{}
	for name, data := range under("91cdf03d/", image(t, "kernel=other.img\ndtoverlay=disable-bt\n", "other.img")) {
		files[name] = script{data: data[:min(len(data), 6000)], noOACK: true}
	}
	s := newScripted(t, files)
	r := boot(t, pi4b(), s.addr(), Options{})
	if r.OK() || r.Outcome != Started || r.Kernel.Name != "kernel8.img" || len(r.Overlays) > 0 {
		t.Errorf("OK %v, %s, kernel %q, overlays %v; want kernel8.img without overlays", r.OK(), r.Outcome, r.Kernel.Name, r.Overlays)
	}
	if !strings.Contains(problems(r), "error: no option acknowledgement for start4.elf and") {
		t.Errorf("problems:\n%s", problems(r))
	}
}

// TestSilence is a server that does not answer for a file.
func TestSilence(t *testing.T) {
	tests := []struct {
		name    string
		silent  string
		outcome Outcome
		last    string
		problem string
	}{
		{"start file ends the attempt", "start4.elf", FirmwareNotFound, "start4.elf", "error: no answer for 91cdf03d/start4.elf within 6s"},
		{"kernel counts as missing", "kernel8.img", KernelNotFound, "armstub8-gic.bin", "error: no answer for 91cdf03d/kernel8.img within 6s"},
		{"absent file costs time", "dt-blob.bin", Started, "kernel8.img", "warning: no answer for 91cdf03d/dt-blob.bin within 6s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			files := map[string]script{"91cdf03d/" + tt.silent: {silent: true}}
			for name, data := range under("91cdf03d/", image(t, "")) {
				if name != "91cdf03d/"+tt.silent {
					files[name] = script{data: data[:min(len(data), 6000)]}
				}
			}
			s := newScripted(t, files)
			b := pi4b()
			b.FileTimeout, b.ResendEvery = 6*time.Second, 2*time.Second
			r := boot(t, b, s.addr(), Options{})
			last := r.Requests[len(r.Requests)-1].Name
			if r.Outcome != tt.outcome || last != tt.last || !strings.Contains(problems(r), tt.problem) {
				t.Errorf("%s, last %s; want %s, %s; problems:\n%s", r.Outcome, last, tt.outcome, tt.last, problems(r))
			}
		})
	}
}

// TestMixedImage switches the image in the middle of a boot, as a promote does that a
// server does not hold back.
func TestMixedImage(t *testing.T) {
	one := image(t, "dtoverlay=disable-bt\n")
	two := maps.Clone(one)
	two["config.txt"] = []byte("dtoverlay=vc4-kms-v3d\n")
	s := newTFTP(t, under("91cdf03d/", one))
	r := boot(t, pi4b(), s.addr(), Options{Before: func(_ int, req Request) {
		if req.Name == "bcm2711-rpi-4-b.dtb" {
			s.replace(under("91cdf03d/", two))
		}
	}})
	if want := "error: 91cdf03d/config.txt changed within one boot: the board mixes two images\n"; r.OK() || problems(r) != want {
		t.Errorf("OK %v; problems:\n%swant:\n%s", r.OK(), problems(r), want)
	}

	s.replace(under("91cdf03d/", one))
	r = boot(t, pi4b(), s.addr(), Options{Before: func(n int, req Request) {
		if req.Kind == Get && req.Name == "kernel8.img" {
			s.replace(nil)
		}
	}})
	if want := "was there and then was missing"; r.OK() || !strings.Contains(problems(r), want) {
		t.Errorf("OK %v; problems:\n%swant:\n%s", r.OK(), problems(r), want)
	}
}

func TestRetry(t *testing.T) {
	s := newTFTP(t, nil)
	files := under("91cdf03d/", image(t, ""))
	b := pi4b()
	b.Retries = 2
	r := boot(t, b, s.addr(), Options{Before: func(_ int, req Request) {
		if req.Attempt == 3 {
			s.replace(files)
		}
	}})
	if !r.OK() || r.Attempts != 3 || r.PrefixLeft || !strings.Contains(problems(r), "warning: attempt 2: start4.elf is missing") {
		t.Errorf("OK %v after %d attempts; problems:\n%s", r.OK(), r.Attempts, problems(r))
	}
	s.replace(nil)
	if r := boot(t, b, s.addr(), Options{}); r.OK() || r.Attempts != 3 || r.Outcome != FirmwareNotFound {
		t.Errorf("%s after %d attempts; want %s after 3", r.Outcome, r.Attempts, FirmwareNotFound)
	}
}

// TestRollOver reads a kernel of 40 MB in blocks of 512 bytes: 78125 of them.
func TestRollOver(t *testing.T) {
	files := image(t, "")
	files["kernel8.img"] = bytes.Repeat([]byte("0123456789abcdef"), 40_000_000/16)
	s := newTFTP(t, under("91cdf03d/", files))
	b := pi4b()
	b.FirmwareBlksize = 512
	tests := []struct {
		eeprom  Date
		outcome Outcome
	}{{"2025-09-23", Started}, {"2025-05-08", KernelNotFound}}
	for _, tt := range tests {
		t.Run(string(tt.eeprom), func(t *testing.T) {
			b.EEPROMDate = tt.eeprom
			r := boot(t, b, s.addr(), Options{})
			last := r.Requests[len(r.Requests)-1]
			if r.Outcome != tt.outcome || last.Blksize != 512 {
				t.Fatalf("%s with blocks of %d; want %s with 512; problems:\n%s", r.Outcome, last.Blksize, tt.outcome, problems(r))
			}
			if tt.outcome == Started && r.Kernel.Digest != store.Sum(files["kernel8.img"]) {
				t.Errorf("kernel %s; want %s", r.Kernel.Digest, store.Sum(files["kernel8.img"]))
			}
			if tt.outcome != Started && (last.Bytes != 65535*512 || !strings.Contains(problems(r), "has more than 65535 blocks of 512 bytes")) {
				t.Errorf("%d bytes; want %d; problems:\n%s", last.Bytes, 65535*512, problems(r))
			}
		})
	}
}

// TestTwentyBoards boots boards with addresses, serials, styles and seeds of their own at
// the same time.
func TestTwentyBoards(t *testing.T) {
	files := image(t, "initramfs i.gz followkernel\ndtoverlay=disable-bt\n", "i.gz")
	served := map[string][]byte{}
	for i := range 20 {
		maps.Copy(served, under(fmt.Sprintf("%08x/", 0x1000+i), files))
	}
	s := newTFTP(t, served)
	var wg sync.WaitGroup
	for i := range 20 {
		b := pi4b()
		b.Serial, b.Seed, b.Style = uint32(0x1000+i), uint64(i), []Style{StyleA, StyleB, StyleC}[i%3]
		b.Local = netip.AddrFrom4([4]byte{127, 0, 1, byte(1 + i)})
		wg.Go(func() {
			r, err := b.Boot(t.Context(), s.addr(), Options{})
			if err != nil || !r.OK() || r.Files()["kernel8.img"] != store.Sum(files["kernel8.img"]) {
				t.Errorf("board %d: %v, %s; problems:\n%s", i, err, r.Outcome, problems(r))
			}
		})
	}
	wg.Wait()
}

func TestBootRefusesSettings(t *testing.T) {
	server := netip.MustParseAddrPort("127.0.0.1:69")
	tests := []struct {
		name   string
		change func(*Board)
		want   string
	}{
		{"zero2w", func(b *Board) { b.Board.Model = "zero2w" },
			`model "zero2w" is not simulated, only pi3b, pi3b+, pi4b, pi400, cm4, cm4s, pi5, pi500, cm5, cm5lite`},
		{"date", func(b *Board) { b.EEPROMDate = "May 2025" }, `EEPROM date "May 2025" is not a date such as 2025-09-23`},
		{"style", func(b *Board) { b.Style = "D" }, `probe style "D" is none of A, B, C`},
		{"mac", func(b *Board) { b.Prefix = PrefixMAC }, `prefix mode mac needs a MAC address of 6 bytes, not ""`},
		{"mode", func(b *Board) { b.Prefix = "name" }, `prefix mode "name" is none of serial, string, mac`},
		{"long prefix", func(b *Board) { b.Prefix, b.PrefixString = PrefixString, strings.Repeat("x", 33) },
			`prefix "` + strings.Repeat("x", 33) + `" has 33 characters, a board takes 32 at most`},
		{"local", func(b *Board) { b.Local = netip.IPv6Loopback() }, "local address ::1 cannot reach server 127.0.0.1:69"},
		{"no names", func(b *Board) { b.Kernels = nil }, `model "pi4b" needs the names of its start file, device tree and kernel`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := pi4b()
			tt.change(&b)
			r, err := b.Boot(t.Context(), server, Options{})
			if err == nil || err.Error() != tt.want || r == nil || r.OK() {
				t.Errorf("Boot = %v; want %s", err, tt.want)
			}
		})
	}
}

// TestBlksize is what each age of bootloader and firmware asks for.
func TestBlksize(t *testing.T) {
	tests := []struct {
		eeprom, firmware Date
		wantE, wantF     int
		rollsOver        bool
	}{
		{"2019-07-15", "2019-07-15", 0, 1024, false},
		{"2019-10-08", "2022-08-26", 1024, 1024, false},
		{"2022-10-02", "2024-01-01", 1024, 1024, false},
		{"2022-10-03", "2026-05-21", 1468, 1468, false},
		{"2025-09-22", "2026-05-21", 1468, 1468, false},
		{"2025-09-23", "2026-05-21", 1468, 1468, true},
		{"", "", 1468, 1468, true},
	}
	for _, tt := range tests {
		m := Model{EEPROMDate: tt.eeprom, FirmwareDate: tt.firmware}
		if e, f, r := m.EEPROMBlksize(), m.AskedBlksize(), m.RollsOver(); e != tt.wantE || f != tt.wantF || r != tt.rollsOver {
			t.Errorf("%q, %q: %d, %d, %v; want %d, %d, %v", tt.eeprom, tt.firmware, e, f, r, tt.wantE, tt.wantF, tt.rollsOver)
		}
	}
}

// TestNothingIsLeft looks for goroutines and descriptors after boots that end well and in
// the middle.
func TestNothingIsLeft(t *testing.T) {
	files := under("91cdf03d/", image(t, ""))
	newTFTP(t, files).stop() // opens what the network keeps for good
	goroutines, descriptors := runtime.NumGoroutine(), countDescriptors(t)
	s := newTFTP(t, files, func(s *tftp.Server) { // to give a board up soon that went away
		s.SetTimeout(time.Second)
		s.SetRetries(2)
		s.SetBackoff(func(int) time.Duration { return 0 })
	})
	for i, style := range []Style{StyleA, StyleB, StyleC, StyleC} {
		b := pi4b()
		b.Style = style
		ctx, cancel := context.WithCancel(t.Context())
		r, err := b.Boot(ctx, s.addr(), Options{After: func(n int, _ Request) {
			if i == 3 && n == 8 { // right after a probe of style C
				cancel()
			}
		}})
		cancel()
		switch stopped := errors.Is(err, context.Canceled); {
		case stopped != (i == 3) || !stopped && err != nil:
			t.Errorf("boot %d: %v", i, err)
		case stopped && (r.Outcome != Interrupted || len(r.Requests) != 9 || len(r.Problems()) > 0):
			t.Errorf("stopped boot: %s, %d requests; problems:\n%s", r.Outcome, len(r.Requests), problems(r))
		}
	}
	s.stop()
	deadline := time.Now().Add(2 * time.Minute) // the server's last transfer has to end as well
	for runtime.NumGoroutine() > goroutines || countDescriptors(t) > descriptors {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d descriptors; want %d, %d", runtime.NumGoroutine(), countDescriptors(t), goroutines, descriptors)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestRealFiles boots published firmware, kernel, device tree and overlays at their real
// sizes: a kernel of 46 MB.
func TestRealFiles(t *testing.T) {
	files := map[string][]byte{}
	for name, module := range map[string]string{
		"start4.elf": gomodtest.Firmware, "fixup4.dat": gomodtest.Firmware, "vmlinuz": gomodtest.Kernel,
		"bcm2711-rpi-4-b.dtb": gomodtest.Kernel, "overlays/overlay_map.dtb": gomodtest.Kernel,
		"overlays/vc4-kms-v3d-pi4.dtbo": gomodtest.Kernel,
	} {
		data, err := os.ReadFile(filepath.Join(gomodtest.Dir(t, module), name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = data
	}
	files["config.txt"] = []byte("kernel=vmlinuz\ndtoverlay=vc4-kms-v3d\n")
	s := newTFTP(t, under("91cdf03d/", files))
	r := boot(t, pi4b(), s.addr(), Options{})
	want := map[string]store.Digest{}
	for name, data := range files {
		want[name] = store.Sum(data)
	}
	if diff := cmp.Diff(want, r.Files()); diff != "" || !r.OK() {
		t.Errorf("OK %v; files (-served +board):\n%s%s", r.OK(), diff, problems(r))
	}
}

// TestFirstBootloader is a board of 2019, which asks for no block size.
func TestFirstBootloader(t *testing.T) {
	s := newTFTP(t, under("91cdf03d/", image(t, "dtoverlay=disable-bt\n")))
	b := pi4b()
	b.EEPROMDate, b.FirmwareDate, b.VL805 = "2019-07-15", "2019-07-15", true
	r := boot(t, b, s.addr(), Options{})
	if !r.OK() || r.Requests[1].Blksize != 512 || r.Requests[2].Name != "vl805.sig" {
		t.Errorf("OK %v, %+v; problems:\n%s", r.OK(), r.Requests[1:3], problems(r))
	}
}

func countDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal("no /proc here")
	}
	return len(entries)
}
