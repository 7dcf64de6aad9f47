package serve

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"piimg/pipeline/format/initrd"
	"piimg/store"
)

// image is an image whose blobs are all in the cache, and what its config.txt says
// about the files that mark how far a boot has come.
type image struct {
	*store.Image
	kernels  map[string]bool // the last file of a boot
	ramdisks map[string]bool
	cmdlines map[string]bool
	tails    map[string]bool // the last file of an initramfs

	texts map[string]string // what config.txt and the command lines say, its first bytes

	sums  sums
	trees map[string]*initrd.Tree // guarded by sums.mu

	used   int64     // this and what follows is guarded by cache.mu
	seen   time.Time // when it was asked for last
	marked time.Time // when that was last noted on disk
}

// name is the image's digest, and zero where there is no image.
func (i *image) name() store.Digest {
	if i == nil {
		return store.Digest{}
	}
	return i.Digest
}

// maxConfig bounds the config.txt and the command lines that are looked at, in bytes. The
// firmware itself reads 4096 of them.
const maxConfig = 64 << 10

// defaultKernels are the names that the firmware tries by itself. boot.img is no
// kernel, but holds one: nothing is asked for after it but its signature.
var defaultKernels = []string{
	"kernel_2712.img", "kernel8.img", "kernel8_rt.img", "kernel8-32.img",
	"kernel7l.img", "kernel7.img", "kernel.img", "boot.img",
}

// opener opens a file of an image.
type opener func(store.File) (io.ReadCloser, error)

// newImage looks into img, whose small files open opens.
func newImage(img *store.Image, open opener) (*image, error) {
	i := &image{Image: img, kernels: map[string]bool{}, ramdisks: map[string]bool{}, cmdlines: map[string]bool{}, texts: map[string]string{}}
	if err := i.read("config.txt", open); err != nil {
		return nil, err
	}
	names := bootNames(i.texts["config.txt"])
	i.tails = tails(img, names)
	kernels := slices.Concat(names.kernels, defaultKernels)
	for _, p := range append(names.prefixes, "") {
		mark(i.kernels, p, kernels)
		mark(i.ramdisks, p, names.ramdisks)
		mark(i.cmdlines, p, cmdlines(names))
	}
	for name := range i.cmdlines {
		if err := i.read(name, open); err != nil {
			return nil, err
		}
	}
	return i, nil
}

// read keeps as much as is looked at of the file at name, where there is one.
func (i *image) read(name string, open opener) error {
	f, ok := i.File(name)
	if !ok {
		return nil
	}
	r, err := open(f)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxConfig))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	i.texts[name] = string(b)
	return nil
}

func mark(set map[string]bool, prefix string, names []string) {
	for _, name := range names {
		if abs, ok := strings.CutPrefix(name, "/"); ok {
			set[path.Clean(abs)] = true
			continue
		}
		set[path.Clean(prefix+name)] = true
	}
}

// configNames are the values of those keys of a config.txt that name boot files.
type configNames struct {
	kernels, ramdisks, prefixes, cmdlines []string

	last []string // of each list of ramdisks
	auto bool     // the ramdisk is found by the name of the kernel
}

// bootNames collects names under every filter: which one holds for a board is not
// known here, and no board asks for another's kernel to the end.
func bootNames(config string) configNames {
	var names configNames
	for line := range strings.Lines(config) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "initramfs "); ok {
			if word, _, _ := strings.Cut(strings.TrimSpace(rest), " "); word != "" {
				names.addRamdisks(word)
			}
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || value == "" {
			continue
		}
		switch key {
		case "kernel":
			names.kernels = append(names.kernels, value)
		case "ramfsfile":
			names.addRamdisks(value)
		case "cmdline":
			names.cmdlines = append(names.cmdlines, value)
		case "auto_initramfs":
			names.auto = value != "0"
		case "os_prefix":
			names.prefixes = append(names.prefixes, value)
		}
	}
	return names
}

// addRamdisks adds a list of them, of which the last one ends the initramfs.
func (n *configNames) addRamdisks(list string) {
	all := strings.Split(list, ",")
	n.ramdisks = append(n.ramdisks, all...)
	n.last = append(n.last, all[len(all)-1])
}
