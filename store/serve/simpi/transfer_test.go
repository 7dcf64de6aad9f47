package simpi

import (
	"bytes"
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"piimg/store"
)

// testLink is a bootloader with time limits that a busy machine keeps.
func testLink(s *scripted) link {
	return link{
		server: s.addr(), blksize: 1024, rollsOver: true, now: time.Now,
		fileTimeout: 2 * time.Minute, resendEvery: time.Minute,
	}
}

// resending is for what gets lost.
func resending(l *link) { l.resendEvery = 2 * time.Second }

// TestGet is one file from a server with each kind of misbehaviour.
func TestGet(t *testing.T) {
	file := bytes.Repeat([]byte("0123456789abcdef"), 200) // 3200 bytes, 4 blocks of 1024
	whole := Request{Result: Found, Bytes: 3200, Tsize: 3200, Blksize: 1024, Digest: store.Sum(file)}
	with := func(change func(*Request)) Request {
		r := whole
		change(&r)
		return r
	}
	tests := []struct {
		name   string
		script script
		link   func(*link)
		want   Request
	}{
		{name: "good", want: whole},
		{name: "empty file", script: script{data: []byte{}}, want: Request{Result: Found, Blksize: 1024, Digest: store.Sum(nil)}},
		{name: "whole blocks", script: script{data: file[:2048]},
			want: with(func(r *Request) { r.Bytes, r.Tsize, r.Digest = 2048, 2048, store.Sum(file[:2048]) })},
		{name: "no blksize asked", link: func(l *link) { l.blksize = 0 }, want: with(func(r *Request) { r.Blksize = 512 })},
		{name: "smaller blksize", script: script{blksize: 512}, want: with(func(r *Request) { r.Blksize = 512 })},
		{name: "larger blksize", script: script{blksize: 1025},
			want: Request{Result: Refused, Violations: []Violation{BadBlksize}}},
		{name: "blksize not acknowledged", script: script{noBlksize: true},
			want: with(func(r *Request) { r.Blksize, r.Violations = 512, []Violation{NoBlksize} })},
		{name: "no OACK", script: script{noOACK: true},
			want: with(func(r *Request) { r.Tsize, r.Blksize, r.Violations = 0, 512, []Violation{NoOACK} })},
		{name: "no tsize", script: script{noTsize: true},
			want: with(func(r *Request) { r.Tsize, r.Violations = 0, []Violation{NoTsize} })},
		{name: "tsize 0", script: script{tsize: "0"},
			want: with(func(r *Request) { r.Tsize, r.Violations = 0, []Violation{ZeroTsize} })},
		{name: "tsize is no number", script: script{tsize: "many"},
			want: with(func(r *Request) { r.Tsize, r.Violations = 0, []Violation{BadOption, NoTsize} })},
		{name: "file longer than tsize", script: script{tsize: "3199"},
			want: Request{Result: Short, Bytes: 3200, Tsize: 3199, Blksize: 1024, Violations: []Violation{WrongTsize}}},
		{name: "file shorter than tsize", script: script{tsize: "3201"},
			want: Request{Result: Short, Bytes: 3200, Tsize: 3201, Blksize: 1024, Violations: []Violation{WrongTsize}}},
		{name: "unrequested option", script: script{extra: []option{{"windowsize", "4"}}},
			want: with(func(r *Request) { r.Violations = []Violation{BadOption} })},
		{name: "unrequested blksize", script: script{extra: []option{{"blksize", "512"}}}, link: func(l *link) { l.blksize = 0 },
			want: with(func(r *Request) { r.Blksize, r.Violations = 512, []Violation{BadOption} })},
		{name: "OACK twice", script: script{oackTwice: true}, want: with(func(r *Request) { r.Duplicates = 1 })},
		{name: "every block twice", script: script{dataTwice: true}, want: with(func(r *Request) { r.Duplicates = 3 })},
		{name: "block ahead is ignored", script: script{ahead: 2}, want: whole},
		{name: "first requests lost", script: script{dropFirst: 2}, link: resending, want: with(func(r *Request) { r.Resends = 2 })},
		{name: "block lost", script: script{dropData: 2}, link: resending, want: with(func(r *Request) { r.Resends = 1 })},
		{name: "stray port", script: script{stray: true}, want: with(func(r *Request) { r.Strays = 4 })},
		{name: "malformed first", script: script{malformed: true}, want: with(func(r *Request) { r.Violations = []Violation{Malformed} })},
		{name: "missing", script: script{missing: true, code: 1}, want: Request{Result: Missing, ErrorCode: 1, ErrorText: "File not found"}},
		{name: "missing, error 0", script: script{missing: true}, want: Request{Result: Missing, ErrorText: "File not found"}},
		{name: "missing, error 2", script: script{missing: true, code: 2}, want: Request{Result: Missing, ErrorCode: 2, ErrorText: "File not found"}},
		{name: "stopped", script: script{stopAfter: 2},
			want: Request{Result: Short, Bytes: 2048, Tsize: 3200, Blksize: 1024, ErrorText: "gone"}},
		{name: "silent", script: script{silent: true}, link: func(l *link) { l.fileTimeout = time.Second }, want: Request{Result: Timeout}},
		{name: "late", script: script{blockDelay: 2 * time.Second}, link: func(l *link) { l.fileTimeout = 5 * time.Second },
			want: Request{Result: Timeout, Tsize: 3200, Blksize: 1024}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.script.data == nil {
				tt.script.data = file
			}
			s := newScripted(t, map[string]script{"f": tt.script})
			l := testLink(s)
			if tt.link != nil {
				tt.link(&l)
			}
			got := Request{Path: "f"}
			text, err := l.get(t.Context(), &got, true, func() {})
			if err != nil {
				t.Fatalf("get: %v", err)
			}
			inexact := cmpopts.IgnoreFields(Request{}, "Path", "Answer")
			if got.Result == Timeout { // a busy machine decides about these
				inexact = cmpopts.IgnoreFields(Request{}, "Path", "Answer", "Resends", "Bytes")
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty(), inexact); diff != "" {
				t.Errorf("get (-want +got):\n%s", diff)
			}
			if got.Result == Found && !bytes.Equal(text, tt.script.data) {
				t.Errorf("get returns %d bytes; want %d", len(text), len(tt.script.data))
			}
		})
	}
}

