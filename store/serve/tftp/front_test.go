package tftp_test

import (
	"context"
	"testing"

	"piimg/store/serve/servetest"
	"piimg/store/serve/tftp"
)

// listen serves what o opens until the test ends, and checks that nothing is left open.
func listen(t *testing.T, cfg tftp.Config, o tftp.Opener) *tftp.Server {
	t.Helper()
	s, _ := start(t, cfg, o)
	return s
}

// start is listen with a way to stop the server early.
func start(t *testing.T, cfg tftp.Config, o tftp.Opener) (s *tftp.Server, stop func()) {
	t.Helper()
	servetest.NoLeaks(t)
	return startAt(t, "127.0.0.1:0", cfg, o)
}

func startAt(t *testing.T, addr string, cfg tftp.Config, o tftp.Opener) (s *tftp.Server, stop func()) {
	t.Helper()
	cfg.Addr = addr
	s, err := tftp.Listen(cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	stopped := false
	stop = func() {
		cancel()
		if !stopped {
			stopped = true
			if err := <-done; err != nil {
				t.Errorf("serve: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	return s, stop
}
