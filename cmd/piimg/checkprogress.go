package main

import (
	"time"

	"piimg/store/fsck"
)

// checkProgress shows how far a check has come: a line that is written over on a terminal,
// and elsewhere one for what takes long.
func (a *app) checkProgress() func(fsck.Progress) {
	var last time.Time
	said := ""
	return func(p fsck.Progress) {
		if p.Bytes && said != p.Doing && !a.ui.terminal {
			said = p.Doing
			a.ui.say("reading %s of %s", size(p.Total), p.Doing)
		}
		now := a.now()
		if now.Sub(last) < tick && p.Done < p.Total {
			return
		}
		last = now
		switch {
		case p.Bytes:
			a.ui.now("%s: %s of %s", p.Doing, size(p.Done), size(p.Total))
		case p.Total == 0:
			a.ui.now("%s: %d", p.Doing, p.Done)
		default:
			a.ui.now("%s: %d of %d", p.Doing, p.Done, p.Total)
		}
	}
}
