package simpi

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReadRequest compares with the bytes of published captures.
func TestReadRequest(t *testing.T) {
	tests := []struct {
		name    string
		blksize int
		want    string
	}{
		{"no blksize", 0, "\x00\x01a/config.txt\x00octet\x00tsize\x000\x00"},
		{"1024", 1024, "\x00\x01a/config.txt\x00octet\x00tsize\x000\x00blksize\x001024\x00"},
		{"1468", 1468, "\x00\x01a/config.txt\x00octet\x00tsize\x000\x00blksize\x001468\x00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(appendRRQ(nil, "a/config.txt", tt.blksize)); got != tt.want {
				t.Errorf("appendRRQ(%d) = %q; want %q", tt.blksize, got, tt.want)
			}
		})
	}
}

func TestParsePacket(t *testing.T) {
	tests := []struct {
		name string
		in   []byte
		want packet
	}{
		{"request", appendRRQ(nil, "x", 1468), packet{op: opRRQ, name: "x", options: []option{{"tsize", "0"}, {"blksize", "1468"}}}},
		{"data", appendDATA(nil, 7, []byte("abc")), packet{op: opDATA, block: 7, data: []byte("abc")}},
		{"last data", appendDATA(nil, 8, nil), packet{op: opDATA, block: 8}},
		{"ack", appendACK(nil, 65535), packet{op: opACK, block: 65535}},
		{"error", appendERROR(nil, 1, "File not found"), packet{op: opERROR, code: 1, text: "File not found"}},
		{"error without an end", []byte("\x00\x05\x00\x01gone"), packet{op: opERROR, code: 1, text: "gone"}},
		{"options", appendOACK(nil, option{"tsize", "9"}), packet{op: opOACK, options: []option{{"tsize", "9"}}}},
		{"option case", []byte("\x00\x06TSize\x009\x00"), packet{op: opOACK, options: []option{{"tsize", "9"}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parsePacket(tt.in)
			if err != nil {
				t.Fatalf("parsePacket: %v", err)
			}
			if len(got.data) == 0 {
				got.data = nil
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(packet{}, option{})); diff != "" {
				t.Errorf("parsePacket (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParsePacketMalformed(t *testing.T) {
	for _, in := range []string{"", "\x00\x03", "\x00\x09ab", "\x00\x06tsize\x009", "\x00\x06tsize", "\x00\x01name", "\x00\x01name\x00netascii\x00"} {
		if _, err := parsePacket([]byte(in)); !errors.Is(err, errMalformed) {
			t.Errorf("parsePacket(%q) = %v; want malformed", in, err)
		}
	}
}

func FuzzParsePacket(f *testing.F) {
	f.Add(appendRRQ(nil, "x", 1468))
	f.Add(appendOACK(nil, option{"tsize", "9"}))
	f.Add(appendDATA(nil, 1, []byte("abc")))
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := parsePacket(in)
		if err != nil && !errors.Is(err, errMalformed) {
			t.Errorf("parsePacket(%q) = %v", in, err)
		}
		if err == nil && p.op == opDATA && string(appendDATA(nil, p.block, p.data)) != string(in) {
			t.Errorf("parsePacket(%q) loses bytes", in)
		}
	})
}
