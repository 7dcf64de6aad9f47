package simpi

import (
	"context"
	"errors"
)

// Style is how a bootloader finds out whether a file exists. All of them end the
// transfer with ERROR 0 "Early terminate", which is no failure.
//
// Source: captures of Pi 4 and Pi 5 boards, published between 2019 and 2026.
type Style string

const (
	StyleA Style = "A" // the error follows the first packet
	StyleB Style = "B" // ACK 0, then the error after DATA 1
	StyleC Style = "C" // ACK 0, and the next request leaves before the error: transfers overlap
)

// earlyTerminate is the text that the bootloader sends (its binary, published logs).
const earlyTerminate = "Early terminate"

// probe asks whether req.Path exists. With style C the transfer stays open and is
// returned: it is to be ended once the next request is on its way.
func (l link) probe(ctx context.Context, req *Request, style Style, opened func()) (*transfer, error) {
	t, err := l.open(ctx, req)
	if err != nil {
		return nil, err
	}
	opened()
	p, found, err := t.first(ctx)
	switch {
	case errors.Is(err, errSilent):
		req.Result = Timeout
	case errors.Is(err, errAborted):
		req.Result = Refused
	case err != nil:
		t.close()
		return nil, err
	case !found:
		req.Result = Missing
	default:
		req.Result = Found
		return t.finishProbe(ctx, p, style)
	}
	t.close()
	return nil, nil
}

// finishProbe ends the probe of a file that exists.
func (t *transfer) finishProbe(ctx context.Context, p packet, style Style) (*transfer, error) {
	var err error
	if style != StyleA && p.op == opOACK {
		err = t.ack(0)
	}
	if style == StyleC && err == nil {
		return t, nil
	}
	if style == StyleB && p.op == opOACK && err == nil {
		err = t.awaitData(ctx)
	}
	t.terminate()
	if errors.Is(err, errSilent) || errors.Is(err, errEnded) {
		err = nil // an acknowledgement was enough to see that the file exists
	}
	return nil, err
}

// awaitData waits for the first block.
func (t *transfer) awaitData(ctx context.Context) error {
	for {
		p, err := t.next(ctx)
		if err != nil {
			return err
		}
		switch {
		case p.op == opDATA:
			return nil
		case p.op == opERROR:
			return errEnded
		case p.op == opOACK:
			t.req.Duplicates++
			if err := t.ack(0); err != nil {
				return err
			}
		}
	}
}

// terminate ends a probe.
func (t *transfer) terminate() {
	t.abort(codeUndefined, earlyTerminate)
	t.close()
}
