// Package pipeline turns a recipe into the boot files of an image. Stages say what they
// would do (a plan) and do it (a run); the pipeline orders them, remembers in the store
// what is finished, and explains what it does again and why.
//
// README.md says how to add a stage.
package pipeline

import (
	"context"

	"piimg/recipes"
	"piimg/store"
)

// Stage makes some of the files of an image. Its methods may be called concurrently.
type Stage interface {
	// Name is unique among stages, and the name of its folder.
	Name() string

	// Version has to change whenever the stage would make other bytes of the same
	// inputs, so that what older versions made is not taken for it.
	Version() int

	// Plan says what Run would read, and nil where w needs nothing of this stage. It
	// looks at nothing but w: neither at files, nor at the clock, nor at the network.
	Plan(w Wish) (*Step, error)

	// Run does what Plan said. It reads what the step declares and writes through
	// job, and its bytes depend on nothing else.
	Run(ctx context.Context, job *Job) error
}

// Wish is what an image is to be: all that a Plan may look at.
type Wish struct {
	Recipe *recipes.Recipe
	Boards []recipes.Board // the recipe's boards, in its order
	Digest store.Digest    // of the recipe and its pinned sources
}

// Step is the plan of one stage.
type Step struct {
	Params  any      // encoded as a JSON object; Run decodes it with Job.Params
	Sources []string // names of sources that are read; the name of a stage stands for what it makes
	Locals  []string // files and folders beside the recipe that are read
	Needs   []string // names of stages whose files are read; those without a step are left out
	Tools   []Tool   // what else shapes the bytes
	Jobs    int      // processes that Run may use, 0 for the pipeline's; no part of the key
}

// Tool is a program or library of the machine that shapes bytes.
type Tool struct {
	Name string
	// Version says which one is there, such as "go1.26.8". A fixed answer is fine.
	Version func(ctx context.Context) (string, error)
}
