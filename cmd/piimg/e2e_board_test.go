//go:build e2e

package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"piimg/cmd/piimg/config"
	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/newc"
	"piimg/store/s3/s3test"
	"piimg/store/serve"
)

// A kernel finds what the front end has put behind the initramfs for one board, and it goes
// before what the image has there.
func TestE2EKernelTakesTheBoardsOwnFiles(t *testing.T) {
	base := archive(t, codec.Gzip, kernelBase(kernelInit(t))...)
	if len(base)%4 == 0 {
		base = append(base, 0) // an image that nobody has padded
	}
	f := serveImage(t, map[string][]byte{"config.txt": []byte("initramfs base.gz followkernel\n"), "base.gz": base}, config.Serve{
		HTTP: "127.0.0.1:0", File: []config.File{
			{Path: "etc/marker", Content: "overlay"}, {Path: "etc/own/hostname", Mode: "0600", Content: "{{.hostname}}"},
		},
	})
	image := get(t, "http://"+f.web.Addr().String()+"/91cdf03d/base.gz")
	log := console(t, piKernel(t), image, "overlay")
	got := unpacked(t, log)
	if !strings.Contains(log, `MARKER found "overlay"`) || !strings.Contains(got["/etc/own/hostname"], "600") {
		t.Errorf("the board's own files are not there: %q\n%s", got["/etc/own/hostname"], log)
	}
	sameTree(t, predicted(t, image), got)
}

// A board that has booted says so with its token, and is handed its secret files over HTTPS,
// once: the front end knows which image it runs.
func TestE2EBoardSaysThatItIsUp(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
		"-subj", "/CN=piimg", "-addext", "subjectAltName=IP:10.0.2.2", "-keyout", key, "-out", cert).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	base := archive(t, codec.Gzip, entry("init", newc.Regular|0o755, string(firstProcess(t, "./testdata/boardinit"))),
		entry("proc", newc.Dir|0o755, ""), entry("etc", newc.Dir|0o755, ""), entry("dev", newc.Dir|0o755, ""))
	plain, secure := s3test.FreeAddress(t, "tcp"), s3test.FreeAddress(t, "tcp")
	_, plainPort, _ := strings.Cut(plain, ":")
	_, securePort, _ := strings.Cut(secure, ":")
	f := serveImage(t, map[string][]byte{
		"config.txt": []byte("initramfs base.gz followkernel\n"), "base.gz": base, "cmdline.txt": []byte("console=ttyAMA0 panic=-1 quiet ip=dhcp\n"),
	}, config.Serve{
		HTTP: plain, HTTPS: secure, Cert: cert, Key: key, Handover: config.Duration(time.Hour),
		URL: "http://10.0.2.2:" + plainPort, SecureURL: "https://10.0.2.2:" + securePort, // this host, for QEMU's guests
		File: []config.File{{Path: "etc/rack.pem", From: cert}, {Path: "etc/key", Content: "canary", Secret: true}},
	})
	at := "http://" + plain + "/91cdf03d/"
	line, image := get(t, at+"cmdline.txt"), get(t, at+"base.gz")
	log := machine(t, piKernel(t), image, strings.TrimSpace(string(line)), "-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,romfile=")
	for _, want := range []string{"/report: 200 OK, 3 bytes", "/report/secrets: 200 OK, ", "canary true", "/report/secrets: 410 Gone"} {
		if !strings.Contains(log, want) {
			t.Errorf("the board does not say %q", want)
		}
	}
	boots := f.front.Trail("91cdf03d")
	if len(boots) != 1 || boots[0].Milestone != serve.Alive {
		t.Errorf("the front end does not know that the board is up: %+v", boots)
	}
	if t.Failed() {
		t.Log(log)
	}
}
