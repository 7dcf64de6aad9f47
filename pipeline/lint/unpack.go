package lint

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"piimg/pipeline/format/arm64"
	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

// ramfs is what a kernel makes of the parts of an initramfs.
type ramfs struct {
	tree  *initrd.Tree
	err   error    // in the place of tree: it asks for too much
	names []string // of the parts
	ends  []int64  // offsets behind each, padding included
}

// unpackable looks into the initramfs as the kernel does that will unpack it.
func unpackable(r *report, v *view) {
	if v.outer() || len(v.files.Initramfs) == 0 {
		return
	}
	i, ok := v.ramfs(v.files.Initramfs)
	switch {
	case !ok: // P05
	case i.err != nil:
		r.error(i.names[0], 0, "look at it with piimg initramfs stat; [initramfs.limits] raises limits", "%v", i.err)
	default:
		treeProblems(r, i)
		name, there := v.chosen(v.files.Kernels)
		if k, ok := v.kernel(name); ok && v.files.Arm64 {
			compression(r, name, k, i)
		} else if there && !v.files.Arm64 {
			compression(r, name, &kernelFacts{}, i) // a zImage, which packs what it has to say
		}
	}
}

const maxDropped = 5 // findings about dropped entries: the rest is counted

func treeProblems(r *report, i *ramfs) {
	dropped := 0
	for _, p := range i.tree.Problems {
		switch {
		case p.Stop:
			r.error(i.part(p.Archive), 0, "build it anew: what comes before is there and the rest is not, and the board boots on with that", "the kernel stops to unpack: %s", p.Text)
		case dropped < maxDropped:
			r.warn(i.part(p.Archive), 0, "", "%s", p)
			fallthrough
		default:
			dropped++
		}
	}
	if dropped > maxDropped {
		r.warn(i.names[0], 0, "piimg initramfs stat lists all", "%d more entries are not what they look like", dropped-maxDropped)
	}
}

// part is the file that an archive, from 1 on, begins in.
func (i *ramfs) part(archive int) string {
	if archive > len(i.tree.Members) {
		return i.names[len(i.names)-1]
	}
	for n, end := range i.ends {
		if i.tree.Members[archive-1].Offset < end {
			return i.names[n]
		}
	}
	return i.names[len(i.names)-1]
}

// options of the kernel (usr/Kconfig) that unpack, with the first release that has them
// where that is not ages ago.
var options = map[codec.Format]struct {
	name  string
	since [2]int
}{
	codec.Gzip: {"RD_GZIP", [2]int{}}, codec.Bzip2: {"RD_BZIP2", [2]int{}}, codec.LZMA: {"RD_LZMA", [2]int{}},
	codec.XZ: {"RD_XZ", [2]int{2, 6}}, codec.LZ4: {"RD_LZ4", [2]int{3, 11}}, codec.Zstd: {"RD_ZSTD", [2]int{5, 9}},
}

const hintGzip = `set compression = "gzip" in [initramfs], or take another kernel`

// compression says whether the kernel knows how each member is compressed.
func compression(r *report, kernel string, k *kernelFacts, i *ramfs) {
	if k.config != nil && !k.config.On("BLK_DEV_INITRD") {
		r.error(kernel, 0, "take a kernel with it", "was built without CONFIG_BLK_DEV_INITRD, and takes no initramfs")
		return
	}
	for n, m := range i.tree.Members {
		option, known := options[m.Format]
		file := i.part(n + 1)
		switch {
		case !known: // plain, which every kernel unpacks
		case k.config != nil && !k.config.On(option.name):
			r.error(file, 0, hintGzip, "archive %d is compressed with %s, and %s was built without CONFIG_%s", n+1, m.Format, kernel, option.name)
		case k.config == nil && k.olderThan(option.since):
			r.error(file, 0, hintGzip, "archive %d is compressed with %s, which kernels know since %d.%d; %s is %s", n+1, m.Format, option.since[0], option.since[1], kernel, k.release)
		case k.config == nil && m.Format == codec.Zstd:
			r.warn(file, 0, "try it, or "+hintGzip, "archive %d is compressed with zstd: %s does not hold its configuration, so that nobody can see whether it has CONFIG_RD_ZSTD", n+1, kernel)
		}
	}
}

