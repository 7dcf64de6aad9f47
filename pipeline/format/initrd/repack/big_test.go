//go:build big

package repack

import (
	"os"
	"testing"
)

// A root file system with all modules of Debian's kernel for arm64: some 350 MB unpacked.
func TestBigRoundTripOfDebianKernel(t *testing.T) {
	b := shell(t, t.TempDir(), `
mkdir -p lists/partial cache/archives/partial root
apt="-qq -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Dir::State::Lists=$PWD/lists -o Dir::Cache=$PWD/cache"
apt-get $apt update
package=$(apt-cache $apt depends linux-image-arm64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
apt-get $apt download "$package"
dpkg-deb -x linux-image-*.deb root
cd root && mkdir dev && mknod dev/console c 5 1 && find . -print0 | LC_ALL=C sort -z | cpio -o0 --quiet -H newc | gzip -6n`)
	holds(t, b, "dev/console", "lib/modules")
	roundTrip(t, b)
}

// The root file system of PIIMG_ROOTFS, such as Buildroot's rootfs.cpio.gz.
func TestBigRoundTripOfAGivenOne(t *testing.T) {
	b, err := os.ReadFile(os.Getenv("PIIMG_ROOTFS"))
	if err != nil {
		t.Fatal(err)
	}
	roundTrip(t, b)
}
