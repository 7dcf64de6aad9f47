package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"piimg/store"
	"piimg/store/env"
	"piimg/store/open"
	"piimg/store/s3/s3test"
)

const promoters = 16

// promoted is how one piimg promote ended.
type promoted struct {
	code           int
	stdout, stderr string
}

// promoteAll runs piimg promote for each of images at the same time, as processes of users
// u0, u1 and so on.
func promoteAll(t *testing.T, where string, images []store.Digest, args ...string) []promoted {
	t.Helper()
	var wg sync.WaitGroup
	results := make([]promoted, len(images))
	start := make(chan struct{})
	for n, d := range images {
		cmd := exec.CommandContext(t.Context(), "piimg", append([]string{"--store", where, "promote", d.String(), "prod"}, args...)...)
		cmd.Env = append(os.Environ(), fmt.Sprintf("PIIMG_ACTOR=u%d", n), "HOME="+t.TempDir())
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		wg.Go(func() {
			<-start
			err := cmd.Run()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Error(err)
			}
			results[n] = promoted{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
		})
	}
	close(start)
	wg.Wait()
	return results
}

var (
	winnerLine = regexp.MustCompile(`step (\d+) of prod \(promote of (sha256:[0-9a-f]{12}) by (u\d+)\)`)
	wonLine    = regexp.MustCompile(`^prod@(\d+) (sha256:[0-9a-f]{64})\n$`)
)

// checkPromoters compares what the processes reported with the log: every success is a step of
// its own, and who lost names a step that is there, and whose it is.
func checkPromoters(t *testing.T, s *store.Store, images []store.Digest, results []promoted) (won int) {
	t.Helper()
	steps, err := env.History(t.Context(), s, "prod") // without a gap, each naming the one before
	if err != nil {
		t.Fatal(err)
	}
	taken := map[string]bool{}
	for n, r := range results {
		switch r.code {
		case codeOK:
			won++
			m := wonLine.FindStringSubmatch(r.stdout)
			if m == nil || taken[m[1]] {
				t.Errorf("u%d printed %q; want a step that nobody else has", n, r.stdout)
				continue
			}
			taken[m[1]] = true
			if step := at(steps, m[1]); step.Actor != fmt.Sprintf("u%d", n) || step.Image != images[n] {
				t.Errorf("u%d reported step %s, which is %s by %s", n, m[1], step.Image.Short(), step.Actor)
			}
		case codeConflict:
			m := winnerLine.FindStringSubmatch(r.stderr)
			if m == nil {
				t.Errorf("u%d does not name the winner: %s", n, r.stderr)
				continue
			}
			if step := at(steps, m[1]); step.Actor != m[3] || step.Image.Short() != m[2] || r.stdout != "" {
				t.Errorf("u%d lost to %s, and step %s is %s by %s; printed %q", n, m[0], m[1], step.Image.Short(), step.Actor, r.stdout)
			}
		default:
			t.Errorf("u%d ended with %d: %s", n, r.code, r.stderr)
		}
	}
	return won
}

func at(steps []env.Entry, seq string) env.Entry {
	for _, e := range steps {
		if fmt.Sprint(e.Seq) == seq {
			return e
		}
	}
	return env.Entry{}
}

// race lets sixteen processes promote to one environment: first as they come, then all after
// the same head.
func race(t *testing.T, where string) {
	s := openAt(t, where)
	var images []store.Digest
	for n := range 2 * promoters {
		images = append(images, putSmall(t, s, fmt.Sprint("kernel ", n)))
	}
	free := promoteAll(t, where, images[:promoters])
	if won := checkPromoters(t, s, images[:promoters], free); won == 0 {
		t.Error("nobody won")
	}
	before, err := env.Head(t.Context(), s, "prod")
	if err != nil {
		t.Fatal(err)
	}
	same := promoteAll(t, where, images[promoters:], "--expect", fmt.Sprint(before.Seq))
	if won := checkPromoters(t, s, images[promoters:], same); won != 1 {
		t.Errorf("%d won the step after %d; want 1", won, before.Seq)
	}
	after, err := env.Head(t.Context(), s, "prod")
	if err != nil || after.Seq != before.Seq+1 {
		t.Errorf("the head is %d, %v; want %d", after.Seq, err, before.Seq+1)
	}
}

func openAt(t *testing.T, where string) *store.Store {
	t.Helper()
	b, err := open.Bucket(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Init(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// putSmall is an image of one small file.
func putSmall(t *testing.T, s *store.Store, kernel string) store.Digest {
	t.Helper()
	put := func(text string) store.Blob {
		c := store.Bytes([]byte(text))
		if _, err := s.Blobs().Put(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return c.Blob()
	}
	d, err := s.PutImage(t.Context(), store.Image{
		Name: "small", Config: put("{}"), Files: []store.File{store.NewFile("kernel8.img", 0o644, put(kernel))},
	}, store.Record{Name: "small"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestFaultRow18SixteenPromotersOnDisk(t *testing.T) {
	race(t, filepath.Join(t.TempDir(), "store"))
}

func TestFaultRow18SixteenPromotersOnS3(t *testing.T) {
	server := s3test.Start(t)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, server.Env(name))
	}
	race(t, server.Location(server.NewBucket(t), "fleet", server.Endpoint))
}
