package gc_test

import "testing"

// The model: two publishers that find an old blob which nobody uses, each of whose images
// names it, and a collector that wants it gone. Every interleaving of their steps is tried.
// It says which schemes can lose a blob, and that the one of this package cannot; that the
// code follows the scheme is what the tests of schedules are for.

const publishers = 2

// moment is the whole state of the model.
type moment struct {
	blob, fresh bool // it is there; it was written or touched lately
	flag        bool // a sweep is under way
	doomed      bool // the collector has decided on it
	found       [publishers]bool
	lease       [publishers]bool
	root        [publishers]bool
	success     [publishers]bool // was reported
	dead        [publishers]bool
	at          [publishers + 1]int // the next step of each, the collector last
}

// action is one step of somebody, and false where it has to wait.
type action func(s *moment, me int) bool

// end is a place behind the last step of every program.
const end = 100

// The steps of publishers.
var (
	look   action = func(s *moment, me int) bool { s.found[me] = s.blob; return true }
	upload action = func(s *moment, me int) bool {
		if !s.found[me] {
			s.blob, s.fresh = true, true
		}
		return true
	}
	touch action = func(s *moment, me int) bool {
		if s.found[me] && s.blob {
			s.fresh = true
		}
		return upload(s, me)
	}
	publish  action = func(s *moment, me int) bool { s.root[me] = true; return true }
	succeed  action = func(s *moment, me int) bool { s.success[me] = true; return true }
	hold     action = func(s *moment, me int) bool { s.lease[me] = true; return true }
	release  action = func(s *moment, me int) bool { s.lease[me] = false; return true }
	awaitEnd action = func(s *moment, _ int) bool { return !s.flag }
	giveUp   action = func(s *moment, me int) bool { // where the closure is not complete
		if !s.blob {
			s.at[me] = end
		}
		return true
	}
)

// The steps of the collector.
var (
	doom     action = func(s *moment, _ int) bool { s.doomed = true; return true }
	seeRoots action = func(s *moment, _ int) bool {
		for me := range publishers {
			s.doomed = s.doomed && !s.root[me]
		}
		return true
	}
	seeLeases action = func(s *moment, _ int) bool {
		for me := range publishers {
			s.doomed = s.doomed && !s.lease[me]
		}
		return true
	}
	seeAge action = func(s *moment, _ int) bool { s.doomed = s.doomed && !s.fresh; return true }
	remove action = func(s *moment, _ int) bool {
		if s.doomed {
			s.blob = false
		}
		return true
	}
	raise action = func(s *moment, _ int) bool { s.flag = true; return true }
	lower action = func(s *moment, _ int) bool { s.flag = false; return true }
)

// outcome is what a search has seen.
type outcome struct {
	states   int
	lost     bool // a publisher reported success, and the blob is not there in the end
	dangling bool // a root names a blob that is not there in the end
}

// explore tries all interleavings.
func explore(publisher, collector []action, crashes bool) outcome {
	var o outcome
	seen := map[moment]bool{}
	var visit func(s moment)
	visit = func(s moment) {
		if seen[s] {
			return
		}
		seen[s] = true
		stuck := true
		for me := range publishers + 1 {
			for _, next := range steps(s, me, publisher, collector, crashes) {
				stuck = false
				visit(next)
			}
		}
		if stuck && !s.blob {
			for me := range publishers {
				o.lost = o.lost || s.success[me]
				o.dangling = o.dangling || s.root[me]
			}
		}
	}
	visit(moment{blob: true})
	o.states = len(seen)
	return o
}

// steps are the states that one of them may lead to.
func steps(s moment, me int, publisher, collector []action, crashes bool) []moment {
	program := publisher
	if me == publishers {
		program = collector
	}
	if me < publishers && s.dead[me] {
		if !s.lease[me] {
			return nil
		}
		s.lease[me] = false // it ends by itself
		return []moment{s}
	}
	if s.at[me] >= len(program) {
		return nil
	}
	var all []moment
	next := s
	next.at[me]++
	if program[s.at[me]](&next, me) {
		all = append(all, next)
	}
	if crashes && me < publishers {
		s.dead[me], s.at[me] = true, end
		all = append(all, s)
	}
	return all
}

func TestModelOfSchemes(t *testing.T) {
	tests := []struct {
		name      string
		publisher []action
		collector []action
		lost      bool
	}{
		{
			"mark and sweep",
			[]action{look, upload, publish, succeed},
			[]action{doom, seeRoots, remove},
			true,
		},
		{
			"only what is old goes, and what is there is used",
			[]action{look, upload, publish, succeed},
			[]action{doom, seeRoots, seeAge, remove},
			true,
		},
		{
			"what is used is touched, and looked at again before it goes",
			[]action{look, touch, publish, succeed},
			[]action{doom, seeRoots, seeAge, seeRoots, seeAge, remove},
			true,
		},
		{
			"leases, read before it goes",
			[]action{hold, look, upload, publish, succeed, release},
			[]action{doom, seeRoots, seeLeases, seeRoots, remove},
			true,
		},
		{
			"leases and a sign, which is read before the lease is written",
			[]action{awaitEnd, hold, look, upload, publish, giveUp, succeed, release},
			[]action{doom, seeRoots, raise, seeLeases, seeRoots, remove, lower},
			true,
		},
		{
			"leases and a sign, and roots read before leases",
			[]action{hold, awaitEnd, look, upload, publish, succeed, release},
			[]action{doom, seeRoots, raise, seeRoots, seeLeases, remove, lower},
			true,
		},
		{
			"the scheme of this package",
			[]action{hold, awaitEnd, look, upload, publish, giveUp, succeed, release},
			[]action{doom, seeRoots, raise, seeLeases, seeRoots, remove, lower},
			false,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, crashes := range []bool{false, true} {
				o := explore(tt.publisher, tt.collector, crashes)
				t.Logf("crashes %v: %d states, lost %v, dangling %v", crashes, o.states, o.lost, o.dangling)
				if o.lost != tt.lost {
					t.Errorf("crashes %v: a blob can be lost: %v; want %v", crashes, o.lost, tt.lost)
				}
				if !tt.lost && o.dangling {
					t.Errorf("crashes %v: a root can name what is not there", crashes)
				}
			}
		})
	}
}
