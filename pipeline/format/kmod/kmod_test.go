package kmod

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// module is an ELF file with what a module says of itself. info are lines of .modinfo,
// split at spaces where "·" stands for a space inside.
func module(info string, exports, needs []string) []byte {
	var modinfo []byte
	for line := range strings.FieldsSeq(info) {
		modinfo = append(append(modinfo, strings.ReplaceAll(line, "·", " ")...), 0)
	}
	strtab := []byte{0}
	var symtab bytes.Buffer
	_ = binary.Write(&symtab, binary.LittleEndian, elf.Sym64{})
	for _, name := range needs {
		_ = binary.Write(&symtab, binary.LittleEndian, elf.Sym64{Name: uint32(len(strtab)), Info: byte(elf.STB_GLOBAL) << 4})
		strtab = append(append(strtab, name...), 0)
	}
	return object(elf.EM_AARCH64, []section{
		{".modinfo", elf.SHT_PROGBITS, modinfo, 0},
		{"__ksymtab_strings", elf.SHT_PROGBITS, []byte(strings.Join(exports, "\x00") + "\x00"), 0},
		{".symtab", elf.SHT_SYMTAB, symtab.Bytes(), 4},
		{".strtab", elf.SHT_STRTAB, strtab, 0},
	})
}

type section struct {
	name string
	kind elf.SectionType
	data []byte
	link uint32
}

// object is a relocatable ELF file: the header, the sections and the table of sections.
func object(machine elf.Machine, sections []section) []byte {
	names := []byte{0}
	heads := []elf.Section64{{}}
	body := []byte{}
	for _, s := range append(sections, section{name: ".shstrtab", kind: elf.SHT_STRTAB}) {
		h := elf.Section64{Name: uint32(len(names)), Type: uint32(s.kind), Off: uint64(64 + len(body)), Link: s.link}
		names = append(append(names, s.name...), 0)
		if s.name == ".shstrtab" {
			s.data = names
		}
		h.Size = uint64(len(s.data))
		if s.kind == elf.SHT_SYMTAB {
			h.Entsize, h.Addralign = elf.Sym64Size, 8
		}
		body = append(body, s.data...)
		heads = append(heads, h)
	}
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_REL), Machine: uint16(machine), Version: 1, Shoff: uint64(64 + len(body)),
		Ehsize: 64, Shentsize: 64, Shnum: uint16(len(heads)), Shstrndx: uint16(len(heads) - 1),
	})
	b.Write(body)
	_ = binary.Write(&b, binary.LittleEndian, heads)
	return b.Bytes()
}

