package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample has a file of one part, a file of two, and one in a folder.
func sample() Image {
	blob := func(s string) Blob { return Bytes([]byte(s)).Blob() }
	return Image{
		Name:   "pi4-netboot",
		Boards: []string{"pi4b", "cm4"},
		Config: blob("{}"),
		Files: []File{
			NewFile("overlays/disable-bt.dtbo", 0o644, blob("bt")),
			{Path: "initramfs.cpio.gz", Mode: 0o644, Digest: Sum([]byte("base+overlay")), Size: 12,
				Parts: []Blob{blob("base+"), blob("overlay")}},
			NewFile("boot.scr", 0o755, blob("#!ipxe <&>")),
		},
	}
}

// golden is the manifest of sample, to the byte. A change here changes the digest of
// every image that was ever built.
const golden = `{"annotations":{"io.piimg.boards":"pi4b,cm4","io.piimg.recipe":"pi4-netboot"},` +
	`"artifactType":"application/vnd.piimg.image.v1",` +
	`"config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",` +
	`"mediaType":"application/vnd.piimg.config.v1+json","size":2},` +
	`"layers":[` +
	`{"annotations":{"io.piimg.mode":"0755","org.opencontainers.image.title":"boot.scr"},` +
	`"digest":"sha256:1056aad470c5d0cc2a8cceeedbf50384a681682b3cd48ec7f3baa564be7da930","mediaType":"application/vnd.piimg.file.v1","size":10},` +
	`{"annotations":{"io.piimg.file-sha256":"sha256:ea489b19bbaf1b788821e0d2419dabc948eddfada565b6cb47fdfe6ae74f6ddd",` +
	`"io.piimg.mode":"0644","io.piimg.part":"0","io.piimg.path":"initramfs.cpio.gz",` +
	`"org.opencontainers.image.title":"initramfs.cpio.gz.part0"},` +
	`"digest":"sha256:11402e359d1e65255e0deb147252cc2e2188564a472f1aae5b28b9b55537f7be","mediaType":"application/vnd.piimg.file.v1","size":5},` +
	`{"annotations":{"io.piimg.file-sha256":"sha256:ea489b19bbaf1b788821e0d2419dabc948eddfada565b6cb47fdfe6ae74f6ddd",` +
	`"io.piimg.mode":"0644","io.piimg.part":"1","io.piimg.path":"initramfs.cpio.gz",` +
	`"org.opencontainers.image.title":"initramfs.cpio.gz.part1"},` +
	`"digest":"sha256:b4b33d2441645d4dd0a0694b5989a0a14a5cc22fe9865e6b7b7eae966e0de36c","mediaType":"application/vnd.piimg.file.v1","size":7},` +
	`{"annotations":{"io.piimg.mode":"0644","org.opencontainers.image.title":"overlays/disable-bt.dtbo"},` +
	`"digest":"sha256:5e73d6d7edd38daeae9f10721987e301e4d4b5421e88eb17063ac5a41b168273","mediaType":"application/vnd.piimg.file.v1","size":2}],` +
	`"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2}`

func TestManifestGolden(t *testing.T) {
	doc, err := EncodeManifest(sample())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(golden, string(doc)); diff != "" {
		t.Errorf("EncodeManifest, want -, got +:\n%s", diff)
	}
	if got, want := Sum(doc).String(), "sha256:a77a9a8aab893eaa19e1984e249f3f805a45dbf3206276c3936c44484ba91b83"; got != want {
		t.Errorf("digest = %s; want %s", got, want)
	}
}

func TestManifestRoundTrip(t *testing.T) {
	got, err := DecodeManifest([]byte(golden))
	if err != nil {
		t.Fatal(err)
	}
	want := sample()
	want.Digest = Sum([]byte(golden))
	want.Files[0], want.Files[2] = want.Files[2], want.Files[0] // sorted by path
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("DecodeManifest, want -, got +:\n%s", diff)
	}
	if f, ok := got.File("initramfs.cpio.gz"); !ok || len(f.Parts) != 2 {
		t.Errorf("File(initramfs.cpio.gz) = %+v, %v; want it with two parts", f, ok)
	}
	if _, ok := got.File("initramfs.cpio.gz.part0"); ok {
		t.Error("a part is visible as a file")
	}
}

func TestEncodeDoesNotDependOnOrder(t *testing.T) {
	i := sample()
	i.Files[0], i.Files[1] = i.Files[1], i.Files[0]
	before := i.Files[0].Path
	doc, err := EncodeManifest(i)
	if err != nil || string(doc) != golden {
		t.Errorf("EncodeManifest of the same files in another order = %s, %v", doc, err)
	}
	if i.Files[0].Path != before {
		t.Error("EncodeManifest sorted its caller's files")
	}
}

