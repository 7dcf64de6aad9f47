package s3

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"syscall"
	"time"
)

// Retry is how often and how long requests are repeated. The zero value stands for the
// default: 8 times within about 20 seconds.
type Retry struct {
	Attempts int
	First    time.Duration // before the second attempt, at most; doubled each time
	Longest  time.Duration
}

type retry struct{ Retry }

func (r Retry) orDefault() retry {
	if r.Attempts == 0 {
		r.Attempts = 8
	}
	if r.First == 0 {
		r.First = 200 * time.Millisecond
	}
	if r.Longest == 0 {
		r.Longest = 5 * time.Second
	}
	return retry{r}
}

// permanent is an error that no repetition mends.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// do calls try until it succeeds, fails for good, or has failed often enough. Clients that
// failed together do not come back together: each pause is any part of the longest.
func (r retry) do(ctx context.Context, try func() error) error {
	pause := r.First
	for n := 1; ; n++ {
		err := try()
		var p permanent
		switch {
		case errors.As(err, &p):
			return p.error
		case err == nil || n == r.Attempts || ctx.Err() != nil || !mayPass(err):
			return err
		}
		if err := sleep(ctx, time.Duration(rand.Int64N(int64(pause)))); err != nil {
			return err
		}
		pause = min(2*pause, r.Longest)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mayPass says whether a request that failed so may succeed later. A conditional request
// that met another is among them (409 ConditionalRequestConflict of AWS).
func mayPass(err error) bool {
	e := response(err)
	return passes(err) || e.StatusCode == http.StatusConflict || e.StatusCode == http.StatusPreconditionFailed
}

// passes says whether the server or the way to it was out of order.
func passes(err error) bool {
	e := response(err)
	switch {
	case e.StatusCode >= 500 && e.StatusCode != http.StatusNotImplemented:
		return true
	case e.StatusCode == http.StatusTooManyRequests || e.StatusCode == http.StatusRequestTimeout:
		return true
	case slices.Contains([]string{"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable"}, e.Code):
		return true
	case e.StatusCode != 0:
		return false
	}
	var timeout net.Error
	return errors.As(err, &timeout) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EPIPE)
}
