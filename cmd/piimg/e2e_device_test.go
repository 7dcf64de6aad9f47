//go:build e2e

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"piimg/store/serve/servetest"
)

// deviceSite is a site with an image, and real block devices to write it to.
type deviceSite struct {
	*site
	dir   string
	image string
	disk  []byte // what is to be on a device
}

func newDeviceSite(t *testing.T) *deviceSite {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("block devices take root: run make e2e as root")
	}
	d := &deviceSite{}
	d.site, d.dir, d.image = diskImage(t)
	file := filepath.Join(d.dir, "sd.img")
	d.piimg("export", d.image, "--sdcard", file)
	var err error
	if d.disk, err = os.ReadFile(file); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *deviceSite) run(argv ...string) string {
	d.t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// loop makes a loop device of a new file, or of one that is there; each flag is one of losetup.
func (d *deviceSite) loop(file, size string, flags ...string) (device string) {
	d.t.Helper()
	if size != "" {
		file = filepath.Join(d.dir, file)
		d.run("truncate", "-s", size, file)
	}
	device = d.run(append(append([]string{"losetup", "--find", "--show"}, flags...), file)...)
	d.t.Cleanup(func() { d.run("losetup", "-d", device) })
	return device
}

// zram makes a block device that is neither removable nor a loop device.
func (d *deviceSite) zram(size string) (device string) {
	d.t.Helper()
	const control = "/sys/class/zram-control/"
	_ = exec.Command("modprobe", "zram").Run() // it may be built in
	number, err := os.ReadFile(control + "hot_add")
	if err != nil {
		d.t.Fatalf("a disk that is not removable takes the kernel's zram: %v", err)
	}
	n := strings.TrimSpace(string(number))
	d.t.Cleanup(func() {
		servetest.Await(d.t, "an end of zram"+n, func() bool { // others of the system look at what was written
			return os.WriteFile(control+"hot_remove", []byte(n), 0) == nil
		})
	})
	if err := os.WriteFile("/sys/block/zram"+n+"/disksize", []byte(size), 0); err != nil {
		d.t.Fatal(err)
	}
	return "/dev/zram" + n
}

// liar makes a block device that is a card with a flaw: a server's reads and writes are shell
// commands, and what it serves is a file, and of that a loop device is made.
func (d *deviceSite) liar(pread, pwrite string) (device string) {
	d.t.Helper()
	kept, card, ready := filepath.Join(d.dir, "kept"), filepath.Join(d.dir, "card"), filepath.Join(d.dir, "ready")
	d.run("truncate", "-s", "64M", kept)
	d.run("touch", card)
	d.run("mkfifo", ready)
	cmd := exec.Command("nbdfuse", "-P", ready, card, "--command", "nbdkit", "-s", "eval",
		"get_size=echo 200M", "pread="+pread, "pwrite="+pwrite, "flush=:", "can_write=:", "can_flush=:")
	cmd.Env = append(os.Environ(), "KEPT="+kept)
	if err := cmd.Start(); err != nil {
		d.t.Fatalf("nbdfuse and nbdkit (apt-get install libnbd-bin nbdkit fuse3): %v", err)
	}
	d.t.Cleanup(func() {
		servetest.Await(d.t, "an end of "+card, func() bool { // the loop device may last a moment longer
			return exec.Command("fusermount3", "-u", card).Run() == nil
		})
		_ = cmd.Wait()
	})
	if _, err := os.ReadFile(ready); err != nil { // as soon as the file is there to be used
		d.t.Fatal(err)
	}
	return d.loop(card, "", "--direct-io=on")
}

// refuses wants write to refuse the device with these words, and to leave it as it was.
func (d *deviceSite) refuses(device string, words ...string) {
	d.t.Helper()
	before := d.head(device)
	said := d.fails("write", d.image, device, "--yes")
	for _, want := range words {
		if !strings.Contains(said, want) {
			d.t.Errorf("write to %s: want %q:\n%s", device, want, said)
		}
	}
	if !bytes.Equal(before, d.head(device)) {
		d.t.Errorf("write to %s was refused, and something was written", device)
	}
}

func (d *deviceSite) fails(args ...string) string {
	d.t.Helper()
	cmd := exec.Command(d.bin, args...)
	cmd.Env = d.env
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 1 {
		d.t.Errorf("piimg %s: %v:\n%s", strings.Join(args, " "), err, out)
	}
	d.t.Logf("$ piimg %s\n%s", strings.Join(args, " "), out)
	return string(out)
}

// head is what a device holds at its beginning.
func (d *deviceSite) head(device string) []byte {
	d.t.Helper()
	f, err := os.Open(device)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 4<<20)
	n, err := f.ReadAt(b, 0)
	if n == 0 {
		d.t.Fatal(err)
	}
	return b[:n]
}

