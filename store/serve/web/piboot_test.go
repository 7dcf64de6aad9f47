package web_test

import (
	"fmt"
	"strings"
	"testing"

	"piimg/store/serve"
	"piimg/store/serve/servetest"
	"piimg/store/serve/web"
)

// TestPiHTTPBoot asks as the bootloader in the EEPROM does: boot.sig, then boot.img on a new
// connection, first its length, cut off and resumed in the middle, and all of it once more.
func TestPiHTTPBoot(t *testing.T) {
	img := servetest.Pattern(3<<20 + 5)
	front, _ := servetest.NewFront(t, map[string][]byte{"boot.img": img, "boot.sig": []byte("00\nts: 1\n")})
	s := listen(t, web.Config{}, front)
	ask := func(method, target, more string) (status int, length int64, body string) {
		t.Helper()
		r, body := ask(t, s, method+" "+target+" HTTP/1.1\nHost: 10.0.0.1\nUser-Agent: rpiboot/1.0 (00000000; version:00000000 timestamp:0)\nConnection: close"+more)
		if r.TransferEncoding != nil || r.Header.Get("Content-Encoding") != "" || r.Header.Get("Location") != "" || r.ContentLength < 0 {
			t.Errorf("%s %s: headers %v", method, target, r.Header)
		}
		return r.StatusCode, r.ContentLength, body
	}
	for _, path := range []string{"91cdf03d", "/91cdf03d", "env/dev"} {
		if status, _, body := ask("GET", "/"+path+"/boot.sig", ""); status != 200 || !strings.HasPrefix(body, "00\n") {
			t.Errorf("%s: boot.sig: %d %q", path, status, body)
		}
		if status, n, body := ask("HEAD", "/"+path+"/boot.img", ""); status != 200 || n != int64(len(img)) || body != "" {
			t.Errorf("%s: HEAD: %d, %d bytes", path, status, n)
		}
		_, _, first := ask("GET", "/"+path+"/boot.img", "")
		status, n, rest := ask("GET", "/"+path+"/boot.img", fmt.Sprintf("\nRange: bytes=%d-", 1<<20))
		if status != 206 || n != int64(len(img)-1<<20) || first != string(img) || rest != string(img[1<<20:]) {
			t.Errorf("%s: whole %d bytes, rest %d with %d", path, len(first), status, n)
		}
	}
	boots := front.Trail(servetest.BoardID)
	if len(boots) == 0 || boots[0].Milestone != serve.Kernel {
		t.Errorf("the trail does not say that boot.img was delivered: %+v", boots)
	}
}
