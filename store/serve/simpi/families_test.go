package simpi

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/configtxt"
	"piimg/pipeline/format/fdt/gomodtest"
	"piimg/store"
)

// pi3bPlus is a Pi 3B+ with the newest firmware that is known.
func pi3bPlus() Board {
	b := pi4b()
	b.Model = Model{Board: configtxt.Board{
		Model: "pi3b+", Filters: []string{"pi3", "pi3+"}, Type: 0x0d, Platform: "bcm2835",
		Starts: []string{"start.elf"}, Fixups: []string{"fixup.dat"},
		Kernels: []string{"kernel8.img"}, Kernels32: []string{"kernel7.img"},
		DTBs: []string{"bcm2710-rpi-3-b-plus.dtb"}, ArmStubs: []string{"armstub8.bin"},
	}}
	b.Serial = 0x8b07bcc6
	return b
}

func pi5() Board {
	b := pi4b()
	b.Model = Model{Board: configtxt.Board{
		Model: "pi5", Filters: []string{"pi5"}, Type: 0x17, Platform: "bcm2712", Arm64: true, OnlyArm64: true,
		Kernels: []string{"kernel_2712.img", "kernel8.img"},
		DTBs:    []string{"bcm2712-rpi-5-b.dtb", "bcm2712d0-rpi-5-b.dtb"}, ArmStubs: []string{"armstub8-2712.bin"},
	}}
	b.Serial = 0xbd989ae1
	return b
}

// realFiles reads files of the kernel module, such as device trees.
func realFiles(t testing.TB, files map[string][]byte, names ...string) map[string][]byte {
	t.Helper()
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(gomodtest.Dir(t, gomodtest.Kernel), name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = data
	}
	return files
}

// pi3Image is an image for a Pi 3B+; what the boot ROM wants lies beside the folder.
func pi3Image(t testing.TB) map[string][]byte {
	files := map[string][]byte{
		"config.txt": []byte("arm_64bit=1\nauto_initramfs=1\ndtoverlay=vc4-kms-v3d\n"), "cmdline.txt": []byte("console=ttyS0,115200\n"),
		"start.elf": fill("start", 300_000), "fixup.dat": fill("fixup", 5_400),
		"kernel8.img": fill("kernel", 700_000), "initramfs8": fill("initramfs", 90_000),
	}
	return realFiles(t, files, "bcm2710-rpi-3-b-plus.dtb", "overlays/overlay_map.dtb", "overlays/vc4-kms-v3d.dtbo")
}

func pi5Image(t testing.TB) map[string][]byte {
	files := map[string][]byte{
		"config.txt":  []byte("dtoverlay=vc4-kms-v3d\ninitramfs initramfs_2712.gz followkernel\n"),
		"cmdline.txt": []byte("console=ttyAMA10,115200\n"), "kernel_2712.img": fill("kernel", 700_000), "initramfs_2712.gz": fill("initramfs", 90_000),
	}
	return realFiles(t, files, "bcm2712-rpi-5-b.dtb", "overlays/overlay_map.dtb", "overlays/vc4-kms-v3d-pi5.dtbo")
}

func withROM(files map[string][]byte) map[string][]byte {
	files["bootcode.bin"] = fill("bootcode", 52_000)
	return files
}

// TestFamilies replays the orders of a Pi 3B+ and a Pi 5 in the three ways to look for
// files, and compares every byte.
func TestFamilies(t *testing.T) {
	tests := []struct {
		golden string
		board  Board
		files  map[string][]byte // below the folder
		root   map[string][]byte
	}{
		{"log3.txt", pi3bPlus(), pi3Image(t), withROM(map[string][]byte{})},
		{"pi5.txt", pi5(), pi5Image(t), nil},
	}
	for _, tt := range tests {
		served := under(fmt.Sprintf("%08x/", tt.board.Serial), tt.files)
		for name, data := range tt.root {
			served[name] = data
			tt.files[name] = data
		}
		s := newTFTP(t, served)
		for _, style := range []Style{StyleA, StyleB, StyleC} {
			t.Run(string(style)+" "+tt.golden, func(t *testing.T) {
				b := tt.board
				b.Style = style
				r := boot(t, b, s.addr(), Options{})
				if diff := cmp.Diff(readTrail(t, tt.golden), trail(r)); diff != "" {
					t.Errorf("requests (-known +simulated):\n%s", diff)
				}
				if !r.OK() || len(r.Problems()) > 0 {
					t.Errorf("%s, OK() = %v; problems:\n%s", r.Outcome, r.OK(), problems(r))
				}
				want := map[string]store.Digest{}
				for name, data := range tt.files {
					want[name] = store.Sum(data)
				}
				if diff := cmp.Diff(want, r.Files()); diff != "" {
					t.Errorf("files (-image +board):\n%s", diff)
				}
			})
		}
	}
}

// TestROMAsksPlainly: the boot ROM of a Pi 3 asks in the root and without options,
// bootcode.bin for the size only.
func TestROMAsksPlainly(t *testing.T) {
	s := newTFTP(t, withROM(under("8b07bcc6/", pi3Image(t))))
	for _, req := range boot(t, pi3bPlus(), s.addr(), Options{}).Requests {
		wantSize, wantBlock := int64(0), 512
		switch {
		case req.Kind != Get || req.Result != Found:
			continue
		case req.Stage == StageStart:
			wantSize, wantBlock = req.Bytes, 1468
		case req.Stage == StageBootcode:
			wantSize = req.Bytes
		}
		if req.Tsize != wantSize || req.Blksize != wantBlock {
			t.Errorf("%s %s: size %d, blocks of %d; want %d and %d", req.Stage, req.Path, req.Tsize, req.Blksize, wantSize, wantBlock)
		}
		if in := strings.HasPrefix(req.Path, "8b07bcc6/"); in == (req.Stage == StageROM) {
			t.Errorf("%s asks for %s", req.Stage, req.Path)
		}
	}
}

// TestPi5DoublesSlashes: names that are looked up from the root come with two slashes.
func TestPi5DoublesSlashes(t *testing.T) {
	s := newTFTP(t, under("bd989ae1/", pi5Image(t)))
	var paths []string
	for _, req := range boot(t, pi5(), s.addr(), Options{}).Requests {
		paths = append(paths, req.Path)
	}
	for _, want := range []string{"bd989ae1/config.txt", "bd989ae1//config.txt", "bd989ae1//overlays/overlay_map.dtb"} {
		if !slices.Contains(paths, want) {
			t.Errorf("no request for %s in %q", want, paths)
		}
	}
}

// TestPi5Needs is an image that a Pi 5 does not boot.
func TestPi5Needs(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string][]byte
		want  string
	}{
		{"no config.txt", without(pi5Image(t), "config.txt"), "error: bd989ae1/config.txt is missing\n"},
		{"the device tree of another board", func() map[string][]byte {
			files := pi5Image(t)
			files["bcm2712-rpi-5-b.dtb"] = fill("dtb", 50_000)
			return files
		}(), "error: bcm2712-rpi-5-b.dtb is no device tree of a Pi 5\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newTFTP(t, under("bd989ae1/", tt.files))
			r := boot(t, pi5(), s.addr(), Options{})
			if r.Outcome != FirmwareNotFound || problems(r) != tt.want {
				t.Errorf("%s with %q, want %q", r.Outcome, problems(r), tt.want)
			}
		})
	}
}
