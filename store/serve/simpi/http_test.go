package simpi

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestBootHTTP boots from web servers that do what the bootloader takes, and what it does
// not.
func TestBootHTTP(t *testing.T) {
	image := strings.Repeat("image\n", 10_000)
	signature := fmt.Sprintf("%x\nts: 315532800\n", sha256.Sum256([]byte(image)))
	files := func(sig string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if ua := r.Header.Get("User-Agent"); !strings.HasPrefix(ua, "rpiboot/") || !r.Close {
				t.Errorf("asked by %q, to be closed %v", ua, r.Close)
			}
			body, ok := map[string]string{"/91cdf03d/boot.sig": sig, "/91cdf03d/boot.img": image}[r.URL.Path]
			if !ok {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			fmt.Fprint(w, body)
		}
	}
	for _, tt := range []struct {
		name, below string
		handler     http.HandlerFunc
		problem     string // "" where the board boots
	}{
		{"all is well", "/{board}", files(signature), ""},
		{"a slash at the end", "/91cdf03d/", files(signature), ""},
		{"another folder", "", files(signature), "/boot.sig: status 404 Not Found"},
		{"a signature of something else", "/{board}", files("00" + signature[2:]), "not the one that boot.sig was made for"},
		{"a redirect", "/{board}", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+r.Host+"/elsewhere", http.StatusMovedPermanently)
		}, "boot.sig: status 301 Moved Permanently"},
		{"chunks", "/{board}", func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			fmt.Fprint(w, signature)
		}, "no Content-Length"},
		{"less than was promised", "/{board}", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(signature)))
			fmt.Fprint(w, signature[:20])
		}, "boot.sig: unexpected EOF"},
		{"an endless signature", "/{board}", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000000000")
			w.WriteHeader(http.StatusOK)
		}, "1000000000 bytes are more than the bootloader takes"},
		{"silence", "/{board}", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "boot.sig: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewServer(tt.handler)
			defer s.Close()
			b := pi4b()
			b.Serial = 0x91cdf03d
			if tt.name == "silence" {
				b.FileTimeout = 50 * time.Millisecond
			}
			r, err := b.BootHTTP(t.Context(), s.URL+tt.below)
			if err != nil {
				t.Fatal(err)
			}
			said := ""
			for _, p := range r.Problems() {
				said += p.What + "\n"
			}
			if r.OK() != (tt.problem == "") || !strings.Contains(said, tt.problem) {
				t.Errorf("%s, problems %q, want %q", r.Outcome, said, tt.problem)
			}
			if r.OK() && (r.Bytes != int64(len(image)+len(signature)) || r.Outcome != RamdiskLoaded) {
				t.Errorf("%s after %d bytes", r.Outcome, r.Bytes)
			}
		})
	}
}
