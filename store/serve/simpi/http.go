package simpi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"piimg/store"
)

// userAgent is what the bootloader calls itself (a format string in its binary).
const userAgent = "rpiboot/1.0 (00000000; version:00000000 timestamp:0)"

// StageHTTP is the bootloader's HTTP boot.
const StageHTTP Stage = "http"

const (
	maxSignature = 4 << 10   // bytes of a boot.sig
	maxRamdisk   = 128 << 20 // bytes of a boot.img that a Pi 4 takes (release notes of 2022-02)
)

// BootHTTP loads boot.sig and boot.img from below base, in which {board} stands for the
// board's serial number, as HTTP boot does: a connection for each, an exact length, no
// redirect. What is inside of boot.img is not simulated, and of boot.sig only the digest is
// looked at. The Network of the board does not count.
func (b Board) BootHTTP(ctx context.Context, base string) (*Report, error) {
	b = b.withDefaults()
	if err := b.Model.check(); err != nil {
		return &Report{Outcome: Interrupted}, err
	}
	serial := fmt.Sprintf("%08x", b.Serial)
	base = strings.ReplaceAll(strings.TrimSuffix(base, "/"), "{board}", serial)
	h := &webBoot{base: base, start: time.Now(), report: &Report{
		Model: b.Board.Model, Serial: serial, Prefix: serial + "/", Server: base, Outcome: FirmwareNotFound, Attempts: 1, Findings: []Problem{},
	}}
	h.client = &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true, DialContext: (&net.Dialer{LocalAddr: b.tcp()}).DialContext},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       b.FileTimeout,
	}
	h.boot(ctx)
	h.report.Duration = time.Since(h.start)
	slices.SortStableFunc(h.report.Findings, worstFirst)
	return h.report, ctx.Err()
}

func (b Board) tcp() net.Addr {
	if !b.Local.IsValid() {
		return nil
	}
	return &net.TCPAddr{IP: b.Local.AsSlice()}
}

// webBoot is one call of BootHTTP.
type webBoot struct {
	base   string
	client *http.Client
	start  time.Time
	report *Report
}

func (h *webBoot) boot(ctx context.Context) {
	sig, text := h.get(ctx, "boot.sig", maxSignature)
	if sig.Result != Found {
		return
	}
	img, _ := h.get(ctx, "boot.img", maxRamdisk)
	if img.Result != Found {
		return
	}
	if digest, _, _ := strings.Cut(text, "\n"); digest != img.Digest.Hex() {
		h.fail("boot.img is not the one that boot.sig was made for", "serve both from one image")
		return
	}
	h.report.Outcome, h.report.Ramdisk = RamdiskLoaded, img.file()
}

func (h *webBoot) fail(what, hint string) {
	h.report.Findings = append(h.report.Findings, Problem{Error, what, hint})
}

// get reads a whole file; of a short one the text comes back as well.
func (h *webBoot) get(ctx context.Context, name string, most int64) (Request, string) {
	req := Request{Attempt: 1, Stage: StageHTTP, Kind: Get, Name: name, Path: h.base + "/" + name, Required: true, Start: time.Since(h.start)}
	text, err := h.fetch(ctx, &req, most)
	if err != nil {
		req.Result = Missing
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			req.Result = Timeout
		} else if req.Bytes > 0 {
			req.Result = Short
		}
		h.fail(req.Path+": "+err.Error(), "see the server's log")
	}
	req.Duration = time.Since(h.start) - req.Start
	h.report.Requests = append(h.report.Requests, req)
	h.report.Bytes += req.Bytes
	return req, text
}

func (h *webBoot) fetch(ctx context.Context, req *Request, most int64) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, req.Path, nil)
	if err != nil {
		return "", err
	}
	r.Header.Set("User-Agent", userAgent)
	answer, err := h.client.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	req.Answer = time.Since(h.start) - req.Start
	switch {
	case answer.StatusCode != http.StatusOK:
		return "", fmt.Errorf("status %s", answer.Status)
	case answer.ContentLength < 0:
		return "", errors.New("no Content-Length, which the bootloader needs")
	case answer.ContentLength > most:
		return "", fmt.Errorf("%d bytes are more than the bootloader takes", answer.ContentLength)
	}
	sum, text := sha256.New(), strings.Builder{}
	keep := io.Writer(sum)
	if most <= maxSignature {
		keep = io.MultiWriter(sum, &text)
	}
	req.Tsize = answer.ContentLength
	if req.Bytes, err = io.Copy(keep, answer.Body); err != nil {
		return "", err
	}
	req.Result, req.Digest = Found, store.Digest(sum.Sum(nil))
	return text.String(), nil
}
