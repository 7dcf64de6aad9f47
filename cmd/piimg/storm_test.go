package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"piimg/cmd/piimg/config"
	"piimg/recipes"
	"piimg/store"
	"piimg/store/env"
	"piimg/store/mem"
	"piimg/store/serve/simpi"
)

// putImage stores an image for a Pi 4 whose every file says which generation it is of.
func putImage(t *testing.T, s *store.Store, generation string) *store.Image {
	t.Helper()
	return putImageOf(t, s, generation, 1)
}

// putSmallImage is putImage with files of a twentieth of the size.
func putSmallImage(t *testing.T, s *store.Store, generation string) *store.Image {
	t.Helper()
	return putImageOf(t, s, generation, 20)
}

func putImageOf(t *testing.T, s *store.Store, generation string, part int) *store.Image {
	t.Helper()
	content := func(name string, size int) []byte {
		line := fmt.Appendf(nil, "# %s of generation %s\n", name, generation)
		return bytes.Repeat(line, size/part/len(line)+1)
	}
	files := map[string][]byte{
		"start4.elf":          content("start4.elf", 100_000),
		"fixup4.dat":          content("fixup4.dat", 5_000),
		"bcm2711-rpi-4-b.dtb": content("dtb", 50_000),
		"kernel8.img":         content("kernel", 400_000),
		"initramfs.cpio.gz":   content("initramfs", 200_000),
		"cmdline.txt":         []byte("console=tty1 generation=" + generation + "\n"),
		"config.txt":          []byte("# generation " + generation + "\narm_64bit=1\nkernel=kernel8.img\ninitramfs initramfs.cpio.gz followkernel\n"),
	}
	return putFiles(t, s, files)
}

// putFiles stores an image of files for a Pi 4.
func putFiles(t *testing.T, s *store.Store, files map[string][]byte) *store.Image {
	t.Helper()
	i := store.Image{Name: "storm", Boards: []string{"pi4b"}}
	put := func(b []byte) store.Blob {
		c := store.Bytes(b)
		if _, err := s.Blobs().Put(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return c.Blob()
	}
	i.Config = put([]byte("{}"))
	for name, b := range files {
		i.Files = append(i.Files, store.NewFile(name, 0o644, put(b)))
	}
	d, err := s.PutImage(t.Context(), i, store.Record{Name: "storm", Actor: "test"})
	if err != nil {
		t.Fatal(err)
	}
	image, err := s.Image(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func promoteTo(t *testing.T, s *store.Store, image *store.Image) {
	t.Helper()
	if _, err := env.Promote(t.Context(), s, env.PromoteOptions{Env: "prod", Image: image.Digest, Actor: "test"}); err != nil {
		t.Fatal(err)
	}
}

// serveImage serves an image of files to all boards until the test ends.
func serveImage(t *testing.T, files map[string][]byte, c config.Serve) *frontEnd {
	t.Helper()
	s, err := store.Init(t.Context(), mem.New())
	if err != nil {
		t.Fatal(err)
	}
	promoteTo(t, s, putFiles(t, s, files))
	c.Default, c.Cache = "prod", t.TempDir()
	f, err := openFrontEnd(attach(s), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- f.run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return f
}

// Fifty boards are half-way when an environment is promoted: each gets every file from
// the image that it began with, and its next boot gets the new one.
func TestPromoteInMidBootMixesNothing(t *testing.T) {
	const boards = 50
	s, err := store.Init(t.Context(), mem.New())
	if err != nil {
		t.Fatal(err)
	}
	before, after := putImage(t, s, "one"), putImage(t, s, "two")
	promoteTo(t, s, before)
	f, err := openFrontEnd(attach(s), config.Serve{TFTP: "127.0.0.1:0", Default: "prod", Cache: t.TempDir()}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- f.run(ctx) }()

	var half sync.WaitGroup // boards that are half-way
	half.Add(boards)
	promoted := make(chan struct{})
	var booted sync.WaitGroup
	for n := range boards {
		booted.Go(func() {
			b := stormBoard(t, n)
			reached := sync.OnceFunc(func() {
				half.Done()
				<-promoted
			})
			bootAll(t, b, f.tftp.Addr(), before, func(request int, _ simpi.Request) {
				if request == 4+n%12 {
					reached()
				}
			})
			bootAll(t, b, f.tftp.Addr(), after, nil)
		})
	}
	half.Wait()
	promoteTo(t, s, after)
	if err := f.front.Refresh(t.Context()); err != nil {
		t.Error(err)
	}
	close(promoted)
	booted.Wait()
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func stormBoard(t *testing.T, n int) simpi.Board {
	model, err := recipes.BoardByName("pi4b")
	if err != nil {
		t.Error(err)
	}
	styles := []simpi.Style{simpi.StyleA, simpi.StyleB, simpi.StyleC}
	return simpi.Board{
		Model: simpi.Model{Board: model.Board}, Serial: 0x1000_0000 + uint32(n), Seed: uint64(n), Style: styles[n%len(styles)],
		Local:       netip.AddrFrom4([4]byte{127, 0, 1, byte(n + 1)}),
		FileTimeout: time.Minute,
	}
}

// bootAll boots b and holds what it read against the image.
func bootAll(t *testing.T, b simpi.Board, server netip.AddrPort, want *store.Image, before func(int, simpi.Request)) {
	report, err := b.Boot(t.Context(), server, simpi.Options{Before: before})
	if err != nil {
		t.Errorf("board %08x: %v", b.Serial, err)
		return
	}
	if !report.OK() {
		t.Errorf("board %08x: %s", b.Serial, report.Summary())
	}
	for _, r := range report.Requests {
		f, ok := want.File(r.Name)
		if r.Digest.IsZero() || !ok {
			continue
		}
		if r.Digest != f.Digest && !madeOf(report, want, f) {
			t.Errorf("board %08x: request for %s gave bytes of another image", b.Serial, r.Name)
		}
	}
	if files := report.Files(); len(files) < 7 {
		t.Errorf("board %08x read %d files only", b.Serial, len(files))
	}
}
