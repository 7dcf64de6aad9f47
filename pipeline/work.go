package pipeline

import (
	"os"
	"path/filepath"
	"time"
)

// stepFolder is how the folders of running steps are called.
const stepFolder = "step-"

// abandoned is the age at which a step's folder is taken for one of a build that was
// killed. No step runs for so long without touching its folder.
const abandoned = 24 * time.Hour

// newWork makes a folder for a step.
func newWork(work string) (string, error) {
	if err := os.MkdirAll(work, 0o700); err != nil {
		return "", err
	}
	return os.MkdirTemp(work, stepFolder)
}

// sweep removes what killed builds have left behind. What it cannot remove costs space
// and nothing else.
func sweep(work string) {
	left, err := filepath.Glob(filepath.Join(work, stepFolder+"*"))
	if err != nil {
		return
	}
	for _, dir := range left {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > abandoned {
			_ = os.RemoveAll(dir)
		}
	}
}
