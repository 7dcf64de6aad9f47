package fdt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/fdt/gomodtest"
)

const source = `/dts-v1/;
/memreserve/ 0x1000 0x2000;
/ {
	compatible = "raspberrypi,4-model-b", "brcm,bcm2711";
	model = "test";
	empty;
	soc {
		serial@7e201000 { reg = <0x7e201000 0x200>; };
		serial@7e215040 { status = "okay"; };
	};
};
`

// dtc runs the device tree compiler, which everything here is checked against.
func dtc(t testing.TB, in []byte, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("dtc"); err != nil {
		t.Fatal("dtc is needed to check device trees: apt-get install device-tree-compiler")
	}
	cmd := exec.CommandContext(t.Context(), "dtc", append([]string{"-q"}, args...)...)
	cmd.Stdin = bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("dtc %v: %v\n%s", args, err, stderr.Bytes())
	}
	return out
}

func compile(t testing.TB, dts string) []byte {
	return dtc(t, []byte(dts), "-I", "dts", "-O", "dtb", "-b", "3")
}

func TestParse(t *testing.T) {
	tree, err := Parse(compile(t, source))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"raspberrypi,4-model-b", "brcm,bcm2711"}, tree.Compatible()); diff != "" {
		t.Errorf("Compatible (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Reservation{{0x1000, 0x2000}}, tree.Reserved); diff != "" {
		t.Errorf("Reserved (-want +got):\n%s", diff)
	}
	if tree.Version != 17 || tree.BootCPU != 3 {
		t.Errorf("version %d, boot CPU %d; want 17 and 3", tree.Version, tree.BootCPU)
	}
	if got := tree.Root.Text("model"); got != "test" {
		t.Errorf("model = %q; want test", got)
	}
	if v, ok := tree.Root.Get("empty"); !ok || len(v) != 0 {
		t.Errorf("empty = %v, %v; want an empty property", v, ok)
	}
	if got := tree.Root.Strings("absent"); got != nil {
		t.Errorf("Strings(absent) = %q; want nil", got)
	}
	n := tree.Find("/soc/serial@7e201000")
	if n == nil {
		t.Fatal("the first serial port is not found")
	}
	if reg, _ := n.Get("reg"); !bytes.Equal(reg, []byte{0x7e, 0x20, 0x10, 0, 0, 0, 2, 0}) {
		t.Errorf("reg = %x", reg)
	}
	if tree.Find("/soc/nothing") != nil || tree.Find("/") != tree.Root {
		t.Error("Find of an absent node or of the root is wrong")
	}
}

func TestWalk(t *testing.T) {
	tree, err := Parse(compile(t, source))
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for path := range tree.Walk() {
		if path == "/soc/serial@7e215040" {
			break
		}
		paths = append(paths, path)
	}
	if diff := cmp.Diff([]string{"/", "/soc", "/soc/serial@7e201000"}, paths); diff != "" {
		t.Errorf("Walk (-want +got):\n%s", diff)
	}
}

// TestAgainstDTC reads real device trees and overlays, writes every byte of them as
// source and lets dtc compile that: the result must be what dtc makes of the original.
func TestAgainstDTC(t *testing.T) {
	dir := gomodtest.Dir(t, gomodtest.Kernel)
	for _, name := range []string{
		"bcm2710-rpi-3-b-plus.dtb", "bcm2711-rpi-4-b.dtb", "bcm2712-rpi-5-b.dtb",
		"overlays/overlay_map.dtb", "overlays/disable-bt.dtbo", "overlays/vc4-kms-v3d.dtbo",
	} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			tree, err := Parse(data)
			if err != nil {
				t.Fatal(err)
			}
			cpu := fmt.Sprint(tree.BootCPU)
			want := dtc(t, data, "-I", "dtb", "-O", "dtb", "-s", "-b", cpu)
			got := dtc(t, []byte(dts(tree)), "-I", "dts", "-O", "dtb", "-s", "-b", cpu)
			if !bytes.Equal(want, got) {
				t.Errorf("%s differs after being read by this package", name)
			}
		})
	}
}

// dts writes a tree as source, every value as bytes.
func dts(t *Tree) string {
	var b strings.Builder
	b.WriteString("/dts-v1/;\n")
	for _, r := range t.Reserved {
		fmt.Fprintf(&b, "/memreserve/ %#x %#x;\n", r.Address, r.Size)
	}
	writeNode(&b, t.Root)
	return b.String()
}

func writeNode(b *strings.Builder, n *Node) {
	name := n.Name
	if name == "" {
		name = "/"
	}
	fmt.Fprintf(b, "%s {\n", name)
	for _, p := range n.Properties {
		if len(p.Value) == 0 {
			fmt.Fprintf(b, "%s;\n", p.Name)
		} else {
			fmt.Fprintf(b, "%s = [%x];\n", p.Name, p.Value)
		}
	}
	for _, c := range n.Children {
		writeNode(b, c)
	}
	b.WriteString("};\n")
}

func TestParseErrors(t *testing.T) {
	good := compile(t, source)
	set := func(offset int, v uint32) []byte {
		b := bytes.Clone(good)
		binary.BigEndian.PutUint32(b[offset:], v)
		return b
	}
	tests := []struct {
		name string
		data []byte
	}{
		{"empty", nil},
		{"magic", set(0, 1)},
		{"size above the file", set(4, uint32(len(good)+1))},
		{"size above the limit", set(4, maxSize+1)},
		{"cut", good[:len(good)-1]},
		{"structure outside", set(8, uint32(len(good)+4))},
		{"structure not aligned", set(8, 57)},
		{"strings outside", set(12, uint32(len(good)+1))},
		{"reservations outside", set(16, 0xfffffff0)},
		{"version", set(20, 3)},
		{"last compatible version", set(24, 18)},
		{"size of strings", set(32, 0xffffffff)},
		{"size of structure", set(36, 0xffffffff)},
		{"structure too short", set(36, 8)},
		{"too deep", deep(maxDepth + 1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Parse(tt.data); !errors.Is(err, ErrFormat) {
				t.Errorf("Parse = %v; want ErrFormat", err)
			}
		})
	}
	if _, err := Parse(deep(maxDepth)); err != nil {
		t.Errorf("Parse of %d levels: %v", maxDepth, err)
	}
	if _, err := Parse(append(bytes.Clone(good), 1, 2, 3)); err != nil {
		t.Errorf("Parse with bytes after the end: %v", err)
	}
}

// deep is a tree of nested nodes.
func deep(levels int) []byte {
	var s []byte
	word := func(v uint32) { s = binary.BigEndian.AppendUint32(s, v) }
	for range levels {
		word(tokenBeginNode)
		word(0)
	}
	for range levels {
		word(tokenEndNode)
	}
	word(tokenEnd)
	const structure = headerSize + 16
	var b []byte
	total := uint32(structure + len(s))
	for _, v := range []uint32{magic, total, structure, total, headerSize, 17, 16, 0, 0, uint32(len(s)), 0, 0, 0, 0} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return append(b, s...)
}

func FuzzParse(f *testing.F) {
	f.Add(compile(f, source))
	f.Add(deep(3))
	f.Fuzz(func(t *testing.T, data []byte) {
		tree, err := Parse(data)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("error %v does not wrap ErrFormat", err)
			}
			return
		}
		for _, n := range tree.Walk() {
			n.Strings("compatible")
		}
	})
}