func TestEmptyImage(t *testing.T) {
	doc, err := EncodeManifest(Image{Name: "empty", Config: Bytes([]byte("{}")).Blob()})
	if err != nil || !bytes.Contains(doc, []byte(`"layers":[]`)) {
		t.Errorf("EncodeManifest of no files = %s, %v; want an empty list of layers, as OCI asks", doc, err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	blob := Bytes([]byte("x")).Blob()
	tests := []struct {
		name   string
		change func(*Image)
	}{
		{"traversal", func(i *Image) { i.Files[0].Path = "../x" }},
		{"absolute path", func(i *Image) { i.Files[0].Path = "/x" }},
		{"blank in path", func(i *Image) { i.Files[0].Path = "a b" }},
		{"same path twice", func(i *Image) { i.Files[0].Path = "boot.scr" }},
		{"mode", func(i *Image) { i.Files[0].Mode = 0o600 }},
		{"setuid", func(i *Image) { i.Files[0].Mode = 0o4755 }},
		{"no parts", func(i *Image) { i.Files[0].Parts = nil }},
		{"no digest", func(i *Image) { i.Files[1].Digest = Digest{} }},
		{"sum of sizes", func(i *Image) { i.Files[1].Size++ }},
		{"digest of the only part", func(i *Image) { i.Files[0].Digest = blob.Digest }},
		{"negative size", func(i *Image) { i.Files[0].Size, i.Files[0].Parts[0].Size = -1, -1 }},
		{"sizes that overflow", func(i *Image) {
			i.Files[1].Parts[0].Size, i.Files[1].Parts[1].Size, i.Files[1].Size = 1<<62, 1<<62, -1<<63
		}},
		{"no config", func(i *Image) { i.Config = Blob{} }},
		{"comma in a board", func(i *Image) { i.Boards = []string{"pi4b,cm4"} }},
		{"empty board", func(i *Image) { i.Boards = []string{""} }},
		{"escape sequence in the name", func(i *Image) { i.Name = "pi4\x1b[2J" }},
		{"line feed in a board", func(i *Image) { i.Boards = []string{"pi4b\n"} }},
		{"name that is no text", func(i *Image) { i.Name = "\xff" }},
		{"file named as a part", func(i *Image) { i.Files[0].Path = "initramfs.cpio.gz.part1" }},
		{"file that is a folder", func(i *Image) { i.Files[0].Path = "boot.scr/x" }},
		{"part that is a folder", func(i *Image) { i.Files[0].Path = "initramfs.cpio.gz.part0/x" }},
		{"split file that is a folder", func(i *Image) { i.Files[0].Path = "initramfs.cpio.gz/x" }},
		{"too many layers", func(i *Image) {
			for n := range maxLayers {
				i.Files = append(i.Files, NewFile(fmt.Sprintf("f%d", n), 0o644, blob))
			}
		}},
	}
	for _, tt := range tests {
		i := sample()
		tt.change(&i)
		if doc, err := EncodeManifest(i); err == nil {
			t.Errorf("%s: EncodeManifest = %s; want an error", tt.name, doc)
		}
	}
}

// TestDecodeRefuses changes the text of a good manifest.
func TestDecodeRefuses(t *testing.T) {
	swap := func(from, to string) func(string) string {
		return func(doc string) string { return strings.ReplaceAll(doc, from, to) }
	}
	tests := []struct {
		name   string
		change func(string) string
	}{
		{"empty", func(string) string { return "" }},
		{"null", func(string) string { return "null" }},
		{"list", func(string) string { return "[]" }},
		{"cut short", func(doc string) string { return doc[:len(doc)-1] }},
		{"line feed at the end", func(doc string) string { return doc + "\n" }},
		{"second document", func(doc string) string { return doc + "{}" }},
		{"over 4 MiB", func(doc string) string { return doc + strings.Repeat(" ", MaxManifestLen) }},
		{"white space", swap(`,"size"`, `, "size"`)},
		{"unknown field", swap(`"schemaVersion"`, `"manifests":[],"schemaVersion"`)},
		{"field twice", swap(`"schemaVersion":2`, `"schemaVersion":1,"schemaVersion":2`)},
		{"field in capitals", swap(`"layers"`, `"LAYERS"`)},
		{"both spellings", swap(`"mediaType":"application/vnd.oci`, `"Layers":[],"mediaType":"application/vnd.oci`)},
		{"unknown annotation", swap(`"io.piimg.recipe"`, `"io.piimg.extra":"","io.piimg.recipe"`)},
		{"unknown layer annotation", swap(`"io.piimg.mode":"0755"`, `"io.piimg.exec":"","io.piimg.mode":"0755"`)},
		{"schema version", swap(`"schemaVersion":2`, `"schemaVersion":1`)},
		{"index", swap("vnd.oci.image.manifest", "vnd.oci.image.index")},
		{"media type missing", swap(`"mediaType":"application/vnd.oci.image.manifest.v1+json",`, "")},
		{"newer artifact type", swap("piimg.image.v1", "piimg.image.v2")},
		{"config type", swap("piimg.config.v1", "piimg.config.v2")},
		{"layer type", swap("piimg.file.v1", "piimg.file.v2")},
		{"size is text", swap(`"size":2`, `"size":"2"`)},
		{"size is a fraction", swap(`"size":2`, `"size":2.5`)},
		{"size is negative", swap(`"size":2`, `"size":-2`)},
		{"sum of sizes overflows", swap(`"size":5`, `"size":9223372036854775807`)},
		{"digest in capitals", swap("44136fa", "44136FA")},
		{"digest too short", swap("sha256:44136fa", "sha256:4136fa")},
		{"digest algorithm", swap("sha256:44136fa", "sha512:44136fa")},
		{"digest empty", swap("sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", "")},
		{"mode missing", swap(`"io.piimg.mode":"0755",`, "")},
		{"mode without its zero", swap("0755", "755")},
		{"mode 0777", swap("0755", "0777")},
		{"traversal", swap("boot.scr", "../boot.scr")},
		{"hidden traversal", swap("overlays/", "overlays/../../")},
		{"absolute path", swap("boot.scr", "/boot.scr")},
		{"empty title", swap("boot.scr", "")},
		{"dot", swap(`"boot.scr"`, `"."`)},
		{"backslash", swap("overlays/", `overlays\\`)},
		{"NUL", swap("boot.scr", `boot\u0000scr`)},
		{"not ASCII", swap("boot.scr", "böot.scr")},
		{"256 bytes", swap("boot.scr", strings.Repeat("b", 256))},
		{"escape sequence in the name", swap("pi4-netboot", `pi4\u001b[2J`)},
		{"line feed in a board", swap("pi4b,cm4", `pi4b\n,cm4`)},
		{"same title twice", swap("overlays/disable-bt.dtbo", "boot.scr")},
		{"unsorted", swap("boot.scr", "zoot.scr")},
		{"file named as a part", swap("overlays/disable-bt.dtbo", "initramfs.cpio.gz.part0")},
		{"file that is a folder", swap("overlays/disable-bt.dtbo", "initramfs.cpio.gz/x")},
		{"part in the wrong place", swap(`"io.piimg.part":"1"`, `"io.piimg.part":"2"`)},
		{"part twice", swap(`"io.piimg.part":"1"`, `"io.piimg.part":"0"`)},
		{"part without its start", swap(`"io.piimg.part":"0"`, `"io.piimg.part":"1"`)},
		{"part number with a zero", swap(`"io.piimg.part":"1"`, `"io.piimg.part":"01"`)},
		{"part of another path", swap(`"io.piimg.part":"1","io.piimg.path":"initramfs`, `"io.piimg.part":"1","io.piimg.path":"initramgs`)},
		{"title of a part", swap("gz.part1", "gz.partB")},
		{"digest of the whole differs", func(doc string) string {
			return strings.Replace(doc, `"io.piimg.file-sha256":"sha256:`, `"io.piimg.file-sha256":"sha256:0`, 1)
		}},
		{"digests of the whole differ", func(doc string) string {
			at := strings.Index(doc, `"io.piimg.file-sha256":"sha256:`) + len(`"io.piimg.file-sha256":"sha256:`)
			return doc[:at] + strings.Repeat("0", 64) + doc[at+64:]
		}},
		{"one part alone", onePart},
		{"too many layers", func(doc string) string {
			start, end := strings.Index(doc, "[{")+1, strings.Index(doc, "}],")+1
			layer := doc[start : strings.Index(doc, "},{")+1]
			return doc[:start] + strings.Repeat(layer+",", maxLayers) + layer + doc[end:]
		}},
	}
	for _, tt := range tests {
		doc := tt.change(golden)
		if doc == golden {
			t.Errorf("%s: the manifest was not changed", tt.name)
		}
		if i, err := DecodeManifest([]byte(doc)); !errors.Is(err, ErrCorrupt) || i != nil {
			t.Errorf("%s: DecodeManifest = %v, %v; want nil and ErrCorrupt", tt.name, i, err)
		}
	}
}

// onePart leaves of the split file its first part, with the digest of this part.
func onePart(doc string) string {
	var m manifest
	if err := json.Unmarshal([]byte(doc), &m); err != nil {
		panic(err)
	}
	m.Layers = append(m.Layers[:2], m.Layers[3:]...)
	m.Layers[1].Annotations[sumKey] = m.Layers[1].Digest.String()
	out, err := canonical(m)
	if err != nil {
		panic(err)
	}
	return string(out)
}

// FuzzDecodeManifest: what is read is written back to the byte, and is safe to use.
func FuzzDecodeManifest(f *testing.F) {
	f.Add([]byte(golden))
	f.Add([]byte(onePart(golden)))
	f.Add([]byte(`{"layers":[],"manifests":[]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		i, err := DecodeManifest(doc)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("DecodeManifest = %v; want ErrCorrupt", err)
			}
			return
		}
		again, err := EncodeManifest(*i)
		if err != nil || !bytes.Equal(again, doc) {
			t.Errorf("EncodeManifest(DecodeManifest(%s)) = %s, %v", doc, again, err)
		}
		for _, f := range i.Files {
			if err := CheckPath(f.Path); err != nil {
				t.Error(err)
			}
		}
	})
}
