package lint

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strings"

	"piimg/pipeline/format/configtxt"
)

const (
	configName = "config.txt"
	maxRead    = 16 << 20 // bytes of a file that is read whole: config files, device trees, start*.elf
)

// image is the set of files, read on demand and once.
type image struct {
	files  fs.FS
	target Target
	root   []string // names in the boot folder itself, sorted
	cache  map[string][]byte
	config map[string][]configtxt.Line // config.txt and what any board includes
	order  []string                    // keys of config, in order of discovery

	ramdisk []byte                  // boot.img, where somebody has read it
	kernels map[string]*kernelFacts // nil for what is none
	ramfss  map[string]*ramfs       // by the names of their parts
	err     error                   // the first error that is not "does not exist"
}

func newImage(files fs.FS, target Target) (*image, error) {
	img := &image{
		files: files, target: target, cache: map[string][]byte{}, config: map[string][]configtxt.Line{},
		kernels: map[string]*kernelFacts{}, ramfss: map[string]*ramfs{},
	}
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() {
			img.root = append(img.root, e.Name())
		}
	}
	return img, nil
}

// size is the size of a file in bytes; ok is false where there is none.
func (img *image) size(name string) (n int64, ok bool) {
	if !fs.ValidPath(name) {
		return 0, false
	}
	info, err := fs.Stat(img.files, name)
	if err != nil {
		img.keep(err)
		return 0, false
	}
	return info.Size(), info.Mode().IsRegular()
}

func (img *image) exists(name string) bool {
	_, ok := img.size(name)
	return ok
}

// read is a whole file. Its error is fs.ErrNotExist or one that ends the check.
func (img *image) read(name string) ([]byte, error) {
	if data, ok := img.cache[name]; ok {
		return data, nil
	}
	data, err := img.head(name, maxRead)
	if err == nil {
		img.cache[name] = data
	}
	return data, err
}

// head is the beginning of a file.
func (img *image) head(name string, limit int64) ([]byte, error) {
	size, ok := img.size(name)
	if !ok {
		return nil, fs.ErrNotExist
	}
	f, err := img.files.Open(name)
	if err != nil {
		return nil, img.keep(err)
	}
	defer f.Close()
	data := bytes.NewBuffer(make([]byte, 0, min(size, limit)+bytes.MinRead))
	_, err = data.ReadFrom(io.LimitReader(f, limit))
	return data.Bytes(), img.keep(err)
}

// readConfig reads a config file and remembers its lines for the rules about text.
func (img *image) readConfig(name string) ([]byte, error) {
	data, err := img.read(name)
	if _, seen := img.config[name]; err == nil && !seen {
		img.config[name] = configtxt.Parse(name, data)
		img.order = append(img.order, name)
	}
	return data, err
}

// lines calls f for each line of each config file that the firmware looks at: up to the
// first byte that is not ASCII.
func (img *image) lines(f func(configtxt.Line)) {
	for _, name := range img.order {
		for _, l := range img.config[name] {
			f(l)
			if !isASCII(l.Text) {
				break
			}
		}
	}
}

// keep remembers the first error that is not about a missing file.
func (img *image) keep(err error) error {
	if err != nil && img.err == nil && !errors.Is(err, fs.ErrNotExist) {
		img.err = err
	}
	return err
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > 0x7f })
}
