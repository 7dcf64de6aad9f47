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

// probe asks whether req.Path exists. The transfer of a file that does is returned, to be
// terminated once the next request is on its way: with style C it has not ended yet, and
// in any case its port must not be that of the next request, because some servers answer
// an ERROR with one of their own.
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

// finishProbe ends the probe of a file that exists, but for its port.
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
	t.sayEnough()
	if errors.Is(err, errSilent) || errors.Is(err, errEnded) {
		err = nil // an acknowledgement was enough to see that the file exists
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
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

// sayEnough tells the server that the board has seen enough.
func (t *transfer) sayEnough() {
	t.abort(codeUndefined, earlyTerminate)
	t.enough = true
}

// terminate ends a probe and gives its port back.
func (t *transfer) terminate() {
	if !t.enough {
		t.sayEnough()
	}
	t.close()
}
