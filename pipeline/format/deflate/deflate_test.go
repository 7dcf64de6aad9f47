package deflate

import (
	"bufio"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	kflate "github.com/klauspost/compress/flate"
)

// text compresses to blocks of some 100 KB each.
func text(n int) (b []byte) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for len(b) < n {
		b = fmt.Appendf(b, "line %d of %x\n", rnd.Uint32()%5000, rnd.Uint32()%70000)
	}
	return b
}

// samples compress well, badly and not at all.
func samples() map[string][]byte {
	rnd := rand.New(rand.NewPCG(3, 4))
	noise := make([]byte, 100_000)
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	text := text(1 << 20)
	return map[string][]byte{
		"empty": nil, "byte": []byte("x"), "noise": noise, "text": text,
		"zeros": make([]byte, 400_000), "mixed": append(append(bytes.Clone(text[:300_000]), noise...), text[:200_000]...),
	}
}

func pack(t testing.TB, b []byte, level int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// zlib is the stream of gzip -n: no name, so that the header has 10 bytes.
func zlib(t testing.TB, b []byte, level string) []byte {
	t.Helper()
	cmd := exec.Command("gzip", "-nc", level)
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out[10 : len(out)-8]
}

func unpack(r *Reader) (plain []byte, blocks []Block, err error) {
	for {
		chunk, b, err := r.Next()
		if err == io.EOF {
			return plain, blocks, nil
		}
		if err != nil {
			return plain, blocks, err
		}
		plain = append(plain, chunk...)
		if b.Bit >= 0 {
			blocks = append(blocks, b)
		}
	}
}

// streams are the samples and what encoders make of them, made once.
func streams(t testing.TB) map[string][2][]byte {
	made.Do(func() { made.all = encode(t) })
	return made.all
}

var made struct {
	sync.Once
	all map[string][2][]byte
}

func encode(t testing.TB) map[string][2][]byte {
	all := map[string][2][]byte{}
	for name, b := range samples() {
		for _, level := range []int{0, 1, 6, 9, flate.HuffmanOnly} {
			all[fmt.Sprintf("%s, flate %d", name, level)] = [2][]byte{b, pack(t, b, level)}
		}
		for _, level := range []string{"-1", "-9"} {
			all[name+", gzip "+level] = [2][]byte{b, zlib(t, b, level)}
		}
	}
	return all
}

func TestReaderAgreesWithTheStandardLibrary(t *testing.T) {
	for name, s := range streams(t) {
		want, packed := s[0], s[1]
		for _, src := range []io.Reader{
			io.MultiReader(bytes.NewReader(packed), bytes.NewReader([]byte("behind"))),
			iotest.OneByteReader(bytes.NewReader(packed)),
			iotest.DataErrReader(bytes.NewReader(packed)),
		} {
			r := NewReader(src)
			got, blocks, err := unpack(r)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %d of %d bytes, %v", name, len(got), len(want), err)
			}
			if r.Used() != int64(len(packed)) {
				t.Errorf("%s: %d bytes used of %d", name, r.Used(), len(packed))
			}
			at, bit := int64(0), int64(0)
			for _, b := range blocks {
				if b.Start != at || b.Bit != bit || b.Reach > b.Start || b.Reach < b.Start-window {
					t.Errorf("%s: block %+v behind byte %d, bit %d", name, b, at, bit)
				}
				at, bit = b.End, b.BitEnd
			}
		}
	}
}