func TestParse(t *testing.T) {
	m, err := Parse("kernel/net/a-b.ko.xz", module(
		"license=GPL depends=c-d,e softdep=pre:·f-g·h·post:·i·pre:·j vermagic=6.1.0·SMP alias=x[a-c]-y",
		[]string{"out"}, []string{"in", ".dot"}))
	if err != nil {
		t.Fatal(err)
	}
	got := [][]string{{m.Name(), m.Plain(), m.Release()}, m.Depends(), m.PreSoftdeps(), m.Exports, m.Needs, {normal(m.values("alias")[0])}}
	want := [][]string{{"a_b", "kernel/net/a-b.ko", "6.1.0"}, {"c_d", "e"}, {"f_g", "h", "j"}, {"out"}, {"in", "dot"}, {"x[a-c]_y"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Parse (-want +got):\n%s", d)
	}
}

func TestNoModule(t *testing.T) {
	for want, data := range map[string][]byte{
		"no ELF file: ": []byte("hello"),
		"an ELF file for X86_64, not for 64-bit ARM":    object(elf.EM_X86_64, nil),
		"an ELF file, but no kernel module":             object(elf.EM_AARCH64, nil),
		"no ELF file: EOF":                              nil,
		"no ELF file: bad magic number '[31 139 8 0]' ": {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
	} {
		if _, err := Parse("a.ko", data); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Parse = %v, want %s", err, want)
		}
	}
}

// tree is a release with these modules, by path.
func tree(modules map[string][]byte) fstest.MapFS {
	fsys := fstest.MapFS{"kernel": {Mode: 0o755 | 1<<31}}
	for name, data := range modules {
		fsys[name] = &fstest.MapFile{Data: data}
	}
	return fsys
}

func paths(s *Set) []string {
	var all []string
	for _, m := range s.Modules {
		all = append(all, m.Path)
	}
	return all
}

func TestSelect(t *testing.T) {
	fsys := tree(map[string][]byte{
		"kernel/fs/nfs/nfs.ko":        module("depends=lockd,sunrpc", nil, nil),
		"kernel/fs/lockd/lockd.ko":    module("depends=sunrpc,built-in", nil, nil),
		"kernel/net/sunrpc.ko":        module("depends=", nil, nil),
		"kernel/fs/btrfs/btrfs.ko":    module("softdep=pre:·crypto-crc32c·missing·by-alias·snd-pcm·post:·nfs", nil, nil),
		"kernel/crypto/aliased.ko":    module("alias=by-alias alias=crypto-crc32c", nil, nil),
		"kernel/sound/snd-pcm.ko":     module("x=y", nil, nil),
		"kernel/sound/snd-usb.ko":     module("x=y", nil, nil),
		"kernel/net/dup.ko":           module("x=y", nil, nil),
		"updates/dkms/dup.ko":         module("x=y", nil, nil),
		"build/scripts/not-looked.ko": []byte("junk"),
		"modules.builtin":             []byte("kernel/lib/built-in.ko\nkernel/lib/other.ko\n"),
		"modules.order":               []byte("kernel/sound/snd-usb.ko\nkernel/fs/nfs/nfs.ko\n"),
		"modules.builtin.modinfo":     []byte("other.alias=crypto-crc32c\x00other.license=GPL\x00"),
	})
	for _, tt := range []struct{ patterns, want, builtin string }{
		{"nfs", "kernel/fs/nfs/nfs.ko kernel/fs/lockd/lockd.ko kernel/net/sunrpc.ko", ""},
		{"sunrpc", "kernel/net/sunrpc.ko", ""},
		{"snd_*", "kernel/sound/snd-usb.ko kernel/sound/snd-pcm.ko", ""},
		{"snd-p[a-d]m", "kernel/sound/snd-pcm.ko", ""},
		{"kernel/sound kernel/sound/", "kernel/sound/snd-usb.ko kernel/sound/snd-pcm.ko", ""},
		{"kernel/*/snd-usb.ko", "kernel/sound/snd-usb.ko", ""},
		{"btrfs", "kernel/crypto/aliased.ko kernel/fs/btrfs/btrfs.ko kernel/sound/snd-pcm.ko", ""},
		{"dup", "updates/dkms/dup.ko", ""},
		{"built_in", "", "built_in"},
		{"kernel/lib kernel/lib/o*", "", "kernel/lib kernel/lib/o*"},
		{"", "", ""},
	} {
		s, err := open(t, fsys).Select(strings.Fields(tt.patterns))
		if err != nil {
			t.Errorf("Select(%s): %v", tt.patterns, err)
			continue
		}
		if got := strings.Join(paths(s), " "); got != tt.want || strings.Join(s.Builtin, " ") != tt.builtin {
			t.Errorf("Select(%s) = %s and %q, want %s and %q", tt.patterns, got, s.Builtin, tt.want, tt.builtin)
		}
	}
}

// Where depmod was run once, aliases come from its list, and no module is read for them.
func TestAliasesFromDepmodsList(t *testing.T) {
	fsys := tree(map[string][]byte{
		"kernel/a.ko":   module("softdep=pre:·some-alias", nil, nil),
		"kernel/b-c.ko": module("x=y", nil, nil),
		"kernel/d.ko":   []byte("junk"),
		"modules.alias": []byte("# comment\nalias some-alias b-c\n"),
	})
	if got := paths(sel(t, open(t, fsys), "a")); !slices.Equal(got, []string{"kernel/a.ko", "kernel/b-c.ko"}) {
		t.Errorf("Select(a) = %v", got)
	}
}

func TestSelectRefuses(t *testing.T) {
	fsys := tree(map[string][]byte{
		"kernel/needy.ko":  module("depends=gone", nil, nil),
		"kernel/junk.ko":   []byte("junk"),
		"kernel/a/twin.ko": module("x=y", nil, nil),
		"kernel/b/twin.ko": module("x=y", nil, nil),
	})
	for pattern, want := range map[string]string{
		"needy": "kernel/needy.ko needs module gone, which is not there",
		"junk":  "kernel/junk.ko: no ELF file: ",
		"twin":  "module twin is in more than one file: kernel/a/twin.ko, kernel/b/twin.ko",
		"[a":    `pattern "[a": syntax error in pattern`,
	} {
		if _, err := open(t, fsys).Select([]string{pattern}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Select(%s) = %v, want %s", pattern, err, want)
		}
	}
}

func TestUnknown(t *testing.T) {
	for _, tt := range []struct{ pattern, want, hint string }{
		{"bluetoth", `module "bluetoth" is none of the 175 modules, nor of the 890 that are built in`, "did you mean bluetooth?"},
		{"bcm-cast", `module "bcm-cast" `, "did you mean bcm_asp?"},
		{"*uvcvid*", "", ""},
		{"hci*", "", ""},
		{"uvcvid-*", `pattern "uvcvid-*" `, "did you mean "},
		{"bcmgenet", `module "bcmgenet" `, "did you mean genet"},
		{"zzzzzzzz", `module "zzzzzzzz" `, "the names are those of the files below kernel/, without .ko"},
		{"kernel/nothing", `pattern "kernel/nothing" `, "the names are "},
	} {
		_, err := realTree(t).Select([]string{tt.pattern})
		var unknown *UnknownError
		if tt.want == "" {
			if err != nil {
				t.Errorf("Select(%s) = %v", tt.pattern, err)
			}
			continue
		}
		if !errors.As(err, &unknown) {
			t.Errorf("Select(%s) = %v, want an UnknownError", tt.pattern, err)
			continue
		}
		if !strings.HasPrefix(err.Error(), tt.want) || !strings.HasPrefix(unknown.Hint(), tt.hint) {
			t.Errorf("Select(%s) = %v (%v), want %s (%s)", tt.pattern, err, unknown.Hint(), tt.want, tt.hint)
		}
	}
}

func TestCircle(t *testing.T) {
	s := sel(t, open(t, tree(map[string][]byte{
		"kernel/a.ko": module("x=y", []string{"from_a"}, []string{"from_b"}),
		"kernel/b.ko": module("x=y", []string{"from_b"}, []string{"from_a"}),
		"kernel/c.ko": module("x=y", nil, nil),
	})), "*")
	_, err := s.Files((*Module).Plain)
	if err == nil || err.Error() != "modules need each other in a circle: a, b" {
		t.Errorf("Files = %v", err)
	}
}

// What depmod makes of corner cases: aliases with brackets, open ones too, device nodes,
// values that are the same, nothing built in, and modules that modules.order leaves out.
func TestDepmodWritesTheSameOfOddities(t *testing.T) {
	fsys := tree(map[string][]byte{
		"kernel/a.ko":             module("alias=usb:v[0-9]*d-* alias=open[x alias=close]x alias=same alias=devname:net/tun alias=char-major-10-200", []string{"s1", "s2"}, nil),
		"kernel/b.ko":             module("alias=same alias=same alias=sam alias=samestart softdep=pre:·a softdep=post:·c", []string{"s3"}, []string{"s2", "unknown"}),
		"kernel/c.ko":             module("alias=devname:no-number alias=block-major-7-*", nil, []string{"s3", "s1"}),
		"kernel/d.ko":             module("alias=block-major-7-1 alias=devname:loop/control", nil, nil),
		"modules.builtin":         []byte("kernel/x-y.ko\nkernel/x-z.ko\nkernel/x.ko\n"),
		"modules.builtin.modinfo": []byte("x_y.alias=one-two\x00x.alias=one-two\x00x.alias=bad[\x00x.file=f\x00"),
		"modules.order":           []byte("kernel/d.ko\nkernel/gone.ko\nkernel/a.ko\n"),
	})
	s := sel(t, open(t, fsys), "*")
	if got := strings.Join(paths(s), " "); got != "kernel/d.ko kernel/a.ko kernel/b.ko kernel/c.ko" {
		t.Errorf("order is %s", got)
	}
	sameAsDepmod(t, s)
}

func TestCompressedModules(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(module("depends=b", []string{"s"}, nil))
	_ = z.Close()
	fsys := tree(map[string][]byte{
		"kernel/a.ko.gz": packed.Bytes(),
		"kernel/b.ko.xz": module("x=y", nil, []string{"s"}), // kept apart by unpack, not by its bytes
		"modules.order":  []byte("kernel/b.ko\nkernel/a.ko\n"),
	})
	tr, err := Open(fsys, func(r io.Reader) (io.ReadCloser, error) {
		if path.Ext(r.(interface{ Name() string }).Name()) == ".xz" {
			return io.NopCloser(r), nil
		}
		return gzip.NewReader(r)
	})
	if err != nil {
		t.Fatal(err)
	}
	s := sel(t, tr, "a")
	for _, tt := range []struct {
		at   func(*Module) string
		want string
	}{
		{(*Module).Plain, "kernel/b.ko: kernel/a.ko\nkernel/a.ko:\n"},
		{func(m *Module) string { return m.Path }, "kernel/b.ko.xz: kernel/a.ko.gz\nkernel/a.ko.gz:\n"},
	} {
		files, err := s.Files(tt.at)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if f.Name == "modules.dep" && string(f.Data) != tt.want {
				t.Errorf("modules.dep is %q, want %q", f.Data, tt.want)
			}
			if f.Name == "modules.order" && string(f.Data) != "kernel/b.ko\nkernel/a.ko\n" {
				t.Errorf("modules.order is %q", f.Data)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(module("depends=a,b softdep=pre:·c", []string{"x"}, []string{"y"}))
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse("kernel/fuzz.ko", data)
		if err != nil {
			return
		}
		s := &Set{Modules: []*Module{m}, tree: &Tree{fsys: fstest.MapFS{}}}
		_, _ = s.Files((*Module).Plain)
		_, _ = m.Depends(), m.PreSoftdeps()
	})
}

func FuzzIndex(f *testing.F) {
	f.Add("abc abd ab b abc")
	f.Fuzz(func(t *testing.T, keys string) {
		var x index
		want := map[string]int{}
		for _, k := range strings.Fields(keys) {
			if err := x.insert(k, k, 0); err != nil {
				return
			}
			want[k]++
		}
		b, err := x.bytes()
		if err != nil {
			t.Fatal(err)
		}
		for k, n := range want {
			if got := lookup(b, k); got != n {
				t.Errorf("%q has %d values, want %d", k, got, n)
			}
		}
	})
}

// lookup reads an index as libkmod does, and returns the number of values of key.
func lookup(b []byte, key string) int {
	at := binary.BigEndian.Uint32(b[8:])
	for {
		node := b[at&maxOffset:]
		if at&hasPrefix != 0 {
			prefix, rest, _ := bytes.Cut(node, []byte{0})
			if !strings.HasPrefix(key, string(prefix)) {
				return 0
			}
			key, node = key[len(prefix):], rest
		}
		var children []byte
		if at&hasChilds != 0 {
			n := 2 + 4*(int(node[1])-int(node[0])+1)
			children, node = node[:n], node[n:]
		}
		switch {
		case key == "" && at&hasValues != 0:
			return int(binary.BigEndian.Uint32(node))
		case key == "" || children == nil || key[0] < children[0] || key[0] > children[1]:
			return 0
		}
		at = binary.BigEndian.Uint32(children[2+4*int(key[0]-children[0]):])
		if at == 0 {
			return 0
		}
		key = key[1:]
	}
}
