package main

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"piimg/cmd/piimg/config"
	"piimg/pipeline/format/fdt/gomodtest"
	"piimg/recipes"
	"piimg/store/serve/simpi"
)

// TestEveryModelBoots boots one board of each model that can be simulated, in each way of
// looking for files, from one image, without anything being known of any of them: a Pi 3,
// whose boot ROM asks without a folder, too.
func TestEveryModelBoots(t *testing.T) {
	files := map[string][]byte{
		"config.txt":        []byte("arm_64bit=1\nkernel=kernel8.img\ninitramfs initramfs.cpio.gz followkernel\n"),
		"cmdline.txt":       []byte("console=tty1\n"),
		"bootcode.bin":      bytes.Repeat([]byte("bootcode"), 6_000),
		"kernel8.img":       bytes.Repeat([]byte("kernel"), 60_000),
		"initramfs.cpio.gz": bytes.Repeat([]byte("initramfs"), 9_000),
	}
	kernel := gomodtest.Dir(t, gomodtest.Kernel)
	for _, name := range simpi.Simulated() {
		model, err := recipes.BoardByName(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, program := range slices.Concat(model.Starts, model.Fixups) {
			files[program] = bytes.Repeat([]byte(program), 5_000)
		}
		for _, dtb := range model.DTBs {
			if b, err := os.ReadFile(filepath.Join(kernel, dtb)); err == nil { // this kernel has not all of them
				files[dtb] = b
			}
		}
	}
	f := serveImage(t, files, config.Serve{TFTP: "127.0.0.1:0"})
	addr := netip.MustParseAddr("127.0.7.1")
	for n, name := range simpi.Simulated() {
		for m, style := range []simpi.Style{simpi.StyleA, simpi.StyleB, simpi.StyleC} {
			t.Run(name+" "+string(style), func(t *testing.T) {
				b := stormBoard(t, 0)
				model, err := recipes.BoardByName(name)
				if err != nil {
					t.Fatal(err)
				}
				b.Model, b.Style, b.Local, b.Serial = simpi.Model{Board: model.Board}, style, addr, uint32(n<<8+m+1)
				report, err := b.Boot(t.Context(), f.tftp.Addr(), simpi.Options{})
				if err != nil || !report.OK() || len(report.Problems()) > 0 {
					t.Fatalf("%v: %s\n%+v", err, report.Summary(), report.Problems())
				}
				if loads := report.Files(); loads["kernel8.img"].IsZero() || name[:3] == "pi3" && loads["bootcode.bin"].IsZero() {
					t.Errorf("it has started with %v", loads)
				}
			})
			addr = addr.Next()
		}
	}
}
