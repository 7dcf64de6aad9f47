package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"piimg/pipeline"
	"piimg/store"
)

// reuses are the words for what becomes of finished steps.
var reuses = map[string]pipeline.Reuse{
	"use": pipeline.ReuseFinished, "verify": pipeline.ReuseVerify, "renew": pipeline.ReuseRenew, "off": pipeline.ReuseNothing,
}

// reuse is what becomes of finished steps, and the trust scope that a build is in: by its
// flags, by the environment, or by the configuration file.
func (a *app) reuse(o buildOptions) (pipeline.Reuse, string, error) {
	word := cmp.Or(o.cache, a.getenv("PIIMG_CACHE"), "use")
	how, ok := reuses[word]
	if !ok {
		err := usageError{fmt.Errorf("cache %q is none of %s", word, strings.Join(slices.Sorted(maps.Keys(reuses)), ", "))}
		return 0, "", hint(err, "see --cache, and PIIMG_CACHE")
	}
	c, _, err := a.config()
	if err != nil {
		return 0, "", err
	}
	scope := cmp.Or(o.scope, a.getenv("PIIMG_SCOPE"), c.Build.Scope)
	if err := store.CheckScope(scope); err != nil {
		return 0, "", usageError{err}
	}
	return how, scope, nil
}

// differHint says what to do about a step that gave another result than is remembered.
func differHint(err error) string {
	var differ *pipeline.DifferError
	if !errors.As(err, &differ) {
		return ""
	}
	return fmt.Sprintf("build with --check to see whether %s gives the same each time; if it does, what is remembered is wrong: --cache=renew writes it anew", differ.Step)
}