// kernelFacts are what an image says of itself.
type kernelFacts struct {
	release string       // "" where it does not say
	config  arm64.Config // nil where it does not say
}

// olderThan compares the release, as far as it is known.
func (k *kernelFacts) olderThan(since [2]int) bool {
	var major, minor int
	if n, _ := fmt.Sscanf(k.release, "%d.%d", &major, &minor); n != 2 {
		return false
	}
	return major < since[0] || major == since[0] && minor < since[1]
}

// kernel is what an image says of itself, read once; false where it is no arm64 image.
func (img *image) kernel(name string) (*kernelFacts, bool) {
	if k, ok := img.kernels[name]; ok {
		return k, k != nil
	}
	head, err := img.head(name, kernelHead)
	if err == nil {
		_, err = arm64.ParseHeader(head)
	}
	img.kernels[name] = nil
	if err != nil {
		return nil, false
	}
	k := &kernelFacts{}
	img.unpacked(name, func(r io.Reader) (err error) { k.release, err = arm64.Release(r); return err })
	img.unpacked(name, func(r io.Reader) (err error) { k.config, err = arm64.ReadConfig(r); return err })
	img.kernels[name] = k
	return k, true
}

// unpacked reads a kernel, compressed or not. What cannot be found in it stays unknown.
func (img *image) unpacked(name string, read func(io.Reader) error) {
	f, err := img.files.Open(name)
	if err != nil {
		_ = img.keep(err)
		return
	}
	defer f.Close()
	in := bufio.NewReader(f)
	if magic, _ := in.Peek(2); codec.Detect(magic) != codec.Gzip {
		_ = read(in)
		return
	}
	if z, _, err := codec.NewReader(in); err == nil {
		defer z.Close()
		_ = read(z)
	}
}

// ramfs reads the parts of an initramfs, once; false where one of them is missing.
func (img *image) ramfs(names []string) (*ramfs, bool) {
	key := strings.Join(names, "\x00")
	if i, ok := img.ramfss[key]; ok {
		return i, true
	}
	i := &ramfs{names: names}
	parts := &parts{files: img.files}
	var end int64
	for _, name := range names {
		n, ok := img.size(name)
		if !ok {
			return nil, false
		}
		end += n + initrd.Padding(n) // as firmware of today lays them behind each other
		i.ends = append(i.ends, end)
		parts.names = append(parts.names, name)
	}
	defer parts.close()
	i.tree, i.err = initrd.ReadTree(parts, img.target.Limits)
	if i.err != nil && !errors.Is(i.err, newc.ErrLimit) {
		_ = img.keep(i.err)
	}
	img.ramfss[key] = i
	return i, true
}

// parts reads files one behind the other, each padded with NUL bytes.
type parts struct {
	files fs.FS
	names []string // of those that were not opened yet
	open  fs.File
	n     int64 // bytes of the open one
	pad   int64 // bytes to come
}

func (p *parts) Read(b []byte) (int, error) {
	for {
		switch {
		case p.pad > 0:
			n := min(int64(len(b)), p.pad)
			clear(b[:n])
			p.pad -= n
			return int(n), nil
		case p.open == nil && len(p.names) == 0:
			return 0, io.EOF
		case p.open == nil:
			f, err := p.files.Open(p.names[0])
			if err != nil {
				return 0, err
			}
			p.open, p.n, p.names = f, 0, p.names[1:]
		}
		n, err := p.open.Read(b)
		p.n += int64(n)
		if err == io.EOF {
			p.close()
			p.pad, err = initrd.Padding(p.n), nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (p *parts) close() {
	if p.open != nil {
		p.open.Close()
		p.open = nil
	}
}
