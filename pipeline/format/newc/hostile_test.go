package newc

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// borders are the offsets in an archive where a field of a header, a name, its padding, a
// body or the padding of that begins or ends, with the entry that each lies in; "" inside
// a header.
func borders(t testing.TB, b []byte) map[int]string {
	t.Helper()
	at := map[int]string{}
	for off := 0; ; {
		e, n, err := DecodeHeader(b[off:], maxName)
		if err != nil {
			t.Fatal(err)
		}
		for field := 0; field < HeaderLen; field += 8 {
			at[off+max(0, field-2)] = ""
		}
		at[off+HeaderLen], at[off+HeaderLen+n-1], at[off+HeaderLen+n] = "", "", ""
		name := string(b[off+HeaderLen : off+HeaderLen+n-1])
		if off += HeaderLen + NameLen(n); name == Trailer {
			return at
		}
		if e.Size > 0 {
			at[off], at[off+1], at[off+int(e.Size)-1] = name, name, name
		}
		off += int(e.Size + -e.Size&3)
	}
}

// An archive that ends at any border of a field, or inside a body, is an error that says
// at which byte, and in which entry where that is known.
func TestEveryCutIsAnErrorWithItsPlace(t *testing.T) {
	b := writeExact(t, odd())
	for cut, name := range borders(t, b) {
		_, err := read(b[:cut])
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "at byte ") {
			t.Errorf("cut at %d: %v", cut, err)
		}
		told := (*EntryError)(nil)
		if name != "" && (!errors.As(err, &told) || told.Name != name) {
			t.Errorf("cut at %d, inside the body of %.40q: %v", cut, name, err)
		}
	}
}

// Whatever bit is wrong, reading ends, and every error says where.
func TestEveryFlippedBitEndsWell(t *testing.T) {
	b := write(t, tree)
	for at := range b {
		for bit := range 8 {
			bad := bytes.Clone(b)
			bad[at] ^= 1 << bit
			if _, err := read(bad); err != nil && !strings.Contains(err.Error(), "at byte ") {
				t.Errorf("byte %d, bit %d: %v", at, bit, err)
			}
		}
	}
}

// With 070702 a flipped bit of a body is found.
func TestEveryFlippedBitOfASummedBodyIsFound(t *testing.T) {
	const body = "some text"
	b := writeExact(t, []record{{Entry{Name: "a", Mode: Regular, Links: 1, Size: int64(len(body)), Summed: true, Sum: Sum([]byte(body))}, body}})
	at := bytes.Index(b, []byte(body))
	for n := range len(body) {
		bad := bytes.Clone(b)
		bad[at+n] ^= 4
		if _, err := read(bad); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), `entry "a" at byte 0: checksum`) {
			t.Errorf("byte %d of the body: %v", n, err)
		}
	}
}

// The kernel compares the sum of an empty file, too (do_copy in init/initramfs.c).
func TestSumOfAnEmptyFileIsChecked(t *testing.T) {
	b := AppendHeader(nil, Entry{Name: "empty", Mode: Regular, Links: 1, Summed: true, Sum: 1})
	if _, err := read(append(b, write(t, nil)...)); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), `"empty" at byte 0: checksum`) {
		t.Errorf("error %v", err)
	}
}

func TestTrailerWithABodyIsRefused(t *testing.T) {
	b := append(AppendHeader(nil, Entry{Name: Trailer, Size: 4}), "body"...)
	if _, err := read(b); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "at byte 0: trailer with a body of 4 bytes") {
		t.Errorf("error %v", err)
	}
}

// What the input itself reports reaches the caller, with the place.
func TestErrorOfTheInputNamesTheEntry(t *testing.T) {
	b := AppendHeader(nil, Entry{Name: "big", Mode: Regular, Size: 1 << 20})
	broken := errors.New("disk on fire")
	for name, use := range map[string]func(r *Reader) error{
		"read": func(r *Reader) error { _, err := io.Copy(io.Discard, r); return err },
		"skip": func(r *Reader) error { _, err := r.Next(); return err },
	} {
		r := NewReader(bufio.NewReader(io.MultiReader(bytes.NewReader(b), bytes.NewReader(make([]byte, 5000)), iotest.ErrReader(broken))))
		r.Base = 1000
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		if err := use(r); !errors.Is(err, broken) || !strings.Contains(err.Error(), `entry "big" at byte 1000: `) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A reader may answer its last bytes together with io.EOF.
func TestLastBytesWithEOF(t *testing.T) {
	b := write(t, []record{{Entry{Name: "a", Mode: Regular, Size: 8000}, strings.Repeat("x", 8000)}})
	b = b[:len(b)-124] // the trailer
	r := NewReader(bufio.NewReaderSize(iotest.DataErrReader(bytes.NewReader(b)), 16))
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 8000)
	if n, err := io.ReadFull(r, body); err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := r.Next(); !errors.Is(err, ErrNoTrailer) {
		t.Errorf("behind it: %v", err)
	}
}

func TestFaultRow30NamesThatTheKernelDoesNotTake(t *testing.T) {
	for name, want := range map[string]string{
		"usr/" + strings.Repeat("n", 256) + "/x":         "has 256 bytes, the kernel takes 255",
		strings.Repeat(strings.Repeat("d", 15)+"/", 256): "of 4096 bytes, the format takes 4095",
		"a/../b": "leads upwards",
	} {
		err := NewWriter(io.Discard).WriteEntry(Entry{Name: name, Mode: Dir}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q…: %v, want %q", name, err, want)
		}
	}
	if err := NewWriter(io.Discard).WriteEntry(Entry{Name: strings.Repeat("n", 255), Mode: Dir}, nil); err != nil {
		t.Errorf("255 bytes: %v", err)
	}
}
