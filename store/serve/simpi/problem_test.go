package simpi

import (
	"strings"
	"testing"
	"time"

	"piimg/store"
)

// TestJudge is what a single odd request is told as.
func TestJudge(t *testing.T) {
	file := func(change func(*Request)) []Request {
		r := Request{Kind: Get, Name: "k", Path: "p/k", Required: true, Result: Found, Bytes: 10, Blksize: 512}
		change(&r)
		return []Request{r}
	}
	odd := func(v Violation) []Request { return file(func(r *Request) { r.Violations = []Violation{v} }) }
	short := func(v ...Violation) []Request {
		return file(func(r *Request) { r.Result, r.Violations, r.Tsize, r.ErrorText = Short, v, 20, "gone" })
	}
	a, b := store.Sum([]byte("a")), store.Sum([]byte("b"))
	twice := func(x, y Request) []Request {
		x.Path, y.Path = "p/k", "p/k"
		return []Request{x, y}
	}
	tests := []struct {
		name     string
		requests []Request
		want     string
	}{
		{"good", file(func(*Request) {}), ""},
		{"missing", file(func(r *Request) { r.Result, r.ErrorCode = Missing, 1 }), "error: p/k is missing"},
		{"denied", file(func(r *Request) { r.Result, r.ErrorCode, r.ErrorText = Missing, 2, "Access violation" }),
			"error: p/k is missing: error 2 Access violation"},
		{"trouble", file(func(r *Request) { r.Result, r.ErrorCode, r.ErrorText = Missing, 1, "not available now" }),
			"error: p/k is missing: error 1 not available now"},
		{"missing and optional", file(func(r *Request) { r.Result, r.Required = Missing, false }), ""},
		{"silent", file(func(r *Request) { r.Result, r.Bytes = Timeout, 0 }), "error: no answer for p/k within 30s"},
		{"late", file(func(r *Request) { r.Result = Timeout }), "error: p/k took longer than 30s: 10 bytes came"},
		{"broke off", short(), "error: p/k broke off after 10 bytes: error 0 gone"},
		{"other size", short(WrongTsize), "error: p/k has 10 bytes, but its tsize said 20"},
		{"too large", short(TooManyBlocks), "error: p/k has more than 65535 blocks of 512 bytes"},
		{"large blocks", short(BadBlksize), "error: p/k came in larger blocks than the board asked for"},
		{"no OACK", odd(NoOACK), "error: no option acknowledgement for k: a board takes such a config.txt as empty"},
		{"no tsize", odd(NoTsize), "error: no tsize for k"},
		{"tsize 0", odd(ZeroTsize), "error: tsize 0 for k"},
		{"no blksize", odd(NoBlksize), "warning: blksize not acknowledged for k: blocks of 512 bytes are slow and end at 33553920 bytes"},
		{"option", odd(BadOption), "warning: an option that was not asked for came with k"},
		{"malformed", odd(Malformed), "warning: a malformed packet came with k"},
		{"resent", file(func(r *Request) { r.Resends = 2 }), "warning: the board had to send again, packets: 2"},
		{"doubled", file(func(r *Request) { r.Duplicates = 3 }), "warning: packets that came twice: 3"},
		{"stray", file(func(r *Request) { r.Strays = 1 }), "warning: packets from a port that does not belong to the transfer: 1"},
		{"several files", append(odd(NoTsize), Request{Name: "l", Result: Found, Violations: []Violation{NoTsize}}), "error: no tsize for k and 1 more"},
		{"read twice", twice(Request{Result: Found, Digest: a}, Request{Result: Found, Digest: a}), ""},
		{"probed and read", twice(Request{Result: Found, Kind: Probe}, Request{Result: Found, Digest: a}), ""},
		{"changed", twice(Request{Result: Found, Digest: a}, Request{Result: Found, Digest: b}),
			"error: p/k changed within one boot: the board mixes two images"},
		{"went", twice(Request{Result: Found, Kind: Probe}, Request{Result: Missing}), "error: p/k was there and then was missing within one boot"},
		{"came", twice(Request{Result: Missing}, Request{Result: Found, Digest: a}), "error: p/k was missing and then was there within one boot"},
		{"leftover", []Request{{Kind: ExpectMissing, Name: "bootcfg.txt", Path: "p/bootcfg.txt", Result: Found}},
			"warning: p/bootcfg.txt exists and changes how the board starts"},
		{"update", []Request{{Kind: ExpectMissing, Name: "vl805.sig", Path: "p/vl805.sig", Result: Found}},
			"error: p/vl805.sig exists: the board would flash its bootloader at every boot"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := problems(&Report{Findings: judge(Board{FileTimeout: 30 * time.Second}, tt.requests)})
			if strings.TrimSpace(got) != tt.want {
				t.Errorf("judge:\n%swant:\n%s", got, tt.want)
			}
		})
	}
}

