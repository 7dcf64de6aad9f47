//go:build e2e

package repack

import (
	"os"
	"testing"
)

// The installer of Debian, of the package debian-installer-12-netboot-arm64: 40 MB, 128 MB
// unpacked.
func TestE2ERoundTripOfDebianInstaller(t *testing.T) {
	b, err := os.ReadFile("/usr/lib/debian-installer/images/12/arm64/text/debian-installer/arm64/initrd.gz")
	if err != nil {
		t.Fatal(err)
	}
	holds(t, b, "init", "bin/busybox")
	roundTrip(t, b)
}
