//go:build e2e

package main

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"piimg/cmd/piimg/config"
	"piimg/pipeline/format/codec"
	"piimg/store"
	"piimg/store/env"
	"piimg/store/mem"
)

// A kernel finds what the front end has put behind the initramfs for one board, and it goes
// before what the image has there.
func TestE2EKernelTakesTheBoardsOwnFiles(t *testing.T) {
	base := archive(t, codec.Gzip, kernelBase(kernelInit(t))...)
	if len(base)%4 == 0 {
		base = append(base, 0) // an image that nobody has padded
	}
	s, err := store.Init(t.Context(), mem.New())
	if err != nil {
		t.Fatal(err)
	}
	put := func(text string) store.Blob {
		c := store.Bytes([]byte(text))
		if _, err := s.Blobs().Put(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return c.Blob()
	}
	d, err := s.PutImage(t.Context(), store.Image{Name: "own", Config: put("{}"), Files: []store.File{
		store.NewFile("config.txt", 0o644, put("initramfs base.gz followkernel\n")),
		store.NewFile("base.gz", 0o644, put(string(base))),
	}}, store.Record{Actor: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := env.Promote(t.Context(), s, env.PromoteOptions{Env: "prod", Image: d, Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	f, err := openFrontEnd(attach(s), config.Serve{HTTP: "127.0.0.1:0", Default: "prod", Cache: t.TempDir(), File: []config.File{
		{Path: "etc/marker", Content: "overlay"}, {Path: "etc/own/hostname", Mode: "0600", Content: "{{.hostname}}"},
	}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- f.run(ctx) }()
	image := get(t, "http://"+f.web.Addr().String()+"/91cdf03d/base.gz")
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	log := console(t, piKernel(t), image, "overlay")
	got := unpacked(t, log)
	if !strings.Contains(log, `MARKER found "overlay"`) || !strings.Contains(got["/etc/own/hostname"], "600") {
		t.Errorf("the board's own files are not there: %q\n%s", got["/etc/own/hostname"], log)
	}
	sameTree(t, predicted(t, image), got)
}
