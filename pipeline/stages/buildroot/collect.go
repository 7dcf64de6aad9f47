package buildroot

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"piimg/pipeline"
)

// left are images that no board gets over the network, and the two files that piimg
// writes itself.
var left = []string{
	"rootfs.ext*", "rootfs.tar*", "rootfs.ubi*", "*.vfat", "*.img", "genimage.cfg", "*.ubi",
	"rpi-firmware/config.txt", "rpi-firmware/cmdline.txt",
}

// collect keeps what lies in output/images: the firmware's folder as the top, where a
// board looks for it, and of the root file system's archives the one that is compressed.
func collect(ctx context.Context, job *pipeline.Job, dir string) error {
	fsys := os.DirFS(dir)
	archives, err := fs.Glob(fsys, "rootfs.cpio*")
	if err != nil {
		return err
	}
	made := 0
	err = fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || leaveOut(name, archives) {
			return err
		}
		made++
		out := strings.TrimPrefix(name, "rpi-firmware/")
		job.From(out, "buildroot", "output/images/"+name)
		return job.Copy(ctx, fsys, name, out)
	})
	if err == nil && made == 0 || errors.Is(err, fs.ErrNotExist) {
		return job.At("buildroot.options", &Error{
			Text: "Buildroot made no image",
			Help: "ask for one: BR2_TARGET_ROOTFS_CPIO=y with BR2_TARGET_ROOTFS_CPIO_GZIP=y, BR2_LINUX_KERNEL=y, BR2_PACKAGE_RPI_FIRMWARE=y",
		})
	}
	return err
}

func leaveOut(name string, archives []string) bool {
	if slices.ContainsFunc(left, func(pattern string) bool { ok, _ := path.Match(pattern, name); return ok }) {
		return true
	}
	// "rootfs.cpio" lies beside "rootfs.cpio.gz".
	return slices.Contains(archives, name) && name != slices.MaxFunc(archives, strings.Compare)
}
