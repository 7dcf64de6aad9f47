package web_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"piimg/pipeline/format/newc"
	"piimg/store"
	"piimg/store/serve"
	"piimg/store/serve/servetest"
	"piimg/store/serve/web"
)

// TestPiHTTPBoot asks as the bootloader in the EEPROM does: boot.sig, then boot.img on a new
// connection, first its length, cut off and resumed in the middle, and all of it once more.
func TestPiHTTPBoot(t *testing.T) {
	img := servetest.Pattern(3<<20 + 5)
	front, _ := servetest.NewFront(t, map[string][]byte{"boot.img": img, "boot.sig": []byte("00\nts: 1\n")}, func(c *serve.Config) {
		c.Addresses = map[netip.Addr]string{netip.MustParseAddr("127.0.0.1"): servetest.BoardID}
	})
	s := listen(t, web.Config{}, front)
	ask := func(method, target, more string) (status int, length int64, body string) {
		t.Helper()
		r, body := ask(t, s, method+" "+target+" HTTP/1.1\nHost: 10.0.0.1\nUser-Agent: rpiboot/1.0 (00000000; version:00000000 timestamp:0)\nConnection: close"+more)
		if r.TransferEncoding != nil || r.Header.Get("Content-Encoding") != "" || r.Header.Get("Location") != "" || r.ContentLength < 0 {
			t.Errorf("%s %s: headers %v", method, target, r.Header)
		}
		return r.StatusCode, r.ContentLength, body
	}
	// By its serial, an environment, what it asks for where HTTP_PATH is not set, and nothing.
	for _, path := range []string{"91cdf03d", "/91cdf03d", "env/dev", "net_install", "/net_install/", "."} {
		path = strings.TrimSuffix(path, ".")
		if status, _, body := ask("GET", "/"+path+"/boot.sig", ""); status != 200 || !strings.HasPrefix(body, "00\n") {
			t.Errorf("%s: boot.sig: %d %q", path, status, body)
		}
		if status, n, body := ask("HEAD", "/"+path+"/boot.img", ""); status != 200 || n != int64(len(img)) || body != "" {
			t.Errorf("%s: HEAD: %d, %d bytes", path, status, n)
		}
		if _, _, once := ask("GET", "/"+path+"/boot.img", ""); once != string(img) {
			t.Errorf("%s: %d bytes the first time", path, len(once))
		}
		_, _, first := ask("GET", "/"+path+"/boot.img", "")
		status, n, rest := ask("GET", "/"+path+"/boot.img", fmt.Sprintf("\nRange: bytes=%d-", 1<<20))
		if status != 206 || n != int64(len(img)-1<<20) || first != string(img) || rest != string(img[1<<20:]) {
			t.Errorf("%s: whole %d bytes, rest %d with %d", path, len(first), status, n)
		}
	}
	servetest.Await(t, "a trail that says that boot.img was delivered", func() bool {
		boots := front.Trail(servetest.BoardID)
		return len(boots) > 0 && boots[0].Milestone == serve.Kernel
	})
}

// TestMadeFilesOverHTTP asks for what is made for a board as clients with one range and a
// cache do: made files are no different from others.
func TestMadeFilesOverHTTP(t *testing.T) {
	var archive bytes.Buffer
	w := newc.NewWriter(&archive)
	if err := w.WriteEntry(newc.Entry{Name: "init", Mode: newc.Regular | 0o755, Size: 1001}, bytes.NewReader(servetest.Pattern(1001))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	base := append(archive.Bytes(), 0) // to be padded
	front, _ := servetest.NewFront(t, map[string][]byte{
		"config.txt": []byte("# {{.board}}\ninitramfs initramfs followkernel\n"), "cmdline.txt": []byte("host={{.hostname}}\n"), "initramfs": base,
	}, func(c *serve.Config) {
		c.Files = []serve.OwnFile{{Path: "etc/hostname", Content: "{{.hostname}}\n"}}
	})
	s := listen(t, web.Config{}, front)
	for _, name := range []string{"config.txt", "cmdline.txt", "initramfs"} {
		target := "/91cdf03d/" + name
		first, body := ask(t, s, "GET "+target+" HTTP/1.1\nHost: x")
		size, etag := len(body), first.Header.Get("ETag")
		if first.StatusCode != 200 || first.ContentLength != int64(size) || etag != `"`+store.Sum([]byte(body)).String()+`"` || first.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: %s, %d bytes, headers %v", name, first.Status, size, first.Header)
		}
		if plain, _ := ask(t, s, "HEAD /env/dev/"+name+" HTTP/1.1\nHost: x"); plain.Header.Get("ETag") == etag {
			t.Errorf("%s: nothing is made of it", name)
		}
		for request, want := range map[string]string{
			"":                                     body,
			"Accept-Encoding: gzip":                body,
			"Range: bytes=0-":                      body,
			"Range: bytes=7-":                      body[7:],
			"Range: bytes=3-9":                     body[3:10],
			"Range: bytes=-5":                      body[size-5:],
			"Range: bytes=1-2,4-5":                 body,
			"Range: bytes=4-\nIf-Range: " + etag:   body[4:],
			"Range: bytes=4-\nIf-Range: \"other\"": body,
			fmt.Sprintf("Range: bytes=%d-", min(len(base)-3, size-1)): body[min(len(base)-3, size-1):], // from the image's bytes into those that were made
			fmt.Sprintf("Range: bytes=%d-", size-1):                   body[size-1:],
		} {
			for _, line := range []string{"GET " + target + " HTTP/1.1\nHost: x", "GET " + target + " HTTP/1.0", "HEAD " + target + " HTTP/1.1\nHost: x\nConnection: close"} {
				r, got := ask(t, s, strings.TrimSuffix(line+"\n"+request, "\n"))
				status := map[bool]int{true: 200, false: 206}[want == body && !strings.HasPrefix(request, "Range: bytes=0-")]
				if strings.HasPrefix(line, "HEAD") && got == "" {
					got = want
				}
				if got != want || r.StatusCode != status || r.ContentLength != int64(len(want)) || r.Header.Get("ETag") != etag || r.TransferEncoding != nil || r.Header.Get("Location") != "" {
					t.Errorf("%s, %q: %s, %d bytes of %d, headers %v", line, request, r.Status, len(got), len(want), r.Header)
				}
			}
		}
		if r, _ := ask(t, s, fmt.Sprintf("GET %s HTTP/1.1\nHost: x\nRange: bytes=%d-", target, size)); r.StatusCode != http.StatusRequestedRangeNotSatisfiable {
			t.Errorf("%s: beyond its end: %s", name, r.Status)
		}
		if r, _ := ask(t, s, "GET "+target+" HTTP/1.1\nHost: x\nIf-None-Match: "+etag); r.StatusCode != http.StatusNotModified {
			t.Errorf("%s: not modified: %s", name, r.Status)
		}
	}
}