func TestRequestIsResentFromOnePort(t *testing.T) {
	s := newScripted(t, map[string]script{"f": {data: []byte("x"), dropFirst: 3}, "g": {data: []byte("x")}})
	for _, name := range []string{"f", "g"} {
		l := testLink(s)
		resending(&l)
		if _, err := l.get(t.Context(), &Request{Path: name}, false, func() {}); err != nil {
			t.Fatal(err)
		}
	}
	s.stop()
	if want := []string{"f", "f", "f", "f", "g"}; !slices.Equal(s.requests, want) {
		t.Fatalf("requests %v; want %v", s.requests, want)
	}
	if f := slices.Compact(slices.Clone(s.clients[:4])); len(f) != 1 || f[0] == s.clients[4] {
		t.Errorf("ports %v; want one for the four requests of f and another for g", s.clients)
	}
}

func TestStrayPortGetsError5(t *testing.T) {
	s := newScripted(t, map[string]script{"f": {data: []byte("x"), stray: true}})
	if _, err := testLink(s).get(t.Context(), &Request{Path: "f"}, false, func() {}); err != nil {
		t.Fatal(err)
	}
	s.stop()
	if len(s.strayGot) != 1 || s.strayGot[0].op != opERROR || s.strayGot[0].code != codeUnknownID {
		t.Errorf("stray port got %+v; want ERROR 5", s.strayGot)
	}
}

func TestProbe(t *testing.T) {
	for _, style := range []Style{StyleA, StyleB, StyleC} {
		t.Run(string(style), func(t *testing.T) {
			t.Parallel()
			s := newScripted(t, map[string]script{
				"there": {data: make([]byte, 9000)}, "plain": {data: make([]byte, 9000), noOACK: true}, "silent": {silent: true},
				"greedy": {data: make([]byte, 9000), blksize: 9000},
			})
			want := map[string]Result{"there": Found, "plain": Found, "silent": Timeout, "greedy": Refused, "gone": Missing}
			for name, result := range want {
				req := Request{Path: name}
				l := testLink(s)
				if name == "silent" {
					l.fileTimeout = time.Second
				}
				open, err := l.probe(t.Context(), &req, style, func() {})
				if err != nil {
					t.Fatalf("probe %s: %v", name, err)
				}
				if open != nil {
					open.terminate()
				}
				if req.Result != result || req.Bytes != 0 {
					t.Errorf("probe %s = %s, %d bytes; want %s, 0", name, req.Result, req.Bytes, result)
				}
			}
			s.stop()
			for _, p := range s.closings {
				if p.code != codeOption && (p.code != codeUndefined || p.text != "Early terminate") {
					t.Errorf("transfer ended with ERROR %d %q; want 0 Early terminate", p.code, p.text)
				}
			}
			if len(s.closings) != 3 {
				t.Errorf("%d transfers were ended; want 3", len(s.closings))
			}
		})
	}
}

// TestProbeKeepsItsPort: the answer that a server may give to the end of a probe must not
// reach the next request.
func TestProbeKeepsItsPort(t *testing.T) {
	for _, style := range []Style{StyleA, StyleB, StyleC} {
		s := newScripted(t, map[string]script{"there": {data: make([]byte, 9000)}})
		open, err := testLink(s).probe(t.Context(), &Request{Path: "there"}, style, func() {})
		if err != nil || open == nil {
			t.Fatalf("style %s: probe = %v, %v", style, open, err)
		}
		s.mu.Lock()
		port := s.clients[0]
		s.mu.Unlock()
		if conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(port)); err == nil {
			conn.Close()
			t.Errorf("style %s: the port of the probe is free before the next request", style)
		}
		open.terminate()
	}
}

func TestGetStopsWithContext(t *testing.T) {
	s := newScripted(t, map[string]script{"f": {silent: true}})
	l := testLink(s)
	l.fileTimeout, l.resendEvery = time.Minute, time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := l.get(ctx, &Request{Path: "f"}, false, func() {}); err != context.DeadlineExceeded {
		t.Errorf("get = %v; want deadline exceeded", err)
	}
	if d := time.Since(start); d >= time.Minute {
		t.Errorf("get took %s to notice", d)
	}
}
