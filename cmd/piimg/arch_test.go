package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// floors are the packages from the ground up: a package imports those on floors below
// its own, and of its own floor only what siblings lists. A pattern ending in /* stands
// for one folder below, the longest pattern that fits counts.
var floors = []struct {
	floor    int
	patterns []string
}{
	{0, []string{"pipeline/format/*"}},
	{1, []string{"store"}},
	{2, []string{"recipes", "store/mem", "store/disk", "store/s3", "store/peer", "store/split", "store/sign", "store/yank", "store/storetest"}},
	{3, []string{"pipeline", "pipeline/trees", "pipeline/lint", "pipeline/inspect", "store/env", "store/board", "store/gc", "store/fsck", "store/mirror", "store/layout", "store/near", "store/open", "store/probe", "store/s3/s3test", "store/serve", "store/serve/simpi", "cmd/piimg/config"}},
	{4, []string{"pipeline/stages/*", "pipeline/sources", "store/serve/tftp", "store/serve/web", "store/serve/servetest"}},
	{5, []string{"cmd/piimg", "cmd/piimg-agent", "pipeline/stages", "pipeline/stages/stagetest"}},
}

// siblings are imports within a floor that are meant.
var siblings = map[string][]string{
	"pipeline/format/codec":          {"pipeline/format/deflate"},                                                                            // gzip is deflate with a frame
	"pipeline/format/deb":            {"pipeline/format/codec"},                                                                              // the data archive is compressed
	"pipeline/format/initrd":         {"pipeline/format/codec", "pipeline/format/newc"},                                                      // an initramfs is archives in compressed members
	"pipeline/format/initrd/overlay": {"pipeline/format/initrd", "pipeline/format/initrd/repack", "pipeline/format/newc"},                    // what is to be added
	"pipeline/format/initrd/repack":  {"pipeline/format/codec", "pipeline/format/deflate", "pipeline/format/initrd", "pipeline/format/newc"}, // it writes one anew
	"pipeline/format/overlaymap":     {"pipeline/format/fdt"},                                                                                // the map is a device tree
	"pipeline/format/sdcard":         {"pipeline/format/fat", "pipeline/format/mbr"},                                                         // a disk is a partition table and a file system
	"pipeline/format/untar":          {"pipeline/format/codec"},                                                                              // archives are compressed
	"pipeline/stages/initramfs":      {"pipeline/stages/uroot"},                                                                              // the name of its output
	"store/gc":                       {"store/board", "store/env"},                                                                           // what their histories keep
	"store/fsck":                     {"store/board", "store/env"},                                                                           // what entries of logs say
	"cmd/piimg":                      {"pipeline/stages"},                                                                                    // the list of stages
}

// storeFree is what nothing below store may import: a front end needs no toolchain.
var storeFree = []string{"pipeline", "pipeline/trees", "pipeline/lint", "pipeline/inspect", "pipeline/sources", "pipeline/stages", "recipes"}

// homes are libraries with the packages that may import them.
var homes = map[string][]string{
	"github.com/minio/minio-go/v7":        {"store/s3"},
	"github.com/cavaliergopher/cpio":      {"pipeline/format/newc"},
	"github.com/klauspost/compress":       {"pipeline/format/codec"},
	"github.com/ulikunitz/xz":             {"pipeline/format/codec"},
	"github.com/pierrec/lz4/v4":           {"pipeline/format/codec"},
	"github.com/BurntSushi/toml":          {"recipes", "cmd/piimg/config"},
	"github.com/pin/tftp/v3":              {}, // a client and a server of tests
	"github.com/prometheus/client_golang": {"store/serve"},
	"github.com/insomniacslk/dhcp":        {"cmd/piimg-agent"},
	"github.com/vishvananda/netlink":      {"cmd/piimg-agent"},
	"github.com/spf13/cobra":              {"cmd/piimg"},
	"golang.org/x/crypto":                 {"store/sign"},
	"golang.org/x/term":                   {"cmd/piimg"},
	"golang.org/x/sys":                    {"store/serve/tftp", "cmd/piimg"},
	"gopkg.in/ini.v1":                     {"store/s3"},
}

type pkg struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "piimg/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, "piimg/")
		all = append(all, p)
	}
	return all
}

// floorOf is the floor of a package, and -1 for one that has none yet.
func floorOf(path string) int {
	found, length := -1, 0
	for _, f := range floors {
		for _, pattern := range f.patterns {
			dir, wild := strings.CutSuffix(pattern, "/*")
			fits := path == pattern
			if wild {
				fits = strings.HasPrefix(path, dir+"/")
			}
			if fits && len(pattern) > length {
				found, length = f.floor, len(pattern)
			}
		}
	}
	return found
}

func TestImportsGoDown(t *testing.T) {
	for _, p := range packages(t) {
		own := floorOf(p.ImportPath)
		if own < 0 {
			t.Errorf("%s has no floor: give it one in arch_test.go", p.ImportPath)
			continue
		}
		for _, i := range p.Imports {
			path, ours := strings.CutPrefix(i, "piimg/")
			if !ours {
				continue
			}
			if floor := floorOf(path); floor >= own && !slices.Contains(siblings[p.ImportPath], path) {
				t.Errorf("%s (floor %d) imports %s (floor %d): declare a small interface where it is needed and let cmd/piimg wire it", p.ImportPath, own, path, floor)
			}
		}
	}
}

// The top level is fixed: what is new finds its place below.
func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir("../..")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Makefile", "README.md", "cmd", "go.mod", "go.sum", "pipeline", "recipes", "store"}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(want, e.Name()) {
			t.Errorf("%s lies at the top level, where only %s do", e.Name(), strings.Join(want, ", "))
		}
	}
}

func TestStoreNeedsNoPipeline(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath != "store" && !strings.HasPrefix(p.ImportPath, "store/") {
			continue
		}
		for _, i := range p.Imports {
			path, _ := strings.CutPrefix(i, "piimg/")
			for _, banned := range storeFree {
				if path == banned || (banned != "pipeline" && strings.HasPrefix(path, banned+"/")) {
					t.Errorf("%s imports %s: a host that serves boards has no toolchain and no recipes", p.ImportPath, path)
				}
			}
		}
	}
}

func TestLibrariesHaveOneHome(t *testing.T) {
	for _, p := range packages(t) {
		for _, i := range p.Imports {
			for library, home := range homes {
				if (i == library || strings.HasPrefix(i, library+"/")) && !inAny(p.ImportPath, home) {
					t.Errorf("%s imports %s, whose home is %s", p.ImportPath, i, strings.Join(home, " and "))
				}
			}
		}
	}
}

func inAny(path string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool { return path == d || strings.HasPrefix(path, d+"/") })
}