// Blocks that are copied behind others, at every bit offset, decode as they did.
func TestWriterCopiesBlocks(t *testing.T) {
	for name, s := range streams(t) {
		want, packed := s[0], s[1]
		_, blocks, err := unpack(NewReader(bytes.NewReader(packed)))
		if err != nil {
			t.Fatal(err)
		}
		for shift := range 4 {
			var out bytes.Buffer
			w := NewWriter(&out)
			for range shift {
				w.put(2, 10) // empty block, fixed codes
			}
			for n, b := range blocks {
				if n%7 == 3 { // bytes of an encoder between
					if _, err := w.Write([]byte("\x00\x00\x00\xff\xff")); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Copy(bytes.NewReader(packed), b); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(flate.NewReader(bytes.NewReader(out.Bytes())))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, shifted by %d: %d of %d bytes, %v", name, shift, len(got), len(want), err)
			}
		}
	}
}

// A block whose reach is behind the break decodes behind other data of any kind.
func TestReachIsTrue(t *testing.T) {
	text := text(2 << 20)
	packed := zlib(t, text, "-9")
	_, blocks, err := unpack(NewReader(bytes.NewReader(packed)))
	if err != nil || len(blocks) < 5 {
		t.Fatal(len(blocks), err)
	}
	for _, b := range blocks[1:5] {
		front := bytes.Repeat([]byte{0xee}, window)
		copy(front[int64(window)-(b.Start-b.Reach):], text[b.Reach:b.Start])
		var out bytes.Buffer
		w := NewWriter(&out)
		if _, err := w.Write(append([]byte{0, 0, 0x80, 0xff, 0x7f}, front...)); err != nil { // one stored block
			t.Fatal(err)
		}
		if err := w.Copy(bytes.NewReader(packed), b); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(flate.NewReader(&out))
		if err != nil || !bytes.Equal(got[window:], text[b.Start:b.End]) {
			t.Errorf("block %+v: %d bytes, %v", b, len(got), err)
		}
	}
}

func TestDamageIsAnError(t *testing.T) {
	packed := zlib(t, samples()["mixed"], "-6")
	for cut := 0; cut < len(packed); cut += 20011 {
		if _, _, err := unpack(NewReader(bytes.NewReader(packed[:cut]))); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
	for name, b := range map[string]string{
		"type 3": "\x07", "far distance": "\x03\x02\x00", "stored length": "\x01\x01\x00\x00\x00x",
	} {
		if _, _, err := unpack(NewReader(bytes.NewReader([]byte(b + "\x00\x00\x00\x00")))); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestPeekReaderStopsBehindTheStream(t *testing.T) {
	for name, s := range streams(t) {
		want, packed := s[0], s[1]
		for _, behind := range []string{"", "x", "behind the stream, with more than 24 bytes of it"} {
			for _, src := range []io.Reader{
				io.MultiReader(bytes.NewReader(packed), strings.NewReader(behind)),
				iotest.HalfReader(strings.NewReader(string(packed) + behind)),
			} {
				br := bufio.NewReaderSize(src, 1<<10)
				r := NewPeekReader(br)
				got, _, err := unpack(r)
				if err != nil || !bytes.Equal(got, want) || r.Used() != int64(len(packed)) {
					t.Errorf("%s: %d of %d bytes, %d of %d used, %v", name, len(got), len(want), r.Used(), len(packed), err)
				}
				if _, _, err := r.Next(); err != io.EOF {
					t.Errorf("%s: Next once more: %v", name, err)
				}
				if rest, err := io.ReadAll(br); string(rest) != behind || err != nil {
					t.Errorf("%s: %q left, %v; want %q", name, rest, err, behind)
				}
			}
		}
	}
}

// What this package takes, the standard library takes too, and with the same bytes.
func FuzzReader(f *testing.F) {
	for name, b := range samples() {
		if len(b) < 1000 || name == "zeros" {
			f.Add(pack(f, b, 9))
		}
		f.Add(pack(f, b[:min(len(b), 2000)], 6))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(b)), 1<<24))
		if len(want) == 1<<24 {
			return
		}
		got, blocks, err := unpack(NewReader(bytes.NewReader(b)))
		if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, %v; the standard library reads %d, %v", len(got), err, len(want), wantErr)
		}
		peeked, _, peekErr := unpack(NewPeekReader(bufio.NewReaderSize(bytes.NewReader(b), 1<<10)))
		if (err == nil) != (peekErr == nil) || !bytes.Equal(got, peeked) {
			t.Fatalf("peeking gives %d bytes, %v; reading %d, %v", len(peeked), peekErr, len(got), err)
		}
		if err != nil {
			return
		}
		var out bytes.Buffer
		w := NewWriter(&out)
		for _, block := range blocks {
			if err := w.Copy(bytes.NewReader(b), block); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(flate.NewReader(&out)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("copied: %d of %d bytes, %v", len(got), len(want), err)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	text := samples()["mixed"]
	packed := zlib(b, text, "-9")
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		r := NewReader(bytes.NewReader(packed))
		for {
			if _, _, err := r.Next(); err != nil {
				break
			}
		}
	}
}

func BenchmarkStandardLibrary(b *testing.B) {
	text := samples()["mixed"]
	packed := zlib(b, text, "-9")
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		_, _ = io.Copy(io.Discard, flate.NewReader(bytes.NewReader(packed)))
	}
}

func BenchmarkKlauspost(b *testing.B) {
	text := samples()["mixed"]
	packed := zlib(b, text, "-9")
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		_, _ = io.Copy(io.Discard, kflate.NewReader(bytes.NewReader(packed)))
	}
}