// holds wants the device to hold the disk at its beginning.
func (d *deviceSite) holds(device string) {
	d.t.Helper()
	got, err := os.ReadFile(device)
	if err != nil || len(got) < len(d.disk) || !bytes.Equal(got[:len(d.disk)], d.disk) {
		d.t.Errorf("%s, of %d bytes, holds something else: %v", device, len(got), err)
	}
}

// A loop device is a real block device: what is written to it is read back, and others find
// a partition table on it.
func TestE2EWriteToADevice(t *testing.T) {
	d := newDeviceSite(t)
	loop := d.loop("backing", "200M")
	d.piimg("write", d.image, loop, "--yes")
	d.holds(loop)
	if said := d.run("blkid", "-p", "-o", "value", "-s", "PTTYPE", loop); said != "dos" {
		t.Errorf("blkid sees a table of type %q", said)
	}
}

// A device that is in use, or that hardly anybody can mean, is refused and left as it is.
func TestE2EWriteRefusesDevices(t *testing.T) {
	d := newDeviceSite(t)
	mount := filepath.Join(d.dir, "mnt")
	d.run("mkdir", mount)

	loop := d.loop("mounted", "200M")
	t.Cleanup(func() { // of a test that has failed
		_ = exec.Command("umount", "-q", mount).Run()
		_ = exec.Command("swapoff", loop).Run()
	})
	d.run("mkfs.ext4", "-q", loop)
	d.run("mount", loop, mount)
	d.refuses(loop, "error: "+loop+" is mounted at "+mount, "hint: umount or swapoff it")
	d.run("umount", mount)
	d.run("mkswap", loop)
	d.run("swapon", loop)
	d.refuses(loop, "error: "+loop+" is used for swapping")
	d.run("swapoff", loop)

	parted := d.loop("parted", "200M", "--partscan")
	d.run("addpart", parted, "1", "2048", "200000") // the kernel here may know no tables
	t.Cleanup(func() { d.run("delpart", parted, "1") })
	d.refuses(parted+"p1", "error: "+parted+"p1 is a partition", "hint: name the whole device: "+parted)
	d.run("mkfs.ext4", "-q", parted+"p1")
	d.run("mount", parted+"p1", mount)
	d.refuses(parted, "error: "+parted+" is in use: "+parted+"p1 is mounted at "+mount)
	d.run("umount", mount)

	held := d.loop("held", "200M")
	holder, err := os.OpenFile(held, os.O_RDWR|unix.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	d.refuses(held, "error: "+held+" is in use", "stop what else uses it")
	holder.Close()

	d.refuses(d.loop("locked", "200M", "--read-only"), "can only be read", "hint: look for the lock")
	d.refuses(d.loop("small", "10M"), "has 10.5 MB, and "+d.image+" takes ")
}

// A disk that is not removable is refused, whatever --yes says, until --any-disk does.
func TestE2EWriteRefusesADiskOfTheMachine(t *testing.T) {
	d := newDeviceSite(t)
	zram := d.zram("200M")
	d.refuses(zram, "error: "+zram+" is not removable", "--any-disk")
	d.piimg("write", d.image, zram, "--yes", "--any-disk")
	d.holds(zram)
}

// A card that says it has 200 MB and keeps what was written last to 64 is found out, and so is
// one that fails.
func TestE2EWriteFindsOutALyingCard(t *testing.T) {
	const at, piece = "$(($4 % 67108864))", "iflag=skip_bytes,count_bytes"
	for _, card := range []struct{ name, pread, pwrite, want string }{
		{"counterfeit", fmt.Sprintf(`dd if="$KEPT" %s skip=%s count=$3 bs=64k status=none`, piece, at),
			fmt.Sprintf(`dd of="$KEPT" oflag=seek_bytes seek=%s conv=notrunc bs=64k status=none`, at),
			"what is read back is not what was written"},
		{"failing", fmt.Sprintf(`dd if="$KEPT" %s skip=%s count=$3 bs=64k status=none`, piece, at),
			`cat >/dev/null; test $4 -lt 33554432 || { echo EIO >&2; exit 1; }`,
			"input/output error\npiimg: hint: "},
	} {
		t.Run(card.name, func(t *testing.T) {
			d := newDeviceSite(t)
			device := d.liar(card.pread, card.pwrite)
			said := d.fails("write", d.image, device, "--yes")
			if want := "piimg: error: write " + device + ": "; !strings.Contains(said, want) || !strings.Contains(said, card.want) {
				t.Errorf("want %q and %q", want, card.want)
			}
		})
	}
}
