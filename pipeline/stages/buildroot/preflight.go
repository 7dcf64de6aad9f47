package buildroot

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"piimg/pipeline/format/kconfig"
)

// paths are settings that name files or folders. Buildroot looks for most of them when all
// packages are built.
var paths = []string{
	"BR2_ROOTFS_OVERLAY", "BR2_ROOTFS_POST_BUILD_SCRIPT", "BR2_ROOTFS_POST_FAKEROOT_SCRIPT", "BR2_ROOTFS_POST_IMAGE_SCRIPT",
	"BR2_ROOTFS_DEVICE_TABLE", "BR2_ROOTFS_USERS_TABLES", "BR2_GLOBAL_PATCH_DIR", "BR2_ROOTFS_SKELETON_CUSTOM_PATH",
	"BR2_LINUX_KERNEL_CONFIG_FRAGMENT_FILES", "BR2_LINUX_KERNEL_CUSTOM_CONFIG_FILE", "BR2_PACKAGE_BUSYBOX_CONFIG",
	"BR2_PACKAGE_BUSYBOX_CONFIG_FRAGMENT_FILES", "BR2_PACKAGE_RPI_FIRMWARE_CONFIG_FILE", "BR2_PACKAGE_RPI_FIRMWARE_CMDLINE_FILE",
}

// preflight looks for what would end a build hours later.
func (s *Workspace) preflight(got kconfig.Config) error {
	if got["BR2_LINUX_KERNEL_CUSTOM_TARBALL"] == "y" && strings.Trim(got["BR2_LINUX_KERNEL_CUSTOM_TARBALL_LOCATION"], `"`) == "" {
		return &Error{
			Key: "buildroot.options", Text: "BR2_LINUX_KERNEL_CUSTOM_TARBALL_LOCATION is empty",
			Help: "Buildroot would download nothing and say nothing: name the kernel's tarball",
		}
	}
	var missing []string
	for _, name := range paths {
		for _, p := range strings.Fields(strings.Trim(got[name], `"`)) {
			full, ok := s.expand(p)
			if _, err := os.Stat(full); ok && err != nil {
				missing = append(missing, fmt.Sprintf("%s: %s does not exist", name, p))
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return &Error{
		Key: "buildroot.options", Text: strings.Join(missing, "; "),
		Help: "paths are relative to Buildroot's tree; $(BR2_EXTERNAL_NAME_PATH) stands for the folder of an external tree",
	}
}

var variable = regexp.MustCompile(`\$\(([A-Za-z0-9_]+)\)`)

// expand is where a path of the configuration lies, and whether we can tell.
func (s *Workspace) expand(p string) (string, bool) {
	known := true
	p = variable.ReplaceAllStringFunc(p, func(ref string) string {
		name := variable.FindStringSubmatch(ref)[1]
		i := slices.IndexFunc(s.external, func(dir string) bool { return "BR2_EXTERNAL_"+externalName(dir)+"_PATH" == name })
		switch {
		case i >= 0:
			return s.external[i]
		case name == "TOPDIR":
			return s.Tree
		}
		known = false
		return ref
	})
	if strings.Contains(p, "$") {
		known = false
	}
	if !filepath.IsAbs(p) {
		p = filepath.Join(s.Tree, p)
	}
	return p, known
}

// externalName is the name that an external tree gives itself.
func externalName(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, "external.desc"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "name:"); ok {
			return strings.TrimSpace(name)
		}
	}
	return ""
}