// TestMissingHint tells a server that has nothing for a board from an image that lacks a
// file, and both from a server in trouble.
func TestMissingHint(t *testing.T) {
	gone := Request{Name: "start4.elf", Path: "p/start4.elf", Result: Missing, ErrorCode: codeNotFound, ErrorText: "File not found", Required: true}
	trouble, other := gone, Request{Name: "config.txt", Path: "p/config.txt", Result: Found}
	trouble.ErrorText = "not available now"
	tests := []struct {
		name     string
		requests []Request
		want     string
	}{
		{"nothing at all", []Request{gone, gone}, "check this board's assignment and the server's default environment"},
		{"one file", []Request{other, gone}, "add start4.elf to the image"},
		{"trouble", []Request{trouble, trouble}, "see the server's log"},
	}
	for _, tt := range tests {
		ps := judge(Board{}, tt.requests)
		if len(ps) != 1 || !strings.HasPrefix(ps[0].Hint, tt.want) {
			t.Errorf("%s: %v; want the hint %q", tt.name, ps, tt.want)
		}
	}
}

func TestExpectedUpdateIsNoProblem(t *testing.T) {
	req := Request{Kind: ExpectMissing, Name: "pieeprom.sig", Path: "p/pieeprom.sig", Result: Found}
	if got := judge(Board{SelfUpdate: true}, []Request{req}); len(got) > 0 {
		t.Errorf("judge = %v; want nothing", got)
	}
}

func TestCheckPair(t *testing.T) {
	tests := []struct {
		start, fixup string
		ok           bool
	}{
		{"start4.elf", "fixup4.dat", true},
		{"start4x.elf", "fixup4x.dat", true},
		{"fw/start4.elf", "fw/fixup4.dat", true},
		{"start4x.elf", "fixup4.dat", false},
		{"start4.elf", "fixup.dat", false},
		{"mine.elf", "fixup4.dat", true}, // nobody knows
	}
	for _, tt := range tests {
		s := &session{}
		s.checkPair(tt.start, tt.fixup)
		if ok := len(s.findings) == 0; ok != tt.ok {
			t.Errorf("%s with %s: %v; want %v", tt.start, tt.fixup, ok, tt.ok)
		}
	}
}

// TestGeneral: many boards that have the same problem are counted as one line.
func TestGeneral(t *testing.T) {
	for what, want := range map[string]string{
		"91cdf03d/k took longer than 30s: 13919576 bytes came": "BOARD/k took longer than 30s",
		"91cdf03d/k broke off after 1024 bytes: error 0 gone":  "BOARD/k broke off: error 0 gone",
		"packets that came twice: 17":                          "packets that came twice",
		"91cdf03d/k has more than 65535 blocks of 512 bytes":   "BOARD/k has more than 65535 blocks of 512 bytes",
		"91cdf03d/k has 10 bytes, but its tsize said 20":       "BOARD/k has 10 bytes, but its tsize said 20",
		"no answer for 91cdf03d/start4.elf within 30s":         "no answer for BOARD/start4.elf within 30s",
	} {
		if got := general(what, &Report{Prefix: "91cdf03d/"}); got != want {
			t.Errorf("general(%q) = %q, want %q", what, got, want)
		}
	}
}
