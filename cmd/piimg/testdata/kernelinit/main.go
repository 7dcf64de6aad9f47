// Command kernelinit is the first process of the kernel tests: it prints what the kernel
// has unpacked, a line for each file, checks the marker that it was told to look for, and
// turns the machine off.
package main

import (
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

func main() {
	err := filepath.WalkDir("/", func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return show(name)
	})
	// The kernel hands what it does not know of its command line to us.
	marker, err2 := os.ReadFile("/etc/marker")
	if want := os.Getenv("marker"); string(marker) == want {
		fmt.Printf("MARKER found %q\n", marker)
	} else {
		fmt.Printf("MARKER wrong: %q, %v, want %q\n", marker, err2, want)
	}
	fmt.Printf("END %v\n", err)
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

// show prints one file: mode, owner, device number, links, inode, time, size, checksum,
// path and target.
func show(name string) error {
	var s syscall.Stat_t
	if err := syscall.Lstat(name, &s); err != nil {
		return err
	}
	var sum uint32
	var target string
	var err error
	switch s.Mode & syscall.S_IFMT {
	case syscall.S_IFREG:
		var b []byte
		b, err = os.ReadFile(name)
		sum = crc32.ChecksumIEEE(b)
	case syscall.S_IFLNK:
		target, err = os.Readlink(name)
	}
	major, minor := s.Rdev>>8&0xfff, s.Rdev&0xff|s.Rdev>>12&0xfff00
	fmt.Printf("FILE %o %d:%d %d:%d %d %d %d %d %08x %q %q\n",
		s.Mode, s.Uid, s.Gid, major, minor, s.Nlink, s.Ino, s.Mtim.Sec, s.Size, sum, name, target)
	return err
}
