package main

import (
	"net/netip"
	"testing"

	"piimg/cmd/piimg/config"
	"piimg/store/serve/simpi"
)

// TestBlocksFitTheWay boots a board over a network that carries no more than 1400 bytes at
// once, such as a tunnel: blocks are as large as fits, and not as large as the board asks for.
func TestBlocksFitTheWay(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	command(t, "ip", "link", "set", "lo", "mtu", "1400")
	files := map[string][]byte{
		"start4.elf": make([]byte, 100_000), "fixup4.dat": make([]byte, 5_000), "bcm2711-rpi-4-b.dtb": make([]byte, 50_000),
		"kernel8.img": make([]byte, 200_000), "cmdline.txt": []byte("console=tty1\n"), "config.txt": []byte("arm_64bit=1\nkernel=kernel8.img\n"),
	}
	for listen, want := range map[string]int{"127.0.0.1:0": 1400 - 20 - 8 - 4, "[::1]:0": 1400 - 40 - 8 - 4} {
		b := stormBoard(t, 0)
		b.Local = netip.Addr{}
		report, err := b.Boot(t.Context(), serveImage(t, files, config.Serve{TFTP: listen}).tftp.Addr(), simpi.Options{})
		if err != nil || !report.OK() {
			t.Fatalf("%s: %v: %s", listen, err, report.Summary())
		}
		for _, r := range report.Requests {
			if r.Result == simpi.Found && r.Blksize != want {
				t.Errorf("%s: %s came in blocks of %d bytes, want %d", listen, r.Name, r.Blksize, want)
			}
		}
	}
}
