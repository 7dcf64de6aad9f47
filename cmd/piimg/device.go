package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// device is a block device, or a file that stands for one, opened for us alone.
type device struct {
	*os.File
	block bool
	size  int64 // bytes
	model string
}

// what says for people what the device is.
func (d *device) what() string {
	if d.model != "" {
		return d.model + ", " + size(d.size)
	}
	return size(d.size)
}

// openDevice opens a device to be written, if nothing speaks against it.
func openDevice(name string, anyDisk bool) (*device, error) {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint(fmt.Errorf("%s: no such device", name), "lsblk lists devices; piimg export --sdcard makes a file")
	}
	if err != nil {
		return nil, err
	}
	d := &device{block: info.Mode()&fs.ModeDevice != 0 && info.Mode()&fs.ModeCharDevice == 0}
	flags := os.O_RDWR
	switch {
	case d.block:
		var st unix.Stat_t
		if err := unix.Stat(name, &st); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if d.model, err = checkBlock(name, sysDevice(st.Rdev), anyDisk); err != nil {
			return nil, err
		}
		flags |= unix.O_EXCL // the kernel refuses whoever comes second
	case !info.Mode().IsRegular():
		return nil, hint(fmt.Errorf("%s is no block device", name), "lsblk lists devices")
	}
	if d.File, err = os.OpenFile(name, flags, 0); err != nil {
		return nil, busy(name, err)
	}
	if d.size, err = d.Seek(0, io.SeekEnd); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func busy(name string, err error) error {
	if errors.Is(err, unix.EBUSY) {
		return hint(fmt.Errorf("%s is in use", name), "unmount it, and stop what else uses it")
	}
	return err
}

// sysDevice is the folder of a device in sysfs.
func sysDevice(rdev uint64) string {
	link := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(rdev), unix.Minor(rdev))
	if real, err := filepath.EvalSymlinks(link); err == nil {
		return real
	}
	return link
}

// checkBlock refuses a block device that is in use or most probably not meant, and is the
// model that it says it is.
func checkBlock(name, sys string, anyDisk bool) (model string, err error) {
	if _, err := os.Stat(filepath.Join(sys, "partition")); err == nil {
		return "", hint(fmt.Errorf("%s is a partition", name), "name the whole device: /dev/%s", filepath.Base(filepath.Dir(sys)))
	}
	if attribute(sys, "ro") == "1" {
		return "", hint(fmt.Errorf("%s can only be read", name), "look for the lock at the card's edge")
	}
	for _, part := range append([]string{sys}, partitions(sys)...) {
		if use := usedFor(part); use != "" {
			err := fmt.Errorf("%s is %s", name, use)
			if part != sys {
				err = fmt.Errorf("%s is in use: /dev/%s is %s", name, filepath.Base(part), use)
			}
			return "", hint(err, "umount or swapoff it, and make sure that it is the device that you mean")
		}
	}
	loop := strings.HasPrefix(filepath.Base(sys), "loop")
	if !anyDisk && !loop && attribute(sys, "removable") != "1" && !strings.Contains(sys, "/usb") && !strings.Contains(sys, "/mmc_host/") {
		return "", hint(fmt.Errorf("%s is not removable", name), "if this disk is meant and nothing on it is needed: --any-disk")
	}
	return strings.TrimSpace(attribute(sys, "device/vendor") + " " + attribute(sys, "device/model") + attribute(sys, "device/name")), nil
}

func attribute(sys, name string) string {
	b, err := os.ReadFile(filepath.Join(sys, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// partitions are the folders in sysfs of a device's partitions.
func partitions(sys string) []string {
	found, err := filepath.Glob(filepath.Join(sys, "*", "partition"))
	if err != nil {
		return nil
	}
	for n := range found {
		found[n] = filepath.Dir(found[n])
	}
	return found
}

// usedFor says what a device or partition is used for, "" where it is for nothing.
func usedFor(sys string) string {
	number, dev := attribute(sys, "dev"), "/dev/"+filepath.Base(sys)
	mounts, _ := os.ReadFile("/proc/self/mountinfo") // proc(5): the third field is major:minor
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) > 4 && f[2] == number {
			return "mounted at " + f[4]
		}
		if i := strings.Index(line, " - "); i >= 0 { // btrfs and others have numbers of their own
			if f := strings.Fields(line[i+3:]); len(f) > 1 && f[1] == dev {
				return "mounted"
			}
		}
	}
	swaps, _ := os.ReadFile("/proc/swaps")
	for line := range strings.Lines(string(swaps)) {
		if f := strings.Fields(line); len(f) > 0 && f[0] == dev {
			return "used for swapping"
		}
	}
	if holders, err := os.ReadDir(filepath.Join(sys, "holders")); err == nil && len(holders) > 0 {
		return "part of " + holders[0].Name()
	}
	return ""
}
