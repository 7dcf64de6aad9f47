package web_test

import (
	"context"
	"testing"

	"piimg/store/serve/servetest"
	"piimg/store/serve/web"
)

// listen serves what o opens until the test ends, and checks that nothing is left open.
func listen(t *testing.T, cfg web.Config, o web.Front) *web.Server {
	t.Helper()
	s, _ := start(t, cfg, o)
	return s
}

// start is listen with a way to stop the server early.
func start(t *testing.T, cfg web.Config, o web.Front) (s *web.Server, stop func()) {
	t.Helper()
	servetest.NoLeaks(t)
	cfg.Addr = "127.0.0.1:0"
	s, err := web.Listen(cfg, o)
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
