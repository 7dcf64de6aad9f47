package pipeline

import "time"

// Event tells what the pipeline does, for people to watch.
type Event struct {
	Step    string // name of the stage
	Kind    Kind
	Text    string        // why a step runs (Started), a line of its log (Log), an error (Failed)
	Elapsed time.Duration // since it started, for Finished and Failed
	Wrote   int64         // bytes that were new to the store, for Finished
}

// Kind is the kind of an [Event].
type Kind string

// The kinds of events. A step is either a Hit, or Started and then Finished or Failed.
const (
	Hit      Kind = "hit"
	Started  Kind = "started"
	Log      Kind = "log"
	Finished Kind = "finished"
	Failed   Kind = "failed"
)
